//! Proves a [`StateStore`].
//!
//! ```
//! use sync_core::memory::MemoryStore;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let report = sync_testkit::store::conformance(async |_, clock| Ok::<_, sync_core::Error>(MemoryStore::new(clock))).await;
//! report.assert();
//! # }
//! ```

mod begins;
mod leases;
mod letters;
mod records;

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sync_core::model::Timestamp;
use sync_core::state::{Checkpoint, Entry, FencingToken, Lease, RunId, RunRecord, RunStatus, StateStore};
use sync_core::{Clock, Error, ErrorKind, Ledger, Scope};

use crate::ManualClock;
use crate::report::{Check, Finding, Report, Stop, broken, checks, same};

/// Runs every check, each on a store of its own that holds nothing yet.
///
/// `make` is given the name of the check, which is different each time and fit for a file's name, and the clock by
/// which the store judges expiry. A store that goes by a clock of its own may leave it: where time must pass, the suite then
/// waits, 60 ms at a time.
pub async fn conformance<S, E>(make: impl AsyncFn(&str, Arc<dyn Clock>) -> Result<S, E>) -> Report
where
    S: StateStore + 'static,
    E: Display,
{
    let mut report = Report::new("state store");
    for check in CHECKS {
        let clock = Arc::new(ManualClock::new(1));
        let finding = match make(check.name, Arc::clone(&clock) as Arc<dyn Clock>).await {
            Ok(store) => (check.run)(&Bench { store: Box::new(store), clock }).await,
            Err(error) => broken(format!("the store could not be made: {error}")),
        };
        report.add(check.name, check.says, finding);
    }
    report
}

/// Runs the checks of durability: `make` is called twice with the same name, and must open the same store again.
///
/// The first store is dropped before the second is made, as when a process ends.
pub async fn durability<S, E>(make: impl AsyncFn(&str, Arc<dyn Clock>) -> Result<S, E>) -> Report
where
    S: StateStore + 'static,
    E: Display,
{
    let mut report = Report::new("durable state store");
    let name = "state_survives_a_restart";
    let finding = async {
        let clock = Arc::new(ManualClock::new(1));
        let open = async || match make(name, Arc::clone(&clock) as Arc<dyn Clock>).await {
            Ok(store) => Ok(Bench { store: Box::new(store), clock: Arc::clone(&clock) }),
            Err(error) => Err(Stop::Broken(format!("the store could not be made: {error}"))),
        };
        records::everything(&open().await?).await?;
        records::everything_is_there(&open().await?).await
    };
    report.add(name, "what `record` has returned for survives a crash", finding.await);
    report
}

/// The names of all checks of [`conformance`].
pub fn names() -> Vec<&'static str> {
    CHECKS.iter().map(|check| check.name).collect()
}

