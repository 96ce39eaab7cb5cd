//! One run of one scope, from its lease to the last line in the run log. It never fails: what goes wrong is in its report.

use std::sync::Arc;

use tokio::select;

use super::claim::{claim, give_back, lease_name, read_checkpoint};
use super::options::RunOptions;
use super::pipeline::Pipeline;
use super::report::ScopeReport;
use super::scope_run::{Books, Ending, Home, ScopeRun};
use super::targets::Known;
use super::waiting::{Errand, STATE_STORE, watched, with_retries};
use super::{Inner, hollow, lease_keeper};
use crate::event::Event;
use crate::ledger::Ledger;
use crate::model::{Feed, Scope};
use crate::state::{Entry, Lease, RunId, RunRecord, RunStatus};
use crate::{Error, ErrorKind, Result};

/// Runs one scope to its end and never fails: what goes wrong is in its report.
pub(super) async fn run_scope(
    inner: &Arc<Inner>,
    pipeline: &Arc<Pipeline>,
    options: &RunOptions,
    run: &RunId,
    scope: Scope,
    feed: Feed,
    known: Known,
) -> ScopeReport {
    let turn = inner.turn(&lease_name(&scope));
    let (began, started) = (inner.clock.elapsed(), inner.clock.now());
    let mut books = Books::default();
    let in_turn = async {
        let _turn = select! {
            biased;
            turn = turn.lock() => turn,
            () = options.cancel.cancelled() => return Ok(Ending::Cancelled),
        };
        attempt_scope(inner, pipeline, options, run, &scope, feed, known, started, &mut books).await
    };
    let ended = in_turn.await;
    let (mut status, mut error) = match ended {
        Ok(Ending::Done) => (RunStatus::Completed, None),
        Ok(Ending::Cancelled) => (RunStatus::Cancelled, None),
        Ok(Ending::Held(error)) => (RunStatus::Held, Some(error)),
        Err(error) if error.kind() == ErrorKind::Cancelled => (RunStatus::Cancelled, Some(error)),
        Err(error) => (RunStatus::Failed, Some(error)),
    };
    if status == RunStatus::Completed && !books.ledger.balances() {
        status = RunStatus::Failed;
        error = Some(Error::internal(format!("the ledger does not balance: {:?}", books.ledger)).with("scope", &scope));
    }
    if status != RunStatus::Completed && !books.altered.added.is_empty() {
        books.hollow.get_or_insert(hollow::CUT_SHORT);
    }
    let report = ScopeReport {
        status,
        ledger: books.ledger,
        wire_bytes: books.wire_bytes,
        requests: books.requests,
        late: books.late,
        lateness: books.lateness,
        missed: books.missed,
        altered: books.altered,
        hollow: books.hollow,
        unproven: books.unproven,
        unfilled: books.unfilled,
        first_rejected: books.first_rejected,
        write_retries: books.write_retries,
        retried_for: books.retried_for,
        elapsed: inner.clock.elapsed().saturating_sub(began),
        error,
        scope,
    };
    for (outcome, rows) in report.ledger.outcomes.iter() {
        metrics::counter!("sync_rows_total", "pipeline" => pipeline.name.clone(), "feed" => report.scope.feed.clone(), "outcome" => outcome.name()).increment(rows);
    }
    metrics::counter!("sync_fetched_rows_total", "pipeline" => pipeline.name.clone(), "feed" => report.scope.feed.clone()).increment(report.ledger.fetched);
    metrics::counter!("sync_scope_runs_total", "pipeline" => pipeline.name.clone(), "status" => status.name())
        .increment(1);
    inner.tell(&Event::ScopeFinished {
        run: run.clone(),
        scope: report.scope.clone(),
        status,
        ledger: report.ledger,
        error: report.error.as_ref().map(ToString::to_string),
        kind: report.error.as_ref().map(Error::kind),
    });
    report
}

