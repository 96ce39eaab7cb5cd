//! The HTTP master of two-way sync.

mod client;
mod refusal;
mod server;
mod wire;

pub use client::{HttpMaster, Tokens};
pub use server::{ActedAs, Audit, CursorKey, Keys, Limits, Routes, TracingAudit};
