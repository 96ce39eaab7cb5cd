//! What runs say of columns that they add: told by somebody, and rows without a value are never passed over in silence.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use sync_core::conflict::ExistingWins;
use sync_core::detect::ByVersion;
use sync_core::memory::{Feeding, MemorySource, MemoryStore};
use sync_core::model::Disposition;
use sync_core::retry::RetryPolicy;
use sync_core::source::Listing;
use sync_core::{Engine, ErrorKind, Feed, Pipeline, Report, RunOptions, StreamSpec, SystemClock};
use sync_sql::Sqlite;
use sync_testkit::fault::{At, Call, Fault, FaultPlan, Faulty};

use crate::faults::Server;

fn orders() -> StreamSpec {
    StreamSpec::new("orders").key(["id"]).int("version").version("version").text("note")
}

struct World {
    source: MemorySource,
    file: std::path::PathBuf,
    store: MemoryStore,
    plain: Connection,
    _folder: tempfile::TempDir,
}

impl World {
    /// Forty rows at the target, which has lost the column of their notes since.
    async fn of(source: MemorySource) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("shop.db");
        for id in 1..=40_i64 {
            source.upsert("orders", vec![id.into(), 1.into(), "first".into()]);
        }
        let store = MemoryStore::new(Arc::new(SystemClock::new()));
        let plain = Connection::open(&file).unwrap();
        let world = Self { source, file, store, plain, _folder: folder };
        world.run(RunOptions::incremental(), as_it_is, &no_faults()).await.completed().unwrap();
        world.plain.execute_batch("ALTER TABLE orders DROP COLUMN note").unwrap();
        world
    }

    async fn run(&self, options: RunOptions, with: impl FnOnce(Pipeline) -> Pipeline, plan: &FaultPlan) -> Report {
        let sink = Faulty::new(Sqlite::open(&self.file).await.unwrap(), plan);
        let pipeline = with(Pipeline::new("shop", Faulty::new(self.source.clone(), plan), sink));
        let quick = RetryPolicy::new().base(Duration::from_millis(1)).cap(Duration::from_millis(5));
        let engine = Engine::builder(self.store.clone()).owner("one").retry(quick).pipeline(pipeline).build().unwrap();
        engine.run_with("shop", options).await.unwrap()
    }

    fn without_value(&self) -> i64 {
        let sql = "SELECT count(*) FROM pragma_table_info('orders') WHERE name = 'note'";
        if self.plain.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap() == 0 {
            return 40;
        }
        self.plain.query_row("SELECT count(*) FROM orders WHERE note IS NULL", [], |row| row.get(0)).unwrap()
    }

    /// Somebody is told of the column, and of rows without a value, if there are any.
    fn check(&self, what: &str, report: &Report) {
        let told: Vec<&String> = report.scopes.iter().flat_map(|scope| &scope.altered.added).collect();
        assert_eq!(told, ["orders.note"], "{what}: {report}");
        let (hollow, without) = (report.scopes.iter().any(|scope| scope.hollow.is_some()), self.without_value());
        assert!(hollow || without == 0, "{what}: {without} rows have no value, and nobody says so: {report}");
    }
}

fn log() -> MemorySource {
    MemorySource::of([orders()]).feeding(Feeding::Log).page(10)
}

fn as_it_is(pipeline: Pipeline) -> Pipeline {
    pipeline
}

