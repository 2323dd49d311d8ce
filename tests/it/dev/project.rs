//! `rowgate init`: a new project is complete, and nothing of the user's is overwritten.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use rowgate::policy::{self, SqlSource};

use crate::harness::cluster;

fn init(dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rowgate")).arg("init").arg(dir).output().unwrap()
}

#[tokio::test]
async fn new_project_can_be_migrated_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let project = dir.path().join("my-app");
    assert!(init(&project).status.success());

    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let written = |file: &str| fs::read_to_string(project.join(file)).unwrap();
    let example = fs::read_to_string(repository.join("rowgate.example.toml")).unwrap();
    assert_eq!(written("rowgate.toml"), example);
    assert_eq!(written(".gitignore"), "/.rowgate\n");
    assert!(!project.join("sql/auth").exists(), "rowgate's own schema is inside the program");

    let database = cluster::empty_database().await;
    let source = SqlSource::new(project.join("sql"));
    let report = policy::migrate(&mut database.owner().await, &source, &policy::Options::default())
        .await
        .unwrap();
    assert!(report.migrations.contains(&"V1__todos".to_owned()), "{report}");

    let tested = Command::new(env!("CARGO_BIN_EXE_rowgate"))
        .args(["policies", "test", "--mutate", "--wait", "120"])
        .env_clear()
        .env("DATABASE_URL", &database.owner_url)
        .current_dir(&project)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&tested.stdout);
    assert!(tested.status.success(), "{told}{}", String::from_utf8_lossy(&tested.stderr));
    assert!(told.contains(" 0 failed") && told.contains("(100 %)"), "{told}");
}

#[test]
fn nothing_is_written_where_something_would_be_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("sql/policies")).unwrap();
    fs::write(dir.path().join("sql/policies/todos.sql"), "mine").unwrap();

    let refused = init(dir.path());
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("sql/policies/todos.sql"));
    assert_eq!(fs::read_to_string(dir.path().join("sql/policies/todos.sql")).unwrap(), "mine");
    assert!(!dir.path().join("rowgate.toml").exists());
    assert!(!dir.path().join("sql/migrations").exists());
}

#[test]
fn gitignore_of_the_user_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(".gitignore"), "mine").unwrap();
    assert!(init(dir.path()).status.success());
    assert_eq!(fs::read_to_string(dir.path().join(".gitignore")).unwrap(), "mine");
}
