//! The host changes its schema: what is lost is made again, what was missed is found, and what cannot be mended is told.

use std::sync::Arc;

use sync_core::two_way::{Replica as _, Table, Tables};
use sync_core::{ErrorKind, StreamSpec};
use sync_sql::MySqlReplica;

use super::{Office, open, row, shop, sorted, told, write};

#[tokio::test]
async fn opening_again_changes_nothing() {
    let office = Office::shop().await;
    office.noticed("INSERT INTO invoices VALUES ('a', '1')").await;
    let made = "SELECT GROUP_CONCAT(TRIGGER_NAME, CREATED ORDER BY 1) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE()";
    let before = office.run(made).await;
    let again = open(&office.database, shop()).await.unwrap();
    assert_eq!(office.run(made).await, before);
    assert_eq!(again.sequence().await.unwrap().seq, 1);
}

#[tokio::test]
async fn a_table_that_was_copied_and_swapped_is_noticed_again_with_what_was_missed() {
    let office = Office::shop().await;
    office
        .noticed(
            "INSERT INTO invoices VALUES ('i', '1'); INSERT INTO `lines` VALUES (1, 'i', NULL, 5), (2, 'i', NULL, 6), (3, 'i', NULL, 7)",
        )
        .await;
    let entries = office
        .noticed(
            "CREATE TABLE fresh LIKE `lines`; ALTER TABLE fresh ADD COLUMN colour longtext;
             INSERT INTO fresh SELECT *, 'red' FROM `lines`; RENAME TABLE `lines` TO away, fresh TO `lines`;
             UPDATE `lines` SET qty = 4 WHERE id = 1; DELETE FROM `lines` WHERE id = 2;
             INSERT INTO `lines` VALUES (4, 'i', NULL, 1, 'red')",
        )
        .await;
    assert_eq!(
        sorted(&entries),
        ["lines 1: 1,i,null,5 > 1,i,null,4", "lines 2: 2,i,null,6 > -", "lines 4: - > 4,i,null,1"]
    );
    let entries =
        office.noticed("UPDATE `lines` SET qty = 0 WHERE id = 4; UPDATE away SET qty = 98; DROP TABLE away").await;
    assert_eq!(told(&entries), ["lines 4: 4,i,null,1 > 4,i,null,0"]);
    let entries = office
        .noticed(
            "CREATE TABLE fresh LIKE `lines`; INSERT INTO fresh SELECT * FROM `lines`; DROP TABLE `lines`;
             RENAME TABLE fresh TO `lines`; DELETE FROM `lines` WHERE id = 4",
        )
        .await;
    assert_eq!(told(&entries), ["lines 4: 4,i,null,0 > -"]);
    let entries = office
        .noticed(
            "CREATE OR REPLACE TABLE `lines` (id bigint PRIMARY KEY, invoice varchar(40) NOT NULL, product varchar(40), qty bigint)
               COLLATE utf8mb4_nopad_bin; INSERT INTO `lines` VALUES (3, 'i', NULL, 7)",
        )
        .await;
    assert_eq!(told(&entries), ["lines 1: 1,i,null,4 > -"]);
    // A rule that goes with the table that was swapped away is one of a table that takes no part.
    let office = Office::shop().await;
    office.run("CREATE TABLE fresh LIKE invoices; RENAME TABLE invoices TO away, fresh TO invoices").await;
    let says = office.replica.sequence().await.unwrap_err().to_string();
    assert!(says.contains("\"away\", which takes no part") && says.contains("lines"), "{says}");
}

#[tokio::test]
async fn a_trigger_or_a_procedure_that_was_dropped_is_made_again() {
    let office = Office::shop().await;
    for (number, loss) in [
        "DROP TRIGGER _sync_ins_invoices",
        "DROP PROCEDURE _sync_put_invoices",
        "DROP PROCEDURE _sync_see_invoices; DROP PROCEDURE _sync_gone_invoices; DELETE FROM invoices",
    ]
    .into_iter()
    .enumerate()
    {
        let entries = office.noticed(&format!("{loss}; INSERT INTO invoices VALUES ('a{number}', '1')")).await;
        assert!(
            told(&entries).contains(&format!("invoices a{number}: - > a{number},1")),
            "{loss}: {:?}",
            told(&entries)
        );
        assert_eq!(office.replica.audit().await.unwrap(), 0, "{loss}");
    }
    // What comes from elsewhere is not written into a table that nobody watches either.
    office.run("INSERT INTO invoices VALUES ('b', '1'); DROP TRIGGER _sync_upd_invoices").await;
    let mut tx = office.replica.begin().await.unwrap();
    tx.write(&[write(&shop(), "invoices", "b", Some(row(["b", "9"])))]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(office.run("SELECT origin FROM _sync_row_invoices WHERE k_id = 'b'").await, "master");
}

#[tokio::test]
async fn a_column_that_is_added_takes_part_when_it_is_declared() {
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
            "RENAME TABLE invoices TO bills",
            "RENAME TABLE bills TO invoices",
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
        // Triggers go with a table that is renamed, and not with a column.
        let told_of = told(&office.after(1).await);
        assert!(
            told_of[0].starts_with("invoices a: a,1 > ") && told_of.last().unwrap().ends_with(" > a,3"),
            "{away}: {told_of:?}"
        );
        assert_eq!(told(&office.noticed("UPDATE invoices SET no = '4'").await), ["invoices a: a,3 > a,4"], "{away}");
    }
}

