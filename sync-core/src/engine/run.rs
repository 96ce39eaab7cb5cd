//! One run of a pipeline: feeds one after the other, partitions of a feed at once, each under its own lease.

use std::sync::Arc;

use futures::StreamExt;
use tokio::select;
use tracing::Instrument;

use super::Inner;
use super::lease_keeper;
use super::options::{Mode, RunOptions};
use super::pipeline::Pipeline;
use super::report::{Report, ScopeReport};
use super::scope_run::{Books, Ending, Home, ScopeRun};
use super::settle::floor_after;
use crate::event::Event;
use crate::model::{Feed, Lane, Partition, Scope};
use crate::retry::Verdict;
use crate::source::Listing;
use crate::state::{Checkpoint, Entry, FencingToken, Lease, RunId, RunQuery, RunRecord, RunStatus};
use crate::{Error, ErrorKind, Result};

pub(super) async fn run(inner: &Arc<Inner>, pipeline: &Arc<Pipeline>, options: RunOptions) -> Result<Report> {
    options.check()?;
    check_options(pipeline, &options)?;
    let began = inner.clock.elapsed();
    let run = RunId::new(inner.clock.now(), inner.clock.random());
    let span = tracing::info_span!("run", %run, pipeline = pipeline.name);
    let dry_run = options.dry_run;
    inner.tell(&Event::RunStarted { run: run.clone(), pipeline: pipeline.name.clone(), dry_run });
    let mut scopes = Vec::new();
    let ended = async {
        for feed in in_time(inner, &options, feeds(inner, pipeline)).await? {
            if options.mode == Mode::Reconcile
                && let Some(keyless) = feed.streams().iter().find(|stream| stream.key_columns().is_empty())
            {
                return Err(Error::config(
                    "a stream without key cannot be reconciled: nothing tells which rows are gone",
                )
                .with("stream", keyless.name())
                .with("pipeline", &pipeline.name));
            }
            let listed = with_retries(inner, || pipeline.source.partitions(&feed));
            let partitions = in_time(inner, &options, listed).await?;
            let parts = partitions.len();
            let mut at_once = futures::stream::iter(partitions.into_iter().map(|partition| {
                let scope = scope_of(pipeline, &feed, partition, &options.mode);
                let span = tracing::info_span!("partition", %scope);
                Box::pin(run_scope(inner, pipeline, &options, &run, scope, feed.clone(), parts).instrument(span))
            }))
            .buffered(inner.settings.partitions_at_once);
            while let Some(report) = at_once.next().await {
                scopes.push(report);
            }
            if options.cancel.is_cancelled() {
                break;
            }
        }
        Ok::<_, Error>(())
    }
    .instrument(span)
    .await;
    let status = match &ended {
        Ok(()) => worst(&scopes, options.cancel.is_cancelled()),
        Err(_) => RunStatus::Failed,
    };
    let report = Report {
        run: run.clone(),
        pipeline: pipeline.name.clone(),
        status,
        dry_run,
        scopes,
        elapsed: inner.clock.elapsed().saturating_sub(began),
    };
    let error = match &ended {
        Ok(()) => report.scopes.iter().filter(|scope| scope.status == status).find_map(|scope| scope.error.as_ref()),
        Err(error) => Some(error),
    };
    inner.tell(&Event::RunFinished {
        run,
        pipeline: report.pipeline.clone(),
        dry_run,
        status,
        ledger: report.ledger(),
        error: error.map(ToString::to_string),
        kind: error.map(Error::kind),
    });
    ended.map(|()| report)
}

fn check_options(pipeline: &Pipeline, options: &RunOptions) -> Result<()> {
    let source = pipeline.source.capabilities();
    let sink = pipeline.sink.capabilities();
    let wrong =
        |text: &'static str, who: &str| Err(Error::config(text).with("pipeline", &pipeline.name).with("adapter", who));
    match &options.mode {
        Mode::Reconcile if source.listing == Listing::None => wrong(
            "this source cannot list all that it has, so rows that are gone cannot be told from rows that are missing",
            pipeline.source.name(),
        ),
        Mode::Reconcile if !sink.staging => {
            wrong("a reconcile needs a sink that stages a listing", pipeline.sink.name())
        }
        Mode::Backfill { .. } if !source.ranges => {
            wrong("this source cannot read a range; a full run reads everything", pipeline.source.name())
        }
        _ if options.dry_run && !sink.rehearsal => {
            wrong("this sink cannot rehearse, so a dry run would write", pipeline.sink.name())
        }
        _ => Ok(()),
    }
}

