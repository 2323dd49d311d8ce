//! What the policies do to one statement is told as it is, and nothing is left of the trial.

use serde_json::Value;

use super::Project;

/// Two rows of alice's and one of bob's in each table; `notes` has two permissive policies and one that
/// restricts, `bare` has row-level security and no policy.
const TABLES: &str = "
insert into todos (user_id, task) values ('alice', 'write'), ('alice', 'read'), ('bob', 'cook');

create table notes (id int primary key, user_id text, org text, is_public boolean default false);
alter table notes enable row level security;
create policy notes_own on notes to authenticated using (user_id = (select auth.user_id()));
create policy notes_public on notes for select to authenticated using (is_public);
create policy notes_org on notes as restrictive to authenticated
  using (org = (select auth.session() ->> 'org_id'));
insert into notes values (1, 'alice', 'o1', false), (2, 'alice', 'o2', false), (3, 'bob', 'o1', true);
grant select, insert, update on notes to authenticated;

create table bare (id int);
alter table bare enable row level security;
insert into bare values (1);
grant select on bare to authenticated;

create table hidden (id int);
create view mine with (security_invoker = true) as select * from todos;
grant select on mine to authenticated;
create function denied() returns int language sql begin atomic select 1; end;
revoke execute on function denied() from public;";

async fn project() -> Project {
    let project = Project::migrated().await;
    project
        .database
        .owner()
        .await
        .batch_execute("alter table todos no force row level security")
        .await
        .unwrap();
    project.database.owner().await.batch_execute(TABLES).await.unwrap();
    let force = "alter table todos force row level security";
    project.database.owner().await.batch_execute(force).await.unwrap();
    project
}

impl Project {
    /// The exit status and what was printed.
    fn explain(&self, args: &[&str]) -> (Option<i32>, String) {
        let output = self.command(&[&["policies", "explain"], args].concat());
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }

