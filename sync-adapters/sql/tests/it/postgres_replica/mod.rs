//! A PostgreSQL database as a replica: what its host writes with a plain driver is noticed, whatever it does.

mod branches;
mod capture;
mod conformance;
mod drift;
mod hosts;
mod late;
mod races;
mod remote;

use std::sync::Arc;

use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, PgConnection};
use sync_core::SystemClock;
use sync_core::two_way::Tables;
use sync_sql::PostgresReplica;
use sync_test_servers::Database;

use crate::entries::{row, shop, sizes, sorted, told, write};
use crate::office::OnServer;

type Office = crate::office::Office<PostgresReplica>;

const SHOP: &str = "
CREATE TABLE products (id text PRIMARY KEY, sku text, name text, stock bigint);
CREATE UNIQUE INDEX products_sku ON products (lower(sku));
CREATE TABLE invoices (id text PRIMARY KEY, no text);
CREATE TABLE lines (id bigint PRIMARY KEY, invoice text NOT NULL REFERENCES invoices (id) ON DELETE CASCADE ON UPDATE CASCADE,
  product text REFERENCES products (id) ON DELETE SET NULL, qty bigint);";

impl OnServer for PostgresReplica {
    type Host = PgConnection;
    const SHOP: &'static str = SHOP;
    // In the others, who writes a row that another has written meanwhile has to begin again.
    const SESSIONS: [&'static str; 2] = ["SET default_transaction_isolation = 'read committed'"; 2];

    async fn database() -> Database {
        sync_test_servers::postgres().await.unwrap()
    }

    async fn open(database: &Database, tables: Tables) -> sync_core::Result<Self> {
        open(database, tables).await
    }

    async fn missed(&self) -> u64 {
        self.audit().await.unwrap()
    }

    async fn host(database: &Database) -> PgConnection {
        let options: sqlx::postgres::PgConnectOptions = database.url().parse().unwrap();
        options.connect().await.unwrap()
    }

    async fn execute(host: &mut PgConnection, sql: &str) {
        execute(host, sql).await;
    }
}

async fn open(database: &Database, tables: Tables) -> sync_core::Result<PostgresReplica> {
    PostgresReplica::open(&database.url(), "office", tables, Arc::new(SystemClock::new())).await
}

async fn execute(host: &mut PgConnection, sql: &str) {
    host.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
}
