//! Owns when an issuer is asked: how often, how long after a failure, how often for strangers' sake. Must
//! never let what an issuer or a token says go beyond these bounds.

use std::time::Duration;

use hyper::header::{AGE, CACHE_CONTROL, HeaderMap};
use tokio::time::Instant;

/// How long keys are good for if the answer does not say `max-age`.
const DEFAULT_LIFETIME: Duration = Duration::from_mins(10);
/// A smaller `max-age` counts as this.
const MIN_LIFETIME: Duration = Duration::from_mins(1);
/// A larger `max-age` counts as this: a key that the issuer withdrew lives no longer here.
pub(super) const MAX_LIFETIME: Duration = Duration::from_hours(1);
/// Keys are fetched anew when between 75 and 95 % of their lifetime have passed: before it ends, and not
/// by all gateways at once.
const REFRESH_PERCENT: std::ops::RangeInclusive<u32> = 75..=95;
/// Wait after a first failed refresh; doubles with each further one.
const MIN_RETRY: Duration = Duration::from_secs(1);
/// Longest wait after a failed refresh.
const MAX_RETRY: Duration = Duration::from_mins(1);
/// Waits after failures are shortened by up to a half, so that gateways do not come back as one.
const RETRY_PERCENT: std::ops::RangeInclusive<u32> = 50..=100;
/// An issuer is asked for an unknown key id at most once in this time, whatever tokens come. It is also
/// how long strangers who use up that allowance can keep out tokens signed with a key that was published
/// only just before it was used.
pub(super) const UNKNOWN_KEY_INTERVAL: Duration = Duration::from_secs(30);
/// How long the request that has an unknown key id waits for the answer.
pub(super) const UNKNOWN_KEY_WAIT: Duration = Duration::from_secs(3);
/// Requests of one issuer that may wait for that answer; further ones are answered at once.
pub(super) const UNKNOWN_KEY_WAITING: usize = 1024;

/// RFC 9111 §4.2, within bounds: the first `max-age` that is a number, less the time that the answer spent
/// in caches on its way.
pub(super) fn lifetime(headers: &HeaderMap) -> Duration {
    let max_age = headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|directive| directive.trim().split_once('='))
        .find_map(|(name, value)| {
            let seconds: u64 = value.trim_matches('"').parse().ok()?;
            name.eq_ignore_ascii_case("max-age").then_some(seconds)
        });
    let age = headers.get(AGE).and_then(|age| age.to_str().ok()?.parse().ok()).unwrap_or(0);
    max_age.map_or(DEFAULT_LIFETIME, |seconds| {
        Duration::from_secs(seconds.saturating_sub(age)).clamp(MIN_LIFETIME, MAX_LIFETIME)
    })
}

/// How long after a fetch the next one begins, if its answer is good for `lifetime`.
pub(super) fn refresh_after(lifetime: Duration) -> Duration {
    some_of(lifetime, REFRESH_PERCENT)
}

/// How long to wait after the given number of failures in a row (at least one).
pub(super) fn retry_after(failures: u32) -> Duration {
    some_of(longest_retry(failures), RETRY_PERCENT)
}

fn longest_retry(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1);
    MIN_RETRY.saturating_mul(2_u32.saturating_pow(doublings)).min(MAX_RETRY)
}

/// A part of `whole` chosen at random. Without random bytes it is the smallest.
fn some_of(whole: Duration, percent: std::ops::RangeInclusive<u32>) -> Duration {
    let mut bytes = [0; 4];
    // An error leaves the zeros, which are as good here.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    let (least, most) = percent.into_inner();
    // In thousandths of a per cent, so that gateways differ by less than a second, too.
    let part = least * 1000 + u32::from_ne_bytes(bytes) % ((most - least) * 1000 + 1);
    whole * part / 100_000
}

/// Lets something happen at most once in [`UNKNOWN_KEY_INTERVAL`].
#[derive(Debug, Default)]
pub(super) struct Allowance {
    last: Option<Instant>,
}

impl Allowance {
    /// Whether it may happen at this time, and if so, that it does.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let is_due = self.last.is_none_or(|last| now - last >= UNKNOWN_KEY_INTERVAL);
        if is_due {
            self.last = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifetime_for(cache_control: &[&str], age: Option<&str>) -> Duration {
        let mut headers = HeaderMap::new();
        for value in cache_control {
            headers.append(CACHE_CONTROL, value.parse().unwrap());
        }
        if let Some(age) = age {
            headers.insert(AGE, age.parse().unwrap());
        }
        lifetime(&headers)
    }

    #[test]
    fn max_age_is_honoured_within_bounds() {
        assert_eq!(lifetime_for(&["public, max-age=90"], None), Duration::from_secs(90));
        assert_eq!(lifetime_for(&["Max-Age=\"90\""], None), Duration::from_secs(90));
        assert_eq!(lifetime_for(&["public", "max-age=90"], None), Duration::from_secs(90));
        assert_eq!(lifetime_for(&["max-age=0"], None), MIN_LIFETIME);
        assert_eq!(lifetime_for(&["max-age=31536000"], None), MAX_LIFETIME);
    }

    #[test]
    fn time_spent_in_caches_counts() {
        assert_eq!(lifetime_for(&["max-age=900"], Some("600")), Duration::from_mins(5));
        assert_eq!(lifetime_for(&["max-age=900"], Some("9999")), MIN_LIFETIME);
        assert_eq!(lifetime_for(&["max-age=900"], Some("soon")), Duration::from_mins(15));
    }

    #[test]
    fn without_max_age_the_default_counts() {
        for value in [&[][..], &["no-store"], &["max-age"], &["max-age=-1"], &["s-maxage=9"]] {
            assert_eq!(lifetime_for(value, Some("60")), DEFAULT_LIFETIME, "{value:?}");
        }
    }

    #[test]
    fn retries_back_off_to_a_bound() {
        let seconds: Vec<u64> = (1..=8).map(|failures| longest_retry(failures).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(longest_retry(u32::MAX), MAX_RETRY);
    }

    #[test]
    fn refreshes_come_before_the_end_and_not_all_at_once() {
        let hour = Duration::from_hours(1);
        let pauses: std::collections::BTreeSet<Duration> =
            (0..100).map(|_| refresh_after(hour)).collect();
        assert!(pauses.len() > 90, "{} different ones", pauses.len());
        assert!(pauses.iter().all(|pause| (hour * 75 / 100..=hour * 95 / 100).contains(pause)));
        let retries: std::collections::BTreeSet<Duration> =
            (0..100).map(|_| retry_after(7)).collect();
        assert!(retries.len() > 90, "{} different ones", retries.len());
        assert!(retries.iter().all(|pause| (MAX_RETRY / 2..=MAX_RETRY).contains(pause)));
    }

    #[test]
    fn allowance_is_one_in_thirty_seconds() {
        let mut allowance = Allowance::default();
        let start = Instant::now();
        let mut take = |millis| allowance.take(start + Duration::from_millis(millis));
        assert!(take(0));
        assert!(!take(0) && !take(29_999));
        assert!(take(30_000));
        assert!(!take(30_001) && !take(59_999));
        assert!(take(60_001));
    }
}
