//! What would change, who changed it, when it was changed, and the way back.

use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hyper::Method;
use rowgate::config::{ConcurrentRequests, Config};
use rowgate::policy::{self, OnDrift, Options, Origin, Plan, PolicyError, Report, Signature};
use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;

use super::{PUBLIC_COMPLETED, Project};
use crate::harness::cluster::{self, connect};
use crate::harness::gateway::TestGateway;

const PATIENCE: Duration = Duration::from_secs(20);

/// Takes nothing back that was done by hand.
const CAREFUL: Options<'static> = Options {
    on_drift: OnDrift::Refuse,
    signature: Signature { by: Some("kate@laptop"), note: Some("for the audit") },
    patience: PATIENCE,
    is_rehearsal: false,
};

impl Project {
    async fn plan(&self) -> Plan {
        let mut owner = self.database.owner().await;
        policy::plan(&mut owner, &self.source(), false, PATIENCE).await.unwrap()
    }

    async fn apply_with(&self, options: &Options<'_>) -> Result<Report, PolicyError> {
        policy::apply_policies(&mut self.database.owner().await, &self.source(), options).await
    }

    async fn roll_back(&self, version: i32) -> Result<Report, PolicyError> {
        policy::roll_back(&mut self.database.owner().await, version, &CAREFUL).await
    }

    /// The program itself, as the owner.
    pub(super) fn command(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_rowgate"))
            .args(args)
            .env_clear()
            .env("DATABASE_URL", &self.database.owner_url)
            .current_dir(self.dir.path())
            .output()
            .unwrap()
    }
}

fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].concat().try_into().unwrap()
}

#[tokio::test]
async fn a_plan_says_what_an_edit_would_change_and_changes_nothing() {
    let project = Project::migrated().await;
    assert!(project.plan().await.is_empty());
    let before = project.rules().await;
    project.append("policies/todos.sql", PUBLIC_COMPLETED);
    project.append("grants/todos.sql", "\ngrant select on todos to public;\n");

    let plan = project.plan().await;

    assert_eq!(plan.cause, Some(policy::Cause::Edited));
    assert!(plan.changes.iter().all(|change| change.origin == Origin::Edited), "{plan}");
    assert_eq!(project.rules().await, before);
    let said = plan.to_string();
    assert!(said.contains("+ policy todos_completed: select to "), "{said}");
    assert!(said.contains("+ select to public"), "{said}");
    assert!(said.ends_with("2 to create, 0 to change, 0 to drop"), "{said}");
    let report = project.apply_with(&CAREFUL).await.unwrap();
    assert_eq!(report.changes.len(), 1);
    assert!(project.plan().await.is_empty());
}

#[tokio::test]
async fn what_was_changed_by_hand_is_told_apart_and_not_taken_back_unasked() {
    let project = Project::migrated().await;
    let owner = project.database.owner().await;
    let sql = "alter policy todos_select on todos using (true); grant delete on todos to anonymous; \
               create policy extra on user_messages for select to anonymous using (false)";
    owner.batch_execute(sql).await.unwrap();
    project.append("policies/todos.sql", PUBLIC_COMPLETED);
    let by_hand = project.rules().await;

    let plan = project.plan().await;

    let mut drift: Vec<_> = plan.drift().map(|change| change.name.as_str()).collect();
    drift.sort_unstable();
    assert_eq!(drift, ["anonymous", "extra", "todos_select"]);
    let edited: Vec<_> = plan.changes.iter().filter(|c| c.origin == Origin::Edited).collect();
    assert_eq!(edited.len(), 1);
    assert_eq!(edited[0].name, "todos_completed");

    let error = project.apply_with(&CAREFUL).await.unwrap_err();
    assert!(matches!(&error, PolicyError::ChangedByHand(changes) if changes.len() == 3), "{error}");
    assert!(error.to_string().contains("--allow-drift"), "{error}");
    assert_eq!(project.rules().await, by_hand, "nothing was applied");

    let allowed = Options { on_drift: OnDrift::TakeBack, ..CAREFUL };
    project.apply_with(&allowed).await.unwrap();
    assert!(project.plan().await.is_empty());
    assert_ne!(project.rules().await, by_hand);
}

