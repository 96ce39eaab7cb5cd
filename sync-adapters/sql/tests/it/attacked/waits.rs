//! Changes of tables that wait: for readers that do not end, and for the host's own change.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, MySqlConnection, PgConnection};
use sync_core::{Sink, StreamSpec};

use super::changed::at;
use crate::faults::{BOTH, Server};

/// Whoever reads a table and does not end their transaction holds up its change; not the changes of other tables, nor other readers.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_waits_behind_a_reader_holds_up_nobody_else() {
    let mut wrong = Vec::new();
    for server in BOTH {
        let database = server.database().await;
        let (one, two) =
            (server.connect(&database.url()).await.unwrap(), server.connect(&database.url()).await.unwrap());
        one.prepare(&at(0)).await.unwrap();
        let mut readers = (None, None);
        match server {
            Server::Postgres => {
                let mut reader = PgConnection::connect(&database.url()).await.unwrap();
                reader.execute("BEGIN; SELECT * FROM prices").await.unwrap();
                readers.0 = Some(reader);
            }
            Server::MariaDb => {
                let mut reader = MySqlConnection::connect(&database.url()).await.unwrap();
                reader.execute("START TRANSACTION").await.unwrap();
                reader.execute("SELECT * FROM prices").await.unwrap();
                readers.1 = Some(reader);
            }
        }
        let began = Instant::now();
        let changing = {
            let one = Arc::clone(&one);
            tokio::spawn(async move { one.prepare(&at(1)).await })
        };
        tokio::time::sleep(Duration::from_secs(1)).await;
        let other = StreamSpec::new("other").key(["id"]).int("n");
        let limit = Duration::from_secs(8);
        let made = tokio::time::timeout(limit, two.prepare(&other)).await;
        if made.is_err() {
            wrong.push(format!("{server:?}: another table is not made within {limit:?}"));
        }
        let read = match server {
            Server::Postgres => "SET statement_timeout = '2s'; SELECT count(*) FROM prices",
            Server::MariaDb => "SET STATEMENT max_statement_time = 2 FOR SELECT count(*) FROM prices",
        };
        if let Err(error) = database.client(read).await {
            wrong.push(format!(
                "{server:?}: somebody else cannot read the table for 2 s, {:?} after the change was asked for: {error}",
                began.elapsed()
            ));
        }
        // The process of the one that waits is killed.
        changing.abort();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let waits = match server {
            Server::Postgres => {
                "SELECT state || ' ' || coalesce(wait_event, '') || ' ' || query FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'ALTER%' AND state = 'active'"
            }
            Server::MariaDb => {
                "SELECT concat(STATE, ' ', INFO) FROM information_schema.PROCESSLIST WHERE DB = DATABASE() AND INFO LIKE 'ALTER%'"
            }
        };
        let left = database.client(waits).await.unwrap();
        if !left.is_empty() {
            wrong.push(format!("{server:?}: 5 s after its client has gone: {left}"));
        }
        if let Err(error) = database.client(read).await {
            wrong.push(format!("{server:?}: after that client has gone, the table still cannot be read: {error}"));
        }
        drop(readers);
        let done = tokio::time::timeout(Duration::from_secs(70), two.prepare(&at(1))).await;
        if !matches!(done, Ok(Ok(_))) {
            wrong.push(format!("{server:?}: when the reader has gone: {done:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The host makes the same change in a transaction of its own, which ends while ours waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_or_column_that_the_host_makes_at_the_same_moment_is_taken_as_it_is() {
    let mut wrong = Vec::new();
    for (what, first, host) in [
        ("table", None, "CREATE TABLE prices (id bigint PRIMARY KEY, n bigint)"),
        ("column", Some(at(0)), "ALTER TABLE prices ADD COLUMN c0 text"),
    ] {
        let database = Server::Postgres.database().await;
        let sink = Server::Postgres.connect(&database.url()).await.unwrap();
        if let Some(first) = &first {
            sink.prepare(first).await.unwrap();
        }
        let mut other = PgConnection::connect(&database.url()).await.unwrap();
        other.execute(AssertSqlSafe(format!("BEGIN; {host}"))).await.unwrap();
        let stream = if first.is_some() { at(1) } else { at(0) };
        let preparing = {
            let (sink, stream) = (Arc::clone(&sink), stream.clone());
            tokio::spawn(async move { sink.prepare(&stream).await })
        };
        tokio::time::sleep(Duration::from_millis(700)).await;
        other.execute("COMMIT").await.unwrap();
        if let Err(error) = preparing.await.unwrap() {
            wrong.push(format!("{what}: {:?} (retry {:?}) {error}", error.kind(), error.retry()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
