//! Which driver for the hot path: rusqlite on a thread of its own, or sqlx, on the same rows and statements.

use std::path::Path;
use std::time::Instant;

use rusqlite::{Connection, params};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection as _};

use crate::Result;
use crate::records::{Order, Record, record};

const CREATE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, email TEXT, city TEXT, status TEXT, note TEXT,
    amount TEXT, quantity INTEGER, score INTEGER, active INTEGER, created_at TEXT, updated_at TEXT)";
const INSERT: &str = "INSERT INTO t VALUES (?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (id) DO NOTHING";
const SELECT: &str = "SELECT updated_at, note FROM t WHERE id = ?";
/// Rows in a transaction.
const UNIT: usize = 1000;

/// Prints rows a second for inserting new rows and for looking at rows that are there.
pub(crate) fn run(records: u64) -> Result<()> {
    let rows: Vec<Record> = (0..records).map(|place| record(place, Order::Key, 0)).collect();
    let folder = tempfile::tempdir()?;
    let ours = rusqlite_run(&rows, &folder.path().join("rusqlite.db"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let theirs = runtime.block_on(sqlx_run(&rows, &folder.path().join("sqlx.db")))?;
    println!("| rows/s | insert new | look at existing |\n|---|---:|---:|");
    for (driver, (insert, look)) in [("rusqlite 0.39, own thread", ours), ("sqlx 0.9", theirs)] {
        println!("| {driver} | {insert:.0} | {look:.0} |");
    }
    Ok(())
}

fn rusqlite_run(rows: &[Record], db: &Path) -> Result<(f64, f64)> {
    let mut connection = Connection::open(db)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.execute_batch(CREATE)?;
    let began = Instant::now();
    for unit in rows.chunks(UNIT) {
        let transaction = connection.transaction()?;
        let mut insert = transaction.prepare_cached(INSERT)?;
        for row in unit {
            insert.execute(params![
                row.id,
                &*row.name,
                &*row.email,
                &*row.city,
                &*row.status,
                &*row.note,
                &*row.amount,
                row.quantity,
                row.score,
                row.active,
                &*row.created_at,
                &*row.updated_at
            ])?;
        }
        drop(insert);
        transaction.commit()?;
    }
    let inserted = per_second(rows.len(), began);
    let began = Instant::now();
    let mut select = connection.prepare(SELECT)?;
    for row in rows {
        let same: bool = select.query_row([row.id], |found| Ok(found.get_ref(0)?.as_str()? == &*row.updated_at))?;
        assert!(same, "a row that was just written");
    }
    Ok((inserted, per_second(rows.len(), began)))
}

async fn sqlx_run(rows: &[Record], db: &Path) -> Result<(f64, f64)> {
    let options = SqliteConnectOptions::new()
        .filename(db)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal);
    let mut connection = options.connect().await?;
    sqlx::query(CREATE).execute(&mut connection).await?;
    let began = Instant::now();
    for unit in rows.chunks(UNIT) {
        let mut transaction = connection.begin().await?;
        for row in unit {
            let insert =
                sqlx::query(INSERT).bind(row.id).bind(&*row.name).bind(&*row.email).bind(&*row.city).bind(&*row.status);
            let insert = insert.bind(&*row.note).bind(&*row.amount).bind(row.quantity).bind(row.score).bind(row.active);
            insert.bind(&*row.created_at).bind(&*row.updated_at).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
    }
    let inserted = per_second(rows.len(), began);
    let began = Instant::now();
    for row in rows {
        let found: (String, String) = sqlx::query_as(SELECT).bind(row.id).fetch_one(&mut connection).await?;
        assert!(found.0 == *row.updated_at, "a row that was just written");
    }
    Ok((inserted, per_second(rows.len(), began)))
}

#[expect(clippy::cast_precision_loss, reason = "a count of rows")]
fn per_second(rows: usize, began: Instant) -> f64 {
    rows as f64 / began.elapsed().as_secs_f64()
}
