//! Letters that a delete makes obsolete, and those that it does not.

use sync_core::memory::{MemorySink, MemoryStore};
use sync_core::model::{Frontier, FrontierProof, Timestamp};
use sync_core::retry::RetryPolicy;
use sync_core::sink::SinkCapabilities;
use sync_core::{Boundary, Engine, Pipeline, RunOptions, StreamSpec, SystemClock, Value};
use sync_testkit::fault::{At, Call, Fault, FaultPlan, Faulty};

use crate::script::{Script, Shop, orders, row};

const NO_BAD: &str =
    "CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, n INTEGER, note TEXT CHECK (note <> 'bad'))";

/// P15. The row is made anew as it was, and refused as it was: its letter is the same one.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_row_that_comes_again_after_its_delete_keeps_its_letter() {
    for together in [false, true] {
        let (shop, script) = (Shop::with(NO_BAD).await, Script::of(orders()));
        script.then([script.page([row(1, 1, "bad")], 1)]);
        let mut gone = script.delete(row(1, 1, "bad"), 2);
        if together {
            gone.boundary = Boundary::Inside;
        }
        script.then([gone, script.page([row(1, 1, "bad")], 3)]);
        shop.run(script.clone(), RunOptions::incremental()).await;
        assert_eq!(shop.letters(script.clone()).await, ["1"]);
        let report = shop.run(script.clone(), RunOptions::incremental()).await;
        assert_eq!(shop.letters(script.clone()).await, ["1"], "together {together}: row 1 is nowhere: {report}");
    }
}

/// P15. A change may come twice: a delete that comes again says nothing of what came after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_delete_that_comes_again_closes_no_letter_of_a_later_version() {
    let stream = StreamSpec::new("orders").key(["id"]).int("n").version("n").text("note");
    let (shop, script) = (Shop::with(NO_BAD).await, Script::of(stream));
    script.then([script.page([row(1, 1, "fine")], 1)]);
    script.then([script.delete(row(1, 2, "fine"), 2)]);
    script.then([script.page([row(1, 3, "bad")], 3)]);
    script.then([script.delete(row(1, 2, "fine"), 4)]);
    for _ in 0..3 {
        shop.run(script.clone(), RunOptions::incremental()).await;
    }
    assert_eq!(shop.letters(script.clone()).await, ["1"]);
    let report = shop.run(script.clone(), RunOptions::incremental()).await;
    assert_eq!(shop.letters(script.clone()).await, ["1"], "row 1 in version 3 is nowhere: {report}");
}

/// What is read again because a stage was forgotten is not late.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_first_load_that_is_begun_again_are_not_late() {
    let stream = StreamSpec::new("orders").key(["id"]).timestamp("at").version("at").text("note");
    let mut capabilities = SinkCapabilities::all();
    capabilities.atomic_checkpoint = false;
    for dies_at in 1..=4 {
        let target = MemorySink::with_capabilities(capabilities);
        let store = MemoryStore::new(std::sync::Arc::new(SystemClock::new()));
        let script = Script::of(stream.clone());
        let time = |seconds: i64| Timestamp::from_micros(1_700_000_000_000_000 + seconds * 1_000_000);
        let at = |id: i64| vec![Value::from(id), Value::Timestamp(time(id)), Value::from("x")];
        let load = || {
            let mut page = script.page([at(3), at(1)], 2);
            page.frontier = Some(Frontier { at: time(100), proof: FrontierProof::Provable });
            let mut last = script.page([at(2), at(4)], 3);
            last.frontier = Some(Frontier { at: time(100), proof: FrontierProof::Provable });
            [script.page([], 1), page, last]
        };
        let run = async |plan: &FaultPlan| {
            let pipeline = Pipeline::new("shop", script.clone(), Faulty::new(target.clone(), plan))
                .first_load(sync_core::engine::FirstLoad::Sorted);
            let quick = RetryPolicy::new().attempts(1);
            let engine = Engine::builder(store.clone()).owner("one").unit_rows(1).retry(quick).pipeline(pipeline);
            engine.build().unwrap().run_with("shop", RunOptions::incremental()).await.unwrap()
        };
        script.then(load());
        run(&FaultPlan::new(1).on(Call::Apply, At::Nth(dies_at), Fault::CrashBefore)).await;
        script.then(load());
        let report = run(&FaultPlan::new(1)).await;
        assert_eq!(target.rows("orders").len(), 4, "{report}");
        assert_eq!(report.scopes[0].late, 0, "died at {dies_at}: {report}");
    }
}

