//! What the programs `master` and `slave` share: the tables, and how they are shown.
//!
//! Read on in this order: `bin/slave.rs`, then `sync` (what its `run` does), then `bin/master.rs`.

pub mod slave;
pub mod stock;
pub mod tables;
pub mod token;

/// What every step of these programs may end in.
pub type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;