#[tokio::test]
async fn what_was_done_by_hand_and_is_in_the_files_now_is_no_drift() {
    let project = Project::migrated().await;
    project.database.owner().await.batch_execute(PUBLIC_COMPLETED).await.unwrap();
    project.append("policies/todos.sql", PUBLIC_COMPLETED);

    assert!(project.plan().await.changes.is_empty());
    let report = project.apply_with(&CAREFUL).await.unwrap();
    assert!(report.is_unchanged());
    assert_eq!(project.plan().await.cause, None, "the files are noted as applied");
}

#[tokio::test]
async fn a_plan_names_migrations_that_have_not_run_and_can_be_made_with_them() {
    let project = Project::migrated().await;
    project.write("migrations/V7__notes.sql", "create table notes (user_id text, note text);");
    let plan = project.plan().await;
    assert_eq!(plan.pending_migrations, ["V7__notes"]);
    assert!(!plan.is_empty() && plan.changes.is_empty());

    let policy = "alter table notes enable row level security;
                  create policy notes_all on notes to authenticated using (false);";
    project.write("policies/notes.sql", policy);
    let mut owner = project.database.owner().await;
    let alone = policy::plan(&mut owner, &project.source(), false, PATIENCE).await;
    let said = alone.unwrap_err().to_string();
    assert!(said.contains("\"notes\" does not exist"), "{said}");
    assert!(said.contains("V7__notes has not run yet"), "{said}");
    let plan = policy::plan(&mut owner, &project.source(), true, PATIENCE).await.unwrap();
    assert_eq!(plan.pending_migrations, ["V7__notes"]);
    assert_eq!(plan.changes.len(), 2, "{plan}");
    let made = owner.query_one("select to_regclass('notes') is not null", &[]).await.unwrap();
    assert!(!made.get::<_, bool>(0), "nothing was made");
}

#[tokio::test]
async fn a_rehearsal_reports_everything_and_changes_nothing() {
    let project = Project::migrated().await;
    let before = project.rules().await;
    project.append("policies/todos.sql", PUBLIC_COMPLETED);
    let rehearsal = Options { is_rehearsal: true, ..CAREFUL };
    let report = project.apply_with(&rehearsal).await.unwrap();
    assert_eq!(report.changes.len(), 1);
    assert_eq!(project.rules().await, before);
    let entries = policy::history(&mut project.database.owner().await).await.unwrap();
    assert_eq!(entries.len(), 1);
}

#[tokio::test]
async fn the_history_says_who_when_and_why_and_leads_back() {
    let project = Project::migrated().await;
    let first = project.rules().await;
    project.append("policies/todos.sql", PUBLIC_COMPLETED);
    project.apply_with(&CAREFUL).await.unwrap();
    let second = project.rules().await;

    let report = project.roll_back(1).await.unwrap();
    assert_eq!(report.changes.len(), 1);
    assert_eq!(project.rules().await, first);
    let plan = project.plan().await;
    assert_eq!(plan.changes.len(), 1, "the directory is still that of version 2: {plan}");
    project.roll_back(2).await.unwrap();
    assert_eq!(project.rules().await, second);
    assert!(project.plan().await.is_empty());

    let entries = policy::history(&mut project.database.owner().await).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.version).collect::<Vec<_>>(), [4, 3, 2, 1]);
    let second = &entries[2];
    assert_eq!(
        second.applied_by.as_deref(),
        Some(format!("{} (kate@laptop)", cluster::OWNER).as_str())
    );
    assert_eq!(second.note.as_deref(), Some("for the audit"));
    assert!(second.summary.as_ref().unwrap().contains("created todos_completed on public.todos"));
    assert!(second.applied_at.as_ref().unwrap().starts_with("20"));
    let error = project.roll_back(9).await.unwrap_err();
    assert!(matches!(error, PolicyError::NoSuchVersion { version: 9 }), "{error}");
}

