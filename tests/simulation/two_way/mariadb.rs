//! The same lives over a real MariaDB server, each site in a database of its own.
//!
//! A life takes seconds: `SIM_MARIADB_SEEDS=200` runs more of them.

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, MySqlConnection};
use sync_core::Clock;
use sync_sql::MySqlReplica;
use sync_test_servers::Database;

use super::servers::{Server, ServerSite, TALKS, assert_all_live, place};
use super::shop::tables;

/// Seeds in an ordinary run.
const SEEDS: u64 = 4;

#[derive(Debug)]
struct MariaDb;

/// The tables of the host's own, parents first.
const HOSTS: [&str; 4] = ["products", "sales", "movements", "notes"];

fn make(server: &Database, name: &str, clock: Arc<dyn Clock>, numbered: bool) -> ServerSite<MariaDb> {
    // Its backups stand beside it: all of them have the name of the database that the test brings, and go with its server.
    let database = format!("{}_{}", server.name(), place());
    let (admin, name, its_clock) = (server.url(), name.to_owned(), Arc::clone(&clock));
    let url = admin.replace(server.name(), &database);
    let unique = if numbered { "UNIQUE" } else { "" };
    let sql = format!(
        "CREATE DATABASE {database} COLLATE utf8mb4_nopad_bin; USE {database};
         CREATE TABLE products (id varchar(60) PRIMARY KEY, name longtext, price bigint, stock bigint);
         CREATE TABLE sales (id varchar(60) PRIMARY KEY, product varchar(60) REFERENCES products (id), quantity bigint, number bigint {unique});
         CREATE TABLE movements (id varchar(60) PRIMARY KEY, sale varchar(60) REFERENCES sales (id), quantity bigint);
         CREATE TABLE notes (id varchar(60) PRIMARY KEY, note longtext);"
    );
    ServerSite::new(database, clock, async move {
        let mut host = MySqlConnection::connect(&admin).await.unwrap();
        host.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
        (MySqlReplica::open(&url, name, tables(), its_clock).await.unwrap(), host)
    })
}

/// The tables of a database: the host's first, then ours, which triggers of the host's have written to.
async fn all(host: &mut MySqlConnection, database: &str) -> Vec<String> {
    let sql = "SELECT CONVERT(TABLE_NAME USING utf8mb4) FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME LIKE '|_sync|_%' ESCAPE '|'
                 AND TABLE_NAME <> '_sync_trx'";
    let ours: Vec<String> = sqlx::query_scalar(sql).bind(database.to_owned()).fetch_all(host).await.unwrap();
    HOSTS.into_iter().map(str::to_owned).chain(ours).collect()
}

#[async_trait]
impl Server for MariaDb {
    type Replica = MySqlReplica;
    type Host = MySqlConnection;

    async fn execute(host: &mut MySqlConnection, sql: String) -> sqlx::Result<()> {
        let done = host.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.map(drop);
        if done.is_err() {
            host.execute(sqlx::raw_sql("ROLLBACK")).await?;
        }
        done
    }

    fn transaction(now: i64, acts: &str) -> String {
        format!(
            "BEGIN; SET @sync_conn = CONNECTION_ID(); REPLACE INTO _sync_in VALUES (CONNECTION_ID(), {now}); {acts};
             DELETE FROM _sync_in WHERE conn = CONNECTION_ID(); COMMIT"
        )
    }

    async fn copy(host: &mut MySqlConnection, database: &str, kept: &str) {
        let tables = all(host, database).await.into_iter();
        let copies: String =
            tables.map(|table| format!("CREATE TABLE {kept}.{table} AS SELECT * FROM {table};")).collect();
        let counted = format!(
            "CREATE TABLE {kept}.counted AS SELECT AUTO_INCREMENT AS next FROM information_schema.TABLES
             WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = '_sync_log'"
        );
        Self::execute(host, format!("CREATE DATABASE {kept}; {copies} {counted}")).await.unwrap();
    }

    async fn put_back(host: &mut MySqlConnection, database: &str, kept: &str) {
        let mut sql = String::from("SET foreign_key_checks = 0;");
        for table in all(host, database).await {
            sql.push_str(&format!("TRUNCATE {table}; INSERT INTO {table} SELECT * FROM {kept}.{table};"));
        }
        sql.push_str("SET foreign_key_checks = 1;");
        Self::execute(host, sql).await.unwrap();
        let next: u64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT next FROM {kept}.counted")))
            .fetch_one(&mut *host)
            .await
            .unwrap();
        Self::execute(host, format!("ALTER TABLE _sync_log AUTO_INCREMENT = {next}")).await.unwrap();
    }
}

#[test]
fn every_write_to_mariadb_is_accounted_for() {
    let database = TALKS.block_on(sync_test_servers::mariadb()).unwrap();
    assert_all_live("MariaDB", ("SIM_MARIADB_SEEDS", SEEDS), |name, clock, numbered| {
        make(&database, name, clock, numbered)
    });
}
