//! PostgreSQL as a target, looked at through `psql`: exact values, exact counts, and no write where nothing changed.

mod copied;
mod copy_attacked;
mod cut;
mod joint;
mod limits_attacked;
mod odd_tables;
mod statements;
mod units_attacked;

use std::sync::Arc;

use proptest::prelude::*;
use sync_core::engine;
use sync_core::memory::{FirstLoad, MemorySource, MemoryStore};
use sync_core::model::{Decimal, Outcome, Timestamp};
use sync_core::source::Listing;
use sync_core::state::RunStatus;
use sync_core::{Engine, Key, Pipeline, Report, RunOptions, Sink, StreamSpec, SystemClock, Value};
use sync_sql::Postgres;
use sync_test_servers::{Database, Durability, PostgresServer};

fn orders() -> StreamSpec {
    StreamSpec::new("orders").key(["id"]).int("version").version("version").text("note")
}

fn row(id: i64, version: i64, note: &str) -> Vec<Value> {
    vec![id.into(), version.into(), note.into()]
}

struct World {
    source: MemorySource,
    database: Database,
    engine: Engine,
}

impl World {
    async fn on(database: Database, source: MemorySource) -> Self {
        Self::loading(database, source, engine::FirstLoad::Auto).await
    }

    async fn loading(database: Database, source: MemorySource, first_load: engine::FirstLoad) -> Self {
        let sink = Postgres::connect(&database.url()).await.unwrap();
        let pipeline = Pipeline::new("shop", source.clone(), sink).first_load(first_load);
        let store = MemoryStore::new(Arc::new(SystemClock::new()));
        Self { source, engine: Engine::builder(store).pipeline(pipeline).build().unwrap(), database }
    }

    async fn new(source: MemorySource) -> Self {
        Self::on(sync_test_servers::postgres().await.unwrap(), source).await
    }

    /// Another process with the same database, which knows nothing of it yet.
    async fn on_same(world: &Self) -> Engine {
        let sink = Postgres::connect(&world.database.url()).await.unwrap();
        let store = MemoryStore::new(Arc::new(SystemClock::new()));
        Engine::builder(store).pipeline(Pipeline::new("shop", world.source.clone(), sink)).build().unwrap()
    }

    async fn run(&self, options: RunOptions) -> Report {
        let report = self.engine.run_with("shop", options).await.unwrap();
        assert_eq!(report.status, RunStatus::Completed, "{report}");
        report
    }

    async fn ask(&self, sql: &str) -> String {
        self.database.client(sql).await.unwrap().trim().to_owned()
    }

    async fn assert_in_step(&self) {
        let found = self.ask("SELECT id, version, note FROM orders ORDER BY id").await;
        let expected: Vec<String> =
            self.source.rows("orders").iter().map(|(_, row)| format!("{}\t{}\t{}", row[0], row[1], row[2])).collect();
        assert_eq!(found, expected.join("\n"));
    }
}

