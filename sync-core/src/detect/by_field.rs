//! Detects which fields of a row differ.

use super::content_hash::{self, FIELD_HASH, ROW_HASH};
use super::own_origin::OwnOrigin;
use super::{ChangeDetector, Difference, Fingerprint, Verdict};
use crate::model::{Change, FieldSet, Op, Origin, StreamSpec};

/// A row differs when any declared column differs, and the verdict says which.
///
/// The fingerprint holds 16 bytes for the row, which decide *whether* it differs, and 8 bytes for each column, which say
/// *where*. It says so from what it sees, not from what the source names. Where the fingerprint was taken under another
/// number of columns, the fields are those the source named.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ByField {
    own: OwnOrigin,
}

impl ByField {
    /// Compares every declared column.
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

impl ChangeDetector for ByField {
    fn fingerprint(&self, _: &StreamSpec, change: &Change<'_>) -> Fingerprint {
        if change.op() == Op::Delete {
            return Fingerprint::default();
        }
        let mut bytes = content_hash::of_row(change.row(), |_| true).to_vec();
        bytes.extend(content_hash::of_fields(change.row()).flatten());
        Fingerprint(bytes.into())
    }

    fn detect(&self, stream: &StreamSpec, change: &Change<'_>, known: Option<&Fingerprint>) -> Verdict {
        super::verdict(&self.own, change, known, |known| {
            let now = self.fingerprint(stream, change);
            let same_row = now.0.get(..ROW_HASH) == known.0.get(..ROW_HASH);
            (!same_row).then(|| differing_fields(&now, known).or_else(|| change.fields().cloned()))
        })
    }

    fn guard(&self) -> Option<Difference> {
        (!self.own.is_set()).then_some(Difference::Content)
    }
}

/// `None` where the two were taken under different columns, or no single field shows the difference.
fn differing_fields(now: &Fingerprint, known: &Fingerprint) -> Option<FieldSet> {
    if now.0.len() != known.0.len() {
        return None;
    }
    let (mine, theirs) = (now.0[ROW_HASH..].chunks_exact(FIELD_HASH), known.0[ROW_HASH..].chunks_exact(FIELD_HASH));
    let pairs = mine.zip(theirs).enumerate();
    let fields: FieldSet = pairs.filter(|(_, (mine, theirs))| mine != theirs).map(|(column, _)| column).collect();
    (!fields.is_empty()).then_some(fields)
}
