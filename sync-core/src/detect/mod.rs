//! Whether an incoming row differs from what is known, and in which fields.

use std::fmt::Debug;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{Change, FieldSet, Op, Row, StreamSpec};

mod by_field;
mod by_hash;
mod by_version;
mod content_hash;
mod own_origin;

pub use by_field::ByField;
pub use by_hash::ByHash;
pub use by_version::ByVersion;
use own_origin::OwnOrigin;

/// What a detector remembers of a row: a version, a hash, or the hashes of its fields. An empty one says that the row was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub Box<[u8]>);

/// What a detector says about a change.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Nothing is known of this key.
    Created,
    /// It differs, in these columns.
    Updated {
        /// The columns that differ; `None` when the detector cannot tell which.
        fields: Option<FieldSet>,
    },
    /// It is a delete.
    Deleted,
    /// It does not differ.
    Unchanged,
    /// It is a change of our own coming back.
    Echo,
}

/// How a sink may decide by itself whether a stored row differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Difference {
    /// By comparing every declared column.
    #[default]
    Content,
    /// By comparing the version column alone: cheaper, and only as honest as the source's versions. An incoming row without a
    /// version is compared by content.
    Version,
}

impl Difference {
    /// Whether an incoming row differs from the one that exists under its key: one reading of it for every sink.
    pub fn between(self, stream: &StreamSpec, existing: Row<'_>, incoming: Row<'_>) -> bool {
        match (self, stream.version_of(incoming)) {
            (Self::Version, Some(version)) => stream.version_of(existing) != Some(version),
            _ => existing != incoming,
        }
    }
}

/// Says whether a change differs from what is known.
///
/// # The specification
///
/// *Pure.* The same arguments give the same answer, in every process and release; no time, no randomness, no I/O.
///
/// *Sound.* `detect(c, Some(&fingerprint(c)))` is `Unchanged` for every upsert `c`. A difference in a declared column that the
/// detector looks at is never `Unchanged`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `ChangeDetector`",
    note = "see `sync_core::detect` for the three that exist"
)]
pub trait ChangeDetector: Debug + Send + Sync {
    /// What to remember of this change.
    fn fingerprint(&self, stream: &StreamSpec, change: &Change<'_>) -> Fingerprint;

    /// Whether the change differs from what is known of its key.
    fn detect(&self, stream: &StreamSpec, change: &Change<'_>, known: Option<&Fingerprint>) -> Verdict;

    /// What a sink may evaluate for it while it writes. `None` means that the engine must read back and ask.
    fn guard(&self) -> Option<Difference> {
        None
    }

    /// Whether it takes rows of one version for the same, whatever else they hold. Runs that are there to repair (all but incremental
    /// ones) look at what rows hold all the same.
    fn compares_versions(&self) -> bool {
        self.guard() == Some(Difference::Version)
    }
}

#[deny(clippy::missing_trait_methods)]
impl<D: ChangeDetector + ?Sized> ChangeDetector for Arc<D> {
    fn fingerprint(&self, stream: &StreamSpec, change: &Change<'_>) -> Fingerprint {
        D::fingerprint(self, stream, change)
    }

    fn detect(&self, stream: &StreamSpec, change: &Change<'_>, known: Option<&Fingerprint>) -> Verdict {
        D::detect(self, stream, change, known)
    }

    fn guard(&self) -> Option<Difference> {
        D::guard(self)
    }

    fn compares_versions(&self) -> bool {
        D::compares_versions(self)
    }
}

/// What all detectors share: echoes, deletes and unknown keys. `difference` says how the change differs from what is known:
/// not at all, or in these fields where they can be told.
fn verdict(
    own: &OwnOrigin,
    change: &Change<'_>,
    known: Option<&Fingerprint>,
    difference: impl FnOnce(&Fingerprint) -> Option<Option<FieldSet>>,
) -> Verdict {
    if own.made(change) {
        return Verdict::Echo;
    }
    if change.op() == Op::Delete {
        return Verdict::Deleted;
    }
    match known.filter(|known| !known.0.is_empty()) {
        None => Verdict::Created,
        Some(known) => difference(known).map_or(Verdict::Unchanged, |fields| Verdict::Updated { fields }),
    }
}
