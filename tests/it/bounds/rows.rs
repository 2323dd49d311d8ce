//! Rows of an answer, parameters of a statement.

use hyper::Method;
use serde_json::json;

use super::counted;
use crate::harness::gateway::TestGateway;

#[tokio::test]
async fn an_answer_of_too_many_rows_fails_or_breaks_off_but_never_looks_whole() {
    let gateway = TestGateway::with(|config| {
        config.limits.rows = Some(100);
        config.limits.stream_threshold = 10_000;
    })
    .await;
    let rows = |n: usize| format!("select i from generate_series(1, {n}) i");
    let enough = gateway.sql(None, &rows(100), json!([])).await.rows();
    assert_eq!(enough.as_array().unwrap().len(), 100);
    let too_many = gateway.sql(None, &rows(101), json!([])).await;
    assert_eq!(too_many.failure(), (507, "RG5071".to_owned()));
    let in_a_batch = gateway.batch(None, &[&rows(60), &rows(60)]).await;
    assert_eq!(in_a_batch.failure(), (507, "RG5071".to_owned()), "all rows of an answer count");
    let wide = "select repeat('x', 1000) from generate_series(1, 101)";
    let body = json!({ "query": wide }).to_string();
    let streamed = gateway.try_send(gateway.address, Method::POST, "/sql", &[], body).await;
    assert!(streamed.is_err(), "a broken-off body must not look complete");
    assert_eq!(counted(&gateway, "limits.rows").await, 3);
    assert_eq!(gateway.sql(None, "select 1", json!([])).await.rows(), json!([[1]]));
}

#[tokio::test]
async fn a_statement_may_have_no_more_parameters_than_configured() {
    let gateway = TestGateway::with(|config| config.limits.parameters = 2).await;
    let two = gateway.sql(None, "select $1::int4 + $2::int4", json!([1, 2])).await;
    assert_eq!(two.rows(), json!([[3]]));
    let three = gateway.sql(None, "select $1::int4 + $2::int4 + $3::int4", json!([1, 2, 3])).await;
    assert_eq!(three.failure(), (400, "RG4005".to_owned()));
    let batch =
        json!({"queries": [{"query": "select 1"}, {"query": "select 1", "params": [1, 2, 3]}]});
    assert_eq!(gateway.body(None, &batch).await.failure(), (400, "RG4005".to_owned()));
    assert_eq!(counted(&gateway, "limits.parameters").await, 2);
}

#[tokio::test]
async fn parameters_are_bounded_by_the_size_of_the_request() {
    let gateway = TestGateway::with(|config| config.limits.request_bytes = 100_000).await;
    let fits = gateway.sql(None, "select length($1::text)", json!(["x".repeat(90_000)])).await;
    assert_eq!(fits.rows(), json!([[90_000]]));
    let too_long = gateway.sql(None, "select length($1::text)", json!(["x".repeat(100_000)])).await;
    assert_eq!(too_long.failure(), (413, "RG4130".to_owned()));
    // What grows most on its way to the database: quotes in objects in lists become two bytes.
    let quotes = json!([[{"k": "\"".repeat(20_000)}]]);
    let grown = gateway.sql(None, "select length(($1::text[])[1])", quotes).await;
    assert_eq!(grown.rows(), json!([[40_008]]));
}
