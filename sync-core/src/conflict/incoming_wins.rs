//! Incoming wins: the source is always right.

use super::{Conflict, ConflictPolicy, Resolution};
use crate::sink::Guard;

/// The incoming state is always taken, whatever the versions say.
///
/// For a source that is the only authority and sends changes in order, or whose versions cannot be trusted.
///
/// *Laws.* Deterministic and idempotent. The last to arrive stays, so the order matters:
/// [`Claim::Coordinated`](super::Claim::Coordinated). A change that comes late overwrites a newer one.
///
/// *Delete against edit.* The delete is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IncomingWins;

impl ConflictPolicy for IncomingWins {
    fn resolve(&self, conflict: &Conflict<'_>) -> Resolution {
        conflict.by_guard(Guard::Always)
    }

    fn guard(&self) -> Option<Guard> {
        Some(Guard::Always)
    }
}
