//! Every behaviour of the gateway, against a real `PostgreSQL` and real HTTP.

mod configuration;
mod dev;
mod harness;
