//! Files: what they would make, where a finding comes from, exceptions, and what can be mended.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rowgate::lint::{self, Outcome, Scope, fix, report, sarif};
use rowgate::policy::{self, SqlSource};
use serde_json::Value;

use crate::harness::cluster::{self, TestDatabase};

const PROJECT_SQL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/sql");

/// A copy of the repository's `sql/`, and a database to which it has been applied.
pub struct Project {
    pub dir: tempfile::TempDir,
    pub database: TestDatabase,
}

impl Project {
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for part in ["migrations", "grants", "policies"] {
            std::fs::create_dir(dir.path().join(part)).unwrap();
            for entry in std::fs::read_dir(Path::new(PROJECT_SQL).join(part)).unwrap() {
                let from = entry.unwrap().path();
                std::fs::copy(&from, dir.path().join(part).join(from.file_name().unwrap()))
                    .unwrap();
            }
        }
        Self { dir, database: cluster::fresh_database().await }
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    pub fn append(&self, file: &str, text: &str) {
        let path = self.path(file);
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::write(path, format!("{old}{text}")).unwrap();
    }

    fn source(&self) -> SqlSource {
        SqlSource::new(self.dir.path())
    }

    async fn lint(&self, scope: Scope) -> Outcome {
        lint::run(&mut self.database.owner().await, &self.source(), scope).await.unwrap()
    }

    async fn apply(&self) {
        let options = policy::Options::default();
        policy::migrate(&mut self.database.owner().await, &self.source(), &options).await.unwrap();
    }
}

/// Rule, object, and the line if it is known; without logins that other tests make.
fn found(outcome: &Outcome) -> Vec<(&str, String, Option<usize>)> {
    outcome
        .findings()
        .filter(|reported| reported.finding.rule.id != "RG-L051")
        .map(|reported| {
            let line = reported.place.as_ref().map(|place| place.line);
            (reported.finding.rule.id, reported.finding.object.to_string(), line)
        })
        .collect()
}

const EVERYTHING: &str = "\n-- Everybody may see everything.\ncreate policy todos_all on todos for select\n  \
                          to authenticated using (true);\n";

#[tokio::test]
async fn the_projects_own_files_are_clean_and_not_applied_to_find_out() {
    let project = Project::new().await;
    let outcome = project.lint(Scope::Files).await;
    assert!(!outcome.is_rehearsed);
    assert_eq!(found(&outcome), []);
}

#[tokio::test]
async fn a_mistake_is_found_before_it_is_applied_with_its_line() {
    let project = Project::new().await;
    let file = std::fs::read_to_string(project.path("policies/todos.sql")).unwrap();
    let line = file.lines().count() + 3;
    project.append("policies/todos.sql", EVERYTHING);
    let outcome = project.lint(Scope::Files).await;
    assert!(outcome.is_rehearsed);
    let table = file.lines().position(|line| line.starts_with("alter table")).unwrap() + 1;
    let expected = [
        ("RG-L025", "public.todos".to_owned(), Some(table)),
        ("RG-L011", "public.todos: policy todos_all".to_owned(), Some(line)),
    ];
    assert_eq!(found(&outcome), expected);
    let text = report::text(&outcome);
    assert!(text.contains("policies/todos.sql\n"), "{text}");
    assert!(text.contains("what the files would make"), "{text}");
    // The database is as it was, and that is what --live looks at.
    let live = project.lint(Scope::Live).await;
    assert!(!live.is_rehearsed);
    assert_eq!(found(&live), []);

    project.apply().await;
    let applied = project.lint(Scope::Files).await;
    assert!(!applied.is_rehearsed);
    assert_eq!(found(&applied), expected);
}

#[tokio::test]
async fn a_pending_migration_is_looked_at_too() {
    let project = Project::new().await;
    project.append("migrations/V4__plans.sql", "-- Prices.\ncreate table plans (id int);\n");
    project.append("grants/plans.sql", "grant select on plans to anonymous;\n");
    let outcome = project.lint(Scope::Files).await;
    assert_eq!(found(&outcome), [("RG-L001", "public.plans".to_owned(), Some(2))]);
    let tables = "select to_regclass('public.plans') is null";
    let client = project.database.owner().await;
    assert!(client.query_one(tables, &[]).await.unwrap().get::<_, bool>(0));
}

