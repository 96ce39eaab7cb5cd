//! The master's side: takes what branches push, hands out what happened, and keeps what waits for a decision.

mod books;
mod clean;
mod inbox;
mod judge;
mod look_up;
mod pull;
mod push;

use std::sync::Arc;
use std::time::Duration;

pub use self::clean::Cleaned;
pub(super) use self::clean::old_enough;
pub use self::inbox::{Decision, Reason, Waiting};
use super::planted::Planted;
use super::{Access, Found, Hlc, Lookup, Page, Pull, Push, Pushed, Replica};
use crate::Result;
use crate::clock::Clock;

/// Serves branches over a replica. Clones serve the same one.
///
/// It keeps nothing in memory: several processes may serve one database.
#[derive(Debug, Clone)]
pub struct Hub {
    replica: Arc<dyn Replica>,
    clock: Arc<dyn Clock>,
    settings: HubSettings,
    planted: Planted,
}

/// What a hub takes, and how long it keeps what branches may still need.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct HubSettings {
    /// How far ahead of the master's clock a branch's may be. A later time is set back to the present, and reported (P17).
    pub ahead: Duration,
    /// How long entries, tombstones and answers are kept at least. They stay longer while a live branch has not read them (P7).
    pub keep: Duration,
    /// After how long without a word a branch is no longer waited for. It starts over when it comes back, and keeps what it has written.
    /// What was decided about a write that waited is known as long.
    pub forget: Duration,
    /// The most edits in one group.
    pub group: usize,
}

impl Default for HubSettings {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        Self { ahead: Duration::from_secs(60), keep: 7 * day, forget: 90 * day, group: 10_000 }
    }
}

impl Hub {
    /// Serves this replica.
    pub fn new(replica: impl Replica + 'static, clock: Arc<dyn Clock>) -> Self {
        Self { replica: Arc::new(replica), clock, settings: HubSettings::default(), planted: Planted::default() }
    }

    /// The same, with other limits.
    #[must_use]
    pub fn settings(mut self, settings: HubSettings) -> Self {
        self.settings = settings;
        self
    }

    /// The same, with this flaw.
    #[cfg(feature = "planted-bugs")]
    #[must_use]
    pub fn plant(mut self, flaw: super::Flaw) -> Self {
        self.planted = Planted(Some(flaw));
        self
    }

    /// The replica that is served.
    pub fn replica(&self) -> &Arc<dyn Replica> {
        &self.replica
    }

    /// Takes what a branch has written: each group whole, or not at all. What came before gets its first answer again.
    ///
    /// # Errors
    /// With a code in the context: `unknown_table`, `unknown_column`, `not_yours`, `server_owned`, `group_too_large`, and the
    /// group changes nothing; `gap` where writes before it have not come, `forked` where its numbers stand for other writes.
    /// Groups before it stay applied; a push that is sent again finds them answered.
    pub async fn push(&self, push: &Push, access: &Access) -> Result<Pushed> {
        push::push(self, push, access).await
    }

    /// The next page for a branch.
    ///
    /// # Errors
    /// `Gone`, with the code `start_over`, when the position is too old, or the master was restored from a backup since.
    pub async fn pull(&self, pull: &Pull, access: &Access) -> Result<Page> {
        pull::pull(self, pull, access).await
    }

    /// What stands under these keys, in their order, as far as the caller may see it.
    ///
    /// # Errors
    /// With the code `unknown_table`.
    pub async fn look_up(&self, lookup: &Lookup, access: &Access) -> Result<Vec<Found>> {
        look_up::look_up(self, lookup, access).await
    }

    /// What waits for a decision, the oldest first.
    pub async fn inbox(&self, access: &Access) -> Result<Vec<Waiting>> {
        inbox::list(self, access).await
    }

    /// Decides what waits. The decision goes to everybody as any write does.
    ///
    /// # Errors
    /// `Data` with the code `not_waiting` when it was decided already, or is not this caller's.
    pub async fn decide(&self, id: &str, decision: Decision, access: &Access) -> Result<()> {
        inbox::decide(self, id, decision, access).await
    }

    /// Forgets what every live branch has read and nobody may ask for any more.
    pub async fn clean_up(&self) -> Result<Cleaned> {
        clean::clean_up(self).await
    }

    /// The present moment as a time of writing.
    fn present(&self) -> Hlc {
        Hlc::at(self.clock.now())
    }
}
