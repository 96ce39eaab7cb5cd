//! What comes from elsewhere is written under its own stamp, and nothing else is.

use sqlx::Executor as _;
use sync_core::two_way::{Hlc, Replica as _};
use sync_core::{ErrorKind, Key};

use super::{Office, execute, row, shop, told, write};

#[tokio::test]
async fn what_a_cascade_does_beside_a_remote_write_is_the_hosts() {
    let office = Office::shop().await;
    let seeded = office
        .noticed("INSERT INTO invoices VALUES ('i', '1'); INSERT INTO `lines` VALUES (1, 'i', NULL, 3)")
        .await
        .len() as u64;
    let mut tx = office.replica.begin().await.unwrap();
    tx.write(&[write(&shop(), "invoices", "i", None)]).await.unwrap();
    tx.commit().await.unwrap();
    let entries = office.after(seeded).await;
    let who: Vec<(&str, &str, u64, bool)> =
        entries.iter().map(|e| (&*e.table, &*e.stamp.origin, e.stamp.seen, e.upstream)).collect();
    assert!(who.contains(&("invoices", "master", 9, true)) && who.contains(&("lines", "office", 0, false)), "{who:?}");
    assert_eq!((entries.len(), entries[0].group), (2, entries[1].group));
}

#[tokio::test]
async fn a_stamp_does_not_outlive_its_write() {
    let office = Office::shop().await;
    // A row that a trigger of the host leaves as it is: its stamp is not taken.
    office
        .run(
            "CREATE TRIGGER keep BEFORE UPDATE ON products FOR EACH ROW SET NEW.name = IF(NEW.name = 'kept', OLD.name, NEW.name), NEW.stock = OLD.stock;
             INSERT INTO products VALUES ('p', 'A', 'apple', 5)",
        )
        .await;
    let seq = office.replica.sequence().await.unwrap().seq;
    let mut tx = office.replica.begin().await.unwrap();
    let kept = vec!["p".into(), "A".into(), "kept".into(), 5.into()];
    tx.write(&[write(&shop(), "products", "p", Some(kept))]).await.unwrap();
    tx.write(&[write(&shop(), "invoices", "i", Some(row(["i", "1"])))]).await.unwrap();
    tx.commit().await.unwrap();
    office.run("UPDATE products SET name = 'pear'; UPDATE invoices SET no = 'mine'").await;
    let entries = office.after(seq).await;
    let who: Vec<(&str, &str, bool, u64)> =
        entries.iter().map(|e| (&*e.table, &*e.stamp.origin, e.upstream, e.stamp.seen)).collect();
    assert_eq!(
        who,
        [("invoices", "master", true, 9), ("products", "office", false, 0), ("invoices", "office", false, 9)]
    );
}

#[tokio::test]
async fn a_stamp_that_a_session_still_has_is_of_no_use_to_what_comes_after() {
    let office = Office::shop().await;
    let mut host = office.host().await;
    // A session as a pool might hand it on, in the middle of a write of ours and behind its end.
    let stamp = "SET @sync_conn = CONNECTION_ID(), @sync_row = CONCAT_WS('/', 'invoices', HEX('i')), @sync_hlc = 1, @sync_origin = 'master',
                   @sync_op = 7, @sync_seen = 9, @sync_upstream = 1";
    for ends in ["COMMIT", "ROLLBACK"] {
        execute(
            &mut host,
            &format!("BEGIN; REPLACE INTO _sync_in VALUES (CONNECTION_ID(), 1); {stamp}; DELETE FROM _sync_in; {ends}"),
        )
        .await;
        execute(&mut host, "REPLACE INTO invoices VALUES ('i', '1')").await;
    }
    execute(
        &mut host,
        &format!("BEGIN; REPLACE INTO _sync_in VALUES (CONNECTION_ID(), 1); {stamp}; ROLLBACK; DELETE FROM invoices"),
    )
    .await;
    // Another session with the number of this one in its variables.
    let number: u64 = sqlx::query_scalar("SELECT CONNECTION_ID()").fetch_one(&mut host).await.unwrap();
    execute(&mut host, "BEGIN; REPLACE INTO _sync_in VALUES (CONNECTION_ID(), 1)").await;
    let mut other = office.host().await;
    execute(&mut other, &format!("{stamp}; SET @sync_conn = {number}; INSERT INTO invoices VALUES ('i', '2')")).await;
    execute(&mut host, "ROLLBACK").await;
    let entries = office.after(0).await;
    assert!(entries.len() >= 3, "{:?}", told(&entries));
    assert!(
        entries
            .iter()
            .all(|entry| &*entry.stamp.origin == "office" && !entry.upstream && entry.stamp.hlc > Hlc(1 << 40))
    );
    assert_eq!(office.run("SELECT COUNT(*) FROM _sync_in").await, "0");
}

