//! The host changes its schema: what is lost is made again, what was missed is found, and what cannot be mended is told.

use std::sync::Arc;

use sync_core::two_way::{Replica as _, Table, Tables};
use sync_core::{ErrorKind, StreamSpec};
use sync_sql::SqliteReplica;

use super::{Till, shop, told};

#[tokio::test]
async fn opening_again_changes_nothing() {
    let till = Till::shop().await;
    till.noticed("INSERT INTO products VALUES ('p1', 'A', 'apple', 5)").await;
    let before: i64 = till.one("PRAGMA schema_version");
    let again = till.open(shop()).await.unwrap();
    assert_eq!(till.one::<i64>("PRAGMA schema_version"), before);
    assert_eq!(again.sequence().await.unwrap().seq, 1);
}

#[tokio::test]
async fn a_table_that_was_copied_and_swapped_is_noticed_again_with_what_was_missed() {
    let till = Till::shop().await;
    till.noticed("INSERT INTO products VALUES ('p1', 'A', 'apple', 5), ('p2', 'B', 'pear', 6), ('p3', 'C', 'plum', 7)")
        .await;
    let entries = till
        .noticed(
            "PRAGMA foreign_keys = OFF; BEGIN;
             CREATE TABLE fresh (id TEXT PRIMARY KEY, sku TEXT UNIQUE, name TEXT, stock INTEGER, colour TEXT);
             INSERT INTO fresh SELECT id, sku, name, stock, 'red' FROM products;
             DROP TABLE products; ALTER TABLE fresh RENAME TO products; COMMIT;
             UPDATE products SET stock = 4 WHERE id = 'p1'; DELETE FROM products WHERE id = 'p2';
             INSERT INTO products VALUES ('p4', 'D', 'fig', 1, 'red');",
        )
        .await;
    let mut told_of = told(&entries);
    told_of.sort();
    assert_eq!(
        told_of,
        ["products p1: p1,A,apple,5 > p1,A,apple,4", "products p2: p2,B,pear,6 > -", "products p4: - > p4,D,fig,1"]
    );
    assert_eq!(
        told(&till.noticed("UPDATE products SET stock = 0 WHERE id = 'p4'").await),
        ["products p4: p4,D,fig,1 > p4,D,fig,0"]
    );
}

#[tokio::test]
async fn a_trigger_that_was_dropped_is_made_again() {
    let till = Till::shop().await;
    let entries = till.noticed("DROP TRIGGER _sync_ai_invoices; INSERT INTO invoices VALUES ('a', '1')").await;
    assert_eq!(told(&entries), ["invoices a: - > a,1"]);
    // What comes from elsewhere is not written into a table that nobody watches either.
    till.run("DROP TRIGGER _sync_au_invoices");
    let mut tx = till.replica.begin().await.unwrap();
    let write = super::write(&shop(), "invoices", "a", Some(super::row(["a", "2"])));
    assert_eq!(tx.write(&[write]).await.unwrap(), [2]);
}

#[tokio::test]
async fn a_column_that_is_declared_later_is_noticed_from_then_on() {
    let till = Till::shop().await;
    till.noticed("INSERT INTO invoices VALUES ('a', '1')").await;
    till.run("ALTER TABLE invoices ADD COLUMN paid INTEGER DEFAULT 3");
    assert_eq!(told(&till.noticed("UPDATE invoices SET paid = 4").await), [""; 0], "nobody has declared it");
    let [products, lines] = ["products", "lines"].map(|name| Arc::clone(shop().get(name).unwrap().spec()));
    let invoices = StreamSpec::new("invoices").text("id").key(["id"]).text("no").int("paid").text("note");
    let tables = Tables::new([Table::new(products), Table::new(invoices), Table::new(lines)]).unwrap();
    let grown = till.open(tables).await.unwrap();
    let seq = grown.sequence().await.unwrap().seq;
    let entries = grown.look().await.unwrap().feed(0, 10).await.unwrap();
    assert_eq!(told(&entries), ["invoices a: - > a,1,null,null", "invoices a: a,1,null,null > a,1,4,null"]);
    till.run("UPDATE invoices SET note = 'n'");
    grown.sequence().await.unwrap();
    let entries = grown.look().await.unwrap().feed(seq, 10).await.unwrap();
    assert_eq!(told(&entries), ["invoices a: a,1,4,null > a,1,4,n"]);
}

#[tokio::test]
async fn a_table_that_was_renamed_or_dropped_is_told_and_never_taken_for_an_empty_one() {
    let till = Till::shop().await;
    till.noticed("INSERT INTO invoices VALUES ('a', '1')").await;
    till.run("ALTER TABLE invoices RENAME TO bills");
    for error in [till.replica.sequence().await.unwrap_err(), till.open(shop()).await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Schema);
        let says = error.to_string();
        assert!(says.contains("rename it back") && says.contains("invoices"), "{says}");
    }
    till.run("ALTER TABLE bills RENAME TO invoices");
    assert_eq!(told(&till.noticed("UPDATE invoices SET no = '2'").await), ["invoices a: a,1 > a,2"]);
}

#[tokio::test]
async fn a_table_that_is_no_longer_declared_is_told() {
    let till = Till::shop().await;
    let fewer = Tables::new([Table::new(Arc::clone(shop().get("products").unwrap().spec()))]).unwrap();
    let says = till.open(fewer).await.unwrap_err().to_string();
    assert!(says.contains("declare it again") && says.contains("invoices"), "{says}");
}

#[tokio::test]
async fn a_database_is_that_of_one_replica() {
    let till = Till::shop().await;
    let clock = Arc::new(sync_core::SystemClock::new());
    let error = SqliteReplica::open(&till.path, "another", shop(), clock).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Config && error.to_string().contains("till"), "{error}");
}

#[tokio::test]
async fn a_unique_index_over_an_expression_is_refused() {
    let till = Till::shop().await;
    till.run("CREATE UNIQUE INDEX upper_no ON invoices (upper(no))");
    let says = till.replica.sequence().await.unwrap_err().to_string();
    assert!(says.contains("upper_no") && says.contains("expression"), "{says}");
}

#[tokio::test]
async fn an_audit_finds_what_was_written_while_triggers_were_switched_off() {
    let till = Till::shop().await;
    till.noticed("INSERT INTO invoices VALUES ('a', '1'), ('b', '2')").await;
    let off = rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER;
    till.host.set_db_config(off, false).unwrap();
    assert_eq!(
        told(&till.noticed("UPDATE invoices SET no = '3' WHERE id = 'a'; DELETE FROM invoices WHERE id = 'b'").await),
        [""; 0]
    );
    assert_eq!(till.replica.audit().await.unwrap(), 2);
    assert_eq!(told(&till.after(2).await), ["invoices b: b,2 > -", "invoices a: a,1 > a,3"]);
    assert_eq!(till.replica.audit().await.unwrap(), 0);
}

#[tokio::test]
async fn what_is_removed_leaves_the_hosts_tables_as_they_were() {
    let till = Till::shop().await;
    till.noticed("INSERT INTO invoices VALUES ('a', '1')").await;
    till.replica.close().await;
    SqliteReplica::remove(&till.path).await.unwrap();
    assert_eq!(till.one::<i64>("SELECT count(*) FROM sqlite_schema WHERE name LIKE '\\_sync%' ESCAPE '\\'"), 0);
    till.run("UPDATE invoices SET no = '2'");
    assert_eq!(till.one::<String>("SELECT no FROM invoices"), "2");
    let again = till.open(shop()).await.unwrap();
    assert_eq!(again.sequence().await.unwrap().seq, 1);
}
