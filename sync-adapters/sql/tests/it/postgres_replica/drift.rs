//! The host changes its schema: what is lost is made again, what was missed is found, and what cannot be mended is told.

use std::sync::Arc;

use sync_core::two_way::{Replica as _, Table, Tables};
use sync_core::{ErrorKind, StreamSpec};
use sync_sql::PostgresReplica;

use super::{Office, execute, open, row, shop, sorted, told, write};

#[tokio::test]
async fn opening_again_changes_nothing() {
    let office = Office::shop().await;
    office.noticed("INSERT INTO invoices VALUES ('a', '1')").await;
    let made = "SELECT string_agg(oid::text || xmin::text, ',' ORDER BY oid) FROM pg_trigger";
    let before = office.run(made).await;
    let again = open(&office.database, shop()).await.unwrap();
    assert_eq!(office.run(made).await, before);
    assert_eq!(again.sequence().await.unwrap().seq, 1);
}

#[tokio::test]
async fn a_table_that_was_copied_and_swapped_is_noticed_again_with_what_was_missed() {
    let office = Office::shop().await;
    office
        .noticed("INSERT INTO products VALUES ('p1', 'A', 'apple', 5), ('p2', 'B', 'pear', 6), ('p3', 'C', 'plum', 7)")
        .await;
    let entries = office
        .noticed(
            "BEGIN; CREATE TABLE fresh (id text PRIMARY KEY, sku text, name text, stock bigint, colour text);
             INSERT INTO fresh SELECT id, sku, name, stock, 'red' FROM products;
             ALTER TABLE products RENAME TO away; ALTER TABLE fresh RENAME TO products; COMMIT;
             UPDATE products SET stock = 4 WHERE id = 'p1'; DELETE FROM products WHERE id = 'p2';
             INSERT INTO products VALUES ('p4', 'D', 'fig', 1, 'red'); UPDATE away SET stock = 99;",
        )
        .await;
    assert_eq!(
        sorted(&entries),
        ["products p1: p1,A,apple,5 > p1,A,apple,4", "products p2: p2,B,pear,6 > -", "products p4: - > p4,D,fig,1"]
    );
    let entries = office
        .noticed("UPDATE products SET stock = 0 WHERE id = 'p4'; UPDATE away SET stock = 98; DROP TABLE away CASCADE")
        .await;
    assert_eq!(told(&entries), ["products p4: p4,D,fig,1 > p4,D,fig,0"]);
    let entries = office
        .noticed(
            "BEGIN; CREATE TABLE fresh AS TABLE products; ALTER TABLE fresh ADD PRIMARY KEY (id); DROP TABLE products;
                  ALTER TABLE fresh RENAME TO products; COMMIT; DELETE FROM products WHERE id = 'p4'",
        )
        .await;
    assert_eq!(told(&entries), ["products p4: p4,D,fig,0 > -"]);
}

