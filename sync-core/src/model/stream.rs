//! What a host declares about a stream: its columns, its key, its version, and what writing means.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Field, Kind, Row, Schema, ValueRef};
use crate::{Error, Result};

/// What arrives means for the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Disposition {
    /// Rows are written by key: new ones inserted, others updated where they differ.
    #[default]
    Upsert,
    /// Rows are inserted; those that exist are left alone.
    InsertOnly,
    /// Every row is a new one. Only a sink with an atomic checkpoint takes this, or a retry would double rows.
    Append,
    /// A complete listing of a window replaces what the window held.
    ReplaceWindow,
    /// A complete listing replaces everything.
    Snapshot,
}

/// What happens to target rows that a complete listing does not name: they are deleted, unless the stream says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Absent {
    /// They stay.
    Keep,
    /// They are deleted.
    #[default]
    Delete,
    /// They stay, and this timestamp column says since when they are missing.
    Mark(String),
}

/// One stream as the host declares it. Only the declared fields are fetched and written.
///
/// ```
/// use sync_core::StreamSpec;
/// let orders = StreamSpec::new("orders").key(["id"]).version("updated_at").decimal("total", 12, 2).text("note");
/// assert_eq!(orders.schema().width(), 4);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamSpec {
    name: String,
    schema: Arc<Schema>,
    key: Vec<String>,
    version: Option<String>,
    disposition: Disposition,
    absent: Absent,
    /// Columns that `key` or `version` added by themselves, with the kind they assumed.
    implied: Vec<String>,
    /// The first thing that was declared wrongly; told when the pipeline is built.
    fault: Option<String>,
}

