//! The development environment: a private `PostgreSQL`, a demo issuer, a gateway in this process.
//!
//! Must never be reachable from `rowgate serve`: what is made here is for one person's machine.

pub mod home;
pub mod issuer;
pub mod postgres;
pub mod secret;
