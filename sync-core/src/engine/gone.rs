//! A target that is gone although rows were brought into it: following on would leave it without them, unseen.

use super::Inner;
use super::claim::with_retries;
use super::options::{Mode, RunOptions};
use super::pipeline::Pipeline;
use crate::model::{Disposition, Feed, Lane, Partition, Scope};
use crate::{Error, ErrorKind, Result};

/// Looks at the targets of a feed before any of them is made ready.
///
/// # Errors
/// `Schema`, naming the stream, when its target is gone and a saved position stands behind rows that were in it. A full run
/// brings everything again, and streams that are read as a whole by every run do so anyway.
pub(super) async fn check_targets(
    inner: &Inner,
    pipeline: &Pipeline,
    feed: &Feed,
    partitions: &[Partition],
    options: &RunOptions,
) -> Result<()> {
    if options.mode == Mode::Full {
        return Ok(());
    }
    for stream in feed.streams().iter().filter(|stream| stream.writes() != Disposition::Snapshot) {
        if with_retries(inner, || pipeline.sink.exists(stream)).await? {
            continue;
        }
        for partition in partitions {
            let (partition, feed, lane) = (partition.clone(), feed.name().to_owned(), Lane::Live);
            let scope = Scope { pipeline: pipeline.name.clone(), feed, partition, lane };
            let standing = if pipeline.sink.capabilities().atomic_checkpoint {
                with_retries(inner, || pipeline.sink.checkpoint(&scope)).await?
            } else {
                with_retries(inner, || inner.store.checkpoint(&scope)).await?
            };
            if standing.is_some_and(|standing| standing.cursor.is_some()) {
                return Err(Error::new(
                    ErrorKind::Schema,
                    "the target is gone, although rows were brought into it: run it full once, and everything comes again",
                )
                .with("stream", stream.name())
                .with("target", pipeline.sink.name())
                .with("scope", &scope));
            }
        }
    }
    Ok(())
}
