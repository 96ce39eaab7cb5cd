//! A state store that goes wrong.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sync_core::state::{
    Checkpoint, DeadLetter, Entry, FencingToken, Lease, LetterQuery, RunQuery, RunRecord, StateStore,
};
use sync_core::{Result, Scope};

use super::{Call, Faulty};

// `begin` and `finish` stay what they are made of: each of their calls may go wrong.
#[async_trait]
impl<S: StateStore> StateStore for Faulty<S> {
    async fn acquire(&self, name: &str, owner: &str, ttl: Duration, floor: FencingToken) -> Result<Lease> {
        self.through(Call::Acquire, self.inner.acquire(name, owner, ttl, floor)).await
    }

    async fn renew(&self, lease: &Lease) -> Result<()> {
        self.through(Call::Renew, self.inner.renew(lease)).await
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        self.through(Call::Release, self.inner.release(lease)).await
    }

    async fn record(&self, lease: &Lease, entries: &[Entry]) -> Result<()> {
        self.through(Call::Record, self.inner.record(lease, entries)).await
    }

    async fn checkpoint(&self, scope: &Scope) -> Result<Option<Checkpoint>> {
        self.through(Call::State, self.inner.checkpoint(scope)).await
    }

    async fn hold(&self, scope: &Scope) -> Result<Option<DateTime<Utc>>> {
        self.through(Call::State, self.inner.hold(scope)).await
    }

    async fn dead_letters(&self, query: &LetterQuery) -> Result<Vec<DeadLetter>> {
        self.through(Call::State, self.inner.dead_letters(query)).await
    }

    async fn runs(&self, query: &RunQuery) -> Result<Vec<RunRecord>> {
        self.through(Call::State, self.inner.runs(query)).await
    }
}
