//! The books of a run: every row that came in is found again under what became of it.

use serde::{Deserialize, Serialize};

use crate::model::{Outcome, Tally};

/// What came in and what became of it. Outcomes are added up as they happen; none is ever computed by subtraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// Rows and records the source handed over. Those of a unit that could not be settled come again, and count then.
    pub fetched: u64,
    /// Target rows that a complete listing did not name.
    pub absent: u64,
    /// Rows that earlier runs had staged and this one published.
    pub carried: u64,
    /// What became of them.
    #[serde(flatten)]
    pub outcomes: Tally,
}

impl Ledger {
    /// Whether everything that came in is accounted for: `fetched + absent + carried` equals all outcomes together.
    pub fn balances(&self) -> bool {
        self.fetched + self.absent + self.carried == self.outcomes.total()
    }

    /// How many rows had this outcome.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes.count(outcome)
    }
}

impl std::ops::AddAssign for Ledger {
    fn add_assign(&mut self, other: Self) {
        self.fetched += other.fetched;
        self.absent += other.absent;
        self.carried += other.carried;
        self.outcomes += other.outcomes;
    }
}
