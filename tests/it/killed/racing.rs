//! Three engines run the same pipeline at once, with the state on the server, which dies meanwhile; sometimes the state forgets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sync_core::retry::RetryPolicy;
use sync_core::{Engine, ErrorKind, Pipeline, Report};
use sync_store_sql::SqlStore;
use sync_test_servers::{Durability, MariaDbServer, PostgresServer, PrivateServer};
use sync_testkit::Random;
use sync_tests::history::{History, keyless, stream};
use sync_tests::told::sink_at;

use super::target::{Keyed, Target};

async fn races<K: Send + Sync + 'static>(
    server: PrivateServer<K>,
    target: Target,
    keyed: Keyed,
    owners: [&'static str; 3],
    restored: bool,
) {
    let history = History::of(if keyed == Keyed::ById { stream() } else { keyless() }, 0);
    let url = target.url();
    let seconds = std::env::var("RACE_SECONDS").map_or(8, |text| text.parse().unwrap());
    let over = Arc::new(AtomicBool::new(false));
    let (done, failed, fenced) =
        (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let mut racers = Vec::new();
    for owner in owners {
        let (history, url, over) = (history.clone(), url.clone(), Arc::clone(&over));
        let (done, failed, fenced) = (Arc::clone(&done), Arc::clone(&failed), Arc::clone(&fenced));
        racers.push(tokio::spawn(async move {
            let mut engine = None;
            let mut runs = 0;
            while !over.load(Ordering::Relaxed) {
                runs += 1;
                // As a new process now and then.
                if engine.is_none() || runs % 7 == 0 {
                    let (Ok(store), Ok(sink)) = (SqlStore::connect(&url).await, sink_at(&url).await) else {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        continue;
                    };
                    let quick =
                        RetryPolicy::new().base(Duration::from_millis(10)).attempts(4).cap(Duration::from_millis(100));
                    let pipeline = Pipeline::new("history", history.clone(), sink);
                    let builder = Engine::builder(store)
                        .owner(owner)
                        .lease_ttl(Duration::from_secs(2))
                        .unit_rows(250)
                        .retry(quick);
                    engine = builder.pipeline(pipeline).build().ok();
                }
                let Some(engine) = &engine else { continue };
                match engine.run("history").await.and_then(Report::completed) {
                    Ok(_) => done.fetch_add(1, Ordering::Relaxed),
                    Err(error) if error.kind() == ErrorKind::Fenced => fenced.fetch_add(1, Ordering::Relaxed),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
                        failed.fetch_add(1, Ordering::Relaxed)
                    }
                };
            }
        }));
    }
    let mut random = Random::new(5);
    let (began, mut kills, mut restores) = (Instant::now(), 0, 0);
    while began.elapsed() < Duration::from_secs(seconds) {
        tokio::time::sleep(Duration::from_millis(100 + random.below(1500))).await;
        history.move_on();
        match random.below(4) {
            0 => {
                server.kill().await.unwrap();
                server.restart().await.unwrap();
                kills += 1;
            }
            1 if restored => {
                // The state is the one of an older backup: nothing of it is left.
                target.tell("DELETE FROM _sync_lease").await;
                restores += 1;
            }
            _ => {}
        }
    }
    over.store(true, Ordering::Relaxed);
    for racer in racers {
        tokio::time::timeout(Duration::from_secs(60), racer).await.expect("it hangs").unwrap();
    }
    let store = SqlStore::connect(&url).await.unwrap();
    let pipeline = Pipeline::new("history", history.clone(), sink_at(&url).await.unwrap());
    let last = Engine::builder(store).owner(owners[0]).pipeline(pipeline).build().unwrap();
    let began = Instant::now();
    while last.run("history").await.and_then(Report::completed).is_err() {
        assert!(began.elapsed() < Duration::from_secs(60), "it does not come to its end");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let of = |count: &AtomicU32| count.load(Ordering::Relaxed);
    println!(
        "{owners:?}: {} generations, {kills} kills, {restores} restores, {} runs done, {} fenced, {} failed",
        history.generation(),
        of(&done),
        of(&fenced),
        of(&failed)
    );
    if keyed == Keyed::ById {
        target.assert_nothing_is_lost_or_doubled(history.generation()).await;
    } else {
        assert_eq!(target.rows_differ(history.generation()).await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn engines_that_race_on_postgresql_while_it_dies_append_each_row_once() {
    for (keyed, owners, restored) in races_to_run() {
        let server = PostgresServer::start(Durability::Full).await.unwrap();
        let target = Target::postgres(server.database().await.unwrap(), keyed).await;
        races(server, target, keyed, owners, restored).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn engines_that_race_on_mariadb_while_it_dies_append_each_row_once() {
    for (keyed, owners, restored) in races_to_run() {
        let server = MariaDbServer::start(Durability::Full).await.unwrap();
        let target = Target::mariadb(server.database().await.unwrap(), keyed).await;
        races(server, target, keyed, owners, restored).await;
    }
}

/// One of them, and each in turn where `RACE_SECONDS` says for how long.
fn races_to_run() -> Vec<(Keyed, [&'static str; 3], bool)> {
    let (apart, alike) = (["one", "two", "three"], ["one"; 3]);
    let all = [
        (Keyed::Not, ["one", "one", "two"], true),
        (Keyed::ById, apart, false),
        (Keyed::ById, alike, true),
        (Keyed::Not, alike, false),
    ];
    let many = if std::env::var("RACE_SECONDS").is_ok() { all.len() } else { 1 };
    all.into_iter().take(many).collect()
}
