//! Slots: a login role of its own for each pooled connection.
//!
//! PostgreSQL shows a session's statement to, and takes its cancellation from, whoever has the
//! privileges of the role that *logged in*. With one login for all callers that is every caller. Roles
//! `authenticated_s1`, `authenticated_s2`, … are members of `authenticated`, not the other way round: a
//! session that logged in as one of them and runs as `authenticated` has no rights over the others.
//!
//! Each of them may have one connection (`CONNECTION LIMIT 1`), so that the server itself sees to it
//! that no two sessions share a slot, whatever the number of gateways. Must never hold its lock while
//! connecting.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// What comes between the name of the role that requests run as and the slot's number.
const INFIX: &str = "_s";

/// The login role of a slot, counted from 1.
#[must_use]
pub fn login(base: &str, number: usize) -> String {
    format!("{base}{INFIX}{number}")
}

/// Whether a role's name is that of a slot.
#[must_use]
pub fn is_slot(role: &str) -> bool {
    role.rsplit_once(INFIX).is_some_and(|(base, number)| {
        !base.is_empty() && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
    })
}

/// The slots that no connection of this pool has. The one that was given back first is taken first: its
/// last backend has had most time to end.
#[derive(Clone, Debug)]
pub struct Slots {
    free: Arc<Mutex<VecDeque<usize>>>,
    count: usize,
}

/// A slot that is taken until this is dropped.
#[derive(Debug)]
pub struct Slot {
    number: usize,
    free: Arc<Mutex<VecDeque<usize>>>,
}

impl Slots {
    /// Slots 1 to `count`. Each gateway begins somewhere else, so that several seldom try the same.
    #[must_use]
    pub fn new(count: usize) -> Self {
        let mut free: VecDeque<usize> = (1..=count).collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let start = (now.subsec_nanos() ^ std::process::id()) as usize;
        free.rotate_left(start % count.max(1));
        Self { free: Arc::new(Mutex::new(free)), count }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The slot that has been free for longest.
    #[must_use]
    pub fn take(&self) -> Option<Slot> {
        let number = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop_front()?;
        Some(Slot { number, free: Arc::clone(&self.free) })
    }
}

impl Slot {
    /// The role to log in as.
    #[must_use]
    pub fn login(&self, base: &str) -> String {
        login(base, self.number)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push_back(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_taken_once_and_the_longest_free_one_first() {
        let slots = Slots::new(3);
        let taken: Vec<Slot> = std::iter::from_fn(|| slots.take()).collect();
        let mut numbers: Vec<usize> = taken.iter().map(|slot| slot.number).collect();
        let (first, second) = (numbers[0], numbers[1]);
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2, 3]);
        drop(taken);
        assert_eq!(slots.take().unwrap().number, first);
        assert_eq!(slots.take().unwrap().number, second);
    }

    #[test]
    fn names_of_slots_are_told_from_others() {
        assert_eq!(login("authenticated", 7), "authenticated_s7");
        for (name, slot) in [
            ("authenticated_s7", true),
            ("authenticated_s", false),
            ("_s7", false),
            ("a_sx", false),
        ] {
            assert_eq!(is_slot(name), slot, "{name}");
        }
    }
}
