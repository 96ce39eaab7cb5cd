//! What a source hands over at once, and where one may stop after it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Changes, Cursor, Key, RowScope, StreamSpec, Timestamp};

/// Changes of one stream, inside a batch.
#[derive(Debug, Clone)]
pub struct Run {
    /// The stream.
    pub stream: Arc<StreamSpec>,
    /// Its changes, in the order of the source.
    pub changes: Changes,
}

/// A record the source could not turn into a row. It goes to the dead letters; the others are kept.
#[derive(Debug, Clone)]
pub struct Reject {
    /// The stream.
    pub stream: Arc<StreamSpec>,
    /// The key, where it could be read.
    pub key: Option<Key>,
    /// The record as it came.
    pub body: Box<[u8]>,
    /// What is wrong with it.
    pub reason: String,
}

/// What holds after the rows of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Boundary {
    /// In the middle of a group: nobody may stop here, and nothing up to here is visible alone.
    Inside,
    /// Everything up to this position has been handed over; reading may continue here.
    Resume(Cursor),
    /// A listing of this scope begins: the rows after this one are *all* rows of it.
    Begins(RowScope),
    /// The listing that began is over.
    Ends {
        /// The scope it covered.
        scope: RowScope,
        /// Whether every row of the scope was seen, proven by the source (totals agree, a last page was marked).
        /// Nothing is ever deleted after a listing that is not complete.
        complete: bool,
        /// Where reading continues afterwards.
        resume: Option<Cursor>,
    },
}

/// Up to where a source has shown us everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontier {
    /// Every change before this instant has been handed over.
    pub at: Timestamp,
    /// How sure that is.
    pub proof: FrontierProof,
}

/// How sure a frontier is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrontierProof {
    /// The source can show that nothing earlier may still appear.
    Provable,
    /// The source assumes it, after a lag. Rows that come later all the same are measured as late.
    Assumed,
}

/// What a source hands over at once.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The changes, one run for each stretch of one stream, in order.
    pub runs: Vec<Run>,
    /// Records that could not be read as rows.
    pub rejects: Vec<Reject>,
    /// What holds after the rows.
    pub boundary: Boundary,
    /// Up to where the source is complete, where it can say.
    pub frontier: Option<Frontier>,
    /// Bytes that came over the wire for this batch.
    pub wire_bytes: u64,
    /// Requests made for this batch.
    pub requests: u64,
}

impl Batch {
    /// A batch without rows that only says what holds now.
    pub fn marker(boundary: Boundary) -> Self {
        Self { runs: Vec::new(), rejects: Vec::new(), boundary, frontier: None, wire_bytes: 0, requests: 0 }
    }

    /// A batch of changes of one stream.
    pub fn of(stream: &Arc<StreamSpec>, changes: Changes, boundary: Boundary) -> Self {
        let runs = vec![Run { stream: Arc::clone(stream), changes }];
        Self { runs, ..Self::marker(boundary) }
    }

    /// Rows and rejected records.
    pub fn records(&self) -> usize {
        self.runs.iter().map(|run| run.changes.len()).sum::<usize>() + self.rejects.len()
    }

    /// Memory in use, bytes.
    pub fn size(&self) -> usize {
        let rejected: usize = self.rejects.iter().map(|reject| reject.body.len()).sum();
        self.runs.iter().map(|run| run.changes.size()).sum::<usize>() + rejected
    }
}
