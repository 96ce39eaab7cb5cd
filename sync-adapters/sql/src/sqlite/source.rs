//! SQLite as a source: tables we do not own, read by keyset, never by offset.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::try_unfold;
use rusqlite::types::{Value as Owned, ValueRef as Cell};
use rusqlite::{Connection, params_from_iter};
use serde::{Deserialize, Serialize};
use sync_core::model::{Batch, Changes, Frontier, FrontierProof, Kind, Reject, RowScope, Timestamp};
use sync_core::source::{CursorKind, Listing, Reading, SourceCapabilities};
use sync_core::{
    BatchStream, Boundary, Cursor, Error, ErrorKind, Feed, Key, ReadRequest, Result, Rows, Source, StreamSpec, Value,
};

use super::error::failed;
use super::plan::names;
use super::scope::condition;
use super::value::instant;
use super::worker::Worker;
use super::write::{read_row, unprepared};
use super::{SqliteOptions, discover};
use crate::ident::{list, quoted};

/// The version of the cursor's format.
const FORMAT: u32 = 1;

/// Tables of a SQLite database, as a source. The database is opened for reading only.
///
/// A stream with a version column is followed by it: rows come in the order of (version, key), and the cursor names both, so
/// that rows that share a version are neither lost nor read twice. The version must be set in the transaction that
/// changes the row, and transactions that commit out of order are covered by [`SqliteSource::lookback`]. Rows without a
/// version are never found, so they are refused. A stream without a version column is read as a whole by every run.
/// Deletes are found by a reconcile.
#[derive(Debug, Clone)]
pub struct SqliteSource {
    name: Arc<str>,
    worker: Worker,
    streams: Vec<Arc<StreamSpec>>,
    page: usize,
    lookback: Duration,
}

impl SqliteSource {
    /// Opens a database file that is there already.
    ///
    /// # Errors
    /// `Forbidden` or `Config`, naming the file, when it cannot be opened or is no database.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        let options = SqliteOptions { read_only: true, ..SqliteOptions::new(path) };
        let name = options.name().into();
        Ok(Self {
            name,
            worker: Worker::start(options).await?,
            streams: Vec::new(),
            page: 1000,
            lookback: Duration::ZERO,
        })
    }

    /// Reads the table of the stream's name: its declared columns, and nothing else.
    #[must_use]
    pub fn table(mut self, stream: impl Into<Arc<StreamSpec>>) -> Self {
        self.streams.push(stream.into());
        self
    }

    /// Rows in a batch. The default is 1,000.
    #[must_use]
    pub fn page(mut self, rows: usize) -> Self {
        self.page = rows.max(1);
        self
    }

    /// Every run begins this long before the newest version of the last one, for rows that commit late with an older
    /// version. It holds for versions that are timestamps. The default is none.
    #[must_use]
    pub fn lookback(mut self, time: Duration) -> Self {
        self.lookback = time;
        self
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

    fn start(&self, stream: &StreamSpec, request: &ReadRequest) -> Result<Place> {
        let place = request.from.as_ref().map(|cursor| cursor.read(FORMAT)).transpose()?.unwrap_or(Place::Start);
        Ok(match place {
            Place::Version(values) if request.reading == Reading::Changes => Place::Version(self.back(stream, values)),
            // A position of changes says nothing about a listing.
            Place::Version(_) => Place::Start,
            other => other,
        })
    }

    /// The same position, `lookback` earlier: all keys of that version come again.
    fn back(&self, stream: &StreamSpec, mut values: Vec<Value>) -> Vec<Value> {
        let micros = i64::try_from(self.lookback.as_micros()).unwrap_or(i64::MAX);
        if micros > 0
            && let Some(Value::Text(text)) = values.first()
            && let Some(at) = instant(text)
        {
            let earlier = Timestamp::from_micros(at.micros().saturating_sub(micros).max(FIRST.micros()));
            values = vec![written_like(text, earlier)];
        }
        debug_assert!(
            values.len() == 1 || values.len() == 1 + stream.key_columns().len(),
            "a version alone, or with its key"
        );
        values
    }
}

/// An instant down to the second, in the form of another one: it sorts before every finer text of the same second.
fn written_like(text: &str, at: Timestamp) -> Value {
    let mut written = [0; 27];
    let written = at.write(&mut written).unwrap_or_default();
    let separator = if text.as_bytes().get(10) == Some(&b' ') { " " } else { "T" };
    written.get(..19).unwrap_or_default().replace('T', separator).into()
}

/// 0000-01-01T00:00:00Z: no version is earlier.
const FIRST: Timestamp = Timestamp::from_micros(-62_167_219_200_000_000);

