//! Where the extension `pg_session_jwt` has the schema `auth`, it verifies the claims instead of our functions.
//!
//! On servers that have the extension these tests use it; elsewhere a stand-in with the same functions
//! (`pg_session_jwt/stand_in.sql`), which verifies signatures, too.

mod moving;
mod start;

use std::time::Duration;

use rowgate::config::{Config, StatementKinds};
use rowgate::policy::{self, SqlSource};
use rowgate::policy_test::{self, TestError, TestFile};
use serde_json::{Value, json};

use crate::harness::cluster::{self, TestDatabase};
use crate::harness::gateway::TestGateway;

const STAND_IN: &str = include_str!("pg_session_jwt/stand_in.sql");
const TASKS: &str = "select task from todos order by id";
const WHO: &str = "select current_user::text, auth.user_id(), auth.session() ->> 'role'";

/// The repository's own `sql/`.
fn project() -> SqlSource {
    SqlSource::new(concat!(env!("CARGO_MANIFEST_DIR"), "/sql"))
}

/// An empty database with the extension, or the stand-in, whose schema everybody may use.
async fn with_extension() -> TestDatabase {
    let database = cluster::empty_database().await;
    let superuser = database.superuser().await;
    let available = "select from pg_available_extensions where name = 'pg_session_jwt'";
    if superuser.query_opt(available, &[]).await.unwrap().is_some() {
        superuser.batch_execute("create extension pg_session_jwt").await.unwrap();
    } else {
        superuser.batch_execute(STAND_IN).await.unwrap();
    }
    superuser.batch_execute("grant usage on schema auth to public").await.unwrap();
    database
}

/// The same, with the sample application.
async fn migrated() -> TestDatabase {
    let database = with_extension().await;
    policy::migrate(&mut database.owner().await, &project(), &policy::Options::default())
        .await
        .unwrap();
    database.enable_logins().await;
    database
}

async fn gateway(change: impl FnOnce(&mut Config)) -> TestGateway {
    let gateway = TestGateway::on(migrated().await, change).await;
    gateway.seed().await;
    gateway
}

/// With a single connection, so that every caller gets what the one before left, and all statements let
/// through, so that what holds is the extension and the cleaning alone.
async fn one_connection() -> TestGateway {
    gateway(|config| {
        config.database.pool_size = 1;
        config.limits.statements = StatementKinds::All;
    })
    .await
}

async fn who(gateway: &TestGateway, subject: Option<&str>) -> Value {
    gateway.sql(subject, WHO, json!([])).await.rows()
}

#[tokio::test]
async fn requests_run_as_who_their_token_says() {
    let gateway = gateway(|config| config.database.pool_size = 1).await;
    for round in 0..3 {
        for (subject, task) in [("alice", "alice one"), ("bob", "bob one")] {
            let rows = gateway.sql(Some(subject), TASKS, json!([])).await.rows();
            assert_eq!(rows[0], json!([task]), "{round}");
            let who = who(&gateway, Some(subject)).await;
            assert_eq!((&who[0][0], &who[0][1]), (&json!("authenticated"), &json!(subject)));
        }
        assert_eq!(who(&gateway, None).await, json!([["anonymous", null, "anonymous"]]));
    }
    let added = gateway
        .sql(Some("bob"), "insert into todos (user_id, task) values ('alice', 'x')", json!([]))
        .await;
    assert_eq!(added.failure(), (400, "42501".to_owned()));
    // After an error, too, the next one is himself.
    assert_eq!(who(&gateway, Some("alice")).await[0][1], json!("alice"));
}

#[tokio::test]
async fn policies_are_not_tested_with_seals_that_the_extension_does_not_know() {
    let database = migrated().await;
    let files = TestFile::read_all(&project().dir().join("tests")).unwrap();
    let settings = policy_test::Settings {
        stage: policy::Stage::AsItIs,
        coverage: false,
        mutate: false,
        patience: Duration::from_secs(30),
    };
    let outcome = policy_test::run(&mut database.owner().await, &project(), &files, settings).await;
    assert!(matches!(outcome, Err(TestError::Extension)), "{outcome:?}");
}

