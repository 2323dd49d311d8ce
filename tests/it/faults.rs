//! What an issuer that fails costs the gateway's users: a steady load while the issuer goes wrong, in each
//! way that it can. The tests hold the failures and the number of fetches to what they should be;
//! `bench/faults` runs the same at 1,000 requests a second and writes down the latencies, too.

mod load;

use std::time::Duration;

use rowgate::config::Config;
use serde_json::json;

use crate::harness::issuer::{Behaviour, FakeIssuer};
use load::{Load, Outcome};

/// How long known keys are kept in the fault that outlasts them.
const SHORT: Duration = Duration::from_secs(1);

/// One way to go wrong.
struct Fault {
    name: &'static str,
    configure: fn(&mut Config),
    begin: fn(&FakeIssuer),
    /// Requests with made-up key ids.
    strangers: Strangers,
    /// Seconds by which the issuer's clock runs ahead.
    clock_ahead: i64,
    expect: fn(&Outcome),
}

/// How many requests come with made-up key ids.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Strangers {
    /// None: the issuer's own tokens make the gateway ask.
    None,
    /// One, when the fault begins, so that the gateway asks.
    One,
    /// As many as others, from when the fault begins.
    Flood,
}

const FAULT: Fault = Fault {
    name: "",
    configure: |_| {},
    begin: |_| {},
    strangers: Strangers::One,
    clock_ahead: 0,
    expect: unnoticed,
};

/// Nobody's request fails, and the retries of a failing refresh stay few.
fn unnoticed(outcome: &Outcome) {
    assert!(outcome.failed.is_empty(), "{outcome:?}");
    assert!((1..=6).contains(&outcome.fetches), "{outcome:?}");
}

/// Nobody's request fails, for one fetch.
fn one_fetch(outcome: &Outcome) {
    assert!(outcome.failed.is_empty(), "{outcome:?}");
    assert_eq!(outcome.fetches, 1, "{outcome:?}");
}

fn only_fails_with(outcome: &Outcome, code: &str) {
    let others: Vec<_> = outcome.failed.keys().filter(|other| *other != code).collect();
    assert!(outcome.failed.contains_key(code) && others.is_empty(), "{outcome:?}");
}

const INTERNAL_ERROR: Fault =
    Fault { name: "status 500", begin: |issuer| issuer.behave(Behaviour::Status(500)), ..FAULT };

const HANG: Fault =
    Fault { name: "no answer", begin: |issuer| issuer.behave(Behaviour::Hang), ..FAULT };

const HUGE: Fault = Fault {
    name: "answer of 300 MB",
    begin: |issuer| issuer.behave(Behaviour::Large(300 << 20)),
    ..FAULT
};

const REDIRECT: Fault = Fault {
    name: "redirect to another server",
    begin: |issuer| issuer.behave(Behaviour::Redirect("http://127.0.0.1:1/keys".into())),
    ..FAULT
};

const GARBAGE: Fault = Fault {
    name: "garbage",
    begin: |issuer| issuer.behave(Behaviour::Body("<html>maintenance</html>".into())),
    ..FAULT
};

const BAD_KEY: Fault = Fault {
    name: "one bad key",
    begin: |issuer| issuer.publish(json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "x" })),
    expect: one_fetch,
    ..FAULT
};

const CLOCK_TOLERATED: Fault = Fault {
    name: "issuer's clock 2 min ahead, `leeway` 3m",
    configure: |config| config.auth.issuers[0].leeway = Duration::from_mins(3),
    clock_ahead: 120,
    expect: one_fetch,
    ..FAULT
};

const CLOCK: Fault = Fault {
    name: "issuer's clock 2 min ahead, `leeway` 30s (default): new tokens alone are refused",
    configure: |config| config.auth.issuers[0].leeway = Duration::from_secs(30),
    clock_ahead: 120,
    expect: |outcome| {
        only_fails_with(outcome, "401 RG4017");
        assert_eq!(outcome.fetches, 1, "{outcome:?}");
    },
    ..FAULT
};

const ROTATION: Fault = Fault {
    name: "rotation, the old keys stay published",
    begin: FakeIssuer::rotate_beside_the_old,
    strangers: Strangers::None,
    expect: one_fetch,
    ..FAULT
};

const FLOOD: Fault = Fault {
    name: "flood of unknown `kid`s, as many again",
    strangers: Strangers::Flood,
    expect: one_fetch,
    ..FAULT
};

const FLOOD_WHILE_HANGING: Fault = Fault {
    name: "flood of unknown `kid`s, and no answer",
    begin: |issuer| issuer.behave(Behaviour::Hang),
    strangers: Strangers::Flood,
    ..FAULT
};

const OUTAGE: Fault = Fault {
    name: "down for longer than `keys_kept` (1s here): 503 from then on",
    configure: |config| config.auth.issuers[0].keys.kept = SHORT,
    begin: |issuer| issuer.behave(Behaviour::Status(500)),
    expect: |outcome| {
        only_fails_with(outcome, "503 RG5031");
        let failed = outcome.failed["503 RG5031"];
        assert!(failed < outcome.requests, "{outcome:?}");
        assert!(outcome.first_failure >= Some(SHORT), "{outcome:?}");
        assert!((1..=6).contains(&outcome.fetches), "{outcome:?}");
    },
    ..FAULT
};

async fn check(fault: &Fault) {
    (fault.expect)(&load::run(fault, Load::SMALL).await);
}

#[tokio::test]
async fn status_500_is_not_noticed() {
    check(&INTERNAL_ERROR).await;
}

#[tokio::test]
async fn hanging_issuer_is_not_noticed() {
    check(&HANG).await;
}

#[tokio::test]
async fn huge_answer_is_not_noticed() {
    check(&HUGE).await;
}

#[tokio::test]
async fn redirect_elsewhere_is_not_noticed() {
    check(&REDIRECT).await;
}

#[tokio::test]
async fn garbage_is_not_noticed() {
    check(&GARBAGE).await;
}

#[tokio::test]
async fn bad_key_beside_good_ones_is_not_noticed() {
    check(&BAD_KEY).await;
}

#[tokio::test]
async fn clocks_may_differ_by_the_leeway_and_no_more() {
    check(&CLOCK_TOLERATED).await;
    check(&CLOCK).await;
}

#[tokio::test]
async fn rotation_is_not_noticed() {
    check(&ROTATION).await;
}

#[tokio::test]
async fn flood_of_unknown_key_ids_is_not_noticed() {
    check(&FLOOD).await;
    check(&FLOOD_WHILE_HANGING).await;
}

#[tokio::test]
async fn outage_beyond_the_configured_time_is_503_and_nothing_else() {
    check(&OUTAGE).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, for bench/faults"]
async fn measured() {
    let machine = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let before = machine.split(' ').next().unwrap_or("unknown").to_owned();
    let mut rows = String::new();
    for fault in [
        INTERNAL_ERROR,
        HANG,
        HUGE,
        REDIRECT,
        GARBAGE,
        BAD_KEY,
        CLOCK_TOLERATED,
        CLOCK,
        ROTATION,
        FLOOD,
        FLOOD_WHILE_HANGING,
        OUTAGE,
    ] {
        let outcome = load::run(&fault, Load::FULL).await;
        rows.push_str(&outcome.row(fault.name));
        println!("{}", outcome.row(fault.name).trim_end());
        (fault.expect)(&outcome);
    }
    load::write_table(&before, &rows);
}
