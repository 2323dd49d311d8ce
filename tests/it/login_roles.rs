//! Which roles may run callers' statements, and what `rowgate check` says about a whole set-up.

use std::collections::BTreeMap;
use std::process::Command;

use rowgate::pg::control;
use rowgate::pg::roles::{Power, RoleReport, verify_login_role};
use rowgate::pg::url::ConnectUrl;

use crate::harness::cluster::{self, TEST_PASSWORD, TestDatabase};
use crate::harness::issuer::FakeIssuer;

/// A database with a login role of its own; roles belong to the whole cluster.
struct Login {
    database: TestDatabase,
    role: String,
}

impl Login {
    async fn with(attributes: &str) -> Self {
        let database = cluster::empty_database().await;
        let role = format!("login_{}", database.name);
        let login = Self { role, database };
        login
            .run(&format!("create role {{role}} login password '{TEST_PASSWORD}' {attributes}"))
            .await;
        login
    }

    /// Runs SQL as the superuser; `{role}` stands for the login role, `{other}` for another.
    async fn run(&self, sql: &str) {
        let other = format!("other_{}", self.database.name);
        let sql = sql.replace("{role}", &self.role).replace("{other}", &other);
        self.database.superuser().await.batch_execute(&sql).await.unwrap();
    }

    async fn report(&self, authenticated: &str) -> RoleReport {
        let url = ConnectUrl::parse(&self.database.owner_url).unwrap();
        let url = url.with_login(&self.role, TEST_PASSWORD.as_bytes());
        let client = control::connect(&url).await.unwrap();
        verify_login_role(&client, &[authenticated.to_owned()]).await.unwrap()
    }

    async fn powers(&self) -> Vec<Power> {
        self.report(&self.role).await.faults.into_iter().map(|fault| fault.power).collect()
    }

    /// The refusal, as `serve` says it.
    async fn refusal(&self) -> String {
        let error = self.report(&self.role).await.into_result().unwrap_err();
        error.to_string().replace(&self.database.name, "N")
    }
}

#[tokio::test]
async fn a_plain_role_is_harmless() {
    let login = Login::with("").await;
    login
        .run(
            "create table notes (id int); grant select on notes to {role}; \
             create role {other}; grant {other} to {role}",
        )
        .await;
    assert_eq!(login.powers().await, []);
}

#[tokio::test]
async fn attributes_that_step_around_policies_are_refused() {
    for (attribute, power) in [
        ("superuser createdb", Power::Superuser),
        ("bypassrls", Power::BypassRls),
        ("createrole", Power::CreateRole),
        ("createdb", Power::CreateDb),
        ("replication", Power::Replication),
    ] {
        assert_eq!(Login::with(attribute).await.powers().await, [power], "{attribute}");
    }
}

