//! `rowgate policies test`: what passes, what fails and how it is told, what is noticed of weakened policies, and that
//! nothing stays behind.

use std::collections::BTreeMap;
use std::time::Duration;

use rowgate::policy::{self, SqlSource, Stage};
use rowgate::policy_test::{self, Report, Settings, TestFile, Verdict};
use serde_json::Value;
use tokio_postgres::Client;

use super::{PUBLIC_COMPLETED, Project, rules};
use crate::harness::cluster::{self, OWNER};

const PLAIN: Settings = Settings {
    stage: Stage::Policies,
    coverage: false,
    mutate: false,
    // Tests of other databases of the cluster make the owner a member of the same roles.
    patience: Duration::from_mins(2),
};

impl Project {
    async fn test_with(&self, settings: Settings) -> Report {
        let files = TestFile::read_all(&self.path("tests")).unwrap();
        let mut owner = self.database.owner().await;
        policy_test::run(&mut owner, &self.source(), &files, settings).await.unwrap()
    }

    /// With these as the only tests.
    async fn test_file(&self, text: &str) -> Report {
        self.only_tests(text);
        self.test_with(PLAIN).await
    }

    fn only_tests(&self, text: &str) {
        for file in ["tests/todos.sql", "tests/user_messages.sql"] {
            let _ = std::fs::remove_file(self.path(file));
        }
        self.write("tests/only.sql", text);
    }
}

/// Each test's name, and why it failed.
fn verdicts(report: &Report) -> BTreeMap<&str, Option<&str>> {
    fn reason(verdict: &Verdict) -> Option<&str> {
        match verdict {
            Verdict::Passed => None,
            Verdict::Failed { reason } => Some(reason.as_str()),
        }
    }
    report.tests.iter().map(|test| (test.name.as_str(), reason(&test.verdict))).collect()
}

fn assert_all_pass(report: &Report) {
    assert!(!report.tests.is_empty());
    assert_eq!(report.failures().count(), 0, "{report}");
}

/// Whatever a run could have changed.
async fn everything(client: &Client) -> Vec<String> {
    let mut lines = rules(client).await;
    let sql = "select 'file ' || relname || ' ' || relfilenode || ' ' || coalesce(reloptions::text, '') \
                 from pg_class where relnamespace in ('public'::regnamespace, 'auth'::regnamespace, \
                                                      'rowgate'::regnamespace) \
               union all select 'sequence ' || last_value || is_called from todos_id_seq \
               union all select 'todo ' || todos::text from todos \
               union all select 'message ' || user_messages::text from user_messages \
               union all select 'member ' || roleid::regrole || ' ' || member::regrole from pg_auth_members \
                where member::regrole::text like '%rowgate%' or roleid::regrole::text like 'rowgate_tests%' \
               union all select 'applied ' || policy_state::text from rowgate.policy_state \
               union all select 'history ' || policy_history::text from rowgate.policy_history \
               order by 1";
    lines.extend(client.query(sql, &[]).await.unwrap().iter().map(|row| row.get::<_, String>(0)));
    lines
}