#[tokio::test]
async fn a_database_that_was_never_migrated_can_be_looked_at() {
    let project = Project::new().await;
    let empty = cluster::empty_database().await;
    let sql = format!("alter schema public owner to {}", cluster::OWNER);
    empty.superuser().await.batch_execute(&sql).await.unwrap();
    let mut client = empty.owner().await;
    let outcome = lint::run(&mut client, &project.source(), Scope::Files).await.unwrap();
    assert!(outcome.is_rehearsed);
    assert_eq!(found(&outcome), []);
    let gone = "select to_regnamespace('rowgate') is null";
    assert!(client.query_one(gone, &[]).await.unwrap().get::<_, bool>(0));
}

#[tokio::test]
async fn looking_at_the_live_database_waits_for_no_writer() {
    let project = Project::new().await;
    let mut other = project.database.owner().await;
    let transaction = other.transaction().await.unwrap();
    // Conflicts with everything but ACCESS SHARE.
    transaction.batch_execute("lock table todos in exclusive mode").await.unwrap();
    let looking = project.lint(Scope::Live);
    tokio::time::timeout(Duration::from_secs(20), looking).await.expect("it waits for a lock");
}

#[tokio::test]
async fn a_table_in_use_makes_the_rehearsal_give_up_soon() {
    let project = Project::new().await;
    project.append("policies/todos.sql", EVERYTHING);
    let mut other = project.database.owner().await;
    let transaction = other.transaction().await.unwrap();
    transaction.batch_execute("lock table todos in access share mode").await.unwrap();
    let started = Instant::now();
    let mut client = project.database.owner().await;
    let error = lint::run(&mut client, &project.source(), Scope::Files).await.unwrap_err();
    assert!(error.to_string().contains("gave up waiting for a lock after"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn exceptions_excuse_with_a_reason_and_are_reported_when_they_excuse_nothing() {
    let project = Project::new().await;
    project.append(
        "policies/todos.sql",
        "\n-- rowgate:allow RG-L011 a public board\n-- rowgate:allow RG-L025 one of them is public\n\
         create policy todos_all on todos for select to authenticated using (true);\n",
    );
    let outcome = project.lint(Scope::Files).await;
    assert_eq!(found(&outcome), []);
    let reasons: Vec<_> = outcome.reported.iter().filter_map(|r| r.allowed.as_deref()).collect();
    assert!(reasons.contains(&"a public board"), "{reasons:?}");
    assert!(
        report::text(&outcome)
            .contains("allowed: RG-L011 public.todos: policy todos_all: a public")
    );

    project.append(
        "policies/user_messages.sql",
        "\n-- rowgate:allow RG-L001 no such mistake here\nselect 1;\n-- rowgate:allow RG-L011\nselect 2;\n",
    );
    let outcome = project.lint(Scope::Files).await;
    let ids: Vec<_> = found(&outcome).into_iter().map(|(id, ..)| id).collect();
    assert_eq!(ids, ["RG-L900", "RG-L901"]);
}

#[tokio::test]
async fn an_exception_that_is_not_needed_any_more_is_a_finding() {
    let project = Project::new().await;
    let text = "\n-- rowgate:allow RG-L011 was public once\nselect 1;\n";
    project.append("policies/todos.sql", text);
    assert_eq!(found(&project.lint(Scope::Files).await)[0].0, "RG-L900");
}

#[tokio::test]
async fn an_exception_that_cannot_be_understood_is_a_finding() {
    let project = Project::new().await;
    project.append("policies/todos.sql", "\n-- rowgate:allow RG-L77 because\nselect 1;\n");
    assert_eq!(found(&project.lint(Scope::Files).await)[0].0, "RG-L901");
}

/// Five mistakes that need no decision.
const MECHANICAL: &str = "\
alter table notes enable row level security;

-- A comment that stays.
create policy notes_select on notes for select to authenticated
  using (auth.user_id() = user_id);
create policy notes_update on notes for update to authenticated
  using (auth.user_id() = user_id);
";

#[tokio::test]
async fn mechanical_mistakes_are_mended_in_the_files_and_nothing_else_is_touched() {
    let project = Project::new().await;
    let table = |name: &str| {
        format!(
            "create table {name} (id bigint generated always as identity primary key, \
             user_id text not null); create index on {name} (user_id);\n"
        )
    };
    project.append("migrations/V4__notes.sql", &(table("notes") + &table("drafts")));
    project.append(
        "grants/notes.sql",
        "grant select, update, truncate on notes to authenticated;\n\
         grant select on drafts to authenticated;\n",
    );
    project.append("policies/notes.sql", MECHANICAL);
    // Somebody forgot to switch it on.
    let drafts = "create policy drafts_select on drafts for select to authenticated\n  \
                  using ((select auth.user_id()) = user_id);\n";
    project.append("policies/drafts.sql", drafts);

    let outcome = project.lint(Scope::Files).await;
    let mut ids: Vec<_> = found(&outcome).into_iter().map(|(id, ..)| id).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["RG-L002", "RG-L004", "RG-L012", "RG-L020", "RG-L020", "RG-L042"]);
    let rewrites = fix::rewrites(&outcome);
    for rewrite in &rewrites {
        std::fs::write(&rewrite.path, &rewrite.text).unwrap();
    }
    let notes = std::fs::read_to_string(project.path("policies/notes.sql")).unwrap();
    assert_eq!(
        notes,
        "\
alter table notes enable row level security;
alter table public.notes force row level security;

-- A comment that stays.
create policy notes_select on notes for select to authenticated
  using ((select auth.user_id()) = user_id);
create policy notes_update on notes for update to authenticated
  using ((select auth.user_id()) = user_id)
  with check ((select auth.user_id()) = user_id);
"
    );
    let diff = &rewrites.iter().find(|r| r.path.ends_with("policies/notes.sql")).unwrap().diff;
    assert!(diff.contains("-  using (auth.user_id() = user_id);\n"), "{diff}");
    assert!(diff.contains("+  using ((select auth.user_id()) = user_id)\n"), "{diff}");
    let drafts_now = std::fs::read_to_string(project.path("policies/drafts.sql")).unwrap();
    assert!(drafts_now.starts_with("alter table public.drafts enable row level security;\n"));
    assert!(drafts_now.ends_with(drafts));
    assert_eq!(found(&project.lint(Scope::Files).await), []);
}

#[tokio::test]
async fn sarif_has_the_structure_that_code_hosts_read() {
    let project = Project::new().await;
    project.append("policies/todos.sql", EVERYTHING);
    project.append("policies/todos.sql", "-- rowgate:allow RG-L015 for everybody\ncreate policy todos_open \
                    on todos for insert with check ((select auth.user_id()) = user_id and task <> '');\n");
    let sarif: Value = sarif::sarif(&project.lint(Scope::Files).await);
    assert_eq!(sarif["version"], "2.1.0");
    let run = &sarif["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), lint::RULES.len());
    for rule in rules {
        assert!(rule["shortDescription"]["text"].is_string() && rule["help"]["text"].is_string());
        let level = rule["defaultConfiguration"]["level"].as_str().unwrap();
        assert!(["error", "warning", "note"].contains(&level));
    }
    let results = run["results"].as_array().unwrap();
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(result["message"]["text"].is_string());
        assert!(result["partialFingerprints"]["object/v1"].is_string());
        let location = &result["locations"][0];
        assert!(location["logicalLocations"][0]["fullyQualifiedName"].is_string());
        if let Some(place) = location.get("physicalLocation") {
            let uri = place["artifactLocation"]["uri"].as_str().unwrap();
            assert!(uri.ends_with(".sql") && !uri.contains([' ', '\\']), "{uri}");
            assert!(place["region"]["startLine"].as_u64().unwrap() >= 1);
        }
    }
    let of = |id: &str| results.iter().find(|result| result["ruleId"] == id).unwrap();
    assert_eq!(of("RG-L011")["level"], "note");
    assert!(of("RG-L011")["locations"][0]["physicalLocation"].is_object());
    assert_eq!(of("RG-L015")["suppressions"][0]["kind"], "inSource");
    assert_eq!(of("RG-L015")["suppressions"][0]["justification"], "for everybody");
}
