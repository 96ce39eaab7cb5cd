//! A SQLite database as a replica: what its host writes with a plain driver is noticed, whatever it does.

mod capture;
mod conformance;
mod deferred;
mod drift;
mod groups;
mod guard;
mod hostile;
mod loads;
mod remote;
mod spelled;

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::Connection;
use sync_core::SystemClock;
use sync_core::two_way::{Entry, Replica, Tables};
use sync_sql::SqliteReplica;
use tempfile::TempDir;

use crate::entries::{row, shop, sizes, told, write};

/// Tables as a shop makes them: a unique number that ignores case, lines that go with their invoice, and a product that may
/// be taken off them.
const SHOP: &str = "
CREATE TABLE products (id TEXT PRIMARY KEY, sku TEXT UNIQUE COLLATE NOCASE, name TEXT COLLATE NOCASE, stock INTEGER);
CREATE TABLE invoices (id TEXT PRIMARY KEY, no TEXT);
CREATE TABLE lines (id INTEGER PRIMARY KEY, invoice TEXT NOT NULL REFERENCES invoices (id) ON DELETE CASCADE ON UPDATE CASCADE,
  product TEXT REFERENCES products (id) ON DELETE SET NULL, qty INTEGER);";

/// A replica, and a plain connection of its host.
struct Till {
    replica: SqliteReplica,
    host: Connection,
    path: PathBuf,
    _folder: TempDir,
}

impl Till {
    async fn with(schema: &str, tables: Tables) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("till.db");
        let host = Connection::open(&path).unwrap();
        host.execute_batch(&format!("PRAGMA foreign_keys = ON; PRAGMA journal_mode = WAL; {schema}")).unwrap();
        let replica = SqliteReplica::open(&path, "till", tables, Arc::new(SystemClock::new())).await.unwrap();
        Self { replica, host, path, _folder: folder }
    }

    async fn shop() -> Self {
        Self::with(SHOP, shop()).await
    }

    async fn open(&self, tables: Tables) -> sync_core::Result<SqliteReplica> {
        SqliteReplica::open(&self.path, "till", tables, Arc::new(SystemClock::new())).await
    }

    fn run(&self, sql: &str) {
        self.host.execute_batch(sql).unwrap();
    }

    fn one<T: rusqlite::types::FromSql>(&self, sql: &str) -> T {
        self.host.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// What has come to stand in the feed behind this place.
    async fn after(&self, seq: u64) -> Vec<Entry> {
        self.replica.sequence().await.unwrap();
        self.replica.look().await.unwrap().feed(seq, usize::MAX).await.unwrap()
    }

    /// What this SQL leaves in the feed.
    async fn noticed(&self, sql: &str) -> Vec<Entry> {
        let seq = self.replica.sequence().await.unwrap().seq;
        self.run(sql);
        self.after(seq).await
    }
}
