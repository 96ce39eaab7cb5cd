//! SQLite as a source: nothing is lost at page edges, and values travel to another database exactly.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::Connection;
use sync_core::model::{Outcome, RowScope};
use sync_core::state::{LetterBody, LetterQuery};
use sync_core::{Error, Key, Result, RunOptions, StreamSpec};
use sync_sql::SqliteSource;
use sync_testkit::Report;
use sync_testkit::source::{Act, Hand, conformance, with_hand};

use crate::copy::World;

fn orders() -> StreamSpec {
    StreamSpec::new("orders").key(["id"]).int("version").version("version").text("note")
}

const ORDERS: &str = "CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, version INTEGER, note TEXT);";

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_share_a_version_are_neither_lost_nor_read_twice() {
    let world = World::new(ORDERS, &[orders()]).await;
    world.there.execute_batch("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) INSERT INTO orders SELECT i, 5, 'note ' || i FROM n").unwrap();
    let first = world.run(RunOptions::incremental()).await;
    assert_eq!((first.ledger().fetched, first.ledger().count(Outcome::Created)), (1000, 1000), "{first}");
    world.assert_same("orders");
    world.there.execute_batch("INSERT INTO orders VALUES (1001, 5, 'a tie'), (1002, 6, 'newer'); UPDATE orders SET version = 7 WHERE id = 3").unwrap();
    let second = world.run(RunOptions::incremental()).await;
    assert_eq!((second.ledger().count(Outcome::Created), second.ledger().count(Outcome::Updated)), (2, 1), "{second}");
    assert_eq!(world.run(RunOptions::incremental()).await.ledger().fetched, 0);
    world.assert_same("orders");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_somebody_else_is_followed_in_its_own_forms() {
    let stream = StreamSpec::new("prices").key(["id"]).version("changed_at").decimal("price", 9, 2);
    let create = "CREATE TABLE prices (id INTEGER PRIMARY KEY, changed_at TEXT DEFAULT CURRENT_TIMESTAMP, price REAL);";
    let world = World::new(create, &[stream]).await;
    world
        .there
        .execute_batch("INSERT INTO prices VALUES (1, '2026-03-01 10:20:30', 19.99), (2, '2026-03-01 10:20:31', 5)")
        .unwrap();
    assert_eq!(world.run(RunOptions::incremental()).await.ledger().count(Outcome::Created), 2);
    world.there.execute_batch("UPDATE prices SET price = 4.1, changed_at = '2026-03-01 10:20:32' WHERE id = 2; INSERT INTO prices VALUES (3, '2026-03-01 10:20:31', 7)").unwrap();
    let second = world.run(RunOptions::incremental()).await;
    assert_eq!((second.ledger().count(Outcome::Created), second.ledger().count(Outcome::Updated)), (1, 1), "{second}");
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let mut found = world.here.prepare("SELECT id, changed_at, price FROM prices ORDER BY id").unwrap();
    let found: Vec<(i64, String, String)> =
        found.query_map([], read).unwrap().map(std::result::Result::unwrap).collect();
    let expected = [
        (1, "2026-03-01T10:20:30.000000Z", "19.99"),
        (2, "2026-03-01T10:20:32.000000Z", "4.10"),
        (3, "2026-03-01T10:20:31.000000Z", "7.00"),
    ];
    assert_eq!(found, expected.map(|(id, at, price)| (id, at.to_owned(), price.to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_come_late_are_found_within_the_lookback_and_measured() {
    let stream = StreamSpec::new("orders").key(["id"]).version("at");
    let mut world =
        World::new("CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, at TIMESTAMP_TEXT)", &[stream]).await;
    world.source = world.source.lookback(Duration::from_secs(60));
    world.there.execute_batch("INSERT INTO orders VALUES (1, '2026-01-01T00:10:00.000000Z')").unwrap();
    world.run(RunOptions::incremental()).await;
    world
        .there
        .execute_batch(
            "INSERT INTO orders VALUES (2, '2026-01-01T00:09:30.000000Z'), (3, '2026-01-01T00:05:00.000000Z')",
        )
        .unwrap();
    let report = world.run(RunOptions::incremental()).await;
    assert_eq!((report.ledger().count(Outcome::Created), report.scopes[0].late), (1, 1), "{report}");
    assert_eq!(report.scopes[0].lateness, Duration::from_secs(30));
    let repaired = world.run(RunOptions::reconcile()).await;
    let found = (repaired.ledger().count(Outcome::Created), repaired.scopes[0].missed);
    assert_eq!(found, (1, 1), "what came later still is found by a reconcile, and told: {repaired}");
    world.assert_same("orders");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_gone_are_found_by_a_reconcile() {
    let world = World::new(ORDERS, &[orders()]).await;
    world.there.execute_batch("INSERT INTO orders VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c')").unwrap();
    world.run(RunOptions::incremental()).await;
    world.there.execute_batch("DELETE FROM orders WHERE id = 2").unwrap();
    let report = world.run(RunOptions::reconcile()).await;
    assert_eq!(report.ledger().count(Outcome::Deleted), 1, "{report}");
    world.assert_same("orders");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_read_again_without_moving_the_live_position() {
    let world = World::new(ORDERS, &[orders()]).await;
    world.there.execute_batch("INSERT INTO orders VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c')").unwrap();
    world.run(RunOptions::incremental()).await;
    world.here.execute_batch("DELETE FROM orders WHERE id = 2").unwrap();
    let rows = RowScope::Range { column: "id".into(), from: Some(2_i64.into()), until: Some(3_i64.into()) };
    let report = world.run(RunOptions::backfill("again", rows)).await;
    assert_eq!((report.ledger().fetched, report.ledger().count(Outcome::Created)), (1, 1), "{report}");
    world.assert_same("orders");
    assert_eq!(world.run(RunOptions::incremental()).await.ledger().fetched, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_value_travels_from_database_to_database_as_it_is() {
    let create = "CREATE TABLE \"odd \"\"name\" (a TEXT NOT NULL, b INTEGER NOT NULL, i INTEGER, u U64_BLOB, d DECIMAL_TEXT(38,4),
            r REAL, x BLOB, t TIMESTAMP_TEXT, y DATE_TEXT, j JSON_TEXT, o BOOLEAN, PRIMARY KEY (a, b));
        INSERT INTO \"odd \"\"name\" VALUES
            ('', 1, -9223372036854775808, '18446744073709551615', '1234567890123456789012345678901234.5678', 5e-324, x'00ff',
             '0001-01-01T00:00:00.000000Z', '9999-12-31', '{\"a\":1}', 1),
            ('🍣', 2, 9223372036854775807, 0, '-0.0001', -1.5, x'', '9999-12-31T23:59:59.999999Z', '0001-01-01', '[]', 0),
            ('ABC', 3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL), ('abc', 3, 0, 1, '0.0000', 0.0, x'01', NULL, NULL, 'null', NULL);";
    let mut world = World::new(create, &[]).await;
    let stream = world.source.discover("odd \"name").await.unwrap();
    assert_eq!(stream.key_columns(), ["a", "b"]);
    world.source = world.source.table(stream);
    let report = world.run(RunOptions::incremental()).await;
    assert_eq!(report.ledger().count(Outcome::Created), 4, "{report}");
    world.assert_same("odd \"\"name");
    let again = world.run(RunOptions::incremental()).await;
    assert_eq!(
        (again.ledger().fetched, again.ledger().count(Outcome::Unchanged)),
        (4, 4),
        "without a version all is read: {again}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_not_as_declared_is_rejected_alone() {
    let world = World::new(ORDERS, &[orders()]).await;
    world.there.execute_batch("INSERT INTO orders VALUES (1, 1, 'a'), (2, 2, x'ff'), (3, 3, 'c')").unwrap();
    let report = world.run(RunOptions::incremental()).await;
    assert_eq!((report.ledger().count(Outcome::Created), report.ledger().count(Outcome::Rejected)), (2, 1), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_letter_of_an_unreadable_row_holds_its_bytes() {
    let stream = StreamSpec::new("orders").key(["id"]).int("n").bytes("photo").text("note");
    let create = "CREATE TABLE orders (id INTEGER PRIMARY KEY, n, photo BLOB, note TEXT);
        INSERT INTO orders VALUES (1, 'one', x'CAFE', CAST(x'ff41' AS TEXT))";
    let world = World::new(create, &[stream]).await;
    world.run(RunOptions::incremental()).await;
    let letters = world.engine().await.dead_letters(&LetterQuery::default()).await.unwrap();
    let LetterBody::Record(body) = &letters[0].body else { panic!("{letters:?}") };
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    assert_eq!(body, serde_json::json!({ "id": 1, "n": "one", "photo": "yv4=", "note": "/0E=" }));
}

#[tokio::test]
async fn rows_that_could_never_be_found_are_refused() {
    let world = World::new(ORDERS, &[orders()]).await;
    world.there.execute_batch("INSERT INTO orders VALUES (1, NULL, 'a')").unwrap();
    let refused = sync_core::Source::check(&world.source).await.unwrap_err().to_string();
    assert!(refused.contains("1 rows have no \"version\""), "{refused}");
    let keyless = world.there.execute_batch("CREATE TABLE loose (a TEXT)");
    keyless.unwrap();
    assert!(world.source.discover("loose").await.unwrap_err().to_string().contains("primary key"));
    assert!(world.source.discover("nowhere").await.unwrap_err().to_string().contains("no such table"));
}

#[tokio::test]
async fn tables_and_foreign_keys_are_told() {
    let create = "CREATE TABLE shops (country TEXT, nr INTEGER, PRIMARY KEY (country, nr)); CREATE VIEW all_shops AS SELECT * FROM shops;
        CREATE TABLE \"odd \"\"orders\" (id INTEGER PRIMARY KEY, c TEXT, n INTEGER, parent INTEGER REFERENCES \"odd \"\"orders\"(id),
            FOREIGN KEY (c, n) REFERENCES shops);";
    let world = World::new(create, &[]).await;
    assert_eq!(world.source.tables().await.unwrap(), ["odd \"orders", "shops"]);
    let keys = world.source.foreign_keys().await.unwrap();
    let told: Vec<String> = keys
        .iter()
        .map(|key| format!("{} {:?} {} {:?}", key.table, key.columns, key.references, key.referenced))
        .collect();
    let expected =
        ["odd \"orders [\"parent\"] odd \"orders [\"id\"]", "odd \"orders [\"c\", \"n\"] shops [\"country\", \"nr\"]"];
    assert_eq!(told, expected);
}

/// Changes rows of the table under test.
struct Clerk {
    table: std::sync::Mutex<Connection>,
    /// The version after the newest one, in SQL.
    next_version: &'static str,
    /// Whether a row may get the newest version when others have had it for long.
    shares: bool,
}

#[async_trait]
impl Hand for Clerk {
    async fn act(&self, act: Act) -> Result<Option<(String, Key)>> {
        let (connection, later) = (self.table.lock().unwrap(), self.next_version);
        let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        let (next, first) = (number("SELECT max(id) + 1 FROM orders"), number("SELECT min(id) FROM orders"));
        let (sql, id) = match act {
            Act::Add => (format!("INSERT INTO orders SELECT {next}, {later}, 'new' FROM orders"), next),
            Act::TieAbove => (format!("INSERT INTO orders SELECT {next}, max(version), 'tie' FROM orders"), next),
            Act::Change => {
                (format!("UPDATE orders SET version = (SELECT {later} FROM orders) WHERE id = {first}"), first)
            }
            Act::TieBelow if self.shares => {
                let newest = "(SELECT max(version) FROM orders)";
                let old = number(&format!("SELECT min(id) FROM orders WHERE version < {newest}"));
                (format!("UPDATE orders SET version = {newest}, note = 'tie' WHERE id = {old}"), old)
            }
            Act::Remove => (format!("DELETE FROM orders WHERE id = {first}"), first),
            // A version that is the number of a transaction, whose rows appear together, has no such rows.
            _ => return Ok(None),
        };
        connection.execute_batch(&sql).unwrap();
        Ok(Some(("orders".to_owned(), Key::new([id]))))
    }
}

/// Proves a table of 35 rows, whose versions these expressions make.
async fn prove(stream: StreamSpec, inclusive: bool, version: &str, next_version: &'static str) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let shares = inclusive || version.contains("datetime");
    let report = conformance(async |name| {
        let file = folder.path().join(name);
        let table = Connection::open(&file).unwrap();
        table.execute_batch("CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, version, note TEXT)").unwrap();
        table.execute_batch(&format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 35) INSERT INTO orders SELECT i, {version}, 'note' FROM n")).unwrap();
        let mut source = SqliteSource::open(&file).await?.page(10).table(stream.clone());
        if inclusive {
            source = source.inclusive();
        }
        Ok::<_, Error>(with_hand(source, Clerk { table: std::sync::Mutex::new(table), next_version, shares }))
    })
    .await;
    println!("{report}");
    report
}

const CHECKS: [&str; 2] = ["a_row_at_the_same_position_comes_too", "a_change_during_a_read_is_not_lost"];

#[tokio::test]
async fn sqlite_keeps_the_specification_of_a_source() {
    let report = prove(orders(), false, "i / 2", "max(version) + 1").await;
    report.assert_held(CHECKS);
}

#[tokio::test]
async fn sqlite_keeps_the_specification_of_a_source_whose_versions_are_shared() {
    let report = prove(orders(), true, "i / 2", "max(version) + 1").await;
    report.assert_held(CHECKS);
    report.assert_held(["a_row_below_the_cursor_at_its_position_comes_too"]);
    let by_time = StreamSpec::new("orders").key(["id"]).version("version").text("note");
    let (version, next) = ("datetime(1767225600 + i / 2, 'unixepoch')", "datetime(max(version), '+1 second')");
    let report = prove(by_time, false, version, next).await;
    report.assert_held(CHECKS);
    report.assert_held(["a_row_below_the_cursor_at_its_position_comes_too"]);
}
