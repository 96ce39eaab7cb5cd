//! Every change of a row is noticed once, with the row before and after it.

use sync_core::StreamSpec;
use sync_core::Value;
use sync_core::two_way::{Hlc, Replica as _, Table, Tables};

use super::{Till, row, shop, told};

#[tokio::test]
async fn inserts_updates_and_deletes_stand_in_the_feed_with_the_row_before_and_after() {
    let till = Till::shop().await;
    let entries = till
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
    assert!(entries.iter().all(|entry| &*entry.stamp.origin == "till" && !entry.upstream && entry.stamp.seen == 0));
    let revs: Vec<u64> = entries.iter().map(|entry| entry.stamp.rev).collect();
    assert_eq!(revs, [1, 2, 3]);
    assert!(entries.windows(2).all(|pair| pair[0].stamp.hlc < pair[1].stamp.hlc), "the time of a row never goes back");
    let ops: Vec<u64> = entries.iter().map(|entry| entry.stamp.op).collect();
    assert_eq!(ops, entries.iter().map(|entry| entry.seq).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_write_that_changes_nothing_leaves_no_trace() {
    let till = Till::shop().await;
    till.noticed("INSERT INTO products VALUES ('p1', 'A', 'apple', 5)").await;
    let entries = till
        .noticed(
            "UPDATE products SET stock = 5;
             INSERT OR REPLACE INTO products VALUES ('p1', 'A', 'apple', 5);
             INSERT OR IGNORE INTO products VALUES ('p1', 'B', 'pear', 5);
             INSERT INTO products VALUES ('p1', 'A', 'apple', 5) ON CONFLICT (id) DO UPDATE SET stock = excluded.stock;",
        )
        .await;
    assert_eq!(told(&entries), [""; 0]);
}

#[tokio::test]
async fn a_change_of_case_is_a_change_whatever_the_collation_says() {
    let till = Till::shop().await;
    till.noticed("INSERT INTO products VALUES ('p1', 'A', 'apple', 5)").await;
    let entries = till.noticed("UPDATE products SET name = 'Apple'").await;
    assert_eq!(told(&entries), ["products p1: p1,A,apple,5 > p1,A,Apple,5"]);
}

#[tokio::test]
async fn a_new_key_is_a_delete_and_a_new_row() {
    let till = Till::shop().await;
    till.noticed("INSERT INTO products VALUES ('p1', 'A', 'apple', 5)").await;
    let entries = till.noticed("UPDATE products SET id = 'p2'").await;
    assert_eq!(told(&entries), ["products p1: p1,A,apple,5 > -", "products p2: - > p2,A,apple,5"]);
    // Rows that change places, in one statement.
    till.noticed(
        "INSERT INTO invoices VALUES ('i', '1'); INSERT INTO lines VALUES (1, 'i', NULL, 10), (2, 'i', NULL, 20)",
    )
    .await;
    let entries = till.noticed("UPDATE lines SET id = id + 10").await;
    assert_eq!(
        told(&entries),
        [
            "lines 1: 1,i,null,10 > -",
            "lines 11: - > 11,i,null,10",
            "lines 2: 2,i,null,20 > -",
            "lines 12: - > 12,i,null,20"
        ]
    );
}

#[tokio::test]
async fn a_row_that_replace_displaces_is_noticed_as_deleted() {
    for recursive in ["OFF", "ON"] {
        let till = Till::shop().await;
        till.run(&format!("PRAGMA recursive_triggers = {recursive}"));
        till.noticed(
            "INSERT INTO products VALUES ('p1', 'A', 'apple', 5), ('p2', 'B', 'pear', 6), ('p3', 'C', 'plum', 7)",
        )
        .await;
        let entries = till.noticed("REPLACE INTO products VALUES ('p4', 'a', 'fig', 1)").await;
        assert_eq!(told(&entries), ["products p1: p1,A,apple,5 > -", "products p4: - > p4,a,fig,1"], "{recursive}");
        let entries = till.noticed("UPDATE OR REPLACE products SET sku = 'C' WHERE id = 'p2'").await;
        assert_eq!(
            told(&entries),
            ["products p3: p3,C,plum,7 > -", "products p2: p2,B,pear,6 > p2,C,pear,6"],
            "{recursive}"
        );
        assert_eq!(till.one::<i64>("SELECT count(*) FROM _sync_gone_products"), 0);
    }
}

#[tokio::test]
async fn what_foreign_keys_do_to_other_rows_is_noticed() {
    let till = Till::shop().await;
    till.noticed(
        "INSERT INTO products VALUES ('p1', 'A', 'apple', 5);
         INSERT INTO invoices VALUES ('i1', '1'), ('i2', '2');
         INSERT INTO lines VALUES (1, 'i1', 'p1', 3), (2, 'i2', NULL, 4)",
    )
    .await;
    let mut told_of = told(&till.noticed("DELETE FROM products").await);
    told_of.sort();
    assert_eq!(told_of, ["lines 1: 1,i1,p1,3 > 1,i1,null,3", "products p1: p1,A,apple,5 > -"]);
    let mut told_of = told(&till.noticed("DELETE FROM invoices WHERE id = 'i1'").await);
    told_of.sort();
    assert_eq!(told_of, ["invoices i1: i1,1 > -", "lines 1: 1,i1,null,3 > -"]);
    let mut told_of = told(&till.noticed("UPDATE invoices SET id = 'i3'").await);
    told_of.sort();
    assert_eq!(told_of, ["invoices i2: i2,2 > -", "invoices i3: - > i3,2", "lines 2: 2,i2,null,4 > 2,i3,null,4"]);
}

#[tokio::test]
async fn what_triggers_of_the_host_do_is_noticed_whichever_runs_first() {
    let stamps = "CREATE TRIGGER stamps AFTER INSERT ON products BEGIN UPDATE products SET name = name || '!' WHERE id = NEW.id; END;";
    let before = Till::with(&format!("{}{stamps}", super::SHOP), shop()).await;
    let after = Till::shop().await;
    after.run(stamps);
    for till in [before, after] {
        let entries = till.noticed("INSERT INTO products VALUES ('p1', 'A', 'apple', 5)").await;
        assert_eq!(entries.last().unwrap().after, Some(vec!["p1".into(), "A".into(), "apple!".into(), 5.into()]));
        assert_eq!(entries[0].before, None);
        assert!(entries.windows(2).all(|pair| pair[1].before == pair[0].after), "{:?}", told(&entries));
    }
}

#[tokio::test]
async fn what_is_rolled_back_was_never_there() {
    let till = Till::shop().await;
    let entries = till
        .noticed(
            "BEGIN; INSERT INTO products VALUES ('p1', 'A', 'apple', 5); ROLLBACK;
             BEGIN; INSERT INTO products VALUES ('p2', 'B', 'pear', 6); SAVEPOINT one;
             INSERT INTO products VALUES ('p3', 'C', 'plum', 7); ROLLBACK TO one; COMMIT;",
        )
        .await;
    assert_eq!(told(&entries), ["products p2: - > p2,B,pear,6"]);
    assert_eq!((entries[0].seq, entries[0].stamp.rev), (1, 1), "no number is given twice, and none is left out");
}

#[tokio::test]
async fn values_stay_exactly_what_they_are() {
    let things = StreamSpec::new("things").int("a").text("b").key(["a", "b"]).int("int").text("text").bytes("bytes");
    let things = things.decimal("price", 12, 2).float("float").uint("big").timestamp("at").bool("yes");
    let till = Till::with("", Tables::new([Table::new(things)]).unwrap()).await;
    let entries = till
        .noticed(
            "INSERT INTO things VALUES (-9223372036854775808, 'k' || char(0) || '''', 9223372036854775807, 'a' || char(0) || 'b',
               x'00ff', '0.10', 0.1, '18446744073709551615', '2026-03-01T10:20:30.000001Z', 1)",
        )
        .await;
    let after = entries[0].after.clone().unwrap();
    assert_eq!(after[..4], [Value::Int(i64::MIN), "k\0'".into(), Value::Int(i64::MAX), "a\0b".into()]);
    assert_eq!(after[4], Value::Bytes([0, 255].into()));
    assert_eq!(after[5].to_string(), "0.10");
    assert_eq!(after[6..8], [Value::Float(0.1), Value::UInt(u64::MAX)]);
    assert_eq!(entries[0].key.values(), &after[..2]);
    let table = till.replica.tables().iter().next().unwrap();
    let held = till.replica.look().await.unwrap().rows(table, std::slice::from_ref(&entries[0].key)).await;
    assert_eq!(held.unwrap()[0].row, Some(after));
    let entries =
        till.noticed("UPDATE things SET float = 1.0, int = 1; UPDATE things SET text = 'a' || char(0) || 'c'").await;
    assert_eq!(entries.len(), 2);
}

#[tokio::test]
async fn a_value_that_is_not_what_is_declared_is_refused_where_it_is_written() {
    let till = Till::with(
        "CREATE TABLE days (id PRIMARY KEY, day TEXT, n INTEGER)",
        Tables::new([Table::new(StreamSpec::new("days").text("id").key(["id"]).date("day").int("n"))]).unwrap(),
    )
    .await;
    for (values, column) in [
        ("'a', '2026-03-01', 'x'", "\"n\""),
        ("'a', 'soon', 1", "\"day\""),
        ("NULL, NULL, 1", "\"id\""),
        ("1, NULL, 1", "\"id\""),
    ] {
        for verb in ["INSERT", "INSERT OR IGNORE", "REPLACE"] {
            let error = till.host.execute(&format!("{verb} INTO days VALUES ({values})"), []).unwrap_err().to_string();
            assert!(error.contains(column) && error.contains("\"days\""), "{verb} {values}: {error}");
        }
    }
    assert_eq!(till.noticed("INSERT INTO days VALUES ('a', '2026-03-01', 1)").await.len(), 1);
}

#[tokio::test]
async fn the_time_of_a_write_follows_the_clock_and_its_skew_and_never_goes_back_for_a_row() {
    let till = Till::shop().await;
    let entries = till.noticed("INSERT INTO products VALUES ('p1', 'A', 'apple', 5)").await;
    let machine = chrono::Utc::now().timestamp_millis().unsigned_abs();
    assert!(entries[0].stamp.hlc.millis().abs_diff(machine) < 10_000);
    till.run("UPDATE _sync_ctx SET skew = -3600000");
    let later = till.noticed("UPDATE products SET stock = 4").await;
    assert_eq!(later[0].stamp.hlc, Hlc(entries[0].stamp.hlc.0 + 1));
    let other = till.noticed("INSERT INTO products VALUES ('p2', 'B', 'pear', 5)").await;
    assert!(other[0].stamp.hlc.millis() < machine - 3_500_000);
}

#[tokio::test]
async fn tables_that_are_not_there_are_created_from_their_declarations() {
    let till = Till::with("", shop()).await;
    let entries = till.noticed("INSERT INTO invoices VALUES ('i', '1')").await;
    assert_eq!(entries[0].after, Some(row(["i", "1"])));
}

#[tokio::test]
async fn rows_that_were_there_before_are_the_first_entries() {
    let schema = format!("{}INSERT INTO invoices VALUES ('i1', '1'), ('i2', '2');", super::SHOP);
    let till = Till::with(&schema, shop()).await;
    assert_eq!(told(&till.after(0).await), ["invoices i1: - > i1,1", "invoices i2: - > i2,2"]);
}