#[tokio::test]
async fn a_rename_there_and_back_between_two_looks_loses_nothing() {
    let office = Office::shop().await;
    office.noticed("INSERT INTO invoices VALUES ('a', '1'), ('b', '1')").await;
    let entries = office
        .noticed(
            "ALTER TABLE invoices RENAME COLUMN no TO number; UPDATE invoices SET number = '2' WHERE id = 'a'; DELETE FROM invoices WHERE id = 'b';
             INSERT INTO invoices VALUES ('c', '3'); ALTER TABLE invoices RENAME COLUMN number TO no",
        )
        .await;
    assert_eq!(sorted(&entries), ["invoices a: a,1 > a,2", "invoices b: b,1 > -", "invoices c: - > c,3"]);
}

#[tokio::test]
async fn a_column_that_is_dropped_or_gets_another_type_does_not_stop_the_host() {
    let office = Office::shop().await;
    office.noticed("INSERT INTO invoices VALUES ('a', '1'); INSERT INTO `lines` VALUES (1, 'a', NULL, 5)").await;
    // Wider again than it was: the replica makes it what is declared, and has missed nothing.
    let entries = office
        .noticed("ALTER TABLE `lines` MODIFY qty int; UPDATE `lines` SET qty = 6; INSERT INTO `lines` VALUES (2, 'a', NULL, 7)")
        .await;
    assert_eq!(sorted(&entries), ["lines 1: 1,a,null,5 > 1,a,null,6", "lines 2: - > 2,a,null,7"]);
    office.run("ALTER TABLE `lines` MODIFY qty varchar(20); UPDATE `lines` SET qty = 'many'").await;
    let says = office.replica.sequence().await.unwrap_err().to_string();
    assert!(says.contains("\"qty\"") && says.contains("bigint"), "{says}");
    office.run("UPDATE `lines` SET qty = '8'; ALTER TABLE `lines` MODIFY qty bigint").await;
    assert_eq!(
        sorted(&office.after(4).await),
        ["lines 1: 1,a,null,6 > 1,a,null,8", "lines 2: 2,a,null,7 > 2,a,null,8"]
    );
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
async fn a_rule_that_is_added_between_two_tables_is_followed() {
    let schema = "CREATE TABLE a (id bigint PRIMARY KEY); CREATE TABLE b (id bigint PRIMARY KEY, a bigint);";
    let [a, b] = [StreamSpec::new("a").int("id").key(["id"]), StreamSpec::new("b").int("id").key(["id"]).int("a")];
    let office = Office::with(schema, Tables::new([a, b].map(Table::new)).unwrap()).await;
    let seq = office.noticed("INSERT INTO a VALUES (1); INSERT INTO b VALUES (2, 1)").await[1].seq;
    office.run("ALTER TABLE b ADD FOREIGN KEY (a) REFERENCES a (id) ON DELETE CASCADE").await;
    assert_eq!(office.after(seq).await, []);
    let entries = office.noticed("DELETE FROM a").await;
    assert_eq!(sorted(&entries), ["a 1: 1 > -", "b 2: 2,1 > -"]);
    // What was there before the next look is found by it.
    office
        .noticed("INSERT INTO a VALUES (1); ALTER TABLE b DROP FOREIGN KEY b_ibfk_1; INSERT INTO b VALUES (2, 1)")
        .await;
    let entries =
        office.noticed("ALTER TABLE b ADD FOREIGN KEY (a) REFERENCES a (id) ON DELETE CASCADE; DELETE FROM a").await;
    assert_eq!(sorted(&entries), ["a 1: 1 > -", "b 2: 2,1 > -"]);
}

#[tokio::test]
async fn a_table_that_is_no_longer_declared_is_told() {
    let office = Office::shop().await;
    let fewer = Tables::new([Table::new(Arc::clone(shop().get("products").unwrap().spec()))]).unwrap();
    let says = open(&office.database, fewer).await.unwrap_err().to_string();
    assert!(says.contains("declare it again") && (says.contains("invoices") || says.contains("lines")), "{says}");
}

#[tokio::test]
async fn a_database_is_that_of_one_replica() {
    let office = Office::shop().await;
    let clock = Arc::new(sync_core::SystemClock::new());
    let error = MySqlReplica::open(&office.database.url(), "another", shop(), clock).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Config && error.to_string().contains("office"), "{error}");
}