#[tokio::test]
async fn batches_with_options_and_several_statements_are_one_session() {
    let gateway = gateway(|_| {}).await;
    let answer = gateway.batch(Some("alice"), &["select auth.user_id()", TASKS]).await;
    assert_eq!(answer.json()["results"][0]["rows"], json!([["alice"]]));
    assert_eq!(answer.json()["results"][1]["rows"], json!([["alice one"], ["alice two"]]));
    let claims = gateway.sql(Some("alice"), "select auth.session()", json!([])).await.rows();
    let claims = &claims[0][0];
    assert!(claims["jti"].is_u64() && claims["exp"].is_u64(), "{claims}");
    assert_eq!((&claims["sub"], &claims["iss"]), (&json!("alice"), &json!(gateway.issuer.url())));
}

#[tokio::test]
async fn claims_that_the_callers_sql_writes_are_not_believed() {
    let gateway = one_connection().await;
    let forged = r#"{"sub":"bob","role":"authenticated"}"#;
    for setting in [
        "request.jwt.claims",
        "request.jwt.claim.sub",
        "rowgate.seal",
        "pg_session_jwt.jwt",
        "pg_session_jwt.jwk",
    ] {
        for local in ["true", "false"] {
            let set = format!("select set_config('{setting}', '{forged}', {local})");
            let text = gateway.batch(Some("alice"), &[&set, TASKS]).await.body;
            let text = String::from_utf8_lossy(&text).into_owned();
            assert!(!text.contains("bob one"), "{setting} {local}: {text}");
            let later = gateway.sql(Some("alice"), TASKS, json!([])).await;
            assert_eq!(later.rows(), json!([["alice one"], ["alice two"]]), "{setting} {local}");
        }
    }
}

#[tokio::test]
async fn the_jwt_of_another_user_is_worth_nothing() {
    let gateway = one_connection().await;
    let steal = "select current_setting('pg_session_jwt.jwt')";
    let stolen = gateway.sql(Some("bob"), steal, json!([])).await.rows();
    let stolen = stolen[0][0].as_str().unwrap().to_owned();
    assert_eq!(stolen.split('.').count(), 3);
    let replays = [
        format!("select set_config('pg_session_jwt.jwt', '{stolen}', true)"),
        format!("select auth.jwt_session_init('{stolen}')"),
        format!("set pg_session_jwt.jwt = '{stolen}'"),
    ];
    for replay in replays {
        // The connection that bob had was closed after what he did; and the first use spent the number.
        let answer = gateway.batch(Some("alice"), &[&replay, TASKS]).await;
        assert_eq!(answer.status, 400, "{}", String::from_utf8_lossy(&answer.body));
        assert_eq!(who(&gateway, Some("alice")).await[0][1], json!("alice"));
    }
}

#[tokio::test]
async fn a_jwt_cannot_be_used_again_on_its_own_connection() {
    let gateway = gateway(|config| config.database.pool_size = 1).await;
    // Functions of the application that a careless owner made: the first leaves nothing, so that the
    // connection is kept as it is.
    gateway
        .database
        .owner()
        .await
        .batch_execute(
            "create function seen() returns text language sql stable as $$
               select pg_backend_pid() || ' ' || current_setting('pg_session_jwt.jwt') $$;
             create function believe(jwt text) returns text language plpgsql as $$ begin
               perform set_config('pg_session_jwt.jwt', jwt, true);
               return pg_backend_pid() || ' ' || coalesce(auth.user_id(), ''); end $$;
             grant execute on function seen(), believe(text) to authenticated",
        )
        .await
        .unwrap();
    gateway.learn().await;
    let seen = gateway.sql(Some("bob"), "select seen()", json!([])).await.rows();
    let (pid, stolen) = seen[0][0].as_str().unwrap().split_once(' ').unwrap();

    let believe = "select believe($1)";
    let answer = gateway.sql(Some("alice"), believe, json!([stolen])).await;
    assert_eq!(answer.failure(), (400, "23514".to_owned()), "a jti that does not rise");
    // It was that connection, and it still is; one's own JWT is believed for as long as the request lasts.
    let seen =
        gateway.sql(Some("alice"), "select believe(split_part(seen(), ' ', 2))", json!([])).await;
    assert_eq!(seen.rows(), json!([[format!("{pid} alice")]]));
}

