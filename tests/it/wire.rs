//! The contract of `POST /sql`, point by point: `docs/wire.md` names the test of each.
//!
//! What `sql_over_http`, `http_behaviour` and `hostile` show already is not repeated here.

mod answers;
mod compression;
mod errors;
mod parameters;
mod request;
mod transactions;
mod traps;

use hyper::Method;

use crate::harness::gateway::{TestAnswer, TestGateway};

/// Sends a body as it is, with these headers and no token.
async fn post(gateway: &TestGateway, headers: &[(&str, &str)], body: &str) -> TestAnswer {
    gateway.send(Method::POST, "/sql", headers, body.to_owned()).await
}

/// The contract as written for authors of clients, with the names of its tests.
const CONTRACT: &str = include_str!("../../docs/wire.md");

#[test]
fn the_tests_that_the_contract_names_exist() {
    let tests = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let names = CONTRACT.split('`').filter(|name| {
        name.contains("::") && !name.contains(|c: char| c.is_whitespace() || c == '.')
    });
    let mut seen = 0;
    for name in names {
        let (module, test) = name.rsplit_once("::").unwrap();
        let file = tests.join(module.replace("::", "/")).with_extension("rs");
        let source = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(source.contains(&format!("fn {test}(")), "{name} is not in {}", file.display());
        seen += 1;
    }
    assert!(seen > 50, "only {seen} names were found");
}

/// The body as text.
fn text(answer: &TestAnswer) -> &str {
    std::str::from_utf8(&answer.body).unwrap()
}
