//! Hot standbys: seals are believed there, and nothing is written.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;
use std::process::Command;

use rowgate::dev::postgres::{Cluster, ClusterOptions};
use rowgate::pg::url::ConnectUrl;

use super::*;
use crate::harness::cluster::{PrivateCluster, binaries, connect};

/// A streaming replica of a test's own cluster.
struct Standby {
    cluster: Cluster,
    primary_port: u16,
    _directory: tempfile::TempDir,
}

impl Standby {
    fn of(primary: &Cluster) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = ClusterOptions {
            durable: false,
            settings: vec![("max_connections".into(), "400".into())],
            ..ClusterOptions::new(directory.path().join("standby"))
        };
        // An ordinary cluster first: for its directory, whoever its owner has to be.
        let mut empty = Cluster::start(&binaries(), &options).unwrap();
        let place = empty.dir().to_owned();
        empty.stop().unwrap();
        drop(empty);
        let data = place.join("data");
        std::fs::remove_dir_all(&data).unwrap();
        let status = Command::new(binaries().program("pg_basebackup"))
            .args(["-h", "127.0.0.1", "-U", "postgres", "-X", "stream", "-c", "fast", "-R", "-N"])
            .arg("-p")
            .arg(primary.port().to_string())
            .arg("-D")
            .arg(&data)
            .env("PGPASSWORD", primary.superuser_password())
            .status()
            .unwrap();
        assert!(status.success(), "pg_basebackup");
        let owner = std::fs::metadata(&place).unwrap();
        give(&data, owner.uid(), owner.gid());
        // Users are the primary's.
        std::fs::write(place.join("superuser-password"), primary.superuser_password()).unwrap();
        let cluster = Cluster::start(&binaries(), &options).unwrap();
        Self { cluster, primary_port: primary.port(), _directory: directory }
    }

    /// The replica's URL for one of the primary's.
    fn url(&self, url: &str) -> String {
        let port = |port: u16| format!(":{port}/");
        url.replace(&port(self.primary_port), &port(self.cluster.port()))
    }

    fn database(&self, database: &TestDatabase) -> TestDatabase {
        TestDatabase {
            name: database.name.clone(),
            owner_url: self.url(&database.owner_url),
            authenticated_url: self.url(&database.authenticated_url),
            anonymous_url: self.url(&database.anonymous_url),
            superuser_url: self.url(&database.superuser_url),
        }
    }

    /// Waits until the replica has everything that the primary has now.
    async fn catch_up(&self, database: &TestDatabase) {
        let primary = database.superuser().await;
        let written = "select pg_current_wal_lsn()::text";
        let written: String = primary.query_one(written, &[]).await.unwrap().get(0);
        let replica = connect(&self.url(&database.superuser_url)).await;
        let replayed = format!("select pg_last_wal_replay_lsn() >= '{written}'");
        for _ in 0..200 {
            if replica.query_one(&replayed, &[]).await.unwrap().get(0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the replica does not catch up");
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        let place = self.cluster.dir().to_owned();
        let _ = self.cluster.stop();
        let _ = std::fs::remove_dir_all(place);
    }
}

fn give(path: &Path, uid: u32, gid: u32) {
    chown(path, Some(uid), Some(gid)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        for entry in std::fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path(), uid, gid);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_on_a_replica_reads_and_writes_nothing_and_takes_up_new_keys() {
    let primary = PrivateCluster::start().await;
    let database = primary.fresh_database().await;
    let rows = "insert into todos (user_id, task) values ('alice', 'one'), ('bob', 'two')";
    database.superuser().await.batch_execute(rows).await.unwrap();
    let standby = Standby::of(primary.cluster());
    let replica = standby.database(&database);

    let owners = [replica.owner_url.clone(), database.owner_url.clone()];
    let mut gateways = Vec::new();
    for owner in owners {
        let gateway = TestGateway::on(replica.clone(), |config| {
            config.database.owner = Some(ConnectUrl::parse(&owner).unwrap());
            config.seal.refresh = REFRESH;
        });
        gateways.push(Arc::new(gateway.await));
    }
    for gateway in &gateways {
        for (subject, tasks) in
            [(Some("alice"), json!([["one"]])), (Some("bob"), json!([["two"]])), (None, json!([]))]
        {
            let answer = gateway.sql(subject, "select task from todos", json!([])).await;
            assert_eq!(answer.rows(), tasks);
        }
        for query in ["insert into todos (task) values ('x')", "delete from todos"] {
            let answer = gateway.sql(Some("alice"), query, json!([])).await;
            assert_eq!(answer.failure(), (400, "25006".to_owned()));
        }
        let ready = gateway.send(Method::GET, "/health/ready", &[], "").await;
        assert_eq!(ready.status, 200);
    }

    let load = Load::on(&[&gateways[0], &gateways[1]], 2);
    let old = newest(&database).await;
    let new = rotate(&database, Duration::from_millis(500), Duration::from_millis(1500)).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    standby.catch_up(&database).await;
    assert_eq!((newest(&replica).await, new != old), (new.clone(), true));
    let schedule = Schedule { lead: Duration::ZERO, overlap: Duration::from_secs(1) };
    let refused = policy::rotate_seal_key(&replica.owner().await, schedule, true).await;
    assert!(refused.unwrap_err().to_string().contains("25006"));

    // The gateway that reads keys from the primary may learn of the new one before the replica does.
    policy::retire_seal_key(&database.owner().await, &new).await.unwrap();
    standby.catch_up(&database).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(load.end().await, Vec::<String>::new());
}
