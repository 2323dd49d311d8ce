//! Everything that is not a good seal of exactly these claims, for this backend, now: 28000.

use rowgate::config::SealKeyConfig;
use tokio_postgres::error::SqlState;

use super::*;

#[tokio::test]
async fn claims_that_a_caller_writes_himself_are_refused() {
    let caller = Caller::new().await;
    caller.refuses(BOB, "").await;
    caller.refuses(BOB, "x").await;
    caller.refuses("", &caller.seal(BOB)).await;
    caller.refuses(BOB, &caller.seal(ALICE)).await;
    for changed in [
        ALICE.replace("alice", "alicf"),
        ALICE.replace(':', ": "),
        format!("{ALICE} "),
        format!(" {ALICE}"),
        ALICE[..ALICE.len() - 1].to_owned(),
    ] {
        caller.refuses(&changed, &caller.seal(ALICE)).await;
    }
    // In the middle of a request that was sealed.
    let hijack = "with x as materialized (select pg_catalog.set_config('request.jwt.claims', \
                  '{\"sub\":\"bob\"}', true)) select auth.user_id() from x where x is not null";
    let refused = Err(SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
    assert_eq!(caller.sealed(ALICE, hijack).await, refused);
}

#[tokio::test]
async fn a_seal_of_another_backend_is_refused() {
    let caller = Caller::new().await;
    let other = connect(&caller.database.authenticated_url).await;
    let replayed = ask(&other, ALICE, &caller.seal(ALICE), SUB).await;
    assert_eq!(replayed, Err(SqlState::INVALID_AUTHORIZATION_SPECIFICATION));
    let exp = in_seconds(30);
    for pid in ["0", "-1", "", "1"] {
        caller.refuses(ALICE, &seal(&caller.key, pid, &exp, ALICE)).await;
    }
}

#[tokio::test]
async fn a_backend_whose_pid_begins_like_another_takes_none_of_its_seals() {
    let caller = Caller::new().await;
    // A genuine seal for the backend with one digit more; the digit moves in front of the key's id.
    let genuine = seal(&caller.key, &format!("{}4", caller.pid), &in_seconds(30), ALICE);
    let (tag, rest) = genuine.split_at(64);
    caller.refuses(ALICE, &format!("{tag}4{rest}")).await;
    // And one for the backend with one digit less; the digit becomes part of nothing.
    let pid = caller.pid.to_string();
    let (shorter, last) = pid.split_at(pid.len() - 1);
    caller.refuses(ALICE, &seal(&caller.key, shorter, &in_seconds(30), ALICE)).await;
    let odd = SealKeyConfig { kid: format!("{last}{}", caller.key.kid), ..caller.key.clone() };
    caller.refuses(ALICE, &seal(&odd, shorter, &in_seconds(30), ALICE)).await;
}

#[tokio::test]
async fn a_seal_is_good_until_it_expires_by_the_clock_of_the_transaction() {
    let caller = Caller::new().await;
    let pid = caller.pid.to_string();
    for gone in [-1, -30, -1_000_000_000, -i64::from(u32::MAX)] {
        caller.refuses(ALICE, &seal(&caller.key, &pid, &in_seconds(gone), ALICE)).await;
    }
    let short = seal(&caller.key, &pid, &in_seconds(3), ALICE);
    assert_eq!(caller.ask(ALICE, &short, SUB).await, Ok(Some("alice".to_owned())));
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    caller.refuses(ALICE, &short).await;
    // It is no matter how long a transaction takes that began in time: its start counts.
    let waiting = "select auth.user_id() from (select pg_sleep(2.5)) as s";
    let short = seal(&caller.key, &pid, &in_seconds(2), ALICE);
    assert_eq!(caller.ask(ALICE, &short, waiting).await, Ok(Some("alice".to_owned())));
}

#[tokio::test]
async fn the_boundary_between_expiry_and_claims_cannot_be_moved() {
    let caller = Caller::new().await;
    let exp = in_seconds(-100);
    // Sealed: `…<exp><claims>`. The same bytes, cut elsewhere, have the same hmac.
    let claims = format!("9{ALICE}");
    let genuine = seal(&caller.key, &caller.pid.to_string(), &exp, &claims);
    caller.refuses(ALICE, &format!("{genuine}9")).await;
    let genuine = caller.seal(ALICE);
    let (cut, digits) = genuine.split_at(genuine.len() - 3);
    caller.refuses(&format!("{digits}{ALICE}"), cut).await;
    caller.refuses(&ALICE[1..], &format!("{genuine}{{")).await;
    // Nor may it be written differently.
    for exp in ["+1893456000", "01893456000", "1893456000.0", "1e10", "infinity", "", " "] {
        caller.refuses(ALICE, &seal(&caller.key, &caller.pid.to_string(), exp, ALICE)).await;
    }
}

#[tokio::test]
async fn malformed_seals_of_every_kind_are_refused_alike() {
    let caller = Caller::new().await;
    let good = caller.seal(ALICE);
    let (kid, exp) = (&caller.key.kid, in_seconds(30));
    let tag = &good[..64];
    for seal in [
        good.to_uppercase(),
        good[1..].to_owned(),
        format!("0{good}"),
        format!(" {good}"),
        format!("{good} "),
        format!("{good}\n"),
        format!("{good}."),
        format!("{good}.1"),
        format!("{good}{good}"),
        tag.to_owned(),
        format!("{tag}.{kid}"),
        format!("{tag}.{kid}."),
        format!("{tag}..{exp}"),
        format!("{tag}.{kid}.{exp}.{kid}"),
        format!("{tag}.unknown.{exp}"),
        format!("{tag}.{kid}{kid}.{exp}"),
        format!("{tag}.{kid}.{exp}0"),
        format!("{}.{kid}.{exp}", "0".repeat(64)),
        format!("{}.{kid}.{exp}", "zz".repeat(32)),
        format!("{}.{kid}.{exp}", "é".repeat(32)),
        format!("{}.{kid}.{exp}", "\\x".repeat(32)),
        format!(".{kid}.{exp}"),
        "...".to_owned(),
        ".".to_owned(),
        " ".to_owned(),
        "null".to_owned(),
        "x".repeat(100_000),
        ".".repeat(100_000),
    ] {
        caller.refuses(ALICE, &seal).await;
    }
    for position in [0, 31, 63] {
        let digit = if &good[position..=position] == "0" { "1" } else { "0" };
        let flipped = format!("{}{digit}{}", &good[..position], &good[position + 1..]);
        caller.refuses(ALICE, &flipped).await;
    }
}

#[tokio::test]
async fn a_seal_with_a_guessed_key_is_refused() {
    let caller = Caller::new().await;
    for key in [[0; 32], [0x36; 32], [0xff; 32]] {
        let guessed = SealKeyConfig { key, ..caller.key.clone() };
        caller
            .refuses(ALICE, &seal(&guessed, &caller.pid.to_string(), &in_seconds(30), ALICE))
            .await;
    }
}
