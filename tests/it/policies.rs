//! A DBA's files and a database: what is applied, what is refused, and what is left alone.

mod concurrency;
mod explain;
mod migrations;
mod plan;
mod refusals;
mod show;
mod test;

use std::path::{Path, PathBuf};

use rowgate::policy::{self, Cause, PolicyError, Report, SqlSource};
use tokio_postgres::Client;

use crate::harness::cluster::{self, TestDatabase};

/// The repository's own SQL files.
const PROJECT_SQL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/sql");

/// A copy of the repository's `sql/` that a test may edit, and a database.
struct Project {
    dir: tempfile::TempDir,
    database: TestDatabase,
}

impl Project {
    /// Nothing applied yet.
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for part in ["migrations", "grants", "policies", "tests"] {
            std::fs::create_dir(dir.path().join(part)).unwrap();
            for entry in std::fs::read_dir(Path::new(PROJECT_SQL).join(part)).unwrap() {
                let from = entry.unwrap().path();
                let to = dir.path().join(part).join(from.file_name().unwrap());
                std::fs::copy(from, to).unwrap();
            }
        }
        let database = cluster::empty_database().await;
        // Before version 15 the schema belongs to the superuser, and its owner's rights are missed.
        let sql = format!("alter schema public owner to {}", cluster::OWNER);
        database.superuser().await.batch_execute(&sql).await.unwrap();
        Self { dir, database }
    }

    /// Everything applied.
    async fn migrated() -> Self {
        let project = Self::new().await;
        project.migrate().await.unwrap();
        project
    }

    fn source(&self) -> SqlSource {
        SqlSource::new(self.dir.path())
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.path(file), text).unwrap();
    }

    fn append(&self, file: &str, text: &str) {
        let old = std::fs::read_to_string(self.path(file)).unwrap();
        self.write(file, &format!("{old}{text}"));
    }

    fn remove(&self, file: &str) {
        std::fs::remove_file(self.path(file)).unwrap();
    }

    async fn migrate(&self) -> Result<Report, PolicyError> {
        policy::migrate(
            &mut self.database.owner().await,
            &self.source(),
            &policy::Options::default(),
        )
        .await
    }

    async fn apply(&self) -> Result<Report, PolicyError> {
        policy::apply_policies(
            &mut self.database.owner().await,
            &self.source(),
            &policy::Options::default(),
        )
        .await
    }

    /// Policies, privileges and flags, as the catalogues have them.
    async fn rules(&self) -> Vec<String> {
        rules(&self.database.superuser().await).await
    }
}

