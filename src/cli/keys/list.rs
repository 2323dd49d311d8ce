//! `rowgate keys list`: which keys there are, and where each stands in its life.

use tokio_postgres::Client;

use crate::policy::{self, PolicyError, SealKeyRecord, SealKeyState};

/// List the seal keys: their ids and times, never a key
///
/// coming: not believed by the database yet. newest: the one that gateways seal with. older: believed
/// still, while gateways move on. ended: not believed any more; deleted a day later by the next rotation.
/// Times are UTC. Unbound keys are for use behind a pooler (database.pooler = "transaction").
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) async fn run(_: &Args, client: &Client) -> Result<(), PolicyError> {
    let keys = policy::list_seal_keys(client).await?;
    print!("{}", table(&keys));
    Ok(())
}

fn table(keys: &[SealKeyRecord]) -> String {
    let mut text = line("key", "state", "binding", "from", "until");
    for key in keys {
        let binding = if key.bound { "bound" } else { "unbound" };
        text.push_str(&line(&key.kid, word(key.state), binding, &key.not_before, &key.not_after));
    }
    text
}

fn line(id: &str, state: &str, binding: &str, from: &str, until: &str) -> String {
    format!("{id:<16}  {state:<6}  {binding:<7}  {from:<19}  {until}\n")
}

fn word(state: SealKeyState) -> &'static str {
    match state {
        SealKeyState::Coming => "coming",
        SealKeyState::Newest => "newest",
        SealKeyState::Older => "older",
        SealKeyState::Ended => "ended",
    }
}
