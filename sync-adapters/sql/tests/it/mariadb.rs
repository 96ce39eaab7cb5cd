//! MariaDB as a target, looked at through `mariadb`: exact values, exact counts, and no write where nothing changed.

mod limits_attacked;
mod others;
mod packets;
mod pieces;
mod staging;
mod tables;

use std::sync::Arc;

use proptest::prelude::*;
use sync_core::engine;
use sync_core::memory::{FirstLoad, MemorySource, MemoryStore};
use sync_core::model::{Changes, Decimal, Outcome, Rows, Timestamp};
use sync_core::sink::{Guard, Intent, Step, StepReport, Write, WriteMode, WriteUnit};
use sync_core::source::Listing;
use sync_core::state::RunStatus;
use sync_core::{Engine, Key, Pipeline, Report, RunOptions, Scope, Sink, StreamSpec, SystemClock, Value};
use sync_sql::MySql;
use sync_test_servers::{Database, Durability, MariaDbServer};

fn orders() -> StreamSpec {
    StreamSpec::new("orders").key(["id"]).int("version").version("version").text("note")
}

fn row(id: i64, version: i64, note: &str) -> Vec<Value> {
    vec![id.into(), version.into(), note.into()]
}

/// A plain write of these rows.
fn write(stream: &StreamSpec, rows: &[Vec<Value>]) -> Step {
    let mut page = Rows::new(Arc::clone(stream.schema()));
    rows.iter().for_each(|row| page.push(row.iter().map(Value::as_ref)).unwrap());
    Step::Write(Write {
        stream: Arc::new(stream.clone()),
        changes: Changes::upserts(page),
        mode: WriteMode::Upsert,
        guard: Guard::Always,
        difference: sync_core::detect::Difference::Content,
        expect: Vec::new(),
    })
}

fn scope() -> Scope {
    Scope { pipeline: "p".into(), feed: "f".into(), partition: Default::default(), lane: Default::default() }
}

