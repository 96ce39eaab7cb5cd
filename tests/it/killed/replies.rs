//! The connection breaks at a COMMIT, and server and process live on: what became of it is looked up, not guessed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use sync_core::model::Outcome;
use sync_core::retry::RetryPolicy;
use sync_core::sink::{Altered, SinkCapabilities, WriteReport, WriteUnit};
use sync_core::state::{Checkpoint, FencingToken, RunStatus};
use sync_core::{Engine, Pipeline, Result, Scope, Sink, StreamSpec};
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
    let history = History::of(if keyed == Keyed::ById { stream() } else { keyless() }, 0);
    let engine = engine(&through, &history, sink_at(&through).await.unwrap()).await;
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

async fn engine(url: &str, history: &History, sink: impl Sink + 'static) -> Engine {
    let store = SqlStore::connect(url).await.unwrap();
    let retry = RetryPolicy::new().attempts(20).base(Duration::from_millis(1)).cap(Duration::from_millis(20));
    let engine = Engine::builder(store).owner("test").unit_rows(1).retry(retry);
    engine
        .pipeline(Pipeline::new("history", history.clone(), sink).first_load(sync_core::engine::FirstLoad::Sorted))
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_sent_again_without_asking_are_found_doubled() {
    let database = sync_test_servers::postgres().await.unwrap();
    let target = Target::postgres(database, Keyed::Not).await;
    let proxy = Proxy::to(target.server().unwrap()).await;
    let through = target.url_through(proxy.port());
    let history = History::of(keyless(), 0);
    let engine = engine(&through, &history, Careless(sink_at(&through).await.unwrap())).await;
    let mut commits = 0;
    proxy.plan(move || {
        commits += 1;
        (commits % 4 == 0).then_some(Deed::LoseReply)
    });
    engine.run("history").await.unwrap().completed().unwrap();
    assert!(target.rows_differ(0).await.is_some() && target.writes_differ(0).await.is_some());
}

/// A sink that writes a unit once more when its reply is lost, and asks nobody what became of the first one.
#[derive(Debug)]
struct Careless(Arc<dyn Sink>);

#[async_trait]
impl Sink for Careless {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn capabilities(&self) -> SinkCapabilities {
        self.0.capabilities()
    }

    async fn apply(&self, unit: &WriteUnit<'_>) -> Result<WriteReport> {
        let again = WriteUnit { scope: unit.scope, steps: unit.steps, advance: None, intent: unit.intent };
        match self.0.apply(unit).await {
            Err(error) if error.is_ambiguous() => self.0.apply(&again).await,
            done => done,
        }
    }

    async fn open(&self, scope: &Scope, token: FencingToken) -> Result<Option<Checkpoint>> {
        self.0.open(scope, token).await
    }

    async fn prepare(&self, stream: &StreamSpec) -> Result<Altered> {
        self.0.prepare(stream).await
    }

    async fn exists(&self, stream: &StreamSpec) -> Result<bool> {
        self.0.exists(stream).await
    }
}
