//! What comes from elsewhere is written under its own stamp, and nothing else is.

use sync_core::two_way::{Hlc, Replica as _};
use sync_core::{ErrorKind, Key};

use super::{Till, row, shop, told, write};

#[tokio::test]
async fn what_a_cascade_does_beside_a_remote_write_is_the_hosts() {
    let till = Till::shop().await;
    let seeded =
        till.noticed("INSERT INTO invoices VALUES ('i', '1'); INSERT INTO lines VALUES (1, 'i', NULL, 3)").await.len()
            as u64;
    let mut tx = till.replica.begin().await.unwrap();
    tx.write(&[write(&shop(), "invoices", "i", None)]).await.unwrap();
    tx.commit().await.unwrap();
    let entries = till.after(seeded).await;
    let who: Vec<(&str, &str, u64, bool)> =
        entries.iter().map(|e| (&*e.table, &*e.stamp.origin, e.stamp.seen, e.upstream)).collect();
    assert!(who.contains(&("invoices", "master", 9, true)) && who.contains(&("lines", "till", 0, false)), "{who:?}");
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0].group, entries[1].group);
}

#[tokio::test]
async fn a_stamp_does_not_outlive_its_write() {
    let till = Till::shop().await;
    till.run("CREATE TRIGGER stamps AFTER INSERT ON invoices BEGIN UPDATE invoices SET no = no || '!' WHERE id = NEW.id; END");
    let mut tx = till.replica.begin().await.unwrap();
    tx.write(&[write(&shop(), "invoices", "i", Some(row(["i", "1"])))]).await.unwrap();
    tx.commit().await.unwrap();
    for table in ["products", "invoices", "lines"] {
        assert_eq!(till.one::<i64>(&format!("SELECT count(*) FROM _sync_in_{table}")), 0);
    }
    assert_eq!(till.one::<Option<i64>>("SELECT now FROM _sync_ctx"), None, "the machine's clock counts again");
    let entries = till.noticed("UPDATE invoices SET no = 'mine'").await;
    assert_eq!((&*entries[0].stamp.origin, entries[0].upstream, entries[0].stamp.seen), ("till", false, 9));
}

#[tokio::test]
async fn a_unique_value_that_ignores_case_clashes_whatever_its_case() {
    let till = Till::shop().await;
    till.run("INSERT INTO products VALUES ('p1', 'A', 'apple', 5); INSERT INTO invoices VALUES ('i', '1'); INSERT INTO lines VALUES (1, 'i', 'p1', 1)");
    let mut tx = till.replica.begin().await.unwrap();
    let wanted = write(&shop(), "products", "p2", Some(vec!["p2".into(), "a".into(), "pear".into(), 1.into()]));
    let clashing = tx.clashing(&wanted).await.unwrap();
    assert_eq!(clashing, [("lines".to_owned(), Key::new([1])), ("products".to_owned(), Key::new(["p1"]))]);
    let error = tx.write(&[wanted]).await.unwrap_err();
    assert_eq!((error.kind(), error.row().map(|at| at.row)), (ErrorKind::Data, Some(0)));
    assert!(error.context().any(|pair| pair == ("code", "unique")), "{error}");
}

#[tokio::test]
async fn a_host_waits_for_a_transaction_and_loses_nothing() {
    let till = Till::shop().await;
    till.host.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
    let mut tx = till.replica.begin().await.unwrap();
    tx.write(&[write(&shop(), "invoices", "i", Some(row(["i", "1"])))]).await.unwrap();
    let path = till.path.clone();
    let host = std::thread::spawn(move || {
        let host = rusqlite::Connection::open(path).unwrap();
        host.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
        host.execute_batch("INSERT INTO invoices VALUES ('h', '1')").unwrap();
    });
    std::thread::sleep(std::time::Duration::from_millis(50));
    tx.commit().await.unwrap();
    host.join().unwrap();
    let entries = till.after(0).await;
    assert_eq!(told(&entries), ["invoices i: - > i,1", "invoices h: - > h,1"]);
    assert_ne!(entries[0].group, entries[1].group);
    assert_eq!(entries[0].stamp.hlc, Hlc(77 << 16));
}
