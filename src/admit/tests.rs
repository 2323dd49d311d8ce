//! Verdicts on single statements, against a small catalogue.

use std::collections::HashSet;

use super::gate::judge;
use super::knowledge::Knowledge;
use super::residue::{Definition, Kind};
use super::rules::{ExtraKind, Rules};
use super::{Admission, Refusal, Verdict};
use crate::config::StatementKinds;

const STATEMENT_BYTES: usize = 128 * 1024;

fn definition(kind: Kind, name: &str, language: &str, volatile: bool, code: &str) -> Definition {
    Definition {
        kind,
        name: name.to_owned(),
        language: language.to_owned(),
        volatile,
        extension: String::new(),
        code: code.to_owned(),
    }
}

fn knowledge() -> Knowledge {
    let volatile = [
        "set_config",
        "setseed",
        "random",
        "clock_timestamp",
        "gen_random_uuid",
        "nextval",
        "setval",
        "lastval",
        "pg_sleep",
        "pg_terminate_backend",
        "query_to_xml",
        "current_query",
        "ts_stat",
        "pg_advisory_xact_lock",
    ];
    let stable = [
        "lower",
        "length",
        "version",
        "now",
        "current_setting",
        "table_to_xml",
        "pg_typeof",
        "pg_backend_pid",
        "has_table_privilege",
        "to_regclass",
        "sum",
        "count",
        "format",
        "to_tsvector",
        "pg_collation_for",
        "unnest",
        "txid_current_snapshot",
        "format_type",
        "regclassout",
        "timezone",
        "extract",
        "position",
    ];
    let builtin =
        |volatile: bool| move |name: &&str| definition(Kind::Builtin, name, "", volatile, "");
    let mut definitions: Vec<Definition> =
        volatile.iter().map(builtin(true)).chain(stable.iter().map(builtin(false))).collect();
    definitions.extend([
        definition(Kind::Function, "add_todo", "sql", true, "insert into todos (task) values (t)"),
        definition(Kind::Function, "remember", "sql", true, "select set_config('a', t, false)"),
        definition(Kind::Function, "think", "plpython3u", true, "GD['x'] = t"),
        definition(Kind::Relation, "todos", "", false, "trigger$todos"),
        definition(Kind::Relation, "audited", "", false, "trigger$audited"),
        definition(Kind::Trigger, "trigger$audited", "", false, "remember"),
        definition(Kind::Type, "positive", "", false, "value > 0"),
        definition(Kind::Codec, "regclassout", "", false, ""),
        definition(Kind::Sequence, "todos_id_seq", "", false, ""),
    ]);
    Knowledge::new(definitions)
}

fn rules(kinds: StatementKinds) -> Rules {
    Rules {
        kinds,
        extra: HashSet::new(),
        functions: HashSet::new(),
        relations: HashSet::new(),
        statement_bytes: STATEMENT_BYTES,
    }
}

fn verdict(sql: &str) -> Verdict {
    judge(sql, &rules(StatementKinds::Data), &knowledge())
}

#[track_caller]
fn all_are(expected: Admission, statements: &[&str]) {
    for sql in statements {
        assert_eq!(verdict(sql), Ok(expected), "{sql}");
    }
}

#[test]
fn statements_that_read_and_change_rows_are_plain() {
    all_are(
        Admission::Plain,
        &[
            "select * from todos where id = $1",
            "values (1, 'a'), (2, 'b')",
            "table todos",
            "insert into todos (task) values ('x') on conflict (id) do update set task = excluded.task returning *",
            "update todos t set task = lower(task) from todos o where o.id = t.id",
            "delete from todos using todos o where o.id = todos.id returning old.*",
            "merge into todos t using (values (1)) s(id) on t.id = s.id when matched then delete when not matched then insert values (s.id)",
            "with recursive r(i) as (select 1 union all select i + 1 from r where i < 5) select sum(i) from r",
            "with moved as (delete from todos returning *) insert into todos select * from moved",
            "select add_todo('x')",
            "select id from todos order by id for update of todos skip locked",
            "select t.version, t.name from (select 1 as version, 2 as name) t",
            "select count(*) filter (where done) over (partition by id), coalesce(a, b), x::text[] from todos",
            "select a at time zone 'UTC', extract(year from b), position('a' in c), xmlelement(name x) from todos",
            "select to_tsvector('english'::regconfig, task) @@ 'a'::tsquery from todos",
            "select json_object('a': 1), json_arrayagg(id returning jsonb), '{}' is json from todos",
            "select * from json_table('[1]', '$[*]' columns (id int path '$')) j",
            "select * from xmltable('/a' passing '<a/>' columns b text path '.') x",
            "select 'pg_sleep(1)', $$set_config$$, todos.\"order\" /* pg_terminate_backend */ from todos",
            "select (todos).id, (array[1,2])[1], row(1, 2), case when true then 1 end from todos",
            "select '1'::positive, pg_typeof(id), collation for ('a') from todos",
            "explain (costs off) select * from todos",
            "explain (costs false, verbose, format json, analyze off) delete from todos",
            "",
            "-- nothing",
            ";;",
        ],
    );
}

