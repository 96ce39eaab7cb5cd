//! Takes a scope's lease, and claims its checkpoint with a token that nobody has had before.

use super::Inner;
use super::pipeline::Pipeline;
use super::scope_run::Home;
use super::settle::floor_after;
use super::waiting::{Errand, STATE_STORE, watched, with_retries};
use crate::Result;
use crate::model::Scope;
use crate::state::{Checkpoint, Entry, FencingToken, Lease, RunId, RunRecord, RunStatus};

/// All lanes of a scope share one lease: a listing that looks for deleted rows must not run while others come in, or it
/// would take the newcomers for deleted.
pub(super) fn lease_name(scope: &Scope) -> String {
    scope.live().id()
}

/// Takes the lease, and claims the scope where its checkpoint is kept. A run that is to be recorded is so with its lease. Whoever
/// stops waiting for it finds in `taken` what lease there is to give back.
pub(super) async fn claim(
    inner: &Inner,
    pipeline: &Pipeline,
    run: Option<&RunId>,
    scope: &Scope,
    home: Home,
    first: Option<&RunRecord>,
    taken: &mut Option<Lease>,
) -> Result<(Lease, Checkpoint)> {
    let name = lease_name(scope);
    let (leasing, opening) =
        (errand(pipeline, run, scope, "lease", Home::Store), errand(pipeline, run, scope, "position", home));
    // A store that lost its memory gives tokens again that it gave before. The token must be higher than any that the sink
    // has seen, or a holder from before could not be told from us.
    let mut floor = FencingToken::default();
    if home == Home::Sink
        && let Err(error) = with_retries(inner, opening, || open(pipeline, scope, floor)).await
    {
        floor = floor_after(&error, floor).ok_or(error)?;
    }
    loop {
        let (owner, ttl) = (&inner.owner, inner.settings.lease_ttl);
        let taking = || async {
            match first {
                Some(first) => inner.store.begin(&name, owner, ttl, floor, first).await,
                None => inner.store.acquire(&name, owner, ttl, floor).await,
            }
        };
        let lease = with_retries(inner, leasing, taking).await?;
        *taken = Some(lease.clone());
        let opened = match home {
            Home::Sink => with_retries(inner, opening, || open(pipeline, scope, lease.token)).await,
            Home::Store => with_retries(inner, opening, || inner.store.checkpoint(scope)).await,
        };
        match opened {
            Ok(checkpoint) => return Ok((lease, checkpoint.unwrap_or_default())),
            // The store has lost its memory: the sink knows a higher token than the store has given.
            Err(error) if let Some(higher) = floor_after(&error, lease.token).filter(|higher| *higher > floor) => {
                floor = higher
            }
            Err(error) => {
                let failed = first.map(|first| {
                    let (finished, error) = (Some(inner.clock.now()), Some(error.to_string()));
                    Entry::Run(RunRecord { status: RunStatus::Failed, finished, error, ..first.clone() })
                });
                // The first error tells more than one of giving back.
                let _ = watched(inner, leasing, give_back(inner, &lease, failed.as_slice())).await;
                *taken = None;
                return Err(error);
            }
        }
    }
}

/// Gives a lease back, and writes how the run ended that was to begin under it.
pub(super) async fn give_back(inner: &Inner, lease: &Lease, entries: &[Entry]) -> Result<()> {
    if entries.is_empty() {
        return inner.store.release(lease).await;
    }
    match inner.store.finish(lease, entries).await {
        Ok(()) => Ok(()),
        Err(_) => inner.store.release(lease).await,
    }
}

/// One lease, one token: who claims a side lane claims the live one too, and a sink compares units of a side lane with both.
async fn open(pipeline: &Pipeline, scope: &Scope, token: FencingToken) -> Result<Option<Checkpoint>> {
    let live = scope.live();
    if live != *scope {
        pipeline.sink.open(&live, token).await?;
    }
    pipeline.sink.open(scope, token).await
}

pub(super) async fn read_checkpoint(
    inner: &Inner,
    pipeline: &Pipeline,
    run: Option<&RunId>,
    scope: &Scope,
    home: Home,
) -> Result<Checkpoint> {
    let reading = async {
        match home {
            Home::Sink => pipeline.sink.checkpoint(scope).await,
            Home::Store => inner.store.checkpoint(scope).await,
        }
    };
    let checkpoint = watched(inner, errand(pipeline, run, scope, "position", home), reading).await?;
    Ok(checkpoint.unwrap_or_default())
}

/// Something that is asked where the position of this scope is kept.
fn errand<'a>(
    pipeline: &'a Pipeline,
    run: Option<&'a RunId>,
    scope: &'a Scope,
    doing: &'static str,
    home: Home,
) -> Errand<'a> {
    let on = match home {
        Home::Sink => pipeline.sink.name(),
        Home::Store => STATE_STORE,
    };
    Errand { run, scope: Some(scope), doing, on }
}
