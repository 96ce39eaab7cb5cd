//! Detects differences by content: 16 bytes for each row, whatever the source says of versions.

use std::collections::BTreeSet;

use super::content_hash;
use super::own_origin::OwnOrigin;
use super::{ChangeDetector, Difference, Fingerprint, Verdict};
use crate::model::{Change, Op, Origin, StreamSpec};

/// A row differs when any declared column differs, except the ignored ones.
///
/// The fingerprint is the first 16 bytes of BLAKE3 over the canonical form of name and value of each column, so it stays the
/// same over releases and machines, and a renamed column counts as different.
///
/// The fields it reports are those the source named.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ByHash {
    ignored: BTreeSet<String>,
    own: OwnOrigin,
}

impl ByHash {
    /// Compares every declared column.
    pub fn new() -> Self {
        Self::default()
    }

    /// Differences in these columns alone do not count: a `last_seen` that changes with every read. A sink compares all columns, so
    /// this takes the guard away and the engine asks for every change.
    #[must_use]
    pub fn ignoring<I: IntoIterator<Item: Into<String>>>(mut self, columns: I) -> Self {
        self.ignored.extend(columns.into_iter().map(Into::into));
        self
    }

    /// Changes of this origin are our own coming back: [`Verdict::Echo`]. A sink cannot tell, so this takes the guard away and
    /// the engine asks for every change.
    #[must_use]
    pub fn own_origin(mut self, origin: impl Into<Origin>) -> Self {
        self.own = OwnOrigin::named(origin);
        self
    }
}

impl ChangeDetector for ByHash {
    fn fingerprint(&self, _: &StreamSpec, change: &Change<'_>) -> Fingerprint {
        if change.op() == Op::Delete {
            return Fingerprint::default();
        }
        Fingerprint(content_hash::of_row(change.row(), |name| !self.ignored.contains(name)).into())
    }

    fn detect(&self, stream: &StreamSpec, change: &Change<'_>, known: Option<&Fingerprint>) -> Verdict {
        super::verdict(&self.own, change, known, |known| {
            (self.fingerprint(stream, change) != *known).then(|| change.fields().cloned())
        })
    }

    fn guard(&self) -> Option<Difference> {
        (self.ignored.is_empty() && !self.own.is_set()).then_some(Difference::Content)
    }
}
