//! Where a reader of an API stands: the typed form of its cursor.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sync_core::model::Timestamp;
use sync_core::{Cursor, Error, ErrorKind, Result, Value};

const FORMAT: u32 = 1;

/// A position between two pages.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Position {
    /// The version asked for in this listing: it stays in force until the listing has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<Value>,
    /// The highest version seen in this listing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) high: Option<Value>,
    /// The next page.
    #[serde(skip_serializing_if = "PageAt::is_start")]
    pub(crate) page: PageAt,
    /// When the first page of this listing was sent, by the other side's clock. What changed later may have been missed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) started: Option<Timestamp>,
    /// Whether pages that were read once are read again, to see whether rows slipped from one to another.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) again: bool,
    /// Pages of this listing so far.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) pages: u64,
    /// Records of this listing so far.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) records: u64,
    /// Records of the first page: the size of a page where the other side caps it.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) first_page: u64,
    /// The total that the first page named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) total: Option<u64>,
    /// Something makes it unsure that every row was seen: the listing proves no absence.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) doubt: bool,
    /// A row may have slipped past us: the version asked for stays where it is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) slipped: bool,
    /// The slice of dates under way, or the next one of a read that is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) slice: Option<Slice>,
    /// The window that the slice is a part of, where it was halved and is replaced as one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) part_of: Option<Slice>,
    /// Everything before this instant has been read, slice by slice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) covered: Option<Timestamp>,
    /// The same for the further passes, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) passes: BTreeMap<String, Timestamp>,
    /// The further pass that the slice belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pass: Option<String>,
}

/// A half-open range of instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Slice {
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
}

/// Which page comes next.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PageAt {
    #[default]
    Start,
    Number(u64),
    Offset(u64),
    Token(String),
    Address(String),
    After(Value),
}

impl PageAt {
    fn is_start(&self) -> bool {
        *self == Self::Start
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Position {
    pub(crate) fn cursor(&self) -> Result<Cursor> {
        Cursor::new(FORMAT, self)
    }

    /// # Errors
    /// `Gone` when it is no position of this adapter.
    pub(crate) fn read(cursor: &Cursor) -> Result<Self> {
        cursor.read(FORMAT)
    }

    /// Whether a listing is under way.
    pub(crate) fn is_inside(&self) -> bool {
        self.pages > 0 || self.again
    }

    /// The position before the second look at a listing.
    pub(crate) fn second_look(&self) -> Self {
        Self { page: PageAt::Start, pages: 0, records: 0, again: true, ..self.clone() }
    }

    /// Whether the window at hand was begun before: a listing is under way, or a part of the window is behind us.
    pub(crate) fn goes_on(&self) -> bool {
        let part = self.part_of.zip(self.slice);
        self.is_inside() || part.is_some_and(|(whole, slice)| slice.from > whole.from)
    }

    /// The position where this listing begins.
    pub(crate) fn restarted(&self) -> Self {
        let (slice, part_of) = (self.slice, self.part_of);
        Self { since: self.since.clone(), slice, part_of, ..self.between() }
    }

    /// The position between two windows.
    pub(crate) fn between(&self) -> Self {
        Self { covered: self.covered, passes: self.passes.clone(), pass: self.pass.clone(), ..Self::default() }
    }

    /// Up to where a pass has been read.
    pub(crate) fn covered(&self, pass: Option<&str>) -> Option<Timestamp> {
        pass.map_or(self.covered, |name| self.passes.get(name).copied())
    }

    /// Notes up to where a pass has been read. It never goes back.
    pub(crate) fn cover(&mut self, pass: Option<&str>, until: Timestamp) {
        let until = self.covered(pass).map_or(until, |known| known.max(until));
        match pass {
            None => self.covered = Some(until),
            Some(name) => {
                self.passes.insert(name.to_owned(), until);
            }
        }
    }
}

pub(crate) fn foreign() -> Error {
    Error::new(ErrorKind::Gone, "the saved cursor belongs to another way of paging")
}
