//! What the core promises, tested from outside: its laws, and the engine over in-memory adapters.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod beginning;
mod beginning_attacked;
mod engine;
mod events;
mod late;
mod laws;
mod two_way;
