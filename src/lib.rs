//! Rowgate: an authorization gateway that lets `PostgreSQL` itself decide who sees which row.
//!
//! The modules in the order in which a request meets them:
//!
//! 1. [`server`] accepts connections and drains them on shutdown; [`http`] routes, limits and answers.
//! 2. [`auth`] turns the `Authorization` header into an identity: anonymous, or verified claims.
//! 3. [`admit`] decides how much trust a statement's text deserves.
//! 4. [`session`] runs identity and statements as one pipelined transaction on a connection of [`pg`].
//! 5. [`json`] turns parameters into Postgres' text format and rows into JSON bytes.
//! 6. [`error`] maps every failure to a status, a code and a message; [`observe`] to logs and metrics.
//!
//! Beside that path: [`config`], the command line ([`cli`]), SQL files ([`policy`]), what they
//! amount to ([`show`]) and do to one statement ([`explain`]), what is wrong with it ([`lint`]), tests of it
//! ([`policy_test`]), and the development environment ([`dev`]).

#![forbid(unsafe_code)]
#![warn(missing_docs, clippy::pedantic)]
#![allow(clippy::missing_errors_doc)]

pub mod admit;
pub mod auth;
pub mod cli;
pub mod config;
pub mod dev;
pub mod error;
pub mod explain;
pub mod harden;
pub mod http;
pub mod json;
pub mod lint;
pub mod observe;
pub mod pg;
pub mod places;
pub mod policy;
pub mod policy_test;
pub mod server;
pub mod session;
pub mod show;
