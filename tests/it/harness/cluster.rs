//! One `PostgreSQL` cluster for the whole test binary, one database for each test.
//!
//! The cluster belongs to no runtime (each test has its own); it ends with the test process and
//! removes its files. Tests that stop or restart the server start a [`PrivateCluster`].

#![allow(dead_code, reason = "each part of the tests uses its own share of the harness")]

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rowgate::dev::postgres::{Binaries, Cluster, ClusterOptions};
use rowgate::policy::{self, SqlSource};
use tokio_postgres::{Client, NoTls};

/// Password of the three login roles of every test cluster.
pub const TEST_PASSWORD: &str = "test-password";

/// Owns the test databases; as on a managed service, it is no superuser but may create roles.
pub const OWNER: &str = "rowgate_owner";

/// The database that [`fresh_database`] copies.
const TEMPLATE: &str = "rowgate_template";

/// Many tests run in parallel, each with a pool or two.
const MAX_CONNECTIONS: &str = "400";

/// A database of one test. It stays until the cluster goes; its name is never used again.
#[derive(Clone, Debug)]
pub struct TestDatabase {
    pub name: String,
    /// Logs in as [`OWNER`].
    pub owner_url: String,
    /// Logs in as `authenticated`; works once that role exists and may log in.
    pub authenticated_url: String,
    /// Logs in as `anonymous`; as above.
    pub anonymous_url: String,
    /// Logs in as the superuser, for what even the owner may not do.
    pub superuser_url: String,
}

impl TestDatabase {
    /// A connection as the database's owner.
    pub async fn owner(&self) -> Client {
        connect(&self.owner_url).await
    }

    /// A connection as the superuser.
    pub async fn superuser(&self) -> Client {
        connect(&self.superuser_url).await
    }

    /// Gives the roles `authenticated` and `anonymous` the test password and LOGIN, as an operator
    /// does after the first migration.
    pub async fn enable_logins(&self) {
        enable_logins(&self.superuser().await).await;
    }
}

/// A database without anything in it.
pub async fn empty_database() -> TestDatabase {
    let cluster = shared();
    let name = unused_name();
    let superuser = connect(&cluster.superuser_url()).await;
    create_database(&superuser, &name, "template1").await;
    test_database(cluster, name)
}

/// A database to which the repository's `sql/` has been applied; the login roles can log in.
pub async fn fresh_database() -> TestDatabase {
    let cluster = shared();
    ensure_template(cluster);
    let name = unused_name();
    let superuser = connect(&cluster.superuser_url()).await;
    create_database(&superuser, &name, TEMPLATE).await;
    test_database(cluster, name)
}

/// A cluster of one test alone, which may stop and restart it. Removed with the value.
pub struct PrivateCluster {
    running: Option<Cluster>,
    options: ClusterOptions,
    port: u16,
    _dir: tempfile::TempDir,
}

impl PrivateCluster {
    /// Starts a new cluster with [`OWNER`] in it. Takes about two seconds.
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = test_options(dir.path().join("cluster"));
        options.ephemeral = false;
        let running = Cluster::start(&binaries(), &options).unwrap();
        create_owner(&connect(&running.superuser_url()).await).await;
        Self { port: running.port(), running: Some(running), options, _dir: dir }
    }

    /// The running cluster; panics while it is stopped.
    pub fn cluster(&self) -> &Cluster {
        self.running.as_ref().expect("the private cluster is stopped")
    }

    /// As the function [`empty_database`], here.
    pub async fn empty_database(&self) -> TestDatabase {
        let name = unused_name();
        let superuser = connect(&self.cluster().superuser_url()).await;
        create_database(&superuser, &name, "template1").await;
        test_database(self.cluster(), name)
    }

    /// As the function [`fresh_database`], here.
    pub async fn fresh_database(&self) -> TestDatabase {
        let database = self.empty_database().await;
        migrate(&database).await;
        database.enable_logins().await;
        database
    }

    /// Ends the server and every session; afterwards its port refuses connections.
    pub fn stop(&mut self) {
        self.running.take().expect("the private cluster is stopped").stop().unwrap();
    }

    /// Starts the server again, on the same port, so that URLs stay good.
    pub fn start_again(&mut self) {
        self.options.port = Some(self.port);
        self.running = Some(Cluster::start(&binaries(), &self.options).unwrap());
    }

    /// Both in turn.
    pub fn restart(&mut self) {
        self.stop();
        self.start_again();
    }
}

