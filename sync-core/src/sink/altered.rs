//! What became of a target's columns when it was made ready.

use serde::Serialize;

use crate::model::StreamSpec;

/// What [`Sink::prepare`](super::Sink::prepare) changed in a target that was there. A sink gives the plain names of columns; a run's
/// report puts their stream before them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Altered {
    /// Columns that were added, be they newly declared or gone from it: rows that it holds have no value in them.
    pub added: Vec<String>,
    /// Columns that were too narrow for what the stream declares, and hold it now.
    pub widened: Vec<String>,
}

impl Altered {
    /// Takes on what was changed in the target of a stream, under the names `stream.column`.
    pub(crate) fn extend(&mut self, stream: &StreamSpec, altered: Self) {
        let named = |column: String| format!("{}.{column}", stream.name());
        self.added.extend(altered.added.into_iter().map(named));
        self.widened.extend(altered.widened.into_iter().map(named));
    }
}
