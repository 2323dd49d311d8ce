//! The data plane: connections that speak `PostgreSQL`'s protocol, and the pools that hold them.
//!
//! Knows frames, prepared statements and cancellation. Must never decide what a request may do, nor
//! know what a claim is: that is [`crate::session`]'s.

pub mod cancel;
pub mod catalog;
pub mod connect;
pub mod connection;
pub mod control;
pub mod description;
pub mod frame;
pub mod pool;
pub mod reset;
pub mod roles;
pub mod server_error;
pub mod session_key;
pub mod session_settings;
pub mod slots;
pub mod sql;
pub mod statements;
pub mod stream;
pub mod tls;
pub mod url;

use std::io;

pub use server_error::ServerError;

/// What can go wrong on a data-plane connection.
#[derive(Debug, thiserror::Error)]
pub enum PgError {
    /// The socket failed or the server closed it.
    #[error("connection to the database lost: {0}")]
    Io(#[from] io::Error),
    /// The server answered with an `ErrorResponse`.
    #[error("the database refused with {}", .0.code)]
    Server(Box<ServerError>),
    /// A message longer than the request may have.
    #[error("a message from the database exceeds the limit on answers")]
    FrameTooLong,
    /// Bytes that are not the protocol (version 3.0).
    #[error("the database server broke the protocol: {0}")]
    Protocol(&'static str),
    /// The server asked for a login method that the URL does not allow or that is not supported.
    #[error("cannot log in: {0}")]
    Login(&'static str),
    /// The TLS set-up failed.
    #[error("TLS with the database failed: {0}")]
    Tls(String),
    /// Every slot has its one connection already, here or at another gateway.
    #[error("all slots of role {0:?} are in use; make more with `rowgate migrate --slots`")]
    NoSlot(String),
    /// The server does not take the key that the connection would sign with.
    #[error("the database does not take the connection's key: {} ({})", .0.message, .0.code)]
    SessionKey(Box<ServerError>),
    /// No host of the URL could be used; the last one's reason.
    #[error("no usable database server: {0}")]
    NoHost(String),
}