#[tokio::test]
async fn the_sample_project_passes_its_tests_and_misses_no_weakened_policy() {
    let project = Project::migrated().await;
    let report = project.test_with(Settings { coverage: true, mutate: true, ..PLAIN }).await;
    assert_all_pass(&report);
    let mutants = report.mutants.as_ref().unwrap();
    // For both tables: three for update, two each for the other commands, and the table's switch.
    assert_eq!(mutants.len(), 2 * (3 + 2 * 3 + 1), "{report}");
    assert_eq!(report.survivors().count(), 0, "{report}");
    let coverage = report.coverage.as_ref().unwrap();
    assert_eq!(coverage.len(), 2 * (2 + 2 + 4 + 2));
    assert!(coverage.iter().all(|branch| branch.exercised_by.is_some()), "{report}");
    assert!((report.score() - 100.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn nothing_stays_behind() {
    let project = Project::migrated().await;
    let superuser = project.database.superuser().await;
    let rows = "insert into todos (user_id, task) values ('alice', 'kept'), ('bob', 'kept'); \
                insert into user_messages values ('alice', now(), 'kept')";
    superuser.batch_execute(rows).await.unwrap();
    // Not yet applied: the tests are about the files.
    project.append("policies/todos.sql", PUBLIC_COMPLETED);
    project.write("tests/more.sql", MEDDLING);
    let before = everything(&superuser).await;
    let report = project.test_with(Settings { coverage: true, mutate: true, ..PLAIN }).await;
    assert_eq!(everything(&superuser).await, before);
    let meddling = verdicts(&report);
    assert_eq!(meddling["sequences move and come back"], None, "{report}");
    assert_eq!(meddling["a commit inside of a block"], None, "{report}");
    assert_eq!(meddling["the role before was left"], None, "{report}");

    project.write("tests/more.sql", "-- test: x\n-- anonymous\nselect 1/0;\n-- rows: 1\n");
    let report = project.test_with(PLAIN).await;
    assert!(verdicts(&report)["x"].unwrap().contains("22012"), "{report}");
    assert_eq!(everything(&superuser).await, before);
}

/// Statements that try to outlive their test.
const MEDDLING: &str = "
-- given
insert into todos (user_id, task) select 'zoe', 'many' from generate_series(1, 50);
alter table todos disable row level security;
alter table todos enable row level security;
set role none;
create table left_behind ();

-- test: sequences move and come back
-- as: zoe
insert into todos (task) select 'more' from generate_series(1, 50);
-- changes: 50

-- test: a commit inside of a block
-- as: zoe
do $$ begin commit; end $$;
-- error: 2D000

-- test: another role
-- as: zoe
select set_config('role', 'none', false), set_config('request.jwt.claims', '{\"sub\":\"alice\"}', false);
-- rows: 1

-- test: the role before was left
-- as: zoe
select current_user, auth.user_id() as id, count(*) from todos;
-- returns: {\"current_user\": \"authenticated\", \"id\": \"zoe\", \"count\": 50}
";

#[tokio::test]
async fn claims_are_really_sealed_and_cannot_be_forged() {
    let project = Project::migrated().await;
    let report = project
        .test_file(
            "-- test: all claims arrive\n\
             -- as: {\"sub\": \"ñandú\", \"org\": {\"id\": 7}}\n\
             select auth.user_id() as id, auth.session() -> 'org' as org, current_user::text as role;\n\
             -- returns: {\"id\": \"ñandú\", \"org\": {\"id\": 7}, \"role\": \"authenticated\"}\n\
             -- test: nobody\n\
             -- anonymous\n\
             select auth.user_id() as id, current_user::text as role;\n\
             -- returns:\n\
             -- id | role\n\
             -- null | anonymous\n\
             -- test: claims without their seal\n\
             -- as: bob\n\
             with forged as materialized (\n\
               select set_config('request.jwt.claims', '{\"sub\":\"alice\"}', true))\n\
             select auth.user_id() from forged;\n\
             -- error: 28000\n\
             -- message: not sealed\n\
             -- test: another role\n\
             -- as: bob\n\
             -- role: anonymous\n\
             select current_user::text as role, auth.user_id() as id;\n\
             -- returns:\n\
             -- | role | id |\n\
             -- |------|----|\n\
             -- | anonymous | bob |\n",
        )
        .await;
    assert_all_pass(&report);
    assert_eq!(report.tests.len(), 4);
}

#[tokio::test]
async fn a_failing_test_says_what_was_expected_and_what_came() {
    let project = Project::migrated().await;
    let report = project
        .test_file(
            "-- given\n\
             insert into todos (user_id, task) values ('bob', 'a'), ('bob', 'c');\n\
             -- test: rows\n-- as: bob\nselect task from todos order by task;\n\
             -- returns:\n-- task\n-- a\n-- b\n\
             -- test: not denied\n-- as: bob\ndelete from todos;\n-- denied\n\
             -- test: denied\n-- anonymous\ndelete from todos;\n-- changes: 2\n\
             -- test: changes\n-- as: bob\ndelete from todos;\n-- changes: 1\n\
             -- test: set-up\n-- given\ninsert into nowhere values (1);\n-- as: bob\nselect 1;\n-- rows: 1\n\
             -- test: no such role\n-- as: bob\n-- role: nosuch\nselect 1;\n-- rows: 1\n\
             -- test: after all of these\n-- as: bob\nselect * from todos;\n-- rows: 2\n",
        )
        .await;
    let told = verdicts(&report);
    assert_eq!(told["rows"], Some("the rows differ (- expected, + actual)\n  a\n- b\n+ c"));
    assert_eq!(
        told["not denied"],
        Some("expected to be refused with 42501\nactual:  it changed 2 rows")
    );
    assert_eq!(
        told["denied"],
        Some(
            "expected to change 2 rows\nactual:  refused with 42501: permission denied for table todos"
        )
    );
    assert_eq!(told["changes"], Some("expected to change 1 row\nactual:  2 rows"));
    let set_up = told["set-up"].unwrap();
    assert!(set_up.starts_with("the set-up failed: "), "{set_up}");
    assert!(
        set_up.contains("only.sql:24: relation \"nowhere\" does not exist (42P01)"),
        "{set_up}"
    );
    assert!(told["no such role"].unwrap().contains("nosuch"));
    assert_eq!(told["after all of these"], None);
}

#[tokio::test]
async fn the_files_are_tested_unless_the_database_is_to_be() {
    let project = Project::migrated().await;
    project.append("policies/todos.sql", PUBLIC_COMPLETED);
    let text = "-- given\ninsert into todos (user_id, task, is_complete) values ('bob', 'a', true);\n\
                -- test: completed todos are public\n-- anonymous\nselect * from todos;\n-- rows: 1\n";
    assert_all_pass(&project.test_file(text).await);
    let live = project.test_with(Settings { stage: Stage::AsItIs, ..PLAIN }).await;
    assert_eq!(live.failures().count(), 1, "{live}");

    project.write("migrations/V4__notes.sql", "create table notes (user_id text);");
    project.write("grants/notes.sql", "grant select on notes to anonymous;");
    let text = "-- test: notes\n-- anonymous\nselect * from notes;\n-- rows: 0\n";
    project.only_tests(text);
    let everything = project.test_with(Settings { stage: Stage::Everything, ..PLAIN }).await;
    assert_all_pass(&everything);
    let sql = "select to_regclass('public.notes') is null";
    let superuser = project.database.superuser().await;
    assert!(superuser.query_one(sql, &[]).await.unwrap().get::<_, bool>(0));
}

#[tokio::test]
async fn the_owner_is_subject_to_policies_again_once_the_rows_are_there() {
    let project = Project::migrated().await;
    project.write(
        "migrations/V4__count.sql",
        "create function count_todos() returns bigint language sql security definer \
         set search_path = public as 'select count(*) from todos';",
    );
    project.write("grants/count.sql", "grant execute on function count_todos() to authenticated;");
    project.migrate().await.unwrap();
    let text = "-- given\ninsert into todos (user_id, task) values ('bob', 'a'), ('alice', 'b');\n\
                -- test: with the owner's rights, policies hold\n-- as: bob\nselect count_todos();\n\
                -- returns: {\"count_todos\": 0}\n";
    assert_all_pass(&project.test_file(text).await);
}

#[tokio::test]
async fn survivors_are_listed_with_the_statement_that_weakened_them() {
    let project = Project::migrated().await;
    project.append(
        "policies/todos.sql",
        "\ncreate policy open_only on todos as restrictive for update to authenticated \
         using (not is_complete) with check (true);\n",
    );
    project.only_tests(
        "-- given\n\
         insert into todos (user_id, task) values ('bob', 'a'), ('bob', 'b'), ('alice', 'c');\n\
         -- test: bob sees two\n-- as: bob\nselect * from todos;\n-- rows: 2\n\
         -- test: bob updates his own, chosen by the statement\n-- as: bob\n\
         update todos set task = 'x' where user_id = 'bob';\n-- changes: 2\n",
    );
    let report = project.test_with(Settings { coverage: true, mutate: true, ..PLAIN }).await;
    assert_all_pass(&report);
    let sql: Vec<&str> = report.survivors().map(|mutant| mutant.sql.as_str()).collect();
    let own = "(( SELECT auth.user_id() AS user_id) = user_id)";
    for expected in [
        &format!("alter policy todos_update on public.todos using (true) with check ({own})"),
        "alter policy todos_update on public.todos with check (true)",
        "alter policy todos_insert on public.todos with check (true)",
        "drop policy todos_delete on public.todos",
        "drop policy open_only on public.todos",
        "alter policy open_only on public.todos using (true) with check (true)",
        "alter table public.user_messages disable row level security",
    ] {
        assert!(sql.contains(&expected), "{expected}\n{sql:#?}");
    }
    assert!(
        sql.iter()
            .any(|sql| sql
                .starts_with("drop policy open_only on public.todos; create policy open_only")),
        "{sql:#?}"
    );
    for noticed in [
        "alter policy todos_select on public.todos using (true)",
        "drop policy todos_update on public.todos",
    ] {
        assert!(!sql.contains(&noticed), "{noticed}");
    }
    let never: Vec<String> = report
        .coverage
        .iter()
        .flatten()
        .filter(|branch| branch.exercised_by.is_none() && branch.table == "public.todos")
        .map(|branch| format!("{} {:?}", branch.policy, branch.branch))
        .collect();
    assert!(never.contains(&"todos_update WriteRefused".to_owned()), "{never:?}");
    assert!(never.contains(&"open_only RowKeptOut".to_owned()), "{never:?}");
    assert!(!never.contains(&"todos_update WriteAccepted".to_owned()), "{never:?}");
    assert!(!never.contains(&"open_only RowLetThrough".to_owned()), "{never:?}");
}

#[tokio::test]
async fn the_command_tells_by_its_exit_status() {
    let project = Project::new().await;
    let sql = project.dir.path().to_str().unwrap();
    let test = |more: &[&str]| {
        let base = ["policies", "test", "--wait", "120", "--sql", sql];
        let output = project.command(&[&base[..], more].concat());
        let text = String::from_utf8([&output.stdout[..], &output.stderr[..]].concat()).unwrap();
        (output.status.code().unwrap(), text)
    };
    let (code, text) = test(&[]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("run `rowgate migrate`"), "{text}");
    project.migrate().await.unwrap();
    let (code, text) = test(&["--mutate"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("mutants: 20 of 20 noticed (100 %)"), "{text}");
    let (code, text) = test(&["--mutate", "--only", "without a token"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("survived: public.todos: todos_delete: policy removed"), "{text}");
    let (code, text) = test(&["--mutate", "--only", "without a token", "--min-score", "5"]);
    assert_eq!(code, 0, "{text}");

    let (code, text) = test(&["--only", "nothing is called so"]);
    assert_eq!(code, 2, "{text}");
    assert_eq!(test(&["--tap", "--json"]).0, 2);
    assert_eq!(test(&["--min-score", "5"]).0, 2, "without --mutate");
    for hostile in
        ["commit;\n-- rows: 0\n", "set role postgres;\n-- rows: 0\n", "select 1;\n-- row: 0\n"]
    {
        project.write("tests/z.sql", &format!("-- test: z\n-- anonymous\n{hostile}"));
        let (code, text) = test(&[]);
        assert_eq!(code, 2, "{text}");
        assert!(text.contains("tests/z.sql:"), "{text}");
    }
    project.write(
        "tests/z.sql",
        "-- given\nrollback;\n-- test: z\n-- anonymous\nselect 1;\n-- rows: 1\n",
    );
    let (code, text) = test(&[]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("tests/z.sql:2: `rollback` is not for tests"), "{text}");
}

#[tokio::test]
async fn machines_can_read_the_results() {
    let project = Project::migrated().await;
    project.write(
        "tests/z.sql",
        "-- test: <b> & \"quotes\" # TODO \u{1} ]]>\n-- anonymous\nselect 'a<b' as x;\n-- returns:\n-- x\n-- c>d\n",
    );
    let sql = project.dir.path().to_str().unwrap();
    let base = ["policies", "test", "--mutate", "--wait", "120", "--sql", sql];
    let file = project.path("junit.xml");
    let tap = project.command(&[&base[..], &["--tap", "--junit", file.to_str().unwrap()]].concat());
    assert_eq!(tap.status.code(), Some(1));
    let tap = String::from_utf8(tap.stdout).unwrap();
    let mut lines = tap.lines();
    assert_eq!(lines.next(), Some("TAP version 14"));
    // 18 of the sample, one more, 20 weakened policies.
    assert_eq!(lines.next(), Some("1..39"), "{tap}");
    assert_eq!(tap.lines().filter(|line| line.starts_with("ok ")).count(), 38, "{tap}");
    let failed: Vec<&str> = tap.lines().filter(|line| line.starts_with("not ok ")).collect();
    assert_eq!(failed, ["not ok 19 - <b> & \"quotes\" \\# TODO \u{1} ]]>"], "{tap}");
    assert!(tap.contains("    - c>d\n    + a<b\n  ...\n"), "{tap}");

    let xml = std::fs::read_to_string(&file).unwrap();
    let count = "select (xpath('count(//testcase)', $1::text::xml))[1]::text || ' ' || \
                        (xpath('count(//failure)', $1::text::xml))[1]::text || ' ' || \
                        (xpath('count(//testsuite)', $1::text::xml))[1]::text || ' ' || \
                        (xpath('string(/testsuites/@failures)', $1::text::xml))[1]::text || ' ' || \
                        (xpath('string(//failure)', $1::text::xml))[1]::text";
    let superuser = project.database.superuser().await;
    let read: String = superuser.query_one(count, &[&xml]).await.unwrap().get(0);
    assert!(read.starts_with("39 1 4 1 "), "{read}");
    assert!(xml.contains("+ a&lt;b"), "{xml}");

    let json = project.command(&[&base[..], &["--json"]].concat());
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["tests"].as_array().unwrap().len(), 19);
    assert_eq!(json["tests"][18]["verdict"], "failed");
    assert_eq!(json["tests"][0]["verdict"], "passed");
    assert_eq!(json["mutants"].as_array().unwrap().len(), 20);
}

#[tokio::test]
async fn a_superuser_as_owner_tests_the_same() {
    let database = cluster::empty_database().await;
    let source = SqlSource::new(super::PROJECT_SQL);
    let mut superuser = database.superuser().await;
    let schema = format!("alter schema public owner to {OWNER}");
    superuser.batch_execute(&schema).await.unwrap();
    policy::migrate(&mut superuser, &source, &policy::Options::default()).await.unwrap();
    let files =
        TestFile::read_all(&std::path::Path::new(super::PROJECT_SQL).join("tests")).unwrap();
    let settings = Settings { mutate: true, ..PLAIN };
    let report = policy_test::run(&mut superuser, &source, &files, settings).await.unwrap();
    assert_all_pass(&report);
    assert_eq!(report.survivors().count(), 0, "{report}");
}
