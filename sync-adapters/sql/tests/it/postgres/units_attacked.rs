//! Units of new rows, whose way to the server is cut at each message.

use std::time::Duration;

use sync_core::memory::Feeding;
use sync_core::retry::RetryPolicy;
use sync_core::state::LetterQuery;

use super::cut::{Cut, Way};
use super::*;

const ROWS: i64 = 1500;

fn long(id: i64) -> String {
    format!("{id} {}", "x".repeat(200))
}

fn told(report: &Report) -> String {
    format!("{report} {:?}", report.scopes.iter().map(|scope| &scope.error).collect::<Vec<_>>())
}

/// What a table is in which somebody counts each write of ours.
const LOGGED: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, version bigint, note text CHECK (note NOT LIKE 'bad%'));
    CREATE TABLE log (op text, id bigint);
    CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      IF current_setting('application_name') <> 'theirs' THEN INSERT INTO log VALUES (TG_OP, coalesce(NEW.id, OLD.id)); END IF;
      RETURN NULL; END $$;
    CREATE TRIGGER log AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION log();";

async fn engine_over(way: &Way, database: &Database, source: &MemorySource) -> Engine {
    let url = format!(
        "postgres://{}:{}@127.0.0.1:{}/{}?sslmode=disable",
        database.user(),
        database.password(),
        way.port,
        database.name()
    );
    let sink = Postgres::connect(&url).await.unwrap();
    let store = MemoryStore::new(Arc::new(SystemClock::new()));
    let retry = RetryPolicy::new().base(Duration::from_millis(5)).cap(Duration::from_millis(20));
    let builder = Engine::builder(store).retry(retry).unit_rows(700);
    builder.pipeline(Pipeline::new("shop", source.clone(), sink)).build().unwrap()
}

/// What is in the way of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Odd {
    Nothing,
    /// One that the table refuses.
    Bad,
    /// Some that are there already, after the first unit.
    There,
}

async fn cut_at(number: i64, cut: Cut, odd: Odd) -> bool {
    let database = sync_test_servers::postgres().await.unwrap();
    database.client(LOGGED).await.unwrap();
    let source = MemorySource::of([orders()]).page(100).feeding(Feeding::Log);
    (1..=ROWS).for_each(|id| {
        let note = if odd == Odd::Bad && (id == 333 || id == 1100) { format!("bad {id}") } else { long(id) };
        source.upsert("orders", row(id, id, &note));
    });
    if odd == Odd::There {
        // One that is as it comes, one that is older, and both come in a unit that is thought to be new.
        database
            .client(&format!(
                "SET application_name = 'theirs';
                CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                  IF NEW.id = 1 THEN PERFORM set_config('application_name', 'theirs', true);
                    INSERT INTO orders VALUES (900, 900, '{}'), (1000, 1, 'old') ON CONFLICT DO NOTHING;
                    PERFORM set_config('application_name', '', true); END IF;
                  RETURN NULL; END $$;
                CREATE TRIGGER late AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION late()",
                long(900)
            ))
            .await
            .unwrap();
    }
    let way = Way::to(database.host().to_owned(), database.port(), cut, None).await;
    let engine = engine_over(&way, &database, &source).await;
    way.arm(number);
    let (mut created, mut updated, mut unchanged) = (0, 0, 0);
    let what = format!("{odd:?} {cut:?} {number}");
    let report = tokio::time::timeout(Duration::from_secs(60), engine.run("shop")).await.expect(&what).unwrap();
    let was_cut = way.was_cut();
    way.arm(-1);
    assert_eq!(report.status, RunStatus::Completed, "{what}: {}", told(&report));
    created += count(&report, Outcome::Created);
    updated += count(&report, Outcome::Updated);
    unchanged += count(&report, Outcome::Unchanged);
    let rejected = count(&report, Outcome::Rejected);
    let expected = match odd {
        Odd::Nothing => (ROWS as u64, 0, 0, 0),
        Odd::Bad => (ROWS as u64 - 2, 0, 0, 2),
        Odd::There => (ROWS as u64 - 2, 1, 1, 0),
    };
    assert_eq!((created, updated, unchanged, rejected), expected, "{what}: {}", told(&report));
    let letters = engine.dead_letters(&LetterQuery::default()).await.unwrap();
    assert_eq!(letters.len() as u64, expected.3, "{what}");
    let log = database
        .client("SELECT count(*) FILTER (WHERE op = 'INSERT'), count(DISTINCT id) FILTER (WHERE op = 'INSERT'), count(*) FILTER (WHERE op = 'UPDATE'), count(*) FILTER (WHERE op = 'DELETE') FROM log")
        .await
        .unwrap();
    assert_eq!(log.trim(), format!("{created}\t{created}\t{updated}\t0"), "{what}");
    let again = engine.run("shop").await.unwrap();
    assert_eq!(count(&again, Outcome::Created) + count(&again, Outcome::Updated), 0, "{what}");
    was_cut
}

