//! Known bugs that a simulation may plant, to prove that its checks would catch them. Without the feature
//! `planted-bugs` none can be planted.

/// A bug to plant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(not(feature = "planted-bugs"), expect(unreachable_pub, reason = "planted by simulations alone"))]
#[non_exhaustive]
pub enum Bug {
    /// Rows of one key within a batch are all written, in whatever order.
    NoDedupe,
    /// What became of rows is computed as what is left over.
    LedgerBySubtraction,
    /// A listing that broke off counts as complete.
    DeleteFromPartialListing,
    /// The position is saved before the rows are.
    CursorFirst,
}

/// The bug that is planted in an engine, if any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Planted(#[cfg(feature = "planted-bugs")] pub(crate) Option<Bug>);

impl Planted {
    /// Whether this bug is planted.
    #[cfg(feature = "planted-bugs")]
    pub(crate) fn has(self, bug: Bug) -> bool {
        self.0 == Some(bug)
    }

    /// Whether this bug is planted: never, without the feature.
    #[cfg(not(feature = "planted-bugs"))]
    #[expect(clippy::unused_self, reason = "the same call with and without the feature")]
    pub(crate) const fn has(self, _: Bug) -> bool {
        false
    }
}
