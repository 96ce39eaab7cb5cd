//! Pages that are copied together, into tables that are not what they seem.

use std::time::Duration;

use sync_core::memory::Feeding;
use sync_testkit::Random;

use super::*;

fn long(id: i64) -> String {
    format!("{id} {}", "x".repeat(200))
}

fn told(report: &Report) -> String {
    format!("{report} {:?}", report.scopes.iter().map(|scope| &scope.error).collect::<Vec<_>>())
}

async fn loaded(ddl: &str) -> World {
    let world = World::new(MemorySource::of([orders()]).page(300).feeding(Feeding::Log)).await;
    world.ask(ddl).await;
    world.run(RunOptions::incremental()).await;
    world
}

/// A host moves old rows into a table that inherits from ours: they are still rows of ours.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_stand_in_a_table_that_inherits_are_not_there_twice() {
    let world = loaded("SELECT 1").await;
    (1..=1000).for_each(|id| world.source.upsert("orders", row(id, id, &long(id))));
    world.run(RunOptions::incremental()).await;
    world
        .ask(
            "CREATE TABLE archive (PRIMARY KEY (id)) INHERITS (orders);
        WITH old AS (DELETE FROM ONLY orders WHERE id <= 900 RETURNING *) INSERT INTO archive SELECT * FROM old",
        )
        .await;
    // New ones first, so that what comes next is thought to be new, too.
    (1001..=3000).for_each(|id| world.source.upsert("orders", row(id, id, &long(id))));
    (1..=900).for_each(|id| world.source.upsert("orders", row(id, id + 1, &long(id))));
    let report = world.run(RunOptions::incremental()).await;
    assert_eq!(world.ask("SELECT count(*), count(DISTINCT id) FROM orders").await, "3000\t3000", "{}", told(&report));
    assert_eq!((count(&report, Outcome::Created), count(&report, Outcome::Updated)), (2000, 900), "{}", told(&report));
}

const HOSTILE: [&str; 12] = [
    "🦀 key",
    "select",
    "ord",
    "u",
    "t",
    "c0",
    "a\\b",
    "q\"q'q`",
    "$1 %s; -- /*",
    "Ünï",
    "COPY",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
];

const VALUES: [&str; 14] = [
    "",
    "\\N",
    "\\.",
    "\\\\.",
    "a\tb\nc\rd",
    "NULL",
    "null",
    "'\"`$$; DROP TABLE x; --",
    "🦀🍣🍺",
    "e\u{301}",
    "\u{feff}",
    "{\"a\":1}",
    " x ",
    "PGCOPY\n\r\n",
];

#[tokio::test(flavor = "multi_thread")]
async fn names_and_values_are_only_names_and_values_in_pages_that_are_copied_together() {
    for table in
        ["order", "ta\"ble\\ $1 'x' 🦀", "a.b", "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"]
    {
        let mut stream = StreamSpec::new(table).key(["🦀 key", "select"]);
        for name in HOSTILE {
            stream = stream.text(name);
        }
        let source = MemorySource::of([stream]).page(300).feeding(Feeding::Log);
        let world = World::new(source).await;
        world.run(RunOptions::incremental()).await;
        let mut random = Random::new(3);
        let values = |n: usize, random: &mut Random| -> Vec<Value> {
            let value = |column: usize, random: &mut Random| -> Value {
                match column {
                    1 => format!("{}{n}", VALUES[n % VALUES.len()]).into(),
                    0 => VALUES[n % VALUES.len()].into(),
                    _ if random.below(9) == 0 => Value::Null,
                    _ => VALUES[random.below(VALUES.len() as u64) as usize].into(),
                }
            };
            (0..HOSTILE.len()).map(|column| value(column, random)).collect()
        };
        for n in 0..3000 {
            world.source.upsert(table, values(n, &mut random));
        }
        let report = world.run(RunOptions::incremental()).await;
        assert_eq!(count(&report, Outcome::Created), 3000, "{table}: {}", told(&report));
        let name = format!("\"{}\"", table.replace('"', "\"\""));
        let columns: Vec<String> = HOSTILE
            .iter()
            .map(|column| {
                format!("coalesce(encode(convert_to(\"{}\", 'UTF8'), 'hex'), '-')", column.replace('"', "\"\""))
            })
            .collect();
        let found = world
            .ask(&format!(
                "SELECT concat_ws(',', {}) FROM {} ORDER BY 1",
                columns.join(", "),
                if table == "pg_class" { "public.pg_class".to_owned() } else { name }
            ))
            .await;
        let hex = |value: &Value| match value {
            Value::Text(text) => text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>(),
            _ => "-".to_owned(),
        };
        let mut expected: Vec<String> =
            world.source.rows(table).iter().map(|(_, row)| row.iter().map(hex).collect::<Vec<_>>().join(",")).collect();
        expected.sort();
        let mut found: Vec<&str> = found.lines().collect();
        found.sort();
        assert!(found == expected, "{table}");
        let again = world.run(RunOptions::full()).await;
        assert_eq!(count(&again, Outcome::Unchanged), 3000, "{table}: {}", told(&again));
    }
}

