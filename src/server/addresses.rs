//! Owns how many connections each address has open. Must never count a trusted proxy's, which are
//! those of all its clients.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::ServerConfig;
use crate::config::network::{Network, client_network};

/// Connections by the network of their client.
type Open = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// Counts connections by address.
#[derive(Debug, Default)]
pub struct Addresses {
    limit: Option<usize>,
    trusted: Vec<Network>,
    open: Open,
}

/// A connection that counts, until it is dropped.
#[derive(Debug)]
pub struct Visit {
    address: IpAddr,
    open: Open,
}

impl Addresses {
    /// Counts within the configured limit.
    #[must_use]
    pub fn new(config: &ServerConfig) -> Self {
        Self {
            limit: config.connections_per_address,
            trusted: config.trusted_proxies.clone(),
            open: Open::default(),
        }
    }

    /// Counts a connection; the error is the limit. Nothing is kept of addresses that do not count.
    pub fn enter(&self, peer: IpAddr) -> Result<Option<Visit>, usize> {
        let Some(limit) = self.limit else { return Ok(None) };
        if self.trusted.iter().any(|network| network.contains(peer)) {
            return Ok(None);
        }
        let address = client_network(peer);
        let mut open = lock(&self.open);
        let connections = open.get(&address).copied().unwrap_or_default();
        if connections >= limit {
            return Err(limit);
        }
        open.insert(address, connections + 1);
        Ok(Some(Visit { address, open: Arc::clone(&self.open) }))
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Entry::Occupied(mut entry) = lock(&self.open).entry(self.address) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

fn lock(open: &Open) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
    // Counting cannot panic half-way.
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(limit: Option<usize>) -> Addresses {
        let config = ServerConfig { connections_per_address: limit, ..ServerConfig::default() };
        Addresses::new(&config)
    }

    #[test]
    fn each_address_has_its_own_limit_and_is_forgotten_with_its_last_connection() {
        let addresses = addresses(Some(2));
        let (one, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let visits = [addresses.enter(one).unwrap(), addresses.enter(one).unwrap()];
        assert_eq!(addresses.enter(one).unwrap_err(), 2);
        assert!(addresses.enter(other).is_ok());
        drop(visits);
        assert!(addresses.enter(one).is_ok());
        assert!(lock(&addresses.open).is_empty());
    }

    #[test]
    fn trusted_proxies_and_no_limit_count_nothing() {
        let proxy = "10.0.0.1".parse().unwrap();
        assert!((0..9).all(|_| matches!(addresses(Some(1)).enter(proxy), Ok(None))));
        let client = "192.0.2.1".parse().unwrap();
        assert!((0..9).all(|_| matches!(addresses(None).enter(client), Ok(None))));
    }
}