/// At each message with `CUT_EVERY=1`, which takes minutes; at a few otherwise, each kind of cut at others. Rows that are refused
/// are found by many messages.
async fn cut_everywhere(cut: Cut, odd: Odd) {
    let few = match odd {
        Odd::Nothing => 6,
        Odd::There => 31,
        Odd::Bad => 67,
    };
    let every = std::env::var("CUT_EVERY").map_or(few, |every| every.parse().expect("CUT_EVERY is a number"));
    let mut number = (odd as i64 * 2 + cut as i64) % every;
    loop {
        // Tasks of their own: a database that is dropped holds up its thread.
        let cuts = (0..3).map(|place| tokio::spawn(cut_at(number + place * every, cut, odd)));
        let cuts = futures::future::try_join_all(cuts).await.unwrap();
        number += 3 * every;
        if cuts.contains(&false) {
            break;
        }
    }
    println!("{cut:?} {odd:?}: about {number} messages");
    assert!(number > 20, "{number}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn new_rows_are_there_once_and_told_once_wherever_the_way_is_cut() {
    cut_everywhere(Cut::Before, Odd::Nothing).await;
    cut_everywhere(Cut::After, Odd::Nothing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn rows_that_are_refused_are_told_once_wherever_the_way_is_cut() {
    cut_everywhere(Cut::Before, Odd::Bad).await;
    cut_everywhere(Cut::After, Odd::Bad).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn rows_that_turn_out_to_be_there_are_told_once_wherever_the_way_is_cut() {
    cut_everywhere(Cut::Before, Odd::There).await;
    cut_everywhere(Cut::After, Odd::There).await;
}

/// The session ends when a copy was refused and nothing has been taken back yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_session_that_ends_after_a_refused_copy_is_only_unavailable() {
    for cut in [Cut::Before, Cut::After] {
        let database = sync_test_servers::postgres().await.unwrap();
        database.client(LOGGED).await.unwrap();
        let source = MemorySource::of([orders()]).page(100).feeding(Feeding::Log);
        let note = |id| if id == 333 { "bad".to_owned() } else { long(id) };
        (1..=ROWS).for_each(|id| source.upsert("orders", row(id, id, &note(id))));
        let way = Way::to(database.host().to_owned(), database.port(), cut, Some("ROLLBACK")).await;
        let engine = engine_over(&way, &database, &source).await;
        way.arm(0);
        let report = engine.run("shop").await.unwrap();
        assert!(way.was_cut(), "{cut:?}");
        assert_eq!(report.status, RunStatus::Completed, "{cut:?}: {}", told(&report));
        assert_eq!((count(&report, Outcome::Created), count(&report, Outcome::Rejected)), (ROWS as u64 - 1, 1));
    }
}

/// Somebody else adds, removes and locks the same rows while everything is loaded, and ends our sessions.
#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn what_is_told_of_a_first_load_is_what_was_written_whoever_else_writes_and_ends_sessions() {
    for seed in 1..=2_u64 {
        let database = sync_test_servers::postgres().await.unwrap();
        database.client(LOGGED).await.unwrap();
        let source = MemorySource::of([orders()]).page(100).feeding(Feeding::Log);
        let most = 12_000;
        let note = |id: i64| if id % 2311 == 0 { format!("bad {id}") } else { long(id) };
        (1..=most).for_each(|id| source.upsert("orders", row(id, id, &note(id))));
        let way = Way::to(database.host().to_owned(), database.port(), Cut::Before, None).await;
        let engine = engine_over(&way, &database, &source).await;
        let url = database.url();
        let other = tokio::spawn(async move {
            let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
            let options = options.application_name("theirs");
            let mut other: sqlx::PgConnection = sqlx::ConnectOptions::connect(&options).await.unwrap();
            let mut random = sync_testkit::Random::new(seed);
            let mut wrote = 0;
            loop {
                let from = 1 + random.below(12_000);
                let what = match random.below(5) {
                    0 => format!("INSERT INTO orders SELECT i, 0, 'theirs' FROM generate_series({from}, {}) i ON CONFLICT DO NOTHING", from + 20),
                    1 => format!("INSERT INTO orders SELECT i, i, i || ' ' || repeat('x', 200) FROM generate_series({from}, {}) i WHERE i % 2311 > 0 ON CONFLICT DO NOTHING", from + 3),
                    2 => format!("DELETE FROM orders WHERE id BETWEEN {from} AND {} AND version = 0", from + 400),
                    3 => "SELECT count(*) FROM (SELECT FROM orders ORDER BY id DESC LIMIT 50 FOR UPDATE) t".to_owned(),
                    _ if seed % 2 == 0 && random.below(3) == 0 => "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name <> 'theirs'".to_owned(),
                    _ => format!("UPDATE orders SET version = version WHERE id = {from}"),
                };
                let end = if random.chance(0.7) { "COMMIT" } else { "ROLLBACK" };
                let sql = format!("BEGIN; {what}; SELECT pg_sleep({}); {end}", random.below(15) as f64 / 1000.0);
                match sqlx::Executor::execute(&mut other, sqlx::AssertSqlSafe(sql)).await {
                    Ok(_) => wrote += 1,
                    Err(_) => drop(sqlx::Executor::execute(&mut other, "ROLLBACK").await),
                }
                if wrote > 3000 {
                    return;
                }
            }
        });
        let (mut created, mut updated, mut rejected, mut runs) = (0, 0, 0, 0);
        loop {
            let run = tokio::time::timeout(Duration::from_secs(60), engine.run("shop"));
            let report = run.await.expect("a run that never ends").unwrap();
            created += count(&report, Outcome::Created);
            updated += count(&report, Outcome::Updated);
            rejected += count(&report, Outcome::Rejected);
            runs += 1;
            if report.status == RunStatus::Completed {
                break;
            }
            assert!(runs < 30, "seed {seed}: {}", told(&report));
        }
        other.abort();
        let log = database
            .client("SELECT count(*) FILTER (WHERE op = 'INSERT'), count(*) FILTER (WHERE op = 'UPDATE'), count(*) FILTER (WHERE op = 'DELETE') FROM log")
            .await
            .unwrap();
        assert_eq!(log.trim(), format!("{created}\t{updated}\t0"), "seed {seed}, {runs} runs");
        assert_eq!(rejected, 5, "seed {seed}");
        assert_eq!(engine.dead_letters(&LetterQuery::default()).await.unwrap().len(), 5, "seed {seed}");
        let wrong = database.client("SELECT count(*) FROM generate_series(1, 12000) i LEFT JOIN orders o ON o.id = i AND o.version = i WHERE i % 2311 > 0 AND o.id IS NULL").await.unwrap();
        // What somebody else removed behind us is theirs; they remove only rows of their own.
        assert_eq!(wrong.trim(), "0", "seed {seed}");
        println!("seed {seed}: {runs} runs, {created} created, {updated} updated");
    }
}

/// Other partitions of the run find the table empty, again and again, while a unit is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_unit_that_is_refused_is_copied_once_and_no_more_whatever_others_find_meanwhile() {
    let database = sync_test_servers::postgres().await.unwrap();
    database.client(LOGGED).await.unwrap();
    database
        .client("CREATE SEQUENCE tries; CREATE FUNCTION try() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('tries'); RETURN NULL; END $$;
            CREATE TRIGGER try BEFORE INSERT ON orders FOR EACH STATEMENT EXECUTE FUNCTION try()")
        .await
        .unwrap();
    let sink = Arc::new(Postgres::connect(&database.url()).await.unwrap());
    let stream = Arc::new(orders());
    sink.prepare(&stream).await.unwrap();
    assert_eq!(sink.count(&stream, &sync_core::model::RowScope::All).await.unwrap(), Some(0));
    let counting = (0..6).map(|_| {
        let (sink, stream) = (Arc::clone(&sink), Arc::clone(&stream));
        tokio::spawn(async move {
            let begun = std::time::Instant::now();
            while begun.elapsed() < Duration::from_secs(3) {
                sink.count(&stream, &sync_core::model::RowScope::All).await.unwrap();
            }
        })
    });
    let counting: Vec<_> = counting.collect();
    let mut rows = sync_core::model::Rows::new(Arc::clone(stream.schema()));
    let note = |id| if id == 333 { "bad".to_owned() } else { long(id) };
    (1..=1000).for_each(|id| rows.push(row(id, id, &note(id)).iter().map(Value::as_ref)).unwrap());
    let write = sync_core::sink::Write {
        stream: Arc::clone(&stream),
        changes: sync_core::model::Changes::upserts(rows),
        mode: sync_core::sink::WriteMode::Upsert,
        guard: sync_core::sink::Guard::Always,
        difference: sync_core::detect::Difference::Content,
        expect: Vec::new(),
    };
    let steps = [sync_core::sink::Step::Write(write)];
    let scope = sync_core::Scope {
        pipeline: "p".into(),
        feed: "f".into(),
        partition: Default::default(),
        lane: Default::default(),
    };
    let intent = sync_core::sink::Intent::Commit;
    let unit = sync_core::sink::WriteUnit { scope: &scope, steps: &steps, advance: None, intent };
    sink.apply(&unit).await.unwrap_err();
    let tries: i64 = database.client("SELECT last_value FROM tries").await.unwrap().trim().parse().unwrap();
    futures::future::try_join_all(counting).await.unwrap();
    // The copy, then two within savepoints, and the statement that says why.
    assert!(tries <= 4, "{tries} statements");
}
