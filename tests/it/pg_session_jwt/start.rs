//! Which of the two is in force: what `serve`, `check` and `migrate` make of what they find.

use std::process::Command;

use rowgate::config::{Pooler, SealMethod};
use rowgate::observe::Observer;
use rowgate::server::Server;

use super::*;
use crate::harness::gateway::config;
use crate::harness::issuer::FakeIssuer;

/// Why a gateway does not start.
async fn refusal(database: &TestDatabase, change: impl FnOnce(&mut Config)) -> String {
    let issuer = FakeIssuer::start().await;
    let mut config = config(database, &issuer);
    change(&mut config);
    match Server::bind(config, Observer::default()).await {
        Ok(_) => "it starts".to_owned(),
        Err(error) => error.to_string(),
    }
}

async fn check(database: &TestDatabase, arguments: &[&str]) -> (Option<i32>, String) {
    let issuer = FakeIssuer::start().await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_rowgate"));
    command.arg("check").args(arguments).current_dir(std::env::temp_dir()).env_clear();
    command.env("DATABASE_URL", &database.owner_url);
    command.env("DATABASE_AUTHENTICATED_URL", &database.authenticated_url);
    command.env("DATABASE_ANONYMOUS_URL", &database.anonymous_url);
    command.env("ROWGATE_ISSUER_URL", issuer.url());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(printed).unwrap())
}

#[tokio::test]
async fn the_configuration_may_insist_on_one_of_the_two() {
    let theirs = migrated().await;
    let own = refusal(&theirs, |config| config.seal.method = SealMethod::Own).await;
    assert!(own.contains("is the extension pg_session_jwt's"), "{own}");
    let pooled = refusal(&theirs, |config| config.database.pooler = Pooler::Transaction).await;
    assert!(pooled.contains("pooler"), "{pooled}");
    let insisting = |config: &mut Config| config.seal.method = SealMethod::PgSessionJwt;
    assert_eq!(refusal(&theirs, insisting).await, "it starts");

    let ours = cluster::fresh_database().await;
    let missing = refusal(&ours, insisting).await;
    assert!(missing.contains("install it"), "{missing}");
    let own = refusal(&ours, |config| config.seal.method = SealMethod::Own).await;
    assert_eq!(own, "it starts");
}

#[tokio::test]
async fn a_function_that_believes_settings_keeps_the_gateway_from_starting() {
    let database = migrated().await;
    let superuser = database.superuser().await;
    // What version 0.4.0 of the extension was seen with.
    superuser
        .batch_execute(
            "create function auth.jwt() returns jsonb language sql stable as
               $$ select nullif(current_setting('request.jwt.claims', true), '')::jsonb $$",
        )
        .await
        .unwrap();
    let reason = refusal(&database, |_| {}).await;
    assert!(reason.contains("auth.jwt() believes settings"), "{reason}");
    let (code, printed) = check(&database, &[]).await;
    assert_eq!(
        (code, printed.contains("auth.jwt() believes settings")),
        (Some(1), true),
        "{printed}"
    );

    superuser
        .batch_execute(
            "create or replace function auth.jwt() returns jsonb language sql stable as
               $$ select auth.session() $$",
        )
        .await
        .unwrap();
    assert_eq!(refusal(&database, |_| {}).await, "it starts");
}

#[tokio::test]
async fn an_extension_that_verifies_nothing_keeps_the_gateway_from_starting() {
    for (lax, complaint) in [
        (
            "create or replace function auth.session() returns jsonb language sql stable as $$
               select convert_from(decode(rpad(translate(split_part(
                 nullif(current_setting('pg_session_jwt.jwt', true), ''), '.', 2), '-_', '+/'),
                 (length(split_part(current_setting('pg_session_jwt.jwt', true), '.', 2)) + 3) / 4 * 4, '='),
                 'base64'), 'utf8')::jsonb $$",
            "signed with another key",
        ),
        (
            "create or replace function auth.session() returns jsonb language sql stable as
               $$ select '{\"role\":\"someone\"}'::jsonb $$",
            "does not return its claims",
        ),
        (
            "create or replace function auth.session() returns jsonb language sql stable as
               $$ select '{\"role\":\"anonymous\"}'::jsonb $$",
            "claims stay",
        ),
    ] {
        let database = migrated().await;
        database.superuser().await.batch_execute(lax).await.unwrap();
        let reason = refusal(&database, |_| {}).await;
        assert!(reason.contains(complaint), "{complaint}: {reason}");
    }
}