#[tokio::test]
async fn going_back_does_not_take_back_what_was_done_by_hand_since() {
    let project = Project::migrated().await;
    project.append("policies/todos.sql", PUBLIC_COMPLETED);
    project.apply_with(&CAREFUL).await.unwrap();
    let by_hand = "revoke select on user_messages from authenticated";
    project.database.owner().await.batch_execute(by_hand).await.unwrap();
    let error = project.roll_back(1).await.unwrap_err();
    assert!(matches!(error, PolicyError::ChangedByHand(_)), "{error}");
}

#[tokio::test]
async fn an_entry_of_an_earlier_program_has_no_files_and_no_lines() {
    let project = Project::migrated().await;
    let owner = project.database.owner().await;
    let sql = "alter table rowgate.policy_state drop column applied_at, drop column applied_by,
                 drop column note, drop column summary, drop column program, drop column lines,
                 drop column files";
    owner.batch_execute(sql).await.unwrap();
    assert!(project.plan().await.is_empty());
    let entries = policy::history(&mut project.database.owner().await).await.unwrap();
    assert_eq!((entries.len(), entries[0].has_files), (1, false));
    let error = project.roll_back(1).await.unwrap_err();
    assert!(matches!(error, PolicyError::NoSuchVersion { version: 1 }), "{error}");
    owner.batch_execute("drop policy todos_select on todos").await.unwrap();
    let report = project.apply_with(&CAREFUL).await.unwrap();
    assert_eq!(report.changes.len(), 1, "whose change it is, nobody knows: {report}");
}

#[tokio::test]
async fn a_table_in_use_is_waited_for_without_keeping_callers_out() {
    let project = Project::migrated().await;
    project.append("policies/todos.sql", PUBLIC_COMPLETED);
    let mut user = project.database.owner().await;
    let long = user.transaction().await.unwrap();
    long.batch_execute("lock table todos in access share mode").await.unwrap();

    let options = Options { patience: Duration::from_secs(2), ..CAREFUL };
    let applying = project.apply_with(&options);
    let others = async {
        let reader = project.database.owner().await;
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            let began = Instant::now();
            reader.batch_execute("select from todos").await.unwrap();
            longest = longest.max(began.elapsed());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        longest
    };
    let (outcome, longest) = tokio::join!(applying, others);
    assert!(matches!(outcome, Err(PolicyError::Locked { .. })));
    // An attempt is 0.3 s; a loaded machine may add as much again.
    assert!(longest < Duration::from_millis(900), "a reader waited for {longest:?}");

    let (outcome, ()) = tokio::join!(project.apply_with(&CAREFUL), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        long.rollback().await.unwrap();
    });
    assert_eq!(outcome.unwrap().changes.len(), 1, "applied once the table was free");
}

/// Two tables change together; a statement that reads both sees both as they were, or both as they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_no_request_fails_and_each_sees_the_old_set_or_the_new() {
    let mut project = Project::migrated().await;
    project.database.enable_logins().await;
    let seed = "insert into todos (user_id, task, is_complete) values ('alice', 'done', true);
                insert into user_messages (user_id, message) values ('alice', 'hi')";
    project.database.superuser().await.batch_execute(seed).await.unwrap();
    let both = "\ncreate policy shown on user_messages for select to authenticated using (true);\n";
    let (todos, messages) = ("policies/todos.sql", "policies/user_messages.sql");
    let read = |file: &str| std::fs::read_to_string(project.path(file)).unwrap();
    let old = (read(todos), read(messages));
    let new = (format!("{}{PUBLIC_COMPLETED}", old.0), format!("{}{both}", old.1));

    let spare = cluster::empty_database().await;
    let database = std::mem::replace(&mut project.database, spare);
    let owner_url = database.owner_url.clone();
    let unlimited = |config: &mut Config| {
        config.limits.concurrent_requests = ConcurrentRequests::Unlimited;
    };
    let gateway = Arc::new(TestGateway::on(database, unlimited).await);
    let done = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> =
        (0..CALLERS).map(|_| tokio::spawn(load(Arc::clone(&gateway), Arc::clone(&done)))).collect();
    for n in 0..6 {
        let (todos_text, messages_text) = if n % 2 == 0 { &new } else { &old };
        project.write(todos, todos_text);
        project.write(messages, messages_text);
        let mut owner = connect(&owner_url).await;
        policy::apply_policies(&mut owner, &project.source(), &CAREFUL).await.unwrap();
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    done.store(true, Ordering::Relaxed);
    let mut answers = Vec::new();
    for caller in callers {
        answers.extend(caller.await.unwrap());
    }

    let seen = |wanted: &Value| answers.iter().filter(|rows| *rows == wanted).count();
    let (old, new) = (seen(&json!([["0", "0"]])), seen(&json!([["1", "1"]])));
    assert_eq!(old + new, answers.len(), "{answers:?}");
    assert!(old > 50 && new > 50, "{old} saw the old set, {new} the new");
}

