//! An engine over a SQLite database, with a source that says exactly what a test tells it to.

use std::collections::VecDeque;
pub(crate) use std::sync::{Arc, Mutex};
pub(crate) use std::time::Duration;

pub(crate) use async_trait::async_trait;
pub(crate) use futures::StreamExt;
pub(crate) use rusqlite::Connection;
pub(crate) use sync_core::conflict::{Park, Resolution, decide};
pub(crate) use sync_core::memory::{FirstLoad, MemorySource, MemoryStore};
pub(crate) use sync_core::model::{Batch, Disposition, Mark, Outcome, Reject, RowScope};
pub(crate) use sync_core::source::{CursorKind, Listing, SourceCapabilities};
pub(crate) use sync_core::state::{LetterQuery, RunStatus};
pub(crate) use sync_core::{
    BatchStream, Boundary, Changes, Cursor, Engine, Feed, Key, Pipeline, ReadRequest, Report, Result, Rows, RunOptions,
    Source, StreamSpec, SystemClock, Value,
};
pub(crate) use sync_sql::{Sqlite, SqliteSource};
pub(crate) use tokio_util::sync::CancellationToken;

/// Answers each read with the next list of batches.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) stream: Arc<StreamSpec>,
    pub(crate) reads: Arc<Mutex<VecDeque<Vec<Batch>>>>,
}

impl Script {
    pub(crate) fn of(stream: &Arc<StreamSpec>) -> Self {
        Self { stream: Arc::clone(stream), reads: Arc::default() }
    }

    pub(crate) fn then(&self, batches: Vec<Batch>) {
        self.reads.lock().unwrap().push_back(batches);
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
        futures::stream::iter(batches.into_iter().map(Ok)).boxed()
    }
}

pub(crate) fn rows(stream: &Arc<StreamSpec>, values: &[Vec<Value>]) -> Rows {
    let mut rows = Rows::new(Arc::clone(stream.schema()));
    for row in values {
        rows.push(row.iter().map(Value::as_ref)).unwrap();
    }
    rows
}

pub(crate) fn at(position: u64) -> Boundary {
    Boundary::Resume(Cursor::new(1, &position).unwrap())
}

pub(crate) fn page(stream: &Arc<StreamSpec>, values: &[Vec<Value>], boundary: Boundary) -> Batch {
    Batch::of(stream, Changes::upserts(rows(stream, values)), boundary)
}

pub(crate) fn reject(stream: &Arc<StreamSpec>, id: i64) -> Reject {
    Reject {
        stream: Arc::clone(stream),
        key: Some(Key::new([id])),
        body: format!("{{\"id\":{id}}}").into_bytes().into(),
        reason: "no number".into(),
    }
}

/// id, n, note
pub(crate) fn orders() -> Arc<StreamSpec> {
    Arc::new(StreamSpec::new("orders").key(["id"]).int("n").text("note"))
}

pub(crate) fn versioned() -> Arc<StreamSpec> {
    Arc::new(StreamSpec::new("orders").key(["id"]).int("version").version("version").text("note"))
}

pub(crate) fn row(id: i64, n: i64, note: &str) -> Vec<Value> {
    vec![id.into(), n.into(), note.into()]
}

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) store: MemoryStore,
    pub(crate) sink: Sqlite,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::prepared("").await
    }

    pub(crate) async fn prepared(sql: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("shop.db");
        Connection::open(&file).unwrap().execute_batch(sql).unwrap();
        let sink = Sqlite::open(&file).await.unwrap();
        Self { folder, store: MemoryStore::new(Arc::new(SystemClock::new())), sink }
    }

    pub(crate) fn plain(&self) -> Connection {
        Connection::open(self.folder.path().join("shop.db")).unwrap()
    }

    pub(crate) fn pipeline(&self, source: impl Source + 'static) -> Pipeline {
        Pipeline::new("shop", source, self.sink.clone())
    }

    pub(crate) fn engine(&self, pipeline: Pipeline) -> Engine {
        Engine::builder(self.store.clone()).owner("test").pipeline(pipeline).build().unwrap()
    }

    pub(crate) async fn run(&self, pipeline: Pipeline, options: RunOptions) -> Report {
        self.engine(pipeline).run_with("shop", options).await.unwrap()
    }

    pub(crate) fn texts(&self, sql: &str) -> Vec<String> {
        let plain = self.plain();
        let mut read = plain.prepare(sql).unwrap();
        read.query_map([], |row| row.get(0)).unwrap().map(std::result::Result::unwrap).collect()
    }

    pub(crate) fn ids(&self) -> Vec<i64> {
        let plain = self.plain();
        let mut read = plain.prepare("SELECT id FROM orders ORDER BY id").unwrap();
        read.query_map([], |row| row.get(0)).unwrap().map(std::result::Result::unwrap).collect()
    }

    pub(crate) async fn letters(&self, pipeline: Pipeline) -> Vec<String> {
        let query = LetterQuery { limit: 10_000, ..LetterQuery::default() };
        let letters = self.engine(pipeline).dead_letters(&query).await.unwrap();
        letters.iter().map(|letter| letter.key.as_ref().map_or_else(String::new, ToString::to_string)).collect()
    }
}

pub(crate) fn count(report: &Report, outcome: Outcome) -> u64 {
    report.ledger().count(outcome)
}

#[derive(Debug)]
pub(crate) struct StopAfter(pub(crate) CancellationToken, pub(crate) Mutex<u32>);

impl sync_core::event::Listener for StopAfter {
    fn on(&self, event: &sync_core::event::Event) {
        if let sync_core::event::Event::Applied { .. } = event {
            let mut left = self.1.lock().unwrap();
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.0.cancel();
            }
        }
    }
}

pub(crate) fn source_table(world: &World, sql: &str) -> std::path::PathBuf {
    let file = world.folder.path().join("source.db");
    let plain = Connection::open(&file).unwrap();
    plain.execute_batch("PRAGMA journal_mode = WAL;").unwrap();
    plain.execute_batch(sql).unwrap();
    file
}

#[derive(Debug)]
pub(crate) struct Mute;

#[async_trait]
impl Source for Mute {
    fn name(&self) -> &str {
        "mute"
    }
    async fn feeds(&self) -> Result<Vec<Feed>> {
        std::future::pending().await
    }
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities::replayable(CursorKind::Position)
    }
    fn read(&self, _: ReadRequest) -> BatchStream<'_> {
        futures::stream::pending().boxed()
    }
}

pub(crate) fn dump(world: &World) -> Vec<String> {
    let plain = world.plain();
    let mut read = plain.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").unwrap();
    let tables: Vec<String> = read.query_map([], |row| row.get(0)).unwrap().map(std::result::Result::unwrap).collect();
    tables
        .into_iter()
        .map(|table| {
            let mut read = plain.prepare(&format!("SELECT * FROM \"{table}\"")).unwrap();
            let width = read.column_count();
            let mut rows = read.query([]).unwrap();
            let mut text = table;
            while let Some(row) = rows.next().unwrap() {
                for column in 0..width {
                    text += &format!("|{:?}", row.get_ref(column).unwrap());
                }
            }
            text
        })
        .collect()
}

pub(crate) fn marked(stream: &StreamSpec) -> Arc<StreamSpec> {
    Arc::new(stream.clone().absent(sync_core::model::Absent::Mark("gone_at".into())))
}

pub(crate) const NO_BAD_NOTES: &str =
    "CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, n INTEGER, note TEXT CHECK (note <> 'bad'));";
