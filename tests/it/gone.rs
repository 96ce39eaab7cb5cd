//! A target that is gone: its position stands behind rows that were in it, so following on would lose them unseen.

use sync_testkit::fault::{At, Call, Fault, FaultPlan, Faulty};

use super::bench::*;

/// P2: dropping the table of a stream was answered by a new, empty one and `completed`.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_gone_is_refused_until_a_full_run_brings_everything_again() {
    let (stream, world) = (orders(), World::new().await);
    let script = Script::of(&stream);
    script.then(vec![page(&stream, &[row(1, 1, "a"), row(2, 1, "b")], at(1))]);
    world.run(world.pipeline(script.clone()), RunOptions::incremental()).await;
    world.plain().execute_batch("DROP TABLE orders").unwrap();

    for options in [RunOptions::incremental(), RunOptions::incremental().dry_run()] {
        let report = world.run(world.pipeline(script.clone()), options).await;
        let error = report.completed().unwrap_err();
        assert_eq!(error.kind(), sync_core::ErrorKind::Schema, "{error}");
        assert!(error.remedy().contains("full"), "{}", error.remedy());
        let text = error.to_string();
        assert!(text.contains("the target of stream \"orders\" is gone") && text.contains("full"), "{text}");
    }
    let tables = world.texts("SELECT name FROM sqlite_master WHERE name = 'orders'");
    assert!(tables.is_empty(), "no empty table takes its place");

    script.then(vec![page(&stream, &[row(1, 1, "a"), row(2, 1, "b"), row(3, 2, "c")], at(2))]);
    let report = world.run(world.pipeline(script), RunOptions::full()).await;
    assert_eq!((report.status, world.ids()), (RunStatus::Completed, vec![1, 2, 3]), "{report}");
}

/// A delete that was read before the source forgot the position was read once and comes no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_delete_that_came_before_the_position_was_forgotten_is_carried_out() {
    let (stream, world) = (orders(), World::new().await);
    let script = Forgetful(Script::of(&stream));
    let gone = |id: i64, position| {
        let change = Changes::marked(rows(&stream, &[row(id, 2, "a")]), vec![Mark::delete()]);
        Batch::of(&stream, change, at(position))
    };
    script.0.then(vec![page(&stream, &[row(1, 1, "a"), row(2, 1, "b")], at(1))]);
    script.0.then(vec![gone(1, 2)]);
    script.0.then(vec![page(&stream, &[row(2, 1, "b")], at(3))]);
    for _ in 0..2 {
        let report = world.run(world.pipeline(script.clone()), RunOptions::incremental()).await;
        assert_eq!(report.status, RunStatus::Completed, "{report}");
        assert!(report.ledger().balances(), "{report}");
    }
    assert_eq!(world.ids(), [2]);
}

/// Forgets the position once it has handed over a page that follows it.
#[derive(Debug, Clone)]
struct Forgetful(Script);

#[async_trait]
impl Source for Forgetful {
    fn name(&self) -> &str {
        "forgetful"
    }

    async fn feeds(&self) -> Result<Vec<Feed>> {
        self.0.feeds().await
    }

    fn capabilities(&self) -> SourceCapabilities {
        self.0.capabilities()
    }

    fn read(&self, request: ReadRequest) -> BatchStream<'_> {
        let forgets = request.from.is_some();
        let batches = self.0.read(request);
        let end = forgets.then(|| Err(sync_core::Error::new(sync_core::ErrorKind::Gone, "too old")));
        batches.chain(futures::stream::iter(end)).boxed()
    }
}

/// P2: a full run that dies when it has made the table anew left the old position, which the next run followed.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_run_that_dies_when_it_has_made_the_target_anew_loses_no_row() {
    let world = World::new().await;
    let source = MemorySource::of([StreamSpec::clone(&versioned())]);
    (1..=5).for_each(|id| source.upsert("orders", row(id, 1, "a")));
    world.run(world.pipeline(source.clone()), RunOptions::incremental()).await.completed().unwrap();
    world.plain().execute_batch("DROP TABLE orders").unwrap();

    let plan = FaultPlan::new(1).on(Call::Prepare, At::Nth(1), Fault::CrashAfter);
    let dying = Pipeline::new("shop", source.clone(), Faulty::new(world.sink.clone(), &plan));
    let died = world.engine(dying).run_with("shop", RunOptions::full()).await;
    assert!(died.is_err() || died.is_ok_and(|report| report.status == RunStatus::Failed));
    assert!(world.ids().is_empty(), "the table is there, and nothing in it");

    let report = world.run(world.pipeline(source), RunOptions::incremental()).await;
    assert_eq!((report.status, world.ids()), (RunStatus::Completed, vec![1, 2, 3, 4, 5]), "{report}");
}

/// P2: a partition that has no position yet would make the table anew, and the others would follow on behind their rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_partition_does_not_make_a_target_anew_that_others_have_positions_for() {
    let world = World::new().await;
    let source = MemorySource::of([StreamSpec::clone(&versioned())]).partitioned(2);
    (1..=20).for_each(|id| source.upsert("orders", row(id, 1, "a")));
    let engine = |source: MemorySource| {
        let builder = Engine::builder(world.store.clone()).owner("test").partitions_at_once(1);
        builder.pipeline(world.pipeline(source)).build().unwrap()
    };
    engine(source.clone()).run("shop").await.unwrap().completed().unwrap();
    let positions = "DELETE FROM _sync_checkpoint WHERE scope LIKE '%part0%'";
    world.plain().execute_batch(&format!("{positions}; DROP TABLE orders")).unwrap();

    let error = engine(source.clone()).run("shop").await.unwrap().completed().unwrap_err().to_string();
    assert!(error.contains("is gone, although rows were brought into it"), "{error}");
    let tables = world.texts("SELECT name FROM sqlite_master WHERE name = 'orders'");
    assert!(tables.is_empty(), "no part of it takes its place");
    engine(source).run_with("shop", RunOptions::full()).await.unwrap().completed().unwrap();
    assert_eq!(world.ids().len(), 20);
}

/// P2: of a full run over several partitions that is killed between two of them, the later ones come again, too.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_a_full_run_did_not_come_to_are_not_followed_from_their_old_positions() {
    let world = World::new().await;
    let source = MemorySource::of([StreamSpec::clone(&versioned())]).partitioned(2);
    (1..=20).for_each(|id| source.upsert("orders", row(id, 1, "a")));
    world.run(world.pipeline(source.clone()), RunOptions::incremental()).await.completed().unwrap();
    world.plain().execute_batch("DROP TABLE orders").unwrap();

    // The first partition makes the table; the second one does not come that far.
    let plan = FaultPlan::new(1).on(Call::Prepare, At::Nth(2), Fault::CrashBefore);
    let dying = Pipeline::new("shop", source.clone(), Faulty::new(world.sink.clone(), &plan));
    let builder = Engine::builder(world.store.clone()).owner("test").partitions_at_once(1);
    let died = builder.pipeline(dying).build().unwrap().run_with("shop", RunOptions::full()).await.unwrap();
    assert_eq!(died.status, RunStatus::Failed, "{died}");

    world.run(world.pipeline(source), RunOptions::incremental()).await.completed().unwrap();
    assert_eq!(world.ids().len(), 20);
}
