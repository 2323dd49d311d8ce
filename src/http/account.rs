//! One request's account: what it cost and how it ended, reported exactly once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use hyper::header::HeaderValue;

use crate::auth::Identity;
use crate::error::ApiError;
use crate::observe::{Event, Observer, RequestRecord, Route};

/// Collects the facts of one request. Reports them when closed, or when dropped: then the client went
/// away before the answer was complete.
#[derive(Debug)]
pub struct Account {
    observer: Observer,
    began: Instant,
    record: Option<RequestRecord>,
}

impl Account {
    /// Opens the account of the request with this id.
    #[must_use]
    pub fn open(id: HeaderValue, observer: Observer) -> Self {
        Self { observer, began: Instant::now(), record: Some(RequestRecord::new(id)) }
    }

    fn record(&mut self, note: impl FnOnce(&mut RequestRecord)) {
        if let Some(record) = &mut self.record {
            note(record);
        }
    }

    /// Which route it took.
    pub fn route(&mut self, route: Route) {
        self.record(|record| record.route = route);
    }

    /// Who asked.
    pub fn identity(&mut self, identity: &Identity) {
        if let Identity::Verified(token) = identity {
            let token = Arc::clone(token);
            self.record(|record| record.token = Some(token));
        }
        self.record(|record| record.role = Some(identity.role()));
    }

    /// Time spent waiting for a connection, and in the database.
    pub fn time(&mut self, queued: Duration, database: Duration) {
        self.record(|record| {
            record.queued = queued;
            record.database = database;
        });
    }

    /// Further time in the database, while the answer is streamed.
    pub fn add_database_time(&mut self, more: Duration) {
        self.record(|record| record.database += more);
    }

    /// Rows and bytes of the answer.
    pub fn volume(&mut self, (rows, bytes): (u64, u64)) {
        self.record(|record| {
            record.rows = rows;
            record.bytes = bytes;
        });
    }

    /// The failure that the client is told of.
    pub fn failed(&mut self, error: &ApiError) {
        self.record(|record| {
            record.status = error.status.as_u16();
            record.code = Some(error.code.clone());
            record.limit = error.limit;
        });
    }

    /// The status line that is sent.
    pub fn answered(&mut self, status: StatusCode) {
        self.record(|record| record.status = status.as_u16());
    }

    /// Hands the account over to whoever sends the rest of the answer; this one reports nothing then.
    #[must_use]
    pub fn hand_over(&mut self) -> Self {
        Self { observer: self.observer.clone(), began: self.began, record: self.record.take() }
    }

    /// Reports.
    pub fn close(mut self) {
        self.report();
    }

    fn report(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.total = self.began.elapsed();
            self.observer.emit(&Event::RequestFinished(record));
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.record(|record| record.status = CLIENT_GONE);
        self.report();
    }
}

/// No status of HTTP: the client did not wait for one.
const CLIENT_GONE: u16 = 499;