async fn rules(client: &Client) -> Vec<String> {
    let sql = "select policyname || cmd || roles::text || coalesce(qual, '') || coalesce(with_check, '') \
                 from pg_policies \
               union all select relname || relrowsecurity || relforcerowsecurity \
                 || coalesce(relacl::text, '') || (select coalesce(string_agg(attacl::text, ''), '') \
                      from pg_attribute where attrelid = c.oid) \
                 from pg_class c where relnamespace = 'public'::regnamespace order by 1";
    client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

async fn may(client: &Client, role: &str, table: &str, privilege: &str) -> bool {
    let sql = "select has_table_privilege($1::text, $2::text, $3)";
    client.query_one(sql, &[&role, &table, &privilege]).await.unwrap().get(0)
}

const PUBLIC_COMPLETED: &str = "\ncreate policy todos_completed on todos for select \
                                to authenticated, anonymous using (is_complete);\n";

#[tokio::test]
async fn nothing_is_done_when_nothing_was_edited() {
    let project = Project::migrated().await;
    let before = project.rules().await;
    for report in [project.migrate().await.unwrap(), project.apply().await.unwrap()] {
        assert!(report.is_unchanged(), "{report}");
        assert_eq!(report.applied, None);
        assert_eq!(report.summary(), "nothing changed");
    }
    assert_eq!(project.rules().await, before);
}

#[tokio::test]
async fn an_edited_policy_is_applied_and_reported_with_old_and_new() {
    let project = Project::migrated().await;
    project.append("policies/todos.sql", PUBLIC_COMPLETED);
    let text = std::fs::read_to_string(project.path("policies/todos.sql")).unwrap();
    let select = "for select to authenticated\n  using ((select auth.user_id()) = user_id)";
    project.write("policies/todos.sql", &text.replacen(select, "for select using (false)", 1));

    let report = project.apply().await.unwrap();
    assert_eq!(report.applied, Some(Cause::Edited));
    let changed: Vec<_> = report
        .changes
        .iter()
        .map(|c| (c.name.as_str(), c.old.as_deref(), c.new.as_deref()))
        .collect();
    let own = "select to authenticated using (( SELECT auth.user_id() AS user_id) = user_id)";
    let completed = "select to authenticated, anonymous using is_complete";
    assert_eq!(
        changed,
        [
            ("todos_completed", None, Some(completed)),
            ("todos_select", Some(own), Some("select to public using false")),
        ]
    );
    assert_eq!(
        report.summary(),
        "created todos_completed on public.todos; changed todos_select on public.todos"
    );
    assert!(report.to_string().contains(&format!("before: {own}")), "{report}");
}

#[tokio::test]
async fn a_deleted_file_is_a_dropped_policy_and_a_removed_line_a_revoked_grant() {
    let project = Project::migrated().await;
    let owner = project.database.owner().await;
    project.remove("policies/user_messages.sql");
    project.write("grants/todos.sql", "grant select (id, task) on todos to authenticated;");

    let report = project.apply().await.unwrap();
    let dropped: Vec<_> = report.changes.iter().map(|c| (c.new.clone(), &*c.table)).collect();
    assert_eq!(dropped, vec![(None, "public.user_messages"); 4]);
    assert!(!may(&owner, "authenticated", "todos", "select").await);
    assert!(!may(&owner, "anonymous", "todos", "select").await);
    assert!(may(&owner, "authenticated", "user_messages", "insert").await);
    // Row level security stays on: without a policy nobody sees anything.
    let rules = project.rules().await;
    assert!(rules.iter().any(|r| r.starts_with("user_messagestruetrue")), "{rules:?}");

    project.write("grants/todos.sql", "grant select on todos to authenticated;");
    project.apply().await.unwrap();
    let columns = "select count(*) from information_schema.column_privileges where grantee = \
                   'authenticated' and table_name = 'todos' and privilege_type <> 'SELECT'";
    assert_eq!(owner.query_one(columns, &[]).await.unwrap().get::<_, i64>(0), 0);
    let acl = "select count(*) from pg_attribute where attrelid = 'todos'::regclass \
               and attacl::text like '%authenticated%'";
    assert_eq!(owner.query_one(acl, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test]
async fn every_kind_of_privilege_is_taken_back() {
    let project = Project::migrated().await;
    let owner = project.database.owner().await;
    owner
        .batch_execute(
            "create schema app; create sequence app.s; create type app.t as enum ('a'); \
             create function app.f(a int default 1) returns int language sql as 'select 1'; \
             create procedure app.p() language sql as 'select 1'; create view app.v as select 1 as a; \
             create domain app.d as int",
        )
        .await
        .unwrap();
    let before = all_grants(&owner).await;
    project.write(
        "grants/app.sql",
        "grant usage, create on schema app to anonymous; grant usage on sequence app.s to anonymous;\n\
         grant usage on type app.t to anonymous; grant usage on domain app.d to anonymous;\n\
         grant execute on function app.f(int) to anonymous; grant execute on procedure app.p() to anonymous;\n\
         grant select on app.v to anonymous with grant option; grant update (a) on app.v to anonymous;\n\
         alter default privileges in schema app grant select on tables to anonymous;\n\
         alter default privileges grant usage on sequences to anonymous;",
    );
    let report = project.apply().await.unwrap();
    assert_eq!(report.grants.added, 11, "{report}");
    assert_eq!(report.grants.removed, 0, "{report}");
    project.remove("grants/app.sql");
    let report = project.apply().await.unwrap();
    assert_eq!((report.grants.added, report.grants.removed), (0, 11), "{report}");
    assert_eq!(all_grants(&owner).await, before);
}

/// What `anonymous` has been granted anywhere in this database.
async fn all_grants(owner: &Client) -> i64 {
    let sql = "select count(*) from (select relacl from pg_class union all select nspacl from pg_namespace \
        union all select proacl from pg_proc union all select typacl from pg_type \
        union all select attacl from pg_attribute union all select defaclacl from pg_default_acl) as a (acl), \
        lateral aclexplode(acl) x where x.grantee = 'anonymous'::regrole";
    owner.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn going_back_to_an_earlier_text_applies_it_again() {
    let project = Project::migrated().await;
    let original = std::fs::read_to_string(project.path("policies/todos.sql")).unwrap();
    let before = project.rules().await;
    project.append("policies/todos.sql", PUBLIC_COMPLETED);
    project.apply().await.unwrap();
    assert_ne!(project.rules().await, before);

    project.write("policies/todos.sql", &original);
    let report = project.apply().await.unwrap();
    assert_eq!(report.applied, Some(Cause::Edited));
    assert_eq!(report.changes.len(), 1);
    assert_eq!(project.rules().await, before);
    assert!(project.apply().await.unwrap().is_unchanged());
}

#[tokio::test]
async fn what_somebody_changed_by_hand_is_repaired_and_said() {
    let project = Project::migrated().await;
    let owner = project.database.owner().await;
    let before = project.rules().await;
    for by_hand in [
        "alter policy todos_select on todos using (true)",
        "drop policy todos_insert on todos",
        "create policy extra on todos for select to anonymous using (true)",
        "alter table todos disable row level security",
        "alter table todos no force row level security",
        "grant delete on todos to anonymous",
        "grant update (task) on todos to anonymous",
        "revoke select on todos from authenticated",
    ] {
        owner.batch_execute(by_hand).await.unwrap();
        let report = project.apply().await.unwrap();
        assert_eq!(report.applied, Some(Cause::Drift), "{by_hand}");
        assert!(!report.is_unchanged(), "{by_hand}");
        assert!(report.summary().starts_with("repaired"), "{by_hand}");
        assert_eq!(project.rules().await, before, "{by_hand}");
        assert!(project.apply().await.unwrap().is_unchanged(), "{by_hand}");
    }
}

#[tokio::test]
async fn schemas_that_are_not_managed_are_left_alone() {
    let project = Project::migrated().await;
    let owner = project.database.owner().await;
    owner
        .batch_execute(
            "create schema other; create table other.t (a int); \
             create policy kept on other.t using (true); grant select on other.t to anonymous",
        )
        .await
        .unwrap();
    project.append("policies/todos.sql", PUBLIC_COMPLETED);
    let source = project.source().with_schemas(vec!["public".to_owned()]);
    let mut client = project.database.owner().await;
    policy::apply_policies(&mut client, &source, &policy::Options::default()).await.unwrap();
    assert!(project.rules().await.iter().any(|rule| rule.starts_with("kept")));
    assert!(may(&owner, "anonymous", "other.t", "select").await);

    let report = project.apply().await.unwrap();
    assert!(report.changes.iter().any(|c| c.name == "kept" && c.new.is_none()), "{report}");
    assert!(!may(&owner, "anonymous", "other.t", "select").await);
}

#[tokio::test]
async fn a_table_that_is_open_without_row_level_security_is_warned_of() {
    let project = Project::migrated().await;
    project.write("migrations/V4__notes.sql", "create table notes (a int);");
    project.write("grants/notes.sql", "grant select on notes to anonymous;");
    let report = project.migrate().await.unwrap();
    assert_eq!(report.migrations, ["V4__notes"]);
    let warning =
        "anonymous may use all rows of public.notes: row level security is not enabled on it";
    assert_eq!(report.warnings, [warning]);
    assert!(report.to_string().contains("warning: anonymous may use all rows"), "{report}");
}

#[tokio::test]
async fn files_do_not_influence_each_other_or_depend_on_the_session() {
    let project = Project::migrated().await;
    let before = project.rules().await;
    // The first file by name leaves another search path behind, and so did the session.
    let first = "create schema if not exists app; set local search_path to app;";
    project.write("grants/aaa.sql", first);
    project.append("policies/todos.sql", "-- here a backslash is no escape:\nselect '\\', 'b';\n");
    let mut client = project.database.owner().await;
    let session = "set search_path to pg_catalog; set standard_conforming_strings to off";
    client.batch_execute(session).await.unwrap();
    policy::apply_policies(&mut client, &project.source(), &policy::Options::default())
        .await
        .unwrap();
    assert_eq!(project.rules().await, before);
    let path: String = client.query_one("show search_path", &[]).await.unwrap().get(0);
    assert_eq!(path, "pg_catalog", "the session's own settings come back");
}
