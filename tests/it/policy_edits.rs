//! A DBA edits a file, and what callers see follows at once, wholly, or not at all.

use std::path::Path;

use rowgate::policy::{self, SqlSource};
use serde_json::json;

use crate::harness::gateway::TestGateway;

const TASKS: &str = "select task from todos order by id";

/// A copy of the repository's SQL files that a test may edit.
fn project() -> tempfile::TempDir {
    let project = tempfile::tempdir().unwrap();
    for part in ["migrations", "grants", "policies"] {
        let copy = project.path().join(part);
        std::fs::create_dir(&copy).unwrap();
        for file in std::fs::read_dir(Path::new("sql").join(part)).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), copy.join(file.file_name())).unwrap();
        }
    }
    project
}

fn append(project: &tempfile::TempDir, file: &str, sql: &str) {
    let path = project.path().join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, text + sql).unwrap();
}

async fn apply(gateway: &TestGateway, project: &tempfile::TempDir) -> Result<String, String> {
    let mut owner = gateway.database.owner().await;
    policy::apply_policies(&mut owner, &SqlSource::new(project.path()), &policy::Options::default())
        .await
        .map(|report| report.to_string())
        .map_err(|error| error.to_string())
}

#[tokio::test]
async fn an_edited_policy_is_visible_at_once() {
    let gateway = TestGateway::start().await;
    gateway.seed().await;
    let done = "update todos set is_complete = true where task = 'bob one'";
    assert_eq!(gateway.sql(Some("bob"), done, json!([])).await.json()["rowCount"], 1);
    assert_eq!(gateway.sql(None, TASKS, json!([])).await.rows(), json!([]));

    let project = project();
    let public = "\ncreate policy todos_select_completed on todos for select to authenticated, anonymous\n  \
                  using (is_complete);\n";
    append(&project, "policies/todos.sql", public);
    let report = apply(&gateway, &project).await.unwrap();
    assert!(report.contains("todos_select_completed"), "{report}");
    assert_eq!(gateway.sql(None, TASKS, json!([])).await.rows(), json!([["bob one"]]));
    assert_eq!(
        gateway.sql(Some("alice"), TASKS, json!([])).await.rows(),
        json!([["alice one"], ["alice two"], ["bob one"]])
    );
}

#[tokio::test]
async fn a_mistake_changes_nothing_and_is_named_by_file_and_line() {
    let gateway = TestGateway::start().await;
    gateway.seed().await;
    let project = project();
    append(&project, "grants/todos.sql", "\nrevoke all on todos from authenticated;\n");
    let lines = std::fs::read_to_string(project.path().join("policies/todos.sql")).unwrap();
    let line = lines.lines().count() + 2;
    append(&project, "policies/todos.sql", "\ncreate polcy oops on todos;\n");
    let error = apply(&gateway, &project).await.unwrap_err();
    assert!(error.contains("policies/todos.sql") && error.contains(&line.to_string()), "{error}");
    assert!(error.contains("42601"), "{error}");
    assert_eq!(
        gateway.sql(Some("alice"), TASKS, json!([])).await.rows(),
        json!([["alice one"], ["alice two"]])
    );
}

#[tokio::test]
async fn what_no_file_grants_is_not_granted_not_even_to_public() {
    let gateway = TestGateway::start().await;
    let project = project();
    let open =
        "grant all on todos to public;\ngrant update (message) on user_messages to public;\n";
    std::fs::write(project.path().join("grants/open.sql"), open).unwrap();
    apply(&gateway, &project).await.unwrap();
    let granted = "select has_table_privilege('anonymous', 'todos', 'truncate'), \
                   has_column_privilege('anonymous', 'user_messages', 'message', 'update')";
    let owner = gateway.database.owner().await;
    let privileges = async || {
        let row = owner.query_one(granted, &[]).await.unwrap();
        (row.get::<_, bool>(0), row.get::<_, bool>(1))
    };
    assert_eq!(privileges().await, (true, true));
    std::fs::remove_file(project.path().join("grants/open.sql")).unwrap();
    apply(&gateway, &project).await.unwrap();
    assert_eq!(privileges().await, (false, false));
}
