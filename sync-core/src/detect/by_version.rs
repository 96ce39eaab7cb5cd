//! Detects differences by version: cheap, and as honest as the source's versions.

use super::content_hash;
use super::own_origin::OwnOrigin;
use super::{ChangeDetector, Difference, Fingerprint, Verdict};
use crate::model::{Change, Op, Origin, StreamSpec, canonical};

/// A row differs when its version differs, in either direction; which of the two stays is the affair of the policy.
///
/// A row *without* version is compared by content: two rows that both lack one need not be equal. A source that corrects a
/// row and keeps its version is not noticed by an incremental run; [`ByHash`](super::ByHash) notices. Full runs, backfills and
/// reconciles notice as well: they compare what rows hold.
///
/// The fields it reports are those the source named.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ByVersion {
    own: OwnOrigin,
}

impl ByVersion {
    /// Compares versions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes of this origin are our own coming back: [`Verdict::Echo`]. A sink cannot tell, so this takes the guard away and
    /// the engine asks for every change.
    #[must_use]
    pub fn own_origin(mut self, origin: impl Into<Origin>) -> Self {
        self.own = OwnOrigin::named(origin);
        self
    }
}

impl ChangeDetector for ByVersion {
    fn fingerprint(&self, stream: &StreamSpec, change: &Change<'_>) -> Fingerprint {
        if change.op() == Op::Delete {
            return Fingerprint::default();
        }
        let mut bytes = Vec::new();
        match stream.version_of(change.row()) {
            Some(version) => canonical::encode(version, &mut bytes),
            None => bytes.extend(content_hash::of_row(change.row(), |_| true)),
        }
        Fingerprint(bytes.into())
    }

    fn detect(&self, stream: &StreamSpec, change: &Change<'_>, known: Option<&Fingerprint>) -> Verdict {
        super::verdict(&self.own, change, known, |known| {
            (self.fingerprint(stream, change) != *known).then(|| change.fields().cloned())
        })
    }

    fn guard(&self) -> Option<Difference> {
        (!self.own.is_set()).then_some(Difference::Version)
    }

    fn compares_versions(&self) -> bool {
        true
    }
}