async fn apply(sink: &MySql, steps: &[Step], intent: Intent) -> sync_core::Result<Vec<Outcome>> {
    let report = sink.apply(&WriteUnit { scope: &scope(), steps, advance: None, intent }).await?;
    let rows = report.steps.into_iter().filter_map(|step| match step {
        StepReport::Rows(rows) => Some(rows),
        _ => None,
    });
    Ok(rows.flatten().collect())
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
        let sink = MySql::connect(&database.url()).await.unwrap();
        let pipeline = Pipeline::new("shop", source.clone(), sink).first_load(first_load);
        let store = MemoryStore::new(Arc::new(SystemClock::new()));
        Self { source, engine: Engine::builder(store).pipeline(pipeline).build().unwrap(), database }
    }

    async fn new(source: MemorySource) -> Self {
        Self::on(sync_test_servers::mariadb().await.unwrap(), source).await
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

/// Notes in a table `log` which rows of `orders` are written.
const LOG: &str = "CREATE TABLE log (id bigint) ENGINE=InnoDB;
    CREATE TRIGGER i AFTER INSERT ON orders FOR EACH ROW INSERT INTO log VALUES (NEW.id);
    CREATE TRIGGER u AFTER UPDATE ON orders FOR EACH ROW INSERT INTO log VALUES (NEW.id);
    CREATE TRIGGER d AFTER DELETE ON orders FOR EACH ROW INSERT INTO log VALUES (OLD.id)";

#[tokio::test(flavor = "multi_thread")]
async fn exactly_what_changed_is_written() {
    let world = World::new(MemorySource::of([orders()]).page(100)).await;
    (1..=1000).for_each(|id| world.source.upsert("orders", row(id, 1, "first")));
    assert_eq!(count(&world.run(RunOptions::incremental()).await, Outcome::Created), 1000);
    world.assert_in_step().await;
    world.ask(LOG).await;
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
async fn a_scattered_first_load_is_written_as_it_comes_unless_it_is_told_to_be_sorted() {
    for (first_load, tables) in [
        (engine::FirstLoad::Auto, "_sync_checkpoint\norders"),
        (engine::FirstLoad::Sorted, "_sync_checkpoint\n_sync_stage\norders"),
    ] {
        let source = MemorySource::of([orders()]).page(100).first_load(FirstLoad::Scattered);
        let world = World::loading(sync_test_servers::mariadb().await.unwrap(), source, first_load).await;
        (1..=300).for_each(|id| world.source.upsert("orders", row(id, 1, "first")));
        assert_eq!(count(&world.run(RunOptions::incremental()).await, Outcome::Created), 300);
        world.assert_in_step().await;
        assert_eq!(world.ask("SHOW TABLES").await, tables, "{first_load:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scattered_first_load_that_is_sorted_is_published_and_leaves_nothing_behind() {
    let source = MemorySource::of([orders()]).page(100).first_load(FirstLoad::Scattered).listing(Listing::Rows);
    let database = sync_test_servers::mariadb().await.unwrap();
    let world = World::loading(database, source, engine::FirstLoad::Sorted).await;
    (1..=2000).for_each(|id| world.source.upsert("orders", row(id, 1, "first")));
    assert_eq!(count(&world.run(RunOptions::incremental()).await, Outcome::Created), 2000);
    world.assert_in_step().await;
    assert_eq!(world.ask("SHOW TABLES").await, "_sync_checkpoint\n_sync_stage\norders");
    assert_eq!(world.ask("SELECT count(*) FROM _sync_stage").await, "0");
    world.source.delete("orders", &Key::new([3]));
    assert_eq!(count(&world.run(RunOptions::reconcile()).await, Outcome::Deleted), 1);
    world.assert_in_step().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_unchanged_write_no_log() {
    // The log is the whole server's: this one is nobody else's.
    let server = MariaDbServer::start(Durability::ProcessOnly).await.unwrap();
    let world = World::on(server.database().await.unwrap(), MemorySource::of([orders()]).page(1000)).await;
    (1..=20_000).for_each(|id| world.source.upsert("orders", row(id, 1, "as it was")));
    world.run(RunOptions::incremental()).await;
    let written = "SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'innodb_rows_updated' UNION ALL SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'innodb_rows_inserted'";
    let before = world.ask(written).await;
    let again = world.run(RunOptions::full()).await;
    assert_eq!(count(&again, Outcome::Unchanged), 20_000, "{again}");
    let numbers = |text: &str| text.lines().map(|line| line.parse::<u64>().unwrap()).sum::<u64>();
    let written = numbers(&world.ask(written).await) - numbers(&before);
    // The moves of the checkpoint's row and of the claim.
    assert!(written < 100, "{written} rows were written though none changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_that_differ_in_the_same_columns_are_written_with_their_exact_values() {
    let world = World::new(MemorySource::of([everything()]).page(100)).await;
    let rows = |turn: i64| (1..=60).map(move |id| anything(id, turn)).collect::<Vec<_>>();
    rows(1).into_iter().for_each(|row| world.source.upsert("every \"thing\"", row));
    world.run(RunOptions::incremental()).await;
    rows(2).into_iter().for_each(|row| world.source.upsert("every \"thing\"", row));
    let second = world.run(RunOptions::full()).await;
    assert_eq!(count(&second, Outcome::Updated), 60, "{second}");
    let again = world.run(RunOptions::full()).await;
    assert_eq!(count(&again, Outcome::Unchanged), 60, "{again}");
    let found =
        "SELECT `select`, yes, big, `float`, price, hex(bytes), at, day, json FROM `every \"thing\"` WHERE id = 7";
    assert_eq!(
        world.ask(found).await,
        "né 7\t0\t18446744073709551613\t0.2\t2.0000000007\t0207\t1970-01-01 00:00:02.000007\t2001-01-02\t{\"turn\": 2}"
    );
}

/// A stream with every kind, and a name that must be quoted.
fn everything() -> StreamSpec {
    let stream = StreamSpec::new("every \"thing\"").key(["id", "select"]).text("select").bool("yes").uint("big");
    let stream = stream.float("float").decimal("price", 38, 10).bytes("bytes").timestamp("at");
    stream.date("day").json("json")
}

fn anything(id: i64, turn: i64) -> Vec<Value> {
    let small = u8::try_from(turn).unwrap();
    vec![
        id.into(),
        format!("né {id}").as_str().into(),
        (turn == 1).into(),
        (u64::MAX - turn.unsigned_abs()).into(),
        (f64::from(small) / 10.0).into(),
        Decimal::new(turn * 10_000_000_000 + id, 10).into(),
        vec![small, u8::try_from(id).unwrap()].into(),
        Value::Timestamp(Timestamp::from_micros(turn * 1_000_000 + id)),
        Value::Date(format!("2001-01-{turn:02}").parse().unwrap()),
        Value::Json(format!("{{\"turn\": {turn}}}").into()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_found_by_the_client_as_they_were_sent() {
    let text = "naïve 🦀 \\ ' \" ` ? \u{1} ".to_owned();
    let source = MemorySource::of([everything()]);
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
    assert_eq!(
        world.ask("SELECT id, yes, big, `float`, price, hex(bytes), at, day, json FROM `every \"thing\"`").await,
        "-9223372036854775808\t1\t18446744073709551615\t0.1\t12345678901234567.8901234567\t00FF27\t1970-01-01 00:00:00.000001\t9999-12-31\t{\"b\": 1, \"a\":[2]}"
    );
    let hex = text.bytes().map(|byte| format!("{byte:02X}")).collect::<String>();
    assert_eq!(world.ask("SELECT hex(`select`) FROM `every \"thing\"`").await, hex);
    let again = world.run(RunOptions::full()).await;
    assert_eq!(count(&again, Outcome::Unchanged), 1, "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_held_goes_to_the_dead_letters_and_the_others_are_written() {
    let world = World::new(MemorySource::of([orders().timestamp("at")]).page(50)).await;
    let upsert = |id: i64, version: i64, note: &str, micros: i64| {
        let at = Value::Timestamp(Timestamp::from_micros(micros));
        world.source.upsert("orders", [row(id, version, note), vec![at]].concat());
    };
    let year_12000 = 316_540_000_000_000_000;
    (1..=50).for_each(|id| upsert(id, 1, "fine", if id == 17 { year_12000 } else { 0 }));
    let report = world.run(RunOptions::incremental()).await;
    assert_eq!((count(&report, Outcome::Created), count(&report, Outcome::Rejected)), (49, 1), "{report}");
    world.ask("ALTER TABLE orders ADD CHECK (note <> 'refused')").await;
    (3..=22).filter(|id| *id != 17).for_each(|id| upsert(id, 2, if id == 3 { "refused" } else { "taken" }, 0));
    (51..=60).for_each(|id| upsert(id, 2, if id == 55 { "refused" } else { "taken" }, 0));
    let report = world.run(RunOptions::incremental()).await;
    let counts = [Outcome::Updated, Outcome::Created, Outcome::Rejected].map(|outcome| count(&report, outcome));
    assert_eq!(counts, [18, 9, 2], "{report}");
    let found = "SELECT note FROM orders WHERE id IN (3, 4, 54, 55, 56) ORDER BY id";
    assert_eq!(world.ask(found).await, "fine\ntaken\ntaken\ntaken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_longer_than_its_index_is_a_dead_letter_and_no_shorter_key() {
    let world = World::new(MemorySource::of([StreamSpec::new("names").key(["name"]).text("name")])).await;
    world.source.upsert("names", [Value::from("🍣".repeat(768))]);
    world.source.upsert("names", [Value::from("🍣".repeat(769))]);
    let report = world.run(RunOptions::incremental()).await;
    assert_eq!((count(&report, Outcome::Created), count(&report, Outcome::Rejected)), (1, 1), "{report}");
    assert_eq!(world.ask("SELECT char_length(name) FROM names").await, "768");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_beyond_one_packet_are_split_and_a_row_beyond_it_is_a_dead_letter() {
    let world = World::new(MemorySource::of([orders()]).page(100)).await;
    let large = "x".repeat(3 << 20);
    (1..=8).for_each(|id| world.source.upsert("orders", row(id, 1, &large)));
    world.source.upsert("orders", row(9, 1, &"x".repeat(17 << 20)));
    let report = world.run(RunOptions::incremental()).await;
    assert_eq!((count(&report, Outcome::Created), count(&report, Outcome::Rejected)), (8, 1), "{report}");
    assert_eq!(world.ask("SELECT count(*), min(length(note)) FROM orders").await, format!("8\t{}", 3 << 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_lax_settings_bends_nothing() {
    let server = MariaDbServer::start(Durability::ProcessOnly).await.unwrap();
    let database = server.database().await.unwrap();
    database.client("SET GLOBAL sql_mode = '', GLOBAL time_zone = '+05:00', GLOBAL foreign_key_checks = 0, GLOBAL transaction_isolation = 'READ-UNCOMMITTED', GLOBAL character_set_server = 'latin1'").await.ok();
    database.client("SET GLOBAL sql_mode = ''; SET GLOBAL time_zone = '+05:00'").await.unwrap();
    database.client("CREATE TABLE orders (id bigint PRIMARY KEY, name varchar(3) CHARACTER SET utf8mb4, at datetime(6), KEY (name))").await.unwrap();
    let stream = StreamSpec::new("orders").key(["id"]).text("name").timestamp("at");
    let world = World::on(database, MemorySource::of([stream])).await;
    let at = Value::Timestamp(Timestamp::from_micros(1_000_001));
    world.source.upsert("orders", [1_i64.into(), "abc".into(), at.clone()]);
    world.source.upsert("orders", [2_i64.into(), "abcd".into(), at]);
    let report = world.run(RunOptions::incremental()).await;
    assert_eq!((count(&report, Outcome::Created), count(&report, Outcome::Rejected)), (1, 1), "{report}");
    assert_eq!(world.ask("SELECT * FROM orders").await, "1\tabc\t1970-01-01 00:00:01.000001");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_name_is_only_a_name(table in "[\\x21-\\u{D7FF}&&\\PC]{1,12}", column in "[ -~àé]{0,11}[!-~]") {
        // Names of columns know no case.
        prop_assume!(!column.eq_ignore_ascii_case("id"));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let stream = StreamSpec::new(table.as_str()).key(["id"]).text(column.as_str());
            let source = MemorySource::of([stream]);
            source.upsert(&table, [1_i64.into(), "here".into()]);
            let world = World::new(source).await;
            let report = world.run(RunOptions::incremental()).await;
            assert_eq!(count(&report, Outcome::Created), 1, "{report}");
            let tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND LEFT(table_name, 6) <> '_sync_'";
            assert_eq!(world.ask(tables).await, "1");
        });
    }
}
