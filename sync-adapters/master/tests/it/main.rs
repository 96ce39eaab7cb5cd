//! The HTTP master: what it serves, to whom, and what a branch makes of it.

mod bad_input;
mod client;
mod routes;
mod slave;
mod support;
mod tenants;
mod tokens;
