//! Hosts that do what hosts do: snapshots that grow old, locks that are held, rows that policies hide.

use std::sync::Arc;
use std::time::Duration;

use sync_core::ErrorKind;
use sync_core::StreamSpec;
use sync_core::two_way::{Replica as _, Table, Tables};
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

/// Names with what strings are escaped by, in a session that escapes as servers did before 2010.
#[tokio::test]
async fn a_host_whose_strings_have_escapes_is_noticed_whatever_the_names() {
    let odd = r"sho\p\' it";
    let tables = || Tables::new([Table::new(StreamSpec::new(odd).text("id").key(["id"]).text(r"no\te"))]).unwrap();
    for by_default in [false, true] {
        let office = Office::with("", shop()).await;
        office.replica.close().await;
        PostgresReplica::remove(&office.database.url()).await.unwrap();
        if by_default {
            let name = office.database.name();
            office.run(&format!("ALTER DATABASE {name} SET standard_conforming_strings = off")).await;
        }
        let replica = open(&office.database, tables()).await.unwrap();
        let mut host = office.host().await;
        execute(&mut host, &format!("SET standard_conforming_strings = off; INSERT INTO \"{odd}\" VALUES ('a', 'b')"))
            .await;
        assert_eq!(replica.sequence().await.unwrap().seq, 1, "by default: {by_default}");
    }
}

/// A child may be written before its parent, and by another transaction, where the rule is looked at when both are done.
#[tokio::test]
async fn a_child_whose_rule_is_deferred_reaches_a_branch_page_by_page() {
    const SCHEMA: &str = "CREATE TABLE parents (id bigint PRIMARY KEY);
        CREATE TABLE children (id bigint PRIMARY KEY, parent bigint REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED);";
    let tables = || {
        let parents = StreamSpec::new("parents").int("id").key(["id"]);
        Tables::new([parents, StreamSpec::new("children").int("id").key(["id"]).int("parent")].map(Table::new)).unwrap()
    };
    let office = Office::with(SCHEMA, tables()).await;
    let clock: Arc<dyn sync_core::Clock> = Arc::new(sync_core::SystemClock::new());
    let hub = sync_core::two_way::Hub::new(office.replica.clone(), Arc::clone(&clock));
    let till = sync_core::memory::MemoryReplica::new("till", tables(), Arc::clone(&clock))
        .parent("children", "parent", "parents");
    let branch = sync_core::two_way::Branch::new(till.clone(), (hub, sync_core::two_way::Access::everything()), clock)
        .pull_rows(1);
    branch.sync().await.unwrap();
    let mut host = office.host().await;
    execute(&mut host, "BEGIN; INSERT INTO children VALUES (1, 1)").await;
    office.run("INSERT INTO parents VALUES (1)").await;
    execute(&mut host, "COMMIT").await;
    assert_eq!(
        told(&office.after(0).await),
        ["children 1: - > 1,1", "parents 1: - > 1"],
        "in the order of their last writes"
    );
    branch.sync().await.unwrap();
    assert_eq!(till.rows("children").len(), 1);
}

/// Whatever a host has set for its session, its rows come as they are.
#[tokio::test]
async fn what_a_host_sets_for_its_session_changes_nothing_of_what_is_noticed() {
    let spec = || {
        StreamSpec::new("things")
            .timestamp("at")
            .float("f")
            .key(["at", "f"])
            .bytes("b")
            .date("d")
            .json("j")
            .decimal("n", 20, 4)
    };
    let tables = || Tables::new([Table::new(spec())]).unwrap();
    let office = Office::with("", tables()).await;
    let insert = "INSERT INTO things (at, f, b, d, j, n) VALUES ('2026-03-04T05:06:07.123456Z', 0.1, '\\x0a5c'::bytea, '2026-03-04', '{\"a\":1.50}', 12.3400)";
    let plain = office.noticed(insert).await;
    office.run("DELETE FROM things").await;
    let seq = office.replica.sequence().await.unwrap().seq;
    let mut host = office.host().await;
    execute(&mut host, "SET DateStyle = 'German, DMY'; SET TimeZone = 'Asia/Kolkata'; SET bytea_output = 'escape'; SET extra_float_digits = -15;
        SET transform_null_equals = on; SET quote_all_identifiers = on; SET array_nulls = off; SET plpgsql.extra_errors = 'all';
        SET plpgsql.variable_conflict = 'use_column'; SET search_path = ''; SET IntervalStyle = 'sql_standard'; SET default_transaction_read_only = off").await;
    execute(&mut host, &insert.replace("INTO things", "INTO public.things")).await;
    assert_eq!(told(&office.after(seq).await), told(&plain));
    execute(&mut host, "UPDATE public.things SET f = 0.30000000000000004, n = 12.34").await;
    execute(&mut host, "DELETE FROM public.things").await;
    assert_eq!(office.after(seq).await.len(), 4);
    assert_eq!(office.replica.audit().await.unwrap(), 0);
}
