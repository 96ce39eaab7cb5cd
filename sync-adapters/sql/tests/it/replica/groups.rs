//! What was written together stands together in the feed.

use sync_core::two_way::Replica as _;

use super::{Till, sizes};

#[tokio::test]
async fn transactions_of_the_replica_are_groups_of_their_own() {
    let till = Till::shop().await;
    till.run("INSERT INTO invoices VALUES ('a', '1')");
    for id in ["b", "c"] {
        let written = till.replica.transaction(move |host| {
            host.execute("INSERT INTO invoices VALUES (?, 'x')", &[id.into()])?;
            host.execute("UPDATE invoices SET no = 'y' WHERE id = ?", &[id.into()])
        });
        assert_eq!(written.await.unwrap(), 1);
    }
    till.run("INSERT INTO invoices VALUES ('d', '1')");
    assert_eq!(sizes(&till.after(0).await), [1, 2, 2, 1]);
}

#[tokio::test]
async fn a_transaction_that_fails_leaves_nothing() {
    let till = Till::shop().await;
    let failed = till.replica.transaction(|host| {
        host.execute("INSERT INTO invoices VALUES ('a', '1')", &[])?;
        host.execute("INSERT INTO lines VALUES (1, 'nobody', NULL, 1)", &[])
    });
    assert_eq!(failed.await.unwrap_err().kind(), sync_core::ErrorKind::Data);
    assert_eq!(till.after(0).await, []);
    assert_eq!(till.one::<i64>("SELECT count(*) FROM invoices"), 0);
}

#[tokio::test]
async fn plain_transactions_between_two_looks_are_one_group_and_never_cut() {
    let till = Till::shop().await;
    till.run(
        "BEGIN; INSERT INTO invoices VALUES ('a', '1'), ('b', '2'); COMMIT; INSERT INTO invoices VALUES ('c', '3')",
    );
    assert_eq!(sizes(&till.after(0).await), [3]);
    let later = till.noticed("INSERT INTO invoices VALUES ('d', '4')").await;
    assert_eq!(sizes(&later), [1]);
}

#[tokio::test]
async fn a_plain_host_may_tell_its_transactions_apart() {
    let till = Till::shop().await;
    let entries = till
        .noticed(
            "INSERT INTO invoices VALUES ('a', '1'), ('b', '2');
             BEGIN IMMEDIATE; INSERT INTO _sync_group VALUES (1);
             INSERT INTO invoices VALUES ('c', '1'), ('d', '2');
             INSERT INTO _sync_group VALUES (1); COMMIT;
             INSERT INTO invoices VALUES ('e', '1');",
        )
        .await;
    assert_eq!(sizes(&entries), [2, 2, 1]);
}

#[tokio::test]
async fn a_transaction_that_is_still_open_is_not_in_the_feed() {
    let till = Till::shop().await;
    till.run("INSERT INTO invoices VALUES ('a', '1')");
    till.replica.sequence().await.unwrap();
    till.run("BEGIN IMMEDIATE; INSERT INTO invoices VALUES ('b', '1')");
    let mut look = till.replica.look().await.unwrap();
    assert_eq!(look.feed(0, 10).await.unwrap().len(), 1);
    till.run("COMMIT");
    assert_eq!(look.feed(0, 10).await.unwrap().len(), 1, "a look sees one moment");
    drop(look);
    assert_eq!(sizes(&till.after(0).await), [1, 1]);
}

#[tokio::test]
async fn a_page_ends_behind_a_group() {
    let till = Till::shop().await;
    till.noticed("INSERT INTO invoices VALUES ('a', '1'), ('b', '2'), ('c', '3')").await;
    till.noticed("INSERT INTO invoices VALUES ('d', '1'), ('e', '2')").await;
    let mut look = till.replica.look().await.unwrap();
    for (after, limit, wanted) in [(0, 1, 3), (0, 3, 3), (0, 4, 5), (3, 1, 2), (5, 9, 0)] {
        assert_eq!(look.feed(after, limit).await.unwrap().len(), wanted, "after {after}, {limit} at most");
    }
}
