//! The same lives over real SQLite databases: hosts write plain SQL, and triggers notice it.
//!
//! A life takes a third of a second, most of it SQLite's own work in a debug build: `SIM_SQLITE_SEEDS=5000` runs more.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use rusqlite::backup::Backup;
use rusqlite::{Connection, ToSql};
use sync_core::two_way::{Head, Replica, Tables, Transaction};
use sync_core::{Clock, Key, Result, Value};
use sync_sql::{Durability, SqliteOptions, SqliteReplica};
use tempfile::TempDir;

use super::shop::{Act, Site, tables};
use super::world::{Life, live_in};

/// Seeds in an ordinary run.
const SEEDS: u64 = 1000;

/// A database with a host that writes to it over a connection of its own.
#[derive(Debug, Clone)]
pub(super) struct SqliteSite {
    replica: SqliteReplica,
    host: Arc<Mutex<Connection>>,
    clock: Arc<dyn Clock>,
    path: PathBuf,
    /// How many transactions the host has run: every other one is told apart from its neighbours.
    runs: Arc<AtomicU64>,
    _folder: Arc<TempDir>,
}

fn make(name: &str, clock: Arc<dyn Clock>, numbered: bool) -> SqliteSite {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.db");
    let host = Connection::open(&path).unwrap();
    let unique = if numbered { "UNIQUE" } else { "" };
    let schema = format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA foreign_keys = ON;
         CREATE TABLE products (id TEXT PRIMARY KEY, name TEXT, price INTEGER, stock INTEGER);
         CREATE TABLE sales (id TEXT PRIMARY KEY, product TEXT REFERENCES products (id), quantity INTEGER, number INTEGER {unique});
         CREATE TABLE movements (id TEXT PRIMARY KEY, sale TEXT REFERENCES sales (id), quantity INTEGER);
         CREATE TABLE notes (id TEXT PRIMARY KEY, note TEXT);"
    );
    host.execute_batch(&schema).unwrap();
    host.busy_timeout(Duration::from_secs(10)).unwrap();
    let options = SqliteOptions::new(&path).durability(Durability::Normal).cache_kib(512);
    let (name, its_clock) = (name.to_owned(), Arc::clone(&clock));
    // The world is made outside of any await: the opening gets a thread for itself.
    let opened = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(SqliteReplica::open_with(options, name, tables(), its_clock))
    });
    let replica = opened.join().unwrap().unwrap();
    SqliteSite {
        replica,
        host: Arc::new(Mutex::new(host)),
        clock,
        path,
        runs: Arc::default(),
        _folder: Arc::new(folder),
    }
}

fn bound(value: &Value) -> Box<dyn ToSql> {
    match value {
        Value::Int(number) => Box::new(*number),
        Value::Text(text) => Box::new(text.to_string()),
        other => unreachable!("no table has {other:?}"),
    }
}

fn run(host: &Connection, act: &Act) -> rusqlite::Result<()> {
    match act {
        Act::Put(table, row) => {
            let places = vec!["?"; row.len()].join(", ");
            let values: Vec<Box<dyn ToSql>> = row.iter().map(bound).collect();
            let sql = format!("INSERT INTO {table} VALUES ({places})");
            host.prepare_cached(&sql)?.execute(rusqlite::params_from_iter(values))?;
        }
        Act::Take(id, quantity) => {
            host.prepare_cached("UPDATE products SET stock = stock - ? WHERE id = ?")?.execute((quantity, id))?;
        }
        Act::Set(id, column, value) => {
            let column = ["id", "name", "price", "stock"][*column];
            let sql = format!("UPDATE products SET {column} = ? WHERE id = ?");
            host.prepare_cached(&sql)?.execute((bound(value), id))?;
        }
        Act::Delete(table, id) => {
            host.prepare_cached(&format!("DELETE FROM {table} WHERE id = ?"))?.execute([id])?;
        }
    }
    Ok(())
}

