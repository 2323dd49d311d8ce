//! `POST /sql`: what clients send and get.

use hyper::Method;
use serde_json::json;

use crate::harness::gateway::TestGateway;

#[tokio::test]
async fn each_caller_sees_and_changes_only_their_own_rows() {
    let gateway = TestGateway::start().await;
    gateway.seed().await;
    let tasks = "select task from todos order by id";
    assert_eq!(
        gateway.sql(Some("alice"), tasks, json!([])).await.rows(),
        json!([["alice one"], ["alice two"]])
    );
    assert_eq!(gateway.sql(Some("bob"), tasks, json!([])).await.rows(), json!([["bob one"]]));
    assert_eq!(gateway.sql(None, tasks, json!([])).await.rows(), json!([]));

    let inserted = "insert into todos (task) values ($1) returning user_id, task";
    assert_eq!(
        gateway.sql(Some("alice"), inserted, json!(["new"])).await.rows(),
        json!([["alice", "new"]])
    );
    let updated = "update todos set is_complete = true returning user_id";
    assert_eq!(gateway.sql(Some("bob"), updated, json!([])).await.rows(), json!([["bob"]]));
    let deleted = gateway.sql(Some("alice"), "delete from todos", json!([])).await;
    assert_eq!(deleted.json()["rowCount"], 3);
    assert_eq!(gateway.sql(Some("bob"), tasks, json!([])).await.rows(), json!([["bob one"]]));

    let message = "insert into user_messages (message) values ('hi') \
                   on conflict (user_id) do update set message = excluded.message returning message";
    assert_eq!(gateway.sql(Some("alice"), message, json!([])).await.rows(), json!([["hi"]]));
    let messages = "select user_id, message from user_messages";
    assert_eq!(
        gateway.sql(Some("bob"), messages, json!([])).await.rows(),
        json!([["bob", "from bob"]])
    );
}

#[tokio::test]
async fn a_row_for_somebody_else_is_refused_by_the_database() {
    let gateway = TestGateway::start().await;
    let forged = "insert into todos (user_id, task) values ('bob', 'x')";
    let answer = gateway.sql(Some("alice"), forged, json!([])).await;
    assert_eq!(answer.failure(), (400, "42501".to_owned()));
    assert_eq!(answer.json()["severity"], "ERROR");
    let anonymous = gateway.sql(None, "insert into todos (task) values ('x')", json!([])).await;
    assert_eq!(anonymous.failure(), (400, "42501".to_owned()));
}

