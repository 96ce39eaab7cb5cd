//! Stops a run whose rows are rejected by the dozen: a changed schema must not drain everything into the dead letters.

use crate::{Error, ErrorKind, Result};

/// When rejected rows stop a run. A run of which not one row is accepted stops after twenty, whatever is said here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Breaker {
    /// The share of all rows that may be rejected, 0 to 1; 0.05 unless said otherwise.
    pub share: f64,
    /// The share is judged once so many rows have come; 200 unless said otherwise.
    pub after: u64,
    /// So many rejected rows in a row stop the run at once; 100 unless said otherwise.
    pub in_a_row: u64,
}

impl Default for Breaker {
    /// More than 5 %, judged after 200 rows, or 100 in a row; and every row, judged after 20.
    fn default() -> Self {
        Self { share: 0.05, after: 200, in_a_row: 100 }
    }
}

impl Breaker {
    /// # Errors
    /// `Config` when it would never stop a run, or every one.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::config(what).with_remedy("correct the `Breaker` of the engine"));
        match () {
            () if !(0.0..=1.0).contains(&self.share) => {
                wrong(format!("the breaker's share is {}: it is a part of all rows, from 0 to 1", self.share))
            }
            () if self.in_a_row == 0 => {
                wrong("the breaker stops at 0 rejected rows in a row: give 1 or more".to_owned())
            }
            () => Ok(()),
        }
    }
}

/// With not one row accepted, so many are enough.
const ALL_REJECTED: u64 = 20;

/// How the rejected rows of one run stand.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Strain {
    rows: u64,
    rejected: u64,
    streak: u64,
}

impl Strain {
    /// Counts rows in the order they came: accepted ones, and rejected ones among them. Accepted ones alone never stop a
    /// run: they may be durable already.
    pub(super) fn note(&mut self, breaker: &Breaker, rows: impl IntoIterator<Item = bool>) -> Result<()> {
        let before = self.rejected;
        for accepted in rows {
            self.rows += 1;
            if accepted {
                self.streak = 0;
                continue;
            }
            self.rejected += 1;
            self.streak += 1;
            if self.streak >= breaker.in_a_row {
                return Err(tripped(format!("{} rows in a row were rejected", self.streak)));
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a share of a row count needs no more than 52 bits")]
        let share = self.rejected as f64 / self.rows.max(1) as f64;
        let judged = self.rows >= breaker.after || (self.rejected == self.rows && self.rows >= ALL_REJECTED);
        if self.rejected > before && judged && share > breaker.share {
            return Err(tripped(format!("{} of {} rows were rejected", self.rejected, self.rows)));
        }
        Ok(())
    }

    /// Counts rows of which nobody knows in what order they came: the rejected ones are spread evenly among the others.
    pub(super) fn note_spread(&mut self, breaker: &Breaker, rejected: usize, accepted: usize) -> Result<()> {
        let until = |reject: usize| accepted * reject / (rejected + 1);
        let rows = (1..=rejected).flat_map(|reject| {
            std::iter::repeat_n(true, until(reject) - until(reject - 1)).chain(std::iter::once(false))
        });
        self.note(breaker, rows.chain(std::iter::repeat_n(true, accepted - until(rejected))))
    }

    /// Judges rows that a publish refuses one by one, by the number of all that were staged.
    pub(super) fn judge_staged(breaker: &Breaker, refused: u64, staged: u64) -> Result<()> {
        #[expect(clippy::cast_precision_loss, reason = "a share of a row count needs no more than 52 bits")]
        let share = refused as f64 / staged.max(1) as f64;
        let judged = staged >= breaker.after || refused >= breaker.in_a_row.min(ALL_REJECTED);
        if judged && share > breaker.share {
            return Err(tripped(format!("{refused} of {staged} staged rows were rejected")));
        }
        Ok(())
    }
}

fn tripped(what: String) -> Error {
    Error::new(
        ErrorKind::Limit,
        format!(
            "{what}: the source or the target has probably changed its shape, so the run stops before it drains into the dead letters; \
             what it was about to write is not counted, and comes again"
        ),
    )
    .with_remedy("correct the declaration of the stream, or the rows; `EngineBuilder::breaker` says how many may be rejected")
}
