//! Units of new rows under the limits of a server, and on one that dies at their COMMIT.

use std::time::Duration;

use sync_core::Feed;
use sync_core::memory::Feeding;
use sync_core::retry::RetryPolicy;
use sync_core::state::LetterQuery;

use super::*;

fn long(id: i64) -> String {
    format!("{id} {}", "x".repeat(200))
}

fn told(report: &Report) -> String {
    format!("{report} {:?}", report.scopes.iter().map(|scope| &scope.error).collect::<Vec<_>>())
}

const LOGGED: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, version bigint, note text);
    CREATE TABLE log (op text, id bigint);
    CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      INSERT INTO log VALUES (TG_OP, coalesce(NEW.id, OLD.id)); RETURN NULL; END $$;
    CREATE TRIGGER log AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION log();";

async fn over(database: &Database, source: &MemorySource, unit: usize) -> Engine {
    let sink = Postgres::connect(&database.url()).await.unwrap();
    let store = MemoryStore::new(Arc::new(SystemClock::new()));
    let retry = RetryPolicy::new().base(Duration::from_millis(5)).cap(Duration::from_millis(50));
    let builder = Engine::builder(store).retry(retry).unit_rows(unit);
    builder.pipeline(Pipeline::new("shop", source.clone(), sink)).build().unwrap()
}

fn filled(rows: i64) -> MemorySource {
    let source = MemorySource::of([orders()]).page(100).feeding(Feeding::Log);
    (1..=rows).for_each(|id| source.upsert("orders", row(id, id, &long(id))));
    source
}

