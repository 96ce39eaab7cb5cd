//! When to sync: at once where something calls for it, later where something failed.

use std::time::Duration;

use sync_core::two_way::Synced;
use sync_core::{Error, Retry};
use tokio_util::sync::CancellationToken;

use super::LiveBranch;

/// How many entries of the branch's own feed are looked through at a time.
const ENTRIES: usize = 500;

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Sync,
    Stop,
}

/// Until it is told to stop.
pub(super) async fn keep(live: &LiveBranch, stop: &CancellationToken) {
    // Up to where the branch's own feed was looked through for what its host wrote.
    let mut looked = live.branch.replica().sequence().await.map(|head| head.seq).unwrap_or_default();
    let mut failures = 0;
    while !stop.is_cancelled() {
        let Some(ended) = sync(live, stop).await else { return };
        let next = match ended {
            Ok(synced) => {
                failures = 0;
                note(live, synced);
                after_success(live, &mut looked, stop).await
            }
            Err(error) => {
                failures += 1;
                tracing::info!(%error, failures, "sync: a branch cannot be brought in step; it is tried again");
                live.desk.state.send_modify(|state| state.failure = Some(error.to_string()));
                after_failure(live, &error, failures, stop).await
            }
        };
        if next == Next::Stop {
            return;
        }
    }
}

/// One sync; `None` where it did not end in time after the stop. What it did stays done.
async fn sync(live: &LiveBranch, stop: &CancellationToken) -> Option<sync_core::Result<Synced>> {
    live.desk.begin();
    let too_late = async {
        stop.cancelled().await;
        live.clock.sleep(live.settings.stop).await;
    };
    tokio::select! { biased;
        ended = live.branch.sync() => Some(ended),
        () = too_late => None,
    }
}

fn note(live: &LiveBranch, synced: Synced) {
    live.desk.synced_up_to(live.master.mark());
    live.desk.state.send_modify(|state| {
        state.syncs += 1;
        state.synced_at = Some(live.clock.now());
        state.last = Some(synced);
        state.failure = None;
    });
}

/// Until something calls for a sync, or it is time for one anyway.
async fn after_success(live: &LiveBranch, looked: &mut u64, stop: &CancellationToken) -> Next {
    let (began, look) = (live.clock.elapsed(), live.settings.look);
    // A tenth more or less, so that branches that began together do not ask together.
    let spread = 90 + u32::try_from(live.clock.random() % 21).unwrap_or_default();
    loop {
        let pause = if live.desk.in_room() { live.settings.check } else { live.settings.poll };
        let due = began + pause / 100 * spread;
        let left = due.saturating_sub(live.clock.elapsed());
        if left.is_zero() || live.desk.take_wish() {
            return Next::Sync;
        }
        tokio::select! { biased;
            () = stop.cancelled() => return Next::Stop,
            () = live.desk.changed.notified() => {}
            () = live.clock.sleep(left.min(look)) => {
                if host_wrote(live, looked).await {
                    return Next::Sync;
                }
            }
        }
    }
}

/// Whether the host has written since this was asked last.
async fn host_wrote(live: &LiveBranch, looked: &mut u64) -> bool {
    let wrote = async {
        let head = live.branch.replica().sequence().await?;
        if head.seq == *looked {
            return Ok(false);
        }
        let edits = live.branch.unanswered(*looked, ENTRIES).await?;
        *looked = head.seq;
        Ok::<_, Error>(!edits.is_empty())
    };
    wrote.await.unwrap_or_else(|error| {
        tracing::debug!(%error, "sync: a branch's own feed cannot be read; it is tried again");
        false
    })
}

/// Until it may be tried again. Being let into the room says that the master is there: then the pause is over, unless the master
/// asked for it.
async fn after_failure(live: &LiveBranch, error: &Error, failures: u32, stop: &CancellationToken) -> Next {
    let (floor, joins) = (floor(error), live.desk.joins());
    let until = live.clock.elapsed() + floor + live.pause(failures);
    loop {
        let left = until.saturating_sub(live.clock.elapsed());
        if left.is_zero() || (floor.is_zero() && live.desk.joins() != joins) {
            return Next::Sync;
        }
        tokio::select! { biased;
            () = stop.cancelled() => return Next::Stop,
            () = live.desk.changed.notified() => {}
            () = live.clock.sleep(left) => {}
        }
    }
}

/// What the master asked to wait.
pub(super) fn floor(error: &Error) -> Duration {
    match error.retry() {
        Retry::After(wait) => wait,
        _ => Duration::ZERO,
    }
}
