//! The connection breaks at a COMMIT, and server and process live on: what became of it is looked up, not guessed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sync_core::model::Outcome;
use sync_core::retry::RetryPolicy;
use sync_core::state::RunStatus;
use sync_core::{Engine, Pipeline};
use sync_store_sql::SqlStore;
use sync_tests::history::{History, head, keyless, stream};
use sync_tests::told::sink_at;

use super::proxy::{Deed, Proxy};
use super::seeded;
use super::target::{Keyed, Target};

const RUNS: u64 = 12;

#[tokio::test(flavor = "multi_thread")]
async fn rows_without_a_key_are_added_once_where_replies_of_postgresql_are_lost() {
    let database = sync_test_servers::postgres().await.unwrap();
    survives_lost_replies(Target::postgres(database, Keyed::Not).await, Keyed::Not).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_with_a_key_are_written_once_where_replies_of_postgresql_are_lost() {
    let database = sync_test_servers::postgres().await.unwrap();
    survives_lost_replies(Target::postgres(database, Keyed::ById).await, Keyed::ById).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_without_a_key_are_added_once_where_replies_of_mariadb_are_lost() {
    let database = sync_test_servers::mariadb().await.unwrap();
    survives_lost_replies(Target::mariadb(database, Keyed::Not).await, Keyed::Not).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_with_a_key_are_written_once_where_replies_of_mariadb_are_lost() {
    let database = sync_test_servers::mariadb().await.unwrap();
    survives_lost_replies(Target::mariadb(database, Keyed::ById).await, Keyed::ById).await;
}

/// Breaks the connections of sink and store at one COMMIT in three.
async fn survives_lost_replies(target: Target, keyed: Keyed) {
    let (seed, mut random) = seeded();
    let proxy = Proxy::to(target.server().unwrap()).await;
    let through = target.url_through(proxy.port());
    let store = SqlStore::connect(&through).await.unwrap();
    let sink = sink_at(&through).await.unwrap();
    let history = History::of(if keyed == Keyed::ById { stream() } else { keyless() }, 0);
    let retry = RetryPolicy::new().attempts(20).base(Duration::from_millis(1)).cap(Duration::from_millis(20));
    let engine = Engine::builder(store).owner("test").unit_rows(1).retry(retry);
    let engine = engine.pipeline(Pipeline::new("history", history.clone(), sink)).build().unwrap();

    let done = Arc::new(Mutex::new(BTreeMap::<&str, u32>::new()));
    let counted = Arc::clone(&done);
    proxy.plan(move || {
        let (what, deed) = match random.below(9) {
            0 => ("lost", Deed::Lose),
            1 => ("reply lost", Deed::LoseReply),
            2 => ("late", Deed::Late(Duration::from_millis(1 + random.below(30)))),
            _ => return None,
        };
        *counted.lock().unwrap().entry(what).or_default() += 1;
        Some(deed)
    });
    let mut written = 0;
    for run in 0..RUNS {
        if run > 0 {
            history.move_on();
        }
        let report = engine.run("history").await.unwrap();
        assert_eq!(report.status, RunStatus::Completed, "{report} {:?}", report.scopes[0].error);
        let tally = report.ledger().outcomes;
        assert_eq!(tally.count(Outcome::Unchanged), 0, "no row was offered to the table again: {report}");
        written += tally.count(Outcome::Created) + tally.count(Outcome::Updated);
    }
    let done = done.lock().unwrap().clone();
    println!("seed {seed}: connections broke at a COMMIT: {done:?}");
    target.assert_nothing_is_lost_or_doubled(history.generation()).await;
    assert_eq!(written, head(history.generation()), "the books count each change once");
    assert!(done.len() == 3 && done.values().all(|times| *times >= 5), "enough happened to prove something: {done:?}");
}
