//! Writers that commit late and out of order: see [`crate::office::late`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::{AssertSqlSafe, Executor as _};
use sync_core::two_way::Replica as _;
use sync_sql::MySqlReplica;

use super::{Office, execute, sizes, told};
use crate::office::late;

/// Somebody who gives places as well, and is killed in the middle of it.
async fn killed(office: &Office, done: &AtomicBool) -> u64 {
    let (mut killer, mut kills) = (office.host().await, 0);
    while !done.load(Ordering::Acquire) {
        let mut victim = office.host().await;
        let number: u64 = sqlx::query_scalar("SELECT CONNECTION_ID()").fetch_one(&mut victim).await.unwrap();
        let run = tokio::spawn(async move { victim.execute(sqlx::raw_sql("CALL _sync_sequence()")).await.is_err() });
        tokio::time::sleep(Duration::from_millis(kills % 4)).await;
        let _ = killer.execute(sqlx::raw_sql(AssertSqlSafe(format!("KILL {number}")))).await;
        kills += u64::from(run.await.unwrap());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    kills
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_writers_lose_nothing_and_no_group_is_cut() {
    let office = Arc::new(Office::with(late::SCHEMA, late::tables()).await);
    let done = Arc::new(AtomicBool::new(false));
    let (theirs, over) = (Arc::clone(&office), Arc::clone(&done));
    let kills = tokio::spawn(async move { killed(&theirs, &over).await });
    late::late_writers_lose_nothing_and_no_group_is_cut(&office, done).await;
    println!("{} who gave places were killed", kills.await.unwrap());
}

#[tokio::test]
async fn a_transaction_that_stays_open_holds_nobody_up() {
    late::a_transaction_that_stays_open_holds_nobody_up::<MySqlReplica>().await;
}

#[tokio::test]
async fn a_row_that_a_host_is_writing_keeps_its_stamp_through_a_clean_up() {
    late::a_row_that_a_host_is_writing_keeps_its_stamp_through_a_clean_up::<MySqlReplica>().await;
}

#[tokio::test]
async fn hosts_that_write_rows_side_by_side_do_not_wait_for_each_other() {
    let office = Office::with(late::SCHEMA, late::tables()).await;
    office.run("INSERT INTO things VALUES (10, 0, 0), (20, 0, 0), (30, 0, 0); DELETE FROM things WHERE id = 20").await;
    let isolation = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ; SET innodb_lock_wait_timeout = 1; BEGIN;";
    let (mut one, mut other) = (office.host().await, office.host().await);
    execute(
        &mut one,
        &format!("{isolation} INSERT INTO things VALUES (12, 1, 0), (22, 1, 0); UPDATE things SET n = 1 WHERE id = 10"),
    )
    .await;
    execute(
        &mut other,
        &format!("{isolation} INSERT INTO things VALUES (11, 2, 0), (23, 2, 0); UPDATE things SET n = 1 WHERE id = 30"),
    )
    .await;
    execute(&mut one, "INSERT INTO things VALUES (13, 1, 0), (31, 1, 0); DELETE FROM things WHERE id = 12; COMMIT")
        .await;
    execute(&mut other, "INSERT INTO things VALUES (14, 2, 0), (32, 2, 0); COMMIT").await;
    assert_eq!(sizes(&office.after(9).await), [6, 5]);
}

#[tokio::test]
async fn a_host_that_goes_back_to_a_savepoint_holds_nobody_up() {
    let office = Office::shop().await;
    let setup = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ; SET innodb_lock_wait_timeout = 1; BEGIN;";
    let (mut one, mut other) = (office.host().await, office.host().await);
    execute(
        &mut one,
        &format!(
            "{setup} INSERT INTO invoices VALUES ('b', '1'); SAVEPOINT s; UPDATE invoices SET no = '2'; ROLLBACK TO s"
        ),
    )
    .await;
    execute(&mut other, &format!("{setup} INSERT INTO products VALUES ('p', 'A', 'apple', 1); COMMIT")).await;
    execute(&mut one, "COMMIT").await;
    assert_eq!(told(&office.after(0).await), ["invoices b: - > b,1", "products p: - > p,A,apple,1"]);
}

#[tokio::test]
async fn two_phase_transactions_come_when_they_are_committed() {
    let office = Office::shop().await;
    office.run("XA START 'one'; INSERT INTO invoices VALUES ('a', '1'); XA END 'one'; XA PREPARE 'one'").await;
    assert_eq!(office.noticed("INSERT INTO invoices VALUES ('b', '1')").await.len(), 1);
    assert_eq!(told(&office.noticed("XA COMMIT 'one'").await), ["invoices a: - > a,1"]);
}

#[tokio::test]
async fn hosts_in_other_isolations_are_noticed_too() {
    let office = Office::shop().await;
    for (number, isolation) in ["READ UNCOMMITTED", "REPEATABLE READ", "SERIALIZABLE"].into_iter().enumerate() {
        let mut host = office.host().await;
        execute(
            &mut host,
            &format!("SET SESSION TRANSACTION ISOLATION LEVEL {isolation}; BEGIN; SELECT COUNT(*) FROM products"),
        )
        .await;
        office.run(&format!("INSERT INTO invoices VALUES ('other{number}', '1')")).await;
        let seq = office.replica.sequence().await.unwrap().seq;
        // Its snapshot does not show the other's row; its write sees it.
        execute(&mut host, &format!("INSERT INTO invoices VALUES ('i{number}', '1'); UPDATE invoices SET no = '2' WHERE id IN ('i{number}', 'other{number}'); COMMIT")).await;
        let entries = office.after(seq).await;
        let wanted = [
            format!("invoices i{number}: - > i{number},1"),
            format!("invoices i{number}: i{number},1 > i{number},2"),
            format!("invoices other{number}: other{number},1 > other{number},2"),
        ];
        assert_eq!(told(&entries), wanted, "{isolation}");
        assert_eq!(sizes(&entries), [3]);
    }
}

#[tokio::test]
async fn a_row_that_is_made_anew_with_a_value_of_another_waits_for_it() {
    crate::office::races::a_row_that_is_made_anew_with_a_value_of_another_waits_for_it::<MySqlReplica>().await;
}

#[tokio::test]
async fn a_delete_of_an_unknown_row_does_not_hide_the_one_that_a_host_commits_meanwhile() {
    crate::office::races::a_delete_of_an_unknown_row_does_not_hide_the_one_that_a_host_commits_meanwhile::<
        MySqlReplica,
    >()
    .await;
}
