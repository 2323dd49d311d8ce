//! Slots: with a login role for each connection, callers have no rights over each other's sessions. Roles
//! belong to a whole cluster, so that each test here has one of its own.

use std::collections::HashSet;
use std::process::Command;
use std::time::{Duration, Instant};

use rowgate::config::{ConcurrentRequests, Config, StatementKinds};
use rowgate::pg::url::ConnectUrl;
use rowgate::policy;
use rowgate::server::{ServeError, Server};
use serde_json::{Value, json};

use crate::harness::cluster::{PrivateCluster, TEST_PASSWORD, TestDatabase};
use crate::harness::gateway::{TestGateway, config};
use crate::harness::issuer::FakeIssuer;

const SLOTS: usize = 6;
const WHO: &str = "select current_user, session_user, current_setting('role')";

async fn make_slots(database: &TestDatabase) {
    let password = Some(TEST_PASSWORD.as_bytes());
    let bases = [("authenticated", password), ("anonymous", password)];
    policy::create_slots(&mut database.owner().await, &bases, SLOTS).await.unwrap();
}

/// Every kind of statement is let through, so that what holds is the database alone.
fn everything(config: &mut Config) {
    config.limits.statements = StatementKinds::All;
}

async fn with_slots(cluster: &PrivateCluster) -> TestGateway {
    let database = cluster.fresh_database().await;
    make_slots(&database).await;
    TestGateway::on(database, |config| {
        everything(config);
        config.database.slots = Some(SLOTS);
        config.limits.concurrent_requests = ConcurrentRequests::Unlimited;
    })
    .await
}

/// Whether alice sees what bob runs, and whether she can end it.
async fn sees_and_cancels(gateway: &TestGateway) -> (bool, bool) {
    let bobs = gateway.sql(Some("bob"), "select 'bobs secret' from pg_sleep(3)", json!([]));
    let alices = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let look = "select query from pg_stat_activity where pid <> pg_backend_pid()";
        let seen = gateway.sql(Some("alice"), look, json!([])).await.rows().to_string();
        for end in ["pg_cancel_backend", "pg_terminate_backend"] {
            let sql = format!(
                "select {end}(pid) from pg_stat_activity \
                 where pid <> pg_backend_pid() and usename like 'authenticated%'"
            );
            let roles = ["reset role", "set role none", "set session authorization default"];
            for role in roles {
                gateway.batch(Some("alice"), &[role, &sql]).await;
            }
        }
        seen.contains("bobs secret")
    };
    let (bob, seen) = tokio::join!(bobs, alices);
    (seen, bob.status != 200)
}

#[tokio::test]
async fn callers_of_other_slots_are_neither_seen_nor_ended() {
    let cluster = PrivateCluster::start().await;
    let shared = TestGateway::on(cluster.fresh_database().await, everything).await;
    assert_eq!(sees_and_cancels(&shared).await, (true, true), "without slots");
    drop(shared);
    let gateway = with_slots(&cluster).await;
    assert_eq!(sees_and_cancels(&gateway).await, (false, false), "with slots");
}