impl StreamSpec {
    /// A stream of this name, as yet without columns.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            schema: Arc::default(),
            key: Vec::new(),
            version: None,
            disposition: Disposition::default(),
            absent: Absent::default(),
            implied: Vec::new(),
            fault: None,
        }
    }

    /// The columns that identify a row. One that is not declared otherwise holds an integer.
    #[must_use]
    pub fn key<I: IntoIterator<Item: Into<String>>>(mut self, columns: I) -> Self {
        self.key = columns.into_iter().map(Into::into).collect();
        for column in self.key.clone() {
            self = self.imply(column, Kind::Int);
        }
        self.require_key()
    }

    /// The column whose value grows with every change of a row. Unless declared otherwise it holds a timestamp.
    #[must_use]
    pub fn version(mut self, column: impl Into<String>) -> Self {
        let column = column.into();
        self.version = Some(column.clone());
        self.imply(column, Kind::Timestamp)
    }

    /// A column of any kind.
    #[must_use]
    pub fn field(mut self, field: Field) -> Self {
        let mut fields = self.schema.fields().to_vec();
        match self.schema.index(field.name()) {
            Some(index) => {
                let implied = self.implied.iter().position(|name| name == field.name());
                match implied {
                    Some(place) => drop(self.implied.swap_remove(place)),
                    None => self.blame(format!("column {:?} is declared twice", field.name())),
                }
                fields[index] = field;
            }
            None => fields.push(field),
        }
        self.schema = Arc::new(Schema::new(fields));
        self.require_key()
    }

    /// A column that is true or false.
    #[must_use]
    pub fn bool(self, name: impl Into<Arc<str>>) -> Self {
        self.field(Field::new(name, Kind::Bool))
    }

    /// A column of signed 64-bit integers.
    #[must_use]
    pub fn int(self, name: impl Into<Arc<str>>) -> Self {
        self.field(Field::new(name, Kind::Int))
    }

    /// A column of unsigned 64-bit integers.
    #[must_use]
    pub fn uint(self, name: impl Into<Arc<str>>) -> Self {
        self.field(Field::new(name, Kind::UInt))
    }

    /// A column of binary floating-point numbers; not for money.
    #[must_use]
    pub fn float(self, name: impl Into<Arc<str>>) -> Self {
        self.field(Field::new(name, Kind::Float))
    }

    /// A column of exact decimals: `precision` digits in all, `scale` of them after the point.
    #[must_use]
    pub fn decimal(self, name: impl Into<Arc<str>>, precision: u8, scale: u8) -> Self {
        self.field(Field::new(name, Kind::Decimal { precision, scale }))
    }

    /// A column of text.
    #[must_use]
    pub fn text(self, name: impl Into<Arc<str>>) -> Self {
        self.field(Field::new(name, Kind::Text))
    }

    /// A column of raw bytes.
    #[must_use]
    pub fn bytes(self, name: impl Into<Arc<str>>) -> Self {
        self.field(Field::new(name, Kind::Bytes))
    }

    /// A column of instants, microseconds, UTC.
    #[must_use]
    pub fn timestamp(self, name: impl Into<Arc<str>>) -> Self {
        self.field(Field::new(name, Kind::Timestamp))
    }

    /// A column of calendar dates.
    #[must_use]
    pub fn date(self, name: impl Into<Arc<str>>) -> Self {
        self.field(Field::new(name, Kind::Date))
    }

    /// A column of nested data, kept as JSON text.
    #[must_use]
    pub fn json(self, name: impl Into<Arc<str>>) -> Self {
        self.field(Field::new(name, Kind::Json))
    }

    /// What arriving rows mean for the target.
    #[must_use]
    pub fn disposition(mut self, disposition: Disposition) -> Self {
        self.disposition = disposition;
        self
    }

    /// What happens to rows that a complete listing does not name.
    #[must_use]
    pub fn absent(mut self, absent: Absent) -> Self {
        self.absent = absent;
        self
    }

    /// The stream's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The columns.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// The names of the key columns.
    pub fn key_columns(&self) -> &[String] {
        &self.key
    }

    /// The positions of the key columns in the schema.
    pub fn key_indices(&self) -> Vec<usize> {
        self.key.iter().filter_map(|name| self.schema.index(name)).collect()
    }

    /// The name of the version column.
    pub fn version_column(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// The position of the version column in the schema.
    pub fn version_index(&self) -> Option<usize> {
        self.version.as_deref().and_then(|name| self.schema.index(name))
    }

    /// The version of a row of this stream; `None` where the stream has none or the row leaves it empty.
    pub fn version_of<'a>(&self, row: Row<'a>) -> Option<ValueRef<'a>> {
        self.version_index().map(|index| row.at(index)).filter(|value| !value.is_null())
    }

    /// What arriving rows mean.
    pub fn writes(&self) -> Disposition {
        self.disposition
    }

    /// What happens to absent rows.
    pub fn when_absent(&self) -> &Absent {
        &self.absent
    }

    /// Says what is wrong with the declaration, if anything.
    ///
    /// # Errors
    /// `Config`, naming the stream, the column and what to write instead.
    pub fn check(&self) -> Result<()> {
        let wrong = |text: String| Err(Error::config(text).with("stream", &self.name));
        if let Some(fault) = &self.fault {
            return wrong(fault.clone());
        }
        if self.name.is_empty() {
            return wrong("a stream needs a name".to_owned());
        }
        if self.schema.width() == 0 {
            return wrong(
                "a stream needs at least one column: declare it with `.text(\"name\")` and its like".to_owned(),
            );
        }
        if self.key.is_empty() && self.disposition != Disposition::Append {
            return wrong("a stream that is written by key needs one: `.key([\"id\"])`".to_owned());
        }
        if let Some(twice) = self.key.iter().enumerate().find(|(at, name)| self.key[..*at].contains(name)) {
            return wrong(format!("key column {:?} stands twice", twice.1));
        }
        for field in self.schema.fields() {
            if field.name().is_empty() {
                return wrong("a column needs a name".to_owned());
            }
            if let Kind::Decimal { precision, scale } = field.kind()
                && (precision == 0 || precision > 38 || scale > precision)
            {
                return wrong(format!(
                    "column {:?} is {}: 1 to 38 digits, not more after the point than in all",
                    field.name(),
                    field.kind()
                ));
            }
        }
        if let Absent::Mark(column) = &self.absent
            && self.schema.field(column).is_some_and(|field| field.kind() != Kind::Timestamp)
        {
            return wrong(format!("column {column:?} marks since when a row is missing and must be a timestamp"));
        }
        Ok(())
    }

    fn imply(mut self, column: String, kind: Kind) -> Self {
        if self.schema.index(&column).is_none() {
            self.implied.push(column.clone());
            let mut fields = self.schema.fields().to_vec();
            fields.push(Field::new(column, kind));
            self.schema = Arc::new(Schema::new(fields));
        }
        self
    }

    /// Key columns are never empty.
    fn require_key(mut self) -> Self {
        let is_key = |field: &Field| self.key.iter().any(|name| name == field.name());
        if self.schema.fields().iter().any(|field| is_key(field) && field.is_nullable()) {
            let fields =
                self.schema.fields().iter().cloned().map(|field| if is_key(&field) { field.required() } else { field });
            self.schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        }
        self
    }

    fn blame(&mut self, fault: String) {
        self.fault.get_or_insert(fault);
    }
}

