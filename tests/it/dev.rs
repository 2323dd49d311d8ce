//! The private `PostgreSQL` of `rowgate dev`: it starts, keeps its data, and leaves nothing behind.

mod environment;
mod issuer;
mod project;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rowgate::dev::postgres::{Cluster, ClusterError, ClusterOptions};

use crate::harness::cluster::{self, PrivateCluster, binaries, connect};

/// More than starting or stopping a server takes, on a busy machine too.
const SOON: Duration = Duration::from_mins(1);

/// In the environment of the child that [`killed_owner_leaves_no_server_running`] kills.
const VICTIM_DIR: &str = "ROWGATE_TEST_VICTIM_DIR";

fn options(dir: &Path) -> ClusterOptions {
    ClusterOptions { durable: false, ..ClusterOptions::new(dir.join("pg")) }
}

fn is_alive(pid: i32) -> bool {
    // A zombie has no command line: it has ended, only nobody has asked how yet.
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not within {SOON:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn programs_found_are_new_enough_and_complete() {
    let found = binaries();
    assert!(found.major() >= 14);
    for program in ["postgres", "initdb", "pg_ctl"] {
        assert!(found.program(program).is_file(), "{program}");
    }
}

#[tokio::test]
async fn data_survives_a_restart_on_the_same_port() {
    let mut private = PrivateCluster::start().await;
    let url = private.cluster().superuser_url();
    let sql = "create table kept as select 42 as answer";
    connect(&url).await.batch_execute(sql).await.unwrap();

    private.stop();
    assert!(tokio_postgres::connect(&url, tokio_postgres::NoTls).await.is_err());
    private.start_again();

    let row = connect(&url).await.query_one("select answer from kept", &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 42);
}

#[test]
fn port_of_the_last_start_is_taken_again_if_free() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let first = Cluster::start(&binaries(), &options).unwrap();
    let port = first.port();
    drop(first);
    let second = Cluster::start(&binaries(), &options).unwrap();
    assert_eq!(second.port(), port);
    drop(second);

    let squatter = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let third = Cluster::start(&binaries(), &options).unwrap();
    assert_ne!(third.port(), port);
    drop((third, squatter));
}

#[test]
fn root_places_a_cluster_where_the_servers_user_can_reach_it() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let options = options(dir.path());
    let first = Cluster::start(&binaries(), &options).unwrap();
    let home = first.dir().to_owned();
    assert_eq!(first.relocated(), nix::unistd::Uid::effective().is_root(), "{}", home.display());
    drop(first);

    let second = Cluster::start(&binaries(), &options).unwrap();
    assert_eq!(second.dir(), home, "the same wanted directory leads to the same place");
    drop(second);
    Cluster::remove(&options.data_dir).unwrap();
    assert!(!home.exists());
}

#[test]
fn second_owner_of_a_data_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Cluster::start(&binaries(), &options(dir.path())).unwrap();
    let refused = Cluster::start(&binaries(), &options(dir.path())).unwrap_err();
    assert!(matches!(refused, ClusterError::InUse(_)), "{refused}");
    let refused = Cluster::remove(&options(dir.path()).data_dir).unwrap_err();
    assert!(matches!(refused, ClusterError::InUse(_)), "{refused}");
}

#[test]
fn pid_file_left_by_a_crash_does_not_block_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(&binaries(), &options(dir.path())).unwrap();
    let pid_file = cluster.dir().join("data/postmaster.pid");
    let content = std::fs::read_to_string(&pid_file).unwrap();
    cluster.stop().unwrap();
    drop(cluster);

    // The id now belongs to a process that has nothing to do with PostgreSQL: ours.
    let rest = content.split_once('\n').unwrap().1;
    std::fs::write(&pid_file, format!("{}\n{rest}", std::process::id())).unwrap();
    Cluster::start(&binaries(), &options(dir.path())).unwrap();
}

#[test]
fn failed_start_quotes_the_servers_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.settings.push(("no_such_setting".into(), "1".into()));
    let message = Cluster::start(&binaries(), &options).unwrap_err().to_string();
    assert!(message.contains("unrecognized configuration parameter"), "{message}");
}

/// Does nothing by itself; the test below runs it in a process of its own, to be killed.
#[test]
fn victim_of_the_kill_test() {
    let Some(dir) = std::env::var_os(VICTIM_DIR) else { return };
    let dir = Path::new(&dir);
    let cluster = Cluster::start(&binaries(), &options(dir)).unwrap();
    std::fs::write(dir.join("pid.new"), cluster.server_pid().unwrap().to_string()).unwrap();
    std::fs::rename(dir.join("pid.new"), dir.join("pid")).unwrap();
    std::thread::sleep(SOON * 3);
}

#[test]
fn killed_owner_leaves_no_server_running() {
    let dir = tempfile::tempdir().unwrap();
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "dev::victim_of_the_kill_test"])
        .env(VICTIM_DIR, dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid_file = dir.path().join("pid");
    wait_until("the victim's server runs", || pid_file.exists());
    let server: i32 = std::fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    assert!(is_alive(server));

    victim.kill().unwrap();
    victim.wait().unwrap();
    // The next start need not wait for the old server: it ends it itself.
    let next = Cluster::start(&binaries(), &options(dir.path())).unwrap();
    assert!(!is_alive(server), "the killed owner's server still runs");
    assert_ne!(next.server_pid(), Some(server));
}

#[tokio::test]
async fn parallel_tests_get_databases_of_their_own() {
    let (one, two) = tokio::join!(cluster::fresh_database(), cluster::empty_database());
    assert_ne!(one.name, two.name);
    one.owner().await.batch_execute("create schema mine").await.unwrap();
    connect(&one.authenticated_url).await.batch_execute("select 1").await.unwrap();
    let sql = "select count(*) from pg_namespace where nspname = 'mine'";
    let row = two.owner().await.query_one(sql, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 0);
}
