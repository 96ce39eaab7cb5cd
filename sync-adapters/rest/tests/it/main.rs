//! The REST source against a real server on loopback that misbehaves on request.

mod reading;
mod server;
