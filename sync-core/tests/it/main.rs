//! What the core promises, over in-memory adapters.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod engine;
