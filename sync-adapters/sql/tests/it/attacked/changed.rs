//! Tables that are made and changed by several at once, behind readers that do not go away, and while sessions are killed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{Connection as _, Executor as _, MySqlConnection, PgConnection};
use sync_core::memory::{MemorySource, MemoryStore};
use sync_core::{Engine, Pipeline, Sink, StreamSpec, SystemClock};
use sync_testkit::Random;

use super::dry::{There, quick, told};
use crate::faults::{BOTH, Server};

pub(super) fn at(width: usize) -> StreamSpec {
    (0..width).fold(StreamSpec::new("prices").key(["id"]).int("n"), |stream, at| stream.text(format!("c{at}").as_str()))
}

/// Four sinks with connections of their own make one table, and change it, round after round.
#[tokio::test(flavor = "multi_thread")]
async fn four_that_make_and_change_one_table_at_once_all_go_on_and_each_change_is_told_once() {
    for there in There::all().await {
        let mut sinks = Vec::new();
        for _ in 0..4 {
            sinks.push(there.sink().await);
        }
        for round in 0..12 {
            let stream = at(round);
            let all = futures::future::join_all(sinks.iter().map(|sink| {
                let (sink, stream) = (Arc::clone(sink), stream.clone());
                async move { tokio::spawn(async move { sink.prepare(&stream).await }).await.unwrap() }
            }))
            .await;
            assert!(all.iter().all(Result::is_ok), "{} round {round}: {all:?}", there.name());
            let told: Vec<String> = all.into_iter().flat_map(|altered| altered.unwrap().added).collect();
            let new = if round == 0 { vec![] } else { vec![format!("c{}", round - 1)] };
            assert_eq!(told, new, "{} round {round}", there.name());
        }
    }
}

/// Two kinds of change at once, with their makers cut at any moment and sessions killed at the server.
#[tokio::test(flavor = "multi_thread")]
async fn makers_that_are_cut_and_killed_hold_up_nobody() {
    let mut random = Random::new(7);
    for server in BOTH {
        let database = server.database().await;
        let mut longest = Duration::ZERO;
        for round in 0..10 {
            let (one, two) =
                (server.connect(&database.url()).await.unwrap(), server.connect(&database.url()).await.unwrap());
            let stream = at(round);
            let first = {
                let (one, stream) = (Arc::clone(&one), stream.clone());
                tokio::spawn(async move { one.prepare(&stream).await })
            };
            tokio::time::sleep(Duration::from_micros(random.below(6000))).await;
            if round % 2 == 0 {
                first.abort();
            } else {
                let kill = match server {
                    Server::Postgres => {
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() LIMIT 1"
                    }
                    Server::MariaDb => {
                        "BEGIN NOT ATOMIC DECLARE i int; SELECT max(ID) INTO i FROM information_schema.PROCESSLIST WHERE DB = DATABASE() AND ID <> CONNECTION_ID(); IF i IS NOT NULL THEN KILL i; END IF; END"
                    }
                };
                let _ = database.client(kill).await;
            }
            let began = Instant::now();
            let mut done = two.prepare(&stream).await;
            for _ in 0..3 {
                if done.is_ok() {
                    break;
                }
                done = two.prepare(&stream).await;
            }
            longest = longest.max(began.elapsed());
            assert!(done.is_ok(), "{server:?} round {round}: {done:?}");
            let _ = first.await;
            assert_eq!(two.lacking(&stream).await.unwrap(), Default::default());
        }
        println!("{server:?}: the longest wait was {longest:?}");
        assert!(longest < Duration::from_secs(10), "{server:?}: {longest:?}");
    }
}