fn everything(name: &str) -> StreamSpec {
    StreamSpec::new(name)
        .int("id")
        .key(["id"])
        .bool("yes")
        .uint("big")
        .float("float")
        .decimal("price", 28, 10)
        .decimal("exact", 10, 4)
        .bytes("bytes")
        .timestamp("at")
        .date("day")
        .json("json")
        .text("text")
}

fn anything(n: i64, random: &mut Random) -> Vec<Value> {
    let pick = |random: &mut Random, most: u64| random.below(most) as usize;
    let floats =
        [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, 5e-324, f64::MAX, 0.1, -1e-7];
    let prices = [
        "0",
        "-0.0000",
        "0.0000000001",
        "-123456789012345678.9876543210",
        "999999999999999999.9999999999",
        "10000",
        "0.0001",
        "100010000.00010001",
        "7.5",
        "12345.678901",
    ];
    let exact = ["0.0001", "-999999.9999", "1", "10.10", "0.00001", "1234567"];
    let jsons =
        ["null", "{}", "[1, 2.50, 1e400]", "{\"a\": \"\\ud83e\\udd80\", \"a\": 1}", "\"\\u0000\"", " 7 ", "\"x\""];
    let micros = [
        0,
        1,
        -1,
        253_402_300_799_999_999,
        -62_135_596_800_000_000,
        946_684_800_000_000,
        946_684_799_999_999,
        i64::MAX,
        -210_866_803_200_000_001,
        -30_000_000_000_000_000,
    ];
    let days = [
        "2000-01-01",
        "1999-12-31",
        "9999-12-31",
        "0001-01-01",
        "-0001-02-28",
        "-4713-11-24",
        "-4714-11-23",
        "+20000-01-01",
    ];
    let bytes: Vec<u8> = (0..random.below(40)).map(|_| random.below(256) as u8).collect();
    let null = |value: Value, random: &mut Random| if random.below(12) == 0 { Value::Null } else { value };
    let decimal = |text: &str| Value::Decimal(text.parse::<Decimal>().unwrap());
    let all = [
        Value::Bool(random.chance(0.5)),
        Value::UInt(match random.below(4) {
            0 => u64::MAX,
            1 => 0,
            2 => 10_000,
            _ => random.below(u64::MAX),
        }),
        Value::Float(floats[pick(random, floats.len() as u64)]),
        decimal(prices[pick(random, prices.len() as u64)]),
        decimal(exact[pick(random, exact.len() as u64)]),
        Value::Bytes(bytes.into()),
        Value::Timestamp(Timestamp::from_micros(micros[pick(random, micros.len() as u64)])),
        Value::Date(days[pick(random, days.len() as u64)].parse().unwrap()),
        Value::Json(jsons[pick(random, jsons.len() as u64)].into()),
        if random.below(60) == 0 { "a\0b".into() } else { VALUES[pick(random, VALUES.len() as u64)].into() },
    ];
    std::iter::once(Value::Int(n)).chain(all.into_iter().map(|value| null(value, random))).collect()
}

