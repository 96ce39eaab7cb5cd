//! How often in a row a request for a range of dates took the other side too long.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use sync_core::model::Partition;

use crate::position::Slice;

type Place = (String, Partition);

/// Counts by stream and partition, over the reads of one process: the engine reads again after each such answer.
#[derive(Debug, Default)]
pub(crate) struct Slowness(Mutex<HashMap<Place, Slow>>);

#[derive(Debug)]
struct Slow {
    pass: Option<String>,
    slice: Slice,
    times: u32,
}

impl Slowness {
    /// One more such answer for this range of this pass; how many there were in a row.
    pub(crate) fn count(&self, stream: &str, partition: &Partition, pass: Option<&str>, slice: Slice) -> u32 {
        let mut slow = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Slow { pass: pass.map(str::to_owned), slice, times: 0 };
        let known = slow.entry((stream.to_owned(), partition.clone())).or_insert_with(fresh);
        if known.slice != slice || known.pass.as_deref() != pass {
            *known = fresh();
        }
        known.times = known.times.saturating_add(1);
        known.times
    }

    /// A good page: the next such answer is a first one again.
    pub(crate) fn clear(&self, stream: &str, partition: &Partition) {
        let mut slow = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !slow.is_empty() {
            slow.remove(&(stream.to_owned(), partition.clone()));
        }
    }
}