    fn explain_json(&self, args: &[&str]) -> (Option<i32>, Value) {
        let (code, text) = self.explain(&[args, &["--json"]].concat());
        (code, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    /// All rows, rules, sessions' locks and memberships: what must be the same afterwards.
    async fn state(&self) -> Vec<String> {
        let superuser = self.database.superuser().await;
        let sql = "select t::text from todos as t union all select n::text from notes as n \
                   union all select m::text from pg_auth_members as m \
                     where m.roleid in ('authenticated'::regrole, 'anonymous'::regrole) \
                   union all select relname::text || relkind::text from pg_class \
                     where relnamespace not in (select oid from pg_namespace where nspname ~ '^pg_') \
                   union all select l.mode from pg_locks as l \
                     join pg_class as c on c.oid = l.relation and c.relname in ('todos', 'notes') \
                     where l.database = (select oid from pg_database where datname = current_database()) \
                       and l.pid <> pg_backend_pid() \
                   order by 1";
        let mut state: Vec<String> =
            superuser.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
        state.extend(self.rules().await);
        state
    }
}

#[tokio::test]
async fn own_rows_are_counted_and_the_policy_is_named_with_what_it_saw() {
    let project = project().await;
    let before = project.state().await;
    let (code, said) = project.explain_json(&["--as", "alice", "select task from todos"]);

    assert_eq!(code, Some(0), "{said:#}");
    assert_eq!(said["outcome"]["rows"], 2);
    let table = &said["tables"][0];
    assert_eq!((&table["rows"], &table["rows_after"]), (&3.into(), &2.into()), "{said:#}");
    assert_eq!(table["groups"][0]["policies"][0]["name"], "todos_select");
    assert_eq!(table["groups"][0]["policies"][0]["rows"], 2);
    assert_eq!(table["values"][0]["expression"], "auth.user_id()");
    assert_eq!(table["values"][0]["value"], "alice");
    assert_eq!(said["cost"]["without"]["rows"], 3.0);
    assert_eq!(said["lock"]["tables"][0], "public.todos");

    let (_, text) = project.explain(&["--as", "alice", "select task from todos"]);
    assert!(text.contains("public.todos (select): 2 of 3 rows"), "{text}");
    assert!(text.contains("they saw auth.user_id() = 'alice'"), "{text}");
    assert!(text.contains("<- policy todos_select"), "{text}");
    assert!(text.contains("<- the caller is asked for once"), "{text}");
    assert_eq!(project.state().await, before);
}

#[tokio::test]
async fn permissive_policies_add_restrictive_ones_take_away_and_a_missing_claim_is_null() {
    let project = project().await;
    let claims = r#"{"sub": "alice", "org_id": "o1"}"#;
    let (code, said) = project.explain_json(&["--as", claims, "select id from notes"]);
    assert_eq!(code, Some(0));
    let table = &said["tables"][0];
    assert_eq!((&table["rows"], &table["rows_after"]), (&3.into(), &2.into()), "{said:#}");
    let rows = |name: &str| {
        let policies = table["groups"][0]["policies"].as_array().unwrap();
        policies.iter().find(|policy| policy["name"] == name).unwrap()["rows"].as_i64().unwrap()
    };
    assert_eq!((rows("notes_own"), rows("notes_public"), rows("notes_org")), (2, 1, 2));
    assert_eq!(said["lock"], Value::Null, "the policies are not forced on the owner: {said:#}");

    let conditions = said["plan"]["conditions"].as_array().unwrap();
    let org =
        conditions.iter().find(|part| part["text"].as_str().unwrap().contains("org")).unwrap();
    assert_eq!(org["policies"], serde_json::json!(["notes_org"]), "{said:#}");

    let (code, text) = project.explain(&["--as", "alice", "select id from notes"]);
    assert_eq!(code, Some(0));
    assert!(text.contains("the restrictive policy notes_org removed all rows"), "{text}");
    assert!(text.contains("'org_id'::text = null"), "{text}");
}

#[tokio::test]
async fn no_policy_and_no_token_are_said_to_be_the_reason() {
    let project = project().await;
    let reason = "no permissive policy for select on public.bare holds for authenticated";
    let (code, text) = project.explain(&["--as", "alice", "select * from bare"]);
    assert_eq!(code, Some(0));
    assert!(text.contains("Runs: 0 rows") && text.contains(reason), "{text}");
    let (code, text) = project.explain(&["--anonymous", "select * from todos"]);
    assert_eq!(code, Some(0));
    assert!(text.contains("As anonymous") && text.contains("0 of 3 rows"), "{text}");
    let (_, text) = project.explain(&["--as", "alice", "select * from todos where task = 'fly'"]);
    assert!(text.contains("the statement's own conditions chose none"), "{text}");
}

#[tokio::test]
async fn a_denied_insert_shows_the_row_and_the_policy_that_refused_it() {
    let project = project().await;
    let before = project.state().await;
    let insert = "insert into todos (user_id, task) values ('alice', 'mine'), ($1, 'his')";
    let (code, said) = project.explain_json(&["--as", "alice", insert, "--param", "bob"]);
    assert_eq!(code, Some(1), "{said:#}");
    let outcome = &said["outcome"];
    assert_eq!(
        (&outcome["result"], &outcome["error"]["code"]),
        (&"denied_by_policy".into(), &"42501".into())
    );
    assert_eq!(outcome["rows"].as_array().unwrap().len(), 1, "{said:#}");
    let row = &outcome["rows"][0];
    assert!(
        row["values"].as_array().unwrap().contains(&serde_json::json!(["user_id", "bob"])),
        "{row:#}"
    );
    assert_eq!(row["verdicts"][0]["policy"], "todos_insert");
    assert_eq!(row["verdicts"][0]["passes"], false);
    let (_, text) = project.explain(&["--as", "alice", insert, "--param", "bob"]);
    assert!(text.contains("user_id = 'bob', task = 'his'"), "{text}");
    assert!(text.contains("NO        permissive todos_insert for insert"), "{text}");
    assert_eq!(project.state().await, before);

    let (code, text) = project.explain(&["--as", "alice", insert, "--param", "alice"]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(project.state().await, before);
}

#[tokio::test]
async fn an_update_that_gives_rows_away_is_told_about_the_callers_rows_alone() {
    let project = project().await;
    let before = project.state().await;
    let update = "update todos as t set user_id = 'eve' where t.task <> 'read'";
    let (code, said) = project.explain_json(&["--as", "alice", update]);
    assert_eq!(code, Some(1), "{said:#}");
    let rows = said["outcome"]["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 1, "bob's row is not touched: {said:#}");
    assert!(rows[0]["values"].as_array().unwrap().contains(&serde_json::json!(["task", "write"])));
    let refused: Vec<&str> = rows[0]["verdicts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|verdict| verdict["passes"] == false)
        .map(|verdict| verdict["policy"].as_str().unwrap())
        .collect();
    assert_eq!(refused, ["todos_update", "todos_select"]);
    assert_eq!(project.state().await, before);
}

#[tokio::test]
async fn a_missing_privilege_is_named_with_the_grant_that_gives_it() {
    let project = project().await;
    for (statement, grant) in [
        ("select * from hidden", "grant select on public.hidden to authenticated;"),
        ("insert into bare values (2)", "grant insert on public.bare to authenticated;"),
        ("select denied()", "grant execute on function denied() to authenticated;"),
    ] {
        let (code, text) = project.explain(&["--as", "alice", statement]);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("42501") && text.contains(grant), "{text}");
        let owner = project.database.owner().await;
        owner.batch_execute(grant).await.unwrap();
        let (_, text) = project.explain(&["--as", "alice", statement]);
        assert!(!text.contains("permission denied"), "{text}");
    }
}

#[tokio::test]
async fn joins_views_and_parameters_are_explained_table_by_table() {
    let project = project().await;
    let join = "select * from todos as t join notes as n using (user_id) where n.id < $1";
    let claims = r#"{"sub": "alice", "org_id": "o1"}"#;
    let (code, said) = project.explain_json(&["--as", claims, join, "--param", "9"]);
    assert_eq!(code, Some(0), "{said:#}");
    let tables = said["tables"].as_array().unwrap();
    let counts: Vec<_> =
        tables.iter().map(|t| (t["name"].as_str(), t["rows_after"].as_i64())).collect();
    assert_eq!(counts, [(Some("notes"), Some(2)), (Some("todos"), Some(2))]);
    assert_eq!(said["outcome"]["rows"], 2);

    let (code, said) = project.explain_json(&["--as", "alice", "select * from mine"]);
    assert_eq!(code, Some(0), "{said:#}");
    let below = said["tables"].as_array().unwrap().iter().find(|t| t["name"] == "todos").unwrap();
    assert_eq!((&below["via"], &below["role"]), (&"mine".into(), &"authenticated".into()));
    assert_eq!(below["rows_after"], 2);

    let (code, text) = project.explain(&["--as", "alice", join]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("1 parameters, and 0 values"), "{text}");
}

#[tokio::test]
async fn without_counts_no_table_is_locked_and_a_table_in_use_is_said_to_be() {
    let project = project().await;
    let mut other = project.database.owner().await;
    let reading = other.transaction().await.unwrap();
    reading.batch_execute("lock table todos in access share mode").await.unwrap();

    let (code, said) =
        project.explain_json(&["--as", "alice", "--no-counts", "select * from todos"]);
    assert_eq!((code, &said["lock"]), (Some(0), &Value::Null), "{said:#}");
    assert_eq!((&said["outcome"]["rows"], &said["tables"][0]["rows"]), (&2.into(), &Value::Null));

    let (code, said) = project.explain_json(&["--as", "alice", "select * from todos"]);
    assert_eq!(code, Some(0), "{said:#}");
    assert_eq!(said["tables"][0]["not_counted"], "the table is in use; try again", "{said:#}");
    assert_eq!(said["outcome"]["rows"], 2);
}

#[tokio::test]
async fn a_policy_that_asks_for_the_caller_per_row_is_marked() {
    let project = project().await;
    let owner = project.database.owner().await;
    let sql = "create policy slow on bare to authenticated using (id::text = auth.user_id())";
    owner.batch_execute(sql).await.unwrap();
    let (_, text) = project.explain(&["--as", "alice", "select * from bare"]);
    assert!(text.contains("<- policy slow"), "{text}");
    assert!(text.contains("asks for the caller anew for each of 1 row"), "{text}");
}

/// A policy's question about another table is put with the caller's rights, not with those of the owner who
/// counts.
#[tokio::test]
async fn policies_ask_other_tables_as_the_caller() {
    let project = project().await;
    let sql = "create policy friends on bare to authenticated \
               using (exists (select from public.todos as t where t.user_id = 'bob'))";
    project.database.owner().await.batch_execute(sql).await.unwrap();
    let (code, said) = project.explain_json(&["--as", "alice", "select * from bare"]);
    assert_eq!(code, Some(0), "{said:#}");
    assert_eq!(
        (&said["outcome"]["rows"], &said["tables"][0]["rows_after"]),
        (&0.into(), &0.into()),
        "{said:#}"
    );
    let (_, said) = project.explain_json(&["--as", "bob", "select * from bare"]);
    assert_eq!(
        (&said["outcome"]["rows"], &said["tables"][0]["rows_after"]),
        (&1.into(), &1.into()),
        "{said:#}"
    );
}

#[tokio::test]
async fn hostile_statements_are_refused_or_do_no_harm() {
    let project = project().await;
    let before = project.state().await;
    for refused in [
        "commit",
        "set role rowgate_owner",
        "select 1; delete from todos",
        "select * into t from todos",
        "drop table todos",
        "do $$begin delete from todos; end$$",
        "",
        "selec",
        "explain analyze delete from todos",
    ] {
        let (code, text) = project.explain(&["--as", "alice", refused]);
        assert_eq!(code, Some(2), "{refused}: {text}");
    }
    for harmless in [
        "select set_config('role', 'rowgate_owner', false), set_config('row_security', 'off', false)",
        "select set_config('request.jwt.claims', '{\"sub\":\"bob\"}', false)",
        "with d as (delete from todos returning *) select * from d",
        "delete from todos",
    ] {
        let (code, text) = project.explain(&["--as", "alice", harmless]);
        assert_eq!(code, Some(0), "{harmless}: {text}");
    }
    let (code, text) =
        project.explain(&["--as", "alice", "--time-limit", "1", "select pg_sleep(60)"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("57014"), "{text}");
    assert_eq!(project.state().await, before);
}

#[tokio::test]
async fn misuse_is_told_apart() {
    let project = project().await;
    for (args, part) in [
        (&["select 1"][..], "--as"),
        (&["--as", "eyJhbGciOiJ9.eyJzdWIiOiJ9.c2ln", "select 1"], "not a token"),
        (&["--as", "{no", "select 1"], "not a JSON object"),
        (&["--as", "alice", "--role", "nosuch", "select 1"], "no role nosuch"),
        (&["--as", "alice", "--file", "/nonexistent"], "nonexistent"),
    ] {
        let (code, text) = project.explain(args);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains(part), "{text}");
    }
    std::fs::write(project.path("statement.sql"), "select count(*) from todos;\n").unwrap();
    let (code, text) = project.explain(&["--as", "alice", "--file", "statement.sql"]);
    assert_eq!(code, Some(0), "{text}");
}
