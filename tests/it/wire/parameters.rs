//! From JSON parameters to PostgreSQL's values.

use serde_json::json;

use super::post;
use crate::harness::gateway::TestGateway;

#[tokio::test]
async fn each_json_value_has_one_text_form() {
    let gateway = TestGateway::start().await;
    for (json, expected) in [
        (r#""""#, Some("")),
        (r#""null""#, Some("null")),
        ("null", None),
        ("true", Some("true")),
        ("false", Some("false")),
        ("0", Some("0")),
        ("-0", Some("-0")),
        ("1.10", Some("1.10")),
        ("1E+2", Some("1E+2")),
        ("18446744073709551616", Some("18446744073709551616")),
        (r#""\u00e9\ud83d\ude00\/\b\f\n\r\t""#, Some("é😀/\u{8}\u{c}\n\r\t")),
        (r#"{"b": [1, {"a": "x y"}], "a": 1.0}"#, Some(r#"{"b":[1,{"a":"x y"}],"a":1.0}"#)),
        ("{}", Some("{}")),
        ("[]", Some("{}")),
        ("[[1, 2], [null, 3.0]]", Some("{{1,2},{NULL,3.0}}")),
        (
            r#"["a,b", "{}", "", "NULL", "a\"b\\c", "é\n"]"#,
            Some("{\"a,b\",\"{}\",\"\",\"NULL\",\"a\\\"b\\\\c\",\"é\n\"}"),
        ),
        (r#"[true, {"k": ["v", 1]}]"#, Some(r#"{true,"{\"k\":[\"v\",1]}"}"#)),
    ] {
        let body = format!(r#"{{"query":"select $1","params":[{json}],"arrayMode":true}}"#);
        let answer = post(&gateway, &[("neon-raw-text-output", "true")], &body).await;
        assert_eq!(answer.rows(), json!([[expected]]), "{json}");
    }
}

#[tokio::test]
async fn types_are_inferred_from_where_a_parameter_stands() {
    let gateway = TestGateway::start().await;
    for params in [json!([1, "2", true, ["a", null]]), json!(["1", 2, "t", "{a,NULL}"])] {
        let query = "select $1 + 1::int4, $2::numeric * 2, not $3, array_length($4::text[], 1)";
        let answer = gateway.sql(None, query, params).await;
        assert_eq!(answer.rows(), json!([[2, "4", false, 2]]));
    }
    let inserted = "insert into todos (task, is_complete, inserted_at) values ($1, $2, $3) \
                    returning task, is_complete, inserted_at";
    let params = json!(["x", true, "2026-01-02T03:04:05.678Z"]);
    let answer = gateway.sql(Some("alice"), inserted, params).await;
    assert_eq!(answer.rows(), json!([["x", true, "2026-01-02 03:04:05.678+00"]]));
    let any = gateway.sql(None, "select 2 = any($1), $2::jsonb->>'a'", json!([[1, 2], {"a": "b"}]));
    assert_eq!(any.await.rows(), json!([[true, "b"]]));
}

#[tokio::test]
async fn the_number_of_parameters_must_fit() {
    let gateway = TestGateway::start().await;
    for (query, params) in
        [("select $1", json!([])), ("select 1", json!([1])), ("select $2::text", json!(["a"]))]
    {
        let answer = gateway.sql(None, query, params).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(["08P01", "42P18"].contains(&answer.failure().1.as_str()), "{query}: {answer:?}");
    }
    let many = gateway.sql(None, "select 1", json!(vec![1; 65_536])).await;
    assert_eq!(many.failure(), (400, "RG4005".to_owned()));
    let limit: Vec<String> = (1..=1000).map(|n| format!("${n}::int4")).collect();
    let query = format!("select {}", limit.join("+"));
    assert_eq!(gateway.sql(None, &query, json!(vec![1; 1000])).await.rows(), json!([[1000]]));
}

#[tokio::test]
async fn characters_that_postgres_cannot_hold_are_refused_by_name() {
    let gateway = TestGateway::start().await;
    let nul = gateway.sql(None, "select $1::text", json!(["a\0b"])).await;
    assert_eq!(nul.failure(), (400, "22021".to_owned()));
    let nul_in_json = gateway.sql(None, "select $1::jsonb", json!([{"a": "\0"}])).await;
    assert_eq!(nul_in_json.failure(), (400, "22P05".to_owned()));
    let lone = r#"{"query":"select $1::text","params":["\ud800"]}"#;
    assert_eq!(post(&gateway, &[], lone).await.failure(), (400, "RG4005".to_owned()));
    assert_eq!(gateway.sql(None, "select 1", json!([])).await.rows(), json!([[1]]));
}
