//! `rowgate harden`: what can rest in the database does afterwards, and what is legitimate still works.

use std::collections::BTreeMap;
use std::process::Command;

use hyper::Method;
use rowgate::config::StatementKinds;
use rowgate::policy::{self, SqlSource};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::harness::cluster::{self, TestDatabase};
use crate::harness::gateway::TestGateway;

const FIXTURE: &str = include_str!("../attacks/corpus/fixture.sql");
const SEED: &str = include_str!("../attacks/corpus/seed.sql");
const CONTROLS: &str = include_str!("../attacks/corpus/controls.yaml");

/// A legitimate request, and its last statement's rows as text.
#[derive(Deserialize)]
struct Control {
    id: String,
    #[serde(rename = "as")]
    user: String,
    sql: Sql,
    #[serde(default)]
    rows: Option<Vec<Vec<Option<String>>>>,
    #[serde(default)]
    fails: bool,
}

/// One statement, or several in one transaction.
#[derive(Deserialize)]
#[serde(untagged)]
enum Sql {
    One(String),
    Several(Vec<String>),
}

impl Sql {
    fn statements(&self) -> &[String] {
        match self {
            Self::One(statement) => std::slice::from_ref(statement),
            Self::Several(statements) => statements,
        }
    }
}

/// A migrated database with the tables, grants and mistakes of the fixture.
async fn fixture() -> TestDatabase {
    let database = cluster::empty_database().await;
    let project = tempfile::tempdir().unwrap();
    for folder in ["migrations", "grants", "policies"] {
        std::fs::create_dir(project.path().join(folder)).unwrap();
    }
    let source = SqlSource::new(project.path());
    policy::migrate(&mut database.owner().await, &source, &policy::Options::default())
        .await
        .unwrap();
    database.enable_logins().await;
    database.owner().await.batch_execute(FIXTURE).await.unwrap();
    database
}

/// Runs `rowgate harden`; `superuser` says whether it is told how to become one.
async fn harden(database: &TestDatabase, superuser: bool, arguments: &[&str]) -> (i32, String) {
    let mut environment = BTreeMap::from([("DATABASE_URL", &database.owner_url)]);
    if superuser {
        environment.insert("DATABASE_SUPERUSER_URL", &database.superuser_url);
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_rowgate"));
    command.arg("harden").args(arguments).current_dir(std::env::temp_dir());
    command.env_clear().envs(environment);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), text + &String::from_utf8(output.stderr).unwrap())
}

/// Sends every control, on fresh rows each time; returns those that went wrong.
async fn wronged(gateway: &TestGateway) -> Vec<String> {
    let controls: Vec<Control> = serde_saphyr::from_str(CONTROLS).unwrap();
    assert!(controls.len() > 30);
    let superuser = gateway.database.superuser().await;
    let mut wronged = Vec::new();
    for control in controls {
        superuser.batch_execute(SEED).await.unwrap();
        let queries: Vec<Value> =
            control.sql.statements().iter().map(|sql| json!({"query": sql})).collect();
        let token = format!("Bearer {}", gateway.token(&control.user));
        let mut headers = vec![("neon-raw-text-output", "true"), ("neon-array-mode", "true")];
        if control.user != "anonymous" {
            headers.push(("authorization", &token));
        }
        let body = json!({ "queries": queries }).to_string();
        let answer = gateway.send(Method::POST, "/sql", &headers, body).await;
        let rows = || answer.json()["results"].as_array().and_then(|all| all.last().cloned());
        let good = match (control.fails, &control.rows) {
            (true, _) => answer.status == 400,
            (false, None) => answer.status == 200,
            (false, Some(expected)) => {
                answer.status == 200 && rows().is_some_and(|last| last["rows"] == json!(expected))
            }
        };
        if !good {
            wronged.push(format!("{}: {}", control.id, String::from_utf8_lossy(&answer.body)));
        }
    }
    wronged
}

