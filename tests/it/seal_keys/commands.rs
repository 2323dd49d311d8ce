//! `rowgate keys …` as a process: what it does, and that no key is ever shown.

use std::path::Path;
use std::process::Command;

use super::*;
use crate::sealed_claims::secrecy::forms;

/// Exit code, and everything that was printed.
fn rowgate(database: &TestDatabase, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_rowgate"))
        .args(arguments)
        .current_dir(std::env::temp_dir())
        .env_clear()
        .env("DATABASE_URL", &database.owner_url)
        .output()
        .unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(printed).unwrap())
}

pub(super) fn export(database: &TestDatabase, file: &Path, options: &[&str]) {
    let arguments = [&["keys", "export", file.to_str().unwrap()], options].concat();
    let (code, printed) = rowgate(database, &arguments);
    assert_eq!(code, Some(0), "{printed}");
}

#[tokio::test]
async fn a_key_comes_is_used_and_ends_and_is_deleted_long_after() {
    let database = cluster::fresh_database().await;
    let first = newest(&database).await;
    let (code, printed) =
        rowgate(&database, &["keys", "rotate", "--lead", "0s", "--overlap", "1h"]);
    assert_eq!(code, Some(0), "{printed}");
    let second = newest(&database).await;
    assert!(printed.contains(&second) && second != first, "{printed}");
    let (_, printed) = rowgate(&database, &["keys", "rotate"]);
    let states = |keys: &[SealKeyRecord]| keys.iter().map(|key| key.state).collect::<Vec<_>>();
    use SealKeyState::{Coming, Ended, Newest, Older};
    assert_eq!(states(&keys(&database).await), [Coming, Newest, Older], "{printed}");
    let (_, again) = rowgate(&database, &["keys", "rotate", "--lead", "5m"]);
    assert_ne!(printed, again);
    let known = keys(&database).await;
    assert_eq!(states(&known), [Coming, Newest, Older], "one that was to come is replaced");

    let (code, listed) = rowgate(&database, &["keys", "list"]);
    assert_eq!(code, Some(0));
    for (key, word) in known.iter().zip(["coming", "newest", "older"]) {
        let line = listed.lines().find(|line| line.starts_with(&key.kid)).unwrap();
        assert!(line.contains(word) && line.contains(" bound "), "{listed}");
    }

    let (code, printed) = rowgate(&database, &["keys", "retire", &first]);
    assert_eq!((code, printed.contains("takes its place")), (Some(0), false), "{printed}");
    let (code, printed) = rowgate(&database, &["keys", "retire", &second]);
    assert_eq!((code, printed.contains("takes its place")), (Some(0), true), "{printed}");
    assert_eq!(states(&keys(&database).await), [Coming, Newest, Ended, Ended]);
    for unknown in [second.as_str(), "nothing", "'; drop table auth.seal_keys"] {
        let (code, printed) = rowgate(&database, &["keys", "retire", unknown]);
        assert_eq!((code, printed.contains("no such key")), (Some(1), true), "{printed}");
    }

    let superuser = database.superuser().await;
    let age = "update auth.seal_keys set not_before = now() - interval '3 days', \
               not_after = now() - interval '25 h' where kid = $1";
    superuser.execute(age, &[&first]).await.unwrap();
    rowgate(&database, &["keys", "rotate"]);
    assert!(!keys(&database).await.iter().any(|key| key.kid == first));
}

#[tokio::test]
async fn unbound_keys_have_a_life_of_their_own() {
    let database = cluster::fresh_database().await;
    let before = newest(&database).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("unbound.key");
    let name = file.to_str().unwrap();
    let (code, printed) = rowgate(&database, &["keys", "export", "--unbound", name]);
    assert_eq!((code, printed.contains("rotate --unbound")), (Some(1), true), "{printed}");
    rowgate(&database, &["keys", "rotate", "--unbound"]);
    let known = keys(&database).await;
    let newest_of = |bound| {
        known.iter().find(|key| key.bound == bound && key.state == SealKeyState::Newest).unwrap()
    };
    assert_eq!(newest_of(true).kid, before);
    assert_eq!(newest_of(true).not_after, "infinity");
    let unbound = newest_of(false);
    export(&database, &file, &["--unbound"]);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with(&unbound.kid) && text.ends_with(":unbound\n"));
    assert_eq!(text.lines().count(), 1);
}

#[tokio::test]
async fn bad_durations_are_bad_usage() {
    let database = cluster::fresh_database().await;
    for option in ["--lead=soon", "--lead=-1s", "--overlap=0s", "--overlap=999ms", "--overlap=1"] {
        let (code, printed) = rowgate(&database, &["keys", "rotate", option]);
        assert_eq!(code, Some(2), "{option}: {printed}");
    }
    assert_eq!(keys(&database).await.len(), 1);
}

/// All that a server can be told to log of statements and plans is logged here, and all that clients are
/// told is read.
#[tokio::test]
async fn no_key_is_shown_by_a_command_or_in_the_servers_log() {
    let database = cluster::fresh_database().await;
    let superuser = database.superuser().await;
    let loud = [
        "log_statement = 'all'",
        "log_min_duration_statement = 0",
        "log_parameter_max_length = -1",
        "log_min_messages = debug2",
        "debug_print_parse = on",
        "debug_print_plan = on",
        "session_preload_libraries = 'auto_explain'",
        "auto_explain.log_min_duration = 0",
        "auto_explain.log_nested_statements = on",
        "auto_explain.log_analyze = on",
        "auto_explain.log_verbose = on",
    ];
    for setting in loud {
        let sql = format!("alter database {} set {setting}", database.name);
        superuser.batch_execute(&sql).await.unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("seal.key");
    let mut printed = String::new();
    let first = newest(&database).await;
    for arguments in [
        &["keys", "rotate", "--lead", "0s"][..],
        &["keys", "rotate", "--unbound"],
        &["keys", "list"],
        &["keys", "export", file.to_str().unwrap()],
        &["keys", "retire", &first],
        &["keys", "retire", "unknown"],
        &["keys", "export", file.to_str().unwrap()],
    ] {
        printed.push_str(&rowgate(&database, arguments).1);
    }
    let log = std::fs::read(cluster::server_log()).unwrap();
    let log = String::from_utf8_lossy(&log);
    assert!(log.contains("auth.rotate_seal_key"), "the server is talkative");
    let owner = database.owner().await;
    let mut seen = 0;
    for bound in [true, false] {
        let wanted = policy::Wanted { bound, coming: true };
        for key in policy::read_seal_keys(&owner, wanted).await.unwrap() {
            for secret in forms(&key.key) {
                assert!(!printed.contains(&secret), "printed");
                assert!(!log.contains(&secret), "logged");
            }
            seen += 1;
        }
    }
    assert_eq!(seen, 2);
}
