//! What each guard lets through: one reading of it for every sink.

use crate::model::{Change, Row, StreamSpec};
use crate::sink::Guard;

use super::order::{by_version, is_delete, order_changes};

impl Guard {
    /// Whether a change may replace the row that exists under its key.
    ///
    /// It says nothing about difference: a sink that finds both rows equal counts the change as unchanged and need not
    /// ask. Where no row exists there is nothing to guard.
    ///
    /// * [`Guard::Always`] lets everything through, [`Guard::Never`] nothing.
    /// * [`Guard::NotOlder`] lets a version through that is equal or higher; a row without version is the lowest. A
    ///   delete *without* version passes: many sources cannot version a delete, hand it over in the order it happened, and a
    ///   delete that never wins would keep rows for ever.
    /// * [`Guard::Newer`] lets through what stands higher in [`order_changes`]. There a delete
    ///   without version is the lowest, or replicas could not agree.
    pub fn admits(self, stream: &StreamSpec, existing: Row<'_>, incoming: Change<'_>) -> bool {
        self.replaces(stream, Change::upsert(existing), incoming)
    }

    /// Whether the later of two changes of one key stands for both, when neither is written yet.
    ///
    /// The same rules as for [`Guard::admits`], except that the earlier one may be a delete.
    pub fn replaces(self, stream: &StreamSpec, earlier: Change<'_>, later: Change<'_>) -> bool {
        match self {
            Self::Always => true,
            Self::NotOlder => {
                let unversioned_delete = is_delete(later) && stream.version_of(later.row()).is_none();
                unversioned_delete || by_version(stream, later.row(), earlier.row()).is_ge()
            }
            Self::Newer => order_changes(stream, later, earlier).is_gt(),
            Self::Never => false,
        }
    }
}