#[tokio::test]
async fn legitimate_requests_work_as_before_after_hardening_by_owner_and_superuser() {
    let gateway = TestGateway::on(fixture().await, |_| {}).await;
    assert_eq!(wronged(&gateway).await, [""; 0], "before");
    let (code, text) = harden(&gateway.database, false, &["--apply", "--owner-only"]).await;
    assert_eq!(code, 0, "{text}");
    assert_eq!(wronged(&gateway).await, [""; 0], "after the owner's part");
    let (code, text) = harden(&gateway.database, true, &["--apply"]).await;
    assert_eq!(code, 0, "{text}");
    assert_eq!(wronged(&gateway).await, [""; 0], "after the superuser's part");

    // A gateway that starts now finds what it needs, too.
    let issuer = crate::harness::issuer::FakeIssuer::start().await;
    let config = crate::harness::gateway::config(&gateway.database, &issuer);
    let observer = rowgate::observe::Observer::default();
    rowgate::server::Server::bind(config, observer).await.map(drop).unwrap();
}

#[tokio::test]
async fn what_hardening_takes_the_database_itself_refuses() {
    let gateway = TestGateway::on(fixture().await, |config| {
        config.limits.statements = StatementKinds::All;
    })
    .await;
    gateway.database.superuser().await.batch_execute(SEED).await.unwrap();
    let owners = [
        "select * from events_2026",
        "select * from all_titles",
        "select admin_titles()",
        "select last_value from todos_id_seq",
        "select last_value from journal_id_seq",
        "create temporary table todos ()",
        "truncate events_2026",
    ];
    let superusers = [
        "select query from pg_stat_activity",
        "select pg_stat_get_backend_activity(1)",
        "select * from pg_locks",
        "select * from pg_stats",
        "select * from pg_prepared_statements",
        "update pg_settings set setting = 'x' where name = 'application_name'",
        "select pg_cancel_backend(1)",
        "select pg_terminate_backend(1)",
        "select pg_sleep(0)",
        "select pg_advisory_lock(1)",
        "select query_to_xml('select 1', true, true, '')",
        "select * from ts_stat('select null::tsvector')",
        "select lo_create(0)",
        "select lo_get(1)",
        "select pg_notify('a', 'b')",
        "do $$ begin end $$",
    ];
    let refused = async |sql: &str| {
        let answer = gateway.sql(Some("alice"), sql, json!([])).await;
        (answer.status, answer.json()["code"].as_str().map(str::to_owned))
    };
    let forbidden = (400, Some("42501".to_owned()));
    for sql in owners.iter().chain(&superusers).filter(|sql| !sql.starts_with("truncate")) {
        assert_ne!(refused(sql).await, forbidden, "before: {sql}");
    }
    harden(&gateway.database, false, &["--apply"]).await;
    for sql in owners {
        assert_eq!(refused(sql).await, forbidden, "{sql}");
    }
    harden(&gateway.database, true, &["--apply"]).await;
    for sql in superusers {
        assert_eq!(refused(sql).await, forbidden, "{sql}");
    }
}

#[tokio::test]
async fn the_printed_script_does_what_apply_does_and_is_empty_the_second_time() {
    let database = fixture().await;
    let (code, script) = harden(&database, false, &[]).await;
    assert_eq!(code, 0, "{script}");
    for words in [
        "events_2026 (a partition",
        "all_titles (without security_invoker",
        "revoke execute on routine public.admin_titles()",
        "-- Part 2",
    ] {
        assert!(script.contains(words), "{words}: {script}");
    }
    // As a superuser both parts run, each in a transaction of its own; and again, since it may.
    for _ in 0..2 {
        database.superuser().await.batch_execute(&script).await.unwrap();
    }
    assert_eq!(harden(&database, false, &["--check"]).await.0, 0);
    assert_eq!(harden(&database, false, &[]).await.1, "-- Nothing is left to be done.\n");
}

#[tokio::test]
async fn what_is_left_has_an_exit_code_of_its_own() {
    let database = fixture().await;
    let (code, text) = harden(&database, false, &["--check", "--owner-only"]).await;
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("left (owner)") && !text.contains("left (superuser)"), "{text}");
    let (code, text) = harden(&database, false, &["--apply"]).await;
    assert_eq!(code, 3, "{text}");
    assert!(!text.contains("left (owner)") && text.contains("left (superuser)"), "{text}");
    assert_eq!(harden(&database, false, &["--check", "--owner-only"]).await.0, 0);
}

