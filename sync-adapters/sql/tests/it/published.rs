//! Listings that are published while servers and processes die: readers see one of them whole, and each row is written once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sync_core::memory::{Feeding, MemorySource, MemoryStore};
use sync_core::model::{Absent, Disposition};
use sync_core::retry::RetryPolicy;
use sync_core::sink::MostDeletes;
use sync_core::source::Listing;
use sync_core::state::RunStatus;
use sync_core::{Engine, Key, Pipeline, RunOptions, StreamSpec, SystemClock};
use sync_test_servers::{Database, Durability, MariaDbServer, PostgresServer, PrivateServer};
use sync_testkit::Random;

use crate::faults::Server;

const ROWS: i64 = 400;

struct Way {
    stream: StreamSpec,
    feeding: Feeding,
    reconcile: bool,
}

/// One of them, and each in turn where `PUBLISHED_SECONDS` says for how long.
fn ways() -> Vec<(u64, Way)> {
    let plain = || StreamSpec::new("orders").key(["id"]).int("n");
    let reconciled = |stream| Way { stream, feeding: Feeding::Log, reconcile: true };
    let listed = Way { stream: plain().disposition(Disposition::Snapshot), feeding: Feeding::Whole, reconcile: false };
    let all = [reconciled(plain().absent(Absent::Mark("gone".into()))), listed, reconciled(plain())];
    let many = if std::env::var("PUBLISHED_SECONDS").is_ok() { all.len() } else { 1 };
    (1..).zip(all).take(many).collect()
}

