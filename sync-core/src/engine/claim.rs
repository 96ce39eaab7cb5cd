//! Takes a scope's lease, and claims its checkpoint with a token that nobody has had before.

use super::Inner;
use super::pipeline::Pipeline;
use super::scope_run::Home;
use super::settle::floor_after;
use crate::Result;
use crate::model::{Lane, Scope};
use crate::retry::Verdict;
use crate::state::{Checkpoint, FencingToken, Lease};

/// All lanes of a scope share one lease: a listing that looks for deleted rows must not run while others come in, or it
/// would take the newcomers for deleted.
pub(super) fn lease_name(scope: &Scope) -> String {
    Scope { lane: Lane::Live, ..scope.clone() }.id()
}

/// Takes the lease, and claims the scope where its checkpoint is kept.
pub(super) async fn claim(
    inner: &Inner,
    pipeline: &Pipeline,
    scope: &Scope,
    home: Home,
) -> Result<(Lease, Checkpoint)> {
    let name = lease_name(scope);
    // A store that lost its memory gives tokens again that it gave before. The token must be higher than any that the sink
    // has seen, or a holder from before could not be told from us.
    let mut floor = FencingToken::default();
    if home == Home::Sink
        && let Err(error) = with_retries(inner, || pipeline.sink.open(scope, floor)).await
    {
        floor = floor_after(&error, floor).ok_or(error)?;
    }
    loop {
        let lease =
            with_retries(inner, || inner.store.acquire(&name, &inner.owner, inner.settings.lease_ttl, floor)).await?;
        let opened = match home {
            Home::Sink => with_retries(inner, || pipeline.sink.open(scope, lease.token)).await,
            Home::Store => with_retries(inner, || inner.store.checkpoint(scope)).await,
        };
        match opened {
            Ok(checkpoint) => return Ok((lease, checkpoint.unwrap_or_default())),
            // The store has lost its memory: the sink knows a higher token than the store has given.
            Err(error) if let Some(higher) = floor_after(&error, lease.token).filter(|higher| *higher > floor) => {
                floor = higher
            }
            Err(error) => {
                // The first error tells more than one of giving back.
                let _ = inner.store.release(&lease).await;
                return Err(error);
            }
        }
    }
}

pub(super) async fn read_checkpoint(
    inner: &Inner,
    pipeline: &Pipeline,
    scope: &Scope,
    home: Home,
) -> Result<Checkpoint> {
    let checkpoint = match home {
        Home::Sink => pipeline.sink.checkpoint(scope).await?,
        Home::Store => inner.store.checkpoint(scope).await?,
    };
    Ok(checkpoint.unwrap_or_default())
}

/// Calls until it succeeds, or the policy says no.
pub(super) async fn with_retries<T, F: Future<Output = Result<T>>>(
    inner: &Inner,
    mut call: impl FnMut() -> F,
) -> Result<T> {
    let mut attempts = inner.settings.retry.start(inner.clock.elapsed());
    loop {
        let error = match call().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        match attempts.next(&error, inner.clock.elapsed(), inner.clock.random()) {
            Verdict::Wait(wait) => inner.clock.sleep(wait).await,
            Verdict::Hold(_) | Verdict::GiveUp(_) => return Err(error),
        }
    }
}