fn count(report: &Report, outcome: Outcome) -> u64 {
    report.ledger().count(outcome)
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_what_changed_is_written() {
    let world = World::new(MemorySource::of([orders()]).page(100)).await;
    (1..=1000).for_each(|id| world.source.upsert("orders", row(id, 1, "first")));
    assert_eq!(count(&world.run(RunOptions::incremental()).await, Outcome::Created), 1000);
    world.assert_in_step().await;
    world.ask("CREATE TABLE log (id bigint); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (coalesce(NEW.id, OLD.id)); RETURN NULL; END $$; CREATE TRIGGER log AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION note()").await;
    world.source.upsert("orders", row(7, 2, "changed"));
    world.source.upsert("orders", row(1001, 2, "new"));
    world.source.delete("orders", &Key::new([9]));
    let second = world.run(RunOptions::full()).await;
    assert_eq!((count(&second, Outcome::Created), count(&second, Outcome::Updated)), (1, 1), "{second}");
    let reconciled = world.run(RunOptions::reconcile()).await;
    assert_eq!(count(&reconciled, Outcome::Deleted) + count(&second, Outcome::Deleted), 1, "{reconciled}");
    world.assert_in_step().await;
    assert_eq!(world.ask("SELECT id, count(*) FROM log GROUP BY id ORDER BY id").await, "7\t1\n9\t1\n1001\t1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scattered_first_load_is_written_as_it_comes() {
    let world = World::new(MemorySource::of([orders()]).page(100).first_load(FirstLoad::Scattered)).await;
    (1..=300).for_each(|id| world.source.upsert("orders", row(id, 1, "first")));
    world.ask("CREATE TABLE orders (id bigint PRIMARY KEY, version bigint, note text); CREATE TABLE log (row text); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (NEW.id || ' in ' || txid_current()); RETURN NULL; END $$; CREATE TRIGGER log AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION note()").await;
    assert_eq!(count(&world.run(RunOptions::incremental()).await, Outcome::Created), 300);
    world.assert_in_step().await;
    let order = world.ask("SELECT count(*) FROM (SELECT row, lag(row) OVER () AS before FROM log) AS rows WHERE split_part(row, ' ', 1)::bigint < split_part(before, ' ', 1)::bigint").await;
    assert_ne!(order, "0", "they were sorted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scattered_first_load_that_is_sorted_is_published_and_leaves_nothing_behind() {
    let source = MemorySource::of([orders()]).page(100).first_load(FirstLoad::Scattered).listing(Listing::Rows);
    let world = World::loading(sync_test_servers::postgres().await.unwrap(), source, engine::FirstLoad::Sorted).await;
    (1..=2000).for_each(|id| world.source.upsert("orders", row(id, 1, "first")));
    assert_eq!(count(&world.run(RunOptions::incremental()).await, Outcome::Created), 2000);
    world.assert_in_step().await;
    assert_eq!(world.ask("SELECT count(*) FROM pg_class WHERE relname LIKE '\\_sync\\_stage%'").await, "0");
    world.source.delete("orders", &Key::new([3]));
    assert_eq!(count(&world.run(RunOptions::reconcile()).await, Outcome::Deleted), 1);
    world.assert_in_step().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_gone_but_referred_to_are_no_fault_of_a_row_that_came() {
    let world = World::new(MemorySource::of([orders()]).page(100).listing(Listing::Rows)).await;
    (1..=3).for_each(|id| world.source.upsert("orders", row(id, 1, "first")));
    world.run(RunOptions::incremental()).await;
    world.ask("CREATE TABLE parts (id bigint REFERENCES orders (id)); INSERT INTO parts VALUES (2)").await;
    world.source.delete("orders", &Key::new([2]));
    let report = world.engine.run_with("shop", RunOptions::reconcile()).await.unwrap();
    let said = format!("{report}");
    assert!(said.contains("rows of parts refer to some of them: remove those first"), "{said}");
    assert_eq!(count(&report, Outcome::Rejected), 0, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_unchanged_write_no_log() {
    // The log is the whole server's: this one is nobody else's.
    let server = PostgresServer::start(Durability::ProcessOnly).await.unwrap();
    let world = World::on(server.database().await.unwrap(), MemorySource::of([orders()]).page(1000)).await;
    // Nobody else writes, and the rows stand still.
    world.ask("ALTER SYSTEM SET autovacuum = off").await;
    world.ask("ALTER SYSTEM SET bgwriter_lru_maxpages = 0").await;
    world.ask("SELECT pg_reload_conf()").await;
    (1..=100_000).for_each(|id| world.source.upsert("orders", row(id, 1, "as it was")));
    world.run(RunOptions::incremental()).await;
    world.ask("CREATE EXTENSION pg_walinspect").await;
    world.ask("VACUUM ANALYZE orders").await;
    world.ask("CHECKPOINT").await;
    let before = world.ask("SELECT pg_current_wal_insert_lsn()").await;
    let again = world.run(RunOptions::full()).await;
    assert_eq!(count(&again, Outcome::Unchanged), 100_000, "{again}");
    let after = world.ask("SELECT pg_current_wal_insert_lsn()").await;
    let written: u64 = world.ask(&format!("SELECT '{after}'::pg_lsn - '{before}'")).await.parse().unwrap();
    // What each record of the log is about: nothing is about the table or its key.
    let about = |table: &str| {
        format!(
            "SELECT count(*) FROM pg_get_wal_records_info('{before}', '{after}') WHERE block_ref ~ ('/' || pg_relation_filenode('{table}') || ' ')"
        )
    };
    for table in ["orders", "orders_pkey"] {
        assert_eq!(world.ask(&about(table)).await, "0", "records of the log about {table}");
    }
    let moves: u64 = world.ask(&about("_sync_checkpoint")).await.parse().unwrap();
    assert!((1..=60).contains(&moves), "{moves} records about the checkpoint");
    // Measured: 13,792 bytes with 25 records about the checkpoint, whose page comes once as a whole.
    assert!(written < 30_000, "{written} bytes of log for rows that did not change");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_found_by_psql_as_they_were_sent() {
    let everything = StreamSpec::new("every \"thing\"")
        .key(["id", "select"])
        .text("select")
        .bool("yes")
        .uint("big")
        .float("float")
        .decimal("price", 38, 10)
        .bytes("bytes")
        .timestamp("at")
        .date("day")
        .json("json");
    let source = MemorySource::of([everything]);
    let text = "naïve 🦀 \\ ' \" ` $1 \u{1}".to_owned();
    let values = [
        Value::Int(i64::MIN),
        text.as_str().into(),
        Value::Bool(true),
        Value::UInt(u64::MAX),
        Value::Float(0.1),
        Value::Decimal(Decimal::from_str_exact("12345678901234567.8901234567").unwrap()),
        Value::Bytes([0, 255, 39].into()),
        Value::Timestamp(Timestamp::from_micros(1)),
        Value::Date("9999-12-31".parse().unwrap()),
        Value::Json("{\"b\": 1, \"a\":[2]}".into()),
    ];
    source.upsert("every \"thing\"", values);
    let world = World::new(source).await;
    world.run(RunOptions::incremental()).await;
    assert_eq!(world.ask("SET TIME ZONE 'UTC'; SELECT id, yes, big, float, price, bytes, at, day, json FROM \"every \"\"thing\"\"\"").await.lines().last().unwrap_or_default(),
        "-9223372036854775808\tt\t18446744073709551615\t0.1\t12345678901234567.8901234567\t\\x00ff27\t1970-01-01 00:00:00.000001+00\t9999-12-31\t{\"b\": 1, \"a\":[2]}");
    let hex = text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(
        world.ask("SELECT encode(convert_to(\"select\", 'UTF8'), 'hex') FROM \"every \"\"thing\"\"\"").await,
        hex
    );
    let again = world.run(RunOptions::full()).await;
    assert_eq!(count(&again, Outcome::Unchanged), 1, "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_held_goes_to_the_dead_letters_and_the_others_are_written() {
    let world = World::new(MemorySource::of([orders()]).page(50)).await;
    (1..=50)
        .for_each(|id| world.source.upsert("orders", row(id, 1, if id == 17 { "a NUL \0 inside" } else { "fine" })));
    let report = world.run(RunOptions::incremental()).await;
    assert_eq!((count(&report, Outcome::Created), count(&report, Outcome::Rejected)), (49, 1), "{report}");
    world.ask("ALTER TABLE orders ADD CHECK (note <> 'refused')").await;
    world.source.upsert("orders", row(3, 2, "refused"));
    world.source.upsert("orders", row(4, 2, "taken"));
    let report = world.run(RunOptions::incremental()).await;
    assert_eq!((count(&report, Outcome::Updated), count(&report, Outcome::Rejected)), (1, 1), "{report}");
    assert_eq!(world.ask("SELECT note FROM orders WHERE id IN (3, 4) ORDER BY id").await, "fine\ntaken");
}

async fn refusal(create: &str, stream: StreamSpec) -> String {
    let database = sync_test_servers::postgres().await.unwrap();
    database.client(create).await.unwrap();
    let sink = Postgres::connect(&database.url()).await.unwrap();
    sink.prepare(&stream).await.unwrap_err().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_would_lose_something_is_refused_with_the_difference() {
    let lossy = refusal(
        "CREATE TABLE orders (id bigint PRIMARY KEY, total numeric(12,1))",
        StreamSpec::new("orders").key(["id"]).decimal("total", 11, 2),
    )
    .await;
    assert!(lossy.contains("numeric(12,1)") && lossy.contains("numeric(11,2)"), "{lossy}");
    let keyless =
        refusal("CREATE TABLE orders (id bigint, note text)", StreamSpec::new("orders").key(["id"]).text("note")).await;
    assert!(keyless.contains("unique key over exactly (id)"), "{keyless}");
    let merging = refusal("CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level1', deterministic = false); CREATE TABLE orders (name text COLLATE blind PRIMARY KEY)", StreamSpec::new("orders").key(["name"]).text("name")).await;
    assert!(merging.contains("takes different keys for the same"), "{merging}");
    let long = refusal("SELECT 1", StreamSpec::new("x".repeat(64)).key(["id"])).await;
    assert!(long.contains("63 bytes"), "{long}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_is_too_narrow_is_widened() {
    let database = sync_test_servers::postgres().await.unwrap();
    database.client("CREATE TABLE orders (id integer PRIMARY KEY, total numeric(8,2), note varchar(3)); INSERT INTO orders VALUES (1, 1.5, 'abc')").await.unwrap();
    let sink = Postgres::connect(&database.url()).await.unwrap();
    sink.prepare(&StreamSpec::new("orders").key(["id"]).decimal("total", 12, 3).text("note").int("added"))
        .await
        .unwrap();
    let types = "SELECT string_agg(format_type(atttypid, atttypmod), ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attnum > 0";
    assert_eq!(database.client(types).await.unwrap().trim(), "bigint numeric(12,3) text bigint");
    assert_eq!(database.client("SELECT * FROM orders").await.unwrap().trim(), "1\t1.500\tabc\tNULL");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_name_is_only_a_name(table in "[\\PC\"`'\\\\;]{1,12}", column in "[\\PC\"`'\\\\;]{1,12}") {
        prop_assume!(column != "id");
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let stream = StreamSpec::new(table.as_str()).key(["id"]).text(column.as_str());
            let source = MemorySource::of([stream]);
            source.upsert(&table, [1_i64.into(), "here".into()]);
            let world = World::new(source).await;
            let report = world.run(RunOptions::incremental()).await;
            assert_eq!(count(&report, Outcome::Created), 1, "{report}");
            let tables = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname NOT LIKE '\\_sync\\_%'";
            assert_eq!(world.ask(tables).await, "1");
        });
    }
}
