//! Events as log lines.

use std::io::{self, IsTerminal as _};
use std::sync::OnceLock;

use tracing::Level;
use tracing_subscriber::EnvFilter;

use super::lines::{Lines, LinesGuard};
use super::{Event, RequestRecord, micros, request_line};
use crate::config::{LogConfig, LogFormat};

/// Where JSON lines go, if that is what is written.
static JSON_LINES: OnceLock<Lines> = OnceLock::new();

/// Sends log lines to standard output from a thread of its own; ends when the guard is dropped.
///
/// # Errors
///
/// The system has no thread to give.
pub fn start(config: &LogConfig) -> io::Result<LinesGuard> {
    let (lines, guard) = Lines::start(io::stdout())?;
    install(config, lines);
    Ok(guard)
}

fn install(config: &LogConfig, lines: Lines) {
    // tokio_postgres logs parameters at debug level: no filter may go below info for it.
    let filter = EnvFilter::new(format!("{},tokio_postgres=info", config.filter));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_writer(lines.clone());
    // An error means that a test or an embedding program has installed its own, which gets the events.
    match config.format {
        LogFormat::Json => {
            if builder.json().flatten_event(true).try_init().is_ok() {
                // Nobody else has set it: there is one subscriber for the whole process.
                let _ = JSON_LINES.set(lines);
            }
        }
        LogFormat::Pretty => {
            let _ = builder.with_ansi(io::stdout().is_terminal()).compact().try_init();
        }
    }
}

/// Writes an event as one line.
pub fn write(event: &Event) {
    match event {
        Event::RequestFinished(record) => request(record),
        Event::TokenVerified => {}
        Event::RevocationsRead { rows } => tracing::debug!(rows, "revocations read"),
        Event::RevocationsUnread { reason, stale: false } => {
            tracing::warn!(reason, "revocations could not be read; those known stay in force");
        }
        Event::RevocationsUnread { reason, stale: true } => {
            tracing::error!(
                reason,
                "revocations could not be read for too long; requests with a token are refused"
            );
        }
        Event::KeysRefreshed { issuer, keys } => tracing::info!(%issuer, keys, "keys refreshed"),
        Event::KeysRefreshFailed { issuer, reason, retry_in, keys_left_for: Some(left) } => {
            tracing::warn!(
                %issuer, reason, ?retry_in, keys_left_for = ?left,
                "keys could not be refreshed; those known stay in force"
            );
        }
        Event::KeysRefreshFailed { issuer, reason, retry_in, keys_left_for: None } => {
            tracing::error!(
                %issuer, reason, ?retry_in,
                "keys could not be obtained and none are known; tokens of this issuer are answered with 503"
            );
        }
        Event::KeysExpired { issuer, kept } => {
            tracing::error!(
                %issuer, ?kept,
                "keys could not be refreshed for too long and are given up; tokens of this issuer are \
                 answered with 503"
            );
        }
        Event::StatementStopped { terminated } => {
            tracing::info!(terminated, "a statement nobody waits for was stopped");
        }
        Event::CatalogRefreshFailed { reason } => {
            tracing::warn!(reason, "the catalogue could not be read again");
        }
        Event::RolesHarmful { reason } => {
            tracing::error!(reason, "a login role is no longer harmless; requests are refused");
        }
        Event::RolesMended => tracing::info!("the login roles are harmless again"),
        Event::RoleCheckFailed { reason } => {
            tracing::warn!(reason, "the login roles could not be looked at again");
        }
        Event::RoleWarning { warning } => tracing::warn!(warning, "login role"),
        Event::SealKeyTaken { kid } => tracing::info!(kid, "claims are sealed with this key"),
        Event::SealKeysUnusable { reason, in_force } => {
            tracing::warn!(reason, in_force, "no seal key could be found; the one in use is kept");
        }
        Event::SessionJwtInForce { version } => {
            tracing::info!(version, "claims are sealed as JWTs for the extension pg_session_jwt");
        }
        Event::SessionJwtRefused { reason } => {
            tracing::error!(
                reason,
                "the database did not believe a JWT of ours; the request was not run"
            );
        }
        Event::WaitingForDatabase { reason, limit } => {
            tracing::warn!(reason, ?limit, "waiting for the database");
        }
        Event::ConnectionFailed { reason } => {
            tracing::info!(reason, "a client's connection was ended without an answer of ours");
        }
        // One line for each would let a client fill the log.
        Event::ConnectionRefused { limit } => tracing::debug!(limit, "a connection was refused"),
        Event::Draining { limit } => tracing::info!(?limit, "draining"),
    }
}

fn request(record: &RequestRecord) {
    if let Some(lines) = JSON_LINES.get() {
        // The filter is asked as for any other event.
        if tracing::event_enabled!(Level::INFO) {
            request_line::add(record, lines);
        }
        return;
    }
    let token = record.token.as_deref();
    tracing::info!(
        id = record.id.to_str().unwrap_or_default(),
        route = record.route.name(),
        role = record.role,
        issuer = token.map(|token| &**token.issuer()),
        subject = token.map(crate::auth::VerifiedToken::subject_hash),
        status = record.status,
        code = record.code.as_deref(),
        rows = record.rows,
        bytes = record.bytes,
        queued_us = micros(record.queued),
        database_us = micros(record.database),
        total_us = micros(record.total),
        "request"
    );
}
