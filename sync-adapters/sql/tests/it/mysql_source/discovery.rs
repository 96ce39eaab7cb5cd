//! What there is to read in a MariaDB database, and what cannot be read.

use sync_core::model::Outcome;
use sync_core::{RunOptions, Source, StreamSpec};
use sync_sql::MySqlSource;

use super::World;

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_discovered_with_their_kinds_their_keys_and_how_they_refer_to_each_other() {
    let create = "CREATE TABLE shops (country varchar(2), nr smallint, PRIMARY KEY (nr, country)); INSERT INTO shops VALUES ('de', 1);
        CREATE TABLE `Odd \"Orders` (o tinyint(1), b1 bit(1), b9 bit(9), small tinyint unsigned, i int NOT NULL, z9 int(9) zerofill,
            u bigint unsigned, f float, dd double, d decimal(12,2) NOT NULL, long_d decimal(50,10), t varchar(9) CHARACTER SET latin1, tt text,
            x varbinary(9), bl blob, ts timestamp(3) NULL, dt datetime, y date, cl time(1), ye year, j json, e enum('open', 'paid'),
            s set('a', 'b'), g uuid, ip inet6, twice int AS (i * 2) STORED, country varchar(2), nr smallint, PRIMARY KEY (i),
            FOREIGN KEY (nr, country) REFERENCES shops (nr, country));
        SET time_zone = '+02:00';
        INSERT INTO `Odd \"Orders` (o, b1, b9, small, i, z9, u, f, dd, d, long_d, t, tt, x, bl, ts, dt, y, cl, ye, j, e, s, g, ip, country, nr) VALUES
            (1, b'1', b'101010101', 255, -1, 42, 18446744073709551615, 0.1, -2.2250738585072014e-308, 19.99,
             '1234567890123456789012345678901234567890.0123456789', 'naïve €', 'a\\'🦀 ', 0x00FF, 0x27, '2026-03-01 12:20:30.123', '2026-03-01 10:20:30', '9999-12-31',
             '-838:59:58.5', 2026, '{\"a\": [1]}', 'paid', 'a,b', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '::1', 'de', 1);
        CREATE VIEW paid AS SELECT 1 AS id; CREATE TABLE loose (a text); CREATE SEQUENCE counter; CREATE TABLE places (id int PRIMARY KEY, p point)";
    let mut world = World::new(create, &[]).await;
    let name = "Odd \"Orders";
    assert_eq!(world.source.tables().await.unwrap(), ["loose", name, "places", "shops"]);
    let keys = world.source.foreign_keys().await.unwrap();
    assert_eq!((keys.len(), keys[0].table.as_str(), keys[0].references.as_str()), (1, name, "shops"));
    assert_eq!((keys[0].columns.join(" "), keys[0].referenced.join(" ")), ("nr country".into(), "nr country".into()));
    let stream = world.source.discover(name).await.unwrap();
    let fields: Vec<String> = stream
        .schema()
        .fields()
        .iter()
        .map(|field| format!("{} {}{}", field.name(), field.kind(), if field.is_nullable() { "" } else { "!" }))
        .collect();
    assert_eq!(
        fields.join(", "),
        "o bool, b1 bool, b9 unsigned integer, small integer, i integer!, z9 integer, u unsigned integer, f float, dd float, \
         d decimal(12,2)!, long_d text, t text, tt text, x bytes, bl bytes, ts timestamp, dt timestamp, y date, cl text, ye integer, \
         j JSON, e text, s text, g text, ip text, country text, nr integer"
    );
    assert_eq!(stream.key_columns(), ["i"]);
    assert_eq!(world.source.discover("shops").await.unwrap().key_columns(), ["nr", "country"]);
    world.source = world.source.table(stream);
    world.run(RunOptions::incremental()).await;
    let columns = [
        "o", "b1", "b9", "small", "z9", "u", "f", "d", "long_d", "t", "tt", "hex(x)", "hex(bl)", "ts", "dt", "y", "cl",
        "ye", "j", "e", "s", "g", "ip",
    ];
    let list = columns.map(|column| format!("CAST({column} AS TEXT)")).join(" || '|' || ");
    let read = |sql: &str| world.here.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(
        read(&format!("SELECT {list} FROM \"Odd \"\"Orders\"")),
        "1|1|341|255|42|18446744073709551615|0.1|19.99|1234567890123456789012345678901234567890.0123456789|naïve €|a'🦀 |00FF|27|\
         2026-03-01T10:20:30.123000Z|2026-03-01T10:20:30.000000Z|9999-12-31|-838:59:58.5|2026|{\"a\": [1]}|paid|a,b|\
         a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11|::1"
    );
    let tiny: f64 = world.here.query_row("SELECT dd FROM \"Odd \"\"Orders\"", [], |row| row.get(0)).unwrap();
    assert_eq!(tiny, -2.2250738585072014e-308);
    let refusal = async |table: &str| world.source.discover(table).await.unwrap_err().to_string();
    assert!(refusal("loose").await.contains("primary key"));
    assert!(refusal("nowhere").await.contains("no such table"));
    let point = refusal("places").await;
    assert!(point.contains("\"p\"") && point.contains("point") && point.contains("without"), "{point}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_cannot_be_read_as_declared_are_refused_with_what_to_do() {
    let create = "CREATE TABLE texts (id int PRIMARY KEY, rev varchar(9) NOT NULL, state enum('b', 'a') NOT NULL, raw text, p point);
        CREATE SEQUENCE counter";
    let world = World::new(create, &[]).await;
    let refusal = async |stream: StreamSpec| world.source.clone().table(stream).check().await.unwrap_err().to_string();
    let texts = || StreamSpec::new("texts").key(["id"]);
    let unordered = refusal(texts().int("rev").version("rev")).await;
    assert!(unordered.contains("\"rev\"") && unordered.contains("order"), "{unordered}");
    let choice = refusal(texts().text("state").version("state")).await;
    assert!(choice.contains("\"state\"") && choice.contains("order"), "{choice}");
    let bytes = refusal(texts().bytes("raw")).await;
    assert!(bytes.contains("holds no bytes"), "{bytes}");
    let point = refusal(texts().bytes("p")).await;
    assert!(point.contains("cannot read"), "{point}");
    let missing = refusal(texts().text("nope")).await;
    assert!(missing.contains("no column \"nope\""), "{missing}");
    let sequence = refusal(StreamSpec::new("counter").key(["next_value"]).int("next_value")).await;
    assert!(sequence.contains("no table"), "{sequence}");
    assert!(refusal(StreamSpec::new("x".repeat(65)).key(["id"])).await.contains("64 characters"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_another_database_and_views_are_read_by_an_account_that_may_only_select() {
    let world = World::new("CREATE TABLE orders (id int PRIMARY KEY, note text)", &[]).await;
    let (there, other) = (world.there.0.name().to_owned(), format!("{}_other", world.there.0.name()));
    let create = format!(
        "CREATE DATABASE {other}; CREATE TABLE {other}.orders (id int PRIMARY KEY, note text); INSERT INTO {other}.orders VALUES (1, 'far');
         INSERT INTO orders VALUES (1, 'near'), (2, 'near'); CREATE VIEW near AS SELECT * FROM orders WHERE id > 1;
         CREATE USER {there} IDENTIFIED BY 'secret'; GRANT SELECT ON {other}.orders TO {there}; GRANT SELECT ON near TO {there}"
    );
    world.sql(&create).await;
    let (host, port) = (world.there.0.host(), world.there.0.port());
    let mut reader = World::new("SELECT 1", &[]).await;
    reader.source = MySqlSource::connect(&format!("mysql://{there}:secret@{host}:{port}/{there}")).await.unwrap();
    let far = reader.source.discover(format!("{other}.orders")).await.unwrap();
    let near = StreamSpec::new("near").key(["id"]).text("note");
    reader.source = reader.source.table(far).table(near);
    let report = reader.run(RunOptions::incremental()).await;
    assert_eq!(report.ledger().count(Outcome::Created), 2, "{report}");
    assert_eq!(reader.source.tables().await.unwrap(), Vec::<String>::new());
    let hidden = reader.source.discover("orders").await.unwrap_err().to_string();
    assert!(hidden.contains("may not read it"), "{hidden}");
    world.sql(&format!("DROP DATABASE {other}; DROP USER {there}")).await;
}
