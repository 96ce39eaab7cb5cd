//! What a database must do to take part: hold the host's rows, note every committed change, and keep our books.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Entry, Head, Hlc, Outline, Stamp, Table, Tables};
use crate::Result;
use crate::model::{Key, Origin, Value};

/// A database whose host goes on writing plain SQL, with every committed change noted.
///
/// # The specification
///
/// *Capture.* Every change that the host commits to a declared table comes to stand in the feed once, with the row before
/// and after it. Changes of one transaction stand together (`Entry::group`), and no change appears in the feed below a
/// place that a reader may have passed (P3). What [`Transaction::write`] writes is captured too, under the stamp it names.
///
/// *Order.* Changes of one row stand in the order they were committed, with growing `rev`.
///
/// *Atomicity.* A transaction is applied whole or not at all, and is durable once `commit` has returned. Dropping one
/// rolls it back.
#[async_trait]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `Replica`",
    note = "`sync_core::memory::MemoryReplica` shows a whole one"
)]
pub trait Replica: Debug + Send + Sync {
    /// Its name: the origin of what its host writes. No two replicas share one.
    fn name(&self) -> &Origin;

    /// The tables that take part.
    fn tables(&self) -> &Tables;

    /// Begins a transaction that may write.
    async fn begin(&self) -> Result<Box<dyn Transaction>>;

    /// Begins a transaction that only reads, and sees one moment throughout.
    async fn look(&self) -> Result<Box<dyn Transaction>>;

    /// Moves committed captures into the feed. Returns where the feed stands.
    async fn sequence(&self) -> Result<Head>;
}

/// A row as it is held, deleted ones included.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Held {
    /// Its last write; `None` where nothing is known of it.
    pub stamp: Option<Stamp>,
    /// Its values; `None` where it is not there.
    pub row: Option<Vec<Value>>,
}

/// A write that came from elsewhere.
#[derive(Debug, Clone)]
pub struct RowWrite {
    /// The table.
    pub table: Arc<Table>,
    /// The row.
    pub key: Key,
    /// What it becomes; `None` deletes it.
    pub row: Option<Vec<Value>>,
    /// When it was written.
    pub hlc: Hlc,
    /// Who wrote it first.
    pub origin: Origin,
    /// The number of the write there.
    pub op: u64,
    /// The upstream's `rev` of the row, which is known from now on.
    pub seen: u64,
    /// Whether it comes from this replica's upstream.
    pub upstream: bool,
}

/// One of our own books, kept beside the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Book {
    /// Those who push and pull here.
    Peers,
    /// What became of their writes.
    Results,
    /// Fingerprints of writes whose answers are forgotten.
    Taken,
    /// Writes that wait for a decision.
    Inbox,
    /// Rows that writes in the inbox wait for.
    Waiting,
    /// Where this replica stands with its upstream.
    Link,
    /// Which writes were lost when the replica was restored from a backup.
    Lost,
    /// Rows of a load of everything that is not whole yet.
    Load,
}

/// One transaction of a replica.
#[async_trait]
pub trait Transaction: Debug + Send {
    /// The rows of these keys, in the same order, locked against other writers until the end.
    async fn rows(&mut self, table: &Table, keys: &[Key]) -> Result<Vec<Held>>;

    /// Writes rows under the stamps they name, in this order. A row that is there already is not written; its `seen` is set all
    /// the same. A delete of a row of which nothing is known is noted, with its stamp, like any other. Returns each row's `rev`
    /// afterwards.
    ///
    /// # Errors
    /// `Data` at the row (`Error::row`) that breaks a rule of the database: a unique key, a parent that is missing. Then nothing of
    /// this call is left, and everything before it is.
    async fn write(&mut self, writes: &[RowWrite]) -> Result<Vec<u64>>;

    /// Other rows that hold a unique value which this write wants, by table and key; each behind the rows that hang on it, so
    /// that they can be deleted in this order.
    async fn clashing(&mut self, write: &RowWrite) -> Result<Vec<(String, Key)>>;

    /// Rows after this key, by key.
    async fn scan(&mut self, table: &Table, after: Option<&Key>, limit: usize)
    -> Result<Vec<(Key, Stamp, Vec<Value>)>>;

    /// Entries after this place, whole groups only: as many as fit the limit, and at least one group.
    async fn feed(&mut self, after: u64, limit: usize) -> Result<Vec<Entry>>;

    /// What stands in the feed after this place, without the rows: as many entries as fit the limit, whatever their groups. A group
    /// may be very large, and whoever passes it by need not hold it.
    async fn outline(&mut self, after: u64, limit: usize) -> Result<Vec<Outline>> {
        Ok(self.feed(after, limit).await?.iter().map(Outline::of).collect())
    }

    /// What was written here and did not come from the upstream, of these rows, with a number above this one. It names what the
    /// feed does not hold yet, too: those entries have no `seq`.
    async fn pending(&mut self, table: &Table, keys: &[Key], above: u64) -> Result<Vec<Entry>>;

    /// Where the feed stands.
    async fn head(&mut self) -> Result<Head>;

    /// The nonce of the entry at this place.
    async fn nonce(&mut self, seq: u64) -> Result<Option<u64>>;

    /// Begins a new life of the feed: every position of the old one is refused from now on. `rev` goes on from this one.
    async fn begin_epoch(&mut self, epoch: u64, rev: u64) -> Result<()>;

    /// Forgets entries up to this place, and what is kept about rows whose deletion is among them. Returns how many entries.
    async fn trim(&mut self, up_to: u64) -> Result<u64>;

    /// What a book holds under this id. Nobody else writes it until the end.
    async fn get(&mut self, book: Book, id: &str) -> Result<Option<Vec<u8>>>;

    /// Puts something into a book; `None` takes it out.
    async fn put(&mut self, book: Book, id: &str, body: Option<Vec<u8>>) -> Result<()>;

    /// Puts many things into a book. What is put under an id twice stands as it was put last.
    async fn put_all(&mut self, book: Book, bodies: Vec<(String, Vec<u8>)>) -> Result<()> {
        for (id, body) in bodies {
            self.put(book, &id, Some(body)).await?;
        }
        Ok(())
    }

    /// What a book holds under ids that begin like this and come after that one, by id.
    async fn list(&mut self, book: Book, prefix: &str, after: &str, limit: usize) -> Result<Vec<(String, Vec<u8>)>>;

    /// Makes everything durable and visible at once.
    async fn commit(self: Box<Self>) -> Result<()>;
}
