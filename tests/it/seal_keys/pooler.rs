//! Behind a real `PgBouncer` with `pool_mode = transaction`.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};

use rowgate::config::Pooler;
use rowgate::observe::Observer;
use rowgate::pg::url::ConnectUrl;
use rowgate::server::Server;

use super::*;
use crate::harness::cluster::{OWNER, TEST_PASSWORD, connect};
use crate::harness::gateway;
use crate::harness::issuer::FakeIssuer;

/// Server connections for each role: fewer than any test has clients.
const SERVERS: usize = 2;

/// A pooler in front of one database; ends with the value.
struct Bouncer {
    child: Child,
    database: TestDatabase,
    _directory: tempfile::TempDir,
}

impl Bouncer {
    /// None, and a line that says so, where the program is not installed.
    async fn start(database: &TestDatabase) -> Option<Self> {
        let Some(program) = program() else {
            println!("skipped: pgbouncer is not installed");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let everybody = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(directory.path(), everybody).unwrap();
        let server = ConnectUrl::parse(&database.owner_url).unwrap();
        let (_, server_port) = server.hosts().next().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let users = ["authenticated", "anonymous", OWNER]
            .map(|user| format!("\"{user}\" \"{TEST_PASSWORD}\"\n"));
        let users_file = directory.path().join("users.txt");
        std::fs::write(&users_file, users.concat()).unwrap();
        let configuration = format!(
            "[databases]\n{} = host=127.0.0.1 port={server_port}\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = scram-sha-256\nauth_file = {}\npool_mode = transaction\n\
             default_pool_size = {SERVERS}\nmax_client_conn = 200\n",
            database.name,
            users_file.display(),
        );
        let file = directory.path().join("pgbouncer.ini");
        std::fs::write(&file, configuration).unwrap();
        let mut command = Command::new(program);
        // It does not run as root.
        if nix::unistd::Uid::effective().is_root() {
            command.args(["-u", "nobody"]);
        }
        let child = command
            .arg("-q")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let url = |url: &str| url.replace(&format!(":{server_port}/"), &format!(":{port}/"));
        let behind = TestDatabase {
            name: database.name.clone(),
            owner_url: url(&database.owner_url),
            authenticated_url: url(&database.authenticated_url),
            anonymous_url: url(&database.anonymous_url),
            superuser_url: database.superuser_url.clone(),
        };
        for _ in 0..100 {
            if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Some(Self { child, database: behind, _directory: directory })
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> Option<&'static str> {
    let runs = |program: &&str| Command::new(program).arg("--version").output().is_ok();
    ["pgbouncer", "/usr/sbin/pgbouncer"].into_iter().find(runs)
}

fn pooled(config: &mut Config) {
    config.database.pooler = Pooler::Transaction;
    config.database.pool_size = 8;
    config.seal.refresh = REFRESH;
}

/// Adds an unbound key.
async fn rotate_unbound(database: &TestDatabase, overlap: Duration) {
    let schedule = Schedule { lead: Duration::ZERO, overlap };
    policy::rotate_seal_key(&database.owner().await, schedule, false).await.unwrap();
}

struct Pooled {
    gateway: Arc<TestGateway>,
    bouncer: Bouncer,
}

/// A gateway whose every connection, the owner's too, leads through the pooler.
async fn start(change: impl FnOnce(&mut Config)) -> Option<Pooled> {
    let database = cluster::fresh_database().await;
    rotate_unbound(&database, Duration::from_secs(60)).await;
    let bouncer = Bouncer::start(&database).await?;
    let gateway = TestGateway::on(bouncer.database.clone(), |config| {
        pooled(config);
        change(config);
    });
    Some(Pooled { gateway: Arc::new(gateway.await), bouncer })
}

#[tokio::test]
async fn it_does_not_serve_behind_a_pooler_without_a_key_that_is_made_for_it() {
    let database = cluster::fresh_database().await;
    let Some(bouncer) = Bouncer::start(&database).await else { return };
    let issuer = FakeIssuer::start().await;
    let mut config = gateway::config(&bouncer.database, &issuer);
    pooled(&mut config);
    let refused = Server::bind(config.clone(), Observer::default()).await.err().unwrap();
    assert!(refused.to_string().contains("keys rotate --unbound"), "{refused}");
    config.seal.keys = vec![policy::read_seal_key(&database.owner().await).await.unwrap()];
    let refused = Server::bind(config, Observer::default()).await.err().unwrap();
    assert!(refused.to_string().contains("unbound"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_share_server_connections_never_meet() {
    let Some(Pooled { gateway, bouncer }) = start(|_| {}).await else { return };
    gateway.seed().await;
    let mut callers = Vec::new();
    for number in 0..12 {
        let gateway = Arc::clone(&gateway);
        callers.push(tokio::spawn(async move {
            let subject = [Some("alice"), Some("bob"), None][number % 3];
            let tasks = match subject {
                Some("alice") => json!([["alice one"], ["alice two"]]),
                Some(_) => json!([["bob one"]]),
                None => json!([]),
            };
            for round in 0..25 {
                let query = "select task from todos order by task";
                assert_eq!(gateway.sql(subject, query, json!([])).await.rows(), tasks);
                // The same text again and again, others once, and one that fails.
                let query = format!("select auth.user_id() || $1, {round}");
                let rows = gateway.sql(subject, &query, json!(["!"])).await.rows();
                assert_eq!(rows[0][0], json!(subject.map(|name| format!("{name}!"))));
                let failed =
                    gateway.sql(subject, "select 1 / (task = '')::int from todos", json!([]));
                let failed = failed.await;
                assert_eq!(failed.status, if subject.is_none() { 200 } else { 400 });
                let batch = gateway.batch(subject, &[WHO, "select task from todos"]).await;
                assert_eq!(batch.status, 200, "{batch:?}");
                assert_eq!(batch.json()["results"][0]["rows"], json!([[subject]]));
            }
        }));
    }
    for caller in callers {
        caller.await.unwrap();
    }
    // What they left: on every server connection, nothing.
    for url in [&bouncer.database.authenticated_url, &bouncer.database.anonymous_url] {
        for _ in 0..10 {
            let client = connect(url).await;
            let left = "select concat(current_setting('request.jwt.claims', true), \
                        current_setting('rowgate.seal', true), auth.user_id()), \
                        (select count(*) from pg_prepared_statements where name <> ''), \
                        current_setting('search_path'), current_setting('statement_timeout')";
            let row = client.query_typed_one(left, &[]).await.unwrap();
            assert_eq!(row.get::<_, &str>(0), "");
            assert_eq!(row.get::<_, i64>(1), 0);
            assert_eq!(row.get::<_, &str>(2), "\"$user\", public");
            assert_eq!(row.get::<_, &str>(3), "0");
        }
    }
    let servers = "select count(*) from pg_stat_activity where datname = $1 \
                   and usename in ('authenticated', 'anonymous')";
    let superuser = bouncer.database.superuser().await;
    let servers = superuser.query_one(servers, &[&bouncer.database.name]).await.unwrap();
    let servers: i64 = servers.get(0);
    assert!(servers <= 2 * i64::try_from(SERVERS).unwrap(), "{servers} server connections");
}

#[tokio::test]
async fn forging_and_statements_that_could_leave_something_are_refused() {
    let Some(Pooled { gateway, bouncer }) = start(|_| {}).await else { return };
    for query in [
        "select pg_advisory_lock(1)",
        "select set_config('role', 'anonymous', false)",
        "select random()",
        "with x as materialized (select set_config('request.jwt.claims', '{\"sub\":\"bob\"}', false) as x) \
         select auth.user_id() from x where x is not null",
    ] {
        let answer = gateway.sql(Some("alice"), query, json!([])).await;
        assert_eq!(answer.status, 403, "{query}: {answer:?}");
    }
    // The database's part, whatever gets past the gateway: a seal of a bound key for the backend 0, and
    // claims that nobody sealed.
    let client = connect(&bouncer.database.authenticated_url).await;
    let claims = "{\"sub\":\"bob\"}";
    let forged = format!(
        "begin; select set_config('request.jwt.claims', '{claims}', true), \
         set_config('rowgate.seal', '{}.{}.9999999999', true); select auth.user_id()",
        "0".repeat(64),
        newest(&bouncer.database).await,
    );
    let refused = client.batch_execute(&forged).await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "28000");
    client.batch_execute("rollback").await.unwrap();
    assert_eq!(who(&gateway).await.rows(), json!([["alice"]]));
}

#[tokio::test]
async fn check_works_through_the_pooler_and_leaves_nothing_there() {
    let Some(Pooled { gateway, bouncer }) = start(|_| {}).await else { return };
    for _ in 0..2 {
        let output = Command::new(env!("CARGO_BIN_EXE_rowgate"))
            .arg("check")
            .current_dir(std::env::temp_dir())
            .env_clear()
            .env("DATABASE_URL", &bouncer.database.owner_url)
            .env("DATABASE_AUTHENTICATED_URL", &bouncer.database.authenticated_url)
            .env("DATABASE_ANONYMOUS_URL", &bouncer.database.anonymous_url)
            .env("ROWGATE_DATABASE_POOLER", "transaction")
            .env("ROWGATE_ISSUER_URL", gateway.issuer.url())
            .stdin(Stdio::null())
            .output();
        let output = output.unwrap();
        let findings = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!findings.contains("prepared statement"), "{findings}");
        for role in ["authenticated", "anonymous"] {
            let believed = format!("when sent as {role}");
            assert!(findings.contains("believed with key \"u"), "{findings}");
            assert!(findings.contains(&believed), "{findings}");
        }
    }
    for _ in 0..4 {
        let client = connect(&bouncer.database.authenticated_url).await;
        let path = client.query_typed_one("select current_setting('search_path')", &[]).await;
        assert_eq!(path.unwrap().get::<_, &str>(0), "\"$user\", public");
    }
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_cancelled_through_the_pooler() {
    let change = |config: &mut Config| config.limits.deadline = Duration::from_secs(1);
    let Some(Pooled { gateway, bouncer: _bouncer }) = start(change).await else { return };
    let slow = "select count(*) from generate_series(1, 1000000) a, generate_series(1, 1000000) b";
    for _ in 0..3 {
        let answer = gateway.sql(Some("alice"), slow, json!([])).await;
        assert_eq!(answer.failure(), (504, "RG5040".to_owned()), "{answer:?}");
    }
    let mut running = gateway.running_statements().await;
    for _ in 0..60 {
        if running == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        running = gateway.running_statements().await;
    }
    assert_eq!(running, 0, "nothing runs on");
    for _ in 0..8 {
        assert_eq!(who(&gateway).await.rows(), json!([["alice"]]));
    }
}

#[tokio::test]
async fn settings_that_answers_depend_on_go_with_each_transaction() {
    let Some(Pooled { gateway, bouncer }) = start(|config| {
        config.database.search_path = "api, public".to_owned();
    })
    .await
    else {
        return;
    };
    let superuser = bouncer.database.superuser().await;
    let name = &bouncer.database.name;
    let stored = ["intervalstyle = 'iso_8601'", "bytea_output = 'escape'", "row_security = off"];
    for setting in stored {
        let sql = format!("alter role authenticated in database {name} set {setting}");
        superuser.batch_execute(&sql).await.unwrap();
    }
    let query = "select '1 day 02:00'::interval::text, '\\x00ff'::bytea::text, 0.1::float8 + 0.2";
    let rows = gateway.sql(Some("alice"), query, json!([])).await.rows();
    assert_eq!(rows, json!([["1 day 02:00:00", "\\x00ff", 0.300_000_000_000_000_04]]));
    gateway.seed().await;
    let tasks = gateway.sql(Some("bob"), "select task from todos", json!([])).await.rows();
    assert_eq!(tasks, json!([["bob one"]]));
    let headers =
        [("neon-batch-isolation-level", "Serializable"), ("neon-batch-read-only", "true")];
    let body = json!({"queries": [{"query": "select current_setting('transaction_isolation')"}]});
    let answer = gateway.send(Method::POST, "/sql", &headers, body.to_string()).await;
    assert!(matches!(answer.status, 200 | 403), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unbound_keys_are_rotated_without_a_failed_request() {
    let Some(Pooled { gateway, bouncer }) = start(|_| {}).await else { return };
    let load = Load::on(&[&gateway], 4);
    tokio::time::sleep(Duration::from_millis(200)).await;
    rotate_unbound(&bouncer.database, Duration::from_secs(1)).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let known = keys(&bouncer.database).await;
    let current = known.iter().find(|key| !key.bound && key.state == SealKeyState::Newest).unwrap();
    let owner = bouncer.database.owner().await;
    policy::retire_seal_key(&owner, &current.kid).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(load.end().await, Vec::<String>::new());
}