/// The feeds of the run, narrowed to the streams the pipeline names.
async fn feeds(inner: &Inner, pipeline: &Pipeline) -> Result<Vec<Feed>> {
    let offered = with_retries(inner, || pipeline.source.feeds()).await?;
    let mut feeds = Vec::new();
    for feed in offered {
        let wanted: Vec<_> = feed
            .streams()
            .iter()
            .filter(|offered| {
                pipeline.streams.is_empty() || pipeline.streams.iter().any(|stream| stream.name() == offered.name())
            })
            .map(Arc::clone)
            .collect();
        for stream in &wanted {
            pipeline.check_stream(stream).map_err(|error| error.with("pipeline", &pipeline.name))?;
            if let Some(declared) = pipeline.streams.iter().find(|declared| declared.name() == stream.name())
                && declared != stream
            {
                return Err(Error::config(
                    "the pipeline and the source declare this stream differently: give both the same declaration",
                )
                .with("stream", stream.name())
                .with("pipeline", &pipeline.name));
            }
        }
        if !wanted.is_empty() {
            feeds.push(Feed::new(feed.name(), wanted));
        }
    }
    if let Some(missing) =
        pipeline.streams.iter().find(|stream| feeds.iter().all(|feed| feed.stream(stream.name()).is_none()))
    {
        return Err(Error::config("the source offers no such stream")
            .with("stream", missing.name())
            .with("source", pipeline.source.name()));
    }
    let place = |feed: &Feed| pipeline.streams.iter().position(|stream| feed.stream(stream.name()).is_some());
    feeds.sort_by_key(place);
    Ok(feeds)
}

fn scope_of(pipeline: &Pipeline, feed: &Feed, partition: Partition, mode: &Mode) -> Scope {
    let lane = match mode {
        Mode::Incremental | Mode::Full => Lane::Live,
        Mode::Reconcile => Lane::Reconcile,
        // Another range is another backfill: it must not begin where the last one stopped.
        Mode::Backfill { name, rows } => {
            let range = serde_json::to_vec(rows).unwrap_or_default();
            Lane::Backfill(format!("{name}~{}", &blake3::hash(&range).to_hex()[..8]))
        }
    };
    Scope { pipeline: pipeline.name.clone(), feed: feed.name().to_owned(), partition, lane }
}

