//! SQLite as a source: nothing is lost at page edges, and values travel to another database exactly.

use sync_core::model::Outcome;
use sync_core::state::{LetterBody, LetterQuery};
use sync_core::{RunOptions, StreamSpec};

use crate::copy::World;

fn orders() -> StreamSpec {
    StreamSpec::new("orders").key(["id"]).int("version").version("version").text("note")
}

const ORDERS: &str = "CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, version INTEGER, note TEXT);";

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
async fn a_version_that_is_infinite_hides_no_later_change() {
    let stream = StreamSpec::new("orders").key(["id"]).float("version").version("version");
    let world = World::new("CREATE TABLE orders (id INTEGER PRIMARY KEY, version REAL);", &[stream]).await;
    world.there.execute_batch("INSERT INTO orders VALUES (1, 1.5), (2, 9e999)").unwrap();
    // SQLite as a target takes no infinity.
    let report = world.run(RunOptions::incremental()).await;
    assert_eq!((report.ledger().count(Outcome::Created), report.ledger().count(Outcome::Rejected)), (1, 1), "{report}");
    world.there.execute_batch("INSERT INTO orders VALUES (3, 2.5)").unwrap();
    let report = world.run(RunOptions::incremental()).await;
    assert_eq!(report.ledger().count(Outcome::Created), 1, "{report}");
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
async fn tables_that_are_not_there_or_have_no_key_are_not_discovered() {
    let world = World::new(ORDERS, &[orders()]).await;
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

/// A source of a fresh file that was made by this script.
async fn made_by(script: &str) -> (tempfile::TempDir, sync_sql::SqliteSource) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("made.db");
    rusqlite::Connection::open(&file).unwrap().execute_batch(script).unwrap();
    let source = sync_sql::SqliteSource::open(&file).await.unwrap();
    (folder, source)
}

fn kinds(stream: &sync_core::StreamSpec) -> Vec<String> {
    stream.schema().fields().iter().map(|field| field.kind().to_string()).collect()
}

#[tokio::test]
async fn the_common_declared_types_are_discovered() {
    let (_folder, source) = made_by(
        "CREATE TABLE orders (id BIGINT UNSIGNED PRIMARY KEY, n MEDIUMINT(9), day DATE, at DATETIME, seen TIMESTAMP,
             price DECIMAL(10,2), rate NUMERIC(6, 4), name VARCHAR(20))",
    )
    .await;
    let stream = source.discover("orders").await.unwrap();
    let expected = ["integer", "integer", "date", "timestamp", "timestamp", "decimal(10,2)", "decimal(6,4)", "text"];
    assert_eq!(kinds(&stream), expected);
}

#[tokio::test]
async fn all_columns_without_a_kind_are_told_at_once() {
    let (_folder, source) =
        made_by("CREATE TABLE orders (id INTEGER PRIMARY KEY, amount NUMERIC, place POINT, anything)").await;
    let error = source.discover("orders").await.unwrap_err().to_string();
    for column in ["\"amount\"", "\"place\"", "\"anything\"", "`decimal(name, 12, 2)`"] {
        assert!(error.contains(column), "{column}: {error}");
    }
}

#[tokio::test]
async fn decimals_that_outgrew_their_declared_digits_are_discovered_with_those_they_have() {
    let (_folder, source) = made_by(
        "CREATE TABLE goods (id INTEGER PRIMARY KEY, price DECIMAL_TEXT(2,1), old DECIMAL_TEXT(4,2));
         INSERT INTO goods VALUES (1, '-1000.25', NULL), (2, '9.0', '1.00')",
    )
    .await;
    assert_eq!(kinds(&source.discover("goods").await.unwrap()), ["integer", "decimal(6,2)", "decimal(4,2)"]);
}
