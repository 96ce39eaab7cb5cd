//! Tables that are followed, whatever the database: the same tests on all of them.

mod changes;
mod listings;
mod proof;
mod servers;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sync_core::memory::MemoryStore;
use sync_core::state::RunStatus;
use sync_core::{Clock, Engine, Pipeline, Report, Result, RunOptions, Source, StreamSpec, SystemClock};
use sync_sql::Sqlite;

#[cfg(feature = "mysql")]
pub(crate) use servers::OnMariaDb;
#[cfg(feature = "postgres")]
pub(crate) use servers::OnPostgres;
pub(crate) use servers::OnSqlite;

/// A database with tables to follow, and what differs in its SQL.
#[async_trait]
pub(crate) trait There: Send + Sync + 'static {
    type Source: Tables;

    /// The type of a column that holds times to the microsecond.
    const TIME: &str;

    /// The type of a column that holds long texts.
    const LONG_TEXT: &str = "text";

    /// The type of a column that holds decimals.
    const DECIMAL: &str = "decimal(12,2)";

    /// The time a second after the newest version.
    const NEXT_SECOND: &str = "max(version) + interval '1' second";

    /// An empty database.
    async fn new() -> Self;

    async fn source(&self) -> Result<Self::Source>;

    /// Runs statements. Gives rows as lines, fields parted by tabs.
    async fn sql(&self, sql: &str) -> String;

    /// A time in UTC, such as `2026-01-01 10:20:30`, as a literal.
    fn time(at: &str) -> String;

    fn quoted(name: &str) -> String {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// What all sources of tables have.
#[async_trait]
pub(crate) trait Tables: Source + Clone + 'static {
    fn table(self, stream: StreamSpec) -> Self;
    fn page(self, rows: usize) -> Self;
    fn inclusive(self) -> Self;
    fn lookback(self, time: Duration) -> Self;
    fn clock(self, clock: Arc<dyn Clock>) -> Self;
    async fn discover(&self, table: &str) -> Result<StreamSpec>;
    async fn tables(&self) -> Result<Vec<String>>;
}

/// Runs tests on every database that this build knows.
macro_rules! on_every_database {
    ($($test:ident)*) => {
        on_every_database!(sqlite, OnSqlite, $($test)*);
        #[cfg(feature = "postgres")]
        on_every_database!(postgres, OnPostgres, $($test)*);
        #[cfg(feature = "mysql")]
        on_every_database!(mariadb, OnMariaDb, $($test)*);
    };
    ($database:ident, $there:ident, $($test:ident)*) => {
        mod $database {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    super::$test::<crate::followed::$there>().await;
                }
            )*
        }
    };
}
use on_every_database;
#[cfg(feature = "postgres")]
pub(crate) use proof::{HELD, prove};

/// A database, a target in SQLite, and the way from one to the other.
pub(crate) struct World<T: There> {
    pub(crate) there: T,
    pub(crate) here: rusqlite::Connection,
    pub(crate) source: T::Source,
    store: MemoryStore,
    folder: tempfile::TempDir,
}

impl<T: There> World<T> {
    pub(crate) async fn new(create: &str, streams: &[StreamSpec]) -> Self {
        Self::on(T::new().await, create, streams).await
    }

    pub(crate) async fn on(there: T, create: &str, streams: &[StreamSpec]) -> Self {
        there.sql(create).await;
        let source = there.source().await.unwrap().page(7);
        let source = streams.iter().cloned().fold(source, Tables::table);
        let folder = tempfile::tempdir().unwrap();
        let here = rusqlite::Connection::open(folder.path().join("here.db")).unwrap();
        Self { there, here, source, store: MemoryStore::new(Arc::new(SystemClock::new())), folder }
    }

    /// From now on the source reads this stream, and no other.
    pub(crate) async fn declare(&mut self, stream: StreamSpec) {
        self.source = self.there.source().await.unwrap().page(7).table(stream);
    }

    /// A run, however it ends.
    pub(crate) async fn attempt(&self, options: RunOptions) -> Report {
        let sink = Sqlite::open(self.folder.path().join("here.db")).await.unwrap();
        let pipeline = Pipeline::new("copy", self.source.clone(), sink);
        let engine = Engine::builder(self.store.clone()).owner("test").pipeline(pipeline).build().unwrap();
        engine.run_with("copy", options).await.unwrap()
    }

    pub(crate) async fn run(&self, options: RunOptions) -> Report {
        let report = self.attempt(options).await;
        assert_eq!(report.status, RunStatus::Completed, "{report}");
        report
    }

    pub(crate) async fn refused(&self) -> String {
        let error = self.source.check().await.unwrap_err();
        let report = self.attempt(RunOptions::incremental()).await;
        assert_eq!(report.status, RunStatus::Failed, "what is refused by a check is refused by a run: {report}");
        error.to_string()
    }

    pub(crate) async fn sql(&self, sql: &str) -> String {
        self.there.sql(sql).await
    }

    /// Rows that are here, their columns parted by commas.
    pub(crate) fn rows(&self, columns: &str) -> Vec<String> {
        let list = columns.split(", ").map(|column| format!("CAST({column} AS TEXT)")).collect::<Vec<_>>();
        let mut read =
            self.here.prepare(&format!("SELECT {} FROM orders ORDER BY 1", list.join(" || ',' || "))).unwrap();
        read.query_map([], |row| row.get(0)).unwrap().map(std::result::Result::unwrap).collect()
    }
}

/// The table `orders (id, version, note)`, followed by a number.
pub(crate) const BY_NUMBER: &str = "CREATE TABLE orders (id int PRIMARY KEY, version bigint, note text);";

pub(crate) fn by_number() -> StreamSpec {
    StreamSpec::new("orders").key(["id"]).int("version").version("version").text("note")
}

/// The table `orders (id, at, note)`, followed by a time.
pub(crate) fn by_time() -> StreamSpec {
    StreamSpec::new("orders").key(["id"]).version("at").text("note")
}

pub(crate) fn create_by_time<T: There>() -> String {
    format!("CREATE TABLE orders (id int PRIMARY KEY, at {} NOT NULL, note text);", T::TIME)
}

/// `INSERT INTO orders VALUES …`, a row for each number.
pub(crate) fn insert(numbers: std::ops::RangeInclusive<i64>, row: impl Fn(i64) -> String) -> String {
    let rows = numbers.map(|number| format!("({})", row(number))).collect::<Vec<_>>();
    format!("INSERT INTO orders VALUES {};", rows.join(", "))
}
