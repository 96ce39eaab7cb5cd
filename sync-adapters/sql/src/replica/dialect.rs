//! What the statements of one kind of server do for a replica.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use sync_core::model::Origin;
use sync_core::two_way::{Book, Entry, Head, Held, Outline, RowWrite, Tables};
use sync_core::{Clock, Error, Key, Result, Value};

use super::{Columns, Connects, Images, Step};

/// What all clones and transactions of a replica know.
pub(crate) struct Declared<L> {
    pub(crate) name: Origin,
    pub(crate) tables: Tables,
    pub(crate) layouts: BTreeMap<String, L>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl<L> Declared<L> {
    pub(crate) fn layout(&self, table: &str) -> Result<&L> {
        self.layouts.get(table).ok_or_else(|| Error::config("the table does not take part").with("table", table))
    }

    /// Parents first.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = &L> {
        self.tables.iter().filter_map(|table| self.layouts.get(table.name()))
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn names(&self) -> Vec<String> {
        self.layouts.keys().cloned().collect()
    }
}

/// What is done to one row of the host's table.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Doing<'w> {
    Insert(&'w [Value]),
    Update(&'w [Value]),
    Delete,
    /// Nothing to write, and something to note: a delete of a row that never was, or a row that was never noticed.
    Note,
}

impl<'w> Doing<'w> {
    /// What this write does to a row that is so. `None` where the row is so already.
    pub(crate) fn of(held: &Held, write: &'w RowWrite) -> Option<Self> {
        if held.row == write.row && (held.stamp.is_some() || write.row.is_none() && write.op == 0) {
            return None;
        }
        Some(match (&held.row, &write.row) {
            (None, Some(row)) => Self::Insert(row),
            (Some(before), Some(row)) if before != row => Self::Update(row),
            (Some(_), None) => Self::Delete,
            (None, None) | (Some(_), Some(_)) => Self::Note,
        })
    }
}

/// A rule of the host's table that a row breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Another row holds this unique value.
    Unique,
    /// The row it hangs on is missing.
    Parent,
    /// Other rows hang on this one.
    Child,
}

impl Rule {
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Unique => "unique",
            Self::Parent => "parent",
            Self::Child => "child",
        }
    }

    pub(crate) fn says(self) -> &'static str {
        match self {
            Self::Unique => "another row holds this unique value",
            Self::Parent => "the row it hangs on is missing",
            Self::Child => "other rows hang on this one",
        }
    }
}

/// A row of a table.
pub(crate) type Row = (String, Key);

/// The statements of one kind of server, about tables that are declared.
pub(crate) trait Dialect: Connects + Deref<Target = Declared<Self::Layout>> {
    /// The names of a table, and of what is kept about it.
    type Layout: Deref<Target = Columns> + Send + Sync;

    /// What the replica is called in the library.
    const REPLICA: &'static str;

    /// Whether it makes many writes at once.
    const MAKES_ALL: bool = false;

    /// Which rule of the table is broken by a write, or by a delete.
    fn rule(cause: &sqlx::Error, is_delete: bool) -> Option<Rule>;

    /// Locks the rows of these keys against other writers, in the order of the keys.
    fn lock(
        &self,
        to: &mut Self::Connection,
        layout: &Self::Layout,
        keys: &[Key],
    ) -> impl Future<Output = Result<()>> + Send;

    /// The rows of these keys, in the same order.
    fn held(
        &self,
        to: &mut Self::Connection,
        layout: &Self::Layout,
        keys: &[Key],
    ) -> impl Future<Output = Result<Vec<Held>>> + Send;