#[async_trait]
impl Site for SqliteSite {
    async fn run(&self, acts: &[Act]) -> Result<()> {
        let refused = |cause| sync_core::Error::data("the database refuses it").caused_by(cause);
        let mut host = self.host.lock().unwrap();
        let mut work = || -> rusqlite::Result<()> {
            let transaction = host.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let apart = self.runs.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
            let group = || if apart { transaction.execute_batch("INSERT INTO _sync_group VALUES (1)") } else { Ok(()) };
            group()?;
            // The clock of the world in place of the machine's.
            transaction.execute("UPDATE _sync_ctx SET now = ?", [self.clock.now().timestamp_millis()])?;
            acts.iter().try_for_each(|act| run(&transaction, act))?;
            transaction.execute("UPDATE _sync_ctx SET now = NULL", [])?;
            group()?;
            transaction.commit()
        };
        work().map_err(refused)
    }

    async fn rows(&self, table: &str) -> Vec<(Key, Vec<Value>)> {
        let table = self.replica.tables().get(table).unwrap();
        let rows = self.replica.look().await.unwrap().scan(table, None, usize::MAX).await.unwrap();
        rows.into_iter().map(|(key, _, row)| (key, row)).collect()
    }

    fn skew(&self, skew: TimeDelta) {
        self.host.lock().unwrap().execute("UPDATE _sync_ctx SET skew = ?", [skew.num_milliseconds()]).unwrap();
    }

    type Backup = (Arc<TempDir>, PathBuf);

    async fn backup(&self) -> Self::Backup {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backup.db");
        let host = self.host.lock().unwrap();
        host.execute("VACUUM INTO ?", [path.to_str().unwrap()]).unwrap();
        (Arc::new(folder), path)
    }

    async fn restore(&self, (_, backup): &Self::Backup) {
        let backup = Connection::open(backup).unwrap();
        // Over a connection of its own, as a tool for backups does it.
        let mut site = Connection::open(&self.path).unwrap();
        site.busy_timeout(Duration::from_secs(10)).unwrap();
        Backup::new(&backup, &mut site).unwrap().run_to_completion(1000, Duration::ZERO, None).unwrap();
    }
}

#[async_trait]
impl Replica for SqliteSite {
    fn name(&self) -> &sync_core::model::Origin {
        self.replica.name()
    }

    fn tables(&self) -> &Tables {
        self.replica.tables()
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>> {
        self.replica.begin().await
    }

    async fn look(&self) -> Result<Box<dyn Transaction>> {
        self.replica.look().await
    }

    async fn sequence(&self) -> Result<Head> {
        self.replica.sequence().await
    }
}

fn live(seed: u64) -> Life {
    live_in(seed, None, make)
}

fn assert_all_live(part: u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SQLITE_SEEDS").unwrap_or(SEEDS),
    };
    let (mut lives, mut faults) = (0, 0);
    for seed in seeds.filter(|seed| seed % 4 == part) {
        let life = live(seed);
        if let Some((oracle, what)) = life.broken {
            panic!("seed {seed} breaks {oracle}: {what}\nreplay it with SIM_SEED={seed}\n{}", life.trace.join("\n"));
        }
        lives += 1;
        faults += life.faults;
    }
    println!("{lives} seeds on SQLite lived through {faults} faults");
}

#[test]
fn every_write_to_sqlite_is_accounted_for_in_the_first_quarter_of_the_seeds() {
    assert_all_live(0);
}

#[test]
fn every_write_to_sqlite_is_accounted_for_in_the_second_quarter_of_the_seeds() {
    assert_all_live(1);
}

#[test]
fn every_write_to_sqlite_is_accounted_for_in_the_third_quarter_of_the_seeds() {
    assert_all_live(2);
}

#[test]
fn every_write_to_sqlite_is_accounted_for_in_the_fourth_quarter_of_the_seeds() {
    assert_all_live(3);
}
