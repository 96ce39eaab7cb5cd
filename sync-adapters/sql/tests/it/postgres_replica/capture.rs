//! Every change of a row is noticed once, with the row before and after it.

use sync_core::two_way::{Replica as _, Table, Tables};
use sync_core::{Key, StreamSpec, Value};

use super::{Office, execute, row, shop, sizes, sorted, told};

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
async fn a_write_that_changes_nothing_leaves_no_trace() {
    let office = Office::shop().await;
    office.noticed("INSERT INTO products VALUES ('p1', 'A', 'apple', 5)").await;
    let entries = office
        .noticed(
            "UPDATE products SET stock = 5;
             INSERT INTO products VALUES ('p1', 'B', 'pear', 5) ON CONFLICT DO NOTHING;
             INSERT INTO products VALUES ('p1', 'A', 'apple', 5) ON CONFLICT (id) DO UPDATE SET stock = excluded.stock;
             BEGIN; DELETE FROM products; ROLLBACK;
             BEGIN; SAVEPOINT one; DELETE FROM products; ROLLBACK TO one; COMMIT;",
        )
        .await;
    assert_eq!(told(&entries), [""; 0]);
}

#[tokio::test]
async fn a_new_key_is_a_delete_and_a_new_row() {
    let office = Office::shop().await;
    office.noticed("INSERT INTO products VALUES ('p1', 'A', 'apple', 5)").await;
    let entries = office.noticed("UPDATE products SET id = 'p2'").await;
    assert_eq!(told(&entries), ["products p1: p1,A,apple,5 > -", "products p2: - > p2,A,apple,5"]);
    office
        .noticed(
            "INSERT INTO invoices VALUES ('i', '1'); INSERT INTO lines VALUES (1, 'i', NULL, 10), (2, 'i', NULL, 20)",
        )
        .await;
    let entries = office.noticed("UPDATE lines SET id = id + 10").await;
    assert_eq!(
        sorted(&entries),
        [
            "lines 11: - > 11,i,null,10",
            "lines 12: - > 12,i,null,20",
            "lines 1: 1,i,null,10 > -",
            "lines 2: 2,i,null,20 > -"
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
             INSERT INTO lines VALUES (1, 'i1', 'p1', 3), (2, 'i2', NULL, 4)",
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
}

#[tokio::test]
async fn a_table_that_is_emptied_at_once_is_noticed_row_by_row() {
    let office = Office::shop().await;
    office
        .noticed(
            "INSERT INTO invoices VALUES ('a', '1'), ('b', '2'); INSERT INTO lines VALUES (1, 'a', NULL, 3);
             DELETE FROM invoices WHERE id = 'b'",
        )
        .await;
    let entries = office.noticed("TRUNCATE invoices CASCADE").await;
    assert_eq!(sorted(&entries), ["invoices a: a,1 > -", "lines 1: 1,a,null,3 > -"]);
    let entries =
        office.noticed("BEGIN; INSERT INTO invoices VALUES ('c', '1'); TRUNCATE invoices CASCADE; ROLLBACK").await;
    assert_eq!(told(&entries), [""; 0]);
}

#[tokio::test]
async fn rows_that_are_copied_in_and_merged_are_noticed() {
    let office = Office::shop().await;
    let entries = office.noticed("COPY invoices (id, no) FROM STDIN;\na\t1\nb\t2\n\\.\n").await;
    assert_eq!(told(&entries), ["invoices a: - > a,1", "invoices b: - > b,2"]);
    let entries = office
        .noticed(
            "MERGE INTO invoices t USING (VALUES ('a', '3'), ('c', '4')) s (id, no) ON t.id = s.id
             WHEN MATCHED THEN UPDATE SET no = s.no WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.no)",
        )
        .await;
    assert_eq!(sorted(&entries), ["invoices a: a,1 > a,3", "invoices c: - > c,4"]);
}

#[tokio::test]
async fn what_triggers_of_the_host_do_is_noticed_whichever_runs_first() {
    let office = Office::shop().await;
    office
        .run(
            "CREATE FUNCTION early() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := NEW.name || '?'; RETURN NEW; END $$;
             CREATE TRIGGER early BEFORE INSERT ON products FOR EACH ROW EXECUTE FUNCTION early();
             CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               UPDATE products SET name = name || '!' WHERE stock = NEW.stock; INSERT INTO invoices VALUES (NEW.id, 'made');
               RETURN NULL; END $$;
             -- Sorts before ours.
             CREATE TRIGGER \"A\" AFTER INSERT ON products FOR EACH ROW EXECUTE FUNCTION late();",
        )
        .await;
    // The trigger of the first row changes the second one before that is noticed.
    let entries = office.noticed("INSERT INTO products VALUES ('p1', 'A', 'apple', 5), ('p2', 'B', 'pear', 5)").await;
    for (id, name) in [("p1", "apple?!!"), ("p2", "pear?!!")] {
        let of_row: Vec<_> =
            entries.iter().filter(|entry| entry.key == Key::new([id])).filter(|e| e.table == "products").collect();
        assert_eq!(of_row[0].before, None);
        assert_eq!(of_row.last().unwrap().after.as_ref().unwrap()[2], name.into(), "{:?}", told(&entries));
        assert!(of_row.windows(2).all(|pair| pair[1].before == pair[0].after), "{:?}", told(&entries));
    }
    assert_eq!(entries.iter().filter(|entry| entry.table == "invoices").count(), 2);
    assert_eq!(sizes(&entries), [entries.len()]);
}

#[tokio::test]
async fn a_partitioned_table_takes_part_as_a_whole_with_parts_that_come_later() {
    let schema =
        "CREATE TABLE sales (id bigint, year bigint, note text, PRIMARY KEY (id, year)) PARTITION BY RANGE (year);
                  CREATE TABLE sales_25 PARTITION OF sales FOR VALUES FROM (2025) TO (2026);";
    let sales = StreamSpec::new("sales").int("id").int("year").key(["id", "year"]).text("note");
    let office = Office::with(schema, Tables::new([Table::new(sales)]).unwrap()).await;
    let entries = office.noticed("INSERT INTO sales VALUES (1, 2025, 'a'); UPDATE sales_25 SET note = 'b'").await;
    assert_eq!(sizes(&entries), [1, 1]);
    assert_eq!(entries[1].after, Some(vec![1.into(), 2025.into(), "b".into()]));
    let entries = office
        .noticed(
            "CREATE TABLE sales_26 PARTITION OF sales FOR VALUES FROM (2026) TO (2027); UPDATE sales SET year = 2026",
        )
        .await;
    assert_eq!(
        entries.iter().map(|e| (e.before.is_some(), e.after.is_some())).collect::<Vec<_>>(),
        [(true, false), (false, true)]
    );
    // A part that comes with rows, one that is emptied, and one that goes.
    let entries = office
        .noticed(
            "CREATE TABLE old (id bigint NOT NULL, year bigint NOT NULL, note text); INSERT INTO old VALUES (7, 2020, 'old');
             ALTER TABLE sales ATTACH PARTITION old FOR VALUES FROM (2020) TO (2021);",
        )
        .await;
    assert_eq!(
        entries.iter().map(|e| e.after.clone()).collect::<Vec<_>>(),
        [Some(vec![7.into(), 2020.into(), "old".into()])]
    );
    assert_eq!(office.noticed("TRUNCATE sales_26").await.iter().filter(|e| e.after.is_none()).count(), 1);
    assert_eq!(
        office.noticed("ALTER TABLE sales DETACH PARTITION old").await.iter().filter(|e| e.after.is_none()).count(),
        1
    );
}

#[tokio::test]
async fn accounts_of_the_host_need_no_rights_on_tables_of_ours() {
    let office = Office::shop().await;
    let account = format!("clerk_{}", &office.database.name()[5..20]);
    office
        .run(&format!("CREATE ROLE {account} LOGIN PASSWORD 'x'; GRANT SELECT, INSERT ON invoices TO {account}"))
        .await;
    let mut host = office.host().await;
    execute(
        &mut host,
        &format!("SET ROLE {account}; SET search_path = nowhere; INSERT INTO public.invoices VALUES ('a', '1')"),
    )
    .await;
    let entries = office.after(0).await;
    execute(&mut host, "RESET ROLE").await;
    office.run(&format!("REVOKE ALL ON invoices FROM {account}; DROP ROLE {account}")).await;
    assert_eq!(told(&entries), ["invoices a: - > a,1"]);
}

#[tokio::test]
async fn values_stay_exactly_what_they_are() {
    let things = StreamSpec::new("things").int("a").text("b").key(["a", "b"]).int("int").text("text").bytes("bytes");
    let things =
        things.decimal("price", 12, 2).float("float").uint("big").timestamp("at").date("day").bool("yes").json("doc");
    let office = Office::with("", Tables::new([Table::new(things)]).unwrap()).await;
    let entries = office
        .noticed(
            "SET extra_float_digits = 0; SET TimeZone = 'Asia/Kathmandu'; SET DateStyle = 'German'; SET bytea_output = 'escape';
             INSERT INTO things VALUES (-9223372036854775808, E'k\\'\\\\', 9223372036854775807, E'a\\tb', '\\x00ff', 0.10,
               0.1::float8 + 0.2, 18446744073709551615, '2026-03-01T10:20:30.000001Z', '0044-03-15 BC', true, '{\"b\": 1,  \"a\": 1}')",
        )
        .await;
    let after = entries[0].after.clone().unwrap();
    assert_eq!(after[..4], [Value::Int(i64::MIN), "k'\\".into(), Value::Int(i64::MAX), "a\tb".into()]);
    assert_eq!(after[4], Value::Bytes([0, 255].into()));
    assert_eq!(after[5].to_string(), "0.10");
    assert_eq!(after[6..8], [Value::Float(0.1 + 0.2), Value::UInt(u64::MAX)]);
    assert_eq!(after[8].to_string(), "2026-03-01T10:20:30.000001Z");
    assert_eq!(after[11], Value::Json("{\"b\": 1,  \"a\": 1}".into()));
    let table = office.replica.tables().iter().next().unwrap();
    let held = office.replica.look().await.unwrap().rows(table, std::slice::from_ref(&entries[0].key)).await;
    assert_eq!(held.unwrap()[0].row, Some(after.clone()));
    // What was read can be written, and is then what was there.
    let mut tx = office.replica.begin().await.unwrap();
    let write = sync_core::two_way::RowWrite {
        key: entries[0].key.clone(),
        ..super::write(office.replica.tables(), "things", 1, Some(after))
    };
    tx.write(std::slice::from_ref(&write)).await.unwrap();
    tx.write(&[sync_core::two_way::RowWrite { row: None, ..write.clone() }, write]).await.unwrap();
    tx.commit().await.unwrap();
    let again = office.after(1).await;
    assert_eq!(again.iter().map(|entry| entry.after.is_some()).collect::<Vec<_>>(), [false, true]);
    assert_eq!(again[1].after, entries[0].after);
}

#[tokio::test]
async fn a_value_that_could_not_be_read_again_is_refused_where_it_is_written() {
    let days =
        StreamSpec::new("days").text("id").key(["id"]).date("day").timestamp("at").uint("n").decimal("price", 12, 2);
    let office = Office::with("", Tables::new([Table::new(days)]).unwrap()).await;
    for (values, column) in [
        ("'a', 'infinity', NULL, 1, 1", "\"day\""),
        ("'a', NULL, '-infinity', 1, 1", "\"at\""),
        ("'a', NULL, NULL, -1, 1", "\"n\""),
        ("'a', NULL, NULL, 1, 'NaN'", "\"price\""),
    ] {
        let says = office.refused(&format!("INSERT INTO days VALUES ({values})")).await;
        assert!(says.contains(column) && says.contains("\"days\""), "{values}: {says}");
    }
    assert_eq!(office.noticed("INSERT INTO days VALUES ('a', '2026-03-01', now(), 0, 0)").await.len(), 1);
}

#[tokio::test]
async fn keys_are_told_apart_and_come_in_one_order_whatever_the_collation() {
    let schema = "CREATE TABLE invoices (id text COLLATE \"en-x-icu\" PRIMARY KEY, no text COLLATE \"en-x-icu\");";
    let invoices = || StreamSpec::new("invoices").text("id").key(["id"]).text("no");
    let office = Office::with(schema, Tables::new([Table::new(invoices())]).unwrap()).await;
    office.noticed("INSERT INTO invoices VALUES ('b', '1'), ('a', '1'), ('B', '1'), ('_', '1'), ('é', '1')").await;
    let table = office.replica.tables().iter().next().unwrap();
    let mut tx = office.replica.look().await.unwrap();
    let first = tx.scan(table, None, 2).await.unwrap();
    let rest = tx.scan(table, Some(&first[1].0), 9).await.unwrap();
    let keys: Vec<String> = first.iter().chain(&rest).map(|(key, ..)| key.to_string()).collect();
    assert_eq!(keys, ["B", "_", "a", "b", "é"]);
    let schema = "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
                  CREATE TABLE invoices (id text PRIMARY KEY, no text COLLATE loose);";
    let office = Office::with(schema, Tables::new([Table::new(invoices())]).unwrap()).await;
    office.noticed("INSERT INTO invoices VALUES ('a', 'x')").await;
    assert_eq!(told(&office.noticed("UPDATE invoices SET no = 'X'").await), ["invoices a: a,x > a,X"]);
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
}

#[tokio::test]
async fn tables_and_columns_with_quotes_in_their_names_take_part() {
    let (table, id, note) = ("x\"; DROP TABLE 'y'; --", "i'd", "no\"te %s $sync$");
    let tables = Tables::new([Table::new(StreamSpec::new(table).text(id).key([id]).text(note))]).unwrap();
    let office = Office::with("", tables.clone()).await;
    let name = table.replace('"', "\"\"");
    let entries = office.noticed(&format!("INSERT INTO \"{name}\" VALUES ('a', 'b')")).await;
    assert_eq!(told(&entries), [format!("{table} a: - > a,b")]);
    let mut tx = office.replica.begin().await.unwrap();
    tx.write(&[super::write(&tables, table, "a", Some(row(["a", "c"])))]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(told(&office.after(1).await), [format!("{table} a: a,b > a,c")]);
    super::open(&office.database, tables).await.unwrap();
}
