//! Every behaviour of the gateway, against a real `PostgreSQL` and real HTTP.

mod admission;
mod bounds;
mod configuration;
mod crud_policy;
mod dev;
mod faults;
mod foreign_migrations;
mod harden;
mod harness;
mod hostile;
mod http_behaviour;
mod identity;
mod login_roles;
mod pg_session_jwt;
mod policies;
mod policy_edits;
mod postgres_tls;
mod role_watch;
mod seal_keys;
mod sealed_claims;
mod serving;
mod slots;
mod sql_over_http;
mod streaming;
mod types;
mod wire;
