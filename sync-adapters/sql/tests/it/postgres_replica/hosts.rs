//! Hosts that do what hosts do: snapshots that grow old, locks that are held, rows that policies hide.

use std::sync::Arc;
use std::time::Duration;

use sync_core::ErrorKind;
use sync_core::two_way::Replica as _;
use sync_sql::PostgresReplica;

use super::{Office, execute, open, row, shop, told, write};

/// The snapshot shows the deleted row still, and the new one beside it.
#[tokio::test]
async fn a_row_that_a_host_with_an_old_snapshot_puts_in_a_deleted_ones_place_is_noticed_or_refused() {
    let office = Office::shop().await;
    for isolation in ["REPEATABLE READ", "SERIALIZABLE"] {
        for no in ["1", "2"] {
            office.run("DELETE FROM invoices; INSERT INTO invoices VALUES ('a', '1')").await;
            let seq = office.replica.sequence().await.unwrap().seq;
            let mut host = office.host().await;
            execute(&mut host, &format!("BEGIN ISOLATION LEVEL {isolation}; SELECT count(*) FROM products")).await;
            office.run("DELETE FROM invoices").await;
            let insert = sqlx::query(sqlx::AssertSqlSafe(format!("INSERT INTO invoices VALUES ('a', '{no}')")));
            let end = match insert.execute(&mut host).await {
                Ok(_) => "COMMIT",
                Err(refused) => {
                    assert_eq!(refused.as_database_error().unwrap().code().as_deref(), Some("40001"), "{refused}");
                    "ROLLBACK"
                }
            };
            execute(&mut host, end).await;
            let last = office.after(seq).await.pop().and_then(|entry| entry.after);
            let there = office.run("SELECT no FROM invoices").await;
            assert_eq!(last.map(|row| row[1].to_string()).unwrap_or_default(), there, "{isolation}, {no}, {end}");
        }
    }
    assert_eq!(office.replica.audit().await.unwrap(), 0);
}

/// A caller who goes away, as one does whose request has timed out, while its write waits for a host.
#[tokio::test]
async fn a_writer_that_was_given_up_while_it_waited_for_a_host_holds_nobody_up() {
    let office = Office::shop().await;
    office.run("INSERT INTO invoices VALUES ('a', '1'), ('b', '1')").await;
    let mut host = office.host().await;
    execute(&mut host, "BEGIN; UPDATE invoices SET no = '2' WHERE id = 'a'").await;
    let replica = office.replica.clone();
    let given_up = tokio::time::timeout(Duration::from_millis(300), async move {
        let mut tx = replica.begin().await.unwrap();
        tx.write(&[write(&shop(), "invoices", "a", Some(row(["a", "3"])))]).await
    });
    assert!(given_up.await.is_err(), "it waits for the host");
    let others = async {
        let mut tx = office.replica.begin().await.unwrap();
        tx.write(&[write(&shop(), "invoices", "b", Some(row(["b", "3"])))]).await.unwrap();
        tx.commit().await.unwrap();
    };
    tokio::time::timeout(Duration::from_secs(8), others).await.expect("nobody else can write");
    execute(&mut host, "COMMIT").await;
    assert_eq!(office.run("SELECT no FROM invoices ORDER BY id").await, "2\n3");
}

#[tokio::test]
async fn a_write_waits_for_a_host_no_longer_than_a_while_and_says_so() {
    let office = Office::shop().await;
    office.run("INSERT INTO invoices VALUES ('a', '1'), ('b', '1')").await;
    let name = office.database.name();
    office.run(&format!("ALTER DATABASE {name} SET lock_timeout = '400ms'")).await;
    let impatient = open(&office.database, shop()).await.unwrap();
    let mut host = office.host().await;
    execute(&mut host, "BEGIN; UPDATE invoices SET no = '2' WHERE id = 'a'").await;
    let mut tx = impatient.begin().await.unwrap();
    let error = tx.write(&[write(&shop(), "invoices", "a", Some(row(["a", "3"])))]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    tx.write(&[write(&shop(), "invoices", "b", Some(row(["b", "3"])))]).await.unwrap();
    tx.commit().await.unwrap();
    execute(&mut host, "COMMIT").await;
    assert_eq!(office.run("SELECT no FROM invoices ORDER BY id").await, "2\n3");
}

/// Rows that a policy hides from us are not rows that are gone.
#[tokio::test]
async fn a_table_that_hides_rows_from_our_account_is_refused_and_none_of_them_is_taken_for_deleted() {
    let office = Office::with("", shop()).await;
    let account = format!("owner_{}", &office.database.name()[5..20]);
    let own =
        ["products", "invoices", "lines"].map(|table| format!("ALTER TABLE {table} OWNER TO {account}")).join(";");
    office.replica.close().await;
    PostgresReplica::remove(&office.database.url()).await.unwrap();
    office.run(&format!("CREATE ROLE {account}; GRANT ALL ON SCHEMA public TO {account}; {own}")).await;
    let url = format!("{}?options[role]={account}", office.database.url());
    let clock = Arc::new(sync_core::SystemClock::new());
    let replica = PostgresReplica::open(&url, "office", shop(), clock).await.unwrap();
    office.run("INSERT INTO invoices VALUES ('a', '1'), ('b', '2')").await;
    assert_eq!(replica.sequence().await.unwrap().seq, 2);
    // Tenants see their own rows, and the table's owner does, too.
    office
        .run(
            "ALTER TABLE invoices ENABLE ROW LEVEL SECURITY; ALTER TABLE invoices FORCE ROW LEVEL SECURITY;
             CREATE POLICY tenant ON invoices USING (no = current_setting('app.tenant', true))",
        )
        .await;
    office.run("UPDATE invoices SET no = '3' WHERE id = 'a'").await;
    let refused = replica.sequence().await.map_err(|error| error.to_string());
    office.run("ALTER TABLE invoices NO FORCE ROW LEVEL SECURITY").await;
    let after = replica.sequence().await;
    let last = told(&replica.look().await.unwrap().feed(2, 9).await.unwrap());
    drop(replica);
    office.run(&format!("DROP OWNED BY {account} CASCADE; DROP ROLE {account}")).await;
    let refused = refused.unwrap_err();
    assert!(refused.contains("invoices") && refused.contains("FORCE"), "{refused}");
    assert_eq!((after.unwrap().seq, last), (3, vec!["invoices a: a,1 > a,3".to_owned()]));
}
