//! Existing wins: what is stored is never replaced.

use super::{Conflict, ConflictPolicy, Resolution};
use crate::sink::Guard;

/// The existing row always stays.
///
/// For targets whose rows belong to somebody else once they are there.
///
/// *Laws.* Deterministic and idempotent. The first to arrive stays, so the order matters:
/// [`Claim::Coordinated`](super::Claim::Coordinated).
///
/// *Delete against edit.* The delete is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExistingWins;

impl ConflictPolicy for ExistingWins {
    fn resolve(&self, conflict: &Conflict<'_>) -> Resolution {
        conflict.by_guard(Guard::Never)
    }

    fn guard(&self) -> Option<Guard> {
        Some(Guard::Never)
    }
}