#[tokio::test]
async fn connections_stay_usable_after_they_were_cleaned() {
    let gateway = gateway(|config| {
        config.database.pool_size = 1;
        config.limits.allow_functions.push("setseed".to_owned());
    })
    .await;
    gateway
        .database
        .owner()
        .await
        .batch_execute(
            "create function leave_something() returns int4 language plpgsql as $$ begin
               perform pg_catalog.set_config('app.x', 'y', false); return 1; end $$;
             grant execute on function leave_something() to authenticated",
        )
        .await
        .unwrap();
    gateway.learn().await;
    for round in 0..3 {
        // Reset afterwards, and discarded before.
        for query in ["select leave_something()", "select setseed(0.5) is null"] {
            assert_eq!(gateway.sql(Some("bob"), query, json!([])).await.status, 200, "{query}");
            assert_eq!(who(&gateway, Some("alice")).await[0][1], json!("alice"), "{round} {query}");
        }
    }
}

#[tokio::test]
async fn callers_may_not_use_what_the_extension_has_for_gateways() {
    let gateway = gateway(|_| {}).await;
    for query in [
        "select auth.init()",
        "select auth.jwt_session_init('x')",
        "select jwt_session_init('x')",
        "select \"auth\".\"jwt_session_init\"('x') from todos",
        "update todos set task = auth.jwt_session_init(task)::text",
        "select set_config('pg_session_jwt.jwt', 'x', true)",
        "set pg_session_jwt.jwt = 'x'",
        "show pg_session_jwt.jwt",
    ] {
        let answer = gateway.sql(Some("alice"), query, json!([])).await;
        assert_eq!(answer.status, 403, "{query}: {}", String::from_utf8_lossy(&answer.body));
    }
}

#[tokio::test]
async fn without_the_extension_no_request_runs_as_nobody() {
    let gateway = gateway(|config| config.database.pool_size = 1).await;
    gateway.sql(Some("alice"), TASKS, json!([])).await.rows();
    let superuser = gateway.database.superuser().await;
    superuser.batch_execute("drop extension pg_session_jwt cascade").await.unwrap();
    // Neither on a connection that was there, nor on a new one.
    for subject in [Some("alice"), Some("alice"), None, None] {
        for query in ["select 1", TASKS] {
            let answer = gateway.sql(subject, query, json!([])).await;
            assert_eq!(answer.failure(), (503, "RG5036".to_owned()), "{subject:?} {query}");
        }
    }
    // Our own functions in their place do not change that: whether they believe it is for the next start.
    policy::migrate(&mut gateway.database.owner().await, &project(), &policy::Options::default())
        .await
        .unwrap();
    let answer = gateway.sql(Some("alice"), "select 1", json!([])).await;
    assert_eq!(answer.failure(), (503, "RG5036".to_owned()));
}

#[tokio::test]
async fn a_jwt_that_is_refused_is_503_and_nothing_runs() {
    let gateway = gateway(|config| config.database.pool_size = 1).await;
    gateway.sql(Some("alice"), TASKS, json!([])).await.rows();
    let superuser = gateway.database.superuser().await;
    superuser.batch_execute("revoke usage on schema auth from public").await.unwrap();
    superuser.batch_execute("revoke usage on schema auth from authenticated").await.unwrap();
    let add = "insert into todos (user_id, task) values ('alice', 'three')";
    for _ in 0..2 {
        let answer = gateway.sql(Some("alice"), add, json!([])).await;
        assert_eq!(answer.failure(), (503, "RG5036".to_owned()));
    }
    superuser.batch_execute("grant usage on schema auth to public").await.unwrap();
    let rows = gateway.sql(Some("alice"), TASKS, json!([])).await.rows();
    assert_eq!(rows, json!([["alice one"], ["alice two"]]));
    let metrics = gateway.admin("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let count =
        metrics.lines().find_map(|line| line.strip_prefix("rowgate_session_jwt_refusals_total "));
    assert!(count.unwrap().parse::<u32>().unwrap() >= 2, "{metrics}");
}
