//! Which of two states of a row stays.

use std::fmt::Debug;
use std::sync::Arc;

use crate::Result;
use crate::model::{Change, Key, Row, StreamSpec, Value, ValueRef};
use crate::sink::Guard;

mod addition;
mod counters;
mod decide;
mod existing_wins;
mod field_last_write_wins;
mod field_merge;
mod guard;
mod incoming_wins;
mod last_write_wins;
mod newer_wins;
mod order;
mod park;

pub use counters::Counters;
pub use decide::{Decide, decide};
pub use existing_wins::ExistingWins;
pub use field_last_write_wins::FieldLastWriteWins;
pub use field_merge::FieldMerge;
pub use incoming_wins::IncomingWins;
pub use last_write_wins::LastWriteWins;
pub use newer_wins::NewerWins;
pub use order::{order, order_changes, order_with_origin};
pub use park::Park;

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

    /// What this guard decides.
    fn by_guard(&self, guard: Guard) -> Resolution {
        if guard.admits(self.stream, self.existing, self.incoming) {
            Resolution::TakeIncoming
        } else {
            Resolution::KeepExisting
        }
    }

    /// This row, said as plainly as possible: one of the two sides where it equals one.
    fn merged(&self, row: &[ValueRef<'_>]) -> Resolution {
        if row.iter().copied().eq(self.existing.values()) {
            Resolution::KeepExisting
        } else if row.iter().copied().eq(self.incoming.row().values()) {
            Resolution::TakeIncoming
        } else {
            Resolution::Merge(row.iter().map(|&value| value.to_owned()).collect())
        }
    }
}

/// What stands in a counter when the change from `base` to `incoming` is added to what is there; `None` where that cannot be
/// said exactly.
pub(crate) fn add_to_counter(
    existing: ValueRef<'_>,
    base: ValueRef<'_>,
    incoming: ValueRef<'_>,
    kind: crate::model::Kind,
) -> Option<Value> {
    match addition::add_change(existing, base, incoming, kind) {
        addition::Sum::Exact(value) => Some(value),
        _ => None,
    }
}

/// Why a row that a host's policy has put together is not used: it has not one value for each column.
const MISSHAPEN: &str = "the policy gave a merged row that has not one value for each column";

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

    /// Says whether it fits the stream. Asked when the engine is built, before anything is read.
    ///
    /// # Errors
    /// `Config`, naming the stream and the column at fault.
    fn check(&self, stream: &StreamSpec) -> Result<()> {
        let _ = stream;
        Ok(())
    }
}

#[deny(clippy::missing_trait_methods)]
impl<P: ConflictPolicy + ?Sized> ConflictPolicy for Arc<P> {
    fn resolve(&self, conflict: &Conflict<'_>) -> Resolution {
        P::resolve(self, conflict)
    }

    fn guard(&self) -> Option<Guard> {
        P::guard(self)
    }

    fn claim(&self) -> Claim {
        P::claim(self)
    }

    fn needs_version(&self) -> bool {
        P::needs_version(self)
    }

    fn check(&self, stream: &StreamSpec) -> Result<()> {
        P::check(self, stream)
    }
}

/// What a policy promises about the order of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Claim {
    /// Any order gives the same final row: replicas need no referee. Where rows are deleted, that takes a target that keeps
    /// deletes as tombstones.
    Convergent,
    /// One place must decide.
    Coordinated,
}