#[test]
fn what_may_leave_something_is_told_apart_by_how_it_can_be_removed() {
    all_are(
        Admission::Tainting,
        &[
            "select random()",
            "select remember('x')",
            "select (todos.task).remember from todos",
            "insert into audited values (1)",
            "select made_a_moment_ago(1)",
            "select * from made_a_moment_ago",
            "select * from todos tablesample system (10)",
        ],
    );
    all_are(Admission::Suspect, &["select think('x')"]);
}

#[test]
fn other_kinds_of_statements_are_refused() {
    for sql in [
        "set a = b",
        "reset all",
        "show all",
        "prepare p as select 1",
        "execute p",
        "deallocate p",
        "listen x",
        "unlisten *",
        "notify x",
        "lock todos",
        "do $$ begin end $$",
        "call p()",
        "create table x ()",
        "drop table todos",
        "alter role current_user password 'x'",
        "alter table todos disable row level security",
        "truncate todos",
        "vacuum",
        "discard all",
        "declare c cursor for select 1",
        "fetch c",
        "close c",
        "load 'x'",
        "grant all on todos to public",
        "drop owned by current_user",
        "refresh materialized view x",
        "create temp table x as select 1",
        "set constraints all deferred",
        "checkpoint",
        "reassign owned by a to b",
        "analyze todos",
        "security label on table todos is 'x'",
        "comment on table todos is 'x'",
        "reindex table todos",
        "create policy p on todos",
        "import foreign schema a from server b into c",
    ] {
        assert_eq!(verdict(sql), Err(Refusal::Kind), "{sql}");
    }
    for sql in
        ["select 1 into x", "select 1 into temp x", "with a as (select 1) select * into x from a"]
    {
        assert_eq!(verdict(sql), Err(Refusal::SelectInto), "{sql}");
    }
    for sql in [
        "begin",
        "commit",
        "rollback",
        "abort",
        "end",
        "savepoint a",
        "release a",
        "start transaction",
        "prepare /* x */ transaction 'a'",
        "commit prepared 'a'",
        "commit and chain",
    ] {
        assert_eq!(verdict(sql), Err(Refusal::TransactionControl), "{sql}");
    }
    assert_eq!(verdict("copy todos to stdout"), Err(Refusal::Copy));
}

#[test]
fn explain_shows_no_estimates_and_runs_nothing() {
    for sql in [
        "explain select 1",
        "explain analyze select 1",
        "explain (analyze, costs off) select 1",
        "explain (costs off, costs on) select 1",
        "explain (costs) select 1",
        "explain (costs off, buffers) select 1",
        "explain (costs off) create table x as select 1",
        "explain (costs off) execute p",
        "explain (costs off) declare c cursor for select 1",
    ] {
        assert_eq!(verdict(sql), Err(Refusal::Explain), "{sql}");
    }
}

/// Every spelling of one name is one name in the tree.
#[test]
fn functions_of_the_system_are_refused_however_they_are_spelt() {
    for sql in [
        "select set_config('a', 'b', true)",
        "select pg_catalog . /* x */ \"set_config\"('a', 'b', true)",
        "SELECT/**/SET_CONFIG('a','b',true)",
        "select U&\"set\\005fconfig\"('a', 'b', true)",
        "select U&\"set!005fconfig\" uescape '!' ('a', 'b', true)",
        "values (set_config('a', 'b', true))",
        "insert into todos (task) values ('c') returning set_config('a', 'b', true)",
        "select 1 from todos order by set_config('a', 'b', true)",
        "select 1 from todos limit set_config('a', 'b', true)::int",
        "select * from set_config('a', 'b', true)",
        "select * from rows from (lower('a'), set_config('a', 'b', true)) x",
        "select count(*) over (order by set_config('a', 'b', true)) from todos",
        "select sum(1) filter (where set_config('a', 'b', true) is null) from todos",
        "select array_agg(1 order by set_config('a', 'b', true)) from todos",
        "with a as materialized (select set_config('a', 'b', true)) select 1 from a",
        "select 1 from todos where exists (select 1 where set_config('a', 'b', true) = 'b')",
        "select 1 from todos join todos b on set_config('a', 'b', true) = 'b'",
        "select case set_config('a', 'b', true) when 'b' then 1 end",
        "select * from todos, lateral set_config('a', 'b', true)",
        "update todos set task = set_config('a', 'b', true)",
        "merge into todos t using todos s on true when matched and set_config('a', 'b', true) = 'b' then delete",
        "select * from json_table('{}', '$' passing set_config('a', 'b', true) as x columns (a int))",
        "select xmlelement(name x, set_config('a', 'b', true))",
        "select 1 from todos group by grouping sets ((set_config('a', 'b', true)))",
        "select (array[1])[set_config('a', 'b', true)::int]",
        "select 1 from todos tablesample system (set_config('a', 'b', true)::int)",
        "explain (costs off) select set_config('a', 'b', true)",
    ] {
        assert_eq!(verdict(sql), Err(Refusal::Function("set_config".into())), "{sql}");
    }
}

