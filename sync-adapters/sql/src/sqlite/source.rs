//! SQLite as a source: tables we do not own, read by keyset, never by offset.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::try_unfold;
use sync_core::model::{Batch, Changes, Frontier, FrontierProof, RowScope};
use sync_core::source::{CursorKind, Listing, Reading, SourceCapabilities};
use sync_core::{BatchStream, Boundary, Clock, Error, Feed, ReadRequest, Result, Source, StreamSpec, SystemClock};

use super::page::{self, Ask, Page};
use super::position::{self, Again, Begin, Place, by_time, cursor, may_repeat, order, time_of};
use super::worker::Worker;
use super::{SqliteOptions, discover};

/// Tables of a SQLite database, as a source. The database is opened for reading only.
///
/// A stream with a version column is followed by it: rows come in the order of (version, key), and the cursor names both, so
/// that rows that share a version are neither lost nor read twice. The version must be set in the transaction that
/// changes the row, and transactions that commit out of order are covered by [`SqliteSource::lookback`]. Rows without a
/// version are never found, so every run looks for them and is refused where there are some. A stream without a version
/// column is read as a whole by every run, and one whose version or key is declared anew begins anew. Deletes are found
/// by a reconcile.
///
/// Versions that are times may be written in every form that SQLite reads, mixed as well, and shared by changes that come
/// later: a run reads the last second of the run before again, and what comes again is unchanged. (In a column declared
/// `TIMESTAMP_TEXT`, which this library writes in one form, it is the last microsecond.) For other versions
/// [`SqliteSource::inclusive`] does the same. A stream that is appended always continues behind the last row. A version
/// that lies in the future is read, but the position does not pass the present: it would hide the changes until then.
#[derive(Debug, Clone)]
pub struct SqliteSource {
    name: Arc<str>,
    worker: Worker,
    streams: Vec<Arc<StreamSpec>>,
    page: usize,
    lookback: Duration,
    inclusive: bool,
    clock: Arc<dyn Clock>,
}

impl SqliteSource {
    /// Opens a database file that is there already.
    ///
    /// # Errors
    /// `Config` when there is no such file or it is no database, `Forbidden` when this account may not open it, both naming
    /// the file and what to do.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        let options = SqliteOptions { read_only: true, ..SqliteOptions::new(path) };
        let name = options.name().into();
        Ok(Self {
            name,
            worker: Worker::start(options).await?,
            streams: Vec::new(),
            page: 1000,
            lookback: Duration::ZERO,
            inclusive: false,
            clock: Arc::new(SystemClock::new()),
        })
    }

    /// Reads the table of the stream's name: its declared columns, and nothing else.
    #[must_use]
    pub fn table(mut self, stream: impl Into<Arc<StreamSpec>>) -> Self {
        self.streams.push(stream.into());
        self
    }

    /// The most rows in a batch. The default is 1,000. A batch ends earlier when its rows take 4 MiB.
    #[must_use]
    pub fn page(mut self, rows: usize) -> Self {
        self.page = rows.max(1);
        self
    }

    /// Every run reads the rows of the last version again, also where it is no time.
    ///
    /// For numbers that several changes may come to share at different times, such as seconds since 1970: a row that gets
    /// the last version later, and has a lower key, would not be found. A number that grows with every change or
    /// transaction needs no such care.
    #[must_use]
    pub fn inclusive(mut self) -> Self {
        self.inclusive = true;
        self
    }

    /// Every run begins this long before the newest version of the last one, for rows that commit late with an older
    /// version. It holds for versions that are times, in streams whose rows may come again: not in one that is appended.
    /// The default is none.
    #[must_use]
    pub fn lookback(mut self, time: Duration) -> Self {
        self.lookback = time;
        self
    }

    /// Another clock, such as a simulated one. It says which versions lie in the future.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    fn repeats(&self, stream: &StreamSpec) -> bool {
        may_repeat(stream) && (self.inclusive || by_time(stream))
    }

    /// The stream that a table of the database makes: its columns, their kinds, its key.
    ///
    /// # Errors
    /// `Schema`, naming the table and what is wrong, when there is none, it has no primary key, or a column's declared
    /// type names no kind.
    pub async fn discover(&self, table: impl Into<String>) -> Result<StreamSpec> {
        let table = table.into();
        self.worker.call(move |connection| discover::stream(connection, &table)).await
    }
}

