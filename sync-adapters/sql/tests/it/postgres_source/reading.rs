//! Pages of a PostgreSQL table: nothing is lost at their edges, whatever the rows are.

use std::time::Duration;

use futures::StreamExt;
use sync_core::model::{Field, Kind, Outcome, RowScope};
use sync_core::{ReadRequest, RunOptions, Source, StreamSpec};

use super::{BY_NUMBER, World, by_number};

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_found_by_the_index() {
    let world = World::new(BY_NUMBER, &[by_number()]).await;
    world.sql("CREATE INDEX ON orders (version, id); ALTER TABLE orders ALTER version SET NOT NULL; INSERT INTO orders SELECT i, i / 3, 'note' FROM generate_series(1, 20000) i; ANALYZE orders").await;
    let told = async || {
        let told = world
            .sql("SELECT seq_scan, idx_scan, idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'orders'")
            .await;
        told.split('\t').map(|number| number.parse().unwrap()).collect::<Vec<i64>>()
    };
    let before = told().await;
    let source = world.source.clone().page(500);
    let feed = source.feeds().await.unwrap().remove(0);
    let batches: Vec<_> = source.read(ReadRequest::new(feed, Default::default())).collect().await;
    assert_eq!(batches.into_iter().map(|batch| batch.unwrap().records()).sum::<usize>(), 20_000);
    let mut after = before.clone();
    for _ in 0..200 {
        // A session tells what it did some time later, when it is asked for something else.
        source.tables().await.unwrap();
        after = told().await;
        if after[1] >= 40 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(after[0], before[0], "no page looks at the whole table: {after:?}");
    assert!((40..50).contains(&after[1]), "the index answers for each page: {after:?}");
    assert!(after[2] < 21_000, "each row is looked at once: {after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_not_as_declared_is_rejected_alone() {
    let create = "CREATE TABLE orders (id int PRIMARY KEY, at timestamptz NOT NULL, total numeric);
        INSERT INTO orders VALUES (1, 'infinity', 1), (2, '2026-01-01Z', 'NaN'), (3, '2026-01-01Z', 12.5), (4, '0044-03-15 BC', 2)";
    let stream = StreamSpec::new("orders").key(["id"]).version("at").decimal("total", 9, 2);
    let world = World::new(create, &[stream]).await;
    let report = world.run(RunOptions::incremental()).await;
    assert_eq!(report.ledger().count(Outcome::Rejected), 3, "SQLite holds no time before the year 0: {report}");
    assert_eq!(world.rows("id, total"), ["3,12.50"]);
    world.sql("INSERT INTO orders VALUES (5, '2026-01-02Z', 7)").await;
    world.run(RunOptions::incremental()).await;
    assert_eq!(world.rows("id"), ["3", "5"], "what is no time does not hide later changes");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_in_the_order_of_a_language_lose_no_row_at_page_edges() {
    let create = "CREATE TABLE orders (code text COLLATE \"und-x-icu\" PRIMARY KEY, n int);
        INSERT INTO orders SELECT code, row_number() OVER () FROM unnest(ARRAY['a', 'A', 'á', 'b', 'B', 'ß', 'ss', 'Z', 'z', '-a', 'a-', '', ' ', '🍣', 'ñ', 'n']) code";
    let mut world = World::new(create, &[StreamSpec::new("orders").key(["code"]).text("code").int("n")]).await;
    world.source = world.source.page(1);
    let report = world.run(RunOptions::incremental()).await;
    assert_eq!((report.ledger().fetched, world.rows("code").len()), (16, 16), "{report}");
    assert_eq!(world.run(RunOptions::reconcile()).await.ledger().count(Outcome::Deleted), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_every_type_tell_where_the_next_page_begins() {
    let keys = [
        ("uuid", Kind::Text, "gen_random_uuid()"),
        ("bytea", Kind::Bytes, "decode(lpad(to_hex(i * 40), 4, '0'), 'hex')"),
        ("numeric", Kind::Decimal { precision: 38, scale: 20 }, "i / 3::numeric"),
        ("numeric(9,2)", Kind::Text, "-i / 7.0"),
        ("real", Kind::Float, "i / 3.0::real"),
        ("double precision", Kind::Float, "CASE i WHEN 1 THEN '-Infinity' WHEN 2 THEN '5e-324' ELSE 0.1 * i END"),
        ("timestamptz", Kind::Timestamp, "'1890-01-01Z'::timestamptz + i * interval '1 microsecond'"),
        ("timestamp", Kind::Timestamp, "'2026-10-25 02:59:59'::timestamp + i * interval '1 s'"),
        ("date", Kind::Date, "'0001-01-03 BC'::date + i"),
        ("time", Kind::Text, "'23:00'::time + i * interval '1 s'"),
        ("interval", Kind::Text, "i * interval '-1 month 1 second'"),
        ("varchar(5)", Kind::Text, "repeat('ä', i)"),
        ("char(5)", Kind::Text, "repeat('x', i)"),
        ("name", Kind::Text, "'n' || i"),
        ("\"char\"", Kind::Text, "chr(64 + i)::\"char\""),
        ("mood", Kind::Text, "(ARRAY['sad', 'ok', 'happy', 'a''b', 'Z'])[i]::mood"),
        ("int[]", Kind::Text, "ARRAY[i, NULL, 3]"),
        ("inet", Kind::Text, "'10.0.0.0'::inet + i"),
        ("bit varying", Kind::Text, "i::bit(4)::bit varying"),
        ("smallint", Kind::Int, "-i"),
        ("xid8", Kind::UInt, "(i || '8446744073709551')::xid8"),
        ("price", Kind::Decimal { precision: 9, scale: 2 }, "i * 1.01"),
        ("jsonb", Kind::Json, "jsonb_build_object('a', i)"),
    ];
    let world = World::new(
        "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy', 'a''b', 'Z'); CREATE DOMAIN price AS numeric(9,2)",
        &[],
    )
    .await;
    for (number, (declared, kind, value)) in keys.into_iter().enumerate() {
        let table = format!("keys{number}");
        world.sql(&format!("CREATE TABLE {table} (k {declared} PRIMARY KEY); INSERT INTO {table} SELECT {value} FROM generate_series(1, 5) i")).await;
        let stream = StreamSpec::new(table.as_str()).field(Field::new("k", kind)).key(["k"]);
        let source = world.source.clone().page(1).table(stream);
        source.check().await.unwrap();
        let feed = source.feeds().await.unwrap().remove(0);
        let batches: Vec<_> = source.read(ReadRequest::new(feed, Default::default())).collect().await;
        let read: Vec<(usize, usize)> = batches
            .into_iter()
            .map(Result::unwrap)
            .map(|batch| (batch.runs[0].changes.len(), batch.rejects.len()))
            .collect();
        let all = read.iter().fold((0, 0), |sum, page| (sum.0 + page.0, sum.1 + page.1));
        assert_eq!(all, (5, 0), "{declared}: {read:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_read_and_what_is_gone_is_found_by_a_reconcile() {
    let create = "CREATE TABLE orders (id int PRIMARY KEY, made timestamp, code uuid DEFAULT gen_random_uuid());
        INSERT INTO orders SELECT i, '2026-01-01'::timestamp + i * interval '6 hours' FROM generate_series(0, 19) i";
    let world = World::new(create, &[StreamSpec::new("orders").key(["id"]).timestamp("made").text("code")]).await;
    let time = |text: &str| Some(text.parse::<chrono::DateTime<chrono::Utc>>().unwrap().into());
    let day = RowScope::Range {
        column: "made".into(),
        from: time("2026-01-02T00:00:00Z"),
        until: time("2026-01-03T00:00:00Z"),
    };
    world.run(RunOptions::backfill("day", day)).await;
    assert_eq!(world.rows("id"), ["4", "5", "6", "7"]);
    let all = RowScope::Range {
        column: "made".into(),
        from: Some(chrono::DateTime::<chrono::Utc>::MIN_UTC.into()),
        until: Some(chrono::DateTime::<chrono::Utc>::MAX_UTC.into()),
    };
    world.run(RunOptions::backfill("all", all)).await;
    assert_eq!(world.rows("id").len(), 20);
    world.sql("DELETE FROM orders WHERE id = 3").await;
    assert_eq!(world.run(RunOptions::reconcile()).await.ledger().count(Outcome::Deleted), 1);
    let uuids = RowScope::Range { column: "code".into(), from: Some("8".into()), until: None };
    let report = world.run(RunOptions::backfill("half", uuids)).await;
    let half = world.sql("SELECT count(*) FROM orders WHERE code::text >= '8'").await;
    assert_eq!(report.ledger().fetched.to_string(), half, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_of_far_years_ends_where_it_says() {
    let create = "CREATE TABLE orders (id int PRIMARY KEY, at timestamptz, day date);
        INSERT INTO orders VALUES (1, '2026-01-01Z', '2026-01-01'), (2, '0044-03-15 12:00Z BC', '0044-03-15 BC'), (3, '12026-01-01Z', '12026-01-01'),
            (4, '15000-01-01Z', '15000-01-01'), (5, '4000-01-01Z BC', '4000-01-01 BC')";
    let world = World::new(create, &[StreamSpec::new("orders").key(["id"]).timestamp("at").date("day")]).await;
    let day = |year| chrono::NaiveDate::from_ymd_opt(year, 1, 1).unwrap();
    for (from, until, rows) in
        [(-100, 12_500, 3), (-3000, 1, 1), (12_000, 14_000, 1), (-200_000, -3000, 1), (14_000, 200_000, 1)]
    {
        let at = |year| sync_core::Value::from(day(year).and_hms_opt(0, 0, 0).unwrap().and_utc());
        let of =
            |column: &str, from, until| RowScope::Range { column: column.into(), from: Some(from), until: Some(until) };
        for scope in [of("at", at(from), at(until)), of("day", day(from).into(), day(until).into())] {
            let report = world.attempt(RunOptions::backfill("far", scope.clone())).await;
            assert_eq!(report.ledger().fetched, rows, "{scope:?}: {report}");
        }
    }
}
