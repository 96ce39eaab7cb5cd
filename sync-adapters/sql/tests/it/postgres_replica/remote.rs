//! What comes from elsewhere is written under its own stamp, and nothing else is.

use sync_core::two_way::{Hlc, Replica as _};
use sync_core::{ErrorKind, Key};

use super::{Office, execute, row, shop, told, write};

#[tokio::test]
async fn what_a_cascade_does_beside_a_remote_write_is_the_hosts() {
    let office = Office::shop().await;
    let seeded = office
        .noticed("INSERT INTO invoices VALUES ('i', '1'); INSERT INTO lines VALUES (1, 'i', NULL, 3)")
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
            "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END';
             CREATE TRIGGER keep BEFORE UPDATE ON products FOR EACH ROW WHEN (NEW.name = 'kept') EXECUTE FUNCTION keep();
             INSERT INTO products VALUES ('p', 'A', 'apple', 5)",
        )
        .await;
    let seq = office.replica.sequence().await.unwrap().seq;
    let mut tx = office.replica.begin().await.unwrap();
    let kept = vec!["p".into(), "A".into(), "kept".into(), 5.into()];
    tx.write(&[write(&shop(), "products", "p", Some(kept))]).await.unwrap();
    tx.write(&[write(&shop(), "invoices", "i", Some(row(["i", "1"])))]).await.unwrap();
    tx.commit().await.unwrap();
    office.run("UPDATE products SET stock = 4; UPDATE invoices SET no = 'mine'").await;
    let entries = office.after(seq).await;
    let who: Vec<(&str, &str, bool, u64)> =
        entries.iter().map(|e| (&*e.table, &*e.stamp.origin, e.upstream, e.stamp.seen)).collect();
    assert_eq!(
        who,
        [("invoices", "master", true, 9), ("products", "office", false, 0), ("invoices", "office", false, 9)]
    );
}

