//! The same lives over a real PostgreSQL server, each site in a schema of its own.
//!
//! A life takes seconds: `SIM_POSTGRES_SEEDS=200` runs more of them.

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use sync_core::Clock;
use sync_sql::PostgresReplica;
use sync_test_servers::Database;

use super::servers::{Server, ServerSite, TALKS, assert_all_live, place};
use super::shop::tables;

/// Seeds in an ordinary run.
const SEEDS: u64 = 6;

#[derive(Debug)]
struct Postgres;

fn make(database: &Database, name: &str, clock: Arc<dyn Clock>, numbered: bool) -> ServerSite<Postgres> {
    let schema = place();
    let (admin, name, its_clock) = (database.url(), name.to_owned(), Arc::clone(&clock));
    let separator = if admin.contains('?') { '&' } else { '?' };
    let url = format!("{admin}{separator}options=-c%20search_path%3D{schema}");
    let unique = if numbered { "UNIQUE" } else { "" };
    let sql = format!(
        "CREATE SCHEMA {schema}; SET search_path = {schema};
         CREATE TABLE products (id text PRIMARY KEY, name text, price bigint, stock bigint);
         CREATE TABLE sales (id text PRIMARY KEY, product text REFERENCES products (id), quantity bigint, number bigint {unique});
         CREATE TABLE movements (id text PRIMARY KEY, sale text REFERENCES sales (id), quantity bigint);
         CREATE TABLE notes (id text PRIMARY KEY, note text);"
    );
    ServerSite::new(schema, clock, async move {
        let mut host = PgConnection::connect(&admin).await.unwrap();
        host.execute(AssertSqlSafe(sql)).await.unwrap();
        (PostgresReplica::open(&url, name, tables(), its_clock).await.unwrap(), host)
    })
}

/// The tables of a schema, those of ours among them.
async fn all(host: &mut PgConnection, schema: &str) -> Vec<String> {
    let sql = "SELECT relname::text FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind = 'r'";
    sqlx::query_scalar(sql).bind(schema.to_owned()).fetch_all(host).await.unwrap()
}

#[async_trait]
impl Server for Postgres {
    type Replica = PostgresReplica;
    type Host = PgConnection;

    async fn execute(host: &mut PgConnection, sql: String) -> sqlx::Result<()> {
        let done = host.execute(AssertSqlSafe(sql)).await.map(drop);
        if done.is_err() {
            host.execute("ROLLBACK").await?;
        }
        done
    }

    fn transaction(now: i64, acts: &str) -> String {
        format!("BEGIN; SET LOCAL sync.now = '{now}'; {acts}; COMMIT")
    }

    async fn copy(host: &mut PgConnection, schema: &str, kept: &str) {
        let tables = all(host, schema).await.into_iter();
        let copies: String = tables.map(|table| format!("CREATE TABLE {kept}.{table} AS TABLE {table};")).collect();
        let counted = format!("CREATE TABLE {kept}.counted AS SELECT last_value, is_called FROM _sync_rev");
        Self::execute(host, format!("BEGIN; CREATE SCHEMA {kept}; {copies} {counted}; COMMIT")).await.unwrap();
    }

    async fn put_back(host: &mut PgConnection, schema: &str, kept: &str) {
        let mut sql = String::from("BEGIN;");
        for table in all(host, schema).await {
            sql.push_str(&format!(
                "ALTER TABLE {table} DISABLE TRIGGER ALL; DELETE FROM {table}; INSERT INTO {table} SELECT * FROM {kept}.{table};
                 ALTER TABLE {table} ENABLE TRIGGER ALL;"
            ));
        }
        sql.push_str(&format!("SELECT setval('_sync_rev', last_value, is_called) FROM {kept}.counted; COMMIT"));
        Self::execute(host, sql).await.unwrap();
    }
}

#[test]
fn every_write_to_postgresql_is_accounted_for() {
    let database = TALKS.block_on(sync_test_servers::postgres()).unwrap();
    assert_all_live("PostgreSQL", ("SIM_POSTGRES_SEEDS", SEEDS), |name, clock, numbered| {
        make(&database, name, clock, numbered)
    });
}
