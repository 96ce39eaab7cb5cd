//! The run loop and what is built around it.
//!
//! One loop (`scope_run.rs`) serves every kind of run: incremental, full, new-only, dry run, reconcile and backfill are
//! options of it. Reading runs ahead in a task of its own (`read_ahead.rs`); the loop gathers what is ready into units
//! (`unit.rs`), settles each with the sink (`settle.rs`), and adds up what became of every row.

mod attempt;
mod begin;
mod breaker;
mod builder;
mod claim;
mod discard;
mod flags;
mod guarantee;
mod hollow;
mod lateness;
mod lease_keeper;
mod listing;
mod obsolete;
mod options;
mod pipeline;
mod planted;
mod poison;
mod prepare;
mod read_ahead;
mod replay;
mod report;
mod report_table;
mod resolve;
mod run;
mod scope_run;
mod settle;
mod targets;
mod unfilled;
mod unit;
mod waiting;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Clock;
use crate::event::{Event, Listener};
use crate::state::{DeadLetter, LetterId, LetterQuery, RunQuery, RunRecord, StateStore};
use crate::{Error, Result};

pub use breaker::Breaker;
pub use builder::EngineBuilder;
pub use guarantee::{Guarantee, guarantee};
pub use options::{Mode, RunOptions};
pub use pipeline::{FirstLoad, Pipeline};
#[cfg(feature = "planted-bugs")]
pub use planted::Bug;
pub use report::{Report, ScopeReport};
pub use unfilled::Unfilled;

/// Runs pipelines. Cheap to clone; all clones are one engine.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<dyn StateStore>,
    clock: Arc<dyn Clock>,
    pipelines: BTreeMap<String, Arc<Pipeline>>,
    listeners: Vec<Arc<dyn Listener>>,
    owner: String,
    settings: builder::Settings,
    turns: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Inner {
    fn tell(&self, event: &Event) {
        for listener in &self.listeners {
            listener.on(event);
        }
    }

    /// Whose turn it is under a lease's name: runs of one engine wait for each other instead of fencing each other.
    fn turn(&self, lease: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(lease.to_owned()).or_default())
    }

    fn pipeline(&self, name: &str) -> Result<Arc<Pipeline>> {
        self.pipelines.get(name).map(Arc::clone).ok_or_else(|| {
            let known: Vec<&str> = self.pipelines.keys().map(String::as_str).collect();
            Error::config(format!("there is no pipeline {name:?}; there are: {}", known.join(", ")))
        })
    }
}

impl Engine {
    /// Begins an engine that keeps its state here.
    pub fn builder(store: impl StateStore + 'static) -> EngineBuilder {
        EngineBuilder::new(store)
    }

    /// The names of its pipelines.
    pub fn pipelines(&self) -> impl Iterator<Item = &str> {
        self.inner.pipelines.keys().map(String::as_str)
    }

    /// Brings over what changed since the last run.
    ///
    /// # Errors
    /// `Config` when there is no such pipeline. What goes wrong in the run itself is in the report: see
    /// [`Report::completed`].
    pub async fn run(&self, pipeline: &str) -> Result<Report> {
        self.run_with(pipeline, RunOptions::default()).await
    }

    /// Runs a pipeline as asked.
    ///
    /// # Errors
    /// `Config` when there is no such pipeline, or it cannot do what is asked. What goes wrong in the run itself is in
    /// the report.
    pub async fn run_with(&self, pipeline: &str, options: RunOptions) -> Result<Report> {
        let pipeline = self.inner.pipeline(pipeline)?;
        Box::pin(run::run(&self.inner, &pipeline, options)).await
    }

    /// Tries dead letters again that match the query: rejected ones are written again, without ever replacing a newer
    /// row; those that succeed are marked as dealt with.
    ///
    /// # Errors
    /// `Config` when there is no such pipeline; otherwise what keeps the letters from being read or the sink from
    /// being written. A letter that is rejected again stays where it is, and is counted.
    pub async fn replay(&self, pipeline: &str, query: LetterQuery) -> Result<crate::Ledger> {
        let pipeline = self.inner.pipeline(pipeline)?;
        Box::pin(replay::replay(&self.inner, &pipeline, query)).await
    }

    /// Drops dead letters: nobody wants their rows any more. Says how many of them waited; one that was dealt with before, or
    /// that belongs to another pipeline, is left alone. The source is not touched: a row that comes again and is refused
    /// again is a new letter.
    ///
    /// # Errors
    /// `Config` when there is no such pipeline, `Fenced` while another process drops letters of it; otherwise what keeps the
    /// store from being read or written.
    pub async fn discard(&self, pipeline: &str, letters: &[LetterId]) -> Result<u64> {
        let pipeline = self.inner.pipeline(pipeline)?;
        discard::discard(&self.inner, &pipeline, letters).await
    }

    /// Dead letters, oldest first, a page at a time.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn dead_letters(&self, query: &LetterQuery) -> Result<Vec<DeadLetter>> {
        self.inner.store.dead_letters(query).await
    }

    /// What past runs did, newest first, a page at a time.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn history(&self, query: &RunQuery) -> Result<Vec<RunRecord>> {
        self.inner.store.runs(query).await
    }

    /// Whether the source and the sink of a pipeline can be reached and let us work. Changes nothing.
    ///
    /// It looks at no single table: neither at the account's rights there, nor whether the table and the records are as they are
    /// declared. A run with [`dry_run`](crate::engine::RunOptions::dry_run) does, and writes nothing either. That the account may not
    /// make or alter a table which a run would make or alter is told by that run alone.
    ///
    /// # Errors
    /// What is wrong with the first of the two that fails.
    pub async fn check(&self, pipeline: &str) -> Result<()> {
        let pipeline = self.inner.pipeline(pipeline)?;
        pipeline.source.check().await?;
        pipeline.sink.check().await
    }
}