#[tokio::test]
async fn a_trigger_that_was_dropped_or_switched_off_is_made_again() {
    let office = Office::shop().await;
    for (number, loss) in [
        "DROP TRIGGER _sync_row ON invoices",
        "ALTER TABLE invoices DISABLE TRIGGER ALL",
        "ALTER TABLE invoices DISABLE TRIGGER USER",
        "DROP FUNCTION _sync_note_invoices() CASCADE",
    ]
    .into_iter()
    .enumerate()
    {
        let entries = office.noticed(&format!("{loss}; INSERT INTO invoices VALUES ('a{number}', '1')")).await;
        assert_eq!(told(&entries), [format!("invoices a{number}: - > a{number},1")], "{loss}");
    }
    // On and off again between two looks.
    let entries = office
        .noticed(
            "ALTER TABLE invoices DISABLE TRIGGER USER; UPDATE invoices SET no = '2' WHERE id = 'a0';
             ALTER TABLE invoices ENABLE ALWAYS TRIGGER _sync_row; ALTER TABLE invoices ENABLE ALWAYS TRIGGER _sync_truncate",
        )
        .await;
    assert_eq!(told(&entries), ["invoices a0: a0,1 > a0,2"]);
    // What comes from elsewhere is not written into a table that nobody watches either.
    office.run("DROP TRIGGER _sync_row ON invoices").await;
    let mut tx = office.replica.begin().await.unwrap();
    tx.write(&[write(&shop(), "invoices", "a1", Some(row(["a1", "9"])))]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(office.noticed("").await.len(), 0);
    assert_eq!(office.run("SELECT origin FROM _sync_row_invoices WHERE k_id = 'a1'").await, "master");
}

#[tokio::test]
async fn whoever_switches_triggers_off_for_a_session_is_noticed_all_the_same() {
    let office = Office::shop().await;
    let entries = office
        .noticed(
            "SET session_replication_role = replica; INSERT INTO invoices VALUES ('a', '1'); TRUNCATE invoices CASCADE",
        )
        .await;
    assert_eq!(told(&entries), ["invoices a: - > a,1", "invoices a: a,1 > -"]);
}

#[tokio::test]
async fn an_audit_finds_what_the_schema_does_not_tell() {
    let office = Office::shop().await;
    office.noticed("INSERT INTO invoices VALUES ('a', '1'), ('b', '2'), ('d', '4')").await;
    // As if it had never been captured.
    office
        .run(
            "UPDATE _sync_row_invoices SET v_no = 'x' WHERE k_id = 'a'; DELETE FROM _sync_row_invoices WHERE k_id = 'b';
             INSERT INTO _sync_row_invoices SELECT 'c', 'gone', 2, 0, 'office', 2, 0, false",
        )
        .await;
    assert_eq!(
        told(&office.noticed("UPDATE invoices SET no = no").await).len(),
        2,
        "rows that are written are compared"
    );
    office.run("UPDATE _sync_row_invoices SET v_no = 'x' WHERE k_id = 'a'").await;
    let seq = office.replica.sequence().await.unwrap().seq;
    let mut host = office.host().await;
    execute(&mut host, "BEGIN; UPDATE lines SET qty = 1; SELECT FROM invoices").await;
    assert_eq!(office.replica.audit().await.unwrap(), 2, "who only reads is not in the way");
    execute(&mut host, "COMMIT").await;
    assert_eq!(sorted(&office.after(seq).await), ["invoices a: a,x > a,1", "invoices c: c,gone > -"]);
    assert_eq!(office.replica.audit().await.unwrap(), 0);
}

#[tokio::test]
async fn a_column_that_is_declared_later_is_noticed_from_then_on() {
    let office = Office::shop().await;
    office.noticed("INSERT INTO invoices VALUES ('a', '1')").await;
    assert_eq!(
        told(
            &office
                .noticed("ALTER TABLE invoices ADD COLUMN paid bigint DEFAULT 3; UPDATE invoices SET paid = 4")
                .await
        ),
        [""; 0],
        "nobody has declared it"
    );
    let [products, lines] = ["products", "lines"].map(|name| Arc::clone(shop().get(name).unwrap().spec()));
    let invoices = StreamSpec::new("invoices").text("id").key(["id"]).text("no").int("paid").text("note");
    let tables = Tables::new([Table::new(products), Table::new(invoices), Table::new(lines)]).unwrap();
    let grown = open(&office.database, tables).await.unwrap();
    let seq = grown.sequence().await.unwrap().seq;
    let entries = grown.look().await.unwrap().feed(0, 10).await.unwrap();
    assert_eq!(told(&entries), ["invoices a: - > a,1,null,null", "invoices a: a,1,null,null > a,1,4,null"]);
    office.run("UPDATE invoices SET note = 'n'").await;
    grown.sequence().await.unwrap();
    let entries = grown.look().await.unwrap().feed(seq, 10).await.unwrap();
    assert_eq!(told(&entries), ["invoices a: a,1,4,null > a,1,4,n"]);
}

#[tokio::test]
async fn a_host_that_renames_a_table_or_a_column_writes_on_and_is_told() {
    for (away, back, what, write) in [
        (
            "ALTER TABLE invoices RENAME TO bills",
            "ALTER TABLE bills RENAME TO invoices",
            "rename it back",
            "UPDATE bills SET no = '2'",
        ),
        (
            "ALTER TABLE invoices RENAME COLUMN no TO number",
            "ALTER TABLE invoices RENAME COLUMN number TO no",
            "declare the new name",
            "UPDATE invoices SET number = '2'",
        ),
        (
            "ALTER TABLE invoices RENAME COLUMN id TO code",
            "ALTER TABLE invoices RENAME COLUMN code TO id",
            "declare the new name",
            "UPDATE invoices SET no = '2'",
        ),
    ] {
        let office = Office::shop().await;
        office.noticed("INSERT INTO invoices VALUES ('a', '1')").await;
        office.run(&format!("{away}; {write}; {}", write.replace("'2'", "'3'"))).await;
        for error in [office.replica.sequence().await.unwrap_err(), open(&office.database, shop()).await.unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Schema, "{away}: {error}");
            let says = error.to_string();
            assert!(says.contains(what) && says.contains("invoices"), "{away}: {says}");
        }
        office.run(back).await;
        assert_eq!(told(&office.after(1).await), ["invoices a: a,1 > a,3"], "{away}");
        assert_eq!(told(&office.noticed("UPDATE invoices SET no = '4'").await), ["invoices a: a,3 > a,4"], "{away}");
    }
}

