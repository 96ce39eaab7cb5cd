//! The suites on the adapters in memory, and on broken twins that they must reject.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod engine;
mod fault;
mod memory;
mod policy;
mod replica;
mod replica_twins;
mod sink;
mod sink_twins;
mod source;
mod source_twins;
mod store;
mod store_twins;
