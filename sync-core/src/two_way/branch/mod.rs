//! The branch's side: sends what its host has written, and takes over what the master has.

mod absorb;
mod link;
mod load;
mod receive;
mod room;
mod send;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use self::link::{Link, Loading};
use super::planted::Planted;
use super::{Access, Edit, Found, Hlc, Hub, Lookup, Page, Pull, Push, Pushed, Replica};
use crate::clock::Clock;
use crate::{Error, Result};

/// The way to a master, whatever carries it.
///
/// *Errors.* As those of [`Hub::push`] and [`Hub::pull`], with their codes. What may have arrived although the answer did not is
/// [ambiguous](crate::Error::is_ambiguous) or temporary: the branch asks again before it does anything else.
#[async_trait]
pub trait Master: Debug + Send + Sync {
    /// Brings what the branch has written.
    async fn push(&self, push: &Push) -> Result<Pushed>;

    /// Asks for the next page.
    async fn pull(&self, pull: &Pull) -> Result<Page>;

    /// Asks what stands under these keys, in their order. A branch does not need it; who writes without a database of its own does.
    async fn look_up(&self, lookup: &Lookup) -> Result<Vec<Found>> {
        let _ = lookup;
        Err(Error::config("this way to a master does not look rows up by their keys"))
    }
}

/// A hub in this process, as somebody with this access sees it.
#[async_trait]
impl Master for (Hub, Access) {
    async fn push(&self, push: &Push) -> Result<Pushed> {
        self.0.push(push, &self.1).await
    }

    async fn pull(&self, pull: &Pull) -> Result<Page> {
        self.0.pull(pull, &self.1).await
    }

    async fn look_up(&self, lookup: &Lookup) -> Result<Vec<Found>> {
        self.0.look_up(lookup, &self.1).await
    }
}

/// Keeps a replica in step with its master.
///
/// Its host writes at any time, also while nobody can be reached. One [`sync`](Self::sync) at a time.
///
/// Readers here see every transaction of the master whole, or not at all: a page is one transaction, and so is a load of everything,
/// however large. Its rows are kept beside the tables until all are there, and a load that is interrupted goes on where it was.
/// While it is published, writers here wait, on SQLite for all of it.
#[derive(Debug, Clone)]
pub struct Branch {
    replica: Arc<dyn Replica>,
    master: Arc<dyn Master>,
    clock: Arc<dyn Clock>,
    push_edits: usize,
    pull_rows: usize,
    keep: Duration,
    planted: Planted,
}

/// What a branch has not brought home yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Queue {
    /// Edits that the master has not answered.
    pub depth: u64,
    /// When the oldest of them was made.
    pub oldest: Option<Hlc>,
    /// Edits that wait in the master's inbox.
    pub waiting: u64,
    /// The first edit of a group that the master refuses to take, and why: nothing behind it is sent.
    pub refused: Option<(u64, String)>,
}

/// What one sync did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Synced {
    /// Edits that were sent and answered.
    pub sent: u64,
    /// Of these, edits that met a row that had changed.
    pub met: u64,
    /// Of these, edits that wait in the master's inbox.
    pub waiting: u64,
    /// Edits whose time lay in the future.
    pub clamped: u64,
    /// Rows that came.
    pub received: u64,
    /// Rows that were gone at the master, found by starting over.
    pub swept: u64,
    /// Whether everything was loaded from the beginning.
    pub loaded: bool,
    /// Answered edits that are sent again, since the master has lost them.
    pub resent: u64,
    /// What the master refuses to take, with its code; later edits stay behind it until the host has discarded it.
    pub refused: Option<String>,
}

impl Branch {
    /// This replica, with this master.
    pub fn new(replica: impl Replica + 'static, master: impl Master + 'static, clock: Arc<dyn Clock>) -> Self {
        Self {
            replica: Arc::new(replica),
            master: Arc::new(master),
            clock,
            push_edits: 50,
            pull_rows: 500,
            keep: Duration::from_secs(7 * 24 * 60 * 60),
            planted: Planted::default(),
        }
    }

    /// The replica that is kept in step.
    pub fn replica(&self) -> &Arc<dyn Replica> {
        &self.replica
    }