#[tokio::test]
async fn requests_run_as_the_same_role_as_without_slots_whatever_is_reset() {
    let cluster = PrivateCluster::start().await;
    let gateway = with_slots(&cluster).await;
    gateway.seed().await;
    let who = gateway.sql(Some("alice"), WHO, json!([])).await.rows();
    assert_eq!(who[0][0], "authenticated");
    assert!(who[0][1].as_str().unwrap().starts_with("authenticated_s"), "{who}");
    assert_eq!(gateway.sql(None, WHO, json!([])).await.rows()[0][0], "anonymous");
    let tasks = "select task from todos order by id";
    for escape in ["reset role", "set role none", "set session authorization default"] {
        let answer = gateway.batch(Some("alice"), &[escape, tasks, WHO]).await.json();
        assert_eq!(answer["results"][1]["rows"], json!([["alice one"], ["alice two"]]), "{escape}");
        if escape == "reset role" {
            assert_eq!(answer["results"][2]["rows"][0][0], "authenticated");
        }
    }
    // The role of a slot has nothing of its own, and cannot become that of another.
    for other in 1..=SLOTS {
        let escape = format!("set role authenticated_s{other}");
        let answer = gateway.batch(Some("alice"), &["set role none", &escape, WHO]).await;
        assert!(
            answer.status == 400 || {
                let who = &answer.json()["results"][2]["rows"][0];
                who[0] == who[1]
            },
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn connections_never_share_a_slot_not_even_those_of_two_gateways() {
    let cluster = PrivateCluster::start().await;
    let first = with_slots(&cluster).await;
    let second = TestGateway::on(the_same(&first.database), |config| {
        config.database.slots = Some(SLOTS);
        config.database.pool_size = 2;
        config.limits.concurrent_requests = ConcurrentRequests::Unlimited;
    })
    .await;
    let query = "select session_user::text from pg_sleep(3)";
    let (here, there) = (|| login_of(&first, query), || login_of(&second, query));
    let (a, b, c, d, e, f) = tokio::join!(here(), here(), here(), here(), there(), there());
    let logins: HashSet<String> =
        [a, b, c, d, e, f].iter().map(|login| login.as_str().unwrap().to_owned()).collect();
    assert_eq!(logins.len(), SLOTS, "{logins:?}");
}

fn the_same(database: &TestDatabase) -> TestDatabase {
    TestDatabase {
        name: database.name.clone(),
        owner_url: database.owner_url.clone(),
        authenticated_url: database.authenticated_url.clone(),
        anonymous_url: database.anonymous_url.clone(),
        superuser_url: database.superuser_url.clone(),
    }
}

async fn login_of(gateway: &TestGateway, query: &str) -> Value {
    gateway.sql(Some("alice"), query, json!([])).await.rows()[0][0].clone()
}

#[tokio::test]
async fn a_statement_that_swallows_its_cancellation_is_ended_by_closing_its_connection() {
    let cluster = PrivateCluster::start().await;
    let database = cluster.fresh_database().await;
    make_slots(&database).await;
    let gateway = TestGateway::on(database, |config| {
        everything(config);
        config.database.slots = Some(SLOTS);
        config.limits.deadline = Duration::from_millis(300);
    })
    .await;
    let stubborn = "do $$ begin loop begin perform pg_sleep(0.2); exception when query_canceled then null; \
                    end; end loop; end $$";
    let answer = gateway.sql(Some("alice"), stubborn, json!([])).await;
    assert_eq!(answer.status, 504);
    let began = Instant::now();
    let running =
        "select count(*) from pg_stat_activity where state = 'active' and usename ~ '_s[0-9]+$'";
    let superuser = gateway.database.superuser().await;
    while superuser.query_one(running, &[]).await.unwrap().get::<_, i64>(0) > 0 {
        assert!(began.elapsed() < Duration::from_secs(4));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_gateway_whose_slots_are_missing_or_harmful_does_not_start() {
    let cluster = PrivateCluster::start().await;
    let database = cluster.fresh_database().await;
    let issuer = FakeIssuer::start().await;
    let start = async || {
        let mut config = config(&database, &issuer);
        config.database.slots = Some(SLOTS);
        match Server::bind(config, rowgate::observe::Observer::default()).await {
            Err(ServeError::Role(reason)) => reason,
            Err(other) => panic!("{other}"),
            Ok(_) => String::new(),
        }
    };
    assert!(start().await.contains("\"authenticated_s1\" does not exist"), "{}", start().await);
    make_slots(&database).await;
    assert_eq!(start().await, "");
    let superuser = database.superuser().await;
    for (harm, cure) in [
        ("alter role anonymous_s3 bypassrls", "alter role anonymous_s3 nobypassrls"),
        (
            "grant authenticated_s1 to authenticated_s2",
            "revoke authenticated_s1 from authenticated_s2",
        ),
        ("grant authenticated to anonymous_s1", "revoke authenticated from anonymous_s1"),
    ] {
        superuser.batch_execute(harm).await.unwrap();
        assert_ne!(start().await, "", "{harm}");
        superuser.batch_execute(cure).await.unwrap();
        assert_eq!(start().await, "", "{cure}");
    }
}

#[tokio::test]
async fn migrate_makes_slots_and_makes_them_again() {
    let cluster = PrivateCluster::start().await;
    let database = cluster.fresh_database().await;
    let project = concat!(env!("CARGO_MANIFEST_DIR"), "/sql");
    for _ in 0..2 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowgate"));
        command.args(["migrate", "--sql", project, "--slots", "2"]).env_clear();
        command.env("DATABASE_URL", &database.owner_url);
        command.env("DATABASE_AUTHENTICATED_URL", &database.authenticated_url);
        command.env("DATABASE_ANONYMOUS_URL", &database.anonymous_url);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let url = ConnectUrl::parse(&database.anonymous_url).unwrap().with_user("anonymous_s2");
    let client = rowgate::pg::control::connect(&url).await.unwrap();
    let sql = "select count(*) from pg_roles where rolname ~ '_s[0-9]+$' and rolconnlimit = 1";
    assert_eq!(client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 4);
}

#[tokio::test]
async fn check_finds_slots_good_missing_or_without_a_password() {
    let cluster = PrivateCluster::start().await;
    let gateway = with_slots(&cluster).await;
    let issuer = FakeIssuer::start().await;
    let ask = async |slots: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowgate"));
        command.args(["check", "--set", "database.pool_size=2", "--set", slots]).env_clear();
        command.env("DATABASE_URL", &gateway.database.owner_url);
        command.env("DATABASE_AUTHENTICATED_URL", &gateway.database.authenticated_url);
        command.env("DATABASE_ANONYMOUS_URL", &gateway.database.anonymous_url);
        command.env("ROWGATE_ISSUER_URL", issuer.url());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let good = ask("database.slots=6").await;
    assert!(good.contains("slots: 6 login roles of authenticated can do nothing more"), "{good}");
    assert!(good.contains("rests in the database (slots)"), "{good}");
    let more = ask("database.slots=7").await;
    assert!(more.contains("\"anonymous_s7\" does not exist"), "{more}");
    let few = ask("database.slots=1").await;
    assert!(few.contains("fewer than database.pool_size (2)"), "{few}");
    let superuser = gateway.database.superuser().await;
    superuser.batch_execute("alter role anonymous_s6 password 'other'").await.unwrap();
    let locked = ask("database.slots=6").await;
    assert!(locked.contains("`rowgate migrate --slots 6` sets their passwords"), "{locked}");
}
