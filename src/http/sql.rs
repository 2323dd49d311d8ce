//! `POST /sql`: SQL over HTTP, as the serverless drivers of Neon speak it.

mod options;
mod payload;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::http::request::Parts;
use tokio::sync::mpsc;
use tokio::time::timeout_at;

use super::account::Account;
use super::body::{self, AnswerBody, Piece};
use super::{Answer, Gateway, json};
use crate::error::ApiError;
use crate::session::{Progress, Running};
use options::Options;
use payload::Payload;

/// Answers one call.
pub async fn answer(
    gateway: &Arc<Gateway>,
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
    let server = &gateway.config.server;
    let limits = &gateway.config.limits;
    let body = body::read(body, limits.request_bytes, server.body_timeout).await?;
    let payload = Payload::parse(&body)?;
    let request = payload.request(options, limits.batch_statements)?;

    let mut answer = if request.statements.is_empty() {
        json(StatusCode::OK, b"{\"results\":[]}".to_vec())
    } else {
        let mut queued = Duration::ZERO;
        let began = Instant::now();
        let result =
            gateway.sessions.run(&identity, &request, limits.stream_threshold, &mut queued).await;
        account.time(queued, began.elapsed().saturating_sub(queued));
        match result.map_err(ApiError::from)? {
            (running, Progress::Complete(bytes)) => {
                account.volume(running.volume());
                json(StatusCode::OK, bytes)
            }
            (running, Progress::Partial(bytes)) => {
                stream(running, bytes, account, server.write_timeout, limits.stream_threshold)
            }
        }
    };
    if request.batch {
        echo(&head.headers, answer.headers_mut());
    }
    Ok(answer)
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
    running: Running,
    first: Vec<u8>,
    account: &mut Account,
    write_timeout: Duration,
    threshold: usize,
) -> Answer {
    let (sender, body) = AnswerBody::streamed();
    account.answered(StatusCode::OK);
    let streaming = Streaming { sender, account: account.hand_over(), write_timeout, threshold };
    tokio::spawn(streaming.run(running, first));
    let mut answer = json(StatusCode::OK, Vec::new());
    *answer.body_mut() = body;
    answer
}

struct Streaming {
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
        let mut piece = first;
        loop {
            let patience = running.deadline().min(tokio::time::Instant::now() + self.write_timeout);
            if !self.send(Piece::More(piece.into()), patience).await {
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
                Ok(Progress::Partial(bytes)) => piece = bytes,
                Ok(Progress::Complete(bytes)) => {
                    drop(running);
                    let patience = tokio::time::Instant::now() + self.write_timeout;
                    if self.send(Piece::Last(bytes.into()), patience).await {
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

    /// Whether the client took the piece before `patience` ended.
    async fn send(&self, piece: Piece, patience: tokio::time::Instant) -> bool {
        matches!(timeout_at(patience, self.sender.send(piece)).await, Ok(Ok(())))
    }
}
