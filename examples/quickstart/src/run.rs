//! One run: from the API into the database, with a progress bar meanwhile and a report afterwards.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde_json::{Map, Value, json};
use sync_core::engine::Pipeline;
use sync_core::event::{Event, Listener};
use sync_core::model::Outcome;
use sync_core::{Engine, Ledger, Report, RunOptions};
use sync_rest::{Rest, get};
use sync_sql::Sqlite;
use sync_store_sql::SqlStore;
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::args::Args;
use crate::error::{Error, Result};
use crate::table::{DataSet, Table};

/// Rows asked for at once.
const PAGE: u64 = 1000;

/// How long a run that was told to stop may take to reach a boundary.
const STOPPING: Duration = Duration::from_secs(5);

/// How long the files are waited for in silence when they are opened.
const SILENCE: Duration = Duration::from_secs(3);

const DATABASE_LOCKED: &str = "waiting for the database: locked by another program";

/// How long the files are waited for at the end.
const CLOSING: Duration = Duration::from_secs(2);

/// Brings the API's tables into the database.
pub(crate) async fn run(args: &Args, data: &DataSet, api: &Api) -> Result<Report> {
    let failed = |error| Error::of_sync("the run could not begin", error);
    let mut source = Rest::at(api.url()).named("quickstart API");
    for table in &data.tables {
        source = source.stream(&table.spec(), endpoint(table));
    }
    let source = source.build().map_err(failed)?;
    let progress = Progress::new(data.tables.iter().map(|table| table.rows.len() as u64).sum());
    let sink = progress.while_opening(Sqlite::open(&args.db)).await.map_err(failed)?;
    let store = Box::pin(progress.while_opening(SqlStore::open_sqlite(&args.db))).await.map_err(failed)?;
    let engine = Engine::builder(store.clone())
        .owner("quickstart")
        .listener(progress.clone())
        .pipeline(Pipeline::new("quickstart", source, sink.clone()))
        .build()
        .map_err(failed)?;
    let report = engine.run_with("quickstart", options(args, &progress)).await.map_err(failed);
    progress.bar.finish_and_clear();
    // Then SQLite leaves one file and none beside it. A file that somebody else holds is left as it is.
    let closed = async {
        sink.close().await;
        store.close().await;
    };
    let _ = tokio::time::timeout(CLOSING, closed).await;
    report
}

/// Where a table is served, and how its pages follow each other.
fn endpoint(table: &Table) -> sync_rest::Endpoint {
    let endpoint = get(format!("/{}", table.name))
        .records("/data")
        .cursor("/next")
        .page_param("cursor")
        .size("limit", PAGE)
        .total("/total")
        .ordered_by_key();
    if table.version.is_some() { endpoint.since("updated_since") } else { endpoint }
}

fn options(args: &Args, progress: &Progress) -> RunOptions {
    let options = if args.full { RunOptions::full() } else { RunOptions::incremental() };
    let options = if args.dry_run { options.dry_run() } else { options };
    let stop = CancellationToken::new();
    let (asked, progress) = (stop.clone(), progress.clone());
    tokio::spawn(async move {
        if asked_to_stop().await.is_err() {
            return;
        }
        asked.cancel();
        progress.bar.suspend(|| {
            eprintln!(
                "stopping at the next position that is safe, within {} s; again to stop at once",
                STOPPING.as_secs()
            );
        });
        // Who asks twice does not want to wait: whatever is under way is taken back by the database.
        if asked_to_stop().await.is_ok() {
            std::process::exit(130);
        }
    });
    options.cancel(stop).stop_within(STOPPING)
}

/// Waits for Ctrl-C, or for what a supervisor sends.
async fn asked_to_stop() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            asked = tokio::signal::ctrl_c() => asked,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

/// Shows how many rows have come, on a terminal only.
#[derive(Debug, Clone)]
struct Progress {
    bar: Arc<ProgressBar>,
}

