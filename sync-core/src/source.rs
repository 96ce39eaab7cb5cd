//! The reading side: what an adapter implements to bring changes in.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::model::{Batch, Cursor, Feed, Partition, RowScope, Scope, StreamSpec};
use crate::{Error, Result};

/// The batches of one read, in order. Pulling is the back-pressure: what is not asked for is not fetched.
pub type BatchStream<'a> = BoxStream<'a, Result<Batch>>;

/// Reads changes from one system.
///
/// # The specification
///
/// *Order.* Changes of one key come in the order they happened. Across keys any order is allowed, unless
/// [`SourceCapabilities::order`] says more.
///
/// *Duplicates.* A change may come twice, in one batch or in two; the engine keeps the highest version.
///
/// *Completeness.* A batch that ends with [`Boundary::Resume`](crate::model::Boundary::Resume) promises that every
/// change before that cursor has been handed over, in this read or an earlier one. A cursor names the position *and*
/// what breaks ties there. Never hand out a cursor past rows that may still appear (P3).
///
/// *Deletes.* Where a source reports deletes, a read from the beginning begins with a batch without rows that ends with
/// `Resume`: the position from which deletes are told. Rows may be durable before the position behind them is; a load that
/// began again somewhere else would not name a row that was deleted in between.
///
/// *Concurrency.* Several reads of different partitions may run at once; two reads of one partition never do.
///
/// *Errors.* A failed read yields one error and ends. Adapters do not retry: they say in [`Error::retry`] whether
/// trying again may help, and the engine reads again from the last boundary. A record that cannot be read alone goes
/// into [`Batch::rejects`]; it is no error.
///
/// *Shutdown.* Dropping the stream stops the read. It must not leave anything behind that a later read trips over.
#[async_trait]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `Source`",
    label = "needs `name`, `feeds` and `read`",
    note = "`examples/custom-adapter` shows a whole source in 35 lines; `sync_core::pages` and `sync_core::pages_inclusive` turn \"the next page\" into `read`"
)]
pub trait Source: Debug + Send + Sync {
    /// The source's name in logs and reports.
    fn name(&self) -> &str;

    /// The feeds it offers: one for each table that is read by itself ([`Feed`] shows a source with two), or one whose streams
    /// share a cursor. Names and partitions must stay the same over releases: cursors are kept under them.
    async fn feeds(&self) -> Result<Vec<Feed>>;

    /// Reads what the request asks for. Nothing is fetched before the first batch is pulled.
    fn read(&self, request: ReadRequest) -> BatchStream<'_>;

    /// What it can promise. The builder refuses pipelines that need more.
    ///
    /// Without one of your own: no cursor, so that each run reads everything; rows in no order; no deletes, no listing, no
    /// ranges; and nothing can be read twice, so that the pipeline vouches for [`AtMostOnce`](crate::engine::Guarantee::AtMostOnce) alone.
    /// Most sources say [`SourceCapabilities::replayable`] with the kind of their cursors.
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities::default()
    }

    /// Whether the other side can be reached and lets us read. Changes nothing there. Without one of your own, nothing is
    /// looked at, and `Engine::check` finds nothing wrong.
    async fn check(&self) -> Result<()> {
        Ok(())
    }

    /// The durable parts of a feed, such as accounts. A date slice is not a part.
    async fn partitions(&self, feed: &Feed) -> Result<Vec<Partition>> {
        let _ = feed;
        Ok(vec![Partition::default()])
    }

    /// How much a read would bring, without reading it. `None` where the source cannot tell cheaply.
    async fn estimate(&self, request: &ReadRequest) -> Result<Option<Estimate>> {
        let _ = request;
        Ok(None)
    }

    /// Tells the source what is durable now. May be called again with the same receipt.
    async fn acknowledge(&self, receipt: &Receipt) -> Result<()> {
        let _ = receipt;
        Ok(())
    }

    /// Reads again one record that was rejected, with the declaration as it is now. Used when dead letters are replayed. For
    /// a source whose rows come from [`typed::changes`](crate::typed::changes) it is [`typed::revive`](crate::typed::revive).
    ///
    /// # Errors
    /// `Config` when the source keeps no way to do so.
    fn revive(&self, stream: &StreamSpec, record: &[u8]) -> Result<crate::model::Rows> {
        let _ = (stream, record);
        Err(Error::config("this source cannot read a rejected record again; correct the row at the source, and it comes with the next run")
            .with("source", self.name()))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: Source + ?Sized> Source for Arc<T> {
    fn name(&self) -> &str {
        (**self).name()
    }

    async fn feeds(&self) -> Result<Vec<Feed>> {
        (**self).feeds().await
    }

    fn read(&self, request: ReadRequest) -> BatchStream<'_> {
        (**self).read(request)
    }

    fn capabilities(&self) -> SourceCapabilities {
        (**self).capabilities()
    }

    async fn check(&self) -> Result<()> {
        (**self).check().await
    }

    async fn partitions(&self, feed: &Feed) -> Result<Vec<Partition>> {
        (**self).partitions(feed).await
    }

    async fn estimate(&self, request: &ReadRequest) -> Result<Option<Estimate>> {
        (**self).estimate(request).await
    }

    async fn acknowledge(&self, receipt: &Receipt) -> Result<()> {
        (**self).acknowledge(receipt).await
    }

    fn revive(&self, stream: &StreamSpec, record: &[u8]) -> Result<crate::model::Rows> {
        (**self).revive(stream, record)
    }
}