#[tokio::test]
async fn tables_that_cannot_be_watched_are_refused() {
    let notes = || StreamSpec::new("notes").int("id").key(["id"]).int("up");
    let more = || StreamSpec::new("more").int("id").key(["id"]).int("up");
    let both = || Tables::new([notes(), more()].map(Table::new)).unwrap();
    let one = || Tables::new([Table::new(notes())]).unwrap();
    for (schema, tables, what) in [
        ("CREATE TABLE notes (id bigint UNIQUE, up bigint)", one(), "NOT NULL"),
        ("CREATE TABLE notes (id bigint PRIMARY KEY, up bigint) ENGINE=MyISAM", one(), "InnoDB"),
        ("CREATE TABLE t (id bigint PRIMARY KEY, up bigint); CREATE VIEW notes AS SELECT * FROM t", one(), "no plain table"),
        (
            "CREATE TABLE more (id bigint PRIMARY KEY); CREATE TABLE notes (id bigint PRIMARY KEY, up bigint REFERENCES more (id) ON DELETE CASCADE)",
            one(),
            "\"more\", which takes no part",
        ),
        (
            "CREATE TABLE more (id bigint PRIMARY KEY, up bigint); CREATE TABLE notes (id bigint PRIMARY KEY, up bigint, x bigint REFERENCES more (id) ON DELETE CASCADE)",
            both(),
            "declare column \"x\"",
        ),
        (
            "CREATE TABLE more (id bigint PRIMARY KEY, up bigint); CREATE TABLE notes (id bigint PRIMARY KEY, up bigint REFERENCES more (id) ON DELETE CASCADE);
             ALTER TABLE more ADD FOREIGN KEY (up) REFERENCES notes (id) ON DELETE CASCADE",
            both(),
            "in a circle of tables",
        ),
    ] {
        let database = sync_test_servers::mariadb().await.unwrap();
        database.client(schema).await.unwrap();
        let error = open(&database, tables).await.unwrap_err();
        let says = error.to_string();
        assert!(error.kind() == ErrorKind::Schema && says.contains(what) && says.contains("notes"), "{schema}: {says}");
    }
}

#[tokio::test]
async fn an_account_without_the_rights_is_told_which() {
    let database = sync_test_servers::mariadb().await.unwrap();
    let (name, account) = (database.name(), format!("poor_{}", &database.name()[5..20]));
    let grant = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP";
    let sql = format!("CREATE USER {account}@'%' IDENTIFIED BY 'x'; GRANT {grant} ON {name}.* TO {account}@'%'");
    database.client(&sql).await.unwrap();
    let url = format!("mysql://{account}:x@{}:{}/{name}", database.host(), database.port());
    let open = async || {
        let clock = Arc::new(sync_core::SystemClock::new());
        MySqlReplica::open(&url, "office", shop(), clock).await
    };
    let error = open().await.unwrap_err();
    assert!(error.kind() == ErrorKind::Forbidden && error.remedy().contains("TRIGGER, CREATE ROUTINE"), "{error}");
    let more =
        format!("GRANT TRIGGER, CREATE ROUTINE, ALTER ROUTINE, EXECUTE, LOCK TABLES ON {name}.* TO {account}@'%'");
    database.client(&more).await.unwrap();
    let replica = open().await.unwrap();
    database.client("INSERT INTO invoices VALUES ('a', '1')").await.unwrap();
    assert_eq!(replica.sequence().await.unwrap().seq, 1);
    database.client(&format!("DROP USER {account}@'%'")).await.unwrap();
}

#[tokio::test]
async fn what_is_removed_leaves_the_hosts_tables_as_they_were() {
    let office = Office::shop().await;
    office.noticed("INSERT INTO invoices VALUES ('a', '1')").await;
    office.replica.close().await;
    MySqlReplica::remove(&office.database.url()).await.unwrap();
    let left = "SELECT (SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME LIKE '\\_sync%')
                  + (SELECT COUNT(*) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE())
                  + (SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE())";
    assert_eq!(office.run(left).await, "0");
    office.run("UPDATE invoices SET no = '2'").await;
    assert_eq!(office.run("SELECT no FROM invoices").await, "2");
    let again = open(&office.database, shop()).await.unwrap();
    assert_eq!(again.sequence().await.unwrap().seq, 1);
}
