//! `auth.revoked`: who may write and read it, what it stops and how soon, and what happens when it cannot be
//! read.

use std::time::{Duration, Instant};

use hyper::Method;
use rowgate::config::Config;
use rowgate::observe::Observer;
use rowgate::pg::url::ConnectUrl;
use rowgate::server::{Server, revocations};
use serde_json::json;

use crate::harness::cluster::{self, PrivateCluster, TEST_PASSWORD, TestDatabase};
use crate::harness::gateway::{TestAnswer, TestGateway, config};
use crate::harness::issuer::FakeIssuer;

const OFTEN: Duration = Duration::from_millis(100);
/// Many readings, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(15);

fn enable(config: &mut Config) {
    config.revocation.enabled = true;
    config.revocation.refresh = OFTEN;
}

async fn gateway() -> TestGateway {
    TestGateway::with(enable).await
}

async fn ask(gateway: &TestGateway, token: &str) -> TestAnswer {
    let header = format!("Bearer {token}");
    let body = json!({ "query": "select auth.user_id()", "arrayMode": true }).to_string();
    gateway.send(Method::POST, "/sql", &[("authorization", &header)], body).await
}

/// Asks until the answer's status is this.
async fn until(gateway: &TestGateway, token: &str, status: u16) -> TestAnswer {
    let began = Instant::now();
    loop {
        let answer = ask(gateway, token).await;
        if answer.status == status || began.elapsed() > PATIENCE {
            assert_eq!(answer.status, status, "{answer:?}");
            return answer;
        }
        tokio::time::sleep(OFTEN).await;
    }
}

async fn owner(database: &TestDatabase, sql: &str) {
    database.owner().await.batch_execute(sql).await.unwrap();
}