/// What to read.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReadRequest {
    /// The feed.
    pub feed: Feed,
    /// The part of the feed.
    pub partition: Partition,
    /// Where to continue; `None` reads from the beginning.
    pub from: Option<Cursor>,
    /// Changes, a range, or only keys.
    pub reading: Reading,
    /// Whether the target holds nothing yet, so that a source may choose the order that fills it fastest.
    pub first_load: bool,
}

impl ReadRequest {
    /// Everything of this feed and partition, from the beginning.
    pub fn new(feed: Feed, partition: Partition) -> Self {
        Self { feed, partition, from: None, reading: Reading::Changes, first_load: false }
    }

    /// The same request, continuing here.
    #[must_use]
    pub fn from(mut self, cursor: Option<Cursor>) -> Self {
        self.from = cursor;
        self
    }

    /// The same request, reading this.
    #[must_use]
    pub fn reading(mut self, reading: Reading) -> Self {
        self.reading = reading;
        self
    }
}

/// What a read is for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Reading {
    /// Changes since the cursor.
    #[default]
    Changes,
    /// All rows of a scope, whatever the cursor of changes is.
    Range(RowScope),
    /// A complete listing of rows for comparison: begins with `Boundary::Begins` and ends with `Boundary::Ends`.
    /// Only the key columns need be filled where [`SourceCapabilities::listing`] says [`Listing::Keys`].
    Listing,
}

/// How a source's cursors mark a position.
///
/// Choose by what the other side can still do at the position that was read last:
///
/// | Kind | Fits where | Another row at the last position, later |
/// |---|---|---|
/// | [`None`](Self::None) | nothing says what has changed since | – : all rows are read each time |
/// | [`Position`](Self::Position) | each change has a position of its own, which grows in the order the changes become visible: a log, an offset, a counter under a lock | cannot be |
/// | [`PositionAndKey`](Self::PositionAndKey) | changes share a position, and one that appears there later has a higher key: rows that are only added, under growing keys; the rows of one transaction, which appear together; a read that begins a lookback earlier each time | comes if its key is higher; **is lost if its key is lower**, so it must not be |
/// | [`Inclusive`](Self::Inclusive) | rows say when they were changed, and any row may yet be changed at the very time that was read last: most `updated_at`, in seconds or finer | comes, whatever its key |
///
/// [`pages`](crate::pages) makes a source of the second or third kind, [`pages_inclusive`](crate::pages_inclusive) one of
/// the last. In no kind may a row appear *before* the last position: a clock whose transactions commit late needs a
/// lookback as well. The testkit's `source` suite tries rows with a higher and with a lower key than the cursor's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum CursorKind {
    /// It has none: every read starts at the beginning. A cursor that a read hands out in its middle may be gone on from; one
    /// at its end leads to the beginning again.
    #[default]
    None,
    /// A position that no two changes share: a log position, an offset, a sequence.
    Position,
    /// A position that changes may share, with the key that breaks the tie. No change may appear later at that position
    /// with a lower key.
    PositionAndKey,
    /// A position read again *inclusively*, so that rows that share it come again and are recognised.
    Inclusive,
    /// A bare timestamp, read exclusively. Rows that share it are lost: the builder refuses it.
    BareTimestamp,
}

/// In which order rows come on a first load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum RowOrder {
    /// By key, ascending: what a target's key index takes fastest.
    Key,
    /// Any other order.
    #[default]
    Unknown,
}

/// Whether a source can list all that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Listing {
    /// It cannot.
    #[default]
    None,
    /// It lists keys only, cheaply.
    Keys,
    /// It lists whole rows.
    Rows,
}

/// What a source can promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SourceCapabilities {
    /// How its cursors mark a position.
    pub cursor: CursorKind,
    /// Whether it reports deletes. Then a read from the beginning begins with a position.
    pub deletes: bool,
    /// In which order rows come on a first load.
    pub order: RowOrder,
    /// Whether reading the same position again brings the same changes (a queue that forgets does not).
    pub replayable: bool,
    /// Whether it can list all that it has, with proof of completeness.
    pub listing: Listing,
    /// Whether it reads a range on request.
    pub ranges: bool,
}

impl SourceCapabilities {
    /// A source that can be read again from a cursor of this kind, and promises nothing else.
    pub fn replayable(cursor: CursorKind) -> Self {
        Self { cursor, replayable: true, ..Self::default() }
    }

    /// The same, with a complete listing of this kind.
    #[must_use]
    pub fn listing(mut self, listing: Listing) -> Self {
        self.listing = listing;
        self
    }

    /// The same, with rows in this order.
    #[must_use]
    pub fn order(mut self, order: RowOrder) -> Self {
        self.order = order;
        self
    }

    /// The same, able to read ranges.
    #[must_use]
    pub fn ranges(mut self) -> Self {
        self.ranges = true;
        self
    }

    /// The same, reporting deletes.
    #[must_use]
    pub fn deletes(mut self) -> Self {
        self.deletes = true;
        self
    }
}

/// How much a read would bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Estimate {
    /// Rows.
    pub rows: u64,
    /// Requests, where reads cost money.
    pub requests: Option<u64>,
}

/// What is durable now.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Receipt {
    /// Whose position it is.
    pub scope: Scope,
    /// Everything before this is durable in the target.
    pub cursor: Cursor,
}

impl Receipt {
    /// A receipt for a position.
    pub fn new(scope: Scope, cursor: Cursor) -> Self {
        Self { scope, cursor }
    }
}
