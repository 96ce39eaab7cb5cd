//! A source that cannot be reached: nothing is done to the target before it has answered.

use sync_core::source::Estimate;
use sync_core::{Error, ErrorKind};

use super::bench::*;

/// Its place is known, and nobody answers there.
#[derive(Debug)]
struct Silent(Arc<StreamSpec>);

#[async_trait]
impl Source for Silent {
    fn name(&self) -> &str {
        "silent"
    }

    async fn feeds(&self) -> Result<Vec<Feed>> {
        Ok(vec![Feed::one(Arc::clone(&self.0))])
    }

    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities::replayable(CursorKind::Position)
    }

    async fn estimate(&self, _: &ReadRequest) -> Result<Option<Estimate>> {
        Err(Error::new(ErrorKind::Unavailable, "nobody answers"))
    }

    fn read(&self, _: ReadRequest) -> BatchStream<'_> {
        futures::stream::iter([Err(Error::new(ErrorKind::Unavailable, "nobody answers"))]).boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_table_is_made_or_altered_while_the_source_does_not_answer() {
    let world = World::new().await;
    let report = world.run(world.pipeline(Silent(orders())), RunOptions::incremental()).await;
    assert_eq!(report.status, RunStatus::Failed, "{report}");
    assert!(world.texts("SELECT name FROM sqlite_schema WHERE name = 'orders'").is_empty());

    let narrow = World::prepared("CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, n INTEGER)").await;
    narrow.run(narrow.pipeline(Silent(orders())), RunOptions::full()).await;
    assert_eq!(narrow.texts("SELECT name FROM pragma_table_info('orders')"), ["id", "n"]);

    // Once it answers, with nothing at all, the table is there.
    let script = Script::of(&orders());
    narrow.run(narrow.pipeline(script), RunOptions::incremental()).await.completed().unwrap();
    assert_eq!(narrow.texts("SELECT name FROM pragma_table_info('orders')"), ["id", "n", "note"]);
}