#[test]
fn settings_that_drivers_ask_for_are_readable_under_a_literal_name() {
    all_are(
        Admission::Plain,
        &[
            "select current_setting('TimeZone'), pg_catalog.current_setting('transaction_isolation', true)",
            "select * from current_setting(E'search\\x5fpath') s",
            "show transaction_isolation",
            "show transaction isolation level",
            "show time zone",
            "SHOW \"DateStyle\"",
        ],
    );
    for sql in ["show all", "show rowgate.seal", "show data_directory", "show app.note"] {
        assert_eq!(verdict(sql), Err(Refusal::Kind), "{sql}");
    }
}

#[test]
fn functions_that_show_or_reach_others_are_refused() {
    for (sql, name) in [
        ("select pg_sleep(1)", "pg_sleep"),
        ("select (pid).pg_terminate_backend from todos", "pg_terminate_backend"),
        ("select t.pg_terminate_backend from unnest(array[1]) t", "pg_terminate_backend"),
        ("select (1).pg_sleep", "pg_sleep"),
        ("select pg_advisory_xact_lock(1)", "pg_advisory_xact_lock"),
        ("select query_to_xml('x', true, true, '')", "query_to_xml"),
        ("select table_to_xml('x', true, true, '')", "table_to_xml"),
        ("select current_setting('x')", "current_setting"),
        ("select current_setting('rowgate.seal')", "current_setting"),
        ("select current_setting('app.note', true)", "current_setting"),
        ("select current_setting('data_directory')", "current_setting"),
        ("select current_setting(task) from todos", "current_setting"),
        ("select current_setting(task, 'true') from todos", "current_setting"),
        ("select current_setting('time' || 'zone')", "current_setting"),
        ("select current_setting('timezone'::text)", "current_setting"),
        ("select current_setting('timezone', 'true')", "current_setting"),
        ("select current_setting(current_setting('timezone'))", "current_setting"),
        ("select current_setting($1)", "current_setting"),
        (
            "select current_setting(setting_name => 'x', missing_ok => 'timezone')",
            "current_setting",
        ),
        ("select current_setting('timezone'), current_setting('x')", "current_setting"),
        ("select nextval('s')", "nextval"),
        ("select setval('s', 1)", "setval"),
        ("select lastval()", "lastval"),
        ("select setseed(0.1)", "setseed"),
        ("select ts_stat('x')", "ts_stat"),
        ("select current_query()", "current_query"),
        ("select has_table_privilege('x', 'select')", "has_table_privilege"),
        ("select to_regclass('x')", "to_regclass"),
        ("select regclass('x')", "regclass"),
        ("select ('x'::text).regclass", "regclass"),
        ("select txid_current_snapshot()", "txid_current_snapshot"),
        ("select public.dblink('x', 'y')", "dblink"),
        ("select * from crosstab('x') as t(a int)", "crosstab"),
        ("select extensions.pg_stat_statements_reset()", "pg_stat_statements_reset"),
        ("select pg_temp.f()", "f"),
        ("select regclassout(1)", "regclassout"),
        ("select format_type(1, null)", "format_type"),
    ] {
        assert_eq!(verdict(sql), Err(Refusal::Function(name.into())), "{sql}");
    }
}

