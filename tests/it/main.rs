//! Every behaviour of the gateway, against a real `PostgreSQL` and real HTTP.

mod harness;
mod identity;