async fn metric(gateway: &TestGateway, name: &str) -> u64 {
    let text = String::from_utf8(gateway.admin("/metrics").await.body.to_vec()).unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("rowgate_{name} ")));
    line.unwrap_or_else(|| panic!("{text}")).rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_revoked_token_is_refused_although_it_is_remembered_and_others_are_not() {
    let gateway = gateway().await;
    let url = gateway.issuer.url().to_owned();
    let token = gateway.issuer.token("alice").claim("jti", "t1").sign();
    let other = gateway.issuer.token("alice").claim("jti", "t2").sign();
    assert_eq!(ask(&gateway, &token).await.rows(), json!([["alice"]]));
    owner(&gateway.database, &format!("select auth.revoke_token('{url}', 't1', reason => 'lost')"))
        .await;
    let answer = until(&gateway, &token, 401).await;
    assert_eq!(answer.failure(), (401, "RG4023".to_owned()));
    assert_eq!(answer.header("www-authenticate"), r#"Bearer error="invalid_token""#);
    assert!(!String::from_utf8_lossy(&answer.body).contains("lost"));
    assert_eq!(ask(&gateway, &other).await.status, 200);
    // One that was never seen before.
    let again = gateway.issuer.token("bob").claim("jti", "t1").sign();
    assert_eq!(ask(&gateway, &again).await.failure().1, "RG4023");
    assert_eq!(metric(&gateway, "revocations").await, 1);
}

#[tokio::test]
async fn the_tokens_of_a_user_are_refused_up_to_the_time_of_the_revocation() {
    let gateway = gateway().await;
    let url = gateway.issuer.url().to_owned();
    let before = gateway.issuer.token("alice").issued_in(-60).sign();
    let undated = gateway.issuer.token("alice").without("iat").sign();
    let others = gateway.issuer.token("bob").issued_in(-60).sign();
    for token in [&before, &undated, &others] {
        assert_eq!(ask(&gateway, token).await.status, 200);
    }
    owner(
        &gateway.database,
        &format!("select auth.revoke_user('{url}', 'alice', now() - interval '30 seconds')"),
    )
    .await;
    until(&gateway, &before, 401).await;
    assert_eq!(ask(&gateway, &undated).await.status, 401);
    assert_eq!(ask(&gateway, &others).await.status, 200);
    let after = gateway.issuer.token("alice").issued_in(-5).sign();
    assert_eq!(ask(&gateway, &after).await.status, 200);
    // For good.
    owner(&gateway.database, &format!("select auth.revoke_user('{url}', 'alice', 'infinity')"))
        .await;
    until(&gateway, &after, 401).await;
    assert_eq!(metric(&gateway, "revocations").await, 1, "one row for each user");
}

#[tokio::test]
async fn plain_inserts_do_as_well_and_a_row_that_has_expired_does_not_count() {
    let gateway = gateway().await;
    let url = gateway.issuer.url().to_owned();
    let sql = format!(
        "insert into auth.revoked (issuer, jti, expires_at, changed_in)
         values ('{url}', 'old', now() - interval '11 minutes', '1'),
                ('{url}', 'new', now() + interval '1 hour', '1')"
    );
    owner(&gateway.database, &sql).await;
    let token = |jti: &str| gateway.issuer.token("alice").claim("jti", jti).sign();
    until(&gateway, &token("new"), 401).await;
    assert_eq!(ask(&gateway, &token("old")).await.status, 200);
    owner(
        &gateway.database,
        "do $$ begin
           update auth.revoked set expires_at = now() - interval '2 hours' where jti = 'old';
           assert auth.clean_revoked() = 1;
           assert (select array_agg(jti) from auth.revoked) = '{new}';
         end $$",
    )
    .await;
}

/// Twelve readings, until all is read anew, take longer here than anybody waits.
#[tokio::test]
async fn an_update_that_ends_a_row_in_the_past_is_noticed_like_any_other() {
    let refresh = Duration::from_secs(2);
    let gateway = TestGateway::with(|config| {
        enable(config);
        config.revocation.refresh = refresh;
    })
    .await;
    assert!(refresh * 10 > PATIENCE);
    let url = gateway.issuer.url().to_owned();
    let token = gateway.issuer.token("alice").claim("jti", "t1").sign();
    owner(&gateway.database, &format!("select auth.revoke_token('{url}', 't1')")).await;
    until(&gateway, &token, 401).await;
    owner(&gateway.database, "update auth.revoked set expires_at = now() - interval '1 day'").await;
    until(&gateway, &token, 200).await;
}

/// A transaction with an older number that commits later must not be missed.
#[tokio::test]
async fn a_row_whose_transaction_lasted_over_many_readings_is_found() {
    let gateway = gateway().await;
    let url = gateway.issuer.url().to_owned();
    let token = |jti: &str| gateway.issuer.token("alice").claim("jti", jti).sign();
    let slow = gateway.database.owner().await;
    slow.batch_execute(&format!("begin; select auth.revoke_token('{url}', 'slow')")).await.unwrap();
    for n in 0..3 {
        owner(&gateway.database, &format!("select auth.revoke_token('{url}', 'quick{n}')")).await;
        until(&gateway, &token(&format!("quick{n}")), 401).await;
    }
    assert_eq!(ask(&gateway, &token("slow")).await.status, 200);
    slow.batch_execute("commit").await.unwrap();
    until(&gateway, &token("slow"), 401).await;
}

#[tokio::test]
async fn with_the_defaults_a_revocation_counts_within_ten_seconds() {
    let gateway = TestGateway::with(|config| config.revocation.enabled = true).await;
    let defaults = config(&gateway.database, &gateway.issuer).revocation;
    assert!(defaults.refresh + revocations::READ_LIMIT <= Duration::from_secs(10));
    let token = gateway.issuer.token("alice").claim("jti", "t1").sign();
    assert_eq!(ask(&gateway, &token).await.status, 200);
    let url = gateway.issuer.url().to_owned();
    owner(&gateway.database, &format!("select auth.revoke_token('{url}', 't1')")).await;
    let began = Instant::now();
    until(&gateway, &token, 401).await;
    println!("effective after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_row_that_is_deleted_soon_stops_counting() {
    let gateway = gateway().await;
    let url = gateway.issuer.url().to_owned();
    let token = gateway.issuer.token("alice").claim("jti", "t1").sign();
    owner(&gateway.database, &format!("select auth.revoke_token('{url}', 't1')")).await;
    until(&gateway, &token, 401).await;
    owner(&gateway.database, "delete from auth.revoked").await;
    until(&gateway, &token, 200).await;
    assert_eq!(metric(&gateway, "revocations").await, 0);
}

#[tokio::test]
async fn callers_can_neither_read_nor_write_the_list() {
    let gateway = gateway().await;
    // Even if somebody grants it by mistake, there is nothing to see and nothing to change.
    for granted in [false, true] {
        if granted {
            owner(
                &gateway.database,
                "select auth.revoke_user('x', 'mallory');
                 grant all on all tables in schema auth to authenticated, anonymous",
            )
            .await;
        }
        for subject in [Some("mallory"), None] {
            for sql in [
                "select count(*)::int4 from auth.revoked",
                "with gone as (delete from auth.revoked returning 1) select count(*)::int4 from gone",
                "with done as (update auth.revoked set expires_at = now() returning 1) \
                 select count(*)::int4 from done",
            ] {
                let answer = gateway.sql(subject, sql, json!([])).await;
                if granted {
                    assert_eq!(answer.rows(), json!([[0]]), "{sql}");
                } else {
                    assert_eq!(answer.failure(), (400, "42501".to_owned()), "{sql}");
                }
            }
            let insert = "insert into auth.revoked (issuer, jti) values ('x', 'y')";
            assert_eq!(gateway.sql(subject, insert, json!([])).await.failure().1, "42501");
        }
    }
    for call in [
        "select auth.revoke_token('x', 'y')",
        "select auth.revoke_user('x', 'y')",
        "select auth.clean_revoked()",
    ] {
        let answer = gateway.sql(Some("mallory"), call, json!([])).await;
        assert_ne!(answer.status, 200, "{call}");
        assert!(["42501", "RG4031"].contains(&answer.failure().1.as_str()), "{answer:?}");
    }
}

#[tokio::test]
async fn a_login_of_its_own_reads_the_list_and_one_that_sees_nothing_is_refused() {
    let cluster = PrivateCluster::start().await;
    let database = cluster.fresh_database().await;
    let issuer = FakeIssuer::start().await;
    let logins = format!(
        "create role reader login password '{TEST_PASSWORD}' in role rowgate_revocations;
         create role blind login password '{TEST_PASSWORD}';
         grant usage on schema auth to blind; grant select on auth.revoked to blind;
         insert into auth.revoked (issuer, jti) values ('{}', 't1')",
        issuer.url()
    );
    database.superuser().await.batch_execute(&logins).await.unwrap();
    let with_login = |user: &str| {
        let mut config = config(&database, &issuer);
        enable(&mut config);
        let url = cluster.cluster().url(user, TEST_PASSWORD, &database.name);
        config.database.revocation = Some(ConnectUrl::parse(&url).unwrap());
        config
    };
    let refused = Server::bind(with_login("blind"), Observer::default()).await.err().unwrap();
    assert!(refused.to_string().contains("grant rowgate_revocations"), "{refused}");
    let refused = Server::bind(with_login("authenticated"), Observer::default()).await.err();
    assert!(refused.unwrap().to_string().contains("permission denied"));
    let reader = with_login("reader").database.revocation;
    let gateway = TestGateway::believing(issuer, database, |config| {
        enable(config);
        config.database.revocation = reader;
    })
    .await;
    let token = gateway.issuer.token("alice").claim("jti", "t1").sign();
    assert_eq!(ask(&gateway, &token).await.failure().1, "RG4023");
}

#[tokio::test]
async fn when_the_list_cannot_be_read_the_last_one_counts_for_a_while_then_nobody_with_a_token_passes()
 {
    let gateway = TestGateway::with(|config| {
        enable(config);
        config.revocation.max_age = Duration::from_secs(4);
    })
    .await;
    let url = gateway.issuer.url().to_owned();
    let token = |jti: &str| gateway.issuer.token("alice").claim("jti", jti).sign();
    let (good, bad) = (token("good"), token("bad"));
    owner(&gateway.database, &format!("select auth.revoke_token('{url}', 'bad')")).await;
    until(&gateway, &bad, 401).await;
    let began = Instant::now();
    owner(&gateway.database, "alter table auth.revoked rename to hidden").await;
    while metric(&gateway, "revocation_failures_total").await == 0 {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(OFTEN).await;
    }
    let answer = ask(&gateway, &good).await;
    // Unless this machine took very long.
    assert!(answer.status == 200 || began.elapsed() > Duration::from_secs(3), "{answer:?}");
    let answer = until(&gateway, &good, 503).await;
    assert_eq!(answer.failure().1, "RG5037");
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(ask(&gateway, &bad).await.failure().1, "RG4023");
    assert_eq!(gateway.sql(None, "select 1", json!([])).await.status, 200);
    let ready = gateway.admin("/health/ready").await;
    assert_eq!((ready.status, ready.json()["revocations"].clone()), (503, json!("stale")));
    let began = Instant::now();
    while metric(&gateway, "revocations_stale").await == 0 {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(OFTEN).await;
    }
    owner(&gateway.database, "alter table auth.hidden rename to revoked").await;
    until(&gateway, &good, 200).await;
    assert_eq!(metric(&gateway, "revocations_stale").await, 0);
}

#[tokio::test]
async fn more_rows_than_are_held_are_a_failure_that_says_what_to_do() {
    let database = cluster::fresh_database().await;
    let issuer = FakeIssuer::start().await;
    let rows =
        "insert into auth.revoked (issuer, jti) select 'x', n::text from generate_series(1, 51) n";
    owner(&database, rows).await;
    let mut config = config(&database, &issuer);
    enable(&mut config);
    config.revocation.rows = 50;
    let refused = Server::bind(config.clone(), Observer::default()).await.err().unwrap();
    assert!(refused.to_string().contains("revocation.rows"), "{refused}");
    config.revocation.rows = 51;
    Server::bind(config, Observer::default()).await.unwrap();
}

#[tokio::test]
async fn without_the_table_it_does_not_start_and_without_being_asked_it_does_not_look() {
    let database = cluster::fresh_database().await;
    let issuer = FakeIssuer::start().await;
    owner(
        &database,
        &format!("insert into auth.revoked (issuer, jti) values ('{}', 't1')", issuer.url()),
    )
    .await;
    let token = issuer.token("alice").claim("jti", "t1").sign();
    let mut enabled = config(&database, &issuer);
    enable(&mut enabled);
    let gateway = TestGateway::believing(issuer, database, |_| {}).await;
    assert_eq!(ask(&gateway, &token).await.status, 200);
    owner(&gateway.database, "drop table auth.revoked").await;
    assert_eq!(ask(&gateway, &token).await.status, 200);
    let refused = Server::bind(enabled, Observer::default()).await.err().unwrap();
    assert!(refused.to_string().contains("rowgate migrate"), "{refused}");
}
