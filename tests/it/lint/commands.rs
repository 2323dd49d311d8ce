//! The command: exit codes, formats, and what --fix writes.

use std::process::{Command, Output};

use serde_json::Value;

use super::files::Project;

fn rowgate(project: &Project, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rowgate"))
        .args(["policies", "lint"])
        .args(args)
        .env_clear()
        .env("DATABASE_URL", format!("{}?sslmode=disable", project.database.owner_url))
        .current_dir(project.dir.path())
        .output()
        .unwrap()
}

fn out(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A project whose SQL files lie in `sql/` of the directory in which the command runs.
async fn project() -> Project {
    let project = Project::new().await;
    std::fs::create_dir(project.path("sql")).unwrap();
    for part in ["migrations", "grants", "policies"] {
        std::fs::rename(project.path(part), project.path("sql").join(part)).unwrap();
    }
    project
}

const OPEN: &str = "create policy todos_open on todos for delete to authenticated using (true);\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_says_whether_there_are_findings() {
    let project = project().await;
    let clean = rowgate(&project, &[]);
    assert_eq!(clean.status.code(), Some(0), "{}", out(&clean));
    assert!(out(&clean).contains("errors: 0, warnings: 0"), "{}", out(&clean));

    project.append("sql/policies/todos.sql", OPEN);
    let found = rowgate(&project, &[]);
    assert_eq!(found.status.code(), Some(1), "{}", out(&found));
    assert!(out(&found).contains("RG-L010"), "{}", out(&found));
    assert!(out(&found).contains("sql/policies/todos.sql\n"), "{}", out(&found));

    let live = rowgate(&project, &["--live", "--fail-on", "warning"]);
    assert_eq!(live.status.code(), Some(0), "{}", out(&live));

    project.append("sql/policies/todos.sql", "create policy todos_open on nowhere using (true);\n");
    let broken = rowgate(&project, &[]);
    assert_eq!(broken.status.code(), Some(2), "{}", out(&broken));
    assert!(out(&broken).contains("relation \"nowhere\" does not exist"), "{}", out(&broken));
    assert_eq!(rowgate(&project, &["--dry-run"]).status.code(), Some(2));
}

#[test]
fn without_a_server_the_exit_code_is_2_and_no_password_is_shown() {
    let output = Command::new(env!("CARGO_BIN_EXE_rowgate"))
        .args(["policies", "lint", "--live"])
        .env_clear()
        .env("DATABASE_URL", "postgresql://owner:hush-hush@127.0.0.1:1/none?sslmode=disable")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", out(&output));
    assert!(!out(&output).contains("hush-hush"));
}

#[tokio::test(flavor = "multi_thread")]
async fn json_and_annotations_point_to_file_and_line() {
    let project = project().await;
    let path = project.path("sql/policies/todos.sql");
    let line = std::fs::read_to_string(&path).unwrap().lines().count() + 1;
    project.append("sql/policies/todos.sql", OPEN);
    let json: Value = serde_json::from_slice(&rowgate(&project, &["--json"]).stdout).unwrap();
    assert_eq!(json["looked_at"], "files");
    let findings = json["findings"].as_array().unwrap();
    let open = findings.iter().find(|finding| finding["rule"] == "RG-L010").unwrap();
    assert_eq!(open["level"], "error");
    assert_eq!(open["file"], "sql/policies/todos.sql");
    assert_eq!(open["line"], line);
    assert_eq!(open["object"]["name"], "public.todos: policy todos_open");

    let github = out(&rowgate(&project, &["--github"]));
    let expected =
        format!("::error file=sql/policies/todos.sql,line={line},title=RG-L010 a policy");
    assert!(github.contains(&expected), "{github}");
    let sarif: Value = serde_json::from_slice(&rowgate(&project, &["--sarif"]).stdout).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_the_diff_and_writes_nothing() {
    let project = project().await;
    let path = project.path("sql/policies/todos.sql");
    let text = std::fs::read_to_string(&path).unwrap();
    let bad = text.replacen(
        "using ((select auth.user_id()) = user_id)",
        "using (auth.user_id() = user_id)",
        1,
    );
    std::fs::write(&path, &bad).unwrap();
    let dry = rowgate(&project, &["--fix", "--dry-run"]);
    assert!(out(&dry).contains("+  using ((select auth.user_id()) = user_id);"), "{}", out(&dry));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), bad);

    let fixed = rowgate(&project, &["--fix", "--fail-on", "warning"]);
    assert_eq!(fixed.status.code(), Some(0), "{}", out(&fixed));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}
