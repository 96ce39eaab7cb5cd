//! Where a reader of a source in memory stands.

use serde::{Deserialize, Serialize};

use crate::model::{Cursor, Key, Value};
use crate::{Error, Result};

const FORMAT: u32 = 1;

/// A position between two rows or two changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Position {
    /// In a first load: changes go on from `then` once all rows are through.
    Load { after: Option<Place>, then: Box<Position> },
    /// In a listing of all rows, or of a range.
    Listing { after: Option<Place> },
    /// Behind so many changes of the log.
    Log { head: u64 },
    /// At a version, inclusively.
    Version { from: Value },
}

/// The place of a row in a load: stream by stream, in the order of the load.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) stream: usize,
    /// Zero by key; otherwise what scatters it.
    pub(super) rank: u64,
    pub(super) key: Key,
}

impl Position {
    pub(super) fn cursor(&self) -> Result<Cursor> {
        Cursor::new(FORMAT, self)
    }

    /// # Errors
    /// `Gone` when it is no position of this source.
    pub(super) fn read(cursor: &Cursor) -> Result<Self> {
        cursor.read(FORMAT)
    }

    pub(super) fn foreign(&self) -> Error {
        Error::new(crate::ErrorKind::Gone, "the saved cursor belongs to another way of reading")
    }
}
