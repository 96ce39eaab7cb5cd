//! Processes and servers that die at random moments, and replies that are lost: nothing is lost, nothing is doubled.
//!
//! A run follows a change log of 3,000 rows into a table whose triggers log every effective write, in units of 250 rows.
//! Meanwhile our process is killed with SIGKILL (`process`), or the database server is (`server`), or the connection breaks
//! at a COMMIT (`replies`). In the end the table holds the source's rows by value, and the log one write for each change.
//!
//! `KILL_SEED` repeats the moments of another series, as far as moments can be repeated.

mod process;
mod proxy;
mod racing;
mod replies;
mod server;
mod target;

use sync_testkit::Random;
use sync_tests::told::Mark;

/// Where a kill landed, as the database tells afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// Before the first unit: starting, claiming, reading.
    BeforeFirstUnit,
    /// A unit was begun and is not there: its transaction was open, or about to open.
    InsideTransaction,
    /// The unit is there, and nobody has told its process.
    BeforeReply,
    /// The unit was acknowledged, and the next one was not begun.
    BetweenUnits,
}

impl Place {
    /// Where it landed after this mark, unless only the database can tell: then the units that were there before.
    fn after(mark: Option<Mark>) -> Result<Self, u64> {
        match mark {
            None | Some(Mark::Claimed(_) | Mark::Done) => Ok(Self::BeforeFirstUnit),
            Some(Mark::Acknowledged(_)) => Ok(Self::BetweenUnits),
            Some(Mark::Begins(units)) => Err(units),
        }
    }

    /// Where it landed within a unit that came after so many, now that there are so many.
    fn within(before: u64, now: u64) -> Self {
        match now.checked_sub(before) {
            Some(0) => Self::InsideTransaction,
            Some(1) => Self::BeforeReply,
            _ => panic!("there were {before} units, and now {now}"),
        }
    }
}

fn seeded() -> (u64, Random) {
    let seed = std::env::var("KILL_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_261_121);
    (seed, Random::new(seed))
}