impl Progress {
    fn new(rows: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(rows), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} rows  {per_sec}  {msg}");
        let per_second = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            // A line that cannot be drawn is no reason to stop.
            let _ = write!(out, "{}/s", HumanCount(state.per_sec() as u64));
        };
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).with_key("per_sec", per_second));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar: Arc::new(bar) }
    }

    /// The engine tells of waits of its own; the files are opened before there is one.
    async fn while_opening<T>(&self, opening: impl Future<Output = T>) -> T {
        let mut opening = pin!(opening);
        let began = Instant::now();
        loop {
            match tokio::time::timeout(SILENCE, &mut opening).await {
                Ok(opened) => return opened,
                Err(_) => self.waits(format!("{DATABASE_LOCKED} ({} s)", began.elapsed().as_secs())),
            }
        }
    }

    fn waits(&self, what: String) {
        if self.bar.is_hidden() {
            eprintln!("{what}");
        }
        self.bar.set_message(what);
    }
}

impl Listener for Progress {
    fn on(&self, event: &Event) {
        match event {
            Event::ScopeStarted { scope, .. } => self.bar.set_message(scope.feed.clone()),
            Event::Isolating { scope, rows, found, .. } => self.bar.set_message(format!(
                "{}: telling refused rows from {} others, {} found",
                scope.feed,
                HumanCount(*rows),
                HumanCount(*found)
            )),
            Event::Waiting { doing, on, waited, .. } => {
                let what = match *doing {
                    "read" | "list" => format!("waiting for the {on}"),
                    "write" => "waiting for the database: it is slow, or locked by another program".to_owned(),
                    _ => DATABASE_LOCKED.to_owned(),
                };
                self.waits(format!("{what} ({} s)", waited.as_secs()));
            }
            Event::Applied { scope, .. } => self.bar.set_message(scope.feed.clone()),
            Event::Fetched { rows, .. } => self.bar.inc(*rows),
            Event::Retrying { error, wait, .. } => {
                // The bar's own way of printing says nothing where there is no terminal.
                self.bar.suspend(|| eprintln!("trying again in {:.1} s: {error}", wait.as_secs_f64()));
            }
            _ => {}
        }
    }
}

/// The report as one JSON object on one line: the sums of all streams under the ledger's names, then the rest.
pub(crate) fn to_json(report: &Report, changed: &[String]) -> String {
    let mut object = counts(&report.ledger());
    let streams: Map<String, Value> =
        report.scopes.iter().map(|scope| (scope.scope.feed.clone(), counts(&scope.ledger).into())).collect();
    let errors: Vec<String> =
        report.scopes.iter().filter_map(|scope| Some(scope.error.as_ref()?.to_string())).collect();
    let first_rejected: Map<String, Value> = report
        .scopes
        .iter()
        .filter_map(|scope| Some((scope.scope.feed.clone(), scope.first_rejected.as_deref()?.into())))
        .collect();
    let added: Vec<&String> = report.scopes.iter().flat_map(|scope| &scope.altered.added).collect();
    let widened: Vec<&String> = report.scopes.iter().flat_map(|scope| &scope.altered.widened).collect();
    object.insert("status".into(), report.status.name().into());
    object.insert("dry_run".into(), report.dry_run.into());
    object.insert("streams".into(), streams.into());
    object.insert("requests".into(), report.requests().into());
    object.insert("seconds".into(), json!(report.elapsed.as_secs_f64()));
    object.insert("rows_per_second".into(), report.rows_per_second().into());
    object.insert("errors".into(), errors.into());
    object.insert("first_rejected".into(), json!(first_rejected));
    object.insert("added_columns".into(), json!(added));
    object.insert("widened_columns".into(), json!(widened));
    object.insert("changed_columns".into(), changed.into());
    Value::from(object).to_string()
}

/// The same form for a run that could not begin.
pub(crate) fn error_to_json(error: &Error) -> String {
    json!({ "status": "failed", "errors": [error.to_string()] }).to_string()
}

fn counts(ledger: &Ledger) -> Map<String, Value> {
    let came_in = [("fetched", ledger.fetched), ("absent", ledger.absent), ("carried", ledger.carried)];
    let became = Outcome::ALL.into_iter().map(|outcome| (outcome.name(), ledger.count(outcome)));
    came_in.into_iter().chain(became).map(|(name, count)| (name.to_owned(), count.into())).collect()
}