#[tokio::test]
async fn rows_in_the_way_are_found_by_every_unique_index_over_expressions_and_parts_too() {
    let office = Office::shop().await;
    office
        .run(
            "CREATE UNIQUE INDEX one_free_name ON products (name) WHERE stock = 0;
             INSERT INTO products VALUES ('p1', 'A', 'apple', 5), ('p3', 'C', 'plum', 0);
             INSERT INTO invoices VALUES ('i', '1'); INSERT INTO lines VALUES (1, 'i', 'p1', 1)",
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
    assert_eq!(tx.clashing(&product("p4", "D", "plum", 0)).await.unwrap(), [("products".to_owned(), Key::new(["p3"]))]);
    assert_eq!(tx.clashing(&product("p4", "D", "plum", 1)).await.unwrap(), []);
    tx.write(&[product("p4", "D", "plum", 1)]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(office.run("SELECT id FROM products WHERE sku = 'D'").await, "p4");
}

#[tokio::test]
async fn a_host_waits_for_rows_that_are_locked_and_for_no_others() {
    let office = Office::shop().await;
    office.run("INSERT INTO invoices VALUES ('i', '1'), ('j', '1')").await;
    let table = std::sync::Arc::clone(shop().get("invoices").unwrap());
    let mut tx = office.replica.begin().await.unwrap();
    tx.rows(&table, &[Key::new(["i"])]).await.unwrap();
    let mut host = office.host().await;
    execute(&mut host, "SET lock_timeout = '200ms'; UPDATE invoices SET no = '2' WHERE id = 'j'").await;
    let waited = sqlx::query("UPDATE invoices SET no = '2' WHERE id = 'i'").execute(&mut host).await;
    assert_eq!(waited.unwrap_err().as_database_error().unwrap().code().as_deref(), Some("55P03"));
    tx.write(&[write(&shop(), "invoices", "i", Some(row(["i", "3"])))]).await.unwrap();
    tx.commit().await.unwrap();
    execute(&mut host, "UPDATE invoices SET no = '4' WHERE id = 'i'").await;
    let told = told(&office.after(2).await);
    assert_eq!(told, ["invoices j: j,1 > j,2", "invoices i: i,1 > i,3", "invoices i: i,3 > i,4"]);
}

#[tokio::test]
async fn a_row_that_a_host_is_about_to_insert_is_looked_at_again_and_does_not_count_as_a_clash() {
    let office = Office::shop().await;
    let mut host = office.host().await;
    execute(&mut host, "BEGIN; INSERT INTO invoices VALUES ('i', 'theirs')").await;
    let replica = office.replica.clone();
    let push = tokio::spawn(async move {
        let mut tx = replica.begin().await.unwrap();
        tx.write(&[write(&shop(), "invoices", "i", Some(row(["i", "ours"])))]).await
    });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    execute(&mut host, "COMMIT").await;
    let error = push.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
}

#[tokio::test]
async fn a_row_that_came_between_a_look_and_a_write_is_not_overwritten_alone_nor_among_others() {
    let office = Office::shop().await;
    let table = std::sync::Arc::clone(shop().get("invoices").unwrap());
    let mut host = office.host().await;
    for (id, others) in [("i", vec![]), ("j", vec![write(&shop(), "invoices", "k", Some(row(["k", "ours"])))])] {
        let mut tx = office.replica.begin().await.unwrap();
        assert_eq!(tx.rows(&table, &[Key::new([id]), Key::new(["k"])]).await.unwrap()[0].row, None);
        execute(&mut host, &format!("INSERT INTO invoices VALUES ('{id}', 'theirs')")).await;
        let writes = [others, vec![write(&shop(), "invoices", id, Some(row([id, "ours"])))]].concat();
        let error = tx.write(&writes).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        drop(tx);
        assert_eq!(office.run(&format!("SELECT no FROM invoices WHERE id = '{id}'")).await, "theirs");
        assert_eq!(office.run("SELECT count(*) FROM invoices WHERE no = 'ours'").await, "0");
    }
}

#[tokio::test]
async fn a_row_that_a_trigger_makes_for_a_write_is_no_conflict_with_it() {
    let office = Office::shop().await;
    office
        .run(
            "CREATE FUNCTION line() RETURNS trigger LANGUAGE plpgsql AS
               'BEGIN INSERT INTO lines VALUES (1, NEW.id, NULL, 1); RETURN NULL; END';
             CREATE TRIGGER line AFTER INSERT ON invoices FOR EACH ROW EXECUTE FUNCTION line();",
        )
        .await;
    let (invoices, lines) = (shop().get("invoices").cloned().unwrap(), shop().get("lines").cloned().unwrap());
    let mut tx = office.replica.begin().await.unwrap();
    tx.rows(&invoices, &[Key::new(["i"])]).await.unwrap();
    tx.rows(&lines, &[Key::new([1])]).await.unwrap();
    let line = vec![1.into(), "i".into(), sync_core::Value::Null, 7.into()];
    let writes = [write(&shop(), "invoices", "i", Some(row(["i", "1"]))), write(&shop(), "lines", 1, Some(line))];
    tx.write(&writes).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(office.run("SELECT qty FROM lines").await, "7");
    let entries = office.after(0).await;
    let who: Vec<(&str, &str)> = entries.iter().map(|entry| (&*entry.table, &*entry.stamp.origin)).collect();
    assert_eq!(who, [("invoices", "master"), ("lines", "office"), ("lines", "master")]);
}

#[tokio::test]
async fn no_value_of_a_row_stands_in_an_error() {
    let office = Office::shop().await;
    office.run("ALTER TABLE invoices ADD CONSTRAINT short CHECK (length(no) < 9)").await;
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
    office.run("UPDATE invoices SET no = '2'").await;
    let times: Vec<Hlc> = office.after(0).await.iter().map(|entry| entry.stamp.hlc).collect();
    assert_eq!(times, [far, Hlc(far.0 + 1)]);
}

#[tokio::test]
async fn rules_that_are_deferred_are_told_at_their_row_all_the_same() {
    let schema = "CREATE TABLE invoices (id text PRIMARY KEY, no text UNIQUE DEFERRABLE INITIALLY DEFERRED);
                  CREATE TABLE products (id text PRIMARY KEY, sku text, name text, stock bigint);
                  CREATE TABLE lines (id bigint PRIMARY KEY, invoice text REFERENCES invoices (id) DEFERRABLE INITIALLY DEFERRED,
                    product text, qty bigint);
                  INSERT INTO invoices VALUES ('i', '1'); INSERT INTO lines VALUES (1, 'i', NULL, 1);";
    let office = Office::with(schema, shop()).await;
    let mut tx = office.replica.begin().await.unwrap();
    for (write, code) in [
        (write(&shop(), "invoices", "j", Some(row(["j", "1"]))), "unique"),
        (write(&shop(), "lines", 2, Some(vec![2.into(), "nobody".into(), "p".into(), 1.into()])), "parent"),
        (write(&shop(), "invoices", "i", None), "child"),
    ] {
        let fine = super::write(&shop(), "products", "p", Some(vec!["p".into(), "A".into(), "apple".into(), 1.into()]));
        let error = tx.write(&[fine, write]).await.unwrap_err();
        assert!(error.context().any(|pair| pair == ("code", code)), "{code}: {error}");
        assert_eq!(error.row().map(|at| at.row), Some(1));
    }
    tx.commit().await.unwrap();
    assert_eq!(office.run("SELECT count(*) FROM products").await, "0", "what fails leaves nothing of its call");
}
