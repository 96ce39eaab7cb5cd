//! Stops a run whose rows are rejected by the dozen: a changed schema must not drain everything into the dead letters.

use crate::{Error, ErrorKind, Result};

/// When rejected rows stop a run (P15).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Breaker {
    /// The share of all rows that may be rejected, 0 to 1.
    pub share: f64,
    /// The share is judged once so many rows have come.
    pub after: u64,
    /// So many rejected rows in a row stop the run at once.
    pub in_a_row: u64,
}

impl Default for Breaker {
    /// More than 5 %, judged after 200 rows, or 100 in a row.
    fn default() -> Self {
        Self { share: 0.05, after: 200, in_a_row: 100 }
    }
}

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
        if self.rejected > before && self.rows >= breaker.after && share > breaker.share {
            return Err(tripped(format!("{} of {} rows were rejected", self.rejected, self.rows)));
        }
        Ok(())
    }
}

fn tripped(what: String) -> Error {
    Error::new(
        ErrorKind::Limit,
        format!(
            "{what}: the source or the target has probably changed its shape, so the run stops before it drains into the dead letters"
        ),
    )
}
