//! Eight writers commit late and out of order while a pipeline follows their table: where the server can prove what may
//! still appear nothing is lost, and where a lag is assumed that is too short, what is lost is told and repaired.
//!
//! A database is added by a [`Shop`]: how its table is made, and how a row is written.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, MySqlConnection, PgConnection};
use sync_core::memory::MemoryStore;
use sync_core::state::RunStatus;
use sync_core::{Engine, Pipeline, Report, RunOptions, Source, StreamSpec, SystemClock};
use sync_sql::{MySqlSource, PostgresSource, Sqlite};
use sync_test_servers::Database;
use sync_testkit::Random;

const WRITERS: u64 = 8;
const TIME: Duration = Duration::from_secs(20);
/// The longest that a transaction is held open, milliseconds.
const LONGEST: u64 = 800;
/// Rows that all writers change; the others each have one writer.
const SHARED: i64 = 5;

/// A server with the table `orders (id, at, note)`, whose rows it stamps as they are written.
///
/// A row of its writer's own is stamped with the beginning of the transaction or the statement, as most schemas do. Rows that several write
/// are stamped with the moment of the write, under the lock of the row: of two transactions that overlap, the one that
/// began first may write last, and would leave the lower version.
#[async_trait]
trait Shop: Send + Sync + 'static {
    /// Connects a writer.
    async fn writer(&self) -> Box<dyn Writer>;

    /// What the table holds.
    async fn rows(&self) -> BTreeMap<i64, String>;
}

/// A connection that writes.
#[async_trait]
trait Writer: Send {
    /// Runs a statement.
    async fn run(&mut self, sql: &str);

    /// Adds this row, or changes it.
    async fn put(&mut self, id: i64, note: &str);
}

struct OnPostgres(Database);

impl OnPostgres {
    async fn new() -> Self {
        let database = sync_test_servers::postgres().await.unwrap();
        let create = format!(
            "CREATE TABLE orders (id bigint PRIMARY KEY, at timestamptz NOT NULL, note text NOT NULL);
             CREATE INDEX ON orders (at, id);
             CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN NEW.at = CASE WHEN NEW.id < {SHARED} THEN clock_timestamp() ELSE now() END; RETURN NEW; END';
             CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION stamp();
             INSERT INTO orders (id, note) SELECT i, 'at first' FROM generate_series(0, {SHARED} - 1) i"
        );
        database.client(&create).await.unwrap();
        Self(database)
    }

    async fn source(&self) -> PostgresSource {
        let orders = StreamSpec::new("orders").key(["id"]).version("at").text("note");
        PostgresSource::connect(&self.0.url()).await.unwrap().table(orders).page(100)
    }
}

#[async_trait]
impl Shop for OnPostgres {
    async fn writer(&self) -> Box<dyn Writer> {
        Box::new(PgConnection::connect(&self.0.url()).await.unwrap())
    }

    async fn rows(&self) -> BTreeMap<i64, String> {
        rows(&self.0).await
    }
}

#[async_trait]
impl Writer for PgConnection {
    async fn run(&mut self, sql: &str) {
        self.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
    }

    async fn put(&mut self, id: i64, note: &str) {
        sqlx::query(
            "INSERT INTO orders (id, note) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET note = excluded.note",
        )
        .bind(id)
        .bind(note)
        .execute(self)
        .await
        .unwrap();
    }
}

struct OnMariaDb(Database);

impl OnMariaDb {
    async fn new() -> Self {
        let database = sync_test_servers::mariadb().await.unwrap();
        // NOW is the beginning of the statement; SYSDATE is the moment, when the row is locked.
        let stamp = format!("FOR EACH ROW SET NEW.at = IF(NEW.id < {SHARED}, SYSDATE(6), NOW(6))");
        let create = format!(
            "SET time_zone = '+00:00';
             CREATE TABLE orders (id bigint PRIMARY KEY, at datetime(6) NOT NULL DEFAULT NOW(6), note text NOT NULL, KEY (at));
             CREATE TRIGGER stamp_new BEFORE INSERT ON orders {stamp};
             CREATE TRIGGER stamp_changed BEFORE UPDATE ON orders {stamp};
             INSERT INTO orders (id, note) SELECT seq - 1, 'at first' FROM seq_1_to_{SHARED}"
        );
        database.client(&create).await.unwrap();
        Self(database)
    }

