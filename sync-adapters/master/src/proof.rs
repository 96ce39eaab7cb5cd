//! What the compiler says of a route without a policy. Nothing here is for hosts, and all of it may change.
//!
//! A route is made of its path and its policy:
//!
//! ```
//! use sync_master::proof::{Policy, Route};
//!
//! fn rows(policy: Policy) -> Route {
//!     Route::get("/api/sync/rows", policy)
//! }
//! ```
//!
//! and of nothing less:
//!
//! ```compile_fail,E0061
//! use sync_master::proof::{Policy, Route};
//!
//! fn rows(_policy: Policy) -> Route {
//!     Route::get("/api/sync/rows")
//! }
//! ```
//!
//! A policy is made of its handler:
//!
//! ```
//! use sync_master::proof::{Guarded, Policy, Route};
//!
//! fn rows(handler: Guarded) -> Route {
//!     Route::get("/api/sync/rows", Policy::Token(handler))
//! }
//! ```
//!
//! which does not stand in its place:
//!
//! ```compile_fail,E0308
//! use sync_master::proof::{Guarded, Policy, Route};
//!
//! fn rows(handler: Guarded) -> Route {
//!     Route::get("/api/sync/rows", handler)
//! }
//! ```
//!
//! What is open to everybody says why:
//!
//! ```
//! use sync_master::proof::{Policy, Unguarded};
//!
//! fn open(handler: Unguarded) -> Policy {
//!     Policy::Open { why: "it holds nothing of anybody", handler }
//! }
//! ```
//!
//! or is not made:
//!
//! ```compile_fail,E0063
//! use sync_master::proof::{Policy, Unguarded};
//!
//! fn open(handler: Unguarded) -> Policy {
//!     Policy::Open { handler }
//! }
//! ```

pub use crate::server::policy::{Guarded, Known, Policy, Route, Unguarded};
