//! Two databases and a pipeline that copies from one to the other.

use std::sync::Arc;

use rusqlite::Connection;
use sync_core::memory::MemoryStore;
use sync_core::state::RunStatus;
use sync_core::{Engine, Pipeline, Report, RunOptions, StreamSpec, SystemClock};
use sync_sql::{Sqlite, SqliteSource};

pub(crate) struct World {
    pub(crate) there: Connection,
    pub(crate) here: Connection,
    pub(crate) source: SqliteSource,
    store: MemoryStore,
    folder: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new(create: &str, streams: &[StreamSpec]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let there = Connection::open(folder.path().join("there.db")).unwrap();
        there.execute_batch(create).unwrap();
        let mut source = SqliteSource::open(folder.path().join("there.db")).await.unwrap().page(7);
        for stream in streams {
            source = source.table(stream.clone());
        }
        let here = Connection::open(folder.path().join("here.db")).unwrap();
        Self { there, here, source, store: MemoryStore::new(Arc::new(SystemClock::new())), folder }
    }

    pub(crate) async fn run(&self, options: RunOptions) -> Report {
        let report = self.attempt(options).await;
        assert_eq!(report.status, RunStatus::Completed, "{report}");
        report
    }

    /// A run, however it ends.
    pub(crate) async fn attempt(&self, options: RunOptions) -> Report {
        self.engine().await.run_with("copy", options).await.unwrap()
    }

    pub(crate) async fn engine(&self) -> Engine {
        let sink = Sqlite::open(self.folder.path().join("here.db")).await.unwrap();
        let pipeline = Pipeline::new("copy", self.source.clone(), sink);
        Engine::builder(self.store.clone()).owner("test").pipeline(pipeline).build().unwrap()
    }

    /// The first column of what is here.
    pub(crate) fn texts(&self, sql: &str) -> Vec<String> {
        let mut read = self.here.prepare(sql).unwrap();
        read.query_map([], |row| row.get(0)).unwrap().map(std::result::Result::unwrap).collect()
    }

    /// The keys of the orders that are here.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.texts("SELECT CAST(id AS TEXT) FROM orders ORDER BY id")
    }

    pub(crate) fn assert_same(&self, table: &str) {
        let dump = |connection: &Connection| -> Vec<Vec<rusqlite::types::Value>> {
            let mut read = connection.prepare(&format!("SELECT * FROM \"{table}\" ORDER BY 1, 2")).unwrap();
            let width = read.column_count();
            let rows = read.query_map([], |row| (0..width).map(|column| row.get(column)).collect()).unwrap();
            rows.map(std::result::Result::unwrap).collect()
        };
        assert_eq!(dump(&self.here), dump(&self.there));
    }
}
