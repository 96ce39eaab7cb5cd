//! A source in memory: tables that the host changes at any time, and the log of those changes.

mod data;
mod feed;
mod position;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use self::data::Data;
pub use self::data::Transaction;
use super::lock;
use crate::model::{Feed, Key, Partition, Rows, StreamSpec, Value};
use crate::source::{
    BatchStream, CursorKind, Estimate, Listing, ReadRequest, Receipt, RowOrder, Source, SourceCapabilities,
};
use crate::{Error, Result};

/// A [`Source`] in memory that keeps the whole specification. Clones share their data.
///
/// ```
/// use sync_core::StreamSpec;
/// use sync_core::memory::MemorySource;
///
/// let shop = MemorySource::of([StreamSpec::new("orders").key(["id"]).text("note")]);
/// shop.upsert("orders", [1.into(), "first".into()]);
/// shop.upsert("orders", [1.into(), "changed".into()]);
/// assert_eq!(shop.rows("orders").len(), 1);
/// ```
///
/// # Panics
/// The host's own calls panic on a stream or a row that does not exist: that is a mistake in a test.
#[derive(Debug, Clone)]
pub struct MemorySource {
    name: Arc<str>,
    feeds: Vec<Feed>,
    shape: Shape,
    data: Arc<Mutex<Data>>,
}

/// How changes can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Feeding {
    /// From a log of changes, by position: every state of every row, deletes too, transactions kept together.
    #[default]
    Log,
    /// By version, inclusively: the present state of rows at or after a version; rows that share it come again.
    Version,
    /// Only as a whole, from the beginning each time.
    Whole,
}

/// In which order rows come on a first load, and in listings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum FirstLoad {
    /// By key, ascending.
    #[default]
    ByKey,
    /// In an order that has nothing to do with the key, the same each time.
    Scattered,
}

/// What the source is like to a reader.
#[derive(Debug, Clone, Copy)]
struct Shape {
    feeding: Feeding,
    first_load: FirstLoad,
    page: usize,
    partitions: usize,
    listing: Listing,
    ranges: bool,
}

impl MemorySource {
    /// Tables of these feeds, empty. Streams of one feed share its cursor.
    pub fn new(feeds: impl IntoIterator<Item = Feed>) -> Self {
        let feeds: Vec<Feed> = feeds.into_iter().collect();
        let data = Data::new(feeds.iter().flat_map(Feed::streams).cloned());
        let shape = Shape {
            feeding: Feeding::default(),
            first_load: FirstLoad::default(),
            page: 100,
            partitions: 1,
            listing: Listing::Rows,
            ranges: true,
        };
        Self { name: "memory".into(), feeds, shape, data: Arc::new(Mutex::new(data)) }
    }

    /// Tables of these streams, empty, each with a feed of its own.
    pub fn of<S: Into<Arc<StreamSpec>>>(streams: impl IntoIterator<Item = S>) -> Self {
        Self::new(streams.into_iter().map(|stream| Feed::one(stream)))
    }

