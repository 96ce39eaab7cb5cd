//! The engine of a sync: reading, detecting, resolving, writing and proving.
//!
//! It knows no network, no database and no clock: adapters bring those in. A host declares its streams, puts a source
//! and a sink into a [`Pipeline`], and runs it:
//!
//! ```
//! use std::sync::Arc;
//! use sync_core::memory::{MemorySink, MemorySource, MemoryStore};
//! use sync_core::model::Outcome;
//! use sync_core::{Engine, Pipeline, StreamSpec, SystemClock};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> sync_core::Result<()> {
//! let orders = StreamSpec::new("orders").key(["id"]).text("note");
//! let (source, sink) = (MemorySource::of([orders]), MemorySink::new());
//! source.upsert("orders", [1_i64.into(), "two pears".into()]);
//!
//! let store = MemoryStore::new(Arc::new(SystemClock::new()));
//! let engine = Engine::builder(store).pipeline(Pipeline::new("shop", source, sink.clone())).build()?;
//! let report = engine.run("shop").await?;
//! assert_eq!(report.ledger().count(Outcome::Created), 1);
//! assert_eq!(sink.rows("orders").len(), 1);
//! report.completed()
//! # }
//! ```
//!
//! # The shape of it
//!
//! | Module | Its idea |
//! |---|---|
//! | [`model`] | values in flat rows over a shared schema, changes to them, positions between them |
//! | [`source`], [`sink`] | what an adapter implements; the docs of the traits are their specification |
//! | [`detect`], [`conflict`] | whether a row differs, and which of two states of it stays |
//! | [`state`] | what must survive a restart: leases, checkpoints, run log, dead letters |
//! | [`engine`] | builder, the one run loop, ledger, report |
//! | [`json`], [`typed`] | rows from JSON bytes, and from and to any `serde` type |
//! | [`event`] | what happened, as data |
//! | [`retry`], [`clock`] | how often to try again; time and randomness from outside |
//! | [`two_way`] | branches and a master kept in step: push, pull, conflicts, the inbox |
//! | [`memory`] | source, sink and store in memory, for tests and trials |
//!
//! A source hands over batches, each ending at a [`Boundary`] that says whether one may stop there. The
//! engine gathers what is ready into a unit, and the sink applies a unit and its checkpoint in one transaction, or
//! nothing. The checkpoint carries a fencing token and a sequence, so that a holder that lost its lease writes nothing,
//! and a lost reply can be asked after.

pub mod address;
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
pub mod two_way;
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
pub use typed::{pages, pages_inclusive};
