//! The HTTP master: what it serves, to whom, and what a branch makes of it.

#![allow(clippy::disallowed_methods, reason = "the other ends of these tests are routers of their own")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod as_sink;
mod as_sink_attacked;
mod as_source;
mod bad_input;
mod client;
mod live;
mod lives;
mod rooms;
mod routes;
mod slave;
mod support;
mod tenants;
mod tokens;
