//! What tests share: a `PostgreSQL` cluster, an issuer, a gateway.

pub mod issuer;
