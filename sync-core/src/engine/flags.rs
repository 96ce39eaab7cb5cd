//! Which rows of a unit a sink accepts: what the breaker judges by.

use std::collections::HashSet;

use super::poison::changes_of;
use crate::model::Changes;
use crate::sink::Step;

/// Which rows of a unit were accepted, in the order they came.
#[derive(Debug)]
pub(super) struct Flags {
    accepted: Vec<bool>,
    /// For each step, where its remaining rows stood at first.
    places: Vec<Vec<usize>>,
    last: usize,
}

impl Flags {
    pub(super) fn new(steps: &[Step]) -> Self {
        let mut before = 0;
        let places = steps
            .iter()
            .map(|step| {
                let rows = changes_of(step).map_or(0, Changes::len);
                before += rows;
                (before - rows..before).collect()
            })
            .collect();
        Self { accepted: vec![true; before], places, last: 0 }
    }

    /// Where the row stood at first, counted over all steps; a place beyond all rows for one that is not there.
    pub(super) fn place(&self, at: (usize, usize)) -> usize {
        self.places.get(at.0).and_then(|places| places.get(at.1)).copied().unwrap_or(self.accepted.len())
    }

    /// These rows of a step are no longer there.
    pub(super) fn forget(&mut self, step: usize, out: &HashSet<usize>) {
        let mut row = 0..;
        self.places[step].retain(|_| row.next().is_some_and(|row| !out.contains(&row)));
    }

    /// The row is rejected and stays where it is.
    pub(super) fn reject_in_place(&mut self, at: (usize, usize)) {
        let place = self.places[at.0][at.1];
        self.accepted[place] = false;
        self.last = self.last.max(place + 1);
    }

    pub(super) fn up_to_last_rejected(&self) -> impl Iterator<Item = bool> + '_ {
        self.accepted[..self.last].iter().copied()
    }

    pub(super) fn any_rejected(&self) -> bool {
        self.last > 0
    }

    pub(super) fn all(&self) -> impl Iterator<Item = bool> + '_ {
        self.accepted.iter().copied()
    }
}