#[tokio::test]
async fn a_column_that_is_dropped_or_gets_another_type_does_not_stop_the_host() {
    let office = Office::shop().await;
    office.noticed("INSERT INTO invoices VALUES ('a', '1'); INSERT INTO lines VALUES (1, 'a', NULL, 5)").await;
    // Wider again than it was: the replica makes it what is declared, and has missed nothing.
    let entries = office
        .noticed("ALTER TABLE lines ALTER COLUMN qty TYPE integer; UPDATE lines SET qty = 6; INSERT INTO lines VALUES (2, 'a', NULL, 7)")
        .await;
    assert_eq!(sorted(&entries), ["lines 1: 1,a,null,5 > 1,a,null,6", "lines 2: - > 2,a,null,7"]);
    office.run("ALTER TABLE invoices DROP COLUMN no; INSERT INTO invoices VALUES ('b')").await;
    let error = office.replica.sequence().await.unwrap_err();
    let says = error.to_string();
    assert!(
        error.kind() == ErrorKind::Schema
            && says.contains("leave it out of the declaration")
            && says.contains("column: no"),
        "{says}"
    );
}

#[tokio::test]
async fn a_table_that_is_no_longer_declared_is_told() {
    let office = Office::shop().await;
    let fewer = Tables::new([Table::new(Arc::clone(shop().get("products").unwrap().spec()))]).unwrap();
    let says = open(&office.database, fewer).await.unwrap_err().to_string();
    assert!(says.contains("declare it again") && says.contains("invoices"), "{says}");
}

#[tokio::test]
async fn a_database_is_that_of_one_replica() {
    let office = Office::shop().await;
    let clock = Arc::new(sync_core::SystemClock::new());
    let error = PostgresReplica::open(&office.database.url(), "another", shop(), clock).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Config && error.to_string().contains("office"), "{error}");
}

#[tokio::test]
async fn tables_that_cannot_be_watched_are_refused() {
    let notes = || Tables::new([Table::new(StreamSpec::new("notes").text("id").key(["id"]).text("note"))]).unwrap();
    for (schema, what) in [
        ("CREATE TABLE notes (id text UNIQUE, note text)", "NOT NULL"),
        ("CREATE TABLE notes (id text PRIMARY KEY DEFERRABLE, note text)", "not deferrable"),
        ("CREATE TABLE notes (id text PRIMARY KEY, note text); CREATE TABLE more () INHERITS (notes)", "inherit"),
        (
            "CREATE TABLE all_notes (id text PRIMARY KEY, note text) PARTITION BY HASH (id);
          CREATE TABLE notes PARTITION OF all_notes FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
            "declare the whole table",
        ),
        ("CREATE TABLE t (id text PRIMARY KEY, note text); CREATE VIEW notes AS TABLE t", "is a view"),
    ] {
        let database = sync_test_servers::postgres().await.unwrap();
        database.client(schema).await.unwrap();
        let error = open(&database, notes()).await.unwrap_err();
        let says = error.to_string();
        assert!(error.kind() == ErrorKind::Schema && says.contains(what) && says.contains("notes"), "{schema}: {says}");
    }
}

#[tokio::test]
async fn what_is_removed_leaves_the_hosts_tables_as_they_were() {
    let office = Office::shop().await;
    office.noticed("INSERT INTO invoices VALUES ('a', '1')").await;
    office.replica.close().await;
    PostgresReplica::remove(&office.database.url()).await.unwrap();
    let left = "SELECT (SELECT count(*) FROM pg_class WHERE relname LIKE '\\_sync%') + (SELECT count(*) FROM pg_proc WHERE proname LIKE '\\_sync%')
                  + (SELECT count(*) FROM pg_trigger WHERE tgname LIKE '\\_sync%')";
    assert_eq!(office.run(left).await, "0");
    office.run("UPDATE invoices SET no = '2'").await;
    assert_eq!(office.run("SELECT no FROM invoices").await, "2");
    let again = open(&office.database, shop()).await.unwrap();
    assert_eq!(again.sequence().await.unwrap().seq, 1);
}