async fn survives<K: Send + Sync + 'static>(kind: Server, server: PrivateServer<K>, way: Way, seed: u64) {
    let server = Arc::new(server);
    let database: Database = server.database().await.unwrap();
    let log = match kind {
        Server::Postgres => "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, gone timestamptz, theirs int);
            CREATE TABLE child (id int PRIMARY KEY, orders bigint REFERENCES orders);
            CREATE TABLE log (id bigint, n bigint);
            CREATE FUNCTION written() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.001); INSERT INTO log VALUES (NEW.id, NEW.n); RETURN NULL; END';
            CREATE TRIGGER written AFTER INSERT OR UPDATE OF n ON orders FOR EACH ROW EXECUTE FUNCTION written();",
        Server::MariaDb => "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, gone datetime(6), theirs int);
            CREATE TABLE child (id int PRIMARY KEY, orders bigint, FOREIGN KEY (orders) REFERENCES orders (id));
            CREATE TABLE log (id bigint, n bigint);
            CREATE TRIGGER inserted AFTER INSERT ON orders FOR EACH ROW INSERT INTO log VALUES (NEW.id, NEW.n);
            CREATE TRIGGER updated AFTER UPDATE ON orders FOR EACH ROW INSERT INTO log SELECT NEW.id, NEW.n FROM DUAL WHERE NOT (NEW.n <=> OLD.n) AND SLEEP(0.001) = 0;",
    };
    database.client(log).await.unwrap();
    let source = MemorySource::of([way.stream.clone()]).feeding(way.feeding).listing(Listing::Rows).page(37);
    let store = MemoryStore::new(Arc::new(SystemClock::new()));
    let url = database.url();
    let engine = async || {
        let quick = RetryPolicy::new().base(Duration::from_millis(20)).attempts(1000).cap(Duration::from_millis(200));
        loop {
            // The server may be down just now.
            let Ok(sink) = kind.connect(&url).await else { continue };
            let pipeline =
                Pipeline::new("shop", source.clone(), sink).most_deletes(MostDeletes::Limited { rows: 10, share: 0.0 });
            let built =
                Engine::builder(store.clone()).owner("one").unit_rows(50).retry(quick).pipeline(pipeline).build();
            return Arc::new(built.unwrap());
        }
    };
    let options = || if way.reconcile { RunOptions::reconcile() } else { RunOptions::incremental() };
    let put = |n: i64| {
        (1..=ROWS)
            .filter(|id| *id <= 5 || id % 50 != n % 50)
            .for_each(|id| source.upsert("orders", vec![id.into(), n.into()]))
    };
    put(0);
    engine().await.run("shop").await.unwrap().completed().unwrap();
    database.client("INSERT INTO child SELECT id, id FROM orders WHERE id <= 5").await.unwrap();
    let (over, looks, torn) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let reader = {
        let (url, over, looks, torn) = (url.clone(), Arc::clone(&over), Arc::clone(&looks), Arc::clone(&torn));
        tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let look = "SELECT count(DISTINCT n) FROM orders WHERE gone IS NULL";
                match look_at(kind, &url, look).await {
                    Some(found) => {
                        looks.fetch_add(1, Ordering::Relaxed);
                        if found != 1 {
                            torn.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    None => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        })
    };
    let writer = {
        let (url, over) = (url.clone(), Arc::clone(&over));
        tokio::spawn(async move {
            let mut random = Random::new(seed + 7);
            while !over.load(Ordering::Relaxed) {
                let id = random.below(ROWS as u64) + 1;
                let _ =
                    run_sql(kind, &url, &format!("UPDATE orders SET theirs = coalesce(theirs, 0) + 1 WHERE id = {id}"))
                        .await;
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        })
    };
    let mut random = Random::new(seed);
    let (mut kills, mut aborts, mut rounds, mut worst) = (0, 0, 0, Duration::ZERO);
    let until = Instant::now()
        + Duration::from_secs(std::env::var("PUBLISHED_SECONDS").map_or(8, |text| text.parse().unwrap()));
    while Instant::now() < until {
        rounds += 1;
        let n = rounds;
        for id in (1..=ROWS).filter(|id| *id > 5 && id % 50 == n % 50) {
            source.delete("orders", &Key::new([id]));
        }
        put(n);
        let began = Instant::now();
        loop {
            let engine = engine().await;
            let options = options();
            let run = tokio::spawn(async move { engine.run_with("shop", options).await });
            tokio::time::sleep(Duration::from_micros(random.below(1_200_000))).await;
            match random.below(3) {
                0 => {
                    server.kill().await.unwrap();
                    kills += 1;
                    server.restart().await.unwrap();
                }
                1 => {
                    run.abort();
                    aborts += 1;
                    let _ = run.await;
                    continue;
                }
                _ => {}
            }
            let report = tokio::time::timeout(Duration::from_secs(60), run).await.expect("it hangs").unwrap().unwrap();
            if report.status == RunStatus::Completed {
                assert_eq!(report.ledger().count(sync_core::model::Outcome::Withheld), 0, "{report}");
                break;
            }
            println!("{report}");
        }
        worst = worst.max(began.elapsed());
        let expected: Vec<String> =
            source.rows("orders").iter().map(|(_, row)| format!("{:?},{:?}", row[0], row[1])).collect();
        let here = database.client("SELECT id, n FROM orders WHERE gone IS NULL ORDER BY id").await.unwrap();
        let here: Vec<String> = here
            .lines()
            .map(|l| {
                let (a, b) = l.split_once('\t').or_else(|| l.split_once('|')).unwrap();
                format!("Int({a}),Int({b})")
            })
            .collect();
        assert!(here == expected, "round {n}: {} rows are here, {} should be", here.len(), expected.len());
        let doubled = database
            .client("SELECT count(*) FROM (SELECT id, n FROM log GROUP BY id, n HAVING count(*) > 1) d")
            .await
            .unwrap();
        assert_eq!(doubled, "0", "round {n}: rows were written twice");
    }
    over.store(true, Ordering::Relaxed);
    reader.await.unwrap();
    writer.await.unwrap();
    println!(
        "{kind:?}: {rounds} rounds, {kills} kills, {aborts} aborts, {} looks, {} torn, longest {worst:?}",
        looks.load(Ordering::Relaxed),
        torn.load(Ordering::Relaxed)
    );
    assert_eq!(torn.load(Ordering::Relaxed), 0);
    let left = match kind {
        Server::Postgres => "SELECT count(*) FROM pg_class WHERE relname LIKE '\\_sync\\_stage\\_%' AND relkind = 'r'",
        Server::MariaDb => "SELECT count(*) FROM _sync_stage",
    };
    assert_eq!(database.client(left).await.unwrap(), "0", "stages are left");
}

async fn look_at(kind: Server, url: &str, sql: &str) -> Option<i64> {
    use sqlx::{AssertSqlSafe, Connection as _};
    let sql = AssertSqlSafe(sql.to_owned());
    match kind {
        Server::Postgres => {
            let mut c = sqlx::PgConnection::connect(url).await.ok()?;
            let n = sqlx::query_scalar(sql).fetch_one(&mut c).await.ok();
            c.close().await.ok()?;
            n
        }
        Server::MariaDb => {
            let mut c = sqlx::MySqlConnection::connect(url).await.ok()?;
            let n = sqlx::query_scalar(sql).fetch_one(&mut c).await.ok();
            c.close().await.ok()?;
            n
        }
    }
}

async fn run_sql(kind: Server, url: &str, sql: &str) -> Option<()> {
    use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
    let sql = AssertSqlSafe(sql.to_owned());
    match kind {
        Server::Postgres => {
            let mut c = sqlx::PgConnection::connect(url).await.ok()?;
            c.execute(sql).await.ok()?;
            c.close().await.ok()
        }
        Server::MariaDb => {
            let mut c = sqlx::MySqlConnection::connect(url).await.ok()?;
            c.execute(sql).await.ok()?;
            c.close().await.ok()
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_on_postgresql_see_each_listing_whole_while_the_server_and_processes_die() {
    for (seed, way) in ways() {
        let server = PostgresServer::start(Durability::Full).await.unwrap();
        survives(Server::Postgres, server, way, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_on_mariadb_see_each_listing_whole_while_the_server_and_processes_die() {
    for (seed, way) in ways() {
        let server = MariaDbServer::start(Durability::Full).await.unwrap();
        survives(Server::MariaDb, server, way, seed).await;
    }
}
