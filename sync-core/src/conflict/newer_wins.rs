//! Newer wins: what comes in is taken unless it is older than what is stored.

use super::{Conflict, ConflictPolicy, Resolution};
use crate::sink::Guard;

/// The incoming state is taken unless the stored version is higher.
///
/// For one-way ingest: a late page or a replayed dead letter cannot put an older state over a newer one, and a row that was
/// corrected at the source *without* a new version still gets through. (SymmetricDS calls it `NEWER_WINS`, Oracle
/// GoldenGate `USEMAXEQ`, Elasticsearch `external_gte`.) A stream without versions is simply overwritten.
///
/// *Laws.* Deterministic and idempotent. Of two different states with *equal* versions the one that comes later stays, so
/// the order matters: [`Claim::Coordinated`](super::Claim::Coordinated).
///
/// *Delete against edit.* A delete is taken unless its version is lower. One without version is taken: the source hands
/// changes of one key over in the order they happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NewerWins;

impl ConflictPolicy for NewerWins {
    fn resolve(&self, conflict: &Conflict<'_>) -> Resolution {
        conflict.by_guard(Guard::NotOlder)
    }

    fn guard(&self) -> Option<Guard> {
        Some(Guard::NotOlder)
    }
}