/// A feed of two partitions, each with its pages.
#[derive(Debug, Clone)]
struct Parts(Script, std::sync::Arc<std::sync::Mutex<Vec<(&'static str, sync_core::model::Batch)>>>);

#[async_trait::async_trait]
impl sync_core::Source for Parts {
    fn name(&self) -> &str {
        "parts"
    }
    async fn feeds(&self) -> sync_core::Result<Vec<sync_core::Feed>> {
        self.0.feeds().await
    }
    async fn partitions(&self, _: &sync_core::Feed) -> sync_core::Result<Vec<sync_core::model::Partition>> {
        Ok(["a", "b"].into_iter().map(sync_core::model::Partition::new).collect())
    }
    fn capabilities(&self) -> sync_core::source::SourceCapabilities {
        self.0.capabilities()
    }
    fn read(&self, request: sync_core::ReadRequest) -> sync_core::BatchStream<'_> {
        use futures::StreamExt as _;
        let mut all = self.1.lock().unwrap();
        let mut ours = Vec::new();
        all.retain(|(part, batch)| {
            let is_ours = sync_core::model::Partition::new(*part) == request.partition;
            if is_ours {
                ours.push(Ok(batch.clone()));
            }
            !is_ours
        });
        futures::stream::iter(ours).boxed()
    }
}

/// P15. A row goes from one partition to another, where it is refused; that it has left the first one is heard later.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_row_that_went_to_another_partition_keeps_its_letter() {
    let stream = StreamSpec::new("orders").key(["id"]).int("n").version("n").text("note");
    let (shop, script) = (Shop::with(NO_BAD).await, Script::of(stream));
    let parts = Parts(script.clone(), std::sync::Arc::default());
    let next = |part, batch| parts.1.lock().unwrap().push((part, batch));
    next("a", script.page([row(1, 1, "fine")], 1));
    shop.run(parts.clone(), RunOptions::incremental()).await;
    next("b", script.page([row(1, 3, "bad")], 1));
    shop.run(parts.clone(), RunOptions::incremental()).await;
    assert_eq!(shop.letters(parts.clone()).await, ["1"]);
    next("a", script.delete(row(1, 2, "fine"), 2));
    let report = shop.run(parts.clone(), RunOptions::incremental()).await;
    assert_eq!(shop.letters(parts.clone()).await, ["1"], "row 1 in version 3 is nowhere: {report}");
}

/// Deletes of many sources bear no version: what deletes a stored row closes the letters of its key too.
#[tokio::test(flavor = "multi_thread")]
async fn a_delete_without_a_version_closes_letters_where_it_deletes_rows() {
    let stream = StreamSpec::new("orders").key(["id"]).int("n").version("n").text("note");
    let (shop, script) = (Shop::with(NO_BAD).await, Script::of(stream));
    script.then([script.page([row(1, 1, "fine"), row(2, 1, "fine")], 1)]);
    script.then([script.page([row(1, 2, "bad")], 2)]);
    let gone = |id: i64| script.delete(vec![id.into(), Value::Null, Value::Null], 3);
    script.then([gone(1), gone(2)]);
    for _ in 0..3 {
        shop.run(script.clone(), RunOptions::incremental()).await;
    }
    let there = shop.texts("SELECT CAST(id AS TEXT) FROM orders");
    let letters = shop.letters(script.clone()).await;
    assert_eq!(letters.is_empty(), !there.contains(&"2".to_owned()), "rows {there:?}, letters {letters:?}");
}
