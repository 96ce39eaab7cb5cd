//! Which of two states of a row stays.

use std::fmt::Debug;

use crate::model::{Change, Key, Row, StreamSpec, Value};
use crate::sink::Guard;

mod guard;
mod order;

pub use order::{order, order_changes, order_with_origin};

/// Two states of one row that meet.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Conflict<'a> {
    /// The stream.
    pub stream: &'a StreamSpec,
    /// The key both share.
    pub key: &'a Key,
    /// What both started from, where it is known.
    pub base: Option<Row<'a>>,
    /// What is stored.
    pub existing: Row<'a>,
    /// What comes in.
    pub incoming: Change<'a>,
}

impl<'a> Conflict<'a> {
    /// A conflict without a known base.
    pub fn new(stream: &'a StreamSpec, key: &'a Key, existing: Row<'a>, incoming: Change<'a>) -> Self {
        Self { stream, key, base: None, existing, incoming }
    }

    /// The same, with what both started from.
    #[must_use]
    pub fn with_base(mut self, base: Row<'a>) -> Self {
        self.base = Some(base);
        self
    }
}

/// What a policy decides.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Resolution {
    /// The incoming change is applied.
    TakeIncoming,
    /// The existing row stays.
    KeepExisting,
    /// This row is written: values in the order of the stream's schema.
    Merge(Vec<Value>),
    /// A person decides later; until then the existing row stays.
    Park(String),
}

/// Decides which of two states of a row stays.
///
/// # The specification
///
/// *Pure and deterministic.* The same conflict gives the same resolution, everywhere; no time, no randomness, no I/O.
///
/// *Idempotent.* Applying the outcome again against itself changes nothing.
///
/// *Order.* A policy that calls itself [`Claim::Convergent`] gives the same final row in whatever order changes meet.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `ConflictPolicy`",
    note = "a closure becomes one through `sync_core::conflict::decide`"
)]
pub trait ConflictPolicy: Debug + Send + Sync {
    /// Decides.
    fn resolve(&self, conflict: &Conflict<'_>) -> Resolution;

    /// What a sink may evaluate for it while it writes. `None` means that the engine must read back and ask.
    fn guard(&self) -> Option<Guard> {
        None
    }

    /// What it promises about the order of changes.
    fn claim(&self) -> Claim {
        Claim::Coordinated
    }

    /// Whether it needs the stream to declare a version column.
    fn needs_version(&self) -> bool {
        false
    }
}

/// What a policy promises about the order of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Claim {
    /// Any order gives the same final row: replicas need no referee.
    Convergent,
    /// One place must decide.
    Coordinated,
}
