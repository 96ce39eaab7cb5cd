//! The walk over the pages of a table: where it begins, what each batch promises, and where it ends.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::try_unfold;
use sync_core::model::{Batch, Changes, Frontier, Reject, RowScope};
use sync_core::source::Reading;
use sync_core::{BatchStream, Boundary, Error, ReadRequest, Result, Rows, StreamSpec};

use super::position::{self, Place, cursor, order};

/// A page that is this large, bytes, ends though it could hold more rows.
pub(crate) const MOST_BYTES: usize = 4 << 20;

/// A database whose tables are read by keyset.
#[async_trait]
pub(crate) trait Tables: Send + Sync {
    /// What is found out when a read begins, and all its pages need.
    type Table: Clone + Send + Sync;

    /// Begins a read after this place. With `by_version`, changes are followed; otherwise rows are read by key.
    ///
    /// Here belongs what must be known *before* the first page is read: which versions may still appear.
    async fn start(&self, stream: &Arc<StreamSpec>, by_version: bool, saved: &Place) -> Result<Start<Self::Table>>;

    /// Reads a page.
    async fn page(&self, ask: Ask<Self::Table>) -> Result<Page>;

    /// Up to where every change has been handed over, after a page of changes that ended at `last`, with this position
    /// saved. `last` is none after the last page.
    fn frontier(&self, stream: &StreamSpec, table: &Self::Table, last: &Place, saved: &Place) -> Option<Frontier>;
}

/// How a read begins.
pub(crate) struct Start<T> {
    pub(crate) table: T,
    /// Whether it begins before its place, with rows that were read before: then `table` says where.
    pub(crate) again: bool,
}

/// Which page to read.
pub(crate) struct Ask<T> {
    pub(crate) stream: Arc<StreamSpec>,
    pub(crate) table: T,
    /// The rows that are wanted at all.
    pub(crate) rows: RowScope,
    /// The columns that decide the order.
    pub(crate) order: Vec<String>,
    /// Whether the first of them is the version.
    pub(crate) by_version: bool,
    /// The last row of the page before, by the columns that decide the order.
    pub(crate) after: Place,
    /// The most rows.
    pub(crate) limit: usize,
}

/// What was read.
pub(crate) struct Page {
    pub(crate) rows: Rows,
    pub(crate) rejects: Vec<Reject>,
    /// The last row, where more may follow; `None` after the last page.
    pub(crate) next: Place,
    /// The last row that later changes come after. A version that lies in the future, or that other transactions may
    /// still be about to commit, or that is not as declared, would hide those that come before it.
    pub(crate) settled: Place,
}

impl Page {
    pub(crate) fn of(stream: &StreamSpec) -> Self {
        Self { rows: Rows::new(Arc::clone(stream.schema())), rejects: Vec::new(), next: None, settled: None }
    }
}

/// Refuses a table that cannot be read as its stream.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) async fn check<T: Tables>(tables: &T, streams: &[Arc<StreamSpec>]) -> Result<()> {
    for stream in streams {
        let by_version = stream.version_column().is_some();
        let start = tables.start(stream, by_version, &None).await?;
        // No row, but the whole statement: the right to read, and an order that the columns have.
        let nothing = Ask {
            stream: Arc::clone(stream),
            table: start.table,
            rows: RowScope::All,
            order: order(stream, by_version),
            by_version,
            after: None,
            limit: 0,
        };
        tables.page(nothing).await?;
    }
    Ok(())
}

/// Reads what a request asks for, in pages of at most so many rows.
pub(crate) fn read<T: Tables>(tables: &T, page: usize, request: ReadRequest) -> BatchStream<'_> {
    let Some(stream) = request.feed.streams().first().map(Arc::clone) else {
        return futures::stream::empty().boxed();
    };
    let rows = match &request.reading {
        Reading::Changes => None,
        Reading::Range(rows) => Some(rows.clone()),
        _ => Some(RowScope::All),
    };
    let by_version = rows.is_none() && stream.version_column().is_some();
    let order = order(&stream, by_version);
    let at = At::Begin;
    let walk = Walk { tables, stream, request, rows, by_version, order, most: page, limit: page, saved: None, at };
    try_unfold(walk, |mut walk| async move { Ok(walk.next().await?.map(|batch| (batch, walk))) }).boxed()
}

