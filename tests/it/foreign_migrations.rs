//! `rowgate migrate --from`: migrations of another tool, and the policies that they make.

use std::path::{Path, PathBuf};

use rowgate::policy::{self, SqlSource};
use serde_json::json;
use tokio_postgres::Client;

use crate::harness::cluster::{self, TestDatabase};
use crate::harness::gateway::TestGateway;

/// As drizzle-kit writes it: the last statement has no semicolon.
const NOTES: &str = r#"CREATE TABLE "notes" (
	"id" integer PRIMARY KEY NOT NULL,
	"user_id" text DEFAULT (auth.user_id()) NOT NULL
);
--> statement-breakpoint
ALTER TABLE "notes" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
CREATE POLICY "crud-authenticated-policy-select" ON "notes" AS PERMISSIVE FOR SELECT TO "authenticated" USING ((select auth.user_id() = "notes"."user_id"));--> statement-breakpoint
CREATE POLICY "crud-authenticated-policy-insert" ON "notes" AS PERMISSIVE FOR INSERT TO "authenticated" WITH CHECK ((select auth.user_id() = "notes"."user_id"))
--> statement-breakpoint
CREATE POLICY "doomed" ON "notes" AS PERMISSIVE FOR DELETE TO "authenticated" USING (true)"#;
const RENAMED: &str = r#"ALTER TABLE "notes" RENAME TO "memos";--> statement-breakpoint
DROP POLICY "doomed" ON "memos" CASCADE;--> statement-breakpoint
ALTER POLICY "crud-authenticated-policy-insert" ON "memos" RENAME TO "inserts";"#;
const GRANTS: &str = "grant usage on schema public to authenticated, anonymous;
grant select, insert on all tables in schema public to authenticated;";

/// A folder of another tool, and a project beside it.
struct Folders {
    dir: tempfile::TempDir,
    tags: Vec<&'static str>,
}

