//! Putting a session back to where the login left it, keeping what is prepared on it.
//!
//! `DISCARD ALL` would do, but it throws the prepared statements away, which costs the requests that
//! follow more than the reset itself. Must never report success unless every part of it succeeded.

use std::time::Duration;

use aws_lc_rs::rand;
use bytes::BufMut;
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;

use super::PgError;
use super::connection::Connection;
use super::frame::tag;
use super::server_error::ServerError;
use super::sql::OwnSql;

/// How long a reset may take before the connection is closed instead.
pub const RESET_TIMEOUT: Duration = Duration::from_secs(2);

/// Everything that `DISCARD ALL` resets (discard.c) but plans and what [`FINISH`] does. Each is sent as a
/// message of its own and so a transaction of its own: one that fails does not undo the others. Settings
/// come first, because the rest depends on them; `reset all` leaves the role alone.
const STEPS: [OwnSql; 7] = [
    OwnSql("reset session authorization"),
    OwnSql("reset role"),
    OwnSql("reset all"),
    OwnSql("close all"),
    OwnSql("unlisten *"),
    OwnSql("discard temp"),
    OwnSql("discard sequences"),
];

/// Releases session-level locks; seeds the random generator, which `DISCARD ALL` does not, so that nobody
/// computes what others drew or will draw; and says whether all that is prepared is ours. The seed and the
/// names are parameters: the text of a statement can be seen by others. The function rather than the view,
/// which hardening takes from the API roles.
const FINISH: OwnSql = OwnSql(
    "select pg_catalog.pg_advisory_unlock_all() is null, \
     pg_catalog.setseed($1) is null, \
     not exists (select from pg_catalog.pg_prepared_statement() as s \
                 where not pg_catalog.starts_with(s.name, $2))",
);

/// The last column of a row that says yes.
const YES: &[u8] = b"\0\0\0\x01t";

impl Connection {
    /// Resets everything that a statement can leave in a session. On an error the connection is not fit
    /// for anybody.
    pub async fn reset(&mut self) -> Result<(), PgError> {
        match self.try_reset().await {
            Ok(true) => {
                self.note_clean();
                Ok(())
            }
            Ok(false) => {
                self.condemn();
                Err(PgError::Protocol("a reset session holds statements that are not ours"))
            }
            Err(error) => {
                self.condemn();
                Err(error)
            }
        }
    }

    /// Whether nothing is prepared that is not ours.
    async fn try_reset(&mut self) -> Result<bool, PgError> {
        let seed = seed()?;
        let prefix = self.statements().prefix().to_owned();
        let outbox = self.outbox();
        for step in STEPS {
            frontend::query(step.0, outbox)?;
        }
        frontend::parse("", FINISH.0, [], outbox)?;
        let put = |value: &str, out: &mut bytes::BytesMut| {
            out.put_slice(value.as_bytes());
            Ok(IsNull::No)
        };
        frontend::bind("", "", [], [seed.as_str(), prefix.as_str()], put, [], outbox)
            .map_err(|_| PgError::Protocol("a reset could not be bound"))?;
        frontend::execute("", 0, outbox)?;
        frontend::sync(outbox);
        self.flush(STEPS.len() + 1).await?;

        let mut ours = false;
        let mut refused = None;
        while self.is_in_flight() {
            let frame = self.next().await?;
            match frame.tag {
                tag::ERROR => refused = Some(ServerError::parse(frame.body)?),
                tag::DATA_ROW => ours = frame.body.ends_with(YES),
                _ => {}
            }
        }
        refused.map_or(Ok(ours), |error| Err(PgError::Server(Box::new(error))))
    }
}

/// A number in [-1, 1] with the 52 bits that `setseed` takes in (`pg_prng_fseed`).
fn seed() -> Result<String, PgError> {
    let mut entropy = [0; 8];
    rand::fill(&mut entropy).map_err(|_| PgError::Protocol("no randomness available"))?;
    let bits = u64::from_le_bytes(entropy) >> 12;
    #[expect(clippy::cast_precision_loss, reason = "52 bits fit into the mantissa")]
    let unit = bits as f64 / (1_u64 << 52) as f64;
    Ok((unit * 2.0 - 1.0).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_in_the_range_of_setseed_and_differ() {
        let seeds: Vec<f64> = (0..64).map(|_| seed().unwrap().parse().unwrap()).collect();
        assert!(seeds.iter().all(|seed| (-1.0..=1.0).contains(seed)), "{seeds:?}");
        assert!(seeds.windows(2).all(|pair| (pair[0] - pair[1]).abs() > f64::EPSILON));
        assert!(seeds.iter().any(|seed| *seed < 0.0) && seeds.iter().any(|seed| *seed > 0.0));
    }
}
