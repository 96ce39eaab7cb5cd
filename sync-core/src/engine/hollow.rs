//! Why rows have no value in a column that was added to their target.

use std::sync::Arc;

use super::options::Mode;
use super::scope_run::ScopeRun;
use crate::model::{Disposition, StreamSpec};
use crate::sink::Guard;

const LEFT_ALONE: &str = "rows that are there are left alone";
const NOT_ALL: &str = "not everything was read; a full run (`RunOptions::full`) brings them again";
const SAME_VERSION: &str = "a row of the same version was not looked at; a full run (`RunOptions::full`) looks at all";
pub(super) const CUT_SHORT: &str = "the run did not come to its end; a full run (`RunOptions::full`) brings them again";

impl ScopeRun<'_> {
    /// Why rows that came before will have no value in the columns that were added to the targets of these streams, if that is
    /// so even where this run comes to its end.
    pub(super) fn why_hollow(&self, grown: &[Arc<StreamSpec>]) -> Option<&'static str> {
        if grown.is_empty() {
            return None;
        }
        let left_alone = |stream: &Arc<StreamSpec>| {
            matches!(stream.writes(), Disposition::Append | Disposition::InsertOnly)
                || self.pipeline.guard(stream) == Some(Guard::Never)
        };
        let incremental = self.options.mode == Mode::Incremental;
        if self.options.new_only || grown.iter().any(left_alone) {
            Some(LEFT_ALONE)
        } else if self.unfilled.is_none() || (incremental && self.known.parts > 1) {
            // Another partition may go on from where it was.
            Some(NOT_ALL)
        } else if incremental && self.pipeline.compares_versions() {
            Some(SAME_VERSION)
        } else {
            None
        }
    }
}
