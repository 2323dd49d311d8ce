//! The development environment: a private `PostgreSQL`, a demo issuer, a gateway in this process.
//!
//! Must never be reachable from `rowgate serve`: what is made here is for one person's machine.

pub mod database;
pub mod environment;
pub mod gateway;
pub mod home;
pub mod issuer;
pub mod logins;
pub mod output;
pub mod postgres;
pub mod project;
pub mod secret;
pub mod shutdown;
pub mod watch;

mod seed;
mod startup;

pub use environment::{DevError, Options, run};
