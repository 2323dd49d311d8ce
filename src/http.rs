//! Routing, and what every route shares: request ids, CORS, JSON errors, one event per request.

pub mod account;
pub mod admin;
pub mod body;
pub mod client_address;
pub mod compression;
pub mod cors;
pub mod health;
pub mod request_id;
pub mod sql;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};

use crate::auth::Authenticator;
use crate::config::Config;
use crate::error::ApiError;
use crate::observe::{Observer, Route};
use crate::pg::roles::Standing;
use crate::places::Places;
use crate::session::Sessions;
use account::Account;
use body::AnswerBody;
use cors::Cors;

/// What a route answers.
pub type Answer = Response<AnswerBody>;

/// Everything that routes need.
#[derive(Debug)]
pub struct Gateway {
    /// Limits and addresses.
    pub config: Config,
    /// Header → identity.
    pub authenticator: Authenticator,
    /// Identity + statements → transaction.
    pub sessions: Sessions,
    /// Whether the login roles are harmless, as far as is known.
    pub standing: Arc<Standing>,
    /// How many requests of one caller are in flight; none: not counted.
    pub places: Option<Arc<Places>>,
    /// Where events go.
    pub observer: Observer,
    /// Which pages may read answers.
    pub cors: Cors,
}

impl Gateway {
    /// Answers one request that `peer` sent. Never fails: failures are answers.
    pub async fn answer(self: Arc<Self>, peer: IpAddr, request: Request<Incoming>) -> Answer {
        let id = request_id::of(request.headers());
        let origin = request.headers().get(header::ORIGIN).cloned();
        let mut account = Account::open(id.clone(), self.observer.clone());
        let (head, mut body) = request.into_parts();
        let mut answer = match self.route(peer, &head, &mut body, &mut account).await {
            Ok(answer) => answer,
            Err(error) => {
                if error.status != StatusCode::REQUEST_TIMEOUT {
                    Box::pin(body::discard(&head.headers, &mut body)).await;
                }
                failure(&error, &mut account)
            }
        };
        account.answered(answer.status());
        if let AnswerBody::Whole(_) = answer.body() {
            account.close();
        }
        let headers = answer.headers_mut();
        headers.insert(request_id::HEADER, id);
        self.cors.decorate(origin.as_ref(), headers);
        answer
    }

    async fn route(
        self: &Arc<Self>,
        peer: IpAddr,
        head: &Parts,
        body: &mut Incoming,
        account: &mut Account,
    ) -> Result<Answer, ApiError> {
        match (head.uri.path(), &head.method) {
            ("/sql", &Method::POST) => {
                account.route(Route::Sql);
                if !self.standing.is_harmless() {
                    return Err(ApiError::harmful_roles());
                }
                sql::answer(self, peer, head, body, account).await
            }
            ("/sql", &Method::OPTIONS) => {
                account.route(Route::Preflight);
                Ok(cors::preflight())
            }
            ("/sql", _) => Err(ApiError::method_not_allowed("POST, OPTIONS")),
            ("/health/live" | "/health/ready", method) => {
                account.route(Route::Health);
                Box::pin(health::answer(self, head.uri.path(), method)).await
            }
            _ => Err(ApiError::not_found()),
        }
    }
}

/// The answer that tells a client what went wrong.
fn failure(error: &ApiError, account: &mut Account) -> Answer {
    account.failed(error);
    let mut answer = json(error.status, error.to_json());
    let headers = answer.headers_mut();
    if let Some(seconds) = error.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(challenge) = error.challenge {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    if let Some(methods) = error.allow {
        headers.insert(header::ALLOW, HeaderValue::from_static(methods));
    }
    answer
}

/// An answer that is sent whole.
#[must_use]
pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(AnswerBody::whole(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
