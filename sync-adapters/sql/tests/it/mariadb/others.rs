//! Other programs write the same tables: what they did meanwhile is seen, and never written over unseen.

use std::time::Duration;

use sync_core::sink::Intent;
use sync_core::{ErrorKind, Retry};

use super::*;

async fn orders_with(rows: &str) -> (Database, MySql) {
    let database = sync_test_servers::mariadb().await.unwrap();
    let sink = MySql::connect(&database.url()).await.unwrap();
    sink.prepare(&orders()).await.unwrap();
    database.client(&format!("INSERT INTO orders VALUES {rows}")).await.unwrap();
    (database, sink)
}

/// Writes a row while another transaction, which has done `sql` already, commits it a second later.
async fn write_beside(sql: &str, row: Vec<Value>) -> (sync_core::Error, String) {
    let (database, sink) = orders_with("(1, 1, 'first')").await;
    // So that the sink looks before it writes.
    apply(&sink, &[write(&orders(), &[super::row(1, 1, "first")])], Intent::Commit).await.unwrap();
    let script = format!("START TRANSACTION; {sql}; DO SLEEP(1.5); COMMIT");
    let steps = [write(&orders(), &[row])];
    let (done, written) = tokio::join!(database.client(&script), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        apply(&sink, &steps, Intent::Commit).await
    });
    done.unwrap();
    (written.unwrap_err(), database.client("SELECT * FROM orders").await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_somebody_else_is_changing_is_tried_again() {
    let (error, rows) = write_beside("UPDATE orders SET note = 'theirs' WHERE id = 1", row(1, 2, "ours")).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Conflict, Retry::Backoff), "{error}");
    assert_eq!(rows, "1\t1\ttheirs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_somebody_else_is_deleting_is_tried_again() {
    let (error, rows) = write_beside("DELETE FROM orders WHERE id = 1", row(1, 2, "ours")).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Conflict, Retry::Backoff), "{error}");
    assert_eq!(rows, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_somebody_else_is_adding_is_tried_again() {
    let (error, rows) = write_beside("INSERT INTO orders VALUES (2, 7, 'theirs')", row(2, 2, "ours")).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Conflict, Retry::Backoff), "{error}");
    assert_eq!(rows, "1\t1\tfirst\n2\t7\ttheirs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_known_under_another_unique_key_is_the_one_at_fault() {
    let (database, sink) = orders_with("(1, 1, 'taken')").await;
    database.client("ALTER TABLE orders MODIFY note varchar(50), ADD UNIQUE (note)").await.unwrap();
    sink.prepare(&orders()).await.unwrap();
    let rows: Vec<Vec<Value>> =
        (2..=40).map(|id| row(id, 1, &if id == 23 { "taken".to_owned() } else { format!("free {id}") })).collect();
    let error = apply(&sink, &[write(&orders(), &rows)], Intent::Commit).await.unwrap_err();
    assert_eq!((error.kind(), error.row().map(|at| at.row)), (ErrorKind::Data, Some(21)), "{error}");
    assert!(!error.to_string().contains("taken"), "{error}");
    assert_eq!(database.client("SELECT * FROM orders").await.unwrap(), "1\t1\ttaken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_whose_parent_is_missing_is_the_one_at_fault() {
    let (database, sink) = orders_with("(1, 1, 'a')").await;
    database.client("CREATE TABLE versions (v bigint PRIMARY KEY); INSERT INTO versions VALUES (1), (2); ALTER TABLE orders ADD FOREIGN KEY (version) REFERENCES versions (v)").await.unwrap();
    let rows: Vec<Vec<Value>> = (1..=30).map(|id| row(id, if id == 9 { 3 } else { 2 }, "b")).collect();
    let error = apply(&sink, &[write(&orders(), &rows)], Intent::Commit).await.unwrap_err();
    assert_eq!((error.kind(), error.row().map(|at| at.row)), (ErrorKind::Data, Some(8)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn units_that_write_the_same_rows_at_once_end_in_step_with_one_of_them() {
    let (database, sink) = orders_with("(0, 0, 'zero')").await;
    let writer = |turn: i64| {
        let (sink, url) = (sink.clone(), database.url());
        async move {
            let own = MySql::connect(&url).await.unwrap();
            let sink = if turn % 2 == 0 { sink } else { own };
            // Backwards, so that two writers meet.
            let mut rows: Vec<Vec<Value>> = (1..=40).map(|id| row(id, turn, &format!("turn {turn}"))).collect();
            if turn % 2 == 0 {
                rows.reverse();
            }
            let steps = [write(&orders(), &rows)];
            for _ in 0..200 {
                match apply(&sink, &steps, Intent::Commit).await {
                    Ok(outcomes) => return outcomes.len(),
                    Err(error) => assert_eq!(error.retry(), Retry::Backoff, "{error}"),
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            0
        }
    };
    let done = futures::future::join_all((1..=6).map(writer)).await;
    assert_eq!(done, [40; 6]);
    assert_eq!(
        database.client("SELECT count(*), count(DISTINCT note) FROM orders WHERE id > 0").await.unwrap(),
        "40\t1"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_killed_is_replaced() {
    let (database, sink) = orders_with("(1, 1, 'a')").await;
    let kill = "SELECT concat('KILL ', id, ';') FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()";
    let kills = database.client(kill).await.unwrap();
    assert!(kills.contains("KILL"), "{kills}");
    database.client(&kills).await.unwrap();
    let outcomes = apply(&sink, &[write(&orders(), &[row(1, 2, "b")])], Intent::Commit).await;
    assert_eq!(outcomes.unwrap(), [Outcome::Updated]);
}
