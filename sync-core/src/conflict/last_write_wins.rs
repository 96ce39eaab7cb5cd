//! Last write wins: of two states the one with the higher version stays, everywhere.

use super::{Claim, Conflict, ConflictPolicy, Resolution};
use crate::sink::Guard;

/// The state that stands higher in [`order_changes`](super::order_changes) stays: higher version, then delete before
/// edit, then content.
///
/// For two-way sync, where rows meet in different orders at different places.
///
/// *Laws.* The order is total, so the higher of two is commutative, associative and idempotent: this policy is
/// [`Claim::Convergent`]. With deletes that holds where the target keeps them as tombstones; one that forgets them lets an
/// older edit bring the row back.
///
/// *Delete against edit.* The higher version wins; a tie goes to the delete; a delete without version loses to every
/// row that has one.
///
/// *What it costs.* Of two concurrent edits the lower one is lost, whole. Where that must not happen, use
/// [`FieldMerge`](super::FieldMerge) or [`Counters`](super::Counters).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LastWriteWins;

impl ConflictPolicy for LastWriteWins {
    fn resolve(&self, conflict: &Conflict<'_>) -> Resolution {
        conflict.by_guard(Guard::Newer)
    }

    fn guard(&self) -> Option<Guard> {
        Some(Guard::Newer)
    }

    fn claim(&self) -> Claim {
        Claim::Convergent
    }

    fn needs_version(&self) -> bool {
        true
    }
}
