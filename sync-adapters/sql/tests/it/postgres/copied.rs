//! Large pages, which are copied: every kind of value arrives, and a row that is refused is found.

use sync_core::Scope;
use sync_core::detect::Difference;
use sync_core::model::{Changes, Rows};
use sync_core::sink::{Guard, Intent, Step, Write, WriteMode, WriteUnit};

use super::*;

const ROWS: i64 = 2000;

/// So long that two thousand rows are worth a `COPY`.
fn long(id: i64) -> String {
    format!("{id} é {}", "x".repeat(200))
}

/// What the statements that write rows begin with, once there is a table.
async fn watch(world: &World, table: &str) {
    world.run(RunOptions::incremental()).await;
    world.ask(&format!("CREATE TABLE log (said text); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (left(current_query(), 6)); RETURN NULL; END $$; CREATE TRIGGER log AFTER INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION note()")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_every_kind_are_copied_as_they_were_sent() {
    let stream = StreamSpec::new("every")
        .key(["id"])
        .text("note")
        .bool("yes")
        .uint("big")
        .float("float")
        .decimal("price", 20, 4)
        .bytes("bytes")
        .timestamp("at")
        .date("day")
        .json("json");
    let source = MemorySource::of([stream]).page(ROWS as usize);
    let world = World::new(source).await;
    watch(&world, "every").await;
    for id in 1..=ROWS {
        let n = id - 1000;
        let price = if n == 0 { Value::Null } else { Value::Decimal(Decimal::new(n * 123_456_789, 4)) };
        world.source.upsert(
            "every",
            [
                Value::Int(id),
                long(id).as_str().into(),
                Value::Bool(n > 0),
                Value::UInt(u64::MAX - id as u64),
                Value::Float(n as f64 / 8.0),
                price,
                Value::Bytes([0, (id % 256) as u8].into()),
                Value::Timestamp(Timestamp::from_micros(n * 86_400_000_000_000 + 1)),
                Value::Date(chrono::NaiveDate::default() + chrono::TimeDelta::days(n * 100)),
                Value::Json(format!("{{\"b\": {n}, \"a\":[]}}").as_str().into()),
            ],
        );
    }
    let first = world.run(RunOptions::incremental()).await;
    assert_eq!(count(&first, Outcome::Created), ROWS as u64, "{first}");
    assert_eq!(world.ask("SELECT DISTINCT said FROM log").await, "COPY \"");
    let as_sent =
        "SELECT count(*) FROM (SELECT *, id - 1000 AS n FROM every) e WHERE note = id || ' é ' || repeat('x', 200)
        AND yes = (n > 0) AND big = 18446744073709551615 - id AND float = n / 8.0::float8
        AND price IS NOT DISTINCT FROM CASE WHEN n <> 0 THEN n * 12345.6789 END
        AND bytes = '\\x00'::bytea || set_byte('\\x00'::bytea, 0, (id % 256)::int)
        AND at = timestamptz '1970-01-01 00:00:00.000001+00' + make_interval(secs => n * 86400000)
        AND day = date '1970-01-01' + (n * 100)::int AND json::text = format('{\"b\": %s, \"a\":[]}', n)";
    assert_eq!(world.ask(as_sent).await, ROWS.to_string());
    let again = world.run(RunOptions::full()).await;
    assert_eq!(count(&again, Outcome::Unchanged), ROWS as u64, "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_copied_is_found_among_the_others() {
    // In the only page, and in one of several that are copied together.
    for (page, refused) in [(ROWS as usize, 17), (300, 1017)] {
        let world = World::new(MemorySource::of([orders()]).page(page)).await;
        watch(&world, "orders").await;
        world.ask(&format!("ALTER TABLE orders ADD CHECK (version <> {refused})")).await;
        (1..=ROWS).for_each(|id| world.source.upsert("orders", row(id, id, &long(id))));
        let report = world.run(RunOptions::incremental()).await;
        let counted = (count(&report, Outcome::Created), count(&report, Outcome::Rejected));
        assert_eq!(counted, (ROWS as u64 - 1, 1), "{report}");
        let standing = format!("SELECT count(*), count(*) FILTER (WHERE id = {refused}) FROM orders");
        assert_eq!(world.ask(&standing).await, "1999\t0");
        assert_eq!(world.ask("SELECT count(*) > 0 FROM log WHERE said = 'COPY \"'").await, "t");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_no_column_holds_is_found_when_many_rows_before_it_were_sent() {
    let stream = StreamSpec::new("orders").key(["id"]).text("note").timestamp("at");
    let world = World::new(MemorySource::of([stream]).page(ROWS as usize)).await;
    watch(&world, "orders").await;
    for id in 1..=ROWS {
        let at = Timestamp::from_micros(if id == ROWS - 17 { i64::MAX } else { id });
        world.source.upsert("orders", [Value::Int(id), long(id).as_str().into(), Value::Timestamp(at)]);
    }
    let report = world.run(RunOptions::incremental()).await;
    let counted = (count(&report, Outcome::Created), count(&report, Outcome::Rejected));
    assert_eq!(counted, (ROWS as u64 - 1, 1), "{report}");
    assert_eq!(world.ask("SELECT count(*), max(id) FROM orders WHERE id <> 1983").await, "1999\t2000");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_there_already_are_found_among_many_that_are_new() {
    let world = World::new(MemorySource::of([orders()]).page(500)).await;
    world.run(RunOptions::incremental()).await;
    world.ask("INSERT INTO orders VALUES (2500, 1, 'theirs')").await;
    world.ask(&format!("INSERT INTO orders VALUES (3000, 3000, '{}')", long(3000))).await;
    (1..=3 * ROWS).for_each(|id| world.source.upsert("orders", row(id, id, &long(id))));
    let report = world.run(RunOptions::incremental()).await;
    let counted = [Outcome::Created, Outcome::Updated, Outcome::Unchanged].map(|outcome| count(&report, outcome));
    assert_eq!(counted, [3 * ROWS as u64 - 2, 1, 1], "{report}");
    world.assert_in_step().await;
}

/// A page of a unit.
fn page(stream: &Arc<StreamSpec>, ids: std::ops::RangeInclusive<i64>, version: i64, note: &str) -> Step {
    let mut rows = Rows::new(Arc::clone(stream.schema()));
    ids.for_each(|id| rows.push(row(id, version, note).iter().map(Value::as_ref)).unwrap());
    Step::Write(Write {
        stream: Arc::clone(stream),
        changes: Changes::upserts(rows),
        mode: WriteMode::Upsert,
        guard: Guard::Always,
        difference: Difference::Content,
        expect: Vec::new(),
    })
}

/// How many rows of a unit are created, and how many updated.
async fn written(sink: &Postgres, steps: &[Step]) -> (u64, u64) {
    let scope =
        Scope { pipeline: "p".into(), feed: "f".into(), partition: Default::default(), lane: Default::default() };
    let unit = WriteUnit { scope: &scope, steps, advance: None, intent: Intent::Commit };
    let tally = sink.apply(&unit).await.unwrap().tally();
    (tally.count(Outcome::Created), tally.count(Outcome::Updated))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_of_which_no_piece_holds_all_comes_in_whole_or_not_at_all() {
    let database = sync_test_servers::postgres().await.unwrap();
    let (sink, stream) = (Postgres::connect(&database.url()).await.unwrap(), Arc::new(orders()));
    sink.prepare(&stream).await.unwrap();
    database.client("CREATE TABLE log (n int); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (1); RETURN NULL; END $$; CREATE TRIGGER log AFTER INSERT ON orders FOR EACH STATEMENT EXECUTE FUNCTION note()").await.unwrap();
    // After the first page six of two megabytes each: one statement takes them, piece by piece.
    let note = "x".repeat(20_000);
    let pages = |from: i64| (0..7).map(move |place| from + place * 100..=from + place * 100 + 99);
    let unit: Vec<Step> = pages(1).map(|ids| page(&stream, ids, 1, &note)).collect();
    assert_eq!(written(&sink, &unit).await, (700, 0));
    assert_eq!(database.client("SELECT count(*) FROM log").await.unwrap().trim(), "2");
    database.client("INSERT INTO orders VALUES (1400, 1, 'theirs')").await.unwrap();
    let unit: Vec<Step> = pages(701).map(|ids| page(&stream, ids, 1, &note)).collect();
    assert_eq!(written(&sink, &unit).await, (699, 1));
    let standing = "SELECT count(*), count(DISTINCT note) FROM orders";
    assert_eq!(database.client(standing).await.unwrap().trim(), "1400\t1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_stands_in_two_pages_of_a_unit_ends_as_it_stood_last() {
    let database = sync_test_servers::postgres().await.unwrap();
    let (sink, stream) = (Postgres::connect(&database.url()).await.unwrap(), Arc::new(orders()));
    sink.prepare(&stream).await.unwrap();
    let page = |ids, version| page(&stream, ids, version, &long(1));
    let unit = [page(1..=300, 1), page(301..=600, 1), page(600..=900, 2), page(901..=1200, 1)];
    assert_eq!(written(&sink, &unit).await, (1200, 1));
    let standing = "SELECT count(*), string_agg(id::text, ' ') FILTER (WHERE version = 2 AND id <= 600) FROM orders";
    assert_eq!(database.client(standing).await.unwrap().trim(), "1200\t600");
}

/// While rows are copied nobody reads, and no setting keeps a server from saying what `RAISE INFO` says: both would wait.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_table_whose_trigger_says_too_much_come_in_as_arrays() {
    let world = World::new(MemorySource::of([orders()]).page(ROWS as usize)).await;
    watch(&world, "orders").await;
    world.ask("CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE INFO '%', repeat('x', 100000); RETURN NEW; END $$; CREATE TRIGGER tell BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION tell()").await;
    let note = "x".repeat(20_000);
    (1..=ROWS).for_each(|id| world.source.upsert("orders", row(id, id, &note)));
    let report = tokio::time::timeout(std::time::Duration::from_secs(90), world.run(RunOptions::incremental())).await;
    let report = report.expect("a run that ends");
    assert_eq!(count(&report, Outcome::Created), ROWS as u64, "{report}");
    assert_eq!(world.ask("SELECT count(*) FROM log WHERE said = 'COPY \"'").await, "0");
    world.assert_in_step().await;
}
