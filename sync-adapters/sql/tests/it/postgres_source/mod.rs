//! PostgreSQL as a source, on a real server.

mod discovery;
mod late;
mod proof;
mod reading;

use std::sync::Arc;

use sync_core::memory::MemoryStore;
use sync_core::state::RunStatus;
use sync_core::{Engine, Pipeline, Report, RunOptions, Source, StreamSpec, SystemClock};
use sync_sql::{PostgresSource, Sqlite};
use sync_test_servers::Database;

/// A database, a target in SQLite, and the way from one to the other.
struct World {
    there: Database,
    here: rusqlite::Connection,
    source: PostgresSource,
    store: MemoryStore,
    folder: tempfile::TempDir,
}

impl World {
    async fn new(create: &str, streams: &[StreamSpec]) -> Self {
        Self::on(sync_test_servers::postgres().await.unwrap(), create, streams).await
    }

    async fn on(there: Database, create: &str, streams: &[StreamSpec]) -> Self {
        there.client(create).await.unwrap();
        let mut source = PostgresSource::connect(&there.url()).await.unwrap().page(7);
        for stream in streams {
            source = source.table(stream.clone());
        }
        let folder = tempfile::tempdir().unwrap();
        let here = rusqlite::Connection::open(folder.path().join("here.db")).unwrap();
        Self { there, here, source, store: MemoryStore::new(Arc::new(SystemClock::new())), folder }
    }

    async fn attempt(&self, options: RunOptions) -> Report {
        let sink = Sqlite::open(self.folder.path().join("here.db")).await.unwrap();
        let pipeline = Pipeline::new("copy", self.source.clone(), sink);
        let engine = Engine::builder(self.store.clone()).owner("test").pipeline(pipeline).build().unwrap();
        engine.run_with("copy", options).await.unwrap()
    }

    async fn run(&self, options: RunOptions) -> Report {
        let report = self.attempt(options).await;
        assert_eq!(report.status, RunStatus::Completed, "{report}");
        report
    }

    async fn refused(&self) -> String {
        let error = self.source.check().await.unwrap_err();
        let report = self.attempt(RunOptions::incremental()).await;
        assert_eq!(report.status, RunStatus::Failed, "what is refused by a check is refused by a run: {report}");
        error.to_string()
    }

    async fn sql(&self, sql: &str) -> String {
        self.there.client(sql).await.unwrap()
    }

    /// Rows that are here, their columns parted by commas.
    fn rows(&self, columns: &str) -> Vec<String> {
        let list = columns.split(", ").map(|column| format!("CAST({column} AS TEXT)")).collect::<Vec<_>>();
        let mut read =
            self.here.prepare(&format!("SELECT {} FROM orders ORDER BY 1", list.join(" || ',' || "))).unwrap();
        read.query_map([], |row| row.get(0)).unwrap().map(std::result::Result::unwrap).collect()
    }
}

fn by_number() -> StreamSpec {
    StreamSpec::new("orders").key(["id"]).int("version").version("version").text("note")
}

fn by_time() -> StreamSpec {
    StreamSpec::new("orders").key(["id"]).version("at").text("note")
}

const BY_NUMBER: &str = "CREATE TABLE orders (id int PRIMARY KEY, version bigint, note text);";
const BY_TIME: &str = "CREATE TABLE orders (id int PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), note text);";