/// A read under way.
struct Walk<'s, T: Tables> {
    tables: &'s T,
    stream: Arc<StreamSpec>,
    request: ReadRequest,
    /// The scope of a listing; `None` follows changes.
    rows: Option<RowScope>,
    /// Whether changes are followed by the version.
    by_version: bool,
    /// The columns that decide the order.
    order: Vec<String>,
    /// The most rows of a page.
    most: usize,
    /// The most rows of the next page: fewer where pages are full of bytes before, so that they are not sent in vain.
    limit: usize,
    /// Where a later read of changes continues.
    saved: Place,
    at: At<T::Table>,
}

enum At<T> {
    Begin,
    Page(T, Place),
    End,
}

impl<T: Tables> Walk<'_, T> {
    async fn next(&mut self) -> Result<Option<Batch>> {
        let (table, after) = match std::mem::replace(&mut self.at, At::End) {
            At::Begin => {
                let (table, place) = self.begin().await?;
                if let (Some(rows), None) = (&self.rows, &place) {
                    self.at = At::Page(table, place);
                    return Ok(Some(Batch::marker(Boundary::Begins(rows.clone()))));
                }
                (table, place)
            }
            At::Page(table, place) => (table, place),
            At::End => return Ok(None),
        };
        let ask = Ask {
            stream: Arc::clone(&self.stream),
            table: table.clone(),
            rows: self.rows.clone().unwrap_or(RowScope::All),
            order: self.order.clone(),
            by_version: self.by_version,
            after,
            limit: self.limit,
        };
        let page = self.tables.page(ask).await?;
        self.batch(table, page).map(Some)
    }

    /// Where the first page begins.
    async fn begin(&mut self) -> Result<(T::Table, Place)> {
        if self.stream.key_columns().is_empty() {
            return Err(Error::config("a table is read in the order of its key: declare one with `.key([\"id\"])`")
                .with("stream", self.stream.name()));
        }
        let place = position::place(self.request.from.as_ref(), &self.order)?;
        let start = self.tables.start(&self.stream, self.by_version, &place).await?;
        if self.by_version {
            self.saved = place.clone();
        }
        Ok((start.table, place.filter(|_| !start.again)))
    }

    fn batch(&mut self, table: T::Table, page: Page) -> Result<Batch> {
        if page.settled.is_some() {
            self.saved = page.settled;
        }
        let boundary = match (&page.next, &self.rows) {
            (_, None) if self.by_version => Boundary::Resume(cursor(&self.order, &self.saved)?),
            (Some(_), _) => Boundary::Resume(cursor(&self.order, &page.next)?),
            (None, Some(rows)) => Boundary::Ends { scope: rows.clone(), complete: true, resume: None },
            // Without versions the next run begins anew.
            (None, None) => Boundary::Resume(cursor(&self.order, &None)?),
        };
        let frontier = self.by_version.then(|| self.tables.frontier(&self.stream, &table, &page.next, &self.saved));
        let read = page.rows.len() + page.rejects.len();
        // A page that holds fewer rows than were asked for, and is not the last one, is full.
        let full = page.next.is_some() && read < self.limit;
        self.limit = if full { read.max(1) } else { self.limit.saturating_mul(2).min(self.most) };
        if page.next.is_some() {
            self.at = At::Page(table, page.next);
        }
        let mut batch = Batch::of(&self.stream, Changes::upserts(page.rows), boundary);
        (batch.rejects, batch.frontier, batch.requests) = (page.rejects, frontier.flatten(), 1);
        Ok(batch)
    }
}