    async fn source(&self) -> MySqlSource {
        let orders = StreamSpec::new("orders").key(["id"]).version("at").text("note");
        MySqlSource::connect(&self.0.url()).await.unwrap().table(orders).page(100)
    }
}

#[async_trait]
impl Shop for OnMariaDb {
    async fn writer(&self) -> Box<dyn Writer> {
        // In UTC, as this driver sets every session. Gaps are not locked, so that writers do not wait for each other.
        let mut writer = MySqlConnection::connect(&self.0.url()).await.unwrap();
        writer.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await.unwrap();
        Box::new(writer)
    }

    async fn rows(&self) -> BTreeMap<i64, String> {
        rows(&self.0).await
    }
}

#[async_trait]
impl Writer for MySqlConnection {
    async fn run(&mut self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(self).await.unwrap();
    }

    async fn put(&mut self, id: i64, note: &str) {
        sqlx::query("INSERT INTO orders (id, note) VALUES (?, ?) ON DUPLICATE KEY UPDATE note = VALUES(note)")
            .bind(id)
            .bind(note)
            .execute(self)
            .await
            .unwrap();
    }
}

/// What the table holds, as the command line client of its database shows it.
async fn rows(database: &Database) -> BTreeMap<i64, String> {
    let told = database.client("SELECT id, note FROM orders").await.unwrap();
    let rows = told.lines().map(|line| line.split_once('\t').unwrap());
    rows.map(|(id, note)| (id.parse().unwrap(), note.to_owned())).collect()
}

/// What the writers did.
#[derive(Default)]
struct Deeds {
    stop: AtomicBool,
    committed: AtomicU64,
    rolled_back: AtomicU64,
    /// The rows that only one writer writes, as they were last committed.
    own: Mutex<BTreeMap<i64, String>>,
}

/// Writes until it is told to stop: new rows, rows written before, and now and then one that all write.
async fn write(mut writer: Box<dyn Writer>, number: u64, deeds: Arc<Deeds>) {
    let mut random = Random::new(number);
    let (mut next, step) = (100 + number as i64, WRITERS as i64);
    let mut mine: Vec<i64> = Vec::new();
    while !deeds.stop.load(Ordering::Relaxed) {
        let mut written = BTreeMap::new();
        // One transaction in four is prompt, so that those which are held are overtaken.
        let hold = if random.below(4) == 0 { 0 } else { random.below(LONGEST + 1) };
        writer.run("BEGIN").await;
        for part in 0..3 {
            let id = match random.below(3) {
                0 if !mine.is_empty() => mine[random.below(mine.len() as u64) as usize],
                _ => {
                    next += step;
                    next
                }
            };
            let note = format!("by {number}, {}", random.below(1 << 40));
            writer.put(id, &note).await;
            written.insert(id, note);
            if part < 2 {
                tokio::time::sleep(Duration::from_millis(hold / 2)).await;
            }
        }
        // Last, and for a moment only: its lock would hold up the other writers.
        if random.below(4) == 0 {
            writer
                .put(random.below(SHARED as u64) as i64, &format!("by {number}, shared {}", random.below(1 << 40)))
                .await;
        }
        if random.below(10) == 0 {
            writer.run("ROLLBACK").await;
            deeds.rolled_back.fetch_add(1, Ordering::Relaxed);
        } else {
            writer.run("COMMIT").await;
            deeds.committed.fetch_add(1, Ordering::Relaxed);
            mine.extend(written.keys());
            deeds.own.lock().unwrap().extend(written);
        }
    }
}

/// A pipeline from the shop into SQLite.
struct Following {
    engine: Engine,
    here: rusqlite::Connection,
    _folder: tempfile::TempDir,
}

impl Following {
    async fn of(source: impl Source + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("here.db");
        let pipeline = Pipeline::new("follow", source, Sqlite::open(&file).await.unwrap());
        let store = MemoryStore::new(Arc::new(SystemClock::new()));
        let engine = Engine::builder(store).owner("test").pipeline(pipeline).build().unwrap();
        Self { engine, here: rusqlite::Connection::open(&file).unwrap(), _folder: folder }
    }

