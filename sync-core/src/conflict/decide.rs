//! A policy of the host's own, from a closure.

use std::fmt;

use super::{Conflict, ConflictPolicy, Resolution};

/// Turns a closure into a policy. See [`decide`].
pub struct Decide<F> {
    decision: F,
}

/// A policy that asks this closure.
///
/// *Laws.* The closure must keep them: the same conflict gives the same resolution, without looking at the time, at
/// randomness or at anything it remembers, and its own outcome coming in again changes nothing. It counts as
/// [`Claim::Coordinated`](super::Claim::Coordinated); a policy that claims more implements [`ConflictPolicy`] itself.
///
/// *Delete against edit.* The closure sees deletes too: [`Change::op`](crate::model::Change::op) tells.
///
/// ```
/// use sync_core::conflict::{Resolution, decide};
/// let closed_stay_closed = decide(|conflict| match conflict.existing.named("closed") {
///     Some(sync_core::ValueRef::Bool(true)) => Resolution::KeepExisting,
///     _ => Resolution::TakeIncoming,
/// });
/// # let _: &dyn sync_core::ConflictPolicy = &closed_stay_closed;
/// ```
pub fn decide<F>(decision: F) -> Decide<F>
where
    F: Fn(&Conflict<'_>) -> Resolution + Send + Sync,
{
    Decide { decision }
}

impl<F> ConflictPolicy for Decide<F>
where
    F: Fn(&Conflict<'_>) -> Resolution + Send + Sync,
{
    fn resolve(&self, conflict: &Conflict<'_>) -> Resolution {
        (self.decision)(conflict)
    }
}

impl<F> fmt::Debug for Decide<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decide").finish_non_exhaustive()
    }
}
