//! What tests share: a `PostgreSQL` cluster, an issuer, a gateway.

pub mod cluster;
pub mod gateway;
pub mod issuer;
