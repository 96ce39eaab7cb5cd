//! Park: a person decides.

use super::{Conflict, ConflictPolicy, Resolution};
use crate::model::Op;

/// Every real conflict waits for a person; until then the existing row stays.
///
/// *Laws.* Deterministic and idempotent: equal rows are no conflict and are not parked. What stays depends on who decides
/// and when: [`Claim::Coordinated`](super::Claim::Coordinated).
///
/// *Delete against edit.* Parked like any other conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Park {
    reason: String,
}

impl Park {
    /// Parks for this reason, which the person reads. It must not hold a value of a row.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

impl ConflictPolicy for Park {
    fn resolve(&self, conflict: &Conflict<'_>) -> Resolution {
        if conflict.incoming.op() == Op::Upsert && conflict.incoming.row() == conflict.existing {
            return Resolution::KeepExisting;
        }
        Resolution::Park(self.reason.clone())
    }
}
