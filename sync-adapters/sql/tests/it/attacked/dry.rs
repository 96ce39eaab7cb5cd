//! Dry runs, compared with what the databases hold before and after, and with the real run that follows.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use sync_core::memory::{MemorySource, MemoryStore};
use sync_core::retry::RetryPolicy;
use sync_core::source::Listing;
use sync_core::{Engine, Feed, Pipeline, Report, RunOptions, Sink, StreamSpec, SystemClock};
use sync_sql::Sqlite;
use sync_test_servers::Database;
use sync_testkit::fault::{FaultPlan, Faulty};

use crate::faults::Server;

/// A database of any of the three, with somebody's own eyes on it.
pub(super) enum There {
    Server(Server, Database),
    File(tempfile::TempDir),
}

impl There {
    pub(super) async fn all() -> Vec<Self> {
        vec![
            Self::File(tempfile::tempdir().unwrap()),
            Self::Server(Server::Postgres, Server::Postgres.database().await),
            Self::Server(Server::MariaDb, Server::MariaDb.database().await),
        ]
    }

    fn file(&self) -> Option<std::path::PathBuf> {
        if let Self::File(folder) = self { Some(folder.path().join("shop.db")) } else { None }
    }

    pub(super) fn name(&self) -> String {
        if let Self::Server(server, _) = self { format!("{server:?}") } else { "SQLite".to_owned() }
    }

    pub(super) async fn sink(&self) -> Arc<dyn Sink> {
        match self {
            Self::Server(server, database) => server.connect(&database.url()).await.unwrap(),
            Self::File(_) => Arc::new(Sqlite::open(self.file().unwrap()).await.unwrap()),
        }
    }

    pub(super) async fn tell(&self, sqlite: &str, postgres: &str, mariadb: &str) {
        match self {
            Self::Server(Server::Postgres, database) => drop(database.client(postgres).await.unwrap()),
            Self::Server(Server::MariaDb, database) => drop(database.client(mariadb).await.unwrap()),
            Self::File(_) => Connection::open(self.file().unwrap()).unwrap().execute_batch(sqlite).unwrap(),
        }
    }

    pub(super) async fn count(&self, sql: &str) -> String {
        match self {
            Self::Server(_, database) => database.client(sql).await.unwrap_or_else(|error| error.to_string()),
            Self::File(_) => Connection::open(self.file().unwrap())
                .unwrap()
                .query_row(sql, [], |row| row.get::<_, i64>(0))
                .map_or_else(|error| error.to_string(), |count| count.to_string()),
        }
    }

