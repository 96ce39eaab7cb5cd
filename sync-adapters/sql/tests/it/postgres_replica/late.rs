//! Writers that commit late and out of order: see [`crate::office::late`].

use std::sync::Arc;

use sync_core::two_way::Replica as _;
use sync_sql::PostgresReplica;

use super::{Office, execute, sizes, told};
use crate::office::late;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_writers_lose_nothing_and_no_group_is_cut() {
    let office = Office::with(late::SCHEMA, late::tables()).await;
    late::late_writers_lose_nothing_and_no_group_is_cut(&office, Arc::default()).await;
}

#[tokio::test]
async fn a_transaction_that_stays_open_holds_nobody_up() {
    late::a_transaction_that_stays_open_holds_nobody_up::<PostgresReplica>().await;
}

#[tokio::test]
async fn a_row_that_a_host_is_writing_keeps_its_stamp_through_a_clean_up() {
    late::a_row_that_a_host_is_writing_keeps_its_stamp_through_a_clean_up::<PostgresReplica>().await;
}

#[tokio::test]
async fn two_phase_transactions_come_when_they_are_committed() {
    let office = Office::shop().await;
    if office.run("SHOW max_prepared_transactions").await == "0" {
        println!("skipped: this server prepares no transactions");
        return;
    }
    office.run("BEGIN; INSERT INTO invoices VALUES ('a', '1'); PREPARE TRANSACTION 'one'").await;
    assert_eq!(office.noticed("INSERT INTO invoices VALUES ('b', '1')").await.len(), 1);
    assert_eq!(told(&office.noticed("COMMIT PREPARED 'one'").await), ["invoices a: - > a,1"]);
}

#[tokio::test]
async fn hosts_in_other_isolations_are_noticed_too() {
    let office = Office::shop().await;
    for (number, isolation) in ["REPEATABLE READ", "SERIALIZABLE"].into_iter().enumerate() {
        let mut host = office.host().await;
        execute(&mut host, &format!("BEGIN ISOLATION LEVEL {isolation}; SELECT count(*) FROM invoices")).await;
        office.run(&format!("INSERT INTO invoices VALUES ('other{number}', '1')")).await;
        let seq = office.replica.sequence().await.unwrap().seq;
        execute(&mut host, &format!("INSERT INTO invoices VALUES ('i{number}', '1'); UPDATE invoices SET no = '2' WHERE id = 'i{number}'; COMMIT")).await;
        let entries = office.after(seq).await;
        assert_eq!(
            told(&entries),
            [format!("invoices i{number}: - > i{number},1"), format!("invoices i{number}: i{number},1 > i{number},2")]
        );
        assert_eq!(sizes(&entries), [2]);
    }
}

#[tokio::test]
async fn a_database_whose_default_is_another_isolation_or_no_durability_changes_nothing() {
    let office = Office::shop().await;
    let name = office.database.name();
    office.run(&format!("ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'; ALTER DATABASE {name} SET synchronous_commit = off")).await;
    let again = super::open(&office.database, super::shop()).await.unwrap();
    office.run("INSERT INTO invoices VALUES ('a', '1')").await;
    assert_eq!(again.sequence().await.unwrap().seq, 1);
}
