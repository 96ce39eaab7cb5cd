//! Where a branch stands with its master.

use serde::{Deserialize, Serialize};

use crate::two_way::{Book, Peer, Position, Transaction};
use crate::{Error, Result};

/// Where a branch stands with its master. Kept in the branch's database, in the transactions that move it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Link {
    /// Which life the branch is in: another one after it was restored from a backup.
    pub life: u64,
    /// How far it has read.
    pub position: Option<Position>,
    /// A load of everything that is under way.
    #[serde(default)]
    pub loading: Option<Loading>,
    /// Its last edit that was answered: a place in its own feed.
    pub answered: u64,
    /// The last edit before the next group, in this life; 0 at its beginning.
    pub previous: u64,
    /// The place in its own feed where this life began.
    pub born: u64,
    /// Edits that wait in the master's inbox, in order: the life in which they were sent, and the place in its own feed.
    pub waiting: Vec<(u64, u64)>,
    /// The first edit of a group that the master refuses to take, and why.
    pub refused: Option<(u64, String)>,
    /// What the master knows it by, where it tells.
    #[serde(default)]
    pub known_as: Option<String>,
}

/// How far a load of everything has come. Nothing of it is in the tables before all of it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loading {
    /// How far it has read.
    pub position: Position,
    /// In how many parts it is kept.
    pub parts: u64,
}

const ID: &str = "upstream";

impl Link {
    pub(super) fn peer(&self, name: &str) -> Peer {
        Peer { name: name.to_owned(), life: self.life }
    }

    /// From where it reads on; `None` is the beginning.
    pub(super) fn reads_from(&self) -> Option<&Position> {
        self.loading.as_ref().map(|loading| &loading.position).or(self.position.as_ref())
    }

    /// Everything is loaded anew.
    pub(super) fn start_over(&mut self) {
        (self.position, self.loading) = (None, None);
    }

    /// Above which place a row may have edits that the master has not decided.
    pub(super) fn floor(&self) -> u64 {
        self.waiting.first().map_or(self.answered, |(_, first)| self.answered.min(first.saturating_sub(1)))
    }

    /// Whether the edit at this place is undecided. What the feed does not hold yet has no place.
    pub(super) fn is_open(&self, seq: u64) -> bool {
        seq == 0 || seq > self.answered || self.waiting.iter().any(|(_, op)| *op == seq)
    }

    /// Whether the master knows whoever asks by another name than before: as the branch of somebody else.
    pub(super) fn is_moved(&self, known_as: Option<&str>) -> bool {
        self.known_as.as_deref().zip(known_as).is_some_and(|(before, now)| before != now)
    }

    /// Begins a life in which the edits that were answered are not numbered: they are not sent again.
    pub(super) fn begin_life(&mut self, life: u64) {
        self.life = life;
        (self.born, self.previous) = (self.answered, 0);
    }

    /// What the master has lost is pending again, and everything is loaded anew: what is known of its rows may be lost there,
    /// too. Returns whether there was any.
    pub(super) fn rewind(&mut self, last_op: u64) -> bool {
        if last_op >= self.previous {
            return false;
        }
        self.start_over();
        self.previous = last_op;
        self.answered = last_op.max(self.born);
        let life = self.life;
        self.waiting.retain(|(then, op)| *then != life || *op <= last_op);
        true
    }
}

pub(super) async fn load(tx: &mut dyn Transaction) -> Result<Link> {
    let Some(body) = tx.get(Book::Link, ID).await? else { return Ok(Link::default()) };
    serde_json::from_slice(&body)
        .map_err(|cause| Error::internal("the state of the link cannot be read").caused_by(cause))
}

pub(super) async fn save(tx: &mut dyn Transaction, link: &Link) -> Result<()> {
    let body = serde_json::to_vec(link)
        .map_err(|cause| Error::internal("the state of the link cannot be written").caused_by(cause))?;
    tx.put(Book::Link, ID, Some(body)).await
}