    /// All there is, in words.
    pub(super) async fn catalog(&self) -> String {
        match self {
            Self::Server(Server::Postgres, database) => {
                let sql = "SELECT c.relname, c.relkind, c.relfilenode, c.oid FROM pg_class c WHERE relnamespace = 'public'::regnamespace ORDER BY 1;
                    SELECT attrelid::regclass, attnum, attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
                    WHERE relnamespace = 'public'::regnamespace AND attnum > 0 ORDER BY 1::text, 2;
                    SELECT tablename, (xpath('/row/n/text()', query_to_xml('SELECT count(*) || md5(coalesce(string_agg(t::text || ctid::text, ''|'' ORDER BY t::text), '''')) AS n FROM public.' || quote_ident(tablename) || ' t', false, true, '')))[1]::text
                    FROM pg_tables WHERE schemaname = 'public' ORDER BY 1";
                database.client(sql).await.unwrap()
            }
            Self::Server(Server::MariaDb, database) => {
                let names = database
                    .client(
                        "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() ORDER BY 1",
                    )
                    .await
                    .unwrap();
                let mut all = String::new();
                for name in names.lines().filter(|name| !name.is_empty()) {
                    let sql = format!(
                        "SHOW CREATE TABLE `{name}`; CHECKSUM TABLE `{name}`; SELECT CREATE_TIME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = '{name}'"
                    );
                    all.push_str(&database.client(&sql).await.unwrap());
                    all.push('\n');
                }
                all
            }
            Self::File(_) => {
                let plain = Connection::open(self.file().unwrap()).unwrap();
                let texts = |sql: &str| -> Vec<String> {
                    let mut read = plain.prepare(sql).unwrap();
                    read.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
                };
                let mut all = texts("SELECT coalesce(sql, '') || rootpage FROM sqlite_schema ORDER BY name");
                for table in texts("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name") {
                    all.extend(texts(&format!("SELECT '{table}' || count(*) FROM \"{table}\"")));
                }
                all.join("\n")
            }
        }
    }
}

pub(super) fn quick() -> RetryPolicy {
    RetryPolicy::new().base(Duration::from_millis(1)).cap(Duration::from_millis(5)).attempts(2)
}

pub(super) async fn run(
    sink: Arc<dyn Sink>,
    source: &MemorySource,
    store: &MemoryStore,
    options: RunOptions,
    plan: &FaultPlan,
    sorted: bool,
) -> Report {
    let mut pipeline = Pipeline::new("shop", source.clone(), Faulty::new(sink, plan));
    if sorted {
        pipeline = pipeline.first_load(sync_core::engine::FirstLoad::Sorted);
    }
    let engine =
        Engine::builder(store.clone()).owner("one").unit_rows(10).retry(quick()).pipeline(pipeline).build().unwrap();
    engine.run_with("shop", options).await.unwrap()
}

/// What a run says of columns.
pub(super) fn told(report: &Report) -> Vec<String> {
    let mut all: Vec<String> = report
        .scopes
        .iter()
        .flat_map(|scope| {
            scope
                .altered
                .added
                .iter()
                .map(|it| format!("+{it}"))
                .chain(scope.altered.widened.iter().map(|it| format!("~{it}")))
        })
        .collect();
    all.sort();
    all
}

/// Several streams: one whose table lacks columns and has narrow ones, one that is complete, one that has no table.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_changes_nothing_in_the_catalog_and_tells_what_the_next_run_does() {
    let orders = StreamSpec::new("orders").key(["id"]).int("n").text("note").decimal("price", 12, 2).text("late");
    let other = StreamSpec::new("other").key(["id"]).int("n").text("more");
    let new = StreamSpec::new("fresh").key(["id"]).int("n");
    let feed = || Feed::new("all", [Arc::new(orders.clone()), Arc::new(other.clone()), Arc::new(new.clone())]);
    for there in There::all().await {
        there
            .tell(
                "CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, n INTEGER, note TEXT, theirs TEXT DEFAULT 'x');
                 CREATE TABLE other (id INTEGER NOT NULL PRIMARY KEY, n INTEGER); INSERT INTO orders VALUES (100, 1, 'a', 'b')",
                "CREATE TABLE orders (id bigint PRIMARY KEY, n smallint, note varchar(20), price numeric(6,2), theirs text DEFAULT 'x');
                 CREATE INDEX by_note ON orders (note);
                 CREATE TABLE other (id int PRIMARY KEY, n bigint); INSERT INTO orders VALUES (100, 1, 'a', 1, 'b')",
                "CREATE TABLE orders (id bigint PRIMARY KEY, n smallint NOT NULL DEFAULT 3 COMMENT 'c', note varchar(20) CHARACTER SET utf8mb4, price decimal(6,2), theirs text DEFAULT 'x', twice int AS (n * 2) STORED, INDEX by_n (n));
                 CREATE TABLE other (id int PRIMARY KEY, n bigint); INSERT INTO orders (id, n) VALUES (100, 1)",
            )
            .await;
        let source = MemorySource::new([feed()]).page(7).listing(Listing::Rows);
        for id in 1..=30_i64 {
            source.upsert("orders", vec![id.into(), 1.into(), "note".into(), sync_core::Value::Null, "late".into()]);
            source.upsert("other", vec![id.into(), 1.into(), "more".into()]);
            source.upsert("fresh", vec![id.into(), 1.into()]);
        }
        let store = MemoryStore::new(Arc::new(SystemClock::new()));
        let none = FaultPlan::new(1);
        let sink = there.sink().await;
        for _ in 0..2 {
            let mut said = Vec::new();
            for options in [RunOptions::incremental(), RunOptions::full(), RunOptions::reconcile()] {
                let before = there.catalog().await;
                let report = run(Arc::clone(&sink), &source, &store, options.dry_run(), &none, false).await;
                assert!(report.scopes.iter().all(|scope| scope.error.is_none()), "{}: {report}", there.name());
                assert_eq!(before, there.catalog().await, "{}: {report}", there.name());
                said.push(told(&report));
            }
            let report = run(Arc::clone(&sink), &source, &store, RunOptions::incremental(), &none, false).await;
            let report_told = told(&report);
            report.completed().unwrap();
            assert!(
                said.iter().all(|said| *said == report_told),
                "{}: {said:?} and then {report_told:?}",
                there.name()
            );
        }
    }
}

/// What a dry run says, a real one says of the same tables: which columns, and whether rows are left without a value.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_of_rows_without_a_value_what_the_real_run_says() {
    let stream = || StreamSpec::new("orders").key(["id"]).int("n").version("n").text("note").text("late");
    let mut wrong = Vec::new();
    let all = [
        ("incremental", RunOptions::incremental()),
        ("full", RunOptions::full()),
        ("new", RunOptions::full().new_only()),
        ("reconcile", RunOptions::reconcile()),
        ("forced", RunOptions::incremental().force()),
    ];
    for partitions in [1, 3] {
        for (what, options) in &all {
            for followed in [false, true] {
                let there = There::File(tempfile::tempdir().unwrap());
                there.tell("CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, n INTEGER, note TEXT); INSERT INTO orders VALUES (1, 1, 'a')", "", "").await;
                let source = MemorySource::of([stream()])
                    .page(7)
                    .partitioned(partitions)
                    .listing(Listing::Rows)
                    .feeding(sync_core::memory::Feeding::Log);
                (1..=30_i64)
                    .for_each(|id| source.upsert("orders", vec![id.into(), 1.into(), "note".into(), "late".into()]));
                let (store, none) = (MemoryStore::new(Arc::new(SystemClock::new())), FaultPlan::new(1));
                if followed {
                    run(there.sink().await, &source, &store, RunOptions::incremental(), &none, false)
                        .await
                        .completed()
                        .unwrap();
                    there.tell("ALTER TABLE orders DROP COLUMN late", "", "").await;
                }
                let said = |report: &Report| {
                    (
                        told(report).into_iter().collect::<std::collections::BTreeSet<_>>(),
                        report.scopes.iter().any(|scope| scope.hollow.is_some()),
                        format!("{:?}", report.scopes.iter().map(|scope| scope.hollow).collect::<Vec<_>>()),
                    )
                };
                let before = there.catalog().await;
                let dry = run(there.sink().await, &source, &store, options.clone().dry_run(), &none, false).await;
                assert_eq!(before, there.catalog().await);
                let real = run(there.sink().await, &source, &store, options.clone(), &none, false).await;
                if (said(&dry).0, said(&dry).1) != (said(&real).0, said(&real).1) {
                    wrong.push(format!(
                        "{what} {partitions} partitions, followed {followed}: dry {:?}, real {:?}",
                        said(&dry),
                        said(&real)
                    ));
                }
                let empty = "SELECT count(*) FROM orders WHERE late IS NULL";
                let without: i64 =
                    Connection::open(there.file().unwrap()).unwrap().query_row(empty, [], |row| row.get(0)).unwrap();
                if without > 0 && !said(&real).1 {
                    wrong.push(format!("{what} {partitions} partitions, followed {followed}: {without} rows without a value, and nobody says so: {real}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