/// The account's own limits end the wait; the next run makes the change, and tells of it once.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_a_limit_of_the_account_ends_is_made_and_told_by_the_run_that_makes_it() {
    use sync_core::memory::{MemorySource, MemoryStore};
    use sync_core::retry::RetryPolicy;
    use sync_core::{Engine, Pipeline, SystemClock};
    for (server, setting) in [
        (Server::Postgres, "lock_timeout = '300ms'"),
        (Server::Postgres, "statement_timeout = '400ms'"),
        (Server::MariaDb, "max_statement_time"),
    ] {
        let database = server.database().await;
        server.connect(&database.url()).await.unwrap().prepare(&at(0)).await.unwrap();
        let mut pg = None;
        let mut my = None;
        if server == Server::Postgres {
            database.client(&format!("ALTER DATABASE \"{}\" SET {setting}", database.name())).await.unwrap();
            let mut reader = PgConnection::connect(&database.url()).await.unwrap();
            reader.execute("SET statement_timeout = 0; BEGIN; SELECT * FROM prices").await.unwrap();
            pg = Some(reader);
        } else {
            let mut reader = MySqlConnection::connect(&database.url()).await.unwrap();
            reader.execute("START TRANSACTION").await.unwrap();
            reader.execute("SELECT * FROM prices").await.unwrap();
            my = Some(reader);
            database.client("SET GLOBAL max_statement_time = 0.4").await.unwrap();
        }
        let source = MemorySource::of([at(1)]);
        source.upsert("prices", vec![1.into(), 1.into(), "x".into()]);
        let quick = RetryPolicy::new().base(Duration::from_millis(20)).cap(Duration::from_millis(50)).attempts(3);
        let store = MemoryStore::new(Arc::new(SystemClock::new()));
        let engine = Engine::builder(store)
            .retry(quick)
            .pipeline(Pipeline::new("shop", source, server.connect(&database.url()).await.unwrap()))
            .build()
            .unwrap();
        let began = Instant::now();
        let report = engine.run("shop").await.unwrap();
        println!(
            "{server:?} {setting}: {:?} {:?}",
            began.elapsed(),
            report.scopes[0].error.as_ref().map(|error| format!("{:?} {error}", error.kind()))
        );
        assert!(report.scopes[0].error.is_some() && report.scopes[0].altered.added.is_empty(), "{report}");
        let began = Instant::now();
        let other = StreamSpec::new("other").key(["id"]).int("n");
        server.connect(&database.url()).await.unwrap().prepare(&other).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(2), "{server:?} {:?}", began.elapsed());
        drop((pg, my));
        if server == Server::MariaDb {
            database.client("SET GLOBAL max_statement_time = 0").await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let report = engine.run("shop").await.unwrap();
        assert_eq!(report.scopes[0].altered.added, ["prices.c0"], "{server:?} {setting}: {report}");
        let report = engine.run("shop").await.unwrap();
        assert!(report.scopes[0].altered.added.is_empty(), "{server:?} {setting}: {report}");
    }
}

/// What an earlier run was not allowed to do, it has not done.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_somebody_else_adds_after_a_refusal_is_not_told_as_our_own() {
    let database = Server::Postgres.database().await;
    let role = format!("poor_{}", &database.name()[..20]);
    let create = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'x'; CREATE TABLE orders (id bigint PRIMARY KEY, n bigint); GRANT CREATE ON SCHEMA public TO {role}; GRANT SELECT, INSERT, UPDATE, DELETE ON orders TO {role}"
    );
    database.client(&create).await.unwrap();
    let url = format!("postgres://{role}:x@{}:{}/{}", database.host(), database.port(), database.name());
    let sink = Server::Postgres.connect(&url).await.unwrap();
    let source = MemorySource::of([StreamSpec::new("orders").key(["id"]).int("n").text("note")]);
    source.upsert("orders", vec![1.into(), 1.into(), "x".into()]);
    let store = MemoryStore::new(Arc::new(SystemClock::new()));
    let engine = Engine::builder(store).retry(quick()).pipeline(Pipeline::new("shop", source, sink)).build().unwrap();
    let report = engine.run("shop").await.unwrap();
    assert!(report.scopes[0].error.is_some() && told(&report).is_empty(), "{report}");
    database.client("ALTER TABLE orders ADD COLUMN note text").await.unwrap();
    let report = engine.run("shop").await.unwrap();
    drop(engine);
    database.client(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
    assert_eq!(told(&report), Vec::<String>::new(), "{report}");
}
