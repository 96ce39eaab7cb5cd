//! Targets that are gone although rows were brought into them: noticed before the first partition makes one anew, since the
//! positions of the others would then stand behind rows that are nowhere.

use std::sync::Arc;

use super::Inner;
use super::attempt::in_time;
use super::claim::{claim, lease_name, read_checkpoint};
use super::options::{Mode, RunOptions};
use super::pipeline::Pipeline;
use super::scope_run::{Home, ScopeRun};
use super::waiting::{Errand, watched};
use crate::Result;
use crate::model::{Disposition, Feed, Scope};
use crate::state::{Checkpoint, RunId};

/// What a run knows of a feed before it begins with the first partition.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// How many partitions the feed has.
    pub(super) parts: usize,
    /// Whether the targets could be looked for.
    pub(super) looked: bool,
    /// Whether no target is there yet, and nobody else will make one: the feed has a single partition.
    pub(super) absent: bool,
    /// A stream whose target is gone, although the position of some partition says that rows were brought into it.
    pub(super) gone: Option<String>,
}

/// Looks for the targets of a feed. A full run may make one anew: it first forgets the positions of all partitions, so that it
/// may die at any moment afterwards and the next run still brings everything. What keeps it from looking is met, and told, by
/// the partitions themselves.
pub(super) async fn look(
    inner: &Arc<Inner>,
    pipeline: &Arc<Pipeline>,
    options: &RunOptions,
    run: &RunId,
    feed: &Feed,
    scopes: &[Scope],
) -> Result<Known> {
    let mut known = Known { parts: scopes.len(), looked: false, absent: false, gone: None };
    let looking = Errand { run: Some(run), scope: None, doing: "target", on: pipeline.sink.name() };
    let mut missing = Vec::new();
    // What is read as a whole by every run comes again anyway.
    for stream in feed.streams().iter().filter(|stream| stream.writes() != Disposition::Snapshot) {
        let there = watched(inner, looking, pipeline.sink.exists(stream));
        let Ok(there) = in_time(inner, options, there).await else { return Ok(known) };
        if !there {
            missing.push(stream.name());
        }
    }
    known.looked = true;
    known.absent = missing.len() == feed.streams().len() && scopes.len() == 1;
    let Some(missing) = missing.first() else { return Ok(known) };
    let home = if pipeline.sink.capabilities().atomic_checkpoint { Home::Sink } else { Home::Store };
    for scope in scopes {
        let live = scope.live();
        let standing = in_time(inner, options, read_checkpoint(inner, pipeline, Some(run), &live, home)).await;
        let Ok(standing) = standing else { return Ok(Known { looked: false, ..known }) };
        if standing.cursor.is_none() {
            continue;
        }
        known.gone = Some((*missing).to_owned());
        if options.mode != Mode::Full || options.dry_run {
            break;
        }
        in_time(inner, options, forget(inner, pipeline, options, run, feed, live, scopes.len(), home)).await?;
    }
    Ok(known)
}

/// Sets the position of a scope to the beginning.
#[expect(clippy::too_many_arguments, reason = "called in one place, with what a run is made of")]
async fn forget(
    inner: &Arc<Inner>,
    pipeline: &Arc<Pipeline>,
    options: &RunOptions,
    run: &RunId,
    feed: &Feed,
    scope: Scope,
    parts: usize,
    home: Home,
) -> Result<()> {
    let turn = inner.turn(&lease_name(&scope));
    let _turn = turn.lock().await;
    let (lease, checkpoint) = claim(inner, pipeline, Some(run), &scope, home, None, &mut None).await?;
    let known = Known { parts, looked: true, absent: false, gone: None };
    let mut scope_run =
        ScopeRun::new(inner, pipeline, options, run, scope, feed.clone(), known, Some(lease.clone()), home, checkpoint);
    let beginning = Checkpoint { cursor: None, frontier: None, ..scope_run.checkpoint.clone() };
    let forgotten = scope_run.settle(Vec::new(), beginning, Vec::new()).await.map(drop);
    let released = inner.store.release(&lease).await;
    forgotten.and(released)
}