/// Streams that share one cursor: one table, or thirty in one change log.
///
/// A source whose tables are read one by one offers a feed for each, and looks in `read` which of them is asked for:
///
/// ```
/// use std::sync::Arc;
///
/// use sync_core::{BatchStream, Feed, ReadRequest, Result, Source, StreamSpec, pages, typed};
///
/// #[derive(serde::Serialize)]
/// struct Named {
///     id: i64,
///     name: String,
/// }
///
/// #[derive(Debug)]
/// struct Desk {
///     tickets: Arc<StreamSpec>,
///     people: Arc<StreamSpec>,
/// }
///
/// impl Desk {
///     async fn after(&self, table: &str, id: i64) -> Result<Vec<Named>> {
///         // Ask the help desk for this table here.
///         Ok((id + 1..=3).map(|id| Named { id, name: format!("{id} of {table}") }).collect())
///     }
/// }
///
/// #[async_trait::async_trait]
/// impl Source for Desk {
///     fn name(&self) -> &str {
///         "desk"
///     }
///
///     async fn feeds(&self) -> Result<Vec<Feed>> {
///         Ok([&self.tickets, &self.people].map(|stream| Feed::one(Arc::clone(stream))).to_vec())
///     }
///
///     fn read(&self, request: ReadRequest) -> BatchStream<'_> {
///         let stream = Arc::clone(&request.feed.streams()[0]);
///         pages(request, Arc::clone(&stream), move |after: Option<i64>| {
///             let stream = Arc::clone(&stream);
///             async move {
///                 let page = self.after(stream.name(), after.unwrap_or(0)).await?;
///                 let Some(last) = page.last().map(|row| row.id) else { return Ok(None) };
///                 Ok(Some((typed::changes(&stream, &page), last)))
///             }
///         })
///     }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Feed {
    name: String,
    streams: Vec<Arc<StreamSpec>>,
}

impl Feed {
    /// A feed of several streams.
    pub fn new(name: impl Into<String>, streams: impl IntoIterator<Item = Arc<StreamSpec>>) -> Self {
        Self { name: name.into(), streams: streams.into_iter().collect() }
    }

    /// A feed of one stream, under the stream's name.
    pub fn one(stream: impl Into<Arc<StreamSpec>>) -> Self {
        let stream = stream.into();
        Self { name: stream.name().to_owned(), streams: vec![stream] }
    }

    /// The feed's name: part of the scope its cursor is kept under, so it must stay the same over releases.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its streams. Parents stand before children.
    pub fn streams(&self) -> &[Arc<StreamSpec>] {
        &self.streams
    }

    /// The stream of this name.
    pub fn stream(&self, name: &str) -> Option<&Arc<StreamSpec>> {
        self.streams.iter().find(|stream| stream.name() == name)
    }
}
