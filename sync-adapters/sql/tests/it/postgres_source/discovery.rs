//! What there is to read in a PostgreSQL database, and what cannot be read.

use sync_core::{RunOptions, Source, StreamSpec};

use super::World;

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_cannot_be_read_as_declared_are_refused_with_what_to_do() {
    let create = "CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
        CREATE TABLE merging (name text COLLATE blind PRIMARY KEY);
        CREATE TABLE texts (id int PRIMARY KEY, rev text NOT NULL, raw text);
        CREATE SEQUENCE counter";
    let world = World::new(create, &[]).await;
    let refusal = async |stream: StreamSpec| world.source.clone().table(stream).check().await.unwrap_err().to_string();
    let merging = refusal(StreamSpec::new("merging").key(["name"]).text("name")).await;
    assert!(merging.contains("takes different keys for the same"), "{merging}");
    let unordered = refusal(StreamSpec::new("texts").key(["id"]).int("rev").version("rev")).await;
    assert!(unordered.contains("\"rev\"") && unordered.contains("order"), "{unordered}");
    let bytes = refusal(StreamSpec::new("texts").key(["id"]).bytes("raw")).await;
    assert!(bytes.contains("holds no bytes"), "{bytes}");
    let missing = refusal(StreamSpec::new("texts").key(["id"]).text("nope")).await;
    assert!(missing.contains("no column \"nope\""), "{missing}");
    let nowhere = refusal(StreamSpec::new("nowhere").key(["id"])).await;
    assert!(nowhere.contains("no such table"), "{nowhere}");
    let sequence = refusal(StreamSpec::new("counter").key(["last_value"])).await;
    assert!(sequence.contains("no table"), "{sequence}");
    assert!(refusal(StreamSpec::new("x".repeat(64)).key(["id"])).await.contains("63 bytes"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_discovered_with_their_kinds_their_keys_and_how_they_refer_to_each_other() {
    let create = "CREATE SCHEMA sales; CREATE TYPE state AS ENUM ('open', 'paid'); CREATE DOMAIN price AS numeric(12,2) NOT NULL;
        CREATE TABLE shops (country text, nr smallint, PRIMARY KEY (nr, country));
        CREATE TABLE sales.\"Odd \"\"Orders\" (b boolean, i integer NOT NULL, u xid8, f real, d price, n numeric, t varchar(9), x bytea,
            z timestamptz(3), z0 timestamp, y date, j jsonb, e state, g uuid, a int[], v interval, w inet, r int4range,
            twice integer GENERATED ALWAYS AS (i * 2) STORED, country text, nr smallint, PRIMARY KEY (i),
            FOREIGN KEY (nr, country) REFERENCES shops);
        INSERT INTO shops VALUES ('de', 1);
        INSERT INTO sales.\"Odd \"\"Orders\" VALUES (true, 1, '18446744073709551615', 0.1, 19.99, 123456789012345678901234567890.5, 'naïve 🦀 ''', '\\x00ff',
            '2026-03-01 10:20:30.123+02', '2026-03-01 10:20:30', '2026-03-01', '{\"a\": [1]}', 'paid', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{1,NULL}',
            '1 day 02:00', '10.0.0.1/8', '[1,5)', DEFAULT, 'de', 1);
        CREATE VIEW paid AS SELECT 1 AS id; CREATE TABLE loose (a text); CREATE TABLE money_of (id int PRIMARY KEY, m money)";
    let mut world = World::new(create, &[]).await;
    let name = "sales.Odd \"Orders";
    assert_eq!(world.source.tables().await.unwrap(), ["loose", "money_of", name, "shops"]);
    let keys = world.source.foreign_keys().await.unwrap();
    assert_eq!((keys.len(), keys[0].table.as_str(), keys[0].references.as_str()), (1, name, "shops"));
    assert_eq!(
        (&keys[0].columns[..], &keys[0].referenced[..]),
        (&["nr".to_owned(), "country".to_owned()][..], &["nr".to_owned(), "country".to_owned()][..])
    );
    let stream = world.source.discover(name).await.unwrap();
    let fields: Vec<String> = stream
        .schema()
        .fields()
        .iter()
        .map(|field| format!("{} {}{}", field.name(), field.kind(), if field.is_nullable() { "" } else { "!" }))
        .collect();
    assert_eq!(
        fields.join(", "),
        "b bool, i integer!, u unsigned integer, f float, d decimal(12,2), n text, t text, x bytes, z timestamp, z0 timestamp, y date, \
         j JSON, e text, g text, a text, v text, w text, r text, country text, nr integer"
    );
    assert_eq!(world.source.discover("shops").await.unwrap().key_columns(), ["nr", "country"]);
    world.source = world.source.table(stream);
    world.run(RunOptions::incremental()).await;
    let columns = ["b", "u", "f", "d", "n", "t", "hex(x)", "z", "z0", "y", "j", "e", "g", "a", "v", "w", "r"];
    let list = columns.map(|column| format!("CAST({column} AS TEXT)")).join(" || '|' || ");
    let found: String =
        world.here.query_row(&format!("SELECT {list} FROM \"sales.Odd \"\"Orders\""), [], |row| row.get(0)).unwrap();
    assert_eq!(
        found,
        "1|18446744073709551615|0.1|19.99|123456789012345678901234567890.5|naïve 🦀 '|00FF|2026-03-01T08:20:30.123000Z|\
         2026-03-01T10:20:30.000000Z|2026-03-01|{\"a\": [1]}|paid|a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11|{1,NULL}|1 day 02:00:00|\
         10.0.0.1/8|[1,5)"
    );
    let refusal = async |table: &str| world.source.discover(table).await.unwrap_err().to_string();
    assert!(refusal("loose").await.contains("primary key"));
    assert!(refusal("nowhere").await.contains("no such table"));
    let money = refusal("money_of").await;
    assert!(money.contains("\"m\"") && money.contains("money") && money.contains("as text"), "{money}");
}
