//! Any body of a call: refused with 400, or what another reader of JSON finds in it.

use bytes::BytesMut;
use rowgate::config::LimitsConfig;
use rowgate::http::sql::options::Options;
use rowgate::http::sql::payload::Payload;
use rowgate::json::params;
use serde_json::Value;

const BATCH_LIMIT: usize = 8;

pub fn run(data: &[u8]) {
    let limits = LimitsConfig { batch_statements: BATCH_LIMIT, ..LimitsConfig::default() };
    let payload = match Payload::parse(data, &limits) {
        Ok(payload) => payload,
        Err(error) => return assert_eq!(error.status, 400),
    };
    let request = match payload.request(Options::default()) {
        Ok(request) => request,
        Err(error) => return assert_eq!(error.status, 400),
    };
    assert!(request.statements.len() <= BATCH_LIMIT);
    for statement in &request.statements {
        assert!(!statement.sql.text().contains('\0'));
        for param in statement.params {
            let _ = params::write(param, &mut BytesMut::new());
        }
    }
    let Ok(sent) = serde_json::from_slice::<Value>(data) else { return };
    let queries = match (&sent["query"], &sent["queries"]) {
        (Value::String(_), _) => std::slice::from_ref(&sent),
        (_, Value::Array(queries)) => queries,
        _ => panic!("neither form"),
    };
    assert_eq!(request.statements.len(), queries.len());
    for (statement, query) in request.statements.iter().zip(queries) {
        assert_eq!(Some(statement.sql.text()), query["query"].as_str());
        assert_eq!(statement.params.len(), query["params"].as_array().map_or(0, Vec::len));
    }
}
