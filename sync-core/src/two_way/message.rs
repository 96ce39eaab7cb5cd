//! What a branch and its master say to each other, whatever carries it.

use serde::{Deserialize, Serialize};

use super::{Hlc, Position};
use crate::model::{Key, Value};

/// Who speaks: a replica in one of its lives. One that was restored from a backup begins another life, since it would use
/// numbers again that stand for other writes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Peer {
    /// The replica's name.
    pub name: String,
    /// Its life.
    pub life: u64,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}#{}", self.name, self.life)
    }
}

/// One write of a branch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Edit {
    /// Its number: it grows, and is never used again in this life.
    pub op: u64,
    /// The table.
    pub table: String,
    /// The row.
    pub key: Key,
    /// The master's `rev` that the writer had seen; 0 is none.
    pub base: u64,
    /// When.
    pub hlc: Hlc,
    /// The row before; `None` where there was none.
    pub before: Option<Vec<Value>>,
    /// The row after; `None` where it was deleted.
    pub after: Option<Vec<Value>>,
}

/// Writes of one transaction: applied whole, or not at all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// The number of the last write of the group before it; 0 for the first of a life.
    pub previous: u64,
    /// The writes, in order.
    pub edits: Vec<Edit>,
}

/// What a branch brings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Push {
    /// Who.
    pub peer: Peer,
    /// The groups, in order.
    pub groups: Vec<Group>,
    /// What the master knew the branch by, as its [pages](Page::known_as) told: one that knows it by another name takes nothing.
    #[serde(default)]
    pub known_as: Option<String>,
    /// Whether a group of several writes that would have to wait is refused instead, with the code `would_wait`: it comes again in
    /// parts, so that none waits for what is wrong with another.
    #[serde(default)]
    pub in_parts: bool,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Became {
    /// It stands as it was written, over the row that the branch had seen.
    Applied,
    /// The row had changed meanwhile, and this edit took the place of that change.
    Prevailed,
    /// The row had changed meanwhile, and both edits went into it.
    Merged,
    /// The row had changed meanwhile, and stays as it was there.
    Overruled,
    /// It waits in the inbox for a person, or for a row that is missing.
    Waits,
}

/// The answer to one write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EditResult {
    /// The write's number.
    pub op: u64,
    /// The table.
    pub table: String,
    /// What became of it.
    pub became: Became,
    /// The row's `rev` at the master afterwards.
    pub rev: u64,
    /// The row at the master afterwards; `None` where it is not there.
    pub row: Option<Vec<Value>>,
    /// When that row was written.
    pub hlc: Hlc,
    /// Whether its time lay in the future and was set back.
    pub clamped: bool,
}

/// The answer to a push.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pushed {
    /// The branch's last write that is durable here.
    pub last_op: u64,
    /// What became of each.
    pub results: Vec<EditResult>,
}

/// What a branch asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// Who.
    pub peer: Peer,
    /// How far it has read; `None` is the beginning.
    pub from: Option<Position>,
    /// Its last write whose answer it holds: what it wrote up to there need not come back.
    pub answered: u64,
    /// Writes that wait in the master's inbox, as far as it knows, by life and number: it asks what became of them.
    pub waiting: Vec<(u64, u64)>,
    /// How many rows it wants, about: a group is never cut. With 0 the page only says where it begins.
    pub limit: usize,
    /// Whether this life alone writes under the name from now on: what other lives that said so before still have on their way is
    /// refused, with the code `ended`. For one that keeps no books of its own, and must not look at rows while a push that it knows
    /// nothing of may yet change them.
    #[serde(default)]
    pub alone: bool,
}

/// Rows that somebody asks for by their keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lookup {
    /// Who asks, where it writes under this name: what of its own writes waits is told as if it had been taken.
    #[serde(default)]
    pub peer: Option<String>,
    /// The table.
    pub table: String,
    /// The rows.
    pub keys: Vec<Key>,
}

/// What stands under a key.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Found {
    /// The master's `rev` of it; 0 where it is not there.
    pub rev: u64,
    /// The row; `None` where it is not there.
    pub row: Option<Vec<Value>>,
    /// Whether the row is as it will be once what the one who asks has written before is taken: it waits in the inbox.
    #[serde(default)]
    pub waits: bool,
    /// A write that is made now is later than this.
    #[serde(default)]
    pub hlc: Hlc,
}

/// One row in a page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// The transaction; items of one stand together.
    pub group: u64,
    /// The table.
    pub table: String,
    /// The row.
    pub key: Key,
    /// The master's `rev`.
    pub rev: u64,
    /// When it was written.
    pub hlc: Hlc,
    /// Who wrote it first.
    pub origin: String,
    /// The number of the write there.
    pub op: u64,
    /// The row; `None` where it is gone, or no longer the branch's.
    pub row: Option<Vec<Value>>,
}

/// Changes, in order, as they stood at one moment together with `last_op`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// The rows, whole groups only.
    pub items: Vec<Item>,
    /// How far this page reads.
    pub next: Position,
    /// Whether more is there already.
    pub more: bool,
    /// Whether these rows are part of a first load: what it does not name is gone.
    pub load: bool,
    /// The branch's last write that is durable here, in this life.
    pub last_op: u64,
    /// Answers to writes that waited, decided meanwhile.
    pub decided: Vec<EditResult>,
    /// The master's clock.
    pub clock: Hlc,
    /// What the master knows the one by who asked, where it has several: their rows, and the numbers of their edits, are their own.
    #[serde(default)]
    pub known_as: Option<String>,
}