/// Runs one scope to its end and never fails: what goes wrong is in its report.
async fn run_scope(
    inner: &Arc<Inner>,
    pipeline: &Arc<Pipeline>,
    options: &RunOptions,
    run: &RunId,
    scope: Scope,
    feed: Feed,
    parts: usize,
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
        attempt_scope(inner, pipeline, options, run, &scope, feed, parts, started, &mut books).await
    };
    let ended = in_turn.await;
    let (mut status, mut error) = match ended {
        Ok(Ending::Done) => (RunStatus::Completed, None),
        Ok(Ending::Cancelled) => (RunStatus::Cancelled, None),
        Ok(Ending::Held(error, _)) => (RunStatus::Held, Some(error)),
        Err(error) if error.kind() == ErrorKind::Cancelled => (RunStatus::Cancelled, Some(error)),
        Err(error) => (RunStatus::Failed, Some(error)),
    };
    if status == RunStatus::Completed && !books.ledger.balances() {
        status = RunStatus::Failed;
        error = Some(Error::internal(format!("the ledger does not balance: {:?}", books.ledger)).with("scope", &scope));
    }
    let report = ScopeReport {
        status,
        ledger: books.ledger,
        wire_bytes: books.wire_bytes,
        requests: books.requests,
        late: books.late,
        lateness: books.lateness,
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
    parts: usize,
    started: chrono::DateTime<chrono::Utc>,
    books: &mut Books,
) -> Result<Ending> {
    let held = held_scope(scope);
    if !options.force
        && let Some(until) = in_time(inner, options, with_retries(inner, || inner.store.hold(&held))).await?
        && until > inner.clock.now()
        // A longer one was asked for under another clock.
        && until <= inner.clock.now() + LONGEST_HOLD
    {
        inner.tell(&Event::Held { run: run.clone(), scope: scope.clone(), until });
        let error = Error::new(
            ErrorKind::Throttled,
            format!("the source asked to be left alone until {until}; `force` runs all the same"),
        );
        return Ok(Ending::Held(error, std::time::Duration::ZERO));
    }
    let home = if pipeline.sink.capabilities().atomic_checkpoint { Home::Sink } else { Home::Store };
    let (lease, checkpoint) = if options.dry_run {
        (None, in_time(inner, options, read_checkpoint(inner, pipeline, scope, home)).await?)
    } else {
        let (lease, checkpoint) = in_time(inner, options, claim(inner, pipeline, scope, home)).await?;
        (Some(lease), checkpoint)
    };
    let mut scope_run =
        ScopeRun::new(inner, pipeline, options, run, scope.clone(), feed, parts, lease.clone(), home, checkpoint);
    let record = |status, finished, ledger, error| RunRecord {
        run: run.clone(),
        scope: scope.clone(),
        status,
        started,
        finished,
        ledger,
        error,
    };
    let ended = async {
        let mut entries = unfinished(inner, run, scope, options).await?;
        entries.push(Entry::Run(record(RunStatus::Running, None, scope_run.books.ledger, None)));
        in_time(inner, options, scope_run.record(&entries)).await?;
        guarded(inner, options, lease.as_ref(), &mut scope_run).await
    }
    .await;
    let (status, error) = match &ended {
        Ok(Ending::Done) if scope_run.books.ledger.balances() => (RunStatus::Completed, None),
        Ok(Ending::Done) => (RunStatus::Failed, Some("the ledger does not balance".to_owned())),
        Ok(Ending::Cancelled) => (RunStatus::Cancelled, None),
        Ok(Ending::Held(error, _)) => (RunStatus::Held, Some(error.to_string())),
        Err(error) => (RunStatus::Failed, Some(error.to_string())),
    };
    let mut entries = vec![Entry::Run(record(status, Some(inner.clock.now()), scope_run.books.ledger, error))];
    if let Ok(Ending::Held(_, wait)) = &ended {
        let until = inner.clock.now() + chrono::Duration::from_std(*wait).unwrap_or(chrono::Duration::hours(1));
        inner.tell(&Event::Held { run: run.clone(), scope: scope.clone(), until });
        entries.push(Entry::Hold { scope: held, until: Some(until) });
    }
    let fenced = ended.as_ref().is_err_and(|error| error.kind() == ErrorKind::Fenced);
    let close = async {
        if !fenced && let Err(error) = scope_run.record(&entries).await {
            tracing::warn!(%error, "the run log could not be written");
        }
        if let Some(lease) = &lease
            && !fenced
            && let Err(error) = inner.store.release(lease).await
        {
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

/// The longest a source may ask to be left alone; retries cut what is longer to an hour.
const LONGEST_HOLD: chrono::Duration = chrono::Duration::hours(2);

/// How long a cancelled run tries to say how it ended.
const CLOSING: std::time::Duration = std::time::Duration::from_millis(400);

/// A source that asks to be left alone means all that is asked of it for one account, whatever the feed or the lane.
fn held_scope(scope: &Scope) -> Scope {
    Scope { feed: String::new(), lane: Lane::Live, ..scope.clone() }
}

/// Does the work, unless the run is cancelled and its deadline passes.
async fn in_time<T>(inner: &Inner, options: &RunOptions, work: impl Future<Output = Result<T>>) -> Result<T> {
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

/// Records of earlier runs of this scope that never came to say how they ended: we hold the lease, so they are dead.
async fn unfinished(inner: &Inner, run: &RunId, scope: &Scope, options: &RunOptions) -> Result<Vec<Entry>> {
    if options.dry_run {
        return Ok(Vec::new());
    }
    let query = RunQuery { pipeline: Some(scope.pipeline.clone()), limit: 20, ..RunQuery::default() };
    let recent = in_time(inner, options, with_retries(inner, || inner.store.runs(&query))).await?;
    let dead = |record: &RunRecord| record.status == RunStatus::Running && record.scope == *scope && record.run != *run;
    let close = |record: RunRecord| {
        let error = Some("the process ended before the run did".to_owned());
        Entry::Run(RunRecord { status: RunStatus::Failed, finished: Some(inner.clock.now()), error, ..record })
    };
    Ok(recent.into_iter().filter(dead).map(close).collect())
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

/// All lanes of a scope share one lease: a listing that looks for deleted rows must not run while others come in, or it
/// would take the newcomers for deleted.
fn lease_name(scope: &Scope) -> String {
    Scope { lane: Lane::Live, ..scope.clone() }.to_string()
}

/// Takes the lease, and claims the scope where its checkpoint is kept.
pub(super) async fn claim(
    inner: &Inner,
    pipeline: &Pipeline,
    scope: &Scope,
    home: Home,
) -> Result<(Lease, Checkpoint)> {
    let name = lease_name(scope);
    // A store that lost its memory gives tokens again that it gave before. The token must be higher than any that the sink
    // has seen, or a holder from before could not be told from us.
    let mut floor = FencingToken::default();
    if home == Home::Sink
        && let Err(error) = with_retries(inner, || pipeline.sink.open(scope, floor)).await
    {
        floor = floor_after(&error, floor).ok_or(error)?;
    }
    loop {
        let lease =
            with_retries(inner, || inner.store.acquire(&name, &inner.owner, inner.settings.lease_ttl, floor)).await?;
        let opened = match home {
            Home::Sink => with_retries(inner, || pipeline.sink.open(scope, lease.token)).await,
            Home::Store => with_retries(inner, || inner.store.checkpoint(scope)).await,
        };
        match opened {
            Ok(checkpoint) => return Ok((lease, checkpoint.unwrap_or_default())),
            // The store has lost its memory: the sink knows a higher token than the store has given.
            Err(error) if let Some(higher) = floor_after(&error, lease.token).filter(|higher| *higher > floor) => {
                floor = higher
            }
            Err(error) => {
                // The first error tells more than one of giving back.
                let _ = inner.store.release(&lease).await;
                return Err(error);
            }
        }
    }
}

async fn read_checkpoint(inner: &Inner, pipeline: &Pipeline, scope: &Scope, home: Home) -> Result<Checkpoint> {
    let checkpoint = match home {
        Home::Sink => pipeline.sink.checkpoint(scope).await?,
        Home::Store => inner.store.checkpoint(scope).await?,
    };
    Ok(checkpoint.unwrap_or_default())
}

/// Calls until it succeeds, or the policy says no.
pub(super) async fn with_retries<T, F: Future<Output = Result<T>>>(
    inner: &Inner,
    mut call: impl FnMut() -> F,
) -> Result<T> {
    let mut attempts = inner.settings.retry.start(inner.clock.elapsed());
    loop {
        let error = match call().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        match attempts.next(&error, inner.clock.elapsed(), inner.clock.random()) {
            Verdict::Wait(wait) => inner.clock.sleep(wait).await,
            Verdict::Hold(_) | Verdict::GiveUp(_) => return Err(error),
        }
    }
}

/// A run is as good as the worst of its scopes.
fn worst(scopes: &[ScopeReport], cancelled: bool) -> RunStatus {
    let has = |status| scopes.iter().any(|scope| scope.status == status);
    match () {
        () if has(RunStatus::Failed) => RunStatus::Failed,
        () if has(RunStatus::Cancelled) || cancelled => RunStatus::Cancelled,
        () if has(RunStatus::Held) => RunStatus::Held,
        () => RunStatus::Completed,
    }
}