#[tokio::test]
async fn an_answer_has_exactly_the_documented_members() {
    let gateway = TestGateway::start().await;
    let answer = gateway
        .body(None, &json!({"query": "select 1::int8 as id, null as \"a\"\"b\"", "params": []}))
        .await;
    insta::assert_snapshot!(String::from_utf8_lossy(&answer.body), @r#"{"fields":[{"name":"id","dataTypeID":20,"tableID":0,"columnID":0,"dataTypeSize":8,"dataTypeModifier":-1,"format":"text"},{"name":"a\"b","dataTypeID":25,"tableID":0,"columnID":0,"dataTypeSize":-1,"dataTypeModifier":-1,"format":"text"}],"rows":[{"id":"1","a\"b":null}],"command":"SELECT","rowCount":1,"rowAsArray":false}"#);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("content-length"), answer.body.len().to_string());
}

#[tokio::test]
async fn values_are_typed_json_or_the_servers_text() {
    let gateway = TestGateway::start().await;
    let query = "select true, 7::int4, 7::int8, 1.50::numeric, 'NaN'::float8, 0.1::float4, \
                 '{\"b\":1.0}'::jsonb, array[[1,2],[3,null]], '[0:1]={t,f}'::bool[], \
                 array['(0,0),(1,1)'::box], '{\"a,b\",null}'::text[], date '2026-01-02', '\\x00ff'::bytea, \
                 timestamptz '2026-01-02 03:04:05+01', interval '1 day 2 hours', ''::text, array[]::int4[]";
    let typed = gateway.sql(None, query, json!([])).await.rows();
    insta::assert_snapshot!(typed.to_string(), @r#"[[true,7,"7","1.50","NaN",0.1,{"b":1.0},[[1,2],[3,null]],[true,false],["(1,1),(0,0)"],["a,b",null],"2026-01-02","\\x00ff","2026-01-02 02:04:05+00","1 day 02:00:00","",[]]]"#);
    let raw = gateway
        .send(
            Method::POST,
            "/sql",
            &[("neon-raw-text-output", "true"), ("neon-array-mode", "true")],
            json!({ "query": query }).to_string(),
        )
        .await;
    insta::assert_snapshot!(raw.rows().to_string(), @r#"[["t","7","7","1.50","NaN","0.1","{\"b\": 1.0}","{{1,2},{3,NULL}}","[0:1]={t,f}","{(1,1),(0,0)}","{\"a,b\",NULL}","2026-01-02","\\x00ff","2026-01-02 02:04:05+00","1 day 02:00:00","","{}"]]"#);
}

#[tokio::test]
async fn parameters_keep_their_digits_and_infer_their_types() {
    let gateway = TestGateway::start().await;
    let body = r#"{"query":"select $1::numeric, $2::int8, $3::text, $4::jsonb, $5::int4[], $6::text[], $7::bool, $8::text",
        "params":[12345678901234567890.12345678901234567890, 9007199254740993, "é\n\"", {"a": [1, "x"]}, [1,null,3], ["a\"b\\c", null, "NULL", ""], true, null],
        "arrayMode":true}"#;
    let answer = gateway.send(Method::POST, "/sql", &[], body).await;
    assert_eq!(
        answer.rows(),
        json!([[
            "12345678901234567890.12345678901234567890",
            "9007199254740993",
            "é\n\"",
            {"a": [1, "x"]},
            [1, null, 3],
            ["a\"b\\c", null, "NULL", ""],
            true,
            null
        ]])
    );
    let wrong = gateway.sql(None, "select $1::int4", json!(["x"])).await;
    assert_eq!(wrong.failure(), (400, "22P02".to_owned()));
    for _ in 0..3 {
        let missing = gateway.sql(None, "select $1::int4", json!([])).await;
        assert_eq!(missing.failure(), (400, "08P01".to_owned()));
        // The same on every use: names of prepared statements are hidden.
        let message = missing.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("prepared statement \"\" requires 1"), "{message}");
    }
    let deep = gateway.sql(None, "select $1::int4[]", json!([[[[[[[[1]]]]]]]])).await;
    assert_eq!(deep.failure(), (400, "RG4005".to_owned()));
}

#[tokio::test]
async fn a_new_type_is_understood_without_a_restart() {
    let gateway = TestGateway::start().await;
    let owner = gateway.database.owner().await;
    owner
        .batch_execute(
            "create type mood as enum ('ok', 'sad');
             create domain flags as bool[];
             create domain small as int2;
             grant usage on type mood, flags, small to public",
        )
        .await
        .unwrap();
    let query = "select array['ok', null]::mood[], '{t,f}'::flags, 3::small, array[1,2]::small[]";
    for _ in 0..3 {
        assert_eq!(
            gateway.sql(None, query, json!([])).await.rows(),
            json!([[["ok", null], [true, false], 3, [1, 2]]])
        );
    }
}

#[tokio::test]
async fn a_batch_is_one_transaction_with_the_options_asked_for() {
    let gateway = TestGateway::start().await;
    let failing = gateway
        .batch(Some("alice"), &["insert into todos (task) values ('a')", "select 1/0", "select 2"])
        .await;
    assert_eq!(failing.failure(), (400, "22012".to_owned()));
    assert_eq!(
        gateway.sql(Some("alice"), "select count(*)::int4 from todos", json!([])).await.rows(),
        json!([[0]])
    );

    let body = json!({"queries": [
        {"query": "select current_setting('transaction_isolation'), current_setting('transaction_read_only'), \
                   current_setting('transaction_deferrable')", "arrayMode": true},
        {"query": "select 1 as one"}
    ]});
    let headers = [
        ("neon-batch-isolation-level", "Serializable"),
        ("neon-batch-read-only", "true"),
        ("neon-batch-deferrable", "true"),
    ];
    let answer = gateway.send(Method::POST, "/sql", &headers, body.to_string()).await;
    let results = answer.json()["results"].clone();
    assert_eq!(results[0]["rows"], json!([["serializable", "on", "on"]]));
    assert_eq!(results[1]["rows"], json!([{"one": 1}]));
    assert_eq!(results[1]["rowAsArray"], json!(false));
    assert_eq!(answer.header("neon-batch-isolation-level"), "Serializable");

    let written = gateway
        .send(
            Method::POST,
            "/sql",
            &[("neon-batch-read-only", "true")],
            json!({"queries": [{"query": "delete from todos"}]}).to_string(),
        )
        .await;
    assert_eq!(written.failure().0, 400);
    let empty = gateway.body(None, &json!({"queries": []})).await;
    assert_eq!(empty.json(), json!({"results": []}));
}

#[tokio::test]
async fn an_error_at_commit_is_the_answer_and_nothing_is_committed() {
    let gateway = TestGateway::start().await;
    let owner = gateway.database.owner().await;
    owner
        .batch_execute(
            "create table pairs (id int primary key, other int references pairs deferrable initially deferred);
             grant select, insert on pairs to authenticated",
        )
        .await
        .unwrap();
    for headers in [vec![], vec![("neon-batch-isolation-level", "ReadCommitted")]] {
        let token = format!("Bearer {}", gateway.token("alice"));
        let mut headers = headers;
        headers.push(("authorization", &token));
        let body = json!({"queries": [{"query": "insert into pairs values (1, 2)"}, {"query": "select 1"}]});
        let answer = gateway.send(Method::POST, "/sql", &headers, body.to_string()).await;
        assert_eq!(answer.failure(), (400, "23503".to_owned()));
    }
    let single = gateway.sql(Some("alice"), "insert into pairs values (1, 2)", json!([])).await;
    assert_eq!(single.failure(), (400, "23503".to_owned()));
    let count = gateway.sql(Some("alice"), "select count(*)::int4 from pairs", json!([])).await;
    assert_eq!(count.rows(), json!([[0]]));
}

#[tokio::test]
async fn a_misspelt_statement_gets_the_databases_own_error() {
    let gateway = TestGateway::start().await;
    let answer = gateway.sql(Some("alice"), "selec 1", json!([])).await;
    assert_eq!(answer.failure(), (400, "42601".to_owned()));
    assert_eq!(answer.json()["position"], "1");
}

#[tokio::test]
async fn statements_that_end_the_transaction_are_refused_before_anything_runs() {
    let gateway = TestGateway::start().await;
    for control in ["commit", "/**/ rollback", "begin", "savepoint a", "start transaction"] {
        let answer =
            gateway.batch(Some("alice"), &["insert into todos (task) values ('x')", control]).await;
        assert_eq!(answer.failure(), (400, "2D000".to_owned()), "{control}");
    }
    let copy = gateway.sql(Some("alice"), "copy todos to stdout", json!([])).await;
    assert_eq!(copy.failure(), (400, "0A000".to_owned()));
    let several = gateway.sql(Some("alice"), "select 1; select 2", json!([])).await;
    assert_eq!(several.failure(), (400, "42601".to_owned()));
    let count = gateway.sql(Some("alice"), "select count(*)::int4 from todos", json!([])).await;
    assert_eq!(count.rows(), json!([[0]]));
}

#[tokio::test]
async fn an_empty_statement_is_answered_without_fields() {
    let gateway = TestGateway::start().await;
    let answer = gateway.sql(None, " -- nothing", json!([])).await;
    assert_eq!(
        answer.json(),
        json!({"fields": [], "rows": [], "command": "", "rowCount": null, "rowAsArray": true})
    );
}

#[tokio::test]
async fn requests_that_are_no_requests_are_told_why() {
    let gateway = TestGateway::start().await;
    for body in ["", "{", "[]", "{\"query\":1}", "{\"query\":\"select 1\",\"params\":null}"] {
        let answer = gateway.send(Method::POST, "/sql", &[], body).await;
        assert_eq!(answer.failure(), (400, "RG4000".to_owned()), "{body}");
    }
    let nul = gateway.sql(None, "select 1\0", json!([])).await;
    assert_eq!(nul.failure(), (400, "RG4000".to_owned()));
    let header = [("neon-batch-isolation-level", "serializable")];
    let answer = gateway.send(Method::POST, "/sql", &header, r#"{"query":"select 1"}"#).await;
    assert_eq!(answer.failure(), (400, "RG4001".to_owned()));
    for (database, status) in [(gateway.database.name.as_str(), 200), ("other", 400)] {
        let string = format!("postgresql://user:pass@host.example/{database}");
        let header = [("neon-connection-string", string.as_str())];
        let answer = gateway.send(Method::POST, "/sql", &header, r#"{"query":"select 1"}"#).await;
        assert_eq!(answer.status, status, "{database}");
    }
}

#[tokio::test]
async fn a_cached_plan_that_no_longer_fits_is_made_anew() {
    let gateway = TestGateway::with(|config| config.database.pool_size = 1).await;
    let owner = gateway.database.owner().await;
    owner
        .batch_execute("create table shape (a int); insert into shape values (1); grant select on shape to authenticated")
        .await
        .unwrap();
    for _ in 0..3 {
        assert_eq!(
            gateway.sql(Some("a"), "select * from shape", json!([])).await.rows(),
            json!([[1]])
        );
    }
    owner.batch_execute("alter table shape add b text default 'x'").await.unwrap();
    for _ in 0..3 {
        assert_eq!(
            gateway.sql(Some("a"), "select * from shape", json!([])).await.rows(),
            json!([[1, "x"]])
        );
    }
}
