//! Rows that could not be applied, kept until someone replays or drops them.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::{Key, Op, Scope, Value};

/// Why a row is among the dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LetterKind {
    /// It could not be read or written.
    Rejected,
    /// A conflict waits for a person.
    Parked,
}

/// What there is of the row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LetterBody {
    /// The row, by column name.
    Row {
        /// What the change was to do.
        op: Op,
        /// Column names and values.
        values: Vec<(String, Value)>,
    },
    /// The record as the source sent it, since it could not be read as a row.
    Record(Vec<u8>),
}

/// The same for the same scope, stream, key and body: a row that fails again does not stand there twice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LetterId(String);

impl LetterId {
    /// The id of a letter with these parts: a hash of them.
    pub fn of(scope: &Scope, stream: &str, key: Option<&Key>, body: &LetterBody) -> Self {
        let mut hasher = blake3::Hasher::new();
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        part(scope.to_string().as_bytes());
        part(stream.as_bytes());
        let mut bytes = Vec::new();
        for value in key.into_iter().flat_map(Key::values) {
            crate::model::canonical::encode(value.as_ref(), &mut bytes);
        }
        part(&bytes);
        match body {
            LetterBody::Record(record) => part(record),
            LetterBody::Row { op, values } => {
                let mut bytes = vec![u8::from(*op == Op::Delete)];
                for (name, value) in values {
                    bytes.extend_from_slice(name.as_bytes());
                    bytes.push(0);
                    crate::model::canonical::encode(value.as_ref(), &mut bytes);
                }
                part(&bytes);
            }
        }
        Self(hasher.finalize().to_hex().chars().take(32).collect())
    }

    /// The id of one of several letters that are all the same: of rows without a key, in the unit of this sequence.
    #[must_use]
    pub fn nth(&self, seq: u64, position: usize) -> Self {
        let hash = blake3::hash(format!("{self} {seq} {position}").as_bytes());
        Self(hash.to_hex().chars().take(32).collect())
    }

    /// An id a store has kept.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A row that could not be applied, with everything needed to try again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its id.
    pub id: LetterId,
    /// Where it came from.
    pub scope: Scope,
    /// The stream.
    pub stream: String,
    /// The key, where it could be read.
    pub key: Option<Key>,
    /// Why it is here.
    pub kind: LetterKind,
    /// What is wrong with it, without its values.
    pub reason: String,
    /// What there is of it.
    pub body: LetterBody,
    /// When it came here.
    pub at: DateTime<Utc>,
}

/// Which dead letters to read.
#[derive(Debug, Clone, Default)]
pub struct LetterQuery {
    /// Only of this pipeline.
    pub pipeline: Option<String>,
    /// Only of this stream.
    pub stream: Option<String>,
    /// Only of this kind.
    pub kind: Option<LetterKind>,
    /// Only after this one, for the next page. It may have been resolved meanwhile.
    pub after: Option<LetterId>,
    /// At most so many; 0 means 100.
    pub limit: u32,
}
