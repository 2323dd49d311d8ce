//! Batches: one transaction, with the options that were asked for.

use std::time::Duration;

use serde_json::{Value, json};

use super::post;
use crate::harness::gateway::{TestAnswer, TestGateway};

const LEVELS: [(&str, &str); 5] = [
    ("", "read committed"),
    ("ReadUncommitted", "read uncommitted"),
    ("ReadCommitted", "read committed"),
    ("RepeatableRead", "repeatable read"),
    ("Serializable", "serializable"),
];

#[tokio::test]
async fn every_combination_of_transaction_options_takes_effect_and_is_echoed() {
    let gateway = TestGateway::start().await;
    let body = json!({"queries": [{
        "query": "select current_setting('transaction_isolation'), \
                  current_setting('transaction_read_only'), current_setting('transaction_deferrable')",
        "arrayMode": true
    }]})
    .to_string();
    for (header, level) in LEVELS {
        for flags in [("", ""), ("true", "false"), ("false", "true"), ("true", "true")] {
            let asked = [
                ("neon-batch-isolation-level", header),
                ("neon-batch-read-only", flags.0),
                ("neon-batch-deferrable", flags.1),
            ];
            let headers: Vec<_> =
                asked.into_iter().filter(|(_, value)| !value.is_empty()).collect();
            let answer = post(&gateway, &headers, &body).await;
            let on = |flag: &str| if flag == "true" { "on" } else { "off" };
            let expected = json!([[level, on(flags.0), on(flags.1)]]);
            assert_eq!(answer.json()["results"][0]["rows"], expected, "{headers:?}");
            for (name, value) in asked {
                assert_eq!(answer.header(name), value, "{headers:?}");
            }
        }
    }
}

#[tokio::test]
async fn levels_are_named_exactly() {
    let gateway = TestGateway::start().await;
    let body = r#"{"queries":[{"query":"select 1"}]}"#;
    for value in ["serializable", "SERIALIZABLE", "Snapshot", "Serializable ;", ""] {
        let answer = post(&gateway, &[("neon-batch-isolation-level", value)], body).await;
        assert_eq!(answer.failure(), (400, "RG4001".to_owned()), "{value}");
        let hint = answer.json()["hint"].as_str().unwrap().to_owned();
        assert!(hint.contains("RepeatableRead"), "{hint}");
    }
}

#[tokio::test]
async fn options_of_a_batch_do_not_concern_a_single_statement() {
    let gateway = TestGateway::start().await;
    let headers =
        [("neon-batch-isolation-level", "Serializable"), ("neon-batch-read-only", "true")];
    let query = r#"{"query":"select current_setting('transaction_isolation'), current_setting('transaction_read_only')","arrayMode":true}"#;
    let answer = post(&gateway, &headers, query).await;
    assert_eq!(answer.rows(), json!([["read committed", "off"]]));
    assert_eq!(answer.header("neon-batch-isolation-level"), "");
}

#[tokio::test]
async fn a_read_only_batch_cannot_write_and_a_repeatable_one_sees_one_moment() {
    let gateway = TestGateway::start().await;
    let authorization = format!("Bearer {}", gateway.token("alice"));
    let token = ("authorization", authorization.as_str());
    let write = r#"{"queries":[{"query":"insert into todos (task) values ('x')"}]}"#;
    let refused = post(&gateway, &[token, ("neon-batch-read-only", "true")], write).await;
    assert_eq!(refused.failure(), (400, "25006".to_owned()));
    assert_eq!(
        post(&gateway, &[token, ("neon-batch-read-only", "false")], write).await.status,
        200
    );

    let owner = gateway.database.owner().await;
    owner
        .batch_execute("create table ticks (n int); grant select on ticks to anonymous")
        .await
        .unwrap();
    let body = json!({"queries": [
        {"query": "select count(*)::int4 from ticks", "arrayMode": true},
        {"query": "select 1 from pg_sleep(0.6)"},
        {"query": "select count(*)::int4 from ticks", "arrayMode": true},
    ]})
    .to_string();
    let insert = async {
        // The first statement takes a moment, the second almost all of the time.
        while gateway.running_statements().await == 0 {}
        tokio::time::sleep(Duration::from_millis(100)).await;
        owner.batch_execute("insert into ticks values (1)").await.unwrap();
    };
    let headers = [("neon-batch-isolation-level", "RepeatableRead")];
    let (answer, ()) = tokio::join!(post(&gateway, &headers, &body), insert);
    let results = answer.json()["results"].clone();
    assert_eq!((&results[0]["rows"], &results[2]["rows"]), (&json!([[0]]), &json!([[0]])));
}

/// The number of a lock that only these tests take, each in a database of its own.
const BARRIER: i64 = 4711;

/// Reads the sum, writes a row, and then waits at the barrier: only COMMIT is left to fail.
fn skewed(id: i64) -> String {
    json!({"queries": [
        {"query": "select sum(id) from skew"},
        {"query": "insert into skew values ($1)", "params": [id]},
        {"query": "select 1 from pg_advisory_xact_lock_shared($1)", "params": [BARRIER]},
    ]})
    .to_string()
}

#[tokio::test]
async fn a_serialization_failure_at_commit_is_the_answer_and_nothing_is_kept() {
    let gateway = TestGateway::start().await;
    let owner = gateway.database.owner().await;
    owner
        .batch_execute(&format!(
            "create table skew (id int); grant select, insert on skew to authenticated;
             select pg_advisory_lock({BARRIER})"
        ))
        .await
        .unwrap();
    let authorization = format!("Bearer {}", gateway.token("alice"));
    let headers =
        [("authorization", authorization.as_str()), ("neon-batch-isolation-level", "Serializable")];
    let (first, second) = (skewed(1), skewed(2));
    let release = async {
        let waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted \
                       and database = (select oid from pg_database where datname = current_database())";
        while owner.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        owner.batch_execute(&format!("select pg_advisory_unlock({BARRIER})")).await.unwrap();
    };
    let (first, second, ()) = tokio::time::timeout(Duration::from_secs(20), async {
        tokio::join!(post(&gateway, &headers, &first), post(&gateway, &headers, &second), release)
    })
    .await
    .unwrap();
    let (won, lost): (Vec<&TestAnswer>, Vec<&TestAnswer>) =
        [&first, &second].into_iter().partition(|answer| answer.status == 200);
    assert_eq!((won.len(), lost.len()), (1, 1), "{first:?} {second:?}");
    assert_eq!(lost[0].failure(), (400, "40001".to_owned()));
    assert_eq!(lost[0].json()["hint"], "The transaction might succeed if retried.");
    let kept = gateway.sql(Some("alice"), "select id from skew", json!([])).await.rows();
    assert_eq!(kept.as_array().map(Vec::len), Some(1));
    let winner = if first.status == 200 { 1 } else { 2 };
    assert_eq!(kept, json!([[winner]]));
}

#[tokio::test]
async fn statements_of_a_batch_see_what_earlier_ones_did() {
    let gateway = TestGateway::start().await;
    let answer = gateway
        .batch(
            Some("alice"),
            &[
                "insert into todos (task) values ('a') returning task",
                "update todos set task = task || 'b'",
                "select task from todos",
            ],
        )
        .await;
    let results = answer.json()["results"].clone();
    assert_eq!(results[2]["rows"], json!([["ab"]]));
    assert_eq!(results[1]["fields"], json!([]));
    let same: Vec<&Value> =
        results.as_array().unwrap().iter().map(|result| &result["command"]).collect();
    assert_eq!(same, ["INSERT", "UPDATE", "SELECT"]);
}
