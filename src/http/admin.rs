//! The operators' listener: `/metrics` and the health endpoints. Never reachable from the clients' one.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, StatusCode};

use super::{Answer, Gateway, health, json};
use crate::error::ApiError;

/// The content type of Prometheus' text format as prometheus-client writes it.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers one request of an operator.
pub async fn answer(gateway: Arc<Gateway>, request: Request<Incoming>) -> Answer {
    let (path, method) = (request.uri().path(), request.method());
    let result = match path {
        "/metrics" if method == Method::GET => Ok(metrics(&gateway)),
        "/metrics" => Err(ApiError::method_not_allowed("GET")),
        "/health/live" | "/health/ready" => health::answer(&gateway, path, method).await,
        _ => Err(ApiError::not_found()),
    };
    result.unwrap_or_else(|error| json(error.status, error.to_json()))
}

fn metrics(gateway: &Gateway) -> Answer {
    let metrics = gateway.observer.metrics();
    for (role, pool) in gateway.sessions.pools() {
        let (connections, waiting) = pool.load();
        metrics.pool(role, connections, waiting);
    }
    let mut answer = json(StatusCode::OK, metrics.text().into_bytes());
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(OPENMETRICS));
    answer
}