/// Those that come in small pages travel as arrays.
#[tokio::test(flavor = "multi_thread")]
async fn values_that_are_copied_together_are_what_they_are_one_by_one() {
    for seed in [1] {
        let many = MemorySource::of([everything("many")]).page(400).feeding(Feeding::Log);
        let few = MemorySource::of([everything("few")]).page(50).feeding(Feeding::Log);
        let database = sync_test_servers::postgres().await.unwrap();
        let ddl = |name: &str| {
            format!(
                "CREATE TABLE {name} (id bigint PRIMARY KEY, yes boolean, big numeric, float double precision, price numeric, exact numeric, bytes bytea, at timestamptz, day date, json json, text varchar)"
            )
        };
        database.client(&ddl("many")).await.unwrap();
        database.client(&ddl("few")).await.unwrap();
        let sink = Postgres::connect(&database.url()).await.unwrap();
        let engine = Engine::builder(MemoryStore::new(Arc::new(SystemClock::new())))
            .pipeline(Pipeline::new("many", many.clone(), sink.clone()))
            .pipeline(Pipeline::new("few", few.clone(), sink))
            .build()
            .unwrap();
        for name in ["many", "few"] {
            engine.run(name).await.unwrap().completed().unwrap();
        }
        let mut random = Random::new(seed);
        // Plain ones at first, then ever odder ones.
        let (mut rejected, mut created) = ([0, 0], [0, 0]);
        for stretch in 0..24_i64 {
            for n in 0..100 {
                let mut row = anything(stretch * 100 + n, &mut random);
                // Only now and then one that no table takes, lest the breaker opens.
                if n % 40 != 7 {
                    row[5] = Value::Null;
                    row[7] = Value::Timestamp(Timestamp::from_micros(n * 1_000_003));
                    row[8] = Value::Date("-0044-03-15".parse().unwrap());
                    if row[10] == "a\0b".into() {
                        row[10] = "a".into();
                    }
                }
                many.upsert("many", row.clone());
                few.upsert("few", row);
            }
            if stretch % 8 == 7 {
                let report = engine.run("many").await.unwrap();
                assert_eq!(report.status, RunStatus::Completed, "{}", told(&report));
                rejected[0] += count(&report, Outcome::Rejected);
                created[0] += count(&report, Outcome::Created);
            }
            if stretch % 2 == 1 {
                let report = engine.run("few").await.unwrap();
                assert_eq!(report.status, RunStatus::Completed, "{}", told(&report));
                rejected[1] += count(&report, Outcome::Rejected);
                created[1] += count(&report, Outcome::Created);
            }
        }
        let text = "id, t.yes::text, t.big::text, t.float::text, t.price::text, t.exact::text, t.bytes::text, t.at::text, t.day::text, t.json::text, t.text";
        let differ = database.client(&format!("(SELECT 'many', {text} FROM many t EXCEPT SELECT 'many', {text} FROM few t) UNION ALL (SELECT 'few', {text} FROM few t EXCEPT SELECT 'few', {text} FROM many t) ORDER BY 2 LIMIT 6")).await.unwrap();
        assert_eq!(differ.trim(), "", "seed {seed}: {rejected:?} {created:?}");
        assert_eq!((rejected[0], created[0]), (rejected[1], created[1]));
        assert!(rejected[0] > 0);
        let again = engine.run_with("many", RunOptions::full()).await.unwrap();
        assert_eq!(count(&again, Outcome::Updated) + count(&again, Outcome::Created), 0, "{}", told(&again));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_altered_between_and_within_units_has_each_row_once_in_the_end() {
    let alters = [
        "ALTER TABLE orders DROP CONSTRAINT orders_pkey; ALTER TABLE orders ADD CONSTRAINT orders_pkey PRIMARY KEY (id)",
        "ALTER TABLE orders DROP CONSTRAINT orders_pkey; ALTER TABLE orders ADD CONSTRAINT orders_pkey PRIMARY KEY (id) DEFERRABLE; SELECT pg_sleep(0.05); ALTER TABLE orders DROP CONSTRAINT orders_pkey; ALTER TABLE orders ADD CONSTRAINT orders_pkey PRIMARY KEY (id)",
        "ALTER TABLE orders ALTER note TYPE varchar(100) USING substr(note, 1, 100); SELECT pg_sleep(0.05); ALTER TABLE orders ALTER note TYPE text",
        "ALTER TABLE orders ALTER version TYPE double precision; SELECT pg_sleep(0.05); ALTER TABLE orders ALTER version TYPE bigint",
        "ALTER TABLE orders ALTER version TYPE timestamptz USING now(); SELECT pg_sleep(0.05); ALTER TABLE orders ALTER version TYPE bigint USING 1",
        "ALTER TABLE orders ADD COLUMN more int DEFAULT 7, DROP COLUMN IF EXISTS less; SELECT pg_sleep(0.05); ALTER TABLE orders DROP COLUMN more, ADD COLUMN less int",
        "CREATE RULE no AS ON INSERT TO orders DO INSTEAD NOTHING; SELECT pg_sleep(0.05); DROP RULE no ON orders",
        "ALTER TABLE orders ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; SELECT pg_sleep(0.05); ALTER TABLE orders DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY",
        "ALTER TABLE orders RENAME COLUMN note TO other; SELECT pg_sleep(0.05); ALTER TABLE orders RENAME COLUMN other TO note",
        "BEGIN; ALTER TABLE orders RENAME COLUMN note TO other; ALTER TABLE orders ADD COLUMN note text; UPDATE orders SET note = other; ALTER TABLE orders DROP COLUMN other; COMMIT",
        "CREATE OR REPLACE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF NEW.id % 97 = 0 THEN RETURN NULL; END IF; NEW.note := NEW.note || ''!''; RETURN NEW; END'; CREATE TRIGGER skip BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION skip(); SELECT pg_sleep(0.05); DROP TRIGGER skip ON orders",
        "CREATE UNIQUE INDEX other ON orders ((version % 1009)) WHERE id % 1009 < 5; SELECT pg_sleep(0.03); DROP INDEX IF EXISTS other",
    ];
    for seed in 1..=2 {
        let world = loaded("SELECT 1").await;
        let (database, mut random) = (world.database.url(), Random::new(seed));
        let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let altering = tokio::spawn({
            let done = Arc::clone(&done);
            async move {
                let options: sqlx::postgres::PgConnectOptions = database.parse().unwrap();
                let mut other: sqlx::PgConnection = sqlx::ConnectOptions::connect(&options).await.unwrap();
                let mut random = Random::new(seed + 10);
                let mut altered = 0;
                while !done.load(std::sync::atomic::Ordering::SeqCst) {
                    let alter = alters[random.below(alters.len() as u64) as usize];
                    for statement in if alter.contains("plpgsql") {
                        alter.splitn(4, "; ").map(|it| it.to_owned()).collect::<Vec<_>>()
                    } else {
                        alter.split("; ").map(ToOwned::to_owned).collect()
                    } {
                        let _ = sqlx::Executor::execute(&mut other, sqlx::AssertSqlSafe(statement)).await;
                        tokio::time::sleep(Duration::from_millis(random.below(15))).await;
                    }
                    tokio::time::sleep(Duration::from_millis(random.below(400 * seed))).await;
                    altered += 1;
                }
                for mend in [
                    "ROLLBACK",
                    "DROP RULE IF EXISTS no ON orders",
                    "DROP TRIGGER IF EXISTS skip ON orders",
                    "DROP INDEX IF EXISTS other",
                    "ALTER TABLE orders DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY",
                    "ALTER TABLE orders RENAME COLUMN other TO note",
                ] {
                    let _ = sqlx::Executor::execute(&mut other, mend).await;
                }
                altered
            }
        });
        let (mut next, mut failed) = (1, 0);
        for _ in 0..30 {
            for _ in 0..1000 + random.below(3000) {
                world.source.upsert("orders", row(next, next, &long(next)));
                next += 1;
            }
            let report = world.engine.run_with("shop", RunOptions::incremental()).await.unwrap();
            assert!(report.ledger().balances(), "seed {seed}: {}", told(&report));
            failed += u64::from(report.status != RunStatus::Completed);
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        let altered = altering.await.unwrap();
        let report = world.engine.run_with("shop", RunOptions::incremental()).await.unwrap();
        assert_eq!(report.status, RunStatus::Completed, "seed {seed}: {}", told(&report));
        assert_eq!(world.ask("SELECT count(*) - count(DISTINCT id) FROM orders").await, "0", "seed {seed}");
        let letters = world
            .engine
            .dead_letters(&sync_core::state::LetterQuery { limit: 100_000, ..Default::default() })
            .await
            .unwrap();
        // What is missing is known to be.
        let missing: usize = world
            .ask(&format!(
                "SELECT count(*) FROM generate_series(1, {}) i WHERE NOT EXISTS (SELECT FROM orders WHERE id = i)",
                next - 1
            ))
            .await
            .parse()
            .unwrap();
        assert_eq!(missing, letters.len(), "seed {seed}: {failed} runs failed");
        let report = world.engine.run_with("shop", RunOptions::full()).await.unwrap();
        assert_eq!(report.status, RunStatus::Completed, "seed {seed}: {}", told(&report));
        let wrong = world
            .ask("SELECT count(*), count(*) FILTER (WHERE version <> id OR note NOT LIKE id || ' %x') FROM orders")
            .await;
        assert_eq!(wrong, format!("{}\t0", next - 1), "seed {seed}");
        println!(
            "seed {seed}: {altered} times altered, {failed} of 30 runs failed, {missing} rows were refused, {next} rows"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_the_table_fills_itself_are_filled_for_rows_that_are_copied_together() {
    for parts in ["", "PARTITION BY RANGE (id)"] {
        let world = loaded(&format!("CREATE SEQUENCE numbers; CREATE TABLE orders (serial bigint DEFAULT nextval('numbers') NOT NULL, id bigint PRIMARY KEY,
            twice bigint GENERATED ALWAYS AS (id * 2) STORED, version bigint, made timestamptz DEFAULT now() NOT NULL, note text, kind text DEFAULT 'none') {parts}")).await;
        if !parts.is_empty() {
            world.ask("CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (700); CREATE TABLE orders_2 PARTITION OF orders FOR VALUES FROM (700) TO (2000) PARTITION BY HASH (id);
                CREATE TABLE orders_2a PARTITION OF orders_2 FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE orders_2b PARTITION OF orders_2 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
                CREATE TABLE orders_3 PARTITION OF orders DEFAULT").await;
        }
        world.ask("CREATE FUNCTION kind() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.kind := 'k' || NEW.id; RETURN NEW; END $$; CREATE TRIGGER kind BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION kind();
            CREATE TABLE log (id bigint); CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (NEW.id); RETURN NULL; END $$; CREATE TRIGGER log AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION log()").await;
        (1..=4000).for_each(|id| world.source.upsert("orders", row(id, id, &long(id))));
        let report = world.run(RunOptions::incremental()).await;
        assert_eq!(count(&report, Outcome::Created), 4000, "{}", told(&report));
        world.assert_in_step().await;
        let filled = world.ask("SELECT count(DISTINCT serial), count(*) FILTER (WHERE twice = id * 2 AND kind = 'k' || id), (SELECT count(*) FROM log), (SELECT count(DISTINCT id) FROM log) FROM orders").await;
        assert_eq!(filled, "4000\t4000\t4000\t4000");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_there_once_and_told_once_however_often_the_server_is_killed_while_they_are_copied() {
    let server = PostgresServer::start(Durability::Full).await.unwrap();
    for (seed, appends) in [(1, true), (2, false)] {
        let stream = StreamSpec::new("events").int("n").text("note");
        let stream =
            if appends { stream.disposition(sync_core::model::Disposition::Append) } else { stream.key(["n"]) };
        let source = MemorySource::of([stream]).page(300).feeding(Feeding::Log);
        let database = server.database().await.unwrap();
        let sink = Postgres::connect(&database.url()).await.unwrap();
        let engine = Engine::builder(MemoryStore::new(Arc::new(SystemClock::new())))
            .retry(
                sync_core::retry::RetryPolicy::new()
                    .base(Duration::from_millis(20))
                    .cap(Duration::from_millis(200))
                    .attempts(60),
            )
            .pipeline(Pipeline::new("shop", source.clone(), sink))
            .build()
            .unwrap();
        engine.run("shop").await.unwrap().completed().unwrap();
        const MANY: i64 = 40_000;
        (1..=MANY).for_each(|n: i64| source.upsert("events", [n.into(), long(n).as_str().into()]));
        let mut random = Random::new(seed);
        let (mut created, mut kills, mut runs) = (0, 0, 0);
        loop {
            let running = engine.clone();
            let run = tokio::spawn(async move { running.run("shop").await.unwrap() });
            let killing = kills < 6;
            if killing {
                tokio::time::sleep(Duration::from_millis(random.below(700))).await;
                server.kill().await.unwrap();
                server.restart().await.unwrap();
                kills += 1;
            }
            let report = run.await.unwrap();
            runs += 1;
            created += count(&report, Outcome::Created);
            assert!(report.ledger().balances(), "seed {seed}: {}", told(&report));
            if report.status == RunStatus::Completed && !killing {
                break;
            }
        }
        let there = database
            .client("SELECT count(*), count(DISTINCT n), count(*) FILTER (WHERE note NOT LIKE n || ' %x') FROM events")
            .await
            .unwrap();
        assert_eq!(there.trim(), format!("{MANY}\t{MANY}\t0"), "seed {seed}");
        assert_eq!(created, MANY as u64, "seed {seed}");
        println!("seed {seed}: {kills} kills, {runs} runs");
    }
}
