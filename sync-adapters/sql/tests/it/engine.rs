//! The engine over SQLite, checked with a plain driver.

use std::sync::Arc;

use rusqlite::Connection;
use sync_core::conflict::ExistingWins;
use sync_core::detect::ByVersion;
use sync_core::memory::{Feeding, FirstLoad, MemorySource, MemoryStore};
use sync_core::model::Outcome;
use sync_core::sink::Altered;
use sync_core::source::Listing;
use sync_core::{Engine, Key, Pipeline, Report, RunOptions, StreamSpec, SystemClock, Value};
use sync_sql::Sqlite;

struct World {
    source: MemorySource,
    engine: Engine,
    plain: Connection,
    _folder: tempfile::TempDir,
}

fn orders() -> StreamSpec {
    StreamSpec::new("orders").key(["id"]).int("version").version("version").text("note")
}

fn row(id: i64, version: i64, note: &str) -> Vec<Value> {
    vec![id.into(), version.into(), note.into()]
}

async fn world(source: MemorySource, rows: i64) -> World {
    world_of(source, rows, |pipeline| pipeline).await
}

async fn world_of(source: MemorySource, rows: i64, declare: impl FnOnce(Pipeline) -> Pipeline) -> World {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.db");
    for id in 1..=rows {
        source.upsert("orders", row(id, 1, "first"));
    }
    let sink = Sqlite::open(&file).await.unwrap();
    let store = MemoryStore::new(Arc::new(SystemClock::new()));
    let pipeline = declare(Pipeline::new("shop", source.clone(), sink));
    let engine = Engine::builder(store).pipeline(pipeline).build().unwrap();
    World { source, engine, plain: Connection::open(&file).unwrap(), _folder: folder }
}

impl World {
    async fn run(&self, options: RunOptions) -> Report {
        let report = self.engine.run_with("shop", options).await.unwrap();
        assert_eq!(report.status, sync_core::state::RunStatus::Completed, "{report}");
        report
    }

    fn assert_in_step(&self) {
        let mut read = self.plain.prepare("SELECT id, version, note FROM orders ORDER BY id").unwrap();
        let rows =
            read.query_map([], |found| Ok(row(found.get(0)?, found.get(1)?, &found.get::<_, String>(2)?))).unwrap();
        let stored: Vec<Vec<Value>> = rows.map(Result::unwrap).collect();
        let expected: Vec<Vec<Value>> = self.source.rows("orders").into_iter().map(|(_, values)| values).collect();
        assert_eq!(stored, expected);
    }

    /// Logs every effective write of the target from now on.
    fn log_writes(&self) {
        let log = "CREATE TABLE log (id INTEGER);
            CREATE TRIGGER i AFTER INSERT ON orders BEGIN INSERT INTO log VALUES (NEW.id); END;
            CREATE TRIGGER u AFTER UPDATE ON orders BEGIN INSERT INTO log VALUES (NEW.id); END;
            CREATE TRIGGER d AFTER DELETE ON orders BEGIN INSERT INTO log VALUES (OLD.id); END;";
        self.plain.execute_batch(log).unwrap();
    }

