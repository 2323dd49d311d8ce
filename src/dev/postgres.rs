//! A `PostgreSQL` of our own: its programs, its data directory, its life from start to stop.
//!
//! Must never touch a server or a data directory that it did not make itself.

pub mod binaries;
pub mod cluster;
pub mod place;

mod initdb;
mod leftover;
mod obtain;
mod supervisor;

pub use binaries::{Binaries, BinariesError};
pub use cluster::{Cluster, ClusterError, ClusterOptions};
pub use initdb::SUPERUSER;