    /// How many edits go into one push, about: a group is never cut.
    #[must_use]
    pub fn push_edits(mut self, edits: usize) -> Self {
        self.push_edits = edits.max(1);
        self
    }

    /// How many rows come in one page, about: a group is never cut.
    #[must_use]
    pub fn pull_rows(mut self, rows: usize) -> Self {
        self.pull_rows = rows.max(1);
        self
    }

    /// How long answered edits are kept, so that a master that was restored from a backup gets again what it has lost.
    #[must_use]
    pub fn keep(mut self, span: Duration) -> Self {
        self.keep = span;
        self
    }

    /// The same, with this flaw.
    #[cfg(feature = "planted-bugs")]
    #[must_use]
    pub fn plant(mut self, flaw: super::Flaw) -> Self {
        self.planted = Planted(Some(flaw));
        self
    }

    /// Sends what is pending and takes what is new, until neither side has more.
    ///
    /// # Errors
    /// When the master cannot be reached or asks to start over twice. Whatever was done stays done, and the next sync goes on.
    pub async fn sync(&self) -> Result<Synced> {
        let mut synced = Synced::default();
        send::send(self, &mut synced).await?;
        if receive::receive(self, &mut synced).await? {
            // The master has lost answered edits: they are pending again.
            send::send(self, &mut synced).await?;
            receive::receive(self, &mut synced).await?;
        }
        Ok(synced)
    }

    /// Where the branch stands with its master.
    pub async fn link(&self) -> Result<Link> {
        let mut tx = self.replica.look().await?;
        link::load(&mut *tx).await
    }

    /// What has been written here and is not decided yet: how much, since when, and what is in the way.
    pub async fn queue(&self) -> Result<Queue> {
        let link = self.link().await?;
        let mut queue = Queue { waiting: link.waiting.len() as u64, refused: link.refused, ..Queue::default() };
        let mut after = 0;
        loop {
            let edits = self.unanswered(after, 1000).await?;
            let (Some(first), Some(last)) = (edits.first(), edits.last()) else { return Ok(queue) };
            queue.oldest.get_or_insert(first.hlc);
            queue.depth += edits.len() as u64;
            after = last.op;
        }
    }

    /// Edits that the master has not answered, in order, after this number: to look at, or to keep elsewhere.
    pub async fn unanswered(&self, after: u64, limit: usize) -> Result<Vec<Edit>> {
        self.replica.sequence().await?;
        let mut tx = self.replica.look().await?;
        let mut after = link::load(&mut *tx).await?.answered.max(after);
        let mut edits = Vec::new();
        while edits.len() < limit {
            let Some(entries) = send::next_own(&mut *tx, &mut after, limit).await? else { break };
            edits.extend(entries.iter().filter(|entry| !entry.upstream).map(send::edit));
        }
        Ok(edits)
    }

    /// Loads everything anew with the next sync, with what is pending on top: after the master has given this branch other
    /// rows to see, or when a person doubts what is here.
    pub async fn start_over(&self) -> Result<()> {
        let mut tx = self.replica.begin().await?;
        let mut link = link::load(&mut *tx).await?;
        link.start_over();
        link::save(&mut *tx, &link).await?;
        tx.commit().await
    }

    /// Gives up the group that the master refuses: its rows become what the master has.
    pub async fn discard_refused(&self) -> Result<()> {
        send::discard(self).await
    }

    /// Forgets answered edits that are older than they are kept.
    pub async fn clean_up(&self) -> Result<u64> {
        let before =
            Hlc::at(self.clock.now()).millis().saturating_sub(u64::try_from(self.keep.as_millis()).unwrap_or(u64::MAX));
        let mut tx = self.replica.begin().await?;
        let link = link::load(&mut *tx).await?;
        let trimmed = tx.head().await?.trimmed;
        let most = link.waiting.first().map_or(link.answered, |(_, first)| link.answered.min(first - 1));
        let up_to = super::hub::old_enough(&mut *tx, trimmed, most, before).await?;
        if up_to <= trimmed {
            return Ok(0);
        }
        let forgotten = tx.trim(up_to).await?;
        tx.commit().await?;
        Ok(forgotten)
    }
}
