//! One run of a pipeline: feeds one after the other, partitions of a feed at once, each under its own lease.

use std::sync::Arc;

use futures::StreamExt;
use tracing::Instrument;

use super::Inner;
use super::attempt::{in_time, run_scope};
use super::options::{Mode, RunOptions};
use super::pipeline::Pipeline;
use super::report::{Report, ScopeReport};
use super::targets;
use super::unfilled::Unfilled;
use super::waiting::{Errand, with_retries};
use crate::event::Event;
use crate::model::{Feed, Field, Lane, Partition, Scope, StreamSpec};
use crate::source::Listing;
use crate::state::{RunId, RunStatus};
use crate::{Error, Result};

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
        for feed in in_time(inner, &options, feeds(inner, pipeline, &run)).await? {
            if options.mode == Mode::Reconcile
                && let Some(keyless) = feed.streams().iter().find(|stream| stream.key_columns().is_empty())
            {
                return Err(Error::config(
                    "a stream without key cannot be reconciled: nothing tells which rows are gone",
                )
                .with("stream", keyless.name())
                .with("pipeline", &pipeline.name));
            }
            let listed = with_retries(inner, listing(pipeline, &run), || pipeline.source.partitions(&feed));
            let partitions = in_time(inner, &options, listed).await?;
            let scopes_of_feed: Vec<Scope> =
                partitions.into_iter().map(|partition| scope_of(pipeline, &feed, partition, &options.mode)).collect();
            let known = targets::look(inner, pipeline, &options, &run, &feed, &scopes_of_feed).await?;
            let mut at_once = futures::stream::iter(scopes_of_feed.into_iter().map(|scope| {
                let span = tracing::info_span!("partition", %scope);
                Box::pin(
                    run_scope(inner, pipeline, &options, &run, scope, feed.clone(), known.clone()).instrument(span),
                )
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
    for Unfilled { stream, columns, rows } in report.unfilled() {
        inner.tell(&Event::Unfilled { run: run.clone(), stream, columns, rows });
    }
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
async fn feeds(inner: &Inner, pipeline: &Pipeline, run: &RunId) -> Result<Vec<Feed>> {
    let offered = with_retries(inner, listing(pipeline, run), || pipeline.source.feeds()).await?;
    if offered.is_empty() {
        return Err(Error::config("the source offers no feeds, so there is nothing to bring")
            .with_remedy("declare a stream at the source, or see that `Source::feeds` names them")
            .with("source", pipeline.source.name()));
    }
    let mut feeds: Vec<Feed> = Vec::new();
    for feed in offered {
        if feeds.iter().any(|known| known.name() == feed.name()) {
            return Err(Error::config("the source offers two feeds of one name, which would share a position")
                .with_remedy("give each of them a name of its own in `Source::feeds`")
                .with("feed", feed.name())
                .with("source", pipeline.source.name()));
        }
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
                let what = match differing(declared, stream) {
                    Some(column) => format!("differently, as in column {column:?}"),
                    None => "differently".to_owned(),
                };
                return Err(Error::config(format!(
                    "the pipeline and the source declare this stream {what}: give both the same declaration"
                ))
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

/// The source is asked what it offers: there is no scope yet.
fn listing<'a>(pipeline: &'a Pipeline, run: &'a RunId) -> Errand<'a> {
    Errand { run: Some(run), scope: None, doing: "list", on: pipeline.source.name() }
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

/// The first column that is not the same in two declarations of a stream; none, where they differ in something else.
fn differing<'a>(one: &'a StreamSpec, other: &'a StreamSpec) -> Option<&'a str> {
    let only_in = |a: &'a StreamSpec, b: &StreamSpec| {
        let has = |field: &Field| b.schema().fields().contains(field);
        a.schema().fields().iter().find(|field| !has(field)).map(Field::name)
    };
    only_in(one, other).or_else(|| only_in(other, one))
}
