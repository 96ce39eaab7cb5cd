//! Sends edits in numbered groups, one after the other, and finds its way back after an answer that was lost.

use std::sync::Arc;

use sync_core::two_way::{Became, Edit, Found, Group, Hlc, Master, Peer, Pull, Push, Pushed};
use sync_core::{Clock, Error, ErrorKind, Key, Result, Retry, Value};
use tokio::sync::{Mutex, MutexGuard};

use crate::refusal::said;

/// An edit that has no number yet, and the row of the unit that it came from.
#[derive(Debug, Clone)]
pub(super) struct Unnumbered {
    pub(super) step: usize,
    pub(super) row: usize,
    pub(super) table: String,
    pub(super) key: Key,
    pub(super) base: u64,
    pub(super) before: Option<Vec<Value>>,
    pub(super) after: Option<Vec<Value>>,
}

#[derive(Debug)]
pub(super) struct Sender {
    name: String,
    master: Arc<dyn Master>,
    clock: Arc<dyn Clock>,
    books: Mutex<Books>,
}

/// What the sender must remember from one group to the next.
#[derive(Debug)]
struct Books {
    /// Its life at the master; none before it has introduced itself.
    life: Option<u64>,
    /// The number of the last edit of this life that the master has taken.
    last: u64,
    /// The latest time that was seen: what is written next is later.
    latest: Hlc,
    /// What the master knows this life by, where it tells: with a token of somebody else its numbers mean nothing.
    known_as: Option<String>,
    /// A group that the master may have taken although nobody knows.
    unanswered: Option<Push>,
    /// How many edits go into one group.
    at_most: usize,
}

impl Sender {
    pub(super) fn new(name: String, master: Arc<dyn Master>, clock: Arc<dyn Clock>) -> Self {
        let latest = Hlc::default();
        let books = Books { life: None, last: 0, latest, known_as: None, unanswered: None, at_most: 1000 };
        Self { name, master, clock, books: Mutex::new(books) }
    }

    pub(super) fn at_most(&mut self, edits: usize) {
        self.books.get_mut().at_most = edits.max(1);
    }

    /// Waits for whoever sends, and until it is known what became of what was sent last: rows that are looked up from here on
    /// have it in them, and a counter is not added to twice.
    pub(super) async fn begin(&self) -> Result<Sending<'_>> {
        let mut sending = Sending { sender: self, books: self.books.lock().await };
        sending.settle().await?;
        sending.introduce().await?;
        Ok(sending)
    }
}

/// The right to send: nobody else does meanwhile.
#[derive(Debug)]
pub(super) struct Sending<'a> {
    sender: &'a Sender,
    books: MutexGuard<'a, Books>,
}