#[tokio::test]
async fn a_revoke_that_does_not_take_is_reported() {
    let database = fixture().await;
    // Granted by somebody else: the owner's REVOKE says nothing and does nothing about it.
    let grantor = format!("grantor_{}", database.name);
    let sql = format!(
        "create role {grantor}; grant usage on schema public to {grantor}; \
         grant select on events_2026 to {grantor} with grant option; \
         set role {grantor}; grant select on public.events_2026 to anonymous"
    );
    database.superuser().await.batch_execute(&sql).await.unwrap();
    let (code, text) = harden(&database, false, &["--apply", "--owner-only"]).await;
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("left (owner)") && text.contains("events_2026"), "{text}");
}

#[tokio::test]
async fn what_is_exposed_on_purpose_stays_and_is_named_with_its_reason() {
    let database = fixture().await;
    let owner = database.owner().await;
    owner
        .batch_execute(
            "comment on view all_titles is E'Titles.\\nrowgate: exposed, a public list'; \
             comment on function admin_titles() is 'rowgate: exposed, checks the role itself';
             create function is_member(text) returns bool language sql security definer as 'select true';
             create policy members on events using (is_member(user_id));
             alter default privileges in schema public grant all on tables to authenticated",
        )
        .await
        .unwrap();
    let (_, script) = harden(&database, false, &["--owner-only"]).await;
    for words in [
        "all_titles (without security_invoker: reads with its owner's rights): a public list",
        "admin_titles(): checks the role itself",
        "is_member(text): needed by policy members",
    ] {
        assert!(script.contains(words), "{words}: {script}");
    }
    let (code, text) = harden(&database, false, &["--apply", "--owner-only"]).await;
    assert_eq!(code, 0, "{text}");
    let held = "select has_table_privilege('anonymous', 'all_titles', 'select'), \
                has_function_privilege('anonymous', 'admin_titles()', 'execute'), \
                has_function_privilege('authenticated', 'is_member(text)', 'execute')";
    let row = owner.query_one(held, &[]).await.unwrap();
    let held: [bool; 3] = [row.get(0), row.get(1), row.get(2)];
    assert_eq!(held, [true; 3]);
    owner.batch_execute("create table later (id int); create function after_it() returns int language sql as 'select 1'")
        .await
        .unwrap();
    let row = owner
        .query_one(
            "select has_table_privilege('authenticated', 'later', 'select'), \
             has_function_privilege('authenticated', 'after_it()', 'execute')",
            &[],
        )
        .await
        .unwrap();
    let held: [bool; 2] = [row.get(0), row.get(1)];
    assert_eq!(held, [false; 2]);
}

#[tokio::test]
async fn functions_that_the_applications_triggers_call_are_left() {
    let database = fixture().await;
    let sql = "create function tell() returns trigger language plpgsql as \
               $$ begin perform pg_notify('todos', new.id::text); return null; end $$; \
               create trigger tell after insert on todos for each row execute function tell()";
    database.owner().await.batch_execute(sql).await.unwrap();
    let (code, text) = harden(&database, true, &["--apply"]).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("kept: pg_notify: called by public.tell()"), "{text}");
    let gateway = TestGateway::on(database, |_| {}).await;
    let answer =
        gateway.sql(Some("alice"), "insert into todos (title) values ('x')", json!([])).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn the_projects_own_tables_need_no_hardening_by_their_owner() {
    // No copy of a template: privileges on a database are not copied.
    let database = cluster::empty_database().await;
    let source = SqlSource::new(concat!(env!("CARGO_MANIFEST_DIR"), "/sql"));
    policy::migrate(&mut database.owner().await, &source, &policy::Options::default())
        .await
        .unwrap();
    let (code, text) = harden(&database, false, &["--check", "--owner-only"]).await;
    assert_eq!((code, text.as_str()), (0, "nothing is left to be done\n"));
}