#[test]
fn relations_of_the_system_and_sequences_are_refused() {
    for (sql, name) in [
        ("select * from pg_stat_activity", "pg_stat_activity"),
        ("select * from pg_catalog.pg_class", "pg_class"),
        ("table \"pg_settings\"", "pg_settings"),
        ("update pg_settings set setting = 'x'", "pg_settings"),
        ("insert into pg_catalog.pg_class values (1)", "pg_class"),
        ("select * from information_schema.tables", "tables"),
        ("select * from app.information_schema.tables", "tables"),
        ("select * from public.pg_stat_statements", "pg_stat_statements"),
        ("select last_value from todos_id_seq", "todos_id_seq"),
        ("select * from pg_temp.mine", "mine"),
        ("select * from todos where id in (select 1 from pg_locks)", "pg_locks"),
        ("with a as (select * from pg_roles) select 1", "pg_roles"),
        ("merge into todos using pg_locks on true when matched then delete", "pg_locks"),
    ] {
        assert_eq!(verdict(sql), Err(Refusal::Relation(name.into())), "{sql}");
    }
}

#[test]
fn types_that_look_names_up_are_refused() {
    for (sql, name) in [
        ("select 'x'::regclass", "regclass"),
        ("select cast('x' as pg_catalog.regrole)", "regrole"),
        ("select '{x}'::regproc[]", "regproc"),
        ("select * from json_to_record('{}') as t (a regtype)", "regtype"),
        ("select 1::pg_temp.uuid", "uuid"),
        ("select '{pg_authid}'::_regclass", "_regclass"),
        ("select 'x=r/y'::aclitem", "aclitem"),
        ("select json_populate_record(null::pg_aggregate, '{}')", "pg_aggregate"),
        ("select json_value('{}', '$' returning regclass)", "regclass"),
    ] {
        assert_eq!(verdict(sql), Err(Refusal::Type(name.into())), "{sql}");
    }
}

#[test]
fn what_cannot_be_read_is_not_run() {
    all_are(Admission::Unread, &["selec 1", "select 1; select 2", "select from where", "'"]);
    for deep in [
        format!("select {}1{}", "(select ".repeat(3000), ")".repeat(3000)),
        format!("select 1{}", "+1".repeat(30_000)),
        format!("select {}1", "- ".repeat(30_000)),
    ] {
        assert_eq!(on_a_large_stack(deep), Err(Refusal::TooDeep));
    }
}

fn on_a_large_stack(sql: String) -> Verdict {
    let stack = 256 * 1024 * 1024;
    let judging = std::thread::Builder::new().stack_size(stack).spawn(move || verdict(&sql));
    judging.unwrap().join().unwrap()
}

#[test]
fn chains_that_people_write_are_read() {
    let concatenation = format!("select length('a'{})", "||'a'".repeat(500));
    assert_eq!(on_a_large_stack(concatenation), Ok(Admission::Plain));
    let alternatives = format!("select 1 from todos where id = 1{}", " or id = 2".repeat(1000));
    assert_eq!(on_a_large_stack(alternatives), Ok(Admission::Plain));
}

#[test]
fn the_configuration_widens_what_runs_at_a_price() {
    let knowledge = knowledge();
    let mut rules = rules(StatementKinds::Data);
    rules.functions.insert("nextval".to_owned());
    rules.relations.insert("pg_enum".to_owned());
    rules.extra.extend([ExtraKind::Call, ExtraKind::Explain]);
    for sql in [
        "select nextval('s')",
        "select * from pg_catalog.pg_enum",
        "call p()",
        "explain analyze select 1",
    ] {
        assert_eq!(judge(sql, &rules, &knowledge), Ok(Admission::Suspect), "{sql}");
    }
    let both = judge("select nextval('s'), setval('s', 1)", &rules, &knowledge);
    assert_eq!(both, Err(Refusal::Function("setval".into())));
    let hidden = judge("explain analyze select pg_sleep(1)", &rules, &knowledge);
    assert_eq!(hidden, Err(Refusal::Function("pg_sleep".into())));
}

#[test]
fn where_every_kind_runs_only_transactions_and_copy_are_refused() {
    let (rules, knowledge) = (rules(StatementKinds::All), knowledge());
    let judged = |sql: &str| judge(sql, &rules, &knowledge);
    for sql in ["set a = b", "select pg_sleep(1)", "table pg_class", "selec", "select 1; select 2"]
    {
        assert_eq!(judged(sql), Ok(Admission::Suspect), "{sql}");
    }
    assert_eq!(judged("select * from todos"), Ok(Admission::Plain));
    assert_eq!(judged("commit"), Err(Refusal::TransactionControl));
    assert_eq!(judged("copy todos to stdout"), Err(Refusal::Copy));
}
