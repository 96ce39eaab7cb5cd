//! A PostgreSQL database as a replica: what its host writes with a plain driver is noticed, whatever it does.

mod branches;
mod capture;
mod conformance;
mod drift;
mod hosts;
mod late;
mod remote;

use std::sync::Arc;

use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, PgConnection};
use sync_core::two_way::{Entry, Replica, Table, Tables};
use sync_core::{StreamSpec, SystemClock};
use sync_sql::PostgresReplica;
use sync_test_servers::Database;

use crate::entries::{row, sizes, sorted, told, write};

/// Tables as a shop makes them: a unique number that ignores case, lines that go with their invoice, and a product that may
/// be taken off them.
const SHOP: &str = "
CREATE TABLE products (id text PRIMARY KEY, sku text, name text, stock bigint);
CREATE UNIQUE INDEX products_sku ON products (lower(sku));
CREATE TABLE invoices (id text PRIMARY KEY, no text);
CREATE TABLE lines (id bigint PRIMARY KEY, invoice text NOT NULL REFERENCES invoices (id) ON DELETE CASCADE ON UPDATE CASCADE,
  product text REFERENCES products (id) ON DELETE SET NULL, qty bigint);";

fn shop() -> Tables {
    let products = StreamSpec::new("products").text("id").key(["id"]).text("sku").text("name").int("stock");
    let invoices = StreamSpec::new("invoices").text("id").key(["id"]).text("no");
    let lines = StreamSpec::new("lines").int("id").key(["id"]).text("invoice").text("product").int("qty");
    Tables::new([products, invoices, lines].map(Table::new)).unwrap()
}

/// A replica, and the database in which its host writes over connections of its own.
struct Office {
    replica: PostgresReplica,
    database: Database,
}

impl Office {
    async fn with(schema: &str, tables: Tables) -> Self {
        let database = sync_test_servers::postgres().await.unwrap();
        if !schema.is_empty() {
            database.client(schema).await.unwrap();
        }
        let replica = open(&database, tables).await.unwrap();
        Self { replica, database }
    }

    async fn shop() -> Self {
        Self::with(SHOP, shop()).await
    }

    /// Statements, each in a transaction of its own unless the text says otherwise.
    async fn run(&self, sql: &str) -> String {
        self.database.client(sql).await.unwrap().trim().to_owned()
    }

    /// What the host is told when it runs this.
    async fn refused(&self, sql: &str) -> String {
        self.database.client(sql).await.unwrap_err().to_string()
    }

    /// A connection of the host's own.
    async fn host(&self) -> PgConnection {
        let options: sqlx::postgres::PgConnectOptions = self.database.url().parse().unwrap();
        options.connect().await.unwrap()
    }

    /// What has come to stand in the feed behind this place.
    async fn after(&self, seq: u64) -> Vec<Entry> {
        self.replica.sequence().await.unwrap();
        self.replica.look().await.unwrap().feed(seq, usize::MAX).await.unwrap()
    }

    /// What this SQL leaves in the feed.
    async fn noticed(&self, sql: &str) -> Vec<Entry> {
        let seq = self.replica.sequence().await.unwrap().seq;
        self.run(sql).await;
        self.after(seq).await
    }
}

async fn open(database: &Database, tables: Tables) -> sync_core::Result<PostgresReplica> {
    PostgresReplica::open(&database.url(), "office", tables, Arc::new(SystemClock::new())).await
}

async fn execute(host: &mut PgConnection, sql: &str) {
    host.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
}