#[tokio::test]
async fn rows_in_the_way_are_found_by_every_unique_index_over_beginnings_and_computed_columns_too() {
    let office = Office::shop().await;
    office
        .run(
            "ALTER TABLE products ADD COLUMN loud varchar(40) COLLATE utf8mb4_nopad_bin AS (UPPER(LEFT(name, 40))) PERSISTENT, ADD UNIQUE KEY (loud);
             ALTER TABLE invoices ADD COLUMN till bigint, ADD UNIQUE KEY begins (no(2)), ADD UNIQUE KEY (till);
             INSERT INTO products VALUES ('p1', 'A', 'apple', 5, DEFAULT), ('p3', 'C', 'plum', 0, DEFAULT);
             INSERT INTO invoices VALUES ('i', '1x1', 1); INSERT INTO `lines` VALUES (1, 'i', 'p1', 1)",
        )
        .await;
    office.replica.sequence().await.unwrap();
    let product = |id: &str, sku: &str, name: &str, stock: i64| {
        write(&shop(), "products", id, Some(vec![id.into(), sku.into(), name.into(), stock.into()]))
    };
    let mut tx = office.replica.begin().await.unwrap();
    let wanted = product("p2", "a", "pear", 1);
    let clashing = tx.clashing(&wanted).await.unwrap();
    assert_eq!(clashing, [("lines".to_owned(), Key::new([1])), ("products".to_owned(), Key::new(["p1"]))]);
    let error = tx.write(&[wanted]).await.unwrap_err();
    assert_eq!((error.kind(), error.row().map(|at| at.row)), (ErrorKind::Data, Some(0)));
    assert!(error.context().any(|pair| pair == ("code", "unique")), "{error}");
    // The transaction lives on.
    assert_eq!(tx.clashing(&product("p4", "D", "Plum", 0)).await.unwrap(), [("products".to_owned(), Key::new(["p3"]))]);
    assert_eq!(tx.clashing(&product("p4", "D", "plums", 1)).await.unwrap(), []);
    let invoice = |no: &str| write(&shop(), "invoices", "j", Some(row(["j", no])));
    assert_eq!(tx.clashing(&invoice("1x2")).await.unwrap().len(), 2, "the line and its invoice");
    assert_eq!(tx.clashing(&invoice("1y")).await.unwrap(), []);
    tx.write(&[product("p4", "D", "plums", 1)]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(office.run("SELECT id FROM products WHERE sku = 'D'").await, "p4");
}

#[tokio::test]
async fn a_host_waits_for_rows_that_are_locked_and_for_no_others() {
    let office = Office::shop().await;
    office.run("INSERT INTO invoices VALUES ('i', '1'), ('j', '1')").await;
    let table = std::sync::Arc::clone(shop().get("invoices").unwrap());
    let mut tx = office.replica.begin().await.unwrap();
    tx.rows(&table, &[Key::new(["i"]), Key::new(["nobody"])]).await.unwrap();
    let mut host = office.host().await;
    execute(&mut host, "SET innodb_lock_wait_timeout = 1; UPDATE invoices SET no = '2' WHERE id = 'j'; INSERT INTO invoices VALUES ('k', '1')").await;
    let waited = host.execute("UPDATE invoices SET no = '2' WHERE id = 'i'").await;
    assert_eq!(
        waited.unwrap_err().as_database_error().unwrap().message(),
        "Lock wait timeout exceeded; try restarting transaction"
    );
    tx.write(&[write(&shop(), "invoices", "i", Some(row(["i", "3"])))]).await.unwrap();
    tx.commit().await.unwrap();
    execute(&mut host, "UPDATE invoices SET no = '4' WHERE id = 'i'").await;
    let told = told(&office.after(2).await);
    assert_eq!(
        told,
        ["invoices j: j,1 > j,2", "invoices k: - > k,1", "invoices i: i,1 > i,3", "invoices i: i,3 > i,4"]
    );
}

#[tokio::test]
async fn a_row_that_a_host_is_about_to_insert_is_waited_for() {
    let office = Office::shop().await;
    let mut host = office.host().await;
    execute(&mut host, "BEGIN; INSERT INTO invoices VALUES ('i', 'theirs')").await;
    let replica = office.replica.clone();
    let look = tokio::spawn(async move {
        let mut tx = replica.begin().await.unwrap();
        let table = std::sync::Arc::clone(shop().get("invoices").unwrap());
        tx.rows(&table, &[Key::new(["i"])]).await.unwrap().remove(0).row
    });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(!look.is_finished());
    execute(&mut host, "COMMIT").await;
    assert_eq!(look.await.unwrap(), Some(row(["i", "theirs"])), "who decides by it knows what stands there");
}

#[tokio::test]
async fn no_value_of_a_row_stands_in_an_error() {
    let office = Office::shop().await;
    office.run("ALTER TABLE invoices ADD CONSTRAINT short CHECK (CHAR_LENGTH(no) < 9)").await;
    let secret = "4111-1111-1111-1111";
    let mut tx = office.replica.begin().await.unwrap();
    let refused = [
        tx.write(&[write(&shop(), "invoices", "i", Some(row(["i", secret])))]).await.unwrap_err(),
        tx.write(&[write(&shop(), "lines", 1, Some(vec![1.into(), secret.into(), sync_core::Value::Null, 1.into()]))])
            .await
            .unwrap_err(),
    ];
    drop(tx);
    for error in refused {
        let said = format!("{error} {error:?}");
        assert!(!said.contains(secret), "{said}");
        assert!(said.contains("invoices") || said.contains("lines"), "{said}");
    }
}

#[tokio::test]
async fn the_time_of_a_write_from_elsewhere_stays_and_what_follows_is_later() {
    let office = Office::shop().await;
    let mut tx = office.replica.begin().await.unwrap();
    let far = Hlc((4_000_000_000_000 << 16) + 5);
    let ahead = sync_core::two_way::RowWrite { hlc: far, ..write(&shop(), "invoices", "i", Some(row(["i", "1"]))) };
    tx.write(&[ahead]).await.unwrap();
    tx.commit().await.unwrap();
    // Whatever the host's session takes the time to be.
    office.run("SET time_zone = '-11:00'; SET timestamp = 5; UPDATE invoices SET no = '2'").await;
    let times: Vec<Hlc> = office.after(0).await.iter().map(|entry| entry.stamp.hlc).collect();
    assert_eq!(times, [far, Hlc(far.0 + 1)]);
}

#[tokio::test]
async fn what_fails_leaves_nothing_of_its_call_and_says_which_rule() {
    let office = Office::shop().await;
    office.run("INSERT INTO products VALUES ('p', 'A', 'apple', 5); CREATE TABLE uses (p varchar(40) COLLATE utf8mb4_nopad_bin REFERENCES products (id)); INSERT INTO uses VALUES ('p')").await;
    let mut tx = office.replica.begin().await.unwrap();
    let product = |id: &str| Some(vec![id.into(), "a".into(), "fig".into(), 1.into()]);
    for (write, code) in [
        (write(&shop(), "products", "q", product("q")), "unique"),
        (write(&shop(), "lines", 2, Some(vec![2.into(), "nobody".into(), "p".into(), 1.into()])), "parent"),
        (write(&shop(), "products", "p", None), "child"),
    ] {
        let fine = super::write(&shop(), "invoices", "i", Some(row(["i", "1"])));
        let error = tx.write(&[fine, write]).await.unwrap_err();
        assert!(error.context().any(|pair| pair == ("code", code)), "{code}: {error}");
        assert_eq!(error.row().map(|at| at.row), Some(1));
    }
    tx.commit().await.unwrap();
    assert_eq!(office.run("SELECT COUNT(*) FROM invoices").await, "0", "what fails leaves nothing of its call");
}
