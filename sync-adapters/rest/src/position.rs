//! Where a reader of an API stands: the typed form of its cursor.

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
    /// Rows moved between pages, so one may have slipped past us: the version asked for stays where it is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) slipped: bool,
    /// The slice of dates under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) slice: Option<Slice>,
    /// Everything before this instant has been read, slice by slice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) covered: Option<Timestamp>,
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
        self.pages > 0
    }

    /// The position where this listing begins.
    pub(crate) fn restarted(&self) -> Self {
        Self { since: self.since.clone(), slice: self.slice, covered: self.covered, ..Self::default() }
    }
}

pub(crate) fn foreign() -> Error {
    Error::new(ErrorKind::Gone, "the saved cursor belongs to another way of paging")
}
