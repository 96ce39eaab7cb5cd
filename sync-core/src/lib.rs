//! The engine of a sync: reading, detecting, resolving, writing and proving.
//!
//! It knows no network, no database and no clock: adapters bring those in.

pub mod clock;
pub mod conflict;
pub mod detect;
pub mod engine;
mod error;
pub mod event;
pub mod json;
mod ledger;
pub mod memory;
pub mod model;
pub mod retry;
pub mod sink;
pub mod source;
pub mod state;
pub mod typed;

pub use clock::{Clock, SystemClock};
pub use conflict::ConflictPolicy;
pub use detect::ChangeDetector;
pub use engine::{Engine, Pipeline, Report, RunOptions};
pub use error::{Error, ErrorKind, Result, Retry, RowAt};
pub use ledger::Ledger;
pub use model::{Batch, Boundary, Changes, Cursor, Feed, Key, Rows, Schema, Scope, StreamSpec, Value, ValueRef};
pub use sink::Sink;
pub use source::{BatchStream, ReadRequest, Source};
pub use state::StateStore;
pub use typed::pages;