    /// The same source under another name.
    #[must_use]
    pub fn named(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    /// The same source, read like this.
    #[must_use]
    pub fn feeding(mut self, feeding: Feeding) -> Self {
        self.shape.feeding = feeding;
        self
    }

    /// The same source, with first loads in this order.
    #[must_use]
    pub fn first_load(mut self, order: FirstLoad) -> Self {
        self.shape.first_load = order;
        self
    }

    /// The same source, with so many rows in a page; at least one.
    #[must_use]
    pub fn page(mut self, rows: usize) -> Self {
        self.shape.page = rows.max(1);
        self
    }

    /// The same source, with rows spread over so many partitions by their key; at least one.
    #[must_use]
    pub fn partitioned(mut self, partitions: usize) -> Self {
        self.shape.partitions = partitions.max(1);
        self
    }

    /// The same source, able to list so much.
    #[must_use]
    pub fn listing(mut self, listing: Listing) -> Self {
        self.shape.listing = listing;
        self
    }

    /// The same source, unable to read ranges.
    #[must_use]
    pub fn without_ranges(mut self) -> Self {
        self.shape.ranges = false;
        self
    }

    /// Inserts or replaces a row: values in the order of the stream's schema.
    pub fn upsert(&self, stream: &str, values: impl IntoIterator<Item = Value>) {
        self.transaction_of_one(|changes| changes.upsert(stream, values));
    }

    /// Changes a row in place.
    pub fn mutate(&self, stream: &str, key: &Key, change: impl FnOnce(&mut [Value])) {
        self.transaction_of_one(|changes| changes.mutate(stream, key, change));
    }

    /// Deletes a row. The change names no version.
    pub fn delete(&self, stream: &str, key: &Key) {
        self.transaction_of_one(|changes| changes.delete(stream, key, None));
    }

    /// Deletes a row, with the version of the delete.
    pub fn delete_at(&self, stream: &str, key: &Key, version: impl Into<Value>) {
        self.transaction_of_one(|changes| changes.delete(stream, key, Some(version.into())));
    }

    /// Several changes that belong together: they carry one group, and a log never lets a reader stop between them.
    pub fn transaction(&self, changes: impl FnOnce(&mut Transaction<'_>)) {
        let mut data = lock(&self.data);
        let group = data.new_group();
        changes(&mut Transaction::new(&mut data, Some(group)));
    }

    /// Makes a row unreadable: from now on it comes as a reject with this reason, until it is mended.
    pub fn spoil(&self, stream: &str, key: &Key, reason: &str) {
        lock(&self.data).spoiled.insert((stream.to_owned(), key.clone()), reason.to_owned());
    }

    /// Makes an unreadable row readable again. It does not come by itself: change it, or revive its record.
    pub fn mend(&self, stream: &str, key: &Key) {
        lock(&self.data).spoiled.remove(&(stream.to_owned(), key.clone()));
    }

    /// All rows of a stream as they are now, by key.
    pub fn rows(&self, stream: &str) -> Vec<(Key, Vec<Value>)> {
        let data = lock(&self.data);
        let rows = data.tables.get(stream).into_iter().flatten();
        rows.map(|(key, values)| (key.clone(), values.clone())).collect()
    }

    /// How many changes there have been.
    pub fn head(&self) -> u64 {
        lock(&self.data).head()
    }

    /// How many pages were read.
    pub fn requests(&self) -> u64 {
        lock(&self.data).requests
    }

    /// The receipts that came, in order.
    pub fn acknowledged(&self) -> Vec<Receipt> {
        lock(&self.data).receipts.clone()
    }

    /// The partition a key belongs to.
    pub fn partition_of(&self, key: &Key) -> Partition {
        partition(self.shape.partitions, key)
    }

    fn transaction_of_one(&self, change: impl FnOnce(&mut Transaction<'_>)) {
        change(&mut Transaction::new(&mut lock(&self.data), None));
    }
}

fn partition(partitions: usize, key: &Key) -> Partition {
    if partitions == 1 {
        return Partition::default();
    }
    Partition::new(format!("part{}", key.stable_hash() % partitions as u64))
}

#[async_trait]
impl Source for MemorySource {
    fn name(&self) -> &str {
        &self.name
    }

    async fn feeds(&self) -> Result<Vec<Feed>> {
        Ok(self.feeds.clone())
    }

    fn read(&self, request: ReadRequest) -> BatchStream<'_> {
        feed::read(self, request)
    }

    fn capabilities(&self) -> SourceCapabilities {
        let Shape { feeding, first_load, listing, ranges, .. } = self.shape;
        let cursor = match feeding {
            Feeding::Log => CursorKind::Position,
            Feeding::Version => CursorKind::Inclusive,
            Feeding::Whole => CursorKind::None,
        };
        let order = match first_load {
            FirstLoad::ByKey => RowOrder::Key,
            FirstLoad::Scattered => RowOrder::Unknown,
        };
        let deletes = feeding == Feeding::Log;
        SourceCapabilities { cursor, deletes, order, replayable: true, listing, ranges }
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }

    async fn partitions(&self, _: &Feed) -> Result<Vec<Partition>> {
        let parts = self.shape.partitions;
        if parts == 1 {
            return Ok(vec![Partition::default()]);
        }
        Ok((0..parts).map(|part| Partition::new(format!("part{part}"))).collect())
    }

    async fn estimate(&self, request: &ReadRequest) -> Result<Option<Estimate>> {
        let rows = feed::expected(self, request)?;
        Ok(Some(Estimate { rows, requests: Some(rows.div_ceil(self.shape.page as u64).max(1)) }))
    }

    async fn acknowledge(&self, receipt: &Receipt) -> Result<()> {
        lock(&self.data).receipts.push(receipt.clone());
        Ok(())
    }

    fn revive(&self, stream: &StreamSpec, record: &[u8]) -> Result<Rows> {
        let values: Vec<Value> = serde_json::from_slice(record).map_err(|cause| {
            Error::malformed("the record cannot be read").with("stream", stream.name()).caused_by(cause)
        })?;
        let mut rows = Rows::new(Arc::clone(stream.schema()));
        rows.push(values.iter().map(Value::as_ref))?;
        let key = Key::of(rows.row(0), &stream.key_indices());
        if let Some(reason) = lock(&self.data).spoiled.get(&(stream.name().to_owned(), key)) {
            return Err(Error::data(reason.clone()).with("stream", stream.name()));
        }
        Ok(rows)
    }
}
