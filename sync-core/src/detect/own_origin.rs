//! Recognises changes of our own that come back.

use crate::model::{Change, Origin};

/// The name under which our own changes go out, where there is one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct OwnOrigin(Option<Origin>);

impl OwnOrigin {
    pub(super) fn named(origin: impl Into<Origin>) -> Self {
        Self(Some(origin.into()))
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Whether we made this change first.
    pub(super) fn made(&self, change: &Change<'_>) -> bool {
        self.0.is_some() && self.0.as_ref() == change.origin()
    }
}