impl Sending<'_> {
    /// Sends once more what has no answer yet: the master says what it said, or takes it now.
    async fn settle(&mut self) -> Result<()> {
        let Some(push) = self.books.unanswered.clone() else { return Ok(()) };
        match self.sender.master.push(&push).await.and_then(|pushed| complete(&push, pushed)) {
            Ok(pushed) => self.taken(&push, &pushed),
            Err(error) if said(&error, "code") == Some("gap") => return Err(self.restored(error)),
            // It does not take it, and never will. Whether it once did, and under which number it goes on, nobody can tell.
            Err(error) if error.retry() == Retry::Never && said(&error, "code").is_some() => self.begin_life(),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Begins a life, where there is none, and asks what the master knows it by. What the lives before may still have on its way,
    /// of which this process knows nothing, is refused from then on.
    async fn introduce(&mut self) -> Result<()> {
        if self.books.life.is_some() {
            return Ok(());
        }
        let Sender { name, master, clock, .. } = self.sender;
        let peer = Peer { name: name.clone(), life: clock.random() };
        let asked = Pull { peer, from: None, answered: 0, waiting: Vec::new(), limit: 0, alone: true };
        self.books.known_as = master.pull(&asked).await?.known_as;
        self.books.life = Some(asked.peer.life);
        Ok(())
    }

    /// What is written from here on is later than what was found, wherever the clock here stands.
    pub(super) fn seen(&mut self, found: &[Found]) {
        let latest = found.iter().map(|found| found.hlc).max().unwrap_or_default();
        self.books.latest = self.books.latest.max(latest);
    }

    /// Sends these edits, and says of each row what became of it.
    pub(super) async fn send(&mut self, edits: &[Unnumbered]) -> Result<Vec<(usize, usize, Became)>> {
        let (mut became, mut left) = (Vec::with_capacity(edits.len()), vec![edits]);
        while let Some(rest) = left.pop() {
            let (group, others) = rest.split_at(rest.len().min(self.books.at_most));
            if group.is_empty() {
                continue;
            }
            match self.send_group(group).await {
                Ok(pushed) => {
                    became.extend(group.iter().zip(&pushed.results).map(|(edit, it)| (edit.step, edit.row, it.became)));
                    left.push(others);
                }
                // Something in it must wait, and nothing of it was taken: the others need not wait with it.
                Err(error) if said(&error, "code") == Some("would_wait") && group.len() > 1 => {
                    let (one, other) = group.split_at(group.len() / 2);
                    left.extend([others, other, one]);
                }
                // Nothing of it was taken. The master takes less at once than was thought.
                Err(error) if error.kind() == ErrorKind::Limit && group.len() > 1 => {
                    self.books.at_most = group.len() / 2;
                    left.push(rest);
                }
                Err(error) if error.kind() == ErrorKind::Limit => {
                    return Err(self.at_fault(group, "the row is larger than the master takes", error));
                }
                Err(error) if said(&error, "code") == Some("not_yours") => {
                    return Err(self.at_fault(group, "the row is not the caller's to write", error));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(became)
    }

    async fn send_group(&mut self, edits: &[Unnumbered]) -> Result<Pushed> {
        let push = self.numbered(edits);
        // Until the answer is there it counts as unanswered, also where nobody waits for it any longer.
        self.books.unanswered = Some(push.clone());
        match self.sender.master.push(&push).await.and_then(|pushed| complete(&push, pushed)) {
            Ok(pushed) => {
                self.taken(&push, &pushed);
                Ok(pushed)
            }
            Err(error) if said(&error, "code") == Some("gap") => Err(self.restored(error)),
            Err(error) if said(&error, "code") == Some("ended") => {
                self.begin_life();
                let what = "another process writes to the master under the name of this sink: they take turns, so give each a name of its own";
                Err(Error::unavailable(what))
            }
            Err(error) if matches!(said(&error, "code"), Some("forked" | "moved")) => {
                self.begin_life();
                let what =
                    "the master knows this sink by another name, or other writes under its numbers: it begins anew";
                Err(Error::unavailable(what).caused_by(error))
            }
            Err(error) => {
                if !error.is_ambiguous() {
                    self.books.unanswered = None;
                }
                Err(error)
            }
        }
    }

    fn numbered(&mut self, edits: &[Unnumbered]) -> Push {
        let Sender { name, clock, .. } = self.sender;
        let life = self.books.life.unwrap_or_default();
        let hlc = Hlc::after(clock.now(), self.books.latest);
        let (previous, mut op) = (self.books.last, self.books.last);
        let edits = edits.iter().cloned().map(|Unnumbered { table, key, base, before, after, .. }| {
            op += 1;
            Edit { op, table, key, base, hlc, before, after }
        });
        let group = Group { previous, edits: edits.collect() };
        Push {
            peer: Peer { name: name.clone(), life },
            groups: vec![group],
            known_as: self.books.known_as.clone(),
            in_parts: true,
        }
    }

    fn taken(&mut self, push: &Push, pushed: &Pushed) {
        let edits = push.groups.iter().flat_map(|group| &group.edits);
        self.books.last = edits.map(|edit| edit.op).max().unwrap_or(self.books.last);
        let seen = pushed.results.iter().map(|result| result.hlc).max().unwrap_or_default();
        self.books.latest = self.books.latest.max(seen);
        self.books.unanswered = None;
    }

    /// What is wrong with a row of this group, of which nothing was taken: the one that the master names by its number, or the
    /// only one.
    fn at_fault(&self, group: &[Unnumbered], what: &'static str, cause: Error) -> Error {
        let place = said(&cause, "op").and_then(|op| op.parse::<u64>().ok()?.checked_sub(self.books.last + 1));
        let named = match place {
            Some(place) => usize::try_from(place).ok().and_then(|place| group.get(place)),
            None => group.first().filter(|_| group.len() == 1),
        };
        match named {
            Some(Unnumbered { step, row, .. }) => Error::data(what).at_row(*step, *row).caused_by(cause),
            None => cause,
        }
    }

    /// The master does not know what it has taken from this life.
    fn restored(&mut self, cause: Error) -> Error {
        self.begin_life();
        Error::config("the master has lost what it had taken from this sink: it was restored from a backup, and rows of earlier runs may be missing there")
            .with_remedy("run the pipeline once in full (`RunOptions::full`): what is there already is not written again")
            .caused_by(cause)
    }

    fn begin_life(&mut self) {
        (self.books.life, self.books.last, self.books.unanswered) = (None, 0, None);
    }
}

/// The answer, where it speaks of every edit.
fn complete(push: &Push, pushed: Pushed) -> Result<Pushed> {
    let edits = push.groups.iter().flat_map(|group| &group.edits);
    if edits.map(|edit| edit.op).eq(pushed.results.iter().map(|result| result.op)) {
        return Ok(pushed);
    }
    Err(Error::malformed("the master answered for other edits than it was sent").ambiguous())
}
