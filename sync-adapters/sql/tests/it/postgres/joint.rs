//! Pages of one table that are copied together, where the server, its triggers or other writers do not play along.

use std::collections::BTreeSet;
use std::time::Duration;

use sync_core::Scope;
use sync_core::detect::Difference;
use sync_core::memory::Feeding;
use sync_core::model::{Changes, Mark, Rows};
use sync_core::sink::{Guard, Intent, Step, Write, WriteMode, WriteUnit};
use sync_core::state::LetterQuery;
use sync_testkit::Random;

use super::*;

const ROWS: i64 = 4000;

fn long(id: i64) -> String {
    format!("{id} {}", "x".repeat(200))
}

/// A table that is there, of which the sink knows that its rows are new ones.
async fn loaded(source: MemorySource) -> World {
    let world = World::new(source).await;
    world.run(RunOptions::incremental()).await;
    world
}

fn fill(world: &World, ids: std::ops::RangeInclusive<i64>) {
    ids.for_each(|id| world.source.upsert("orders", row(id, id, &long(id))));
}

fn told(report: &Report) -> String {
    format!("{report} {:?}", report.scopes.iter().map(|scope| &scope.error).collect::<Vec<_>>())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_takes_no_statement_longer_than_its_pages_where_the_server_allows_no_more() {
    let world = loaded(MemorySource::of([orders()]).page(500)).await;
    world.ask("CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.001); RETURN NEW; END $$; CREATE TRIGGER slow BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION slow()").await;
    world.ask(&format!("ALTER DATABASE \"{}\" SET statement_timeout = '3s'", world.database.name())).await;
    let engine = World::on_same(&world).await;
    fill(&world, 1..=10_000);
    let report = engine.run_with("shop", RunOptions::incremental()).await.unwrap();
    assert_eq!((report.status, count(&report, Outcome::Created)), (RunStatus::Completed, 10_000), "{}", told(&report));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_that_is_refused_among_pages_that_are_copied_together_is_found_and_no_other() {
    for seed in 1..=6 {
        let world = loaded(MemorySource::of([orders()]).page(300)).await;
        world
            .ask(
                "CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
              IF NEW.note LIKE 'raise%' THEN RAISE EXCEPTION 'no'; END IF;
              IF NEW.note LIKE 'code%' THEN RAISE EXCEPTION USING MESSAGE = 'no', ERRCODE = 'SHOP1'; END IF;
              IF NEW.note LIKE 'cast%' THEN PERFORM 'x'::int; END IF;
              IF NEW.note LIKE 'skip%' THEN RETURN NULL; END IF;
              RETURN NEW; END $$;
            CREATE TRIGGER odd BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION odd();
            CREATE UNIQUE INDEX ON orders (md5(note));
            ALTER TABLE orders ADD CHECK (note NOT LIKE 'check%'), ADD EXCLUDE USING btree (version WITH =)",
            )
            .await;
        let (mut random, mut bad) = (Random::new(seed), BTreeSet::new());
        for id in 1..=ROWS {
            let note = match random.below(700) {
                0 => "raise",
                1 => "code",
                2 => "cast",
                3 => "skip",
                4 => "check",
                5 => "a NUL \0",
                _ => "",
            };
            if !note.is_empty() {
                bad.insert(id);
            }
            // Its version is that of a row that comes before it.
            let version = if note.is_empty() && id > 2000 && random.below(500) == 0 && !bad.contains(&(id - 1900)) {
                bad.insert(id);
                id - 1900
            } else {
                id
            };
            world.source.upsert("orders", row(id, version, &format!("{note}{}", long(id))));
        }
        let report = world.run(RunOptions::incremental()).await;
        let counted = (count(&report, Outcome::Created), count(&report, Outcome::Rejected));
        assert_eq!(counted, ((ROWS as usize - bad.len()) as u64, bad.len() as u64), "seed {seed}: {}", told(&report));
        let missing = world.ask(&format!("SELECT string_agg(i::text, ' ' ORDER BY i) FROM generate_series(1, {ROWS}) i WHERE NOT EXISTS (SELECT FROM orders WHERE id = i)")).await;
        let expected = bad.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(missing, expected, "seed {seed}");
        let letters = world.engine.dead_letters(&LetterQuery::default()).await.unwrap();
        assert_eq!(letters.len(), bad.len(), "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_for_which_a_partitioned_table_has_no_part_are_the_only_ones_that_do_not_come_in() {
    let world = World::new(MemorySource::of([orders()]).page(300)).await;
    world
        .ask(
            "CREATE TABLE orders (id bigint PRIMARY KEY, version bigint, note text) PARTITION BY RANGE (id);
        CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (1) TO (1500);
        CREATE TABLE orders_2 PARTITION OF orders FOR VALUES FROM (1510) TO (10000);
        CREATE TABLE others (id bigint REFERENCES orders (id) DEFERRABLE INITIALLY DEFERRED)",
        )
        .await;
    fill(&world, 1..=ROWS);
    let report = world.run(RunOptions::incremental()).await;
    assert_eq!(
        (count(&report, Outcome::Created), count(&report, Outcome::Rejected)),
        (ROWS as u64 - 10, 10),
        "{}",
        told(&report)
    );
    assert_eq!(world.ask("SELECT count(*) FROM orders").await, (ROWS - 10).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_break_a_rule_which_is_looked_at_at_the_end_are_found_among_pages_that_are_copied_together() {
    let world = loaded(MemorySource::of([orders()]).page(300)).await;
    world.ask("CREATE TABLE parents (id bigint PRIMARY KEY); INSERT INTO parents SELECT generate_series(1, 5000); DELETE FROM parents WHERE id IN (77, 1333, 3999);
        ALTER TABLE orders ADD FOREIGN KEY (version) REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED").await;
    fill(&world, 1..=ROWS);
    let report = world.run(RunOptions::incremental()).await;
    assert_eq!(
        (count(&report, Outcome::Created), count(&report, Outcome::Rejected)),
        (ROWS as u64 - 3, 3),
        "{}",
        told(&report)
    );
    assert_eq!(
        world.ask("SELECT count(*), count(*) FILTER (WHERE id IN (77, 1333, 3999)) FROM orders").await,
        format!("{}\t0", ROWS - 3)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_trigger_makes_of_later_ones_end_as_the_source_has_them() {
    let world = loaded(MemorySource::of([orders()]).page(300)).await;
    world.ask("CREATE FUNCTION stub() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          IF NEW.note <> 'stub' AND NEW.id % 7 = 0 THEN INSERT INTO orders VALUES (NEW.id + 450, 0, 'stub') ON CONFLICT DO NOTHING; END IF;
          RETURN NULL; END $$;
        CREATE TRIGGER stub AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION stub()").await;
    fill(&world, 1..=ROWS);
    let report = world.run(RunOptions::incremental()).await;
    assert_eq!(count(&report, Outcome::Created) + count(&report, Outcome::Updated), ROWS as u64, "{}", told(&report));
    let wrong = world
        .ask(&format!("SELECT count(*) FROM orders WHERE id <= {ROWS} AND (version <> id OR note = 'stub')"))
        .await;
    assert_eq!(wrong, "0", "{}", told(&report));
}

/// Somebody else writes some of the same keys, in the other order, and now and then goes back.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_somebody_else_writes_at_the_same_time_are_counted_as_what_they_were() {
    for seed in 1..=4 {
        let world = loaded(MemorySource::of([orders()]).page(300)).await;
        fill(&world, 1..=20_000);
        let url = world.database.url();
        let other = tokio::spawn(async move {
            let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
            let mut other = sqlx::ConnectOptions::connect(&options).await.unwrap();
            let (mut random, mut wrote) = (Random::new(seed), 0);
            for _ in 0..150 {
                let from = random.below(20_000);
                let sql = format!(
                    "BEGIN; INSERT INTO orders SELECT i, 0, 'theirs' FROM generate_series({}, {from}, -3) i ON CONFLICT DO NOTHING; SELECT pg_sleep({}); {}",
                    from + 60,
                    random.below(20) as f64 / 1000.0,
                    if random.chance(0.5) { "COMMIT" } else { "ROLLBACK" }
                );
                match sqlx::Executor::execute(&mut other, sqlx::AssertSqlSafe(sql)).await {
                    Ok(_) => wrote += 1,
                    Err(_) => drop(sqlx::Executor::execute(&mut other, "ROLLBACK").await),
                }
            }
            wrote
        });
        let report = world.run(RunOptions::incremental()).await;
        assert!(other.await.unwrap() > 20);
        let all =
            count(&report, Outcome::Created) + count(&report, Outcome::Updated) + count(&report, Outcome::Unchanged);
        assert_eq!(all, 20_000, "seed {seed}: {}", told(&report));
        // What they wrote before us is ours now, and what they wrote behind us kept away from our keys.
        let wrong = world.ask("SELECT count(*) FROM orders WHERE id <= 20000 AND version <> id").await;
        assert_eq!(wrong, "0", "seed {seed}: {}", told(&report));
        assert_eq!(world.ask("SELECT count(*) FROM orders WHERE id <= 20000").await, "20000");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sinks_that_load_the_same_rows_in_opposite_orders_both_end() {
    let database = sync_test_servers::postgres().await.unwrap();
    let up = MemorySource::of([orders()]).page(300).feeding(Feeding::Log);
    let down = MemorySource::of([orders()]).page(300).feeding(Feeding::Log);
    let one = World::on(database, up).await;
    one.run(RunOptions::incremental()).await;
    let sink = Postgres::connect(&one.database.url()).await.unwrap();
    let other = Engine::builder(MemoryStore::new(Arc::new(SystemClock::new())))
        .pipeline(Pipeline::new("other", down.clone(), sink))
        .build()
        .unwrap();
    other.run("other").await.unwrap().completed().unwrap();
    let most = 20_000;
    (1..=most).for_each(|id| one.source.upsert("orders", row(id, id, &long(id))));
    (1..=most).rev().for_each(|id| down.upsert("orders", row(id, id, &long(id))));
    let (first, second) = tokio::join!(one.engine.run("shop"), other.run("other"));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(
        (first.status, second.status),
        (RunStatus::Completed, RunStatus::Completed),
        "{} {}",
        told(&first),
        told(&second)
    );
    let created = count(&first, Outcome::Created) + count(&second, Outcome::Created);
    assert_eq!(created, most as u64, "{} {}", told(&first), told(&second));
    one.assert_in_step().await;
}

/// The table is locked for longer than a copy waits to send.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_locked_for_a_while_is_waited_for() {
    let world = loaded(MemorySource::of([orders()]).page(300)).await;
    let note = "x".repeat(2000);
    (1..=ROWS).for_each(|id| world.source.upsert("orders", row(id, id, &note)));
    let url = world.database.url();
    let holder = tokio::spawn(async move {
        let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
        let mut other = sqlx::ConnectOptions::connect(&options).await.unwrap();
        sqlx::Executor::execute(
            &mut other,
            "BEGIN; INSERT INTO orders VALUES (17, 1, 'held'); SELECT pg_sleep(13); ROLLBACK",
        )
        .await
        .unwrap();
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let report = world.run(RunOptions::incremental()).await;
    holder.await.unwrap();
    assert_eq!(count(&report, Outcome::Created), ROWS as u64, "{}", told(&report));
    world.assert_in_step().await;
}

/// Appended rows have no key that would refuse them: each is there as often as it came.
#[tokio::test(flavor = "multi_thread")]
async fn appended_rows_come_in_once_however_often_the_server_ends_our_session() {
    let events = || StreamSpec::new("events").int("n").text("note").disposition(sync_core::model::Disposition::Append);
    for seed in 1..=3 {
        let world = World::new(MemorySource::of([events()]).page(300).feeding(Feeding::Log)).await;
        let _ = world.engine.run("shop").await.unwrap();
        (1..=30_000).for_each(|n: i64| world.source.upsert("events", [n.into(), long(n).as_str().into()]));
        let url = world.database.url();
        let killer = tokio::spawn(async move {
            let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
            let mut other: sqlx::PgConnection = sqlx::ConnectOptions::connect(&options).await.unwrap();
            let mut random = Random::new(seed);
            loop {
                tokio::time::sleep(Duration::from_millis(20 + random.below(150))).await;
                sqlx::Executor::execute(&mut other, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()").await.unwrap();
            }
        });
        let mut created = 0;
        for _ in 0..20 {
            let report = world.engine.run("shop").await.unwrap();
            created += count(&report, Outcome::Created);
            if report.status == RunStatus::Completed {
                break;
            }
        }
        killer.abort();
        let report = world.run(RunOptions::incremental()).await;
        created += count(&report, Outcome::Created);
        assert_eq!(world.ask("SELECT count(*), count(DISTINCT n) FROM events").await, "30000\t30000", "seed {seed}");
        assert_eq!(created, 30_000, "seed {seed}");
    }
}

fn step(stream: &Arc<StreamSpec>, rows: &[(i64, i64)], mark: Mark, guard: Guard, mode: WriteMode) -> Write {
    let mut all = Rows::new(Arc::clone(stream.schema()));
    rows.iter().for_each(|(id, version)| all.push(row(*id, *version, &long(*id)).iter().map(Value::as_ref)).unwrap());
    let marks = vec![mark; rows.len()];
    Write {
        stream: Arc::clone(stream),
        changes: Changes::marked(all, marks),
        mode,
        guard,
        difference: Difference::Content,
        expect: Vec::new(),
    }
}

/// Random units, applied at once to a table of which all rows were new so far, against a model that takes one change after the other.
#[tokio::test(flavor = "multi_thread")]
async fn units_of_many_pages_do_what_their_changes_do_one_after_the_other() {
    let database = sync_test_servers::postgres().await.unwrap();
    let stream = Arc::new(orders());
    let scope =
        Scope { pipeline: "p".into(), feed: "f".into(), partition: Default::default(), lane: Default::default() };
    for seed in 1..=40 {
        let mut random = Random::new(seed);
        database.client("DROP TABLE IF EXISTS orders").await.unwrap();
        let sink = Postgres::connect(&database.url()).await.unwrap();
        sink.prepare(&stream).await.unwrap();
        let mut model = std::collections::BTreeMap::<i64, i64>::new();
        let mut next = 1;
        for unit in 0..6 {
            let (mut steps, mut expected) = (Vec::new(), Vec::new());
            for _ in 0..1 + random.below(6) {
                let deletes = random.below(12) == 0;
                let guarded = random.chance(0.5);
                let guard = if guarded { Guard::Newer } else { Guard::Always };
                let mode = if random.below(8) == 0 { WriteMode::InsertOnly } else { WriteMode::Upsert };
                let count = if random.chance(0.1) { 0 } else { 150 + random.below(300) as i64 };
                let mut rows = Vec::new();
                for _ in 0..count {
                    let old = random.below(900) == 0 && next > 1;
                    let id = if old || deletes { 1 + random.below(next as u64) as i64 } else { next };
                    if rows.iter().any(|(other, _)| *other == id) {
                        continue;
                    }
                    next = next.max(id + 1);
                    rows.push((id, random.below(5) as i64));
                }
                let mark = if deletes { Mark::delete() } else { Mark::default() };
                let write = step(&stream, &rows, mark, guard, mode);
                let mut outcomes = Vec::new();
                for (place, (id, version)) in rows.iter().enumerate() {
                    let standing = model.get(id).map(|version| {
                        let mut standing = Rows::new(Arc::clone(stream.schema()));
                        standing.push(row(*id, *version, &long(*id)).iter().map(Value::as_ref)).unwrap();
                        standing
                    });
                    let outcome = write.outcome(place, standing.as_ref().map(|rows| rows.row(0))).unwrap();
                    match outcome {
                        Outcome::Created | Outcome::Updated => drop(model.insert(*id, *version)),
                        Outcome::Deleted => drop(model.remove(id)),
                        _ => {}
                    }
                    outcomes.push(outcome);
                }
                expected.push(outcomes);
                steps.push(Step::Write(write));
            }
            let report =
                sink.apply(&WriteUnit { scope: &scope, steps: &steps, advance: None, intent: Intent::Commit }).await;
            let report = report.unwrap_or_else(|error| panic!("seed {seed}, unit {unit}: {error}"));
            assert_eq!(report.steps.len(), expected.len());
            for (place, (told, expected)) in report.steps.iter().zip(&expected).enumerate() {
                let sync_core::sink::StepReport::Rows(told) = told else { panic!("{told:?}") };
                assert_eq!(told.len(), expected.len(), "seed {seed}, unit {unit}, step {place}");
                assert!(told == expected, "seed {seed}, unit {unit}, step {place}");
            }
            let there = database.client("SELECT id, version FROM orders ORDER BY id").await.unwrap();
            let model: Vec<String> = model.iter().map(|(id, version)| format!("{id}\t{version}")).collect();
            assert_eq!(there.trim(), model.join("\n"), "seed {seed}, unit {unit}");
        }
    }
}
