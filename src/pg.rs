//! The data plane: connections that speak `PostgreSQL`'s protocol, and the pools that hold them.

pub mod control;
pub mod tls;
pub mod url;