#[async_trait]
impl Source for SqliteSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> SourceCapabilities {
        let repeats = self.streams.iter().any(|stream| self.repeats(stream));
        let cursor = if repeats { CursorKind::Inclusive } else { CursorKind::PositionAndKey };
        SourceCapabilities::replayable(cursor).listing(Listing::Rows).ranges()
    }

    async fn feeds(&self) -> Result<Vec<Feed>> {
        Ok(self.streams.iter().map(|stream| Feed::one(Arc::clone(stream))).collect())
    }

    async fn check(&self) -> Result<()> {
        let streams = self.streams.clone();
        self.worker
            .call(move |connection| {
                streams.iter().try_for_each(|stream| page::check_version(connection, stream).map(drop))
            })
            .await
    }

    fn read(&self, request: ReadRequest) -> BatchStream<'_> {
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
        let walk =
            Walk { source: self, stream, request, rows, by_version, order, saved: None, begin: None, at: At::Begin };
        try_unfold(walk, |mut walk| async move { Ok(walk.next().await?.map(|batch| (batch, walk))) }).boxed()
    }
}

/// A read under way.
struct Walk<'s> {
    source: &'s SqliteSource,
    stream: Arc<StreamSpec>,
    request: ReadRequest,
    /// The scope of a listing; `None` follows changes.
    rows: Option<RowScope>,
    /// Whether changes are followed by the version.
    by_version: bool,
    /// The columns that decide the order.
    order: Vec<String>,
    /// Where a later read of changes continues.
    saved: Place,
    /// Where this read of changes began.
    begin: Option<Begin>,
    at: At,
}

enum At {
    Begin,
    Page(Place),
    End,
}

impl Walk<'_> {
    async fn next(&mut self) -> Result<Option<Batch>> {
        let after = match std::mem::replace(&mut self.at, At::End) {
            At::Begin => {
                let place = self.begin().await?;
                if let (Some(rows), None) = (&self.rows, &place) {
                    self.at = At::Page(place);
                    return Ok(Some(Batch::marker(Boundary::Begins(rows.clone()))));
                }
                place
            }
            At::Page(place) => place,
            At::End => return Ok(None),
        };
        let ask = Ask {
            stream: Arc::clone(&self.stream),
            rows: self.rows.clone().unwrap_or(RowScope::All),
            order: self.order.clone(),
            by_version: self.by_version,
            after,
            begin: self.begin.clone(),
            limit: self.source.page,
            now: self.source.clock.now().into(),
        };
        let page = self.source.worker.call(move |connection| page::read(connection, &ask)).await?;
        self.batch(page).map(Some)
    }

    /// Where the first page begins.
    async fn begin(&mut self) -> Result<Place> {
        if self.stream.key_columns().is_empty() {
            return Err(Error::config("a table is read in the order of its key: declare one with `.key([\"id\"])`")
                .with("stream", self.stream.name()));
        }
        let place = position::place(self.request.from.as_ref(), &self.order)?;
        if !self.by_version {
            return Ok(place);
        }
        let stream = Arc::clone(&self.stream);
        let of_one_form = self.source.worker.call(move |connection| page::check_version(connection, &stream)).await?;
        self.saved = place.clone();
        let last = place.as_ref().and_then(|values| values.first());
        self.begin = match last.filter(|_| self.source.repeats(&self.stream)) {
            Some(last) if by_time(&self.stream) && !(of_one_form && self.source.lookback.is_zero()) => {
                Again::at(last, self.source.lookback).map(Begin::Time)
            }
            last => last.cloned().map(Begin::Version),
        };
        Ok(place.filter(|_| self.begin.is_none()))
    }

    fn batch(&mut self, page: Page) -> Result<Batch> {
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
        let frontier = match self.saved.as_ref().and_then(|values| values.first()) {
            Some(version) if by_time(&self.stream) => {
                time_of(version).map(|at| Frontier { at, proof: FrontierProof::Assumed })
            }
            _ => None,
        };
        if page.next.is_some() {
            self.at = At::Page(page.next);
        }
        let mut batch = Batch::of(&self.stream, Changes::upserts(page.rows), boundary);
        (batch.rejects, batch.frontier, batch.requests) = (page.rejects, frontier, 1);
        Ok(batch)
    }
}
