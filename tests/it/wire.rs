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

/// The body as text.
fn text(answer: &TestAnswer) -> &str {
    std::str::from_utf8(&answer.body).unwrap()
}
