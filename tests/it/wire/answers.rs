//! The shape of answers.

use serde_json::{Value, json};

use super::{post, text};
use crate::harness::gateway::TestGateway;

#[tokio::test]
async fn fields_say_where_a_column_comes_from() {
    let gateway = TestGateway::start().await;
    let owner = gateway.database.owner().await;
    owner
        .batch_execute(
            "create table origins (a varchar(7), b numeric(10,2), c bigint);
             alter table origins drop column a, add a varchar(9);
             grant select on origins to anonymous",
        )
        .await
        .unwrap();
    let oid: u32 = owner.query_one("select 'origins'::regclass::oid", &[]).await.unwrap().get(0);
    let answer = gateway.sql(None, "select b, a, c, c + 1 as d from origins", json!([])).await;
    let field = |name: &str, id: u32, table: u32, column: i16, size: i16, modifier: i32| {
        json!({"name": name, "dataTypeID": id, "tableID": table, "columnID": column,
               "dataTypeSize": size, "dataTypeModifier": modifier, "format": "text"})
    };
    assert_eq!(
        answer.json(),
        json!({
            "fields": [
                field("b", 1700, oid, 2, -1, 10 * 65536 + 2 + 4),
                field("a", 1043, oid, 4, -1, 9 + 4),
                field("c", 20, oid, 3, 8, -1),
                field("d", 20, 0, 0, 8, -1),
            ],
            "rows": [],
            "command": "SELECT",
            "rowCount": 0,
            "rowAsArray": true
        })
    );
}

#[tokio::test]
async fn command_and_row_count_are_those_of_the_statement() {
    let gateway = TestGateway::start().await;
    for (query, command, count) in [
        ("insert into todos (task) values ('a'), ('b')", "INSERT", json!(2)),
        ("update todos set task = task", "UPDATE", json!(2)),
        ("with x as (select 1) select * from x where false", "SELECT", json!(0)),
        ("values (1), (2), (3)", "SELECT", json!(3)),
        ("table todos", "SELECT", json!(2)),
        ("delete from todos where task = 'a' returning task", "DELETE", json!(1)),
        ("explain (costs off) select 1", "EXPLAIN", Value::Null),
    ] {
        let answer = gateway.sql(Some("alice"), query, json!([])).await.json();
        assert_eq!((&answer["command"], &answer["rowCount"]), (&json!(command), &count), "{query}");
        let members: Vec<&String> = answer.as_object().unwrap().keys().collect();
        assert_eq!(members.len(), 5, "{query}: {members:?}");
    }
}

#[tokio::test]
async fn columns_of_one_name_repeat_the_key() {
    let gateway = TestGateway::start().await;
    let query = r#"{"query":"select 1 as a, 2 as a, null as \"?column?\", 3"}"#;
    let answer = post(&gateway, &[], query).await;
    let rows = r#""rows":[{"a":1,"a":2,"?column?":null,"?column?":3}]"#;
    assert!(text(&answer).contains(rows), "{}", text(&answer));
    let arrays = post(&gateway, &[("neon-array-mode", "true")], query).await;
    assert_eq!(arrays.rows(), json!([[1, 2, null, 3]]));
}

#[tokio::test]
async fn results_without_columns_or_rows_keep_the_shape() {
    let gateway = TestGateway::start().await;
    let no_columns =
        gateway.body(None, &json!({"query": "select from generate_series(1, 2)"})).await;
    let shape = |rows: Value, arrays: bool| json!({"fields": [], "rows": rows, "command": "SELECT", "rowCount": 2, "rowAsArray": arrays});
    assert_eq!(no_columns.json(), shape(json!([{}, {}]), false));
    let arrays = gateway.sql(None, "select from generate_series(1, 2)", json!([])).await;
    assert_eq!(arrays.json(), shape(json!([[], []]), true));
    let void = gateway.sql(None, "select pg_notify('x', 'y')", json!([])).await;
    assert_eq!(void.rows(), json!([[""]]));
    let batch = gateway.batch(None, &["", "select 1", ";"]).await.json();
    let counts: Vec<&Value> =
        batch["results"].as_array().unwrap().iter().map(|result| &result["rowCount"]).collect();
    assert_eq!(counts, [&Value::Null, &json!(1), &Value::Null]);
    assert_eq!(batch.as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn texts_have_the_forms_that_clients_parse_whatever_the_database_is_set_to() {
    let gateway = TestGateway::start().await;
    let (superuser, name) = (gateway.database.superuser().await, &gateway.database.name);
    for setting in [
        "datestyle = 'German'",
        "intervalstyle = 'iso_8601'",
        "bytea_output = 'escape'",
        "timezone = 'Asia/Tokyo'",
        "client_encoding = 'LATIN1'",
        "extra_float_digits = -10",
    ] {
        let database = format!("alter database {name} set {setting}");
        superuser.batch_execute(&database).await.unwrap();
        let role = format!("alter role anonymous in database {name} set {setting}");
        superuser.batch_execute(&role).await.unwrap();
    }
    let query = "select timestamptz '2026-01-02 03:04:05+09', date '2026-01-02', interval '1 day 2 hours', \
                 '\\x00ff'::bytea, 'é漢', 0.1::float8 + 0.2::float8";
    // No connection of the pool is older than the settings.
    let answer = gateway.sql(None, query, json!([])).await;
    assert_eq!(
        answer.rows(),
        json!([[
            "2026-01-01 18:04:05+00",
            "2026-01-02",
            "1 day 02:00:00",
            "\\x00ff",
            "é漢",
            0.300_000_000_000_000_04
        ]])
    );
}

#[tokio::test]
async fn one_row_has_a_length_and_no_validators() {
    let gateway = TestGateway::start().await;
    let answer = gateway.sql(None, "select 1", json!([])).await;
    assert_eq!(answer.header("content-length"), answer.body.len().to_string());
    for absent in ["transfer-encoding", "content-encoding", "etag", "vary", "set-cookie"] {
        assert_eq!(answer.header(absent), "", "{absent}");
    }
}
