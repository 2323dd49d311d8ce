//! Owns how many requests each caller may have in flight, so that nobody gets hold of all database
//! connections. Must never wait while it holds a lock, nor remember a caller who has nothing in flight.
//!
//! A [`Place`] is shared by everything that works for one request, the task that stops its abandoned
//! statement included: a client that hangs up does not get fresh places while cancelled statements run.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Locks among which callers are spread: more than there are cores, so that two seldom meet.
const SHARDS: usize = 64;

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Caller {
    /// All tokens of one user, by a keyed hash of issuer and `sub`.
    User(u64),
    /// Requests without a token, by the client's network.
    Address(IpAddr),
}

/// How many requests a caller may have at once.
#[derive(Clone, Copy, Debug)]
pub struct PlacesOptions {
    /// In flight.
    pub each: usize,
    /// Waiting for one of those to end.
    pub waiting: usize,
    /// How long each waits.
    pub patience: Duration,
}

/// A caller has too many requests in flight.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0} requests of this caller are in flight already")]
pub struct TooMany(pub usize);

/// The places of all callers.
#[derive(Debug)]
pub struct Places {
    shards: [Mutex<HashMap<Caller, InFlight>>; SHARDS],
    hasher: RandomState,
    options: PlacesOptions,
}

/// A caller with at least one request.
#[derive(Debug)]
struct InFlight {
    places: Arc<Semaphore>,
    /// Those that wait for a place included.
    requests: usize,
}

/// A caller's permission to have one more request in flight. Ends with its last clone.
#[derive(Clone, Debug)]
pub struct Place(#[expect(dead_code, reason = "it is there to be dropped")] Arc<Held>);

/// Dropped in this order: who waits gets the place before the caller may be forgotten.
#[derive(Debug)]
struct Held {
    _permit: OwnedSemaphorePermit,
    _ticket: Ticket,
}

/// Keeps its caller in mind for as long as it exists.
#[derive(Debug)]
struct Ticket {
    places: Arc<Places>,
    caller: Caller,
}

impl Places {
    /// Places for callers of whom nothing is in flight yet.
    #[must_use]
    pub fn new(options: PlacesOptions) -> Arc<Self> {
        let shards = std::array::from_fn(|_| Mutex::default());
        Arc::new(Self { shards, hasher: RandomState::new(), options })
    }

    /// Takes a place of `caller`, waiting a little, first come first served, if all are taken.
    pub async fn enter(self: &Arc<Self>, caller: Caller) -> Result<Place, TooMany> {
        let PlacesOptions { each, waiting, patience } = self.options;
        let too_many = TooMany(each);
        let (ticket, places) = self.register(caller, each.saturating_add(waiting))?;
        let permit = match Arc::clone(&places).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => match timeout(patience, places.acquire_owned()).await {
                Ok(Ok(permit)) => permit,
                // Nobody closes the semaphore.
                Ok(Err(_)) | Err(_) => return Err(too_many),
            },
        };
        Ok(Place(Arc::new(Held { _permit: permit, _ticket: ticket })))
    }

    fn register(
        self: &Arc<Self>,
        caller: Caller,
        limit: usize,
    ) -> Result<(Ticket, Arc<Semaphore>), TooMany> {
        let mut callers = self.shard(caller);
        let in_flight = callers.entry(caller).or_insert_with(|| InFlight {
            places: Arc::new(Semaphore::new(self.options.each)),
            requests: 0,
        });
        if in_flight.requests >= limit {
            return Err(TooMany(self.options.each));
        }
        in_flight.requests += 1;
        let places = Arc::clone(&in_flight.places);
        drop(callers);
        Ok((Ticket { places: Arc::clone(self), caller }, places))
    }

    fn shard(&self, caller: Caller) -> MutexGuard<'_, HashMap<Caller, InFlight>> {
        // The remainder is less than SHARDS whatever the hash loses in the cast.
        #[expect(clippy::cast_possible_truncation, reason = "any part of the hash will do")]
        let index = self.hasher.hash_one(caller) as usize % SHARDS;
        // Counting cannot panic half-way.
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Callers with something in flight.
    #[must_use]
    pub fn callers(&self) -> usize {
        let callers = |shard: &Mutex<HashMap<_, _>>| match shard.lock() {
            Ok(callers) => callers.len(),
            Err(poisoned) => poisoned.into_inner().len(),
        };
        self.shards.iter().map(callers).sum()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Entry::Occupied(mut entry) = self.places.shard(self.caller).entry(self.caller) {
            entry.get_mut().requests -= 1;
            if entry.get().requests == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Caller = Caller::User(1);
    const BOB: Caller = Caller::User(2);

    fn places(each: usize, waiting: usize) -> Arc<Places> {
        Places::new(PlacesOptions { each, waiting, patience: Duration::from_millis(50) })
    }

    #[tokio::test]
    async fn nobody_has_more_than_their_share_and_others_do_not_notice() {
        let places = places(2, 0);
        let first = places.enter(ALICE).await.unwrap();
        let _second = places.enter(ALICE).await.unwrap();
        assert_eq!(places.enter(ALICE).await.unwrap_err(), TooMany(2));
        assert!(places.enter(BOB).await.is_ok());
        drop(first);
        assert!(places.enter(ALICE).await.is_ok());
    }

    #[tokio::test]
    async fn a_place_is_taken_until_its_last_clone_is_dropped() {
        let places = places(1, 0);
        let place = places.enter(ALICE).await.unwrap();
        let clone = place.clone();
        drop(place);
        assert!(places.enter(ALICE).await.is_err());
        drop(clone);
        assert!(places.enter(ALICE).await.is_ok());
    }

    #[tokio::test]
    async fn who_waits_gets_the_next_place_or_gives_up_in_time() {
        let places = places(1, 1);
        let place = places.enter(ALICE).await.unwrap();
        let waiting = tokio::spawn({
            let places = Arc::clone(&places);
            async move { places.enter(ALICE).await }
        });
        tokio::task::yield_now().await;
        assert!(places.enter(ALICE).await.is_err(), "one may wait, not two");
        drop(place);
        let place = waiting.await.unwrap().unwrap();
        assert!(places.enter(ALICE).await.is_err(), "the place was given away twice");
        drop(place);
    }

    #[tokio::test]
    async fn callers_without_a_request_are_forgotten() {
        let places = places(1, 8);
        let place = places.enter(ALICE).await.unwrap();
        // Gives up, by time and by being dropped.
        assert!(places.enter(ALICE).await.is_err());
        assert!(timeout(Duration::from_millis(5), places.enter(ALICE)).await.is_err());
        assert_eq!(places.callers(), 1);
        drop(place);
        assert_eq!(places.callers(), 0);
    }
}