#[tokio::test]
async fn owners_of_anything_are_refused() {
    for object in [
        "create table notes (id int); alter table notes owner to {role}",
        "create schema private authorization {role}",
        "create function f() returns int language sql as 'select 1'; alter function f() owner to {role}",
        "do $$ begin execute format('alter database %I owner to {role}', current_database()); end $$",
    ] {
        let login = Login::with("").await;
        login.run(object).await;
        let powers = login.powers().await;
        assert!(
            matches!(powers.as_slice(), [Power::Owner(objects)] if objects.len() == 1),
            "{powers:?}"
        );
    }
    let login = Login::with("").await;
    login.run("create table public.notes (id int); alter table public.notes owner to {role}").await;
    insta::assert_snapshot!(login.refusal().await, @r#"role "login_N" owns table public.notes: an owner passes its policies and can change them; reassign owned by login_N to another role, or log in as one that owns nothing"#);
}

#[tokio::test]
async fn temporary_tables_make_no_owner() {
    let login = Login::with("").await;
    let url = ConnectUrl::parse(&login.database.owner_url).unwrap();
    let url = url.with_login(&login.role, TEST_PASSWORD.as_bytes());
    let client = control::connect(&url).await.unwrap();
    client.batch_execute("create temporary table scratch (id int)").await.unwrap();
    assert_eq!(login.powers().await, []);
}

#[tokio::test]
async fn powers_of_roles_that_it_is_a_member_of_count_however_far_they_are() {
    let login = Login::with("noinherit").await;
    login
        .run(
            "create role {other}_middle; create role {other} bypassrls; \
             grant {other} to {other}_middle; grant {other}_middle to {role}",
        )
        .await;
    insta::assert_snapshot!(login.refusal().await, @r#"role "login_N" is a member of "other_N", which has BYPASSRLS: no policy holds for it; revoke other_N_middle from login_N"#);

    let login = Login::with("").await;
    login.run("grant pg_monitor to {role}").await;
    assert_eq!(login.powers().await, [Power::Predefined]);

    let login = Login::with("").await;
    login.run("create role {other}; create table notes (id int); alter table notes owner to {other}; grant {other} to {role}").await;
    assert_eq!(login.powers().await.len(), 1);
}

#[tokio::test]
async fn the_anonymous_login_may_not_become_the_authenticated_one() {
    let anonymous = Login::with("").await;
    anonymous.run("create role {other}; grant {other} to {role}").await;
    let authenticated = format!("other_{}", anonymous.database.name);
    let report = anonymous.report(&authenticated).await;
    let powers: Vec<Power> = report.faults.into_iter().map(|fault| fault.power).collect();
    assert_eq!(powers, [Power::Authenticated]);
}

#[tokio::test]
async fn names_that_hide_the_catalogue_deceive_nobody() {
    let login = Login::with("bypassrls").await;
    login
        .run(
            "create schema fake; grant usage on schema fake to {role}; \
             create view fake.pg_roles as select oid, rolname, false as rolsuper, false as rolbypassrls, \
               false as rolcreaterole, false as rolcreatedb, false as rolreplication \
             from pg_catalog.pg_roles; \
             grant select on fake.pg_roles to {role}; \
             alter role {role} set search_path to fake, pg_catalog",
        )
        .await;
    assert_eq!(login.powers().await, [Power::BypassRls]);
}

#[tokio::test]
async fn callers_who_could_read_what_was_revoked_are_a_warning() {
    let login = Login::with("").await;
    let told = async || {
        let report = login.report(&login.role).await;
        assert_eq!(report.faults, []);
        report.warnings.iter().any(|text| text.contains("read who was revoked"))
    };
    assert!(!told().await);
    // Roles belong to the cluster, where another test may be making this one.
    login
        .run(
            "do $$ begin create role rowgate_revocations nologin; exception \
             when duplicate_object or unique_violation then null; end $$; \
             create role {other}; grant rowgate_revocations to {other}; grant {other} to {role}",
        )
        .await;
    assert!(told().await);
}

#[tokio::test]
async fn room_that_callers_do_not_need_is_a_warning() {
    let login = Login::with("").await;
    login.run("grant create on schema public to {role}").await;
    let report = login.report(&login.role).await;
    assert!(report.warnings.iter().any(|text| text.contains("schema \"public\"")), "{report:?}");
    assert!(report.warnings.iter().any(|text| text.contains("temporary")), "{report:?}");
    assert!(report.into_result().is_ok());
}

/// Runs `rowgate check` and returns its exit code, its findings and what it says on standard error.
async fn check(
    environment: BTreeMap<&'static str, String>,
    arguments: &[&str],
) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rowgate"));
    command.arg("check").args(arguments).current_dir(std::env::temp_dir());
    command.env_clear().envs(environment);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn environment(database: &TestDatabase, issuer: &FakeIssuer) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("DATABASE_URL", database.owner_url.clone()),
        ("DATABASE_AUTHENTICATED_URL", database.authenticated_url.clone()),
        ("DATABASE_ANONYMOUS_URL", database.anonymous_url.clone()),
        ("ROWGATE_ISSUER_URL", issuer.url().to_owned()),
    ])
}

/// Whether a finding of this level has these words.
fn has(findings: &str, level: &str, words: &str) -> bool {
    findings.lines().any(|line| line.starts_with(level) && line.contains(words))
}

#[tokio::test]
async fn check_finds_a_good_set_up_good() {
    let (database, issuer) = (cluster::fresh_database().await, FakeIssuer::start().await);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), issuer.token("planted-subject").sign()).unwrap();
    let path = file.path().display().to_string();
    let (code, findings, errors) =
        check(environment(&database, &issuer), &["--token-file", &path]).await;
    assert_eq!(code, 0, "{findings}{errors}");
    for words in [
        "configuration",
        "login authenticated@",
        "login anonymous@",
        "PostgreSQL",
        "clock",
        "believed with key",
        "usable key(s)",
        "token: accepted",
    ] {
        assert!(has(&findings, "ok", words), "{words}: {findings}");
    }
    assert!(!findings.contains("planted") && !findings.contains(TEST_PASSWORD), "{findings}");
}

#[tokio::test]
async fn check_names_everything_that_is_wrong_at_once() {
    let (database, issuer) = (cluster::fresh_database().await, FakeIssuer::start().await);
    let mut wrong = environment(&database, &issuer);
    wrong.insert("DATABASE_AUTHENTICATED_URL", database.superuser_url.clone());
    wrong.insert("ROWGATE_SEAL_KEY", format!("wrong:{}", "0".repeat(64)));
    wrong.insert("ROWGATE_ISSUER_JWKS_URL", "http://127.0.0.1:1/keys".to_owned());
    let (code, findings, errors) = check(wrong, &[]).await;
    assert_eq!(code, 1, "{findings}{errors}");
    for words in
        ["is a superuser", "not believed with key \"wrong\"", "no keys: http://127.0.0.1:1/keys"]
    {
        assert!(has(&findings, "error", words), "{words}: {findings}");
    }
    assert!(has(&findings, "warning", "without an audience"), "{findings}");
    assert!(errors.contains("findings are errors"), "{errors}");
}

