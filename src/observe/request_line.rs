//! The log line of one request, as JSON.
//!
//! The same members in the same order as `tracing_subscriber` writes for other events, made in one pass: there is
//! one such line for each request, and the general way costs more than verifying its token.

use std::cell::RefCell;

use serde::Serialize;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::lines::Lines;
use super::{RequestRecord, micros};

#[derive(Serialize)]
struct RequestLine<'a> {
    timestamp: &'a str,
    level: &'static str,
    message: &'static str,
    id: &'a str,
    route: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    rows: u64,
    bytes: u64,
    queued_us: u64,
    database_us: u64,
    total_us: u64,
}

thread_local! {
    /// Timestamp and line of the request before, for their memory.
    static BUFFERS: RefCell<(String, Vec<u8>)> = const { RefCell::new((String::new(), Vec::new())) };
}

/// Adds the line of one request.
pub fn add(record: &RequestRecord, lines: &Lines) {
    BUFFERS.with_borrow_mut(|(timestamp, line)| {
        timestamp.clear();
        line.clear();
        // Writing to memory cannot fail, nor can what this consists of be unserializable.
        let _ = SystemTime.format_time(&mut Writer::new(timestamp));
        let _ = serde_json::to_writer(&mut *line, &RequestLine::of(record, timestamp));
        line.push(b'\n');
        lines.add(line);
    });
}

impl<'a> RequestLine<'a> {
    fn of(record: &'a RequestRecord, timestamp: &'a str) -> Self {
        let token = record.token.as_deref();
        Self {
            timestamp,
            level: "INFO",
            message: "request",
            id: record.id.to_str().unwrap_or_default(),
            route: record.route.name(),
            role: record.role,
            issuer: token.map(|token| &**token.issuer()),
            subject: token.map(crate::auth::VerifiedToken::subject_hash),
            status: record.status,
            code: record.code.as_deref(),
            rows: record.rows,
            bytes: record.bytes,
            queued_us: micros(record.queued),
            database_us: micros(record.database),
            total_us: micros(record.total),
        }
    }
}