/// How far a read has come. Values are kept as the table holds them, since its own order decides what comes next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Place {
    /// Nothing is read yet.
    Start,
    /// Everything up to this version and key; without a key, everything before this version.
    Version(Vec<Value>),
    /// Everything up to this key.
    Key(Vec<Value>),
}

/// One page, read on the connection's thread.
struct Page {
    rows: Rows,
    rejects: Vec<Reject>,
    /// Where the next page begins; `None` after the last one.
    next: Option<Place>,
    /// The position after the last row of the page.
    last: Option<Place>,
}

#[async_trait]
impl Source for SqliteSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities::replayable(CursorKind::PositionAndKey).listing(Listing::Rows).ranges()
    }

    async fn feeds(&self) -> Result<Vec<Feed>> {
        Ok(self.streams.iter().map(|stream| Feed::one(Arc::clone(stream))).collect())
    }

    async fn check(&self) -> Result<()> {
        let streams = self.streams.clone();
        self.worker
            .call(move |connection| streams.iter().try_for_each(|stream| check_versions(connection, stream)))
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
        let walk = Walk { source: self, stream, request, rows, at: At::Begin };
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
    at: At,
}

enum At {
    Begin,
    Page(Place),
    End,
}

impl Walk<'_> {
    async fn next(&mut self) -> Result<Option<Batch>> {
        let place = match std::mem::replace(&mut self.at, At::End) {
            At::Begin => {
                let place = self.source.start(&self.stream, &self.request)?;
                if let (Some(rows), Place::Start) = (&self.rows, &place) {
                    self.at = At::Page(place);
                    return Ok(Some(Batch::marker(Boundary::Begins(rows.clone()))));
                }
                place
            }
            At::Page(place) => place,
            At::End => return Ok(None),
        };
        let (stream, rows, limit) = (Arc::clone(&self.stream), self.rows.clone(), self.source.page);
        let from = place.clone();
        let page =
            self.source.worker.call(move |connection| read(connection, &stream, rows.as_ref(), &from, limit)).await?;
        self.batch(place, page).map(Some)
    }

    fn batch(&mut self, place: Place, page: Page) -> Result<Batch> {
        let by_version = self.rows.is_none() && self.stream.version_column().is_some();
        let boundary = match (&page.next, &self.rows) {
            (Some(next), _) => Boundary::Resume(Cursor::new(FORMAT, next)?),
            (None, Some(rows)) => Boundary::Ends { scope: rows.clone(), complete: true, resume: None },
            (None, None) if by_version => Boundary::Resume(Cursor::new(FORMAT, &page.last.clone().unwrap_or(place))?),
            // Without versions the next run begins anew.
            (None, None) => Boundary::Resume(Cursor::new(FORMAT, &Place::Start)?),
        };
        let frontier = match &page.last {
            Some(Place::Version(values)) => match values.first() {
                Some(Value::Text(text)) if by_timestamp(&self.stream) => {
                    instant(text).map(|at| Frontier { at, proof: FrontierProof::Assumed })
                }
                _ => None,
            },
            _ => None,
        };
        if let Some(next) = page.next {
            self.at = At::Page(next);
        }
        let mut batch = Batch::of(&self.stream, Changes::upserts(page.rows), boundary);
        (batch.rejects, batch.frontier, batch.requests) = (page.rejects, frontier, 1);
        Ok(batch)
    }
}

