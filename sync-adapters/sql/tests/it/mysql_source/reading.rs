//! Pages of a MariaDB table: nothing is lost at their edges, whatever the rows are.

use futures::StreamExt;
use sync_core::model::{Field, Kind, Outcome};
use sync_core::{ReadRequest, RunOptions, Source, StreamSpec};
use sync_sql::MySqlSource;
use sync_test_servers::{Durability, MariaDbServer};

use super::World;
use crate::followed::{BY_NUMBER, OnMariaDb, Tables, by_number};

/// How many rows the server has looked at, whatever the way.
async fn looked_at(database: &sync_test_servers::Database) -> i64 {
    let told = "SELECT CAST(sum(variable_value) AS SIGNED) FROM information_schema.global_status WHERE variable_name LIKE 'HANDLER_READ%'";
    database.client(told).await.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_found_by_the_index() {
    for index in ["version", "version, id"] {
        // A server of its own: its counters count nothing else.
        let server = MariaDbServer::start(Durability::ProcessOnly).await.unwrap();
        let world = World::on(OnMariaDb(server.database().await.unwrap()), BY_NUMBER, &[by_number()]).await;
        world.sql(&format!("CREATE INDEX by_version ON orders ({index}); ALTER TABLE orders MODIFY version bigint NOT NULL; INSERT INTO orders SELECT seq, seq DIV 3000, 'note' FROM seq_1_to_20000; ANALYZE TABLE orders")).await;
        let source = world.source.clone().page(500);
        source.check().await.unwrap();
        let before = looked_at(&world.there.0).await;
        let feed = source.feeds().await.unwrap().remove(0);
        let batches: Vec<_> = source.read(ReadRequest::new(feed, Default::default())).collect().await;
        assert_eq!(batches.into_iter().map(|batch| batch.unwrap().records()).sum::<usize>(), 20_000);
        let after = looked_at(&world.there.0).await;
        let read = after - before;
        assert!((20_000..22_000).contains(&read), "each row is looked at once, by index ({index}): {read}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_with_a_zero_date_is_rejected_alone() {
    let create = "SET sql_mode = 'ALLOW_INVALID_DATES'; CREATE TABLE orders (id int PRIMARY KEY, at datetime NOT NULL, day date, stamped timestamp NULL);
        INSERT INTO orders VALUES (1, 0, NULL, NULL), (2, '2026-01-01', '0000-00-00', NULL), (3, '2026-01-01', '2026-00-15', NULL),
            (4, '2026-01-01', '2026-02-31', NULL), (5, '2026-01-01', NULL, '0000-00-00 00:00:00'), (6, '2026-01-01', '2026-01-15', '2026-01-01')";
    let stream = StreamSpec::new("orders").key(["id"]).version("at").date("day").timestamp("stamped");
    let mut world = World::new(create, &[stream]).await;
    world.source = world.source.page(1);
    let report = world.run(RunOptions::incremental()).await;
    assert_eq!(report.ledger().count(Outcome::Rejected), 5, "{report}");
    assert_eq!(world.rows("id, day, stamped"), ["6,2026-01-15,2026-01-01T00:00:00.000000Z"]);
    world.sql("INSERT INTO orders VALUES (7, '2026-01-02', NULL, NULL)").await;
    world.run(RunOptions::incremental()).await;
    assert_eq!(world.rows("id"), ["6", "7"], "what is no time does not hide later changes");
    let texts = StreamSpec::new("orders").key(["id"]).text("at").text("day");
    world.declare(texts).await;
    world.here.execute_batch("DROP TABLE orders").unwrap();
    world.run(RunOptions::full()).await;
    assert_eq!(world.rows("at")[0], "0000-00-00 00:00:00", "as text, all of them are read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_not_as_declared_is_rejected_alone() {
    let create = "CREATE TABLE orders (id int PRIMARY KEY, paid tinyint(1), note varbinary(9));
        INSERT INTO orders VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 0, 0xFF)";
    let world = World::new(create, &[StreamSpec::new("orders").key(["id"]).bool("paid").text("note")]).await;
    let report = world.run(RunOptions::incremental()).await;
    assert_eq!(report.ledger().count(Outcome::Rejected), 2, "{report}");
    assert_eq!(world.rows("id"), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_in_the_order_of_a_language_lose_no_row_at_page_edges() {
    let codes = "('a'), ('B'), ('c'), ('é '), ('ß'), ('Z'), ('-d'), ('d-'), (''), ('🍣'), ('ñ'), ('o'), ('AE')";
    for (declared, key) in [
        // The index tells them apart as it orders them.
        ("varchar(20) COLLATE utf8mb4_unicode_ci", "PRIMARY KEY (code)"),
        ("varchar(20) COLLATE utf8mb4_bin", "PRIMARY KEY (code)"),
        ("varchar(20) COLLATE utf8mb4_unicode_520_nopad_ci", "UNIQUE (code)"),
        // Here nothing keeps two keys apart that the collation takes for one.
        ("varchar(20) COLLATE utf8mb4_general_ci", "UNIQUE (bytes)"),
    ] {
        let create = format!(
            "CREATE TABLE orders (code {declared} NOT NULL, bytes varbinary(99) AS (code) STORED, {key}); INSERT INTO orders (code) VALUES {codes}"
        );
        let mut world = World::new(&create, &[StreamSpec::new("orders").key(["code"]).text("code")]).await;
        let mut there = 13;
        if key.contains("bytes") {
            world.sql("INSERT INTO orders (code) VALUES ('A'), ('b'), ('ae'), ('z'), ('Á ')").await;
            there = 18;
        }
        world.source = world.source.page(1);
        let report = world.run(RunOptions::incremental()).await;
        assert_eq!(
            (report.ledger().fetched, world.rows("code").len()),
            (there, there as usize),
            "{declared}: {report}"
        );
        assert_eq!(world.run(RunOptions::reconcile()).await.ledger().count(Outcome::Deleted), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_are_texts_are_in_the_order_of_their_bytes() {
    let create =
        "CREATE TABLE orders (id int PRIMARY KEY, rev varchar(20) COLLATE utf8mb4_general_ci NOT NULL, KEY (rev));
        INSERT INTO orders VALUES (1, 'B'), (2, 'C')";
    let world = World::new(create, &[StreamSpec::new("orders").key(["id"]).text("rev").version("rev")]).await;
    world.run(RunOptions::incremental()).await;
    world.sql("INSERT INTO orders VALUES (3, 'a')").await;
    world.run(RunOptions::incremental()).await;
    assert_eq!(world.rows("id"), ["1", "2", "3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_every_type_tell_where_the_next_page_begins() {
    let keys = [
        ("bigint", Kind::Int, "CAST(seq AS SIGNED) - 9223372036854775807 - 1"),
        ("bigint unsigned", Kind::UInt, "18446744073709551610 + seq"),
        ("int(5) zerofill", Kind::Int, "seq"),
        ("bit(9)", Kind::UInt, "seq * 50"),
        ("bit(1)", Kind::Bool, "seq % 2"),
        ("year", Kind::Int, "2000 + seq"),
        ("decimal(38,20)", Kind::Decimal { precision: 38, scale: 20 }, "seq / 3"),
        ("decimal(65,30)", Kind::Text, "-CAST(seq AS SIGNED) / 7"),
        ("float", Kind::Float, "seq / 3"),
        ("float", Kind::Text, "seq / 3"),
        ("double", Kind::Float, "0.1 * seq - 0.3"),
        ("timestamp(6)", Kind::Timestamp, "'1970-01-02' + INTERVAL seq MICROSECOND"),
        ("datetime(3)", Kind::Timestamp, "'1890-01-01' + INTERVAL seq * 1000 MICROSECOND"),
        ("datetime", Kind::Timestamp, "'0001-01-01' + INTERVAL seq SECOND"),
        ("date", Kind::Date, "'9999-12-01' + INTERVAL seq DAY"),
        ("date", Kind::Text, "concat('2026-00-0', seq)"),
        ("time(2)", Kind::Text, "sec_to_time(-1000 * CAST(seq AS SIGNED) - 0.25)"),
        ("char(5)", Kind::Text, "repeat('ä', seq)"),
        ("varchar(5) CHARACTER SET latin1", Kind::Text, "repeat('€', seq)"),
        ("varchar(5) CHARACTER SET sjis", Kind::Text, "repeat('ソ', seq)"),
        ("varchar(5) CHARACTER SET utf16", Kind::Text, "repeat('🍣', seq)"),
        ("varchar(700)", Kind::Text, "concat(repeat('x', 699), seq)"),
        ("enum('z', 'y', 'x', 'a', 'b', 'c')", Kind::Text, "seq + 1"),
        ("set('z', 'y', 'a')", Kind::Text, "seq"),
        ("binary(4)", Kind::Bytes, "unhex(lpad(hex(seq * 60), 4, '0'))"),
        ("varbinary(4)", Kind::Bytes, "unhex(lpad(hex(seq * 60), 4, '0'))"),
        ("uuid", Kind::Text, "concat('a0eebc9', seq, '-9c0b-4ef8-bb6d-6bb9bd380a', 20 - seq)"),
        ("inet6", Kind::Text, "concat('::', seq)"),
        ("inet4", Kind::Text, "concat('10.0.0.', seq + 8)"),
    ];
    let world = World::new("SELECT 1", &[]).await;
    for (number, (declared, kind, value)) in keys.into_iter().enumerate() {
        let table = format!("keys{number}");
        let rows = if declared == "bit(1)" { 2 } else { 5 };
        world.sql(&format!("SET sql_mode = ''; SET time_zone = '+00:00'; CREATE TABLE {table} (k {declared} PRIMARY KEY); INSERT INTO {table} SELECT {value} FROM seq_1_to_{rows}")).await;
        let stream = StreamSpec::new(table.as_str()).field(Field::new("k", kind)).key(["k"]);
        let source = Tables::table(world.source.clone().page(1), stream);
        source.check().await.unwrap();
        let feed = source.feeds().await.unwrap().remove(0);
        let batches: Vec<_> = source.read(ReadRequest::new(feed, Default::default())).collect().await;
        let read: Vec<(usize, usize)> = batches
            .into_iter()
            .map(Result::unwrap)
            .map(|batch| (batch.runs[0].changes.len(), batch.rejects.len()))
            .collect();
        let all = read.iter().fold((0, 0), |sum, page| (sum.0 + page.0, sum.1 + page.1));
        assert_eq!(all, (rows, 0), "{declared}: {read:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_of_every_type_is_followed() {
    for (declared, kind, versions) in [
        ("datetime(6)", Kind::Timestamp, ["'2026-01-01 10:00:00.000001'", "'2026-01-01 10:00:00.000002'"]),
        ("timestamp", Kind::Timestamp, ["'2026-01-01 10:00:00'", "'2026-01-01 10:00:01'"]),
        ("date", Kind::Timestamp, ["'2026-01-01'", "'2026-01-02'"]),
        ("date", Kind::Date, ["'2026-01-01'", "'2026-01-02'"]),
        ("bigint unsigned", Kind::UInt, ["18446744073709551614", "18446744073709551615"]),
        ("decimal(30,10)", Kind::Decimal { precision: 30, scale: 10 }, ["9.5", "10.25"]),
        ("float", Kind::Float, ["0.1", "0.2"]),
        ("binary(8)", Kind::Bytes, ["'b'", "'c'"]),
    ] {
        let create = format!(
            "CREATE TABLE orders (id int PRIMARY KEY, v {declared} NOT NULL); INSERT INTO orders VALUES (3, {}), (4, {0})",
            versions[0]
        );
        let stream = StreamSpec::new("orders").key(["id"]).field(Field::new("v", kind)).version("v");
        let mut world = World::new(&create, &[stream]).await;
        world.source = world.source.page(1).inclusive();
        world.run(RunOptions::incremental()).await;
        world.sql(&format!("INSERT INTO orders VALUES (1, {}), (2, {})", versions[1], versions[0])).await;
        let second = world.run(RunOptions::incremental()).await;
        assert_eq!((second.ledger().fetched, world.rows("id").len()), (4, 4), "{declared}: {second}");
        assert_eq!(world.run(RunOptions::incremental()).await.ledger().fetched, 1, "{declared}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_of_a_column_whose_type_has_changed_hides_nothing() {
    let create =
        "CREATE TABLE orders (id int PRIMARY KEY, at varchar(30) NOT NULL); INSERT INTO orders VALUES (1, 'soon')";
    let mut world = World::new(create, &[StreamSpec::new("orders").key(["id"]).text("at").version("at")]).await;
    world.run(RunOptions::incremental()).await;
    world.sql("UPDATE orders SET at = '2026-01-01'; ALTER TABLE orders MODIFY at datetime NOT NULL").await;
    world
        .here
        .execute_batch("DROP TABLE orders; CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, at TIMESTAMP_TEXT)")
        .unwrap();
    world.declare(StreamSpec::new("orders").key(["id"]).version("at")).await;
    world.run(RunOptions::incremental()).await;
    assert_eq!(world.rows("id"), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_bent_and_nothing_written_whatever_the_server_s_settings() {
    let server = MariaDbServer::start(Durability::ProcessOnly).await.unwrap();
    let there = server.database().await.unwrap();
    let settings =
        "SET GLOBAL sql_mode = 'PAD_CHAR_TO_FULL_LENGTH,NO_UNSIGNED_SUBTRACTION'; SET GLOBAL time_zone = '+05:00';
        SET GLOBAL sql_select_limit = 3; SET GLOBAL max_sort_length = 64; SET GLOBAL character_set_server = latin1";
    there.client(settings).await.unwrap();
    let create = "SET SESSION sql_select_limit = DEFAULT; CREATE TABLE orders (id int PRIMARY KEY, at timestamp NOT NULL, code char(60) CHARACTER SET utf8mb4, KEY (at));
        INSERT INTO orders SELECT seq, '2026-01-01 05:00:00', concat(repeat('ä', 50), seq) FROM seq_1_to_50";
    let stream = StreamSpec::new("orders").key(["id"]).version("at").text("code");
    let world = World::on(OnMariaDb(there), create, &[stream]).await;
    world.run(RunOptions::incremental()).await;
    assert_eq!(world.rows("id").len(), 50);
    assert_eq!(world.rows("at, code")[0], format!("2026-01-01T00:00:00.000000Z,{}1", "ä".repeat(50)));
    let by_code = StreamSpec::new("orders").key(["code"]).text("code").int("id");
    let source = MySqlSource::connect(&world.there.0.url()).await.unwrap().page(1).table(by_code);
    let feed = source.feeds().await.unwrap().remove(0);
    let batches: Vec<_> = source.read(ReadRequest::new(feed, Default::default())).collect().await;
    assert_eq!(batches.into_iter().map(|batch| batch.unwrap().records()).sum::<usize>(), 50, "sorted as a whole");
}
