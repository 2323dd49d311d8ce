//! Whether an attack succeeded, by what attacker, victim and owner see afterwards.

use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::SimpleQueryMessage;

use crate::answer::shortened;
use crate::corpus::{Attack, Check, Expectation, LogBound};
use crate::replay::Replay;
use crate::stage::{Outgoing, Stage};

/// A check that did not hold.
#[derive(Clone, Debug)]
pub struct Breach {
    pub what: String,
    /// Whether a machine with other work to do could be the reason.
    pub may_be_load: bool,
}

/// What the runner knows that is not in the corpus.
pub struct Knowledge {
    pub secrets: Vec<String>,
    pub log_lines_before: usize,
    pub log_lines_after: usize,
}

fn breach(what: String) -> Option<Breach> {
    Some(Breach { what: shortened(&what), may_be_load: false })
}

fn late(what: String) -> Option<Breach> {
    Some(Breach { what: shortened(&what), may_be_load: true })
}

/// The checks that are to be made while the background requests still run.
pub async fn during(attack: &Attack, replay: &Replay, stage: &Stage) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for check in &attack.check {
        if let Some(expected) = check.victim.as_ref().filter(|expected| expected.during) {
            breaches.extend(victim(expected, replay).await);
        }
        if let Some(expected) = check.owner.as_ref().filter(|expected| expected.during) {
            breaches.extend(owner(expected, stage).await);
        }
    }
    breaches
}

/// All other checks.
pub async fn afterwards(
    attack: &Attack,
    replay: &Replay,
    stage: &Stage,
    known: &Knowledge,
) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for check in &attack.check {
        breaches.extend(seen(check, attack, replay, known));
        breaches.extend(bounded(check, attack, replay));
        breaches.extend(compared(check, replay));
        if let Some(bound) = &check.server_log_must_not_grow {
            breaches.extend(logged(bound, known));
        }
        for user in check.background_must_succeed.iter().flatten() {
            breaches.extend(background(user, replay));
        }
        if let Some(expected) = check.victim.as_ref().filter(|expected| !expected.during) {
            breaches.extend(victim(expected, replay).await);
        }
        if let Some(expected) = check.owner.as_ref().filter(|expected| !expected.during) {
            breaches.extend(owner(expected, stage).await);
        }
        // The gateway passes no notices on, whoever asks: there is nothing to look at for
        // victim_notices_must_not_contain.
    }
    breaches
}

fn seen(check: &Check, attack: &Attack, replay: &Replay, known: &Knowledge) -> Option<Breach> {
    let forbidden = check.attacker_must_not_see.as_ref()?;
    let own = replay.exchanges.iter().filter(|exchange| exchange.user == attack.attacker);
    let visible: String = own.map(|exchange| exchange.answer.visible()).collect();
    for text in forbidden {
        if text == "$SECRETS" {
            if known.secrets.iter().any(|secret| visible.contains(secret)) {
                return breach("the attacker saw key material".to_owned());
            }
        } else if let Some(at) = visible.find(text) {
            let start = visible.floor_char_boundary(at.saturating_sub(20));
            let end = visible.floor_char_boundary(at + text.len() + 20);
            return breach(format!("the attacker saw {text:?}: …{}…", &visible[start..end]));
        }
    }
    None
}

fn bounded(check: &Check, attack: &Attack, replay: &Replay) -> Vec<Breach> {
    let own = || replay.exchanges.iter().filter(|exchange| exchange.user == attack.attacker);
    let mut breaches = Vec::new();
    if let Some(limit) = check.attacker_within_ms {
        let slowest = own().map(|exchange| exchange.answer.elapsed.as_millis()).max().unwrap_or(0);
        if slowest > u128::from(limit) {
            breaches.extend(late(format!("a request of the attacker took {slowest} ms")));
        }
    }
    if let Some(limit) = check.attacker_max_bytes {
        let bytes: u64 = own().map(|exchange| exchange.answer.bytes_received).sum();
        if bytes > limit {
            breaches.extend(breach(format!("the gateway took {bytes} bytes from the server")));
        }
    }
    breaches
}

fn compared(check: &Check, replay: &Replay) -> Option<Breach> {
    let both = |names: &(String, String)| {
        (replay.capture(&names.0).to_owned(), replay.capture(&names.1).to_owned())
    };
    if let Some(names) = &check.differ {
        let (a, b) = both(names);
        if a == b {
            return breach(format!("both times {a:?}"));
        }
    }
    if let Some(names) = &check.same {
        let (a, b) = both(names);
        if a != b {
            return breach(format!("{a:?} and {b:?} differ"));
        }
    }
    if let Some((one, other, pattern)) = &check.same_number {
        let pattern = regex::Regex::new(pattern).unwrap();
        let number =
            |name: &str| pattern.captures(replay.capture(name)).map(|found| found[1].to_owned());
        let (a, b) = (number(one), number(other));
        if a != b {
            return breach(format!("{a:?} and {b:?} differ"));
        }
    }
    if let Some((one, other, ratio)) = &check.close_numbers {
        let number = |name: &str| replay.capture(name).trim().parse::<f64>().ok();
        if let (Some(a), Some(b)) = (number(one), number(other))
            && a.max(b) > a.min(b) * ratio
        {
            return late(format!("{a} and {b} are too far apart"));
        }
    }
    None
}

fn logged(bound: &LogBound, known: &Knowledge) -> Option<Breach> {
    let grown = known.log_lines_after - known.log_lines_before;
    if grown > bound.max {
        return breach(format!("{grown} lines with {:?} in the server's log", bound.pattern));
    }
    None
}

fn background(user: &str, replay: &Replay) -> Option<Breach> {
    let failed = replay.exchanges.iter().find(|exchange| {
        exchange.background && exchange.user == user && !exchange.answer.succeeded()
    })?;
    let what = format!("the background request of {user}: {}", failed.answer.summary());
    if failed.answer.status == 504 { late(what) } else { breach(what) }
}

async fn victim(expected: &Expectation, replay: &Replay) -> Option<Breach> {
    let user = expected.user.as_deref().unwrap_or("bob");
    sleep(Duration::from_millis(expected.stats_delay_ms)).await;
    let answer =
        replay.send(&Outgoing::new(user, expected.sql.clone()), expected.other_connection).await;
    let elapsed = answer.elapsed.as_millis();
    if let Some(limit) = expected.within_ms
        && elapsed > u128::from(limit)
    {
        return late(format!("{user} waited {elapsed} ms: {}", answer.summary()));
    }
    let refused = matches!(answer.status, 400 | 403);
    if refused && expected.alt_rows.as_deref() == Some("refused") {
        return None;
    }
    let what = || format!("the victim {user} got {}", answer.summary());
    match (&expected.rows, answer.rows()) {
        (Some(expected), Some(rows)) if *expected == rows => None,
        (None, Some(_)) => None,
        (_, None) if answer.status >= 500 => late(what()),
        _ => breach(what()),
    }
}

async fn owner(expected: &Expectation, stage: &Stage) -> Option<Breach> {
    sleep(Duration::from_millis(expected.stats_delay_ms)).await;
    let superuser = stage.database.superuser().await;
    let sql = expected.sql.statements().join("; ");
    let messages = match superuser.simple_query(&sql).await {
        Ok(messages) => messages,
        Err(error) => return breach(format!("the owner got {error}")),
    };
    let rows: Vec<Vec<Option<String>>> = messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|index| row.get(index).map(str::to_owned)).collect())
            }
            _ => None,
        })
        .collect();
    match &expected.rows {
        Some(expected) if *expected != rows => breach(format!("the owner sees {rows:?}")),
        _ => None,
    }
}
