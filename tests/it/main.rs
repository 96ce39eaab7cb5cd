//! Tests that need more than one crate.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod adversary_engine;
mod killed;
