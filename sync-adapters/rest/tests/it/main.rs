//! The REST source against a real server on loopback that misbehaves on request: every line of the HTTP part of the
//! fault catalogue, and the roads beside it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod auth;
mod bodies;
mod config;
mod conformance;
mod engine;
mod example;
mod fan_out;
mod formats;
mod guards;
mod halving;
mod holds;
mod listings;
mod network;
mod pages;
mod partitions;
mod passes;
mod reading;
mod records;
mod redaction;
mod redirects;
mod rules;
mod server;
mod signing;
mod simulated;
mod slips;
mod slips_together;
mod statuses;
mod styles;
mod together;
mod tokens_attacked;
mod transforms;
mod unfolding;
mod unseen;
mod windows;
