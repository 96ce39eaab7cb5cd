//! How far a scope has got.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::FencingToken;
use crate::model::{Cursor, Frontier, Key, RowScope, Tally};

/// The name of rows that are stored but not visible yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StageName(String);

impl StageName {
    /// A stage of this name: lower-case letters, digits and underscores, so that it can be part of a table's name.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A listing that is being staged, so that a restart continues it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenStage {
    /// Where its rows are.
    pub stage: StageName,
    /// Which rows the listing speaks for.
    pub rows: RowScope,
    /// Rows staged so far.
    pub staged: u64,
    /// Where reading stood when it was opened: from there, a listing that is forgotten comes again.
    #[serde(default)]
    pub before: Option<Cursor>,
    /// Whether the stage only sorts a first load: then it holds part of the stream, and nothing is inferred from what
    /// it does not name.
    pub first_load: bool,
    /// Whether only keys are staged.
    pub keys_only: bool,
    /// Rows that the listing named and that went to the dead letters.
    #[serde(default)]
    pub spared: Spared,
}

/// Rows that a listing named although they are not staged: they are not gone (P19).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Spared {
    keys: Vec<(String, Key)>,
    unknown: bool,
}

impl Spared {
    /// The most keys that are remembered. With more, the listing proves nothing.
    const MOST: usize = 1000;

    /// One more row of a stream; without its key, the listing proves nothing any more.
    pub fn add(&mut self, stream: &str, key: Option<&Key>) {
        match key {
            Some(key) if self.keys.len() < Self::MOST => self.keys.push((stream.to_owned(), key.clone())),
            _ => self.unknown = true,
        }
    }

    /// The keys of a stream that are not gone.
    pub fn keys_of(&self, stream: &str) -> Vec<Key> {
        self.keys.iter().filter(|(of, _)| of == stream).map(|(_, key)| key.clone()).collect()
    }

    /// Whether every such row is known by its key, so that the others may be taken for gone.
    pub fn is_known(&self) -> bool {
        !self.unknown
    }
}

/// How far a scope has got: everything before the cursor is durable.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Grows by one with every unit. It tells whether a unit with a lost reply was applied.
    pub seq: u64,
    /// Where reading continues; `None` is the beginning.
    pub cursor: Option<Cursor>,
    /// Up to where the source had shown everything.
    pub frontier: Option<Frontier>,
    /// The listing being staged, if one is.
    pub stage: Option<OpenStage>,
    /// What became of the rows of the last unit: the answer to a lost reply.
    pub tally: Tally,
}

/// A step forward of a checkpoint: refused unless the scope is still claimed with `token` and stands at `expected`.
#[derive(Debug, Clone, PartialEq)]
pub struct Advance {
    /// The token the scope was claimed with.
    pub token: FencingToken,
    /// The sequence the scope must stand at.
    pub expected: u64,
    /// The checkpoint afterwards; its `seq` is `expected + 1`. Who writes it puts the unit's tally in.
    pub next: Checkpoint,
}
