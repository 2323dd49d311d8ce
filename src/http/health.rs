//! `/health/live` and `/health/ready`: may this process get traffic?

use std::time::Duration;

use futures_util::future::join_all;
use hyper::{Method, StatusCode};
use serde::Serialize;
use tokio::time::timeout;

use super::{Answer, Gateway, json};
use crate::auth::Revocations;
use crate::error::ApiError;
use crate::pg::pool::Pool;
use crate::session::Sessions;

/// How long a pool may take to prove that its database is there.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// What readiness rests on; each is `ok` or a few words without internals.
#[derive(Serialize)]
struct Readiness {
    ready: bool,
    authenticated: &'static str,
    anonymous: &'static str,
    /// The roles of `[[role]]`, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    mapped: Option<String>,
    /// Whether what was revoked is known, if that is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    revocations: Option<&'static str>,
    keys: String,
    roles: &'static str,
}

/// Answers both paths. Live: the process answers. Ready: the database lets each role in, and every
/// issuer's keys are known, and the login roles are harmless.
pub async fn answer(gateway: &Gateway, path: &str, method: &Method) -> Result<Answer, ApiError> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(ApiError::method_not_allowed("GET, HEAD"));
    }
    if path == "/health/live" {
        return Ok(json(StatusCode::OK, b"{\"live\":true}".to_vec()));
    }
    let sessions = &gateway.sessions;
    let (authenticated, anonymous) =
        tokio::join!(probe(&sessions.authenticated), probe(&sessions.anonymous));
    let keys = gateway.authenticator.ready();
    let mapped = mapped(sessions).await;
    let stale = gateway.authenticator.revocations().map(Revocations::is_stale);
    let harmless = gateway.standing.is_harmless();
    let readiness = Readiness {
        ready: authenticated
            && anonymous
            && mapped.as_ref().is_none_or(Result::is_ok)
            && stale != Some(true)
            && keys.is_ok()
            && harmless,
        authenticated: word(authenticated),
        anonymous: word(anonymous),
        mapped: mapped.map(|outcome| {
            outcome.map_or_else(|roles| format!("unreachable: {roles}"), |()| "ok".to_owned())
        }),
        revocations: stale.map(|stale| if stale { "stale" } else { "ok" }),
        keys: keys.map_or_else(|missing| format!("missing for {missing}"), |()| "ok".to_owned()),
        roles: if harmless { "ok" } else { "harmful" },
    };
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // invariant: a struct of strings always serialises.
    Ok(json(status, serde_json::to_vec(&readiness).unwrap_or_default()))
}

/// Whether the database lets in every role of `[[role]]`; the error names those that it does not.
async fn mapped(sessions: &Sessions) -> Option<Result<(), String>> {
    if sessions.mapped.is_empty() {
        return None;
    }
    let probes = sessions
        .mapped
        .iter()
        .map(|(name, pool)| async move { if probe(pool).await { None } else { Some(*name) } });
    let away: Vec<&str> = join_all(probes).await.into_iter().flatten().collect();
    Some(if away.is_empty() { Ok(()) } else { Err(away.join(", ")) })
}

fn word(ok: bool) -> &'static str {
    if ok { "ok" } else { "unreachable" }
}

/// Whether a connection can be had: an idle one that the server has not closed, or a new one. A pool
/// whose connections are all busy is at work, and so is its database.
async fn probe(pool: &Pool) -> bool {
    pool.is_exhausted() || matches!(timeout(PROBE_TIMEOUT, pool.acquire()).await, Ok(Ok(_)))
}