/// All of them together send 500 requests a second, where the machine is fast enough.
const CALLERS: u32 = 16;

/// One caller: sends a request, and the next when its time has come; collects the rows of all.
async fn load(gateway: Arc<TestGateway>, done: Arc<AtomicBool>) -> Vec<Value> {
    const SQL: &str = "select (select count(*) from todos where user_id = 'alice'),
                              (select count(*) from user_messages where user_id = 'alice')";
    let token = format!("Bearer {}", gateway.token("bob"));
    let body = json!({"query": SQL, "arrayMode": true}).to_string();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) * CALLERS / 500);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut answers = Vec::new();
    while !done.load(Ordering::Relaxed) {
        ticks.tick().await;
        let headers = [("authorization", token.as_str())];
        let answer = gateway.send(Method::POST, "/sql", &headers, body.clone()).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        answers.push(answer.rows());
    }
    answers
}

#[tokio::test]
async fn the_commands_tell_by_their_exit_status() {
    let project = Project::migrated().await;
    let sql = project.dir.path().to_str().unwrap();
    let plan = ["policies", "plan", "--sql", sql];
    let nothing = project.command(&plan);
    assert_eq!(nothing.status.code(), Some(0), "{}", text(&nothing));

    project.append("policies/todos.sql", PUBLIC_COMPLETED);
    let something = project.command(&plan);
    assert_eq!(something.status.code(), Some(2), "{}", text(&something));
    assert!(something.stderr.is_empty(), "{}", text(&something));
    let machine = project.command(&[&plan[..], &["--json"]].concat());
    assert_eq!(machine.status.code(), Some(2));
    let machine: Value = serde_json::from_slice(&machine.stdout).unwrap();
    assert_eq!(machine["changes"][0]["kind"], "policy");
    assert_eq!(machine["changes"][0]["origin"], "edited");
    assert_eq!(machine["changes"][0]["now"], Value::Null);

    let apply = ["policies", "apply", "--sql", sql, "-m", "completed todos are public"];
    let dry = project.command(&[&apply[..], &["--dry-run"]].concat());
    assert!(text(&dry).contains("undone"), "{}", text(&dry));
    assert_eq!(project.command(&plan).status.code(), Some(2), "nothing was applied");
    assert_eq!(project.command(&apply).status.code(), Some(0));
    let history = text(&project.command(&["policies", "history"]));
    assert!(history.starts_with("version 2, 20"), "{history}");
    assert!(history.contains("completed todos are public"), "{history}");

    let export = project.dir.path().join("version1");
    let export = ["policies", "history", "1", "--export", export.to_str().unwrap()];
    let exported = project.command(&export);
    assert_eq!(exported.status.code(), Some(0), "{}", text(&exported));
    assert_eq!(project.command(&export).status.code(), Some(1), "it exists already");
    let first = std::fs::read_to_string(project.path("version1/policies/todos.sql")).unwrap();
    assert!(!first.contains("todos_completed"));
    let back = project.command(&["policies", "rollback", "1"]);
    assert_eq!(back.status.code(), Some(0), "{}", text(&back));
    assert_eq!(project.command(&["policies", "rollback", "77"]).status.code(), Some(1));

    project.append("policies/todos.sql", "create polcy;");
    let broken = project.command(&plan);
    assert_eq!(broken.status.code(), Some(1), "{}", text(&broken));
    assert!(text(&broken).contains("policies/todos.sql:"), "{}", text(&broken));
}