#[tokio::test]
async fn check_says_which_of_the_two_is_in_force() {
    let (code, printed) = check(&migrated().await, &[]).await;
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("seal: in force is the extension pg_session_jwt"), "{printed}");
    assert!(printed.contains("seal: believed when sent as authenticated"), "{printed}");
    assert!(printed.contains("seal: believed when sent as anonymous"), "{printed}");
    assert!(printed.contains("the extension pg_session_jwt"), "{printed}");
    assert!(!printed.contains("seal key"), "{printed}");

    let ours = cluster::fresh_database().await;
    let (code, printed) = check(&ours, &[]).await;
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("seal: by Rowgate's own functions"), "{printed}");
    let (code, printed) = check(&ours, &["--set", "seal.method=pg_session_jwt"]).await;
    assert_eq!((code, printed.contains("not that extension's")), (Some(1), true), "{printed}");
}

#[tokio::test]
async fn migrate_leaves_the_extensions_functions_alone_and_says_so() {
    let database = with_extension().await;
    let functions = "select string_agg(p.oid::regprocedure || md5(p.prosrc) || p.proowner || coalesce(p.proacl::text, ''), \
                                       ' ' order by p.oid) \
                       from pg_proc as p where p.pronamespace = 'auth'::regnamespace";
    let superuser = database.superuser().await;
    let before: String = superuser.query_one(functions, &[]).await.unwrap().get(0);
    let report =
        policy::migrate(&mut database.owner().await, &project(), &policy::Options::default())
            .await
            .unwrap();
    assert!(report.to_string().contains("pg_session_jwt"), "{report}");
    assert_eq!(report.migrations[0], "auth/V1__roles");
    let after: String = superuser.query_one(functions, &[]).await.unwrap().get(0);
    assert_eq!(before, after);
    // Once more: nothing to do.
    let report =
        policy::migrate(&mut database.owner().await, &project(), &policy::Options::default())
            .await
            .unwrap();
    assert!(report.migrations.is_empty(), "{report}");
    let tables =
        "select count(*) from pg_class where relnamespace = 'auth'::regnamespace and relkind = 'r'";
    assert_eq!(superuser.query_one(tables, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test]
async fn migrate_says_what_it_cannot_do_beside_the_extension() {
    let database = with_extension().await;
    let superuser = database.superuser().await;
    superuser.batch_execute("revoke usage on schema auth from public").await.unwrap();
    let mut owner = database.owner().await;
    let refused = policy::migrate(&mut owner, &project(), &policy::Options::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("grant usage on schema auth to public"), "{refused}");
    superuser.batch_execute("grant usage on schema auth to public").await.unwrap();
    superuser.batch_execute("create function auth.other() returns int4 return 1").await.unwrap();
    let refused = policy::migrate(&mut owner, &project(), &policy::Options::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("already contains auth.other()"), "{refused}");
    superuser.batch_execute("drop function auth.other()").await.unwrap();
    policy::migrate(&mut owner, &project(), &policy::Options::default()).await.unwrap();
}

/// The claims are signed with a key of that connection's own, as for a request.
#[tokio::test]
async fn policies_explain_makes_the_extension_believe_its_claims() {
    let database = migrated().await;
    let rows = "insert into todos (user_id, task) values ('alice', 'write'), ('bob', 'cook')";
    database.superuser().await.batch_execute(rows).await.unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rowgate"));
    command.args(["policies", "explain", "--as", "alice", "select task from todos"]);
    command.current_dir(std::env::temp_dir()).env_clear().env("DATABASE_URL", &database.owner_url);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let printed = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(0), "{printed}");
    assert!(printed.contains("Runs: 1 row"), "{printed}");
    assert!(printed.contains("they saw auth.user_id() = 'alice'"), "{printed}");
}
