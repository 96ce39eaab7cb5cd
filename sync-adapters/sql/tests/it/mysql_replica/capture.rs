//! Every change of a row is noticed once, with the row before and after it.

use sync_core::two_way::{Replica as _, Table, Tables};
use sync_core::{Key, StreamSpec, Value};

use super::{Office, execute, row, shop, sizes, sorted, told, write};

#[tokio::test]
async fn inserts_updates_and_deletes_stand_in_the_feed_with_the_row_before_and_after() {
    let office = Office::shop().await;
    let entries = office
        .noticed(
            "INSERT INTO products VALUES ('p1', 'A', 'apple', 5);
             UPDATE products SET stock = 4 WHERE id = 'p1';
             DELETE FROM products WHERE id = 'p1';",
        )
        .await;
    assert_eq!(
        told(&entries),
        ["products p1: - > p1,A,apple,5", "products p1: p1,A,apple,5 > p1,A,apple,4", "products p1: p1,A,apple,4 > -"]
    );
    assert_eq!(sizes(&entries), [1, 1, 1], "each statement is a transaction of its own");
    assert!(entries.iter().all(|entry| &*entry.stamp.origin == "office" && !entry.upstream && entry.stamp.seen == 0));
    let ops: Vec<u64> = entries.iter().map(|entry| entry.stamp.op).collect();
    assert_eq!(ops, entries.iter().map(|entry| entry.seq).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_transaction_of_many_statements_is_one_group_and_the_next_one_another() {
    let office = Office::shop().await;
    let entries = office
        .noticed(
            "BEGIN; INSERT INTO invoices VALUES ('a', '1'); UPDATE invoices SET no = '2'; INSERT INTO `lines` VALUES (1, 'a', NULL, 1); COMMIT;
             BEGIN; UPDATE invoices SET no = '3'; SAVEPOINT s; DELETE FROM `lines`; ROLLBACK TO s; INSERT INTO `lines` VALUES (2, 'a', NULL, 1); COMMIT;
             SET autocommit = 0; INSERT INTO `lines` VALUES (3, 'a', NULL, 1); INSERT INTO `lines` VALUES (4, 'a', NULL, 1); COMMIT;
             INSERT INTO `lines` VALUES (5, 'a', NULL, 1); ROLLBACK; INSERT INTO `lines` VALUES (6, 'a', NULL, 1); COMMIT;",
        )
        .await;
    assert_eq!(sizes(&entries), [3, 2, 2, 1], "{:?}", told(&entries));
    assert_eq!(
        office.run("SELECT COUNT(*) FROM _sync_trx FOR SYSTEM_TIME ALL WHERE id > 0").await,
        "0",
        "nothing of it is kept"
    );
}

#[tokio::test]
async fn a_write_that_changes_nothing_leaves_no_trace() {
    let office = Office::shop().await;
    office.noticed("INSERT INTO products VALUES ('p1', 'A', 'apple', 5)").await;
    let entries = office
        .noticed(
            "UPDATE products SET stock = 5;
             INSERT IGNORE INTO products VALUES ('p1', 'B', 'pear', 5);
             INSERT INTO products VALUES ('p1', 'A', 'apple', 5) ON DUPLICATE KEY UPDATE stock = VALUES(stock);
             REPLACE INTO products VALUES ('p1', 'A', 'apple', 5);
             BEGIN; DELETE FROM products; ROLLBACK;
             BEGIN; SAVEPOINT one; DELETE FROM products; ROLLBACK TO one; COMMIT;",
        )
        .await;
    // What a REPLACE deletes and inserts are two changes, as its triggers see them.
    assert_eq!(told(&entries), ["products p1: p1,A,apple,5 > -", "products p1: - > p1,A,apple,5"]);
    assert_eq!(sizes(&entries), [2]);
}

#[tokio::test]
async fn rows_that_a_replace_displaces_are_noticed() {
    let office = Office::shop().await;
    office
        .noticed(
            "INSERT INTO products VALUES ('p1', 'A', 'apple', 5), ('p2', 'B', 'pear', 5);
             INSERT INTO invoices VALUES ('i', '1'); INSERT INTO `lines` VALUES (1, 'i', 'p1', 3)",
        )
        .await;
    let entries = office.noticed("REPLACE INTO products VALUES ('p3', 'a', 'fig', 1)").await;
    assert_eq!(
        sorted(&entries),
        ["lines 1: 1,i,p1,3 > 1,i,null,3", "products p1: p1,A,apple,5 > -", "products p3: - > p3,a,fig,1"]
    );
    assert_eq!(sizes(&entries), [3]);
}

#[tokio::test]
async fn a_new_key_is_a_delete_and_a_new_row() {
    let office = Office::shop().await;
    office.noticed("INSERT INTO products VALUES ('p1', 'A', 'apple', 5)").await;
    let entries = office.noticed("UPDATE products SET id = 'p2'").await;
    assert_eq!(told(&entries), ["products p1: p1,A,apple,5 > -", "products p2: - > p2,A,apple,5"]);
    office
        .noticed(
            "INSERT INTO invoices VALUES ('i', '1'); INSERT INTO `lines` VALUES (1, 'i', NULL, 10), (2, 'i', NULL, 20)",
        )
        .await;
    let entries = office.noticed("UPDATE `lines` SET id = id + 1 ORDER BY id DESC").await;
    assert_eq!(
        told(&entries),
        [
            "lines 2: 2,i,null,20 > -",
            "lines 3: - > 3,i,null,20",
            "lines 1: 1,i,null,10 > -",
            "lines 2: - > 2,i,null,10"
        ]
    );
    assert_eq!(sizes(&entries), [4]);
}

#[tokio::test]
async fn what_foreign_keys_do_to_other_rows_is_noticed() {
    let office = Office::shop().await;
    office
        .noticed(
            "INSERT INTO products VALUES ('p1', 'A', 'apple', 5);
             INSERT INTO invoices VALUES ('i1', '1'), ('i2', '2');
             INSERT INTO `lines` VALUES (1, 'i1', 'p1', 3), (2, 'i2', NULL, 4)",
        )
        .await;
    let entries = office.noticed("DELETE FROM products").await;
    assert_eq!(sorted(&entries), ["lines 1: 1,i1,p1,3 > 1,i1,null,3", "products p1: p1,A,apple,5 > -"]);
    let entries = office.noticed("DELETE FROM invoices WHERE id = 'i1'").await;
    assert_eq!(sorted(&entries), ["invoices i1: i1,1 > -", "lines 1: 1,i1,null,3 > -"]);
    let entries = office.noticed("UPDATE invoices SET id = 'i3'").await;
    assert_eq!(
        sorted(&entries),
        ["invoices i2: i2,2 > -", "invoices i3: - > i3,2", "lines 2: 2,i2,null,4 > 2,i3,null,4"]
    );
    assert_eq!(sizes(&entries), [3]);
    // A statement that deletes from both, and a delete that another row forbids.
    office.noticed("INSERT INTO `lines` VALUES (9, 'i3', NULL, 1)").await;
    let entries = office.noticed("DELETE invoices, `lines` FROM invoices JOIN `lines` ON invoice = invoices.id").await;
    assert_eq!(sorted(&entries), ["invoices i3: i3,2 > -", "lines 2: 2,i3,null,4 > -", "lines 9: 9,i3,null,1 > -"]);
    assert_eq!(office.replica.audit().await.unwrap(), 0);
}

#[tokio::test]
async fn where_foreign_keys_are_switched_off_nothing_is_taken_along() {
    let office = Office::shop().await;
    office.noticed("INSERT INTO invoices VALUES ('i', '1'); INSERT INTO `lines` VALUES (1, 'i', NULL, 3)").await;
    let entries = office.noticed("SET foreign_key_checks = 0; DELETE FROM invoices").await;
    assert_eq!(told(&entries), ["invoices i: i,1 > -"]);
    assert_eq!(office.replica.audit().await.unwrap(), 0);
}

const TREE: &str = "
CREATE TABLE folders (id bigint PRIMARY KEY, parent bigint REFERENCES folders (id) ON DELETE CASCADE, link bigint, name longtext,
  FOREIGN KEY (link) REFERENCES folders (id) ON DELETE SET NULL);
CREATE TABLE files (id bigint PRIMARY KEY, folder bigint, FOREIGN KEY (folder) REFERENCES folders (id) ON DELETE CASCADE);
CREATE TABLE pages (id bigint PRIMARY KEY, file bigint, FOREIGN KEY (file) REFERENCES files (id) ON DELETE CASCADE);";

#[tokio::test]
async fn rows_that_hang_on_rows_of_the_same_table_are_noticed_down_to_the_last() {
    let tables = Tables::new(
        [
            StreamSpec::new("folders").int("id").key(["id"]).int("parent").int("link").text("name"),
            StreamSpec::new("files").int("id").key(["id"]).int("folder"),
            StreamSpec::new("pages").int("id").key(["id"]).int("file"),
        ]
        .map(Table::new),
    );
    let office = Office::with(TREE, tables.unwrap()).await;
    office
        .noticed(
            "INSERT INTO folders VALUES (1, NULL, NULL, 'root'), (2, 1, NULL, 'a'), (3, 2, NULL, 'b'), (4, 3, NULL, 'c'), (5, NULL, 4, 'links'),
               (6, NULL, 5, 'far'), (7, 7, NULL, 'its own parent');
             INSERT INTO files VALUES (1, 1), (4, 4), (5, 5); INSERT INTO pages VALUES (44, 4), (55, 5);",
        )
        .await;
    let mut host = office.host().await;
    // Rows that came since its snapshot go as well.
    execute(&mut host, "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ; BEGIN; SELECT COUNT(*) FROM folders")
        .await;
    let seq =
        office.noticed("INSERT INTO folders VALUES (8, 4, NULL, 'late'); INSERT INTO files VALUES (8, 8)").await[1].seq;
    execute(&mut host, "DELETE FROM folders WHERE id = 1; COMMIT").await;
    let entries = office.after(seq).await;
    assert_eq!(
        sorted(&entries),
        [
            "files 1: 1,1 > -",
            "files 4: 4,4 > -",
            "files 8: 8,8 > -",
            "folders 1: 1,null,null,root > -",
            "folders 2: 2,1,null,a > -",
            "folders 3: 3,2,null,b > -",
            "folders 4: 4,3,null,c > -",
            "folders 5: 5,null,4,links > 5,null,null,links",
            "folders 8: 8,4,null,late > -",
            "pages 44: 44,4 > -"
        ]
    );
    assert_eq!(sizes(&entries), [10]);
    assert_eq!(
        sorted(&office.noticed("DELETE FROM folders WHERE id = 7").await),
        ["folders 7: 7,7,null,its own parent > -"]
    );
    assert_eq!(office.replica.audit().await.unwrap(), 0);
}

#[tokio::test]
async fn keys_that_change_with_their_parents_are_found_by_the_next_look() {
    let schema = "CREATE TABLE orders (id bigint PRIMARY KEY, note longtext);
        CREATE TABLE items (orders bigint, no bigint, qty bigint, PRIMARY KEY (orders, no),
          FOREIGN KEY (orders) REFERENCES orders (id) ON UPDATE CASCADE ON DELETE CASCADE);";
    let orders = StreamSpec::new("orders").int("id").key(["id"]).text("note");
    let items = StreamSpec::new("items").int("orders").int("no").key(["orders", "no"]).int("qty");
    let office = Office::with(schema, Tables::new([orders, items].map(Table::new)).unwrap()).await;
    office.noticed("INSERT INTO orders VALUES (1, 'x'); INSERT INTO items VALUES (1, 1, 5), (1, 2, 6)").await;
    let entries = office.noticed("UPDATE orders SET id = 9").await;
    assert_eq!(
        sorted(&entries),
        [
            "items 1,1: 1,1,5 > -",
            "items 1,2: 1,2,6 > -",
            "items 9,1: - > 9,1,5",
            "items 9,2: - > 9,2,6",
            "orders 1: 1,x > -",
            "orders 9: - > 9,x"
        ]
    );
    assert_eq!(sorted(&office.noticed("DELETE FROM orders").await).len(), 3);
}

#[tokio::test]
async fn a_table_that_is_emptied_at_once_is_found_by_the_next_look_and_by_an_audit() {
    let office = Office::shop().await;
    office
        .noticed(
            "INSERT INTO invoices VALUES ('i', '1'); INSERT INTO `lines` VALUES (1, 'i', NULL, 3), (2, 'i', NULL, 4)",
        )
        .await;
    let entries = office.noticed("TRUNCATE `lines`").await;
    assert_eq!(told(&entries), ["lines 1: 1,i,null,3 > -", "lines 2: 2,i,null,4 > -"]);
    office.noticed("INSERT INTO `lines` VALUES (1, 'i', NULL, 3), (2, 'i', NULL, 4)").await;
    let entries = office.noticed("TRUNCATE `lines`; INSERT INTO `lines` VALUES (3, 'i', NULL, 5)").await;
    assert_eq!(told(&entries), ["lines 3: - > 3,i,null,5"], "nothing tells what was there");
    let seq = entries[0].seq;
    assert_eq!(office.replica.audit().await.unwrap(), 2);
    assert_eq!(told(&office.after(seq).await), ["lines 1: 1,i,null,3 > -", "lines 2: 2,i,null,4 > -"]);
    assert_eq!(office.replica.audit().await.unwrap(), 0);
}

#[tokio::test]
async fn what_triggers_of_the_host_do_is_noticed_whichever_runs_first() {
    let office = Office::shop().await;
    office
        .run(
            "CREATE TRIGGER early BEFORE INSERT ON products FOR EACH ROW SET NEW.name = CONCAT(NEW.name, '?');
             CREATE TRIGGER late AFTER INSERT ON products FOR EACH ROW PRECEDES _sync_ins_products INSERT INTO invoices VALUES (NEW.id, 'made');",
        )
        .await;
    let entries = office.noticed("INSERT INTO products VALUES ('p1', 'A', 'apple', 5), ('p2', 'B', 'pear', 5)").await;
    assert_eq!(
        sorted(&entries),
        [
            "invoices p1: - > p1,made",
            "invoices p2: - > p2,made",
            "products p1: - > p1,A,apple?,5",
            "products p2: - > p2,B,pear?,5"
        ]
    );
    assert_eq!(sizes(&entries), [4]);
}

#[tokio::test]
async fn a_partitioned_table_takes_part_as_a_whole() {
    let schema =
        "CREATE TABLE sales (id bigint, year bigint, note longtext, PRIMARY KEY (id, year)) PARTITION BY RANGE (year)
        (PARTITION p25 VALUES LESS THAN (2026), PARTITION p26 VALUES LESS THAN (2027));";
    let sales = StreamSpec::new("sales").int("id").int("year").key(["id", "year"]).text("note");
    let office = Office::with(schema, Tables::new([Table::new(sales)]).unwrap()).await;
    let entries = office.noticed("INSERT INTO sales VALUES (1, 2025, 'a'); UPDATE sales SET year = 2026").await;
    assert_eq!(
        told(&entries),
        ["sales 1,2025: - > 1,2025,a", "sales 1,2025: 1,2025,a > -", "sales 1,2026: - > 1,2026,a"]
    );
    office.run("INSERT INTO sales VALUES (2, 2025, 'b'); ALTER TABLE sales TRUNCATE PARTITION p26").await;
    let seq = office.replica.sequence().await.unwrap().seq;
    office.replica.audit().await.unwrap();
    let all = office.after(entries[2].seq).await;
    assert!(seq >= entries[2].seq);
    assert_eq!(sorted(&all), ["sales 1,2026: 1,2026,a > -", "sales 2,2025: - > 2,2025,b"]);
}

#[tokio::test]
async fn accounts_of_the_host_need_no_rights_on_tables_of_ours() {
    let office = Office::shop().await;
    let (name, account) = (office.database.name(), format!("clerk_{}", &office.database.name()[5..20]));
    office
        .run(&format!(
            "CREATE USER {account}@'%' IDENTIFIED BY 'x'; GRANT SELECT, INSERT ON {name}.invoices TO {account}@'%'"
        ))
        .await;
    let options: sqlx::mysql::MySqlConnectOptions = office.database.url().parse().unwrap();
    let mut host = sqlx::ConnectOptions::connect(&options.username(&account).password("x")).await.unwrap();
    execute(&mut host, "INSERT INTO invoices VALUES ('a', '1')").await;
    let denied = sqlx::query("SELECT * FROM _sync_log").fetch_all(&mut host).await;
    let entries = office.after(0).await;
    office.run(&format!("DROP USER {account}@'%'")).await;
    assert_eq!(told(&entries), ["invoices a: - > a,1"]);
    assert!(denied.is_err());
}

#[tokio::test]
async fn values_stay_exactly_what_they_are() {
    let things = StreamSpec::new("things").int("a").text("b").key(["a", "b"]).int("int").text("text").bytes("bytes");
    let things =
        things.decimal("price", 12, 2).float("float").uint("big").timestamp("at").date("day").bool("yes").json("doc");
    let office = Office::with("", Tables::new([Table::new(things)]).unwrap()).await;
    let entries = office
        .noticed(
            r#"SET time_zone = '+05:45'; SET sql_mode = ''; SET NAMES utf8mb4;
             INSERT INTO things VALUES (-9223372036854775808, 'k\'\\', 9223372036854775807, 'a\tb', x'00ff', 0.10,
               0.1e0 + 0.2e0, 18446744073709551615, '2026-03-01 10:20:30.000001', '0044-03-15', true, '{"b": 1,  "a": 1}')"#,
        )
        .await;
    let after = entries[0].after.clone().unwrap();
    assert_eq!(after[..4], [Value::Int(i64::MIN), "k'\\".into(), Value::Int(i64::MAX), "a\tb".into()]);
    assert_eq!(after[4], Value::Bytes([0, 255].into()));
    assert_eq!(after[5].to_string(), "0.10");
    assert_eq!(after[6..8], [Value::Float(0.1 + 0.2), Value::UInt(u64::MAX)]);
    assert_eq!(after[8].to_string(), "2026-03-01T10:20:30.000001Z");
    assert_eq!(after[10], Value::Bool(true));
    assert_eq!(after[11], Value::Json("{\"b\": 1,  \"a\": 1}".into()));
    let table = office.replica.tables().iter().next().unwrap();
    let held = office.replica.look().await.unwrap().rows(table, std::slice::from_ref(&entries[0].key)).await;
    assert_eq!(held.unwrap()[0].row, Some(after.clone()));
    // What was read can be written, and is then what was there.
    let mut tx = office.replica.begin().await.unwrap();
    let write = sync_core::two_way::RowWrite {
        key: entries[0].key.clone(),
        ..write(office.replica.tables(), "things", 1, Some(after))
    };
    tx.write(std::slice::from_ref(&write)).await.unwrap();
    tx.write(&[sync_core::two_way::RowWrite { row: None, ..write.clone() }, write]).await.unwrap();
    tx.commit().await.unwrap();
    let again = office.after(1).await;
    assert_eq!(again.iter().map(|entry| entry.after.is_some()).collect::<Vec<_>>(), [false, true]);
    assert_eq!(again[1].after, entries[0].after);
    assert!(again.iter().all(|entry| entry.upstream), "each stamp was taken by its write");
}

#[tokio::test]
async fn a_value_that_could_not_be_read_again_is_refused_where_it_is_written() {
    let days =
        StreamSpec::new("days").text("id").key(["id"]).date("day").timestamp("at").uint("n").decimal("price", 12, 2);
    let schema = "CREATE TABLE days (id varchar(40) COLLATE utf8mb4_nopad_bin PRIMARY KEY, day date, at datetime(6), n decimal(25,0),
        price decimal(14,4))";
    let office = Office::with(schema, Tables::new([Table::new(days)]).unwrap()).await;
    for (values, column) in [
        ("'a', '0000-00-00', NULL, 1, 1", "\"day\""),
        ("'a', '2026-02-31', NULL, 1, 1", "\"day\""),
        ("'a', NULL, '2026-00-10 00:00:00', 1, 1", "\"at\""),
        ("'a', NULL, NULL, -1, 1", "\"n\""),
        ("'a', NULL, NULL, 18446744073709551616, 1", "\"n\""),
        ("'a', NULL, NULL, 1, 1.001", "\"price\""),
    ] {
        let says =
            office.refused(&format!("SET sql_mode = 'ALLOW_INVALID_DATES'; INSERT INTO days VALUES ({values})")).await;
        assert!(says.contains(column) && says.contains("\"days\""), "{values}: {says}");
    }
    let entries = office
        .noticed("INSERT INTO days VALUES ('a', '2026-02-28', UTC_TIMESTAMP(6), 18446744073709551615, 1.25)")
        .await;
    assert_eq!(entries.len(), 1);
}

#[tokio::test]
async fn texts_that_a_collation_takes_for_the_same_are_told_apart_and_keys_come_in_one_order() {
    let office = Office::shop().await;
    office.noticed("INSERT INTO products VALUES ('b', '1', 'x', 1), ('a', '2', 'x', 1), ('B', '3', 'x', 1), ('_', '4', 'x', 1), ('é', '5', 'x', 1), ('a ', '6', 'x', 1)").await;
    let table = std::sync::Arc::clone(shop().get("products").unwrap());
    let mut tx = office.replica.look().await.unwrap();
    let first = tx.scan(&table, None, 2).await.unwrap();
    let rest = tx.scan(&table, Some(&first[1].0), 9).await.unwrap();
    let keys: Vec<String> = first.iter().chain(&rest).map(|(key, ..)| key.to_string()).collect();
    assert_eq!(keys, ["B", "_", "a", "a ", "b", "é"]);
    drop(tx);
    let entries = office
        .noticed("UPDATE products SET sku = 'x' WHERE id = 'a'; UPDATE products SET sku = 'X ' WHERE id = 'a'")
        .await;
    assert_eq!(told(&entries), ["products a: a,2,x,1 > a,x,x,1", "products a: a,x,x,1 > a,X ,x,1"]);
    let says = loose_key().await;
    assert!(says.contains("takes different keys for the same") && says.contains("ALTER TABLE"), "{says}");
}

async fn loose_key() -> String {
    let database = sync_test_servers::mariadb().await.unwrap();
    database
        .client("CREATE TABLE notes (id varchar(40) COLLATE utf8mb4_general_ci PRIMARY KEY, note longtext)")
        .await
        .unwrap();
    let notes = Tables::new([Table::new(StreamSpec::new("notes").text("id").key(["id"]).text("note"))]).unwrap();
    super::open(&database, notes).await.unwrap_err().to_string()
}

#[tokio::test]
async fn rows_that_were_there_before_are_the_first_entries() {
    let schema = format!("{}INSERT INTO invoices VALUES ('i2', '2'), ('i1', '1');", super::SHOP);
    let office = Office::with(&schema, shop()).await;
    let entries = office.after(0).await;
    assert_eq!(told(&entries), ["invoices i1: - > i1,1", "invoices i2: - > i2,2"]);
    let fresh = Office::with("", shop()).await;
    let entries = fresh.noticed("INSERT INTO invoices VALUES ('i', '1')").await;
    assert_eq!(entries[0].after, Some(row(["i", "1"])), "a table that was not there is created");
    assert_eq!(entries[0].key, Key::new(["i"]));
}

#[tokio::test]
async fn tables_and_columns_with_quotes_in_their_names_take_part() {
    let (table, id, note) = ("x\"; DROP TABLE 'y'; --", "i'd", "no\"te %s $sync$ `");
    let tables = Tables::new([Table::new(StreamSpec::new(table).text(id).key([id]).text(note))]).unwrap();
    let office = Office::with("", tables.clone()).await;
    let entries = office.noticed(&format!("INSERT INTO `{table}` VALUES ('a', 'b')")).await;
    assert_eq!(told(&entries), [format!("{table} a: - > a,b")]);
    let mut tx = office.replica.begin().await.unwrap();
    tx.write(&[write(&tables, table, "a", Some(row(["a", "c"])))]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(office.run(&format!("SELECT `no\"te %s $sync$ ``` FROM `{table}`")).await, "c");
    assert_eq!(office.after(1).await[0].stamp.origin.to_string(), "master");
}