const CHECKS: &[Check<Bench>] = checks![Bench;
    leases::one_owner_holds_a_lease => "`acquire` gives a lease to one owner at a time",
    leases::names_are_leased_apart => "takes the lease of this name",
    leases::tokens_grow => "its token is higher than every token given before under that name",
    leases::a_token_is_not_below_its_floor => "and at least `floor`",
    leases::the_same_owner_takes_over_at_once => "the same owner acquires again at once, with a higher token",
    leases::an_expired_lease_may_be_taken => "takes the lease of this name for `ttl`",
    leases::a_renewed_lease_lasts => "holds the lease for its `ttl` from now",
    leases::an_old_holder_cannot_renew => "`Fenced` when somebody else has acquired it since",
    leases::a_released_lease_is_free => "gives the lease back",
    leases::an_old_holder_releases_nothing => "a lease that was taken over is left alone",
    begins::a_run_begins_with_its_lease => "takes the lease as `acquire` does, and records under it that a run has begun",
    begins::a_refused_run_leaves_no_record => "`begin` has the errors of `acquire`",
    begins::a_run_that_died_is_closed_by_the_next => "earlier runs of the same scope that are recorded as running are recorded as failed",
    begins::the_same_run_begun_twice_is_one => "the same owner begins again at once, with a higher token, and leaves one record",
    begins::a_run_that_finishes_is_recorded_and_its_lease_is_free => "`finish` writes all entries and gives the lease back",
    begins::a_fenced_holder_finishes_nothing => "`finish` has the errors of `record`",
    records::a_fenced_holder_records_nothing => "only while the lease is the newest under its name",
    records::an_expired_lease_that_nobody_took_still_records => "even if its time has run out",
    records::a_checkpoint_comes_back_as_it_was => "how far a scope has got",
    records::a_checkpoint_moves_step_by_step => "refused when its token or sequence does not hold",
    records::scopes_stand_apart => "the checkpoint of a scope",
    records::all_entries_or_none => "`record` writes all entries or none",
    records::a_hold_is_set_and_lifted => "a scope must not be read before this instant; `None` lifts it",
    records::runs_come_newest_first => "run records, newest first, a page at a time",
    records::a_later_record_of_a_run_replaces_it => "a later record of the same replaces it",
    records::runs_come_page_by_page => "run records, newest first, a page at a time",
    letters::a_letter_comes_back_as_it_was => "a row that could not be applied, with everything needed to try again",
    letters::the_same_letter_twice_is_one => "entries have ids: recording the same entry twice leaves one",
    letters::a_letter_that_comes_again_says_when_it_came_last => "recorded again, it keeps its place and takes the newer reason and time",
    letters::letters_come_oldest_first => "dead letters, oldest first",
    letters::letters_are_found_by_pipeline_stream_and_kind => "which dead letters to read",
    letters::letters_come_page_by_page => "a page at a time",
    letters::a_resolved_letter_is_gone => "a dead letter was dealt with",
    letters::a_resolved_letter_that_comes_again_waits_again => "recorded again, it waits again",
];

/// A store, and the clock it judges by.
pub(crate) struct Bench {
    store: Box<dyn StateStore>,
    clock: Arc<ManualClock>,
}

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(50);

impl Bench {
    async fn acquire(&self, owner: &str, ttl: Duration) -> Result<Lease, Error> {
        self.store.acquire("testkit", owner, ttl, FencingToken(0)).await
    }

    async fn record(&self, lease: &Lease, entries: &[Entry]) -> Result<(), Error> {
        self.store.record(lease, entries).await
    }

    /// Lets a [`SHORT`] lease run out, whichever clock the store goes by.
    fn outlast_short(&self) {
        self.clock.advance(SHORT + SHORT / 5);
        if !self.clock.was_asked() {
            std::thread::sleep(SHORT + SHORT / 5);
        }
    }
}

/// Breaks the check unless the call was refused with `Fenced`.
fn fenced<T>(what: &str, result: Result<T, Error>) -> Finding {
    match result {
        Ok(_) => broken(format!("{what} was accepted")),
        Err(error) => same(&format!("kind of the error of {what}"), error.kind(), ErrorKind::Fenced),
    }
}

/// A step of a scope from `expected` on.
fn step(scope: &Scope, lease: &Lease, expected: u64) -> Entry {
    let next = Checkpoint { seq: expected + 1, cursor: Some(cursor(expected + 1)), ..Checkpoint::default() };
    let advance = sync_core::state::Advance { token: lease.token, expected, next };
    Entry::Checkpoint { scope: scope.clone(), advance }
}

fn cursor(page: u64) -> sync_core::Cursor {
    sync_core::Cursor::from_parts(1, format!("{{\"page\":{page}}}"))
}

fn instant(seconds: i64) -> DateTime<Utc> {
    Timestamp::from_micros(1_900_000_000_000_000 + seconds * 1_000_000 + 123_456).to_datetime().unwrap_or_default()
}

fn run(number: u32, scope: &Scope) -> RunRecord {
    RunRecord {
        run: RunId::from_text(format!("{number:08}")),
        scope: scope.clone(),
        status: RunStatus::Running,
        started: instant(i64::from(number)),
        finished: None,
        ledger: Ledger::default(),
        error: None,
    }
}
