//! The status file from outside: its form, its folder, its crashes, and what it says of runs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod folder;
mod form;
mod killed;
mod runs;