impl Drop for PrivateCluster {
    fn drop(&mut self) {
        drop(self.running.take());
        // As root the files may lie elsewhere than in the temporary directory.
        let _ = Cluster::remove(&self.options.data_dir);
    }
}

/// Connects with a URL; the connection lives as long as the client and the test's runtime.
pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// The log of the cluster that all tests share.
pub fn server_log() -> PathBuf {
    shared().log()
}

/// The programs that the tests' clusters run.
pub fn binaries() -> Binaries {
    static FOUND: OnceLock<Binaries> = OnceLock::new();
    FOUND.get_or_init(|| Binaries::find().expect("the tests need PostgreSQL")).clone()
}

/// The cluster that all tests share.
fn shared() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let name = format!("rowgate-it-{}", std::process::id());
        let options = test_options(std::env::temp_dir().join(name));
        let cluster = Cluster::start(&binaries(), &options).unwrap();
        let url = cluster.superuser_url();
        apart(async move { create_owner(&connect(&url).await).await });
        cluster
    })
}

fn ensure_template(cluster: &'static Cluster) {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        apart(async move {
            let superuser = connect(&cluster.superuser_url()).await;
            create_database(&superuser, TEMPLATE, "template1").await;
            let template = test_database(cluster, TEMPLATE.to_owned());
            migrate(&template).await;
            enable_logins(&superuser).await;
        });
    });
}

/// Runs `work` to its end on a runtime and a thread of its own: whoever comes first initialises
/// what all share, and its runtime is gone before the others are.
fn apart(work: impl Future<Output = ()> + Send + 'static) {
    std::thread::spawn(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
    })
    .join()
    .expect("preparing the shared cluster failed");
}

fn test_options(data_dir: PathBuf) -> ClusterOptions {
    ClusterOptions {
        durable: false,
        ephemeral: true,
        settings: vec![("max_connections".into(), MAX_CONNECTIONS.into())],
        ..ClusterOptions::new(data_dir)
    }
}

async fn create_owner(superuser: &Client) {
    let sql = format!("create role {OWNER} login createrole password '{TEST_PASSWORD}'");
    superuser.batch_execute(&sql).await.unwrap();
}

async fn create_database(superuser: &Client, name: &str, template: &str) {
    let sql = format!("create database {name} template {template} owner {OWNER}");
    superuser.batch_execute(&sql).await.unwrap();
}

async fn enable_logins(superuser: &Client) {
    for role in ["authenticated", "anonymous"] {
        let sql = format!("alter role {role} login password '{TEST_PASSWORD}'");
        superuser.batch_execute(&sql).await.unwrap();
    }
}

/// Brings a database to the repository's `sql/`, as `rowgate migrate` does.
async fn migrate(database: &TestDatabase) {
    let sql = SqlSource::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("sql"));
    policy::migrate(&mut database.owner().await, &sql, &policy::Options::default()).await.unwrap();
}

fn test_database(cluster: &Cluster, name: String) -> TestDatabase {
    let url = |role: &str| cluster.url(role, TEST_PASSWORD, &name);
    TestDatabase {
        owner_url: url(OWNER),
        authenticated_url: url("authenticated"),
        anonymous_url: url("anonymous"),
        superuser_url: cluster.superuser_url_of(&name),
        name,
    }
}

fn unused_name() -> String {
    static USED: AtomicU32 = AtomicU32::new(0);
    format!("test_{}", USED.fetch_add(1, Ordering::Relaxed))
}
