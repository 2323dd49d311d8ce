//! The log line of one request, as JSON.
//!
//! The same members in the same order as `tracing_subscriber` writes for other events, made in one pass: there is
//! one such line for each request, and the general way costs more than verifying its token.

use std::cell::RefCell;
use std::fmt::Write as _;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;

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

/// RFC 3339 §5.6, up to the fraction of a second.
const SECOND: StaticFormatDescription =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].");

/// The timestamp of the line before: most lines differ in the fraction only.
struct Timestamp {
    second: i64,
    text: String,
    /// Bytes of `text` before the fraction.
    whole: usize,
}

thread_local! {
    static TIMESTAMP: RefCell<Timestamp> =
        const { RefCell::new(Timestamp { second: i64::MIN, text: String::new(), whole: 0 }) };
    /// The line before, for its memory.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Adds the line of one request.
pub fn add(record: &RequestRecord, lines: &Lines) {
    TIMESTAMP.with_borrow_mut(|timestamp| {
        let line = RequestLine::of(record, timestamp.at(OffsetDateTime::now_utc()));
        LINE.with_borrow_mut(|bytes| {
            bytes.clear();
            // Neither writing to memory can fail, nor can anything that a line consists of.
            let _ = serde_json::to_writer(&mut *bytes, &line);
            bytes.push(b'\n');
            lines.add(bytes);
        });
    });
}

impl Timestamp {
    /// `now`, a time of UTC, in the form of all other log lines: to the microsecond.
    fn at(&mut self, now: OffsetDateTime) -> &str {
        if self.second != now.unix_timestamp() {
            self.second = now.unix_timestamp();
            // invariant: every year that a clock shows has a form.
            self.text = now.format(SECOND).unwrap_or_default();
            self.whole = self.text.len();
        }
        self.text.truncate(self.whole);
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{:06}Z", now.microsecond());
        &self.text
    }
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use time::macros::datetime;

    use super::*;
    use crate::observe::Route;

    #[test]
    fn timestamps_are_those_of_their_moment_whatever_came_before() {
        let mut timestamp = Timestamp { second: i64::MIN, text: String::new(), whole: 0 };
        let moments = [
            (datetime!(2026-11-21 23:59:59.000_007 UTC), "2026-11-21T23:59:59.000007Z"),
            (datetime!(2026-11-21 23:59:59.999_999 UTC), "2026-11-21T23:59:59.999999Z"),
            (datetime!(2026-11-22 00:00:00 UTC), "2026-11-22T00:00:00.000000Z"),
            // The clock may be set back.
            (datetime!(2026-11-21 23:59:59.1 UTC), "2026-11-21T23:59:59.100000Z"),
            (datetime!(1969-12-31 23:59:59.5 UTC), "1969-12-31T23:59:59.500000Z"),
        ];
        for (moment, text) in moments {
            assert_eq!(timestamp.at(moment), text);
        }
    }

    #[test]
    fn a_line_is_one_object_and_leaves_out_what_is_not_known() {
        let mut record = RequestRecord::new(hyper::header::HeaderValue::from_static("id-1"));
        record.route = Route::Sql;
        record.status = 401;
        record.code = Some("RG4011".into());
        let line = serde_json::to_string(&RequestLine::of(&record, "now")).unwrap();
        let expected = json!({
            "timestamp": "now", "level": "INFO", "message": "request", "id": "id-1", "route": "/sql",
            "status": 401, "code": "RG4011", "rows": 0, "bytes": 0, "queued_us": 0, "database_us": 0, "total_us": 0,
        });
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), expected);
        assert!(
            line.starts_with(
                r#"{"timestamp":"now","level":"INFO","message":"request","id":"id-1""#
            )
        );
    }
}