#[expect(clippy::too_many_arguments, reason = "called in one place, with what a run is made of")]
async fn attempt_scope(
    inner: &Arc<Inner>,
    pipeline: &Arc<Pipeline>,
    options: &RunOptions,
    run: &RunId,
    scope: &Scope,
    feed: Feed,
    known: Known,
    started: chrono::DateTime<chrono::Utc>,
    books: &mut Books,
) -> Result<Ending> {
    let held = held_scope(scope);
    let asking = Errand { run: Some(run), scope: Some(scope), doing: "position", on: STATE_STORE };
    if !options.force
        && let Some(until) = in_time(inner, options, with_retries(inner, asking, || inner.store.hold(&held))).await?
        && until > inner.clock.now()
        // A longer one was asked for under another clock.
        && until <= inner.clock.now() + LONGEST_HOLD
    {
        inner.tell(&Event::Held { run: run.clone(), scope: scope.clone(), until });
        let error = Error::new(
            ErrorKind::Throttled,
            format!("the source asked to be left alone until {until}; `force` runs all the same"),
        );
        return Ok(Ending::Held(error));
    }
    let home = if pipeline.sink.capabilities().atomic_checkpoint { Home::Sink } else { Home::Store };
    let record = |status, finished, ledger, error| RunRecord {
        run: run.clone(),
        scope: scope.clone(),
        status,
        started,
        finished,
        ledger,
        error,
    };
    let (lease, checkpoint) = if options.dry_run {
        (None, in_time(inner, options, read_checkpoint(inner, pipeline, Some(run), scope, home)).await?)
    } else {
        let first = record(RunStatus::Running, None, Ledger::default(), None);
        let mut taken = None;
        let claiming = claim(inner, pipeline, Some(run), scope, home, Some(&first), &mut taken);
        match (in_time(inner, options, claiming).await, taken) {
            (Ok((lease, checkpoint)), _) => (Some(lease), checkpoint),
            (Err(error), None) => return Err(error),
            (Err(error), Some(lease)) => {
                // Its beginning was recorded, and nobody waited for the sink any longer.
                let (finished, why) = (Some(inner.clock.now()), Some(error.to_string()));
                let entries = [Entry::Run(record(RunStatus::Cancelled, finished, Ledger::default(), why))];
                select! {
                    biased;
                    _ = give_back(inner, &lease, &entries) => {}
                    () = inner.clock.sleep(CLOSING) => {}
                }
                return Err(error);
            }
        }
    };
    let began_at = options.dry_run.then(|| checkpoint.clone());
    let mut scope_run =
        ScopeRun::new(inner, pipeline, options, run, scope.clone(), feed, known, lease.clone(), home, checkpoint);
    if scope_run.checkpoint.cursor.is_none() {
        // Read from the beginning, no row is late, whatever an earlier reading has shown.
        scope_run.frontier_before = None;
    }
    let mut ended = guarded(inner, options, lease.as_ref(), &mut scope_run).await;
    if let Some(began_at) = began_at
        && ended
            .as_ref()
            .map_or_else(|error| error.kind() != ErrorKind::Cancelled, |_| !scope_run.books.ledger.balances())
        && read_checkpoint(inner, pipeline, Some(run), scope, home).await.is_ok_and(|now| now != began_at)
    {
        ended = Err(overtaken().with("scope", scope));
    }
    let (status, error) = match &ended {
        Ok(Ending::Done) if scope_run.books.ledger.balances() => (RunStatus::Completed, None),
        Ok(Ending::Done) => (RunStatus::Failed, Some("the ledger does not balance".to_owned())),
        Ok(Ending::Cancelled) => (RunStatus::Cancelled, None),
        Ok(Ending::Held(error)) => (RunStatus::Held, Some(error.to_string())),
        Err(error) => (RunStatus::Failed, Some(error.to_string())),
    };
    let mut entries = vec![Entry::Run(record(status, Some(inner.clock.now()), scope_run.books.ledger, error))];
    let fenced = ended.as_ref().is_err_and(|error| error.kind() == ErrorKind::Fenced);
    // Whoever has taken over meets the source by itself.
    if let Some(wait) = scope_run.asked_to_wait.get().filter(|_| !fenced) {
        let until = inner.clock.now() + chrono::Duration::from_std(*wait).unwrap_or(chrono::Duration::hours(1));
        inner.tell(&Event::Held { run: run.clone(), scope: scope.clone(), until });
        entries.push(Entry::Hold { scope: held, until: Some(until) });
    }
    let close = async {
        let Some(lease) = lease.as_ref().filter(|_| !fenced) else { return };
        let finishing = || inner.store.finish(lease, &entries);
        let Err(error) = with_retries(inner, scope_run.at_store("record"), finishing).await else { return };
        tracing::warn!(%error, "the run log could not be written");
        if let Err(error) = watched(inner, scope_run.at_store("lease"), inner.store.release(lease)).await {
            tracing::warn!(%error, "the lease could not be given back; it expires by itself");
        }
    };
    let overdue = async {
        options.cancel.cancelled().await;
        inner.clock.sleep(CLOSING).await;
    };
    select! {
        biased;
        () = close => {}
        () = overdue => tracing::warn!("the state store does not answer: the run log stays as it is, and the lease expires by itself"),
    }
    *books = std::mem::take(&mut scope_run.books);
    ended
}

/// A dry run holds no lease: what it found out while somebody else wrote is true neither of what was nor of what is.
fn overtaken() -> Error {
    Error::new(
        ErrorKind::Conflict,
        "another run went on with this scope while this one rehearsed, and nothing can be said",
    )
    .with_remedy("run dry again when the other one has ended")
}

/// The longest a source may ask to be left alone; retries cut what is longer to an hour.
const LONGEST_HOLD: chrono::Duration = chrono::Duration::hours(2);

/// How long a cancelled run tries to say how it ended.
const CLOSING: std::time::Duration = std::time::Duration::from_millis(400);

/// A source that asks to be left alone means all that is asked of it for one account, whatever the feed or the lane.
fn held_scope(scope: &Scope) -> Scope {
    Scope { feed: String::new(), ..scope.live() }
}

/// Does the work, unless the run is cancelled and its deadline passes.
pub(super) async fn in_time<T>(
    inner: &Inner,
    options: &RunOptions,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let overdue = async {
        options.cancel.cancelled().await;
        inner.clock.sleep(options.stop_within).await;
    };
    select! {
        biased;
        done = work => done,
        () = overdue => Err(Error::new(ErrorKind::Cancelled, "the run was cancelled before it began to read")),
    }
}

/// Follows the scope while the lease holds and nobody asks to stop; past the deadline the last unit is dropped, which
/// rolls it back.
async fn guarded(
    inner: &Inner,
    options: &RunOptions,
    lease: Option<&Lease>,
    scope_run: &mut ScopeRun<'_>,
) -> Result<Ending> {
    let at_the_sink = Arc::clone(&scope_run.at_the_sink);
    let lost = async {
        match lease {
            Some(lease) => lease_keeper::keep(&*inner.store, &*inner.clock, lease, &at_the_sink).await,
            None => std::future::pending().await,
        }
    };
    let overdue = async {
        options.cancel.cancelled().await;
        inner.clock.sleep(options.stop_within).await;
    };
    let outcome = select! {
        biased;
        error = lost => Err(error),
        ended = scope_run.follow() => return ended,
        () = overdue => Err(Error::new(ErrorKind::Cancelled, "the run did not reach a boundary within the deadline; its last unit was dropped")),
    };
    scope_run.abandon();
    outcome
}
