//! A target that is gone: its position stands behind rows that were in it, so following on would lose them unseen.

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
        assert!(text.contains("the target is gone") && text.contains("orders") && text.contains("full"), "{text}");
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
