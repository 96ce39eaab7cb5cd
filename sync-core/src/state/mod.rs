//! What must survive a restart: leases, checkpoints, the run log and dead letters.

mod checkpoint;
mod dead_letter;
mod lease;
mod run_log;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::Result;
use crate::model::Scope;

pub use checkpoint::{Advance, Checkpoint, OpenStage, Spared, StageName};
pub use dead_letter::{DeadLetter, LetterBody, LetterId, LetterKind, LetterQuery};
pub use lease::{FencingToken, Lease};
pub use run_log::{RunId, RunQuery, RunRecord, RunStatus};

/// Keeps what must survive a restart.
///
/// # The specification
///
/// *Leases.* [`StateStore::acquire`] gives a lease to one owner at a time. Its token is higher than every token given
/// before under that name, and at least `floor`. The *same* owner acquires again at once, with a higher token: an owner
/// name belongs to one living process, so a second claim means that the first process is gone. Expiry is judged by the
/// store's clock alone.
///
/// *Atomicity.* [`StateStore::record`] writes all entries or none, and only while the lease is the newest under its
/// name, even if its time has run out.
///
/// *Durability.* What `record` has returned for survives a crash. So does what `begin` and `finish` have.
///
/// *Repetition.* Entries have ids: recording the same entry twice leaves one.
#[async_trait]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `StateStore`",
    note = "`sync_core::memory::MemoryStore` keeps state in memory; `sync_store_sql` keeps it in SQL"
)]
pub trait StateStore: Debug + Send + Sync {
    /// Takes the lease of this name for `ttl`.
    ///
    /// # Errors
    /// `Fenced`, naming the other owner and until when, while another owner holds it.
    async fn acquire(&self, name: &str, owner: &str, ttl: Duration, floor: FencingToken) -> Result<Lease>;

    /// Holds the lease for its `ttl` from now.
    ///
    /// # Errors
    /// `Fenced` when somebody else has acquired it since.
    async fn renew(&self, lease: &Lease) -> Result<()>;

    /// Gives the lease back. A lease that was taken over is left alone.
    async fn release(&self, lease: &Lease) -> Result<()>;

    /// Takes the lease as [`acquire`](Self::acquire) does, and records under it that a run has begun. Earlier runs of the
    /// same scope that are recorded as running have died, since their lease could be taken: they are recorded as failed.
    ///
    /// It is made of the other calls. A store that can do all of it in one transaction spares each run a flush to the disk.
    ///
    /// # Errors
    /// Those of `acquire` and [`record`](Self::record); the lease is free then, as far as that could be seen to.
    async fn begin(
        &self,
        name: &str,
        owner: &str,
        ttl: Duration,
        floor: FencingToken,
        first: &RunRecord,
    ) -> Result<Lease> {
        let lease = self.acquire(name, owner, ttl, floor).await?;
        let recorded = async {
            let entries = first.with_dead(self.runs(&first.recent()).await?);
            self.record(&lease, &entries.into_iter().map(Entry::Run).collect::<Vec<_>>()).await
        };
        let Err(error) = recorded.await else { return Ok(lease) };
        // The first error tells more than one of giving back.
        let _ = self.release(&lease).await;
        Err(error)
    }

    /// Writes all entries, as [`record`](Self::record) does, and gives the lease back.
    ///
    /// It is made of the other calls. A store that can do both in one transaction spares each run a flush to the disk.
    ///
    /// # Errors
    /// Those of `record` and [`release`](Self::release). Whoever is not `Fenced` may still have to give the lease back.
    async fn finish(&self, lease: &Lease, entries: &[Entry]) -> Result<()> {
        self.record(lease, entries).await?;
        self.release(lease).await
    }

    /// Writes all entries or none.
    ///
    /// # Errors
    /// `Fenced` when somebody else has acquired the lease since.
    async fn record(&self, lease: &Lease, entries: &[Entry]) -> Result<()>;

    /// The checkpoint of a scope.
    async fn checkpoint(&self, scope: &Scope) -> Result<Option<Checkpoint>>;

    /// Until when a scope must not be read, if so.
    async fn hold(&self, scope: &Scope) -> Result<Option<DateTime<Utc>>>;

    /// Dead letters, oldest first, a page at a time.
    async fn dead_letters(&self, query: &LetterQuery) -> Result<Vec<DeadLetter>>;

    /// Run records, newest first, a page at a time.
    async fn runs(&self, query: &RunQuery) -> Result<Vec<RunRecord>>;
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: StateStore + ?Sized> StateStore for Arc<T> {
    async fn acquire(&self, name: &str, owner: &str, ttl: Duration, floor: FencingToken) -> Result<Lease> {
        (**self).acquire(name, owner, ttl, floor).await
    }

    async fn renew(&self, lease: &Lease) -> Result<()> {
        (**self).renew(lease).await
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        (**self).release(lease).await
    }

    async fn begin(
        &self,
        name: &str,
        owner: &str,
        ttl: Duration,
        floor: FencingToken,
        first: &RunRecord,
    ) -> Result<Lease> {
        (**self).begin(name, owner, ttl, floor, first).await
    }

    async fn finish(&self, lease: &Lease, entries: &[Entry]) -> Result<()> {
        (**self).finish(lease, entries).await
    }

    async fn record(&self, lease: &Lease, entries: &[Entry]) -> Result<()> {
        (**self).record(lease, entries).await
    }

    async fn checkpoint(&self, scope: &Scope) -> Result<Option<Checkpoint>> {
        (**self).checkpoint(scope).await
    }

    async fn hold(&self, scope: &Scope) -> Result<Option<DateTime<Utc>>> {
        (**self).hold(scope).await
    }

    async fn dead_letters(&self, query: &LetterQuery) -> Result<Vec<DeadLetter>> {
        (**self).dead_letters(query).await
    }

    async fn runs(&self, query: &RunQuery) -> Result<Vec<RunRecord>> {
        (**self).runs(query).await
    }
}

/// Something to keep.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Entry {
    /// How far a scope has got, where the store keeps its checkpoint.
    Checkpoint {
        /// The scope.
        scope: Scope,
        /// The new checkpoint; refused when its token or sequence does not hold.
        advance: Advance,
    },
    /// A row that could not be applied.
    ///
    /// Recorded again, it keeps its place and takes the newer reason and time: of two letters of one row, replays go by it.
    DeadLetter(DeadLetter),
    /// A dead letter was dealt with: replayed, made obsolete, or dropped by a person. Recorded again, it waits again: its row
    /// was refused once more.
    Resolved(LetterId),
    /// What a run did, under its run id and scope; a later record of the same replaces it.
    Run(RunRecord),
    /// A scope must not be read before this instant; `None` lifts it.
    Hold {
        /// The scope.
        scope: Scope,
        /// Until when.
        until: Option<DateTime<Utc>>,
    },
}