#[tokio::test]
async fn check_says_of_each_protection_where_it_rests_now_and_what_remains() {
    let (database, issuer) = (cluster::fresh_database().await, FakeIssuer::start().await);
    let owner = database.owner().await;
    owner
        .batch_execute(
            "create table open_to_all (id int); grant select on open_to_all to anonymous",
        )
        .await
        .unwrap();
    let ask = async |arguments: &[&str]| check(environment(&database, &issuer), arguments).await.1;

    let before = ask(&[]).await;
    let locks = "protection: ending and cancelling other callers' statements · rests on";
    assert!(has(&before, "warning", &format!("{locks} the gateway's admission")), "{before}");
    let rows = "protection: reading rows past row-level security · rests on nothing";
    assert!(has(&before, "warning", rows), "{before}");
    assert!(has(&before, "warning", "would change: table public.open_to_all"), "{before}");
    assert!(has(&before, "ok", "being somebody else · rests in the database"), "{before}");
    assert!(!before.contains("limits.statements"), "{before}");

    let everything = ask(&["--set", "limits.statements=all"]).await;
    let words = "rests on nothing, with limits.statements";
    assert!(has(&everything, "warning", words), "{everything}");

    owner.batch_execute("revoke all on open_to_all from anonymous").await.unwrap();
    let superuser = database.superuser().await;
    let revoke = "revoke execute on function pg_cancel_backend(int), pg_terminate_backend(int, bigint) from public";
    superuser.batch_execute(revoke).await.unwrap();
    let after = ask(&[]).await;
    for words in ["reading rows past row-level security", "ending and cancelling"] {
        let line = after.lines().find(|line| line.contains(words)).unwrap();
        assert!(line.starts_with("ok") && line.contains("rests in the database"), "{line}");
        assert!(line.contains("remains: "), "{line}");
    }
}

#[tokio::test]
async fn check_warns_of_a_server_that_logs_what_callers_send() {
    let (database, issuer) = (cluster::fresh_database().await, FakeIssuer::start().await);
    let superuser = database.superuser().await;
    let ask = async || check(environment(&database, &issuer), &[]).await.1;
    let set = |setting: &str| format!("alter database {} set {setting}", database.name);
    assert!(has(&ask().await, "ok", "log: the server writes no parameters"));
    superuser.batch_execute(&set("log_statement = 'all'")).await.unwrap();
    superuser.batch_execute(&set("log_parameter_max_length = -1")).await.unwrap();
    assert!(has(&ask().await, "warning", "log_parameter_max_length = 0"));
    superuser.batch_execute(&set("log_parameter_max_length = 0")).await.unwrap();
    assert!(has(&ask().await, "ok", "log: the server writes no parameters"));
    superuser.batch_execute(&set("log_parameter_max_length_on_error = -1")).await.unwrap();
    assert!(has(&ask().await, "warning", "log_parameter_max_length_on_error = 0"));
}

#[tokio::test]
async fn check_tells_a_database_that_is_not_migrated_and_one_that_is_not_there() {
    let issuer = FakeIssuer::start().await;
    let empty = cluster::empty_database().await;
    let (code, findings, _) = check(environment(&empty, &issuer), &[]).await;
    assert_eq!(code, 1, "{findings}");
    assert!(has(&findings, "error", "run `rowgate migrate`"), "{findings}");

    let mut nowhere = environment(&empty, &issuer);
    nowhere.insert("DATABASE_URL", "postgresql://owner:planted@127.0.0.1:1/app".to_owned());
    let (code, findings, _) = check(nowhere, &[]).await;
    assert_eq!(code, 1, "{findings}");
    assert!(has(&findings, "error", "owner owner@127.0.0.1:1/app: cannot connect"), "{findings}");
    assert!(!findings.contains("planted"), "{findings}");
}

#[tokio::test]
async fn check_refuses_tokens_that_the_gateway_would_refuse() {
    let (database, issuer) = (cluster::fresh_database().await, FakeIssuer::start().await);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "planted.not.a.token").unwrap();
    let path = file.path().display().to_string();
    let (code, findings, _) =
        check(environment(&database, &issuer), &["--token-file", &path]).await;
    assert_eq!(code, 1);
    assert!(has(&findings, "error", "token: not accepted"), "{findings}");
    assert!(!findings.contains("planted"), "{findings}");
}

#[tokio::test]
async fn check_live_asks_a_running_gateway() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (stream, status) in listener.incoming().zip(["200 OK", "503 Service Unavailable"]) {
            use std::io::{Read as _, Write as _};
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1024]).unwrap();
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .unwrap();
        }
    });
    let url = format!("http://{address}/health/ready");
    let ask = async || check(BTreeMap::new(), &["--live", &url]).await;
    assert_eq!(ask().await.0, 0);
    let (code, _, errors) = ask().await;
    assert_eq!(code, 1);
    assert!(errors.contains("503"), "{errors}");
    let (code, _, errors) = check(BTreeMap::new(), &["--live", "http://127.0.0.1:1/"]).await;
    assert_eq!(code, 1);
    assert!(errors.contains("127.0.0.1:1"), "{errors}");
}