    /// The next keys in the book of rows.
    fn keys(
        &self,
        to: &mut Self::Connection,
        layout: &Self::Layout,
        after: Option<&Key>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Key>>> + Send;

    /// The row is so already: only what is known of the upstream's count is new. Returns the row's `rev`.
    fn note_seen(
        &self,
        to: &mut Self::Connection,
        layout: &Self::Layout,
        write: &RowWrite,
    ) -> impl Future<Output = Result<u64>> + Send;

    /// Lays out the stamp for the trigger that is about to notice the write.
    fn stage(
        &self,
        to: &mut Self::Connection,
        layout: &Self::Layout,
        write: &RowWrite,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Makes a write. Returns how many rows there were for it.
    fn make(
        &self,
        to: &mut Self::Connection,
        layout: &Self::Layout,
        key: &Key,
        doing: Doing<'_>,
    ) -> impl Future<Output = Result<sqlx::Result<u64>>> + Send;

    /// Takes the stamp away that [`stage`](Self::stage) has laid out, if it is there still: what follows is the host's. Returns
    /// the row's `rev`.
    fn unstage(
        &self,
        to: &mut Self::Connection,
        layout: &Self::Layout,
        key: &Key,
    ) -> impl Future<Output = Result<Option<u64>>> + Send;

    /// Makes writes of one table, each of another row, in this order. Returns the `rev` of each afterwards, or `None` where they are
    /// to be made one by one: a row was refused, or is not as it was when it was looked at. Then the transaction may have failed.
    fn make_all(
        &self,
        _to: &mut Self::Connection,
        _layout: &Self::Layout,
        _steps: &[Step<'_>],
    ) -> impl Future<Output = Result<Option<Vec<u64>>>> + Send {
        std::future::ready(Ok(None))
    }

    /// Whether this transaction has written the row last, or a trigger in it. `true` where that is not known.
    fn is_own(
        &self,
        _to: &mut Self::Connection,
        _layout: &Self::Layout,
        _key: &Key,
    ) -> impl Future<Output = Result<bool>> + Send {
        std::future::ready(Ok(true))
    }

    /// Rows that hold a unique value which this row wants, each once.
    fn holders(
        &self,
        to: &mut Self::Connection,
        layout: &Self::Layout,
        row: &[Value],
    ) -> impl Future<Output = Result<Vec<Key>>> + Send;

    /// Rows of declared tables that hang on this one.
    fn children(&self, to: &mut Self::Connection, row: &Row) -> impl Future<Output = Result<Vec<Row>>> + Send;

    /// The place behind which entries are read, and the end of the last group that the page holds.
    fn page(
        &self,
        to: &mut Self::Connection,
        after: u64,
        limit: usize,
    ) -> impl Future<Output = Result<(u64, u64)>> + Send;

    /// Entries without their rows, behind one place and up to another.
    fn entries(
        &self,
        to: &mut Self::Connection,
        after: u64,
        up_to: u64,
    ) -> impl Future<Output = Result<Vec<Entry>>> + Send;

    /// See [`outline`](sync_core::two_way::Transaction::outline).
    fn outline(
        &self,
        to: &mut Self::Connection,
        after: u64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Outline>>> + Send;

    /// The rows of the entries of one table, with their places.
    fn images(
        &self,
        to: &mut Self::Connection,
        layout: &Self::Layout,
        after: u64,
        up_to: u64,
    ) -> impl Future<Output = Result<Vec<(u64, Images)>>> + Send;

    /// See [`pending`](sync_core::two_way::Transaction::pending).
    fn pending(
        &self,
        to: &mut Self::Connection,
        layout: &Self::Layout,
        keys: &[Key],
        above: u64,
    ) -> impl Future<Output = Result<Vec<Entry>>> + Send;

    /// Where the feed stands.
    fn head(&self, to: &mut Self::Connection) -> impl Future<Output = Result<Head>> + Send;

    /// The nonce of the entry at this place.
    fn nonce(&self, to: &mut Self::Connection, seq: u64) -> impl Future<Output = Result<Option<u64>>> + Send;

    /// See [`begin_epoch`](sync_core::two_way::Transaction::begin_epoch).
    fn begin_epoch(&self, to: &mut Self::Connection, epoch: u64, rev: u64) -> impl Future<Output = Result<()>> + Send;

    /// See [`trim`](sync_core::two_way::Transaction::trim).
    fn trim(&self, to: &mut Self::Connection, up_to: u64) -> impl Future<Output = Result<u64>> + Send;

    /// What a book of this name holds under this id.
    fn get(
        &self,
        to: &mut Self::Connection,
        book: Book,
        id: &str,
    ) -> impl Future<Output = Result<Option<Vec<u8>>>> + Send;

    /// Puts something into a book; `None` takes it out.
    fn put(
        &self,
        to: &mut Self::Connection,
        book: Book,
        id: &str,
        body: Option<Vec<u8>>,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Puts things into a book, each under another id.
    fn put_all(
        &self,
        to: &mut Self::Connection,
        book: Book,
        bodies: Vec<(String, Vec<u8>)>,
    ) -> impl Future<Output = Result<()>> + Send {
        async move {
            for (id, body) in bodies {
                self.put(to, book, &id, Some(body)).await?;
            }
            Ok(())
        }
    }

    /// What a book holds under ids that begin like this and come after that one.
    fn list(
        &self,
        to: &mut Self::Connection,
        book: Book,
        range: (&str, &str),
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(String, Vec<u8>)>>> + Send;
}
