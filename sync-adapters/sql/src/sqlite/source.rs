//! SQLite as a source: tables we do not own, read by keyset, never by offset.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use sync_core::model::{Frontier, FrontierProof};
use sync_core::source::{Estimate, SourceCapabilities};
use sync_core::{BatchStream, Feed, ReadRequest, Result, Source, StreamSpec};

use super::page::{self, Ask, Reading};
use super::position::{Again, Begin, time_of};
use super::worker::Worker;
use super::{SqliteOptions, discover};
use crate::catalog::ForeignKey;
use crate::keyset::estimate;
use crate::keyset::{self, Page, Place, Settings, Start, Tables, by_time, told_by_host};

/// Tables of a SQLite database, as a source. The database is opened for reading only.
///
/// A stream with a version column is followed by it: rows come in the order of (version, key), and the cursor names both, so
/// that rows that share a version are neither lost nor read twice. The version must be set in the transaction that
/// changes the row, and transactions that commit out of order are covered by [`SqliteSource::lookback`]. Rows without a
/// version are never found, so every run looks for them and is refused where there are some. A stream without a version
/// column is read as a whole by every run, and one whose version or key is declared anew begins anew. Deletes are found
/// by a reconcile.
///
/// Versions that are times may be written in every form of a date that SQLite reads (`2026-03-01`, `2026-03-01 10:20`, with
/// `T`, seconds, a fraction, an offset; no Julian days), mixed as well, and shared by changes that come later: a run reads
/// the last second of the run before again, and what comes again is unchanged. (In a column declared `TIMESTAMP_TEXT`, which
/// this library writes in one form, it is the last microsecond.) For other versions [`SqliteSource::inclusive`] does the
/// same. A stream that is appended always continues behind the last row. A version that lies in the future is read, but the
/// position does not pass the present: it would hide the changes until then.
///
/// # Types
///
/// [`SqliteSource::discover`] goes by the declared types, whose digits and lengths SQLite does not enforce:
///
/// | Declared | Read as |
/// |---|---|
/// | `INTEGER`, `INT`, `BIGINT`, `SMALLINT`, `TINYINT` and their like, also `UNSIGNED` | int |
/// | `BOOLEAN`, `BOOL` | bool: 0 is false, every other integer is true |
/// | `REAL`, `DOUBLE`, `FLOAT`, `DOUBLE PRECISION` | float |
/// | `DECIMAL(p,s)`, `NUMERIC(p,s)` | decimal(p,s). SQLite holds these as integers and floats: of a float, the shortest text is read, `9.95` |
/// | `TEXT`, `VARCHAR(n)`, `CHAR(n)`, `CLOB` and their like | text |
/// | `BLOB` | bytes |
/// | `DATETIME`, `TIMESTAMP` | timestamp, from a text in a form that SQLite reads, in UTC where it has no offset; declare it as int where it holds seconds |
/// | `DATE` | date, from a text `2026-03-01` |
/// | the types that this library's sink declares, as the [crate](crate#how-values-are-stored) lists them | the kind they were written from, a decimal with the digits that its rows have |
/// | others, and none | nothing: declare the stream by hand, by what its columns hold |
///
/// A value that is not of its column's kind goes to the dead letters with its row.
#[derive(Debug, Clone)]
pub struct SqliteSource {
    name: Arc<str>,
    worker: Worker,
    settings: Settings,
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
        Ok(Self { name, worker: Worker::start(options).await?, settings: Settings::new() })
    }

    /// Closes the connection, for all clones; what is asked afterwards is refused.
    pub async fn close(&self) {
        self.worker.close().await;
    }

    told_by_host!();

    /// The stream that a table of the database makes: its columns, their kinds, its key. Decimals that this library wrote are
    /// looked through for their digits.
    ///
    /// # Errors
    /// `Schema`, naming the table and what is wrong, when there is none, it has no primary key, or declared types name no kind:
    /// all such columns, with what to declare instead.
    pub async fn discover(&self, table: impl Into<String>) -> Result<StreamSpec> {
        let table = table.into();
        self.worker.call(move |connection| discover::stream(connection, &table)).await
    }

    /// The tables there are, by the names that [`discover`](Self::discover) takes.
    ///
    /// # Errors
    /// `Unavailable` when the database cannot be read.
    pub async fn tables(&self) -> Result<Vec<String>> {
        self.worker.call(|connection| discover::tables(connection)).await
    }

    /// How the tables refer to each other.
    ///
    /// # Errors
    /// `Unavailable` when the database cannot be read.
    pub async fn foreign_keys(&self) -> Result<Vec<ForeignKey>> {
        self.worker.call(|connection| discover::foreign_keys(connection)).await
    }
}

#[async_trait]
impl Source for SqliteSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> SourceCapabilities {
        self.settings.capabilities()
    }

    async fn feeds(&self) -> Result<Vec<Feed>> {
        Ok(self.settings.feeds())
    }

    async fn check(&self) -> Result<()> {
        let streams = self.settings.streams.clone();
        self.worker
            .call(move |connection| {
                streams.iter().try_for_each(|stream| page::check_version(connection, stream).map(drop))
            })
            .await
    }

    async fn estimate(&self, request: &ReadRequest) -> Result<Option<Estimate>> {
        let Some(stream) = estimate::whole(request)? else { return Ok(None) };
        let table = stream.name().to_owned();
        self.worker.call(move |connection| page::estimate(connection, &table)).await
    }

    fn read(&self, request: ReadRequest) -> BatchStream<'_> {
        keyset::read(self, self.settings.page, request)
    }
}

#[async_trait]
impl Tables for SqliteSource {
    type Table = Reading;

    async fn start(&self, stream: &Arc<StreamSpec>, by_version: bool, saved: &Place) -> Result<Start<Reading>> {
        let mut reading = Reading { begin: None, now: self.settings.clock.now().into() };
        if by_version {
            let checked = Arc::clone(stream);
            let of_one_form = self.worker.call(move |connection| page::check_version(connection, &checked)).await?;
            let last = saved.as_ref().and_then(|values| values.first());
            reading.begin = match last.filter(|_| self.settings.repeats(stream)) {
                Some(last) if by_time(stream) && !(of_one_form && self.settings.lookback.is_zero()) => {
                    Again::at(last, self.settings.lookback).map(Begin::Time)
                }
                last => last.cloned().map(Begin::Version),
            };
        } else {
            let checked = Arc::clone(stream);
            self.worker.call(move |connection| page::check(connection, &checked).map(drop)).await?;
        }
        Ok(Start { again: reading.begin.is_some(), table: reading })
    }

    async fn page(&self, mut ask: Ask) -> Result<Page> {
        ask.table.now = self.settings.clock.now().into();
        self.worker.call(move |connection| page::read(connection, &ask)).await
    }

    fn frontier(&self, stream: &StreamSpec, _: &Reading, _: &Place, saved: &Place) -> Option<Frontier> {
        let version = saved.as_ref().and_then(|values| values.first()).filter(|_| by_time(stream))?;
        time_of(version).map(|at| Frontier { at, proof: FrontierProof::Assumed })
    }
}