/// Reads the page behind a place.
fn read(
    connection: &mut Connection,
    stream: &Arc<StreamSpec>,
    rows: Option<&RowScope>,
    place: &Place,
    limit: usize,
) -> Result<Page> {
    let version = stream.version_column().filter(|_| rows.is_none());
    if version.is_some() && *place == Place::Start {
        check_versions(connection, stream)?;
    }
    let order: Vec<&str> = version.into_iter().chain(stream.key_columns().iter().map(String::as_str)).collect();
    let mut condition = condition(stream, rows.unwrap_or(&RowScope::All))?;
    if let Place::Version(values) | Place::Key(values) = place {
        let bound = &order[..values.len().min(order.len())];
        let comparison = if bound.len() < order.len() { ">=" } else { ">" };
        let marks = vec!["?"; bound.len()].join(", ");
        condition.sql.push_str(&format!(" AND ({}) {comparison} ({marks})", list(bound.iter().copied())?));
        for value in values.iter().take(bound.len()) {
            condition.values.push(raw_of(value)?);
        }
    }
    let sql = format!(
        "SELECT {} FROM {} t WHERE {} ORDER BY {} LIMIT {limit}",
        list(names(stream))?,
        quoted(stream.name())?,
        condition.sql,
        list(order.iter().copied())?
    );
    let mut select = connection.prepare_cached(&sql).map_err(unprepared)?;
    let unread = |cause| failed("the table cannot be read", cause).with("table", stream.name());
    let mut found = select.query(params_from_iter(&condition.values)).map_err(unread)?;
    let mut page = Page { rows: Rows::new(Arc::clone(stream.schema())), rejects: Vec::new(), next: None, last: None };
    let mut read = 0;
    while let Some(row) = found.next().map_err(unread)? {
        read += 1;
        let place = order
            .iter()
            .filter_map(|name| stream.schema().index(name))
            .map(|column| raw_value(row.get_ref(column).map_err(unread)?))
            .collect::<Result<Vec<Value>>>()?;
        if !place.iter().any(Value::is_null) {
            page.last = Some(if version.is_some() { Place::Version(place) } else { Place::Key(place) });
        }
        match read_row(row, stream) {
            Ok(values) => page.rows.push(values.iter().map(Value::as_ref))?,
            Err(error) => page.rejects.push(reject(stream, row, &error)),
        }
    }
    if read == limit && page.last.is_none() {
        // Nothing tells where the next page begins.
        return Err(Error::new(ErrorKind::Schema, "no row of a whole page has a key").with("table", stream.name()));
    }
    page.next = if read == limit { page.last.clone() } else { None };
    Ok(page)
}

fn by_timestamp(stream: &StreamSpec) -> bool {
    stream.version_index().is_some_and(|version| stream.schema().fields()[version].kind() == Kind::Timestamp)
}

/// What a cell holds, whatever its column is declared as.
fn raw_value(cell: Cell<'_>) -> Result<Value> {
    Ok(match cell {
        Cell::Null => Value::Null,
        Cell::Integer(number) => Value::Int(number),
        Cell::Real(number) => Value::Float(number),
        Cell::Text(_) => Value::from(
            cell.as_str()
                .map_err(|_| Error::new(ErrorKind::Schema, "a version or key column holds text that is no UTF-8"))?,
        ),
        Cell::Blob(bytes) => Value::Bytes(bytes.into()),
    })
}

/// The cell again, as a bound of the next page.
fn raw_of(value: &Value) -> Result<Owned> {
    Ok(match value {
        Value::Int(number) => Owned::Integer(*number),
        Value::Float(number) => Owned::Real(*number),
        Value::Text(text) => Owned::Text(text.to_string()),
        Value::Bytes(bytes) => Owned::Blob(bytes.to_vec()),
        _ => return Err(Error::internal("a cursor that is not one of this source")),
    })
}

/// Refuses a table in which rows have no version: they would never be found.
fn check_versions(connection: &mut Connection, stream: &StreamSpec) -> Result<()> {
    let Some(version) = stream.version_column() else { return Ok(()) };
    let sql = format!("SELECT count(*) FROM {} WHERE {} IS NULL", quoted(stream.name())?, quoted(version)?);
    let without: i64 = connection
        .query_row(&sql, [], |row| row.get(0))
        .map_err(|cause| failed("the table cannot be read", cause).with("table", stream.name()))?;
    if without == 0 {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Schema, format!("{without} rows have no {version:?} and would never be found: fill it, or declare the stream without a version"))
        .with("table", stream.name()))
}

/// A row that is not as declared, as JSON for a person to read.
fn reject(stream: &Arc<StreamSpec>, row: &rusqlite::Row<'_>, error: &Error) -> Reject {
    let value = |column: usize| match row.get_ref(column) {
        Ok(Cell::Integer(number)) => number.into(),
        Ok(Cell::Real(number)) => number.into(),
        Ok(Cell::Text(text)) => String::from_utf8_lossy(text).into_owned().into(),
        _ => serde_json::Value::Null,
    };
    let object: serde_json::Map<String, serde_json::Value> =
        names(stream).enumerate().map(|(column, name)| (name.to_owned(), value(column))).collect();
    let body = serde_json::Value::from(object).to_string().into_bytes().into();
    let key = stream.key_indices().into_iter().map(|column| match row.get_ref(column) {
        Ok(Cell::Integer(number)) => Some(Value::Int(number)),
        Ok(Cell::Text(text)) if stream.schema().fields()[column].kind() == Kind::Text => {
            std::str::from_utf8(text).ok().map(Value::from)
        }
        _ => None,
    });
    let key = key.collect::<Option<Vec<Value>>>().map(Key::new);
    Reject { stream: Arc::clone(stream), key, body, reason: error.to_string() }
}