    fn logged(&self) -> Vec<i64> {
        let mut read = self.plain.prepare("SELECT id FROM log ORDER BY id").unwrap();
        read.query_map([], |found| found.get(0)).unwrap().map(Result::unwrap).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_says_that_a_column_was_not_there_and_a_full_one_fills_it_again() {
    let world = world(MemorySource::of([orders()]).feeding(Feeding::Log), 40).await;
    assert_eq!(world.run(RunOptions::incremental()).await.scopes[0].altered, Altered::default(), "the table is new");
    world.plain.execute_batch("ALTER TABLE orders DROP COLUMN note").unwrap();
    world.source.upsert("orders", row(41, 1, "first"));
    let report = world.run(RunOptions::incremental()).await;
    assert_eq!(report.scopes[0].altered.added, ["orders.note"], "{report}");
    let told = report.to_string();
    assert!(
        told.contains("orders.note was not in the target and was added; rows that came before have no value"),
        "{told}"
    );
    assert!(told.contains("since not everything was read; a full run"), "{told}");
    let report = world.run(RunOptions::full()).await;
    assert_eq!(report.scopes[0].altered, Altered::default(), "{report}");
    world.assert_in_step();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_run_that_adds_a_column_says_so_and_leaves_no_row_without_its_value() {
    let world = world(MemorySource::of([orders()]).feeding(Feeding::Log), 40).await;
    world.run(RunOptions::incremental()).await;
    world.plain.execute_batch("ALTER TABLE orders DROP COLUMN note").unwrap();
    let report = world.run(RunOptions::full()).await;
    assert_eq!(report.scopes[0].altered.added, ["orders.note"], "{report}");
    assert_eq!(report.scopes[0].hollow, None, "{report}");
    let told = report.to_string();
    assert!(told.contains("orders.note was not in the target and was added") && !told.contains("no value"), "{told}");
    world.assert_in_step();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_which_column_it_would_add_and_leaves_the_table_as_it_is() {
    let world = world(MemorySource::of([orders()]).feeding(Feeding::Log), 40).await;
    world.run(RunOptions::incremental()).await;
    world.plain.execute_batch("ALTER TABLE orders DROP COLUMN note").unwrap();
    let told = world.run(RunOptions::incremental().dry_run()).await.to_string();
    let said = "orders.note is not in the target and would be added; rows that came before would have no value there";
    assert!(told.contains(said), "{told}");
    let table: String =
        world.plain.query_row("SELECT sql FROM sqlite_schema WHERE name = 'orders'", [], |row| row.get(0)).unwrap();
    assert!(!table.contains("note"), "{table}");
    let told = world.run(RunOptions::full().dry_run()).await.to_string();
    assert!(
        told.contains("orders.note is not in the target and would be added") && !told.contains("no value"),
        "{told}"
    );
}

/// What the run says of rows without a value in the column that it adds, and how many there are.
async fn hollow_after(world: &World, options: RunOptions) -> (Option<&'static str>, i64) {
    world.plain.execute_batch("ALTER TABLE orders DROP COLUMN note").unwrap();
    let report = world.run(options).await;
    let sql = "SELECT count(*) FROM orders WHERE note IS NULL";
    (report.scopes[0].hollow, world.plain.query_row(sql, [], |found| found.get(0)).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_run_and_a_reconcile_fill_a_column_of_rows_whose_version_stands() {
    let detectors: [fn(Pipeline) -> Pipeline; 2] = [
        |pipeline| pipeline.detector(ByVersion::new()),
        // The engine asks this one, row by row.
        |pipeline| pipeline.detector(ByVersion::new().own_origin("us")),
    ];
    for declare in detectors {
        let world = world_of(MemorySource::of([orders()]).listing(Listing::Rows), 40, declare).await;
        world.run(RunOptions::incremental()).await;
        assert_eq!(hollow_after(&world, RunOptions::full()).await, (None, 0));
        assert_eq!(hollow_after(&world, RunOptions::reconcile()).await, (None, 0));
        world.assert_in_step();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_leaves_rows_without_a_value_in_a_new_column_says_why() {
    let whole = || MemorySource::of([orders()]).feeding(Feeding::Whole);
    let by_version = world_of(whole(), 40, |pipeline| pipeline.detector(ByVersion::new())).await;
    by_version.run(RunOptions::incremental()).await;
    let (why, hollow) = hollow_after(&by_version, RunOptions::incremental()).await;
    assert!(why.is_some_and(|why| why.contains("same version was not looked at")) && hollow == 40, "{why:?} {hollow}");
    let kept = world_of(whole(), 40, |pipeline| pipeline.policy(ExistingWins)).await;
    kept.run(RunOptions::incremental()).await;
    let (why, hollow) = hollow_after(&kept, RunOptions::full()).await;
    assert!(why.is_some_and(|why| why.contains("left alone")) && hollow == 40, "{why:?} {hollow}");
    let content = world(whole(), 40).await;
    content.run(RunOptions::incremental()).await;
    let (why, hollow) = hollow_after(&content, RunOptions::full().new_only()).await;
    assert!(why.is_some_and(|why| why.contains("left alone")) && hollow == 40, "{why:?} {hollow}");
    // What comes whole each time is filled by any run.
    assert_eq!(hollow_after(&content, RunOptions::incremental()).await, (None, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_what_changed_is_written() {
    let world = world(MemorySource::of([orders()]).page(100), 1000).await;
    assert_eq!(world.run(RunOptions::incremental()).await.ledger().count(Outcome::Created), 1000);
    world.assert_in_step();
    world.log_writes();
    let again = world.run(RunOptions::full()).await;
    assert_eq!(again.ledger().count(Outcome::Unchanged), 1000, "{again}");
    assert!(world.logged().is_empty(), "unchanged rows cause no write");
    for id in [7, 500, 993] {
        world.source.upsert("orders", row(id, 2, "second"));
    }
    world.source.delete("orders", &Key::new([10]));
    world.run(RunOptions::incremental()).await;
    assert_eq!(world.logged(), [7, 10, 500, 993]);
    world.assert_in_step();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scattered_first_load_is_staged_published_and_leaves_nothing_behind() {
    let world = world(MemorySource::of([orders()]).page(100).first_load(FirstLoad::Scattered), 1500).await;
    let report = world.run(RunOptions::incremental()).await;
    assert_eq!(report.ledger().count(Outcome::Created), 1500, "{report}");
    world.assert_in_step();
    let stages: i64 = world
        .plain
        .query_row("SELECT count(*) FROM sqlite_schema WHERE name LIKE '%stage%'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(stages, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconcile_removes_what_is_gone_and_repairs_what_is_listed_as_rows() {
    for listing in [Listing::Keys, Listing::Rows] {
        let world = world(MemorySource::of([orders()]).page(100).feeding(Feeding::Version).listing(listing), 300).await;
        world.run(RunOptions::incremental()).await;
        for id in 1..=9 {
            world.source.delete("orders", &Key::new([id]));
        }
        let plan = world.run(RunOptions::reconcile().dry_run()).await;
        assert_eq!(plan.ledger().count(Outcome::Deleted), 9, "{plan}");
        let report = world.run(RunOptions::reconcile()).await;
        assert_eq!((report.ledger().count(Outcome::Deleted), report.ledger().absent), (9, 9), "{report}");
        world.assert_in_step();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_into_a_new_database_creates_no_table() {
    let world = world(MemorySource::of([orders()]).page(100), 200).await;
    let plan = world.run(RunOptions::incremental().dry_run()).await;
    assert_eq!(plan.ledger().count(Outcome::Created), 200, "{plan}");
    let tables: i64 = world.plain.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
    assert_eq!(tables, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_the_table_refuses_go_to_the_dead_letters_and_the_others_are_written() {
    let world = world(MemorySource::of([orders()]).page(100), 0).await;
    world.plain.execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY, version INTEGER, note TEXT CHECK (note <> 'poison'), UNIQUE (note, id))").unwrap();
    for id in 1..=500 {
        world.source.upsert("orders", row(id, 1, if [1, 250, 251, 500].contains(&id) { "poison" } else { "fine" }));
    }
    let report = world.run(RunOptions::incremental()).await;
    let counts = (report.ledger().count(Outcome::Created), report.ledger().count(Outcome::Rejected));
    assert_eq!(counts, (496, 4), "{report}");
    let stored: i64 = world.plain.query_row("SELECT count(*) FROM orders", [], |row| row.get(0)).unwrap();
    assert_eq!(stored, 496);
    let letters = world.engine.dead_letters(&sync_core::state::LetterQuery::default()).await.unwrap();
    let keys: Vec<String> = letters.iter().map(|letter| letter.key.as_ref().unwrap().to_string()).collect();
    assert_eq!(keys, ["1", "250", "251", "500"]);
    world.plain.execute_batch("DROP TABLE orders").unwrap();
    let replayed = world.engine.replay("shop", sync_core::state::LetterQuery::default()).await.unwrap();
    assert_eq!(replayed.count(Outcome::Created), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_refused_only_when_it_is_published_goes_to_the_dead_letters() {
    let world = world(MemorySource::of([orders()]).page(100).first_load(FirstLoad::Scattered), 0).await;
    world
        .plain
        .execute_batch(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, version INTEGER, note TEXT CHECK (note <> 'poison'))",
        )
        .unwrap();
    for id in 1..=500 {
        world.source.upsert("orders", row(id, 1, if [17, 400].contains(&id) { "poison" } else { "fine" }));
    }
    let report = world.run(RunOptions::incremental()).await;
    let counts = (report.ledger().count(Outcome::Created), report.ledger().count(Outcome::Rejected));
    assert_eq!(counts, (498, 2), "{report}");
}
