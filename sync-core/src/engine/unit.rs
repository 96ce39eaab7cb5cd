//! What is gathered between two boundaries, until it is written as one unit.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::prepare::Prepared;
use crate::model::{Changes, Cursor, Frontier, Reject, StreamSpec, Tally};

/// Rows gathered for one unit.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) writes: Vec<(Arc<StreamSpec>, Changes)>,
    pub(super) dropped: Tally,
    pub(super) rejects: Vec<Reject>,
    pub(super) records: u64,
    pub(super) rows: usize,
    pub(super) ascending: bool,
    pub(super) cursor: Option<Cursor>,
    pub(super) frontier: Option<Frontier>,
    permits: Vec<OwnedSemaphorePermit>,
}

impl Gathered {
    pub(super) fn new() -> Self {
        Self { ascending: true, ..Self::default() }
    }

    /// Whether writing it would change nothing, not even the position.
    pub(super) fn is_empty(&self) -> bool {
        self.records == 0 && self.cursor.is_none()
    }

    /// Adds a batch. Its share of the read-ahead budget is given back when the unit is dropped.
    pub(super) fn add(&mut self, batch: Prepared, permit: OwnedSemaphorePermit) {
        self.ascending &= batch.ascending && self.continues(&batch);
        self.rows += batch.writes.iter().map(|(_, changes)| changes.len()).sum::<usize>();
        self.writes.extend(batch.writes);
        self.dropped += batch.dropped;
        self.rejects.extend(batch.rejects);
        self.records += batch.records;
        self.frontier = batch.frontier.or(self.frontier);
        self.permits.push(permit);
    }

    /// Adds what was gathered after it.
    pub(super) fn absorb(&mut self, later: Self) {
        self.ascending &= later.ascending;
        self.rows += later.rows;
        self.writes.extend(later.writes);
        self.dropped += later.dropped;
        self.rejects.extend(later.rejects);
        self.records += later.records;
        self.cursor = later.cursor.or(self.cursor.take());
        self.frontier = later.frontier.or(self.frontier);
        self.permits.extend(later.permits);
    }

    /// Gives its share of the read-ahead budget back early: an unfinished group must be held whole, however large.
    pub(super) fn release(&mut self) {
        self.permits.clear();
    }

    /// Whether the batch's first key comes after our last one.
    fn continues(&self, batch: &Prepared) -> bool {
        let (Some((stream, ours)), Some((next, theirs))) = (self.writes.last(), batch.writes.first()) else {
            return true;
        };
        if stream.name() != next.name() {
            return true;
        }
        let (last, first) = (ours.rows().row(ours.len() - 1), theirs.rows().row(0));
        let order = stream
            .key_indices()
            .into_iter()
            .map(|column| last.at(column).total_cmp(first.at(column)))
            .find(|order| order.is_ne());
        order.is_some_and(std::cmp::Ordering::is_lt)
    }
}
