//! What one body brought: rows, rejected records, and what else was asked for.

use crate::model::{Key, Rows, Value};

/// The records of one body.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Page {
    /// The records that could be read, in their order.
    pub rows: Rows,
    /// The others, in their order.
    pub rejects: Vec<RejectedRecord>,
    /// The values that [`Envelope::also`](super::Envelope::also) asked for, in that order; `None` where there is no
    /// such member. Nested data comes as [`Value::Json`].
    pub extras: Vec<Option<Value>>,
    /// The records of the body without those that were dropped: rows and rejects together, or the records that were
    /// exploded into them.
    pub records: usize,
    /// The records of the body that were dropped by declaration.
    pub dropped: usize,
    /// One number for each record that was exploded, made of its bytes: the same record has the same one again.
    pub exploded: Vec<u64>,
    /// Whether the place of the records was there, be it empty or `null`.
    pub found: bool,
}

/// A record that could not be read as a row.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RejectedRecord {
    /// The record as it came, without the wrapper of the envelope: what
    /// [`RecordReader::record`](super::RecordReader::record) takes.
    pub body: Box<[u8]>,
    /// The key, where it could be read.
    pub key: Option<Key>,
    /// What is wrong with it: names the column, never the value.
    pub reason: String,
}