impl Folders {
    fn new() -> Self {
        let folders = Self { dir: tempfile::tempdir().unwrap(), tags: Vec::new() };
        folders.write("sql/grants/all.sql", GRANTS);
        folders
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Adds a migration and its line in the journal.
    fn generate(&mut self, tag: &'static str, text: &str) {
        self.write(&format!("drizzle/{tag}.sql"), text);
        self.tags.push(tag);
        self.write_journal();
    }

    fn write_journal(&self) {
        let entries: Vec<_> =
            self.tags.iter().map(|tag| json!({"tag": tag, "breakpoints": true})).collect();
        let journal = json!({"version": "7", "dialect": "postgresql", "entries": entries});
        self.write("drizzle/meta/_journal.json", &journal.to_string());
    }

    fn source(&self) -> SqlSource {
        SqlSource::new(self.path("sql")).with_foreign(self.path("drizzle"))
    }

    async fn migrate(&self, database: &TestDatabase) -> Result<String, String> {
        migrate(database, &self.source()).await
    }

    async fn apply_policies(&self, database: &TestDatabase) -> Result<String, String> {
        policy::apply_policies(
            &mut database.owner().await,
            &self.source(),
            &policy::Options::default(),
        )
        .await
        .map(|report| report.to_string())
        .map_err(|error| error.to_string())
    }
}

async fn migrate(database: &TestDatabase, source: &SqlSource) -> Result<String, String> {
    policy::migrate(&mut database.owner().await, source, &policy::Options::default())
        .await
        .map(|report| report.to_string())
        .map_err(|error| error.to_string())
}

async fn policies(client: &Client) -> Vec<String> {
    let sql = "select tablename || '.' || policyname from pg_policies \
               where schemaname <> 'auth' order by 1";
    client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn a_folder_of_drizzle_kit_is_applied_once_and_serves_callers() {
    let mut folders = Folders::new();
    folders.generate("0000_notes", NOTES);
    let database = cluster::empty_database().await;
    let report = folders.migrate(&database).await.unwrap();
    assert!(report.contains("drizzle/0000_notes"), "{report}");
    let again = folders.migrate(&database).await.unwrap();
    assert!(again.starts_with("policies and grants: unchanged"), "{again}");

    database.enable_logins().await;
    let gateway = TestGateway::on(database, |_| {}).await;
    let insert = "insert into notes (id) values (1) returning user_id";
    assert_eq!(gateway.sql(Some("alice"), insert, json!([])).await.rows(), json!([["alice"]]));
    let ids = "select id from notes";
    assert_eq!(gateway.sql(Some("alice"), ids, json!([])).await.rows(), json!([[1]]));
    assert_eq!(gateway.sql(Some("bob"), ids, json!([])).await.rows(), json!([]));
    assert_eq!(gateway.sql(None, ids, json!([])).await.failure(), (400, "42501".to_owned()));
}

#[tokio::test]
async fn policies_of_such_files_survive_and_policies_by_other_hands_do_not() {
    let mut folders = Folders::new();
    folders.generate("0000_notes", NOTES);
    folders
        .write("sql/policies/notes.sql", "create policy more on notes for select using (false);");
    let database = cluster::empty_database().await;
    folders.migrate(&database).await.unwrap();
    let expected = [
        "notes.crud-authenticated-policy-insert",
        "notes.crud-authenticated-policy-select",
        "notes.doomed",
        "notes.more",
    ];
    let owner = database.owner().await;
    assert_eq!(policies(&owner).await, expected);

    owner.batch_execute("create policy by_hand on notes using (true)").await.unwrap();
    let report = folders.apply_policies(&database).await.unwrap();
    assert!(report.contains("by_hand"), "{report}");
    assert_eq!(policies(&owner).await, expected);

    // The last file of the project's own goes, and its policy with it.
    std::fs::remove_dir_all(folders.path("sql/policies")).unwrap();
    folders.apply_policies(&database).await.unwrap();
    assert_eq!(policies(&owner).await, expected[..3]);
    let again = folders.apply_policies(&database).await.unwrap();
    assert!(again.contains("policies and grants: unchanged"), "{again}");
}

#[tokio::test]
async fn later_files_may_rename_and_drop_what_earlier_ones_made() {
    let mut folders = Folders::new();
    folders.generate("0000_notes", NOTES);
    let database = cluster::empty_database().await;
    folders.migrate(&database).await.unwrap();
    folders.generate("0001_memos", RENAMED);
    folders.migrate(&database).await.unwrap();
    let owner = database.owner().await;
    owner.batch_execute("create policy doomed on memos using (true)").await.unwrap();
    folders.apply_policies(&database).await.unwrap();
    assert_eq!(policies(&owner).await, ["memos.crud-authenticated-policy-select", "memos.inserts"]);
}

#[tokio::test]
async fn edited_missing_and_inserted_files_are_refused_and_change_nothing() {
    let mut folders = Folders::new();
    folders.generate("0000_notes", NOTES);
    folders.generate("0001_memos", RENAMED);
    let database = cluster::empty_database().await;
    folders.migrate(&database).await.unwrap();
    let before = policies(&database.owner().await).await;

    folders.write("drizzle/0000_notes.sql", &format!("{NOTES};"));
    let error = folders.migrate(&database).await.unwrap_err();
    assert!(error.contains("0000_notes.sql was changed after it had been applied"), "{error}");
    folders.write("drizzle/0000_notes.sql", NOTES);

    folders.write("drizzle/0000_more.sql", "select 1");
    folders.tags.insert(1, "0000_more");
    folders.write_journal();
    let error = folders.migrate(&database).await.unwrap_err();
    assert!(error.contains("0000_more.sql was never applied"), "{error}");
    folders.tags.remove(1);
    std::fs::remove_file(folders.path("drizzle/0000_more.sql")).unwrap();

    std::fs::remove_file(folders.path("drizzle/0001_memos.sql")).unwrap();
    folders.tags.pop();
    folders.write_journal();
    let error = folders.migrate(&database).await.unwrap_err();
    assert!(error.contains("0001_memos.sql was applied to this database but is not in"), "{error}");
    assert_eq!(policies(&database.owner().await).await, before);
}

#[tokio::test]
async fn a_mistake_is_named_by_file_and_line_and_nothing_of_the_folder_stays() {
    let mut folders = Folders::new();
    folders.generate("0000_notes", NOTES);
    folders.generate("0001_oops", "select 1;\n--> statement-breakpoint\nselect nosuch;");
    let database = cluster::empty_database().await;
    let error = folders.migrate(&database).await.unwrap_err();
    assert!(error.contains("0001_oops.sql:3") && error.contains("42703"), "{error}");
    let sql = "select to_regclass('public.notes') is null";
    assert!(database.owner().await.query_one(sql, &[]).await.unwrap().get::<_, bool>(0));
    folders.write("drizzle/0001_oops.sql", "begin;\nselect 1;\ncommit;");
    let error = folders.migrate(&database).await.unwrap_err();
    assert!(error.contains("0001_oops.sql:1: `begin` is not allowed"), "{error}");
}

#[tokio::test]
async fn without_a_project_the_folder_alone_says_what_is_granted() {
    let mut folders = Folders::new();
    folders.generate("0000_notes", NOTES);
    folders.generate("0001_grants", GRANTS);
    let source =
        SqlSource::new(folders.path("nowhere")).optional().with_foreign(folders.path("drizzle"));
    let database = cluster::empty_database().await;
    for _ in 0..2 {
        migrate(&database, &source).await.unwrap();
    }
    let sql = "select has_table_privilege('authenticated', 'notes', 'insert')";
    assert!(database.owner().await.query_one(sql, &[]).await.unwrap().get::<_, bool>(0));
    assert_eq!(policies(&database.owner().await).await.len(), 3);
    let mistyped = SqlSource::new(Path::new("nowhere")).with_foreign(folders.path("drizzle"));
    assert!(migrate(&database, &mistyped).await.unwrap_err().contains("nowhere"));
}

#[tokio::test]
async fn what_drizzle_kit_applied_itself_is_adopted_with_its_policies() {
    let mut folders = Folders::new();
    folders.generate("0000_notes", "create table notes (id int primary key, user_id text)");
    let database = cluster::empty_database().await;
    // As drizzle-kit leaves a database behind: its own history, and what the file made.
    let owner = database.owner().await;
    owner
        .batch_execute(
            "create schema drizzle;
             create table drizzle.__drizzle_migrations (id serial primary key, hash text not null, created_at bigint);
             create table notes (id int primary key, user_id text);
             alter table notes enable row level security;
             create policy theirs on notes using (true);
             insert into drizzle.__drizzle_migrations (hash) select encode(sha256(
               'create table notes (id int primary key, user_id text)'), 'hex')",
        )
        .await
        .unwrap();
    folders.generate("0001_column", "alter table notes add column more text");
    let report = folders.migrate(&database).await.unwrap();
    assert!(report.contains("drizzle/0001_column") && !report.contains("0000_notes"), "{report}");
    folders.write("sql/grants/more.sql", "grant delete on notes to authenticated");
    folders.apply_policies(&database).await.unwrap();
    assert_eq!(policies(&owner).await, ["notes.theirs"]);
}
