//! `POST /sql`: SQL over HTTP, as the serverless drivers of Neon speak it.

pub mod options;
pub mod payload;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::http::request::Parts;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::account::Account;
use super::body::{self, AnswerBody, Piece};
use super::compression::{Compression, Stream};
use super::{Answer, Gateway, client_address, json};
use crate::auth::Identity;
use crate::config::network::client_network;
use crate::error::ApiError;
use crate::places::{Caller, Place};
use crate::session::{Progress, Running};
use options::Options;
use payload::Payload;

/// Answers one call.
pub async fn answer(
    gateway: &Arc<Gateway>,
    peer: IpAddr,
    head: &Parts,
    body: &mut Incoming,
    account: &mut Account,
) -> Result<Answer, ApiError> {
    let identity = gateway
        .authenticator
        .authenticate(&head.headers)
        .await
        .map_err(|error| ApiError::from(&error))?;
    account.identity(&identity);
    let options = Options::read(&head.headers, &gateway.config)?;
    // Before the body is read: this bounds how many of a caller's bodies are in memory.
    let place = place(gateway, &identity, peer, &head.headers).await?;
    let server = &gateway.config.server;
    let limits = &gateway.config.limits;
    let body = body::read(body, limits.request_bytes, server.body_timeout).await?;
    let payload = Payload::parse(&body, limits)?;
    let request = payload.request(options)?;

    let compression = Compression::new(server.compress_from, &head.headers);
    let mut answer = if request.statements.is_empty() {
        json(StatusCode::OK, b"{\"results\":[]}".to_vec())
    } else {
        let mut queued = Duration::ZERO;
        let began = Instant::now();
        let result = gateway
            .sessions
            .run(&identity, &request, limits.stream_threshold, place.as_ref(), &mut queued)
            .await;
        account.time(queued, began.elapsed().saturating_sub(queued));
        match result.map_err(ApiError::from)? {
            (running, Progress::Complete(bytes)) => {
                account.volume(running.volume());
                // Its connection is free for others before anything else is done.
                drop(running);
                let (bytes, encoded) = compression.whole(bytes.into()).await;
                let mut answer = json(StatusCode::OK, bytes);
                encoded.label(&mut answer);
                answer
            }
            (running, Progress::Partial(bytes)) => {
                let (compressed, encoded) = compression.stream();
                let mut answer = stream(gateway, running, bytes, compressed, place, account);
                encoded.label(&mut answer);
                answer
            }
        }
    };
    if request.batch {
        echo(&head.headers, answer.headers_mut());
    }
    Ok(answer)
}

/// A place for one more request of this caller. Callers without a token are told apart by address; if a
/// proxy hides it, their pool alone bounds them all together.
async fn place(
    gateway: &Gateway,
    identity: &Identity,
    peer: IpAddr,
    headers: &HeaderMap,
) -> Result<Option<Place>, ApiError> {
    let Some(places) = &gateway.places else { return Ok(None) };
    let caller = match identity {
        Identity::Verified(token) => Caller::User(token.subject_number()),
        Identity::Anonymous => {
            let trusted = &gateway.config.server.trusted_proxies;
            match client_address::of(peer, headers, trusted) {
                Some(address) => Caller::Address(client_network(address)),
                None => return Ok(None),
            }
        }
    };
    Ok(Some(places.enter(caller).await.map_err(ApiError::from)?))
}

/// The transaction's options, as they were asked for.
fn echo(asked: &HeaderMap, headers: &mut HeaderMap) {
    for name in options::BATCH_HEADERS {
        if let Some(value) = asked.get(&name) {
            headers.insert(name, value.clone());
        }
    }
}

/// An answer that is larger than fits into memory comfortably: sent while the rows arrive.
fn stream(
    gateway: &Gateway,
    running: Running,
    first: Vec<u8>,
    compressed: Stream,
    place: Option<Place>,
    account: &mut Account,
) -> Answer {
    let (sender, body) = AnswerBody::streamed();
    account.answered(StatusCode::OK);
    let streaming = Streaming {
        compressed,
        _place: place,
        sender,
        account: account.hand_over(),
        write_timeout: gateway.config.server.write_timeout,
        threshold: gateway.config.limits.stream_threshold,
    };
    tokio::spawn(streaming.run(running, first));
    let mut answer = json(StatusCode::OK, Vec::new());
    *answer.body_mut() = body;
    answer
}

struct Streaming {
    compressed: Stream,
    /// The answer counts as in flight until its last piece was taken.
    _place: Option<Place>,
    sender: mpsc::Sender<Piece>,
    account: Account,
    write_timeout: Duration,
    threshold: usize,
}

impl Streaming {
    /// Sends piece after piece. When the client is gone or too slow, or the database fails, everything is
    /// dropped: that breaks the body off and cancels the statement. The connection is given back before
    /// the last piece waits for the client.
    async fn run(mut self, mut running: Running, first: Vec<u8>) {
        let mut bytes = first;
        loop {
            let patience = running.deadline().min(Instant::now() + self.write_timeout);
            if !self.send(bytes, false, patience).await {
                return;
            }
            let began = Instant::now();
            let next = tokio::select! {
                next = running.advance(self.threshold) => next,
                () = self.sender.closed() => return,
            };
            self.account.add_database_time(began.elapsed());
            self.account.volume(running.volume());
            match next {
                Ok(Progress::Partial(more)) => bytes = more,
                Ok(Progress::Complete(rest)) => {
                    drop(running);
                    let patience = Instant::now() + self.write_timeout;
                    if self.send(rest, true, patience).await {
                        self.account.close();
                    }
                    return;
                }
                Err(error) => {
                    self.account.failed(&error.into());
                    return self.account.close();
                }
            }
        }
    }

    /// Whether the client took these bytes before `patience` ended.
    async fn send(&mut self, bytes: Vec<u8>, last: bool, patience: Instant) -> bool {
        // The formats cannot fail on bytes in memory; if one did, breaking off is all that is left.
        let Ok(encoded) = self.compressed.piece(bytes, last).await else { return false };
        let piece = if last { Piece::Last(encoded) } else { Piece::More(encoded) };
        matches!(timeout_at(patience, self.sender.send(piece)).await, Ok(Ok(())))
    }
}
