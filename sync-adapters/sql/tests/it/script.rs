//! A target database, and a source that says exactly what a test tells it to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::StreamExt;
use rusqlite::Connection;
use sync_core::memory::MemoryStore;
use sync_core::model::{Batch, Mark, Outcome};
use sync_core::source::{CursorKind, Listing, SourceCapabilities};
use sync_core::state::{LetterQuery, RunStatus};
use sync_core::{
    BatchStream, Boundary, Changes, Cursor, Engine, Error, Feed, Pipeline, ReadRequest, Report, Result, Rows,
    RunOptions, Source, StreamSpec, SystemClock, Value,
};
use sync_sql::Sqlite;

/// Answers each read with the next list of batches.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    stream: Arc<StreamSpec>,
    reads: Arc<Mutex<VecDeque<Vec<Result<Batch>>>>>,
}

impl Script {
    pub(crate) fn of(stream: StreamSpec) -> Self {
        Self { stream: Arc::new(stream), reads: Arc::default() }
    }

    /// The next read brings these pages.
    pub(crate) fn then(&self, pages: impl IntoIterator<Item = Batch>) {
        self.reads.lock().unwrap().push_back(pages.into_iter().map(Ok).collect());
    }

    /// The next read brings these pages and fails.
    pub(crate) fn then_fails_after(&self, pages: impl IntoIterator<Item = Batch>) {
        let failure = Err(Error::malformed("the source has broken down"));
        self.reads.lock().unwrap().push_back(pages.into_iter().map(Ok).chain([failure]).collect());
    }

    /// A page of plain rows, and the position after it.
    pub(crate) fn page(&self, rows: impl IntoIterator<Item = Vec<Value>>, position: u64) -> Batch {
        self.changes(Changes::upserts(self.rows(rows)), position)
    }

    /// A page of one change of which only these columns are meant.
    pub(crate) fn partial(&self, row: Vec<Value>, fields: &[usize], position: u64) -> Batch {
        let mut mark = Mark::default();
        mark.fields = Some(fields.iter().copied().collect());
        self.changes(Changes::marked(self.rows([row]), vec![mark]), position)
    }

    /// A page of one deleted row.
    pub(crate) fn delete(&self, row: Vec<Value>, position: u64) -> Batch {
        self.changes(Changes::marked(self.rows([row]), vec![Mark::delete()]), position)
    }

    fn rows(&self, values: impl IntoIterator<Item = Vec<Value>>) -> Rows {
        let mut rows = Rows::new(Arc::clone(self.stream.schema()));
        for row in values {
            rows.push(row.iter().map(Value::as_ref)).unwrap();
        }
        rows
    }

    fn changes(&self, changes: Changes, position: u64) -> Batch {
        Batch::of(&self.stream, changes, Boundary::Resume(Cursor::new(1, &position).unwrap()))
    }
}

#[async_trait]
impl Source for Script {
    fn name(&self) -> &str {
        "script"
    }

    async fn feeds(&self) -> Result<Vec<Feed>> {
        Ok(vec![Feed::one(Arc::clone(&self.stream))])
    }

    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities::replayable(CursorKind::Position).listing(Listing::Rows).ranges()
    }

    fn read(&self, _: ReadRequest) -> BatchStream<'_> {
        let batches = self.reads.lock().unwrap().pop_front().unwrap_or_default();
        futures::stream::iter(batches).boxed()
    }
}

/// The target.
pub(crate) struct Shop {
    pub(crate) plain: Connection,
    sink: Sqlite,
    store: MemoryStore,
    _folder: tempfile::TempDir,
}

impl Shop {
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// With tables that are there before anything runs.
    pub(crate) async fn with(create: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("shop.db");
        let plain = Connection::open(&file).unwrap();
        plain.execute_batch(create).unwrap();
        let sink = Sqlite::open(&file).await.unwrap();
        Self { plain, sink, store: MemoryStore::new(Arc::new(SystemClock::new())), _folder: folder }
    }

    pub(crate) fn engine(&self, source: impl Source + 'static) -> Engine {
        let pipeline = Pipeline::new("shop", source, self.sink.clone());
        Engine::builder(self.store.clone()).owner("test").pipeline(pipeline).build().unwrap()
    }

    /// A run, however it ends.
    pub(crate) async fn attempt(&self, source: impl Source + 'static, options: RunOptions) -> Report {
        self.engine(source).run_with("shop", options).await.unwrap()
    }

    pub(crate) async fn run(&self, source: impl Source + 'static, options: RunOptions) -> Report {
        let report = self.attempt(source, options).await;
        assert_eq!(report.status, RunStatus::Completed, "{report}");
        report
    }

    /// The error of a run that fails, or nothing.
    pub(crate) async fn refusal(&self, source: impl Source + 'static) -> String {
        let report = self.attempt(source, RunOptions::incremental()).await;
        let errors = report.scopes.iter().filter_map(|scope| scope.error.as_ref());
        errors.map(|error| format!("{:?}: {error}", error.kind())).collect()
    }

    /// The keys of rows among the dead letters.
    pub(crate) async fn letters(&self, source: impl Source + 'static) -> Vec<String> {
        let letters = self.engine(source).dead_letters(&LetterQuery::default()).await.unwrap();
        letters.iter().map(|letter| letter.key.as_ref().map_or_else(String::new, ToString::to_string)).collect()
    }

    /// The first column, as text.
    pub(crate) fn texts(&self, sql: &str) -> Vec<String> {
        let mut read = self.plain.prepare(sql).unwrap();
        read.query_map([], |row| row.get(0)).unwrap().map(std::result::Result::unwrap).collect()
    }
}

/// id, n, note
pub(crate) fn orders() -> StreamSpec {
    StreamSpec::new("orders").key(["id"]).int("n").text("note")
}

pub(crate) fn row(id: i64, n: i64, note: &str) -> Vec<Value> {
    vec![id.into(), n.into(), note.into()]
}

pub(crate) fn count(report: &Report, outcome: Outcome) -> u64 {
    report.ledger().count(outcome)
}