fn no_faults() -> FaultPlan {
    FaultPlan::new(1)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_run_leaves_without_a_value_are_told_whatever_it_brings_again() {
    let refused = |call| FaultPlan::new(1).on(call, At::From(1), Fault::Refuse(ErrorKind::Full));
    let later = FaultPlan::new(1).on(Call::Apply, At::From(2), Fault::Refuse(ErrorKind::Full));
    let by_version = |pipeline: Pipeline| pipeline.detector(ByVersion::new());
    let existing_wins = |pipeline: Pipeline| pipeline.policy(ExistingWins);
    let insert_only = MemorySource::of([orders().disposition(Disposition::InsertOnly)]).feeding(Feeding::Log);
    type With = fn(Pipeline) -> Pipeline;
    let cases: [(&str, MemorySource, RunOptions, With, FaultPlan); 12] = [
        ("incremental", log(), RunOptions::incremental(), as_it_is, no_faults()),
        ("full", log(), RunOptions::full(), as_it_is, no_faults()),
        ("new rows only", log(), RunOptions::full().new_only(), as_it_is, no_faults()),
        ("by version", log(), RunOptions::full(), by_version, no_faults()),
        ("existing rows stay", log(), RunOptions::full(), existing_wins, no_faults()),
        ("inserts only", insert_only, RunOptions::full(), as_it_is, no_faults()),
        ("reconcile", log().listing(Listing::Rows), RunOptions::reconcile(), as_it_is, no_faults()),
        ("reconcile by version", log().listing(Listing::Rows), RunOptions::reconcile(), by_version, no_faults()),
        ("keys", log().listing(Listing::Keys), RunOptions::reconcile(), as_it_is, no_faults()),
        ("refused at once", log(), RunOptions::full(), as_it_is, refused(Call::Apply)),
        ("refused later", log(), RunOptions::full(), as_it_is, later),
        ("no source", log(), RunOptions::full(), as_it_is, refused(Call::Read)),
    ];
    for (what, source, options, with, plan) in cases {
        let world = World::of(source).await;
        let report = world.run(options, with, &plan).await;
        world.check(what, &report);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_begins_anew_does_not_speak_for_the_rows_of_the_others() {
    let world = World::of(MemorySource::of([orders()]).feeding(Feeding::Log).partitioned(2)).await;
    let forgotten = world.plain.execute("DELETE FROM _sync_checkpoint WHERE scope LIKE '%part0%'", []);
    assert_eq!(forgotten, Ok(1));
    let report = world.run(RunOptions::incremental(), as_it_is, &no_faults()).await;
    assert!(world.without_value() > 0, "{report}");
    world.check("partitions", &report);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_without_a_value_are_told_though_the_next_stream_of_the_feed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.db");
    let other = StreamSpec::new("other").key(["id"]).int("n");
    let feed = Feed::new("both", [Arc::new(orders()), Arc::new(other)]);
    let source = MemorySource::new([feed]).feeding(Feeding::Log);
    source.upsert("orders", vec![1.into(), 1.into(), "first".into()]);
    source.upsert("other", vec![1.into(), 1.into()]);
    let store = MemoryStore::new(Arc::new(SystemClock::new()));
    let sink = Sqlite::open(&file).await.unwrap();
    let engine = Engine::builder(store).pipeline(Pipeline::new("shop", source.clone(), sink)).build().unwrap();
    engine.run("shop").await.unwrap().completed().unwrap();
    let plain = Connection::open(&file).unwrap();
    plain
        .execute_batch("ALTER TABLE orders DROP COLUMN note; DROP TABLE other; CREATE TABLE other (id INTEGER)")
        .unwrap();
    let report = engine.run("shop").await.unwrap();
    assert_eq!(report.scopes[0].altered.added, ["orders.note"], "{report}");
    assert!(report.scopes[0].hollow.is_some(), "{report}");
}

/// Two processes find at once that a column is lacking.
#[tokio::test(flavor = "multi_thread")]
async fn two_runs_that_add_a_column_at_once_both_go_on_and_one_tells_of_it() {
    let before = StreamSpec::new("prices").key(["id"]).int("n");
    let after = before.clone().text("note");
    let servers = [(Server::MariaDb, ""), (Server::Postgres, "read committed"), (Server::Postgres, "serializable")];
    for (server, isolation) in servers {
        let database = server.database().await;
        if server == Server::Postgres {
            let set = format!("SET default_transaction_isolation = '{isolation}'");
            database.client(&format!("ALTER DATABASE {} {set}", database.name())).await.unwrap();
        }
        let (one, two) =
            (server.connect(&database.url()).await.unwrap(), server.connect(&database.url()).await.unwrap());
        one.prepare(&before).await.unwrap();
        let blocker = if server == Server::Postgres {
            let mut blocker = PgConnection::connect(&database.url()).await.unwrap();
            blocker.execute("BEGIN; SELECT pg_advisory_xact_lock(1937337955)").await.unwrap();
            Some(blocker)
        } else {
            None
        };
        let both = async { tokio::join!(one.prepare(&after), two.prepare(&after)) };
        let release = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            if let Some(mut blocker) = blocker {
                blocker.execute(AssertSqlSafe("COMMIT".to_owned())).await.unwrap();
            }
        };
        let ((first, second), ()) = tokio::join!(both, release);
        let told = [first.unwrap().added, second.unwrap().added].concat();
        assert_eq!(told, ["note"], "{server:?} {isolation}");
    }
}