async fn logged(database: &Database, rows: i64, what: &str) {
    let log = database.client("SELECT count(*) FILTER (WHERE op = 'INSERT'), count(DISTINCT id) FILTER (WHERE op = 'INSERT'), count(*) FILTER (WHERE op <> 'INSERT') FROM log").await.unwrap();
    assert_eq!(log.trim(), format!("{rows}\t{rows}\t0"), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_the_server_ends_for_its_time_once_is_done_again() {
    for (place, setting) in [
        (1, "statement_timeout"),
        (333, "statement_timeout"),
        (700, "statement_timeout"),
        (1200, "statement_timeout"),
        (333, "transaction_timeout"),
        (333, "idle_in_transaction_session_timeout"),
    ] {
        let database = sync_test_servers::postgres().await.unwrap();
        database.client(LOGGED).await.unwrap();
        let version = database.client("SHOW server_version_num").await.unwrap().trim().parse::<i64>().unwrap();
        if setting == "transaction_timeout" && version < 170_000 {
            continue;
        }
        database
            .client(&format!(
                "CREATE SEQUENCE times;
            CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
              IF NEW.id = {place} AND nextval('times') <= 2 THEN PERFORM pg_sleep(1.2); END IF; RETURN NEW; END $$;
            CREATE TRIGGER slow BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION slow();
            ALTER DATABASE \"{}\" SET {setting} = '400ms'",
                database.name()
            ))
            .await
            .unwrap();
        let source = filled(1500);
        let engine = over(&database, &source, 700).await;
        let report = tokio::time::timeout(Duration::from_secs(60), engine.run("shop")).await.expect("an end").unwrap();
        let what = format!("{place} {setting}: {}", told(&report));
        assert_eq!(report.status, RunStatus::Completed, "{what}");
        assert_eq!(count(&report, Outcome::Created), 1500, "{what}");
        logged(&database, 1500, &what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_waits_for_a_lock_for_too_long_is_done_again() {
    let database = sync_test_servers::postgres().await.unwrap();
    database
        .client("CREATE TABLE shops (id bigint PRIMARY KEY); INSERT INTO shops SELECT generate_series(0, 9);")
        .await
        .unwrap();
    database.client(LOGGED).await.unwrap();
    database
        .client(&format!(
            "ALTER TABLE orders ADD shop bigint GENERATED ALWAYS AS (id % 10) STORED REFERENCES shops;
        ALTER DATABASE \"{}\" SET lock_timeout = '100ms'",
            database.name()
        ))
        .await
        .unwrap();
    let source = filled(1500);
    let engine = over(&database, &source, 700).await;
    let holding = {
        let sql = "SET lock_timeout = 0; BEGIN; UPDATE shops SET id = id WHERE id = 3; SELECT id FROM shops WHERE id = 4 FOR UPDATE; SELECT pg_sleep(0.5); COMMIT".to_owned();
        let holder = sqlx::PgPool::connect(&database.url()).await.unwrap();
        tokio::spawn(async move { sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&holder).await.map(|_| ()).unwrap() })
    };
    tokio::time::sleep(Duration::from_millis(60)).await;
    let report = tokio::time::timeout(Duration::from_secs(60), engine.run("shop")).await.expect("an end").unwrap();
    holding.await.unwrap();
    assert_eq!(report.status, RunStatus::Completed, "{}", told(&report));
    assert_eq!(count(&report, Outcome::Created), 1500);
    logged(&database, 1500, "lock").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_there_once_and_told_once_though_the_server_is_killed_at_a_commit() {
    for round in [2, 5_u64] {
        let server = PostgresServer::start(Durability::ProcessOnly).await.unwrap();
        let database = server.database().await.unwrap();
        database.client(LOGGED).await.unwrap();
        // The COMMIT takes a while.
        database.client("CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
              IF NEW.id % 700 = 0 THEN PERFORM pg_sleep(0.3); END IF; RETURN NULL; END $$;
            CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()").await.unwrap();
        let source = filled(2100);
        let engine = over(&database, &source, 700).await;
        let running = tokio::spawn(async move {
            let mut reports = Vec::new();
            for _ in 0..20 {
                let report = engine.run("shop").await.unwrap();
                let done = report.status == RunStatus::Completed;
                reports.push(report);
                if done {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            reports
        });
        tokio::time::sleep(Duration::from_millis(100 + round * 90)).await;
        server.kill().await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        server.restart().await.unwrap();
        let reports = tokio::time::timeout(Duration::from_secs(60), running).await.expect("an end").unwrap();
        let what = reports.iter().map(told).collect::<Vec<_>>().join("\n");
        assert_eq!(reports.last().unwrap().status, RunStatus::Completed, "{what}");
        let created: u64 = reports.iter().map(|report| count(report, Outcome::Created)).sum();
        assert_eq!(created, 2100, "round {round}: {what}");
        logged(&database, 2100, &what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_two_streams_in_one_unit_come_in_though_one_refers_to_the_other() {
    for (deferred, first, bad) in [
        (false, "shops", false),
        (false, "orders", false),
        (true, "orders", false),
        (false, "shops", true),
        (true, "orders", true),
    ] {
        let database = sync_test_servers::postgres().await.unwrap();
        let wait = if deferred { "DEFERRABLE INITIALLY DEFERRED" } else { "" };
        database.client(&format!("CREATE TABLE shops (id bigint PRIMARY KEY, version bigint, note text CHECK (note NOT LIKE 'bad%'));
            CREATE TABLE orders (id bigint PRIMARY KEY, version bigint, note text, shop bigint REFERENCES shops {wait})")).await.unwrap();
        let shops = Arc::new(StreamSpec::new("shops").key(["id"]).int("version").version("version").text("note"));
        let orders =
            Arc::new(StreamSpec::new("orders").key(["id"]).int("version").version("version").text("note").int("shop"));
        let source = MemorySource::new([Feed::new("all", [shops, orders])]).page(2000).feeding(Feeding::Log);
        let shop = |id: i64| {
            source.upsert("shops", row(id, id, &if bad && id == 77 { "bad one".to_owned() } else { long(id) }))
        };
        let order = |id: i64| {
            let mut row = row(id, id, &long(id));
            row.push(id.into());
            source.upsert("orders", row);
        };
        if first == "shops" {
            (1..=400).for_each(shop);
            (1..=400).for_each(order);
        } else {
            (1..=400).for_each(order);
            (1..=400).for_each(shop);
        }
        let engine = over(&database, &source, 2000).await;
        let report = tokio::time::timeout(Duration::from_secs(60), engine.run("shop")).await.expect("an end").unwrap();
        let what = format!("deferred {deferred}, {first} first, bad {bad}: {}", told(&report));
        let letters =
            engine.dead_letters(&LetterQuery { limit: 1000, ..LetterQuery::default() }).await.unwrap().len() as u64;
        let there =
            database.client("SELECT (SELECT count(*) FROM shops) + (SELECT count(*) FROM orders)").await.unwrap();
        assert_eq!(there.trim().parse::<u64>().unwrap() + letters, 800, "{what}");
        assert_eq!(count(&report, Outcome::Rejected), letters, "{what}");
        assert_eq!(count(&report, Outcome::Created), 800 - letters, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_there_or_not_whatever_else_has_its_name() {
    for (name, made, wanted) in [
        ("orders", "CREATE SCHEMA theirs; CREATE TABLE theirs.orders (id int)", Some(false)),
        ("Orders", "CREATE TABLE orders (id int)", Some(false)),
        ("a.b", "CREATE SCHEMA a; CREATE TABLE a.b (id int)", Some(false)),
        ("a\"b", "CREATE TABLE \"a\"\"b\" (id bigint PRIMARY KEY, version bigint, note text)", Some(true)),
        ("orders ", "CREATE TABLE orders (id int)", Some(false)),
        ("12345", "CREATE TABLE orders (id int)", Some(false)),
        ("-", "CREATE TABLE orders (id int)", Some(false)),
        ("pg_class", "SELECT 1", None),
        ("orders", "CREATE SEQUENCE orders", None),
        ("orders", "CREATE TYPE orders AS (id int)", None),
        ("orders", "CREATE TYPE orders AS ENUM ('a')", None),
        ("orders", "CREATE DOMAIN orders AS int", None),
        ("orders", "CREATE TABLE x (id int); CREATE INDEX orders ON x (id)", None),
        ("orders", "CREATE MATERIALIZED VIEW orders AS SELECT 1 AS id", None),
        ("orders", "CREATE TABLE orders ()", None),
    ] {
        let database = sync_test_servers::postgres().await.unwrap();
        database.client(made).await.unwrap();
        let spec = StreamSpec::new(name).key(["id"]).int("version").version("version").text("note");
        let source = MemorySource::of([spec.clone()]).page(100);
        (1..=300).for_each(|id| source.upsert(name, row(id, 1, &long(id))));
        let sink = Postgres::connect(&database.url()).await.unwrap();
        let there = sink.exists(&spec).await;
        let engine = over(&database, &source, 700).await;
        let report = tokio::time::timeout(Duration::from_secs(60), engine.run("shop")).await.expect("an end").unwrap();
        if let Some(wanted) = wanted {
            assert_eq!(there.unwrap(), wanted, "{name} {made}");
            assert_eq!(
                (report.status, count(&report, Outcome::Created)),
                (RunStatus::Completed, 300),
                "{name} {made} {}",
                told(&report)
            );
        } else {
            assert_eq!((report.status, report.ledger().fetched), (RunStatus::Failed, 0), "{name} {made}");
            let kind = report.scopes[0].error.as_ref().unwrap().kind();
            assert!(
                matches!(
                    kind,
                    sync_core::ErrorKind::Schema | sync_core::ErrorKind::Config | sync_core::ErrorKind::Forbidden
                ),
                "{kind:?}"
            );
        }
    }
}
