//! Tests that need more than one crate.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod attacked_loads;
mod attacked_masters;
mod bad_rows;
mod bench;
mod blamed;
mod gone;
mod killed;
mod late_commits;
mod listings;
mod lost_replies;
mod odd_rows;
mod odd_values_through_a_master;
mod readme;
mod replays;
mod stopping;
mod through_a_master;
