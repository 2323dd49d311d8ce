//! `rowgate keys rotate`: a new key, and an end for those before it.

use std::time::Duration;

use tokio_postgres::Client;

use crate::config::duration_of;
use crate::policy::{self, PolicyError, Schedule};

const HELP: &str = "\
No request fails while keys are rotated:
  now            the new key is there, and not believed yet (coming)
  + lead         the database believes both; each gateway takes up the new one when it next reads
                 the keys (seal.refresh) and finds that the database believes it
  + overlap      the older keys end

Gateways with a key file need it replaced before the older keys end:
  rowgate keys rotate && rowgate keys export --replace /run/secrets/rowgate_seal_key

With replicas, let the lead be longer than they may lag. If somebody may know a key, end it at once:
rowgate keys retire KEY.";

/// Add a new seal key, and let those before it end
///
/// The key is made at random inside the database and is never shown. Keys that ended more than a day ago
/// are deleted.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Time until the new key is believed; none is waited for where there is no key yet
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = lead)]
    lead: Duration,

    /// Time for which the older keys are believed after that
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = overlap)]
    overlap: Duration,

    /// A key for use behind a pooler (database.pooler = "transaction"), whose seals hold on every
    /// connection; the other keys stay as they are
    #[arg(long)]
    unbound: bool,
}

pub(super) async fn run(args: &Args, client: &Client) -> Result<(), PolicyError> {
    let schedule = Schedule { lead: args.lead, overlap: args.overlap };
    let kid = policy::rotate_seal_key(client, schedule, !args.unbound).await?;
    let keys = policy::list_seal_keys(client).await?;
    for key in keys.iter().filter(|key| key.kid == kid) {
        println!("key {kid} is believed from {} UTC on", key.not_before);
    }
    Ok(())
}

fn lead(text: &str) -> Result<Duration, String> {
    duration_of(text)
        .ok_or_else(|| "expected a number and a unit, such as 0s, 30s or 5m".to_owned())
}

/// Below a second no gateway could have moved on.
fn overlap(text: &str) -> Result<Duration, String> {
    let long_enough = |duration: &Duration| *duration >= Duration::from_secs(1);
    duration_of(text)
        .filter(long_enough)
        .ok_or_else(|| "expected a number and a unit, at least 1s, such as 10m or 1h".to_owned())
}
