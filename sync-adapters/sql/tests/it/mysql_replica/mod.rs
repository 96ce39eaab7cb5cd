//! A MariaDB database as a replica: what its host writes with a plain driver is noticed, whatever it does.

mod branches;
mod capture;
mod conformance;
mod drift;
mod late;
mod remote;
mod together;

use std::sync::Arc;

use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, MySqlConnection};
use sync_core::SystemClock;
use sync_core::two_way::Tables;
use sync_sql::MySqlReplica;
use sync_test_servers::Database;

use crate::entries::{row, shop, sizes, sorted, told, write};
use crate::office::OnServer;

type Office = crate::office::Office<MySqlReplica>;

const SHOP: &str = "
CREATE TABLE products (id varchar(40) PRIMARY KEY, sku varchar(40) COLLATE utf8mb4_general_ci, name longtext, stock bigint, UNIQUE KEY (sku))
  COLLATE utf8mb4_nopad_bin;
CREATE TABLE invoices (id varchar(40) PRIMARY KEY, no longtext) COLLATE utf8mb4_nopad_bin;
CREATE TABLE `lines` (id bigint PRIMARY KEY, invoice varchar(40) NOT NULL, product varchar(40), qty bigint,
  FOREIGN KEY (invoice) REFERENCES invoices (id) ON DELETE CASCADE ON UPDATE CASCADE,
  FOREIGN KEY (product) REFERENCES products (id) ON DELETE SET NULL) COLLATE utf8mb4_nopad_bin;";

impl OnServer for MySqlReplica {
    type Host = MySqlConnection;
    const SHOP: &'static str = SHOP;
    const SESSIONS: [&'static str; 2] = [
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    ];

    async fn database() -> Database {
        sync_test_servers::mariadb().await.unwrap()
    }

    async fn open(database: &Database, tables: Tables) -> sync_core::Result<Self> {
        open(database, tables).await
    }

    async fn missed(&self) -> u64 {
        self.audit().await.unwrap()
    }

    async fn host(database: &Database) -> MySqlConnection {
        let options: sqlx::mysql::MySqlConnectOptions = database.url().parse().unwrap();
        options.connect().await.unwrap()
    }

    async fn execute(host: &mut MySqlConnection, sql: &str) {
        execute(host, sql).await;
    }
}

async fn open(database: &Database, tables: Tables) -> sync_core::Result<MySqlReplica> {
    MySqlReplica::open(&database.url(), "office", tables, Arc::new(SystemClock::new())).await
}

async fn execute(host: &mut MySqlConnection, sql: &str) {
    host.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.unwrap();
}
