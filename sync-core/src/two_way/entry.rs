//! The feed: what was committed at a replica, in an order that readers may follow.

use serde::{Deserialize, Serialize};

use super::{Hlc, Stamp};
use crate::model::{FieldSet, Key, Value};

/// One change of one row, as it was committed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place in the feed: later than every change that was visible before it.
    pub seq: u64,
    /// A random number of its own: where a feed was restored from a backup, the same place holds another one.
    pub nonce: u64,
    /// The transaction: its entries stand together in the feed and are applied together.
    pub group: u64,
    /// The table.
    pub table: String,
    /// The row.
    pub key: Key,
    /// When, by whom.
    pub stamp: Stamp,
    /// Whether it came from this replica's own upstream.
    pub upstream: bool,
    /// The row before; `None` where there was none.
    pub before: Option<Vec<Value>>,
    /// The row after; `None` where it was deleted.
    pub after: Option<Vec<Value>>,
}

impl Entry {
    /// The columns that changed; all of them for a new row, none for a delete.
    pub fn fields(&self) -> FieldSet {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => super::Table::differing(before, after),
            (None, Some(after)) => {
                let mut fields = FieldSet::new();
                (0..after.len()).for_each(|column| fields.insert(column));
                fields
            }
            (_, None) => FieldSet::new(),
        }
    }
}

/// What an [`Entry`] is, without its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outline {
    /// Its place in the feed.
    pub seq: u64,
    /// The transaction.
    pub group: u64,
    /// When it was written.
    pub hlc: Hlc,
    /// Whether it came from this replica's own upstream.
    pub upstream: bool,
}

impl Outline {
    /// That of an entry.
    pub fn of(entry: &Entry) -> Self {
        Self { seq: entry.seq, group: entry.group, hlc: entry.stamp.hlc, upstream: entry.upstream }
    }
}

/// Where a feed stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Head {
    /// The life of the feed: another one after the replica was restored from a backup.
    pub epoch: u64,
    /// The last entry's place; 0 before the first.
    pub seq: u64,
    /// Its nonce.
    pub nonce: u64,
    /// The highest place that was cleaned up: readers below it have missed deletes.
    pub trimmed: u64,
    /// The replica's count of writes.
    pub rev: u64,
}

/// How far a peer has read. Opaque outside: only the replica that gave it can read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// In the first load: rows after this key come next; when all are through, changes from `then` on.
    Load {
        /// The table that is read.
        table: String,
        /// The last row that was handed over.
        after: Option<Key>,
        /// Where the feed stood before the first row.
        then: Head,
        /// Where it stood behind the last row that was handed over.
        #[serde(default)]
        seen: Head,
    },
    /// Behind this entry, and not yet behind all that the first load may have handed over.
    Meanwhile {
        /// The entry.
        at: Head,
        /// Where the feed stood behind the last row of the load.
        seen: Head,
    },
    /// Behind this entry.
    Feed(Head),
    /// A position of a master that keeps its own to itself, such as one behind HTTP.
    Opaque {
        /// What the master gave.
        cursor: String,
        /// Whether it lies in the first load.
        loading: bool,
    },
}

impl Position {
    /// Whether it lies in the first load, with rows still to come that are not changes.
    pub fn is_loading(&self) -> bool {
        match self {
            Self::Load { .. } => true,
            Self::Meanwhile { .. } | Self::Feed(_) => false,
            Self::Opaque { loading, .. } => *loading,
        }
    }
}
