//! Which client a request comes from, through proxies that are trusted to say so.

use std::net::IpAddr;

use hyper::header::{HeaderMap, HeaderName};

use crate::config::network::Network;

/// Each proxy appends the address that it was called from.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client's address; none if the request comes from a trusted proxy that does not say it.
///
/// Read from the right: what stands left of the first address that is no trusted proxy's is that
/// client's own invention.
#[must_use]
pub fn of(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> Option<IpAddr> {
    let is_trusted = |address| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(peer) {
        return Some(peer);
    }
    for line in headers.get_all(FORWARDED_FOR).iter().rev() {
        for entry in line.to_str().ok()?.rsplit(',') {
            let address = address(entry.trim())?;
            if !is_trusted(address) {
                return Some(address);
            }
        }
    }
    None
}

/// Some proxies write the port, too.
fn address(text: &str) -> Option<IpAddr> {
    let with_port =
        |text: &str| text.parse().ok().map(|address: std::net::SocketAddr| address.ip());
    text.parse().ok().or_else(|| with_port(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        of(peer.parse().unwrap(), &headers, &Network::PRIVATE).map(|address| address.to_string())
    }

    #[test]
    fn strangers_are_who_they_are_whatever_they_say() {
        assert_eq!(client("192.0.2.7", &["198.51.100.1"]).as_deref(), Some("192.0.2.7"));
    }

    #[test]
    fn the_last_address_that_is_no_proxys_is_the_clients() {
        assert_eq!(client("127.0.0.1", &["192.0.2.7"]).as_deref(), Some("192.0.2.7"));
        let spoofed = ["198.51.100.1, 192.0.2.7", "10.0.0.2"];
        assert_eq!(client("127.0.0.1", &spoofed).as_deref(), Some("192.0.2.7"));
        assert_eq!(client("::1", &["[2001:db8::1]:4711"]).as_deref(), Some("2001:db8::1"));
        assert_eq!(client("10.0.0.2", &["192.0.2.7:80"]).as_deref(), Some("192.0.2.7"));
    }

    #[test]
    fn a_proxy_that_says_nothing_leaves_the_client_unknown() {
        assert_eq!(client("127.0.0.1", &[]), None);
        assert_eq!(client("127.0.0.1", &["10.0.0.3"]), None);
        assert_eq!(client("127.0.0.1", &["192.0.2.7, unknown"]), None);
    }
}
