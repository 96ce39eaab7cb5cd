//! Known flaws that a simulation may plant, to prove that its oracles would catch them. Without the feature `planted-bugs`
//! none can be planted.

/// A flaw to plant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Flaw {
    /// The master takes every edit, whatever it was based on.
    NoBaseCheck,
    /// Deletes are not told to branches.
    DropTombstone,
    /// Of two edits the one with the later client time stays, although the other had seen it.
    ClientTimeOrder,
    /// A branch is taken to have read what it was only promised.
    AckBeyondServed,
    /// What a branch wrote comes back to it as news, and goes up again.
    NoOrigin,
    /// A page may end inside a group.
    SplitGroup,
    /// A write that comes again is applied again.
    NoIdempotency,
    /// The feed is cleaned up above the slowest reader.
    CleanTooEarly,
    /// An entry with the `rev` that is known already is taken for a newer one, and the newer one not.
    OffByOne,
    /// The position is saved before the rows are.
    CursorFirst,
}

/// The flaw that is planted, if any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Planted(#[cfg(feature = "planted-bugs")] pub(super) Option<Flaw>);

impl Planted {
    /// Whether this flaw is planted.
    #[cfg(feature = "planted-bugs")]
    pub(super) fn has(self, flaw: Flaw) -> bool {
        self.0 == Some(flaw)
    }

    /// Whether this flaw is planted: never, without the feature.
    #[cfg(not(feature = "planted-bugs"))]
    #[expect(clippy::unused_self, reason = "the same call with and without the feature")]
    pub(super) const fn has(self, _: Flaw) -> bool {
        false
    }
}
