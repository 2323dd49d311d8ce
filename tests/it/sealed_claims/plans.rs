//! What each policy of the sample costs a statement: who is asking is found out once for each reference to the table,
//! and the caller's rows by an index. Counted by PostgreSQL, because a plan does not show what a trigger, a default or a
//! check calls.

use super::*;

/// A statement of alice's, how often it may call `auth.user_id()`, and what its plan says of the index that finds the rows.
struct Case {
    sql: &'static str,
    calls: i64,
    index: Option<&'static str>,
}

const fn case(sql: &'static str, calls: i64, index: Option<&'static str>) -> Case {
    Case { sql, calls, index }
}

const TODOS: Option<&str> = Some("todos_user_id_id_idx");
/// Either of the two indexes does.
const TODO: Option<&str> = Some("Index Scan using todos_");
const MESSAGES: Option<&str> = Some("user_messages_pkey");

/// Each command of each table: once for `using`, once for `with check`, once for each row that gets the default. An
/// upsert is checked as an insert and as an update.
const CASES: [Case; 12] = [
    case("select id, task from todos order by id limit 10", 1, TODOS),
    case("select count(*) from todos", 1, TODOS),
    case("select * from todos where id = 1", 1, TODO),
    case("select a.id from todos a join todos b on b.id = a.id + 100", 2, TODOS),
    case("insert into todos (task) values ('one') returning id, user_id", 2, None),
    case(
        "insert into todos (user_id, task) select 'alice', 'x' from generate_series(1, 50)",
        1,
        None,
    ),
    case("update todos set is_complete = true", 2, TODOS),
    case("delete from todos", 1, TODOS),
    case("select * from user_messages", 1, MESSAGES),
    case("update user_messages set message = 'x'", 2, MESSAGES),
    case("delete from user_messages", 1, MESSAGES),
    case(
        "insert into user_messages (message) values ('x') \
         on conflict (user_id) do update set message = excluded.message",
        4,
        None,
    ),
];

const ROWS: &str = "
insert into todos (user_id, task) select case i % 100 when 0 then 'alice' else 'user' || i % 100 end, 'task ' || i
  from generate_series(1, 20000) as i;
insert into user_messages (user_id, message) select 'user' || i, 'hello' from generate_series(1, 20000) as i;
insert into user_messages (user_id, message) values ('alice', 'hello');
analyze todos; analyze user_messages;";

/// Alice's statements in the superuser's session, who alone may have calls counted. They run as `authenticated`.
async fn counting(caller: &mut Caller) {
    let superuser = caller.database.superuser().await;
    superuser.batch_execute(ROWS).await.unwrap();
    superuser.batch_execute("set track_functions = 'all'").await.unwrap();
    caller.pid = pid_of(&superuser).await;
    caller.client = superuser;
}

/// The plan of a statement that alice runs, and how many calls of `auth.user_id()` were counted.
async fn plan_and_calls(caller: &Caller, sql: &str) -> (String, i64) {
    let client = &caller.client;
    client.batch_execute("begin").await.unwrap();
    let settings = "select pg_catalog.set_config('request.jwt.claims', $1, true), \
                    pg_catalog.set_config('rowgate.seal', $2, true)";
    client.execute(settings, &[&ALICE, &caller.seal(ALICE)]).await.unwrap();
    client.batch_execute("set local role authenticated").await.unwrap();
    let before = calls(client).await;
    let explain = format!("explain (analyze, costs off, timing off, summary off) {sql}");
    let rows = client.query(&explain, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let counted = calls(client).await - before;
    client.batch_execute("rollback").await.unwrap();
    (lines.join("\n"), counted)
}

async fn calls(client: &Client) -> i64 {
    let sql = "select coalesce(sum(calls), 0)::bigint from pg_stat_xact_user_functions \
               where schemaname = 'auth' and funcname = 'user_id'";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn each_policy_of_the_sample_asks_who_it_is_once_and_finds_the_rows_by_an_index() {
    let mut caller = Caller::new().await;
    counting(&mut caller).await;
    for Case { sql, calls, index } in CASES {
        let (plan, counted) = plan_and_calls(&caller, sql).await;
        assert_eq!(counted, calls, "{sql}\n{plan}");
        assert!(!plan.contains("Seq Scan"), "{sql}\n{plan}");
        let used = index.is_none_or(|index| plan.contains(index));
        assert!(used, "{sql}: not by {index:?}\n{plan}");
    }
}

/// What the test above would see if somebody forgot the parentheses, or the index.
#[tokio::test]
async fn a_bare_call_in_a_policy_or_a_missing_index_would_be_noticed() {
    let mut caller = Caller::new().await;
    counting(&mut caller).await;
    let sql = "select id, task from todos order by id limit 10";
    let bare = "drop index todos_user_id_id_idx; \
                alter policy todos_select on todos using (auth.user_id() = user_id)";
    caller.client.batch_execute(bare).await.unwrap();
    let (plan, counted) = plan_and_calls(&caller, sql).await;
    assert!(counted > 100, "{counted} calls\n{plan}");
    assert!(!plan.contains("todos_user_id_id_idx"), "{plan}");
    let (plan, _) = plan_and_calls(&caller, "select count(*) from todos").await;
    assert!(plan.contains("Seq Scan"), "{plan}");
}