    async fn run(&self, options: RunOptions) -> Report {
        let report = self.engine.run_with("follow", options).await.unwrap();
        assert_eq!(report.status, RunStatus::Completed, "{report}");
        report
    }

    fn rows(&self) -> BTreeMap<i64, String> {
        let mut read = self.here.prepare("SELECT id, note FROM orders").unwrap();
        let rows = read.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }
}

/// Follows while eight write, and once more when they have ended. Says how many rows came late.
async fn follow(shop: &impl Shop, following: &Following) -> u64 {
    let deeds = Arc::new(Deeds::default());
    let mut writers = Vec::new();
    for number in 0..WRITERS {
        writers.push(tokio::spawn(write(shop.writer().await, number, Arc::clone(&deeds))));
    }
    let (began, mut runs, mut late) = (Instant::now(), 0, 0);
    while began.elapsed() < TIME {
        late += following.run(RunOptions::incremental()).await.scopes[0].late;
        runs += 1;
    }
    deeds.stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    late += following.run(RunOptions::incremental()).await.scopes[0].late;
    let (committed, rolled_back) = (deeds.committed.load(Ordering::Relaxed), deeds.rolled_back.load(Ordering::Relaxed));
    println!("{committed} transactions committed, {rolled_back} rolled back, {runs} runs, {late} rows late");
    assert!(committed > 200 && rolled_back > 10 && runs > 20, "enough happened to prove something");
    // The table itself is as the writers left it: what is compared with it later means something.
    let mut own = shop.rows().await;
    own.retain(|id, _| *id >= SHARED);
    assert_eq!(own, *deeds.own.lock().unwrap());
    late
}

/// Rows that differ.
fn lost(there: &BTreeMap<i64, String>, here: &BTreeMap<i64, String>) -> usize {
    assert!(here.keys().all(|id| there.contains_key(id)), "what was rolled back never arrives");
    there.iter().filter(|(id, note)| here.get(id) != Some(*note)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_writers_that_commit_late_lose_nothing_where_postgres_stamps() {
    let shop = OnPostgres::new().await;
    let following = Following::of(shop.source().await.stamped_by_server()).await;
    let late = follow(&shop, &following).await;
    assert_eq!(following.rows(), shop.rows().await);
    assert_eq!(late, 0, "nothing comes from before what was proven");
    let listed = following.run(RunOptions::reconcile()).await;
    assert_eq!(listed.scopes[0].missed, 0, "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_eight_writers_commit_later_than_postgres_is_assumed_to_is_told_and_repaired() {
    let shop = OnPostgres::new().await;
    let source = shop.source().await.lookback(Duration::from_millis(LONGEST / 4));
    some_are_lost_told_and_repaired(&shop, source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_eight_writers_commit_later_than_mariadb_is_assumed_to_is_told_and_repaired() {
    let shop = OnMariaDb::new().await;
    let source = shop.source().await.lookback(Duration::from_millis(LONGEST / 4));
    some_are_lost_told_and_repaired(&shop, source).await;
}

async fn some_are_lost_told_and_repaired(shop: &impl Shop, source: impl Source + 'static) {
    let following = Following::of(source).await;
    let late = follow(shop, &following).await;
    assert!(late > 0, "rows within the lookback are found, and measured");
    let lost = lost(&shop.rows().await, &following.rows());
    assert!(lost > 0, "a lookback of a quarter of the longest transaction misses some");
    let repaired = following.run(RunOptions::reconcile()).await;
    println!("{lost} rows were lost:\n{repaired}");
    assert_eq!(following.rows(), shop.rows().await);
    assert_eq!(repaired.scopes[0].missed, lost as u64, "the report says how many had been lost: {repaired}");
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_writers_that_commit_within_the_lookback_lose_nothing_on_mariadb() {
    let shop = OnMariaDb::new().await;
    // Longer than any transaction, by far: this machine may be busy.
    let following = Following::of(shop.source().await.lookback(Duration::from_secs(10))).await;
    let late = follow(&shop, &following).await;
    assert!(late > 0, "rows come late, and are found");
    assert_eq!(following.rows(), shop.rows().await);
    let listed = following.run(RunOptions::reconcile()).await;
    assert_eq!(listed.scopes[0].missed, 0, "{listed}");
}
