//! What failures look like.

use serde_json::{Value, json};

use crate::harness::gateway::TestGateway;

const MEMBERS: [&str; 17] = [
    "message",
    "code",
    "detail",
    "hint",
    "position",
    "internalPosition",
    "internalQuery",
    "severity",
    "where",
    "table",
    "column",
    "schema",
    "dataType",
    "constraint",
    "file",
    "line",
    "routine",
];

/// The members that are neither null nor about the server's source.
fn set_members(error: &Value) -> Value {
    let members = error.as_object().unwrap();
    assert_eq!(members.len(), MEMBERS.len(), "{error}");
    assert!(MEMBERS.iter().all(|name| members.contains_key(*name)), "{error}");
    assert!(error["line"].is_string() && error["file"].is_string() && error["routine"].is_string());
    let set = members.iter().filter(|(name, value)| {
        !value.is_null() && !["file", "line", "routine"].contains(&name.as_str())
    });
    set.map(|(name, value)| (name.clone(), value.clone())).collect::<serde_json::Map<_, _>>().into()
}

#[tokio::test]
async fn every_member_of_a_database_error_arrives_under_its_name() {
    let gateway = TestGateway::start().await;
    let owner = gateway.database.owner().await;
    owner
        .batch_execute(
            "create domain positive as int check (value > 0);
             create table t (id int primary key, n int not null, p positive);
             insert into t values (1, 1, 1);
             create function broken() returns int language plpgsql stable as
               $$ begin execute 'select nosuch'; end $$;
             grant all on t to authenticated;
             grant execute on function broken to authenticated",
        )
        .await
        .unwrap();
    let cases = [
        (
            "insert into t values (1, 1, 1)",
            json!({"message": "duplicate key value violates unique constraint \"t_pkey\"",
                   "code": "23505", "detail": "Key (id)=(1) already exists.", "severity": "ERROR",
                   "schema": "public", "table": "t", "constraint": "t_pkey"}),
        ),
        (
            "insert into t values (2, null, 1)",
            json!({"message": "null value in column \"n\" of relation \"t\" violates not-null constraint",
                   "code": "23502", "detail": "Failing row contains (2, null, 1).", "severity": "ERROR",
                   "schema": "public", "table": "t", "column": "n"}),
        ),
        (
            "insert into t values (2, 1, -1)",
            json!({"message": "value for domain positive violates check constraint \"positive_check\"",
                   "code": "23514", "severity": "ERROR", "schema": "public", "dataType": "positive",
                   "constraint": "positive_check"}),
        ),
        (
            "select taskk from todos",
            json!({"message": "column \"taskk\" does not exist", "code": "42703", "severity": "ERROR",
                   "hint": "Perhaps you meant to reference the column \"todos.task\".",
                   "position": "8"}),
        ),
        (
            "select 1 / 0",
            json!({"message": "division by zero", "code": "22012", "severity": "ERROR"}),
        ),
        (
            "select broken()",
            json!({"message": "column \"nosuch\" does not exist", "code": "42703", "severity": "ERROR",
                   "internalPosition": "8", "internalQuery": "select nosuch",
                   "where": "PL/pgSQL function broken() line 1 at EXECUTE"}),
        ),
    ];
    for (query, expected) in cases {
        let answer = gateway.sql(Some("alice"), query, json!([])).await;
        assert_eq!((answer.status, set_members(&answer.json())), (400, expected), "{query}");
    }
}

#[tokio::test]
async fn positions_count_characters_and_not_bytes() {
    let gateway = TestGateway::start().await;
    let answer = gateway.sql(None, "select 'é漢🐘', nosuch", json!([])).await;
    assert_eq!(answer.json()["position"], "15");
}

#[tokio::test]
async fn a_failing_statement_of_a_batch_is_the_whole_answer() {
    let gateway = TestGateway::start().await;
    let answer = gateway.batch(None, &["select 1", "select nosuch", "select 1/0"]).await;
    assert_eq!(answer.failure(), (400, "42703".to_owned()));
    assert_eq!(answer.json().as_object().unwrap().len(), MEMBERS.len());
}

#[tokio::test]
async fn refusals_before_the_database_have_the_databases_shape() {
    let gateway = TestGateway::start().await;
    for (query, code) in [
        ("copy todos to stdout", "0A000"),
        ("COPY todos (task) FROM STDIN", "0A000"),
        ("/* x */ copy (select 1) to stdout", "0A000"),
        ("copy todos to program 'true'", "0A000"),
        ("commit", "2D000"),
        ("rollback and chain", "2D000"),
    ] {
        let answer = gateway.sql(Some("alice"), query, json!([])).await;
        assert_eq!(answer.failure(), (400, code.to_owned()), "{query}");
        let error = answer.json();
        assert_eq!(error.as_object().unwrap().len(), MEMBERS.len(), "{query}");
        assert_eq!(error["severity"], "ERROR", "{query}");
        assert!(error["hint"].is_string(), "{query}");
    }
}

#[tokio::test]
async fn failures_of_other_statuses_are_short_and_say_what_to_do() {
    let gateway = TestGateway::with(|config| config.auth.anonymous = false).await;
    let missing = gateway.sql(None, "select 1", json!([])).await;
    assert_eq!(missing.status, 401);
    assert!(missing.header("www-authenticate").starts_with("Bearer"));
    let forbidden = gateway.sql(Some("alice"), "vacuum", json!([])).await;
    assert_eq!(forbidden.status, 403);
    let nowhere = gateway.send(hyper::Method::POST, "/sql/", &[], "").await;
    assert_eq!(nowhere.status, 404);
    for answer in [missing, forbidden, nowhere] {
        let members: Vec<String> = answer.json().as_object().unwrap().keys().cloned().collect();
        assert_eq!(members, ["code", "hint", "message"]);
        assert!(answer.body.len() < 400, "{answer:?}");
    }
}
