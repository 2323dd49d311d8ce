//! A PostgreSQL of one worker: its own cluster, since some attacks hurt the whole server.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rowgate::dev::postgres::{Cluster, ClusterOptions};
use rowgate::policy::{self, SqlSource};
use tokio_postgres::Client;

use crate::corpus::Corpus;
use crate::it::harness::cluster::{TestDatabase, binaries, connect};
use crate::residue;

const OWNER: &str = "corpus_owner";
const TEMPLATE: &str = "corpus_template";

/// The extensions that entries of the corpus require.
const EXTENSIONS: [&str; 3] = ["pg_stat_statements", "tablefunc", "dblink"];

/// `role-password` looks for a password of the login roles, so they have none: the server trusts them.
const HBA: &str = "host all postgres 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n";

/// The state of the login roles that attacks might have changed.
const PUT_ROLES_BACK: &str = "
    update pg_authid set rolpassword = null, rolvaliduntil = null, rolconnlimit = -1,
           rolcanlogin = true, rolsuper = false, rolbypassrls = false
     where rolname in ('authenticated', 'anonymous');
    delete from pg_db_role_setting where setrole in (select oid from pg_roles
     where rolname in ('authenticated', 'anonymous'))";

/// How long a backend may take to notice that it was terminated.
const DROP_PATIENCE: Duration = Duration::from_secs(60);

/// How far `rowgate harden --apply` goes, after the fixture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hardening {
    /// What the tables' owner may do, as the documentation asks every user to.
    ByOwner,
    /// That, and what only a superuser may.
    BySuperuser,
}

pub struct Server {
    cluster: Cluster,
    data_dir: PathBuf,
    hardening: Option<Hardening>,
}

impl Server {
    /// A new cluster with a migrated, filled and (if wanted) hardened template.
    pub async fn start(worker: usize, corpus: &Corpus, hardening: Option<Hardening>) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("rowgate-attacks-{}-{worker}-{number}", std::process::id());
        let data_dir = std::env::temp_dir().join(name);
        let options = ClusterOptions {
            durable: false,
            ephemeral: true,
            settings: [
                ("max_connections", "60"),
                ("max_prepared_transactions", "10"),
                ("shared_preload_libraries", "pg_stat_statements"),
                // The corpus looks whether an attack has switched it off.
                ("synchronous_commit", "on"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
            ..ClusterOptions::new(&data_dir)
        };
        let cluster = tokio::task::spawn_blocking(move || Cluster::start(&binaries(), &options))
            .await
            .unwrap()
            .unwrap();
        std::fs::write(cluster.dir().join("data/pg_hba.conf"), HBA).unwrap();
        let server = Self { cluster, data_dir, hardening };
        server.make_template(corpus).await;
        server
    }

    async fn make_template(&self, corpus: &Corpus) {
        let superuser = connect(&self.cluster.superuser_url()).await;
        let prepare = format!("select pg_reload_conf(); create role {OWNER} login createrole;");
        superuser.batch_execute(&prepare).await.unwrap();
        superuser
            .batch_execute(&format!("create database {TEMPLATE} owner {OWNER}"))
            .await
            .unwrap();
        let template = self.database(TEMPLATE.to_owned());
        let empty = tempfile::tempdir().unwrap();
        let mut owner = template.owner().await;
        policy::migrate(&mut owner, &SqlSource::new(empty.path()), &policy::Options::default())
            .await
            .unwrap();
        owner.batch_execute(&corpus.fixture).await.unwrap();
        owner.batch_execute(&corpus.seed).await.unwrap();
        let superuser = template.superuser().await;
        for extension in EXTENSIONS {
            superuser.batch_execute(&format!("create extension {extension}")).await.unwrap();
        }
        superuser
            .batch_execute("alter role authenticated login; alter role anonymous login")
            .await
            .unwrap();
        self.harden(&template).await;
        superuser.batch_execute(residue::PROBE).await.unwrap();
    }

    /// Runs `rowgate harden` on one database, as far as wanted.
    pub async fn harden(&self, database: &TestDatabase) {
        let Some(hardening) = self.hardening else { return };
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_rowgate"));
        command.args(["harden", "--apply"]).env("DATABASE_URL", &database.owner_url);
        match hardening {
            Hardening::ByOwner => command.arg("--owner-only"),
            Hardening::BySuperuser => {
                command.env("DATABASE_SUPERUSER_URL", &database.superuser_url)
            }
        };
        let output = command.output().await.unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    }

    /// A copy of the template.
    pub async fn fresh_database(&self) -> TestDatabase {
        static USED: AtomicU32 = AtomicU32::new(0);
        let name = format!("attack_{}", USED.fetch_add(1, Ordering::Relaxed));
        let superuser = self.superuser().await;
        let create =
            format!("create database {name} template {TEMPLATE} owner {OWNER} strategy file_copy");
        superuser.batch_execute(&create).await.unwrap();
        self.database(name)
    }

    /// Removes the database, and everything that an attack may have left in the cluster.
    pub async fn put_back(&self, database: &TestDatabase) {
        let superuser = self.superuser().await;
        let prepared = superuser
            .query("select gid from pg_prepared_xacts where database = $1", &[&database.name])
            .await
            .unwrap();
        if !prepared.is_empty() {
            let inside = database.superuser().await;
            for row in prepared {
                let gid: String = row.get(0);
                let _ = inside
                    .batch_execute(&format!("rollback prepared '{}'", gid.replace('\'', "''")))
                    .await;
            }
        }
        superuser.batch_execute(PUT_ROLES_BACK).await.unwrap();
        let drop = format!("drop database {} with (force)", database.name);
        let began = Instant::now();
        while let Err(error) = superuser.batch_execute(&drop).await {
            // A backend in the middle of something uninterruptible goes when it is through.
            assert!(began.elapsed() < DROP_PATIENCE, "{}: {error:?}", database.name);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Lines of the server's log that contain `pattern`.
    pub fn log_lines(&self, pattern: &str) -> usize {
        let log = std::fs::read(self.cluster.log()).unwrap();
        String::from_utf8_lossy(&log).lines().filter(|line| line.contains(pattern)).count()
    }

    async fn superuser(&self) -> Client {
        connect(&self.cluster.superuser_url()).await
    }

    fn database(&self, name: String) -> TestDatabase {
        let url = |role: &str| self.cluster.url(role, "none", &name);
        TestDatabase {
            owner_url: url(OWNER),
            authenticated_url: url("authenticated"),
            anonymous_url: url("anonymous"),
            superuser_url: self.cluster.superuser_url_of(&name),
            name,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.cluster.stop();
        // As root the files may lie elsewhere than in the temporary directory.
        let _ = Cluster::remove(&self.data_dir);
    }
}
