//! Many rows in a few buffers: cells side by side, texts behind each other.
//!
//! A box per row costs about 300 ns; a cell in a flat buffer about 11. A page of a thousand rows is three allocations.

use std::fmt;
use std::sync::Arc;

use chrono::NaiveDate;
use rust_decimal::Decimal;

use super::{Schema, Timestamp, Value, ValueRef};
use crate::{Error, Result};

/// Rows over one schema, flat.
#[derive(Clone)]
pub struct Rows {
    schema: Arc<Schema>,
    cells: Vec<Cell>,
    text: String,
    bytes: Vec<u8>,
}

/// A cell: the value itself, or where its text stands.
#[derive(Clone, Copy)]
enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    Decimal(Decimal),
    Text(Span),
    Bytes(Span),
    Timestamp(Timestamp),
    Date(NaiveDate),
    Json(Span),
}

#[derive(Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl Rows {
    /// No rows yet.
    pub fn new(schema: Arc<Schema>) -> Self {
        Self::with_capacity(schema, 0, 0)
    }

    /// No rows yet, with room for `rows` of them and `text` bytes of text.
    pub fn with_capacity(schema: Arc<Schema>, rows: usize, text: usize) -> Self {
        let cells = Vec::with_capacity(rows * schema.width());
        Self { schema, cells, text: String::with_capacity(text), bytes: Vec::new() }
    }

    /// The columns.
    #[inline]
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// How many rows there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.cells.len().checked_div(self.schema.width()).unwrap_or(0)
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Memory in use, bytes.
    pub fn size(&self) -> usize {
        self.cells.len() * size_of::<Cell>() + self.text.len() + self.bytes.len()
    }

    /// The row at this position.
    ///
    /// # Panics
    /// When there is no such row.
    #[inline]
    pub fn row(&self, index: usize) -> Row<'_> {
        let start = index * self.schema.width();
        assert!(start < self.cells.len(), "row {index} of {}", self.len());
        Row { rows: self, start }
    }

    /// All rows in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Row<'_>> + DoubleEndedIterator {
        (0..self.len()).map(|index| self.row(index))
    }

    /// Begins a row of nulls. It is kept when [`RowWriter::finish`] is called, and forgotten otherwise.
    #[inline]
    pub fn begin(&mut self) -> RowWriter<'_> {
        let mark = Mark { cells: self.cells.len(), text: self.text.len(), bytes: self.bytes.len() };
        self.cells.resize(mark.cells + self.schema.width(), Cell::Null);
        RowWriter { rows: self, mark, finished: false }
    }

    /// Adds a row of these values, in schema order.
    ///
    /// # Errors
    /// `Data` when the number of values or the kind of one does not fit the schema; the message names the column.
    pub fn push<'v>(&mut self, values: impl IntoIterator<Item = ValueRef<'v>>) -> Result<()> {
        let width = self.schema.width();
        let mut writer = self.begin();
        let mut count = 0;
        for value in values {
            if count < width {
                writer.set(count, value)?;
            }
            count += 1;
        }
        if count != width {
            return Err(Error::data(format!("a row of {count} values for a stream of {width} columns")));
        }
        writer.finish();
        Ok(())
    }

    /// Adds a copy of a row of the same schema.
    pub fn push_row(&mut self, row: Row<'_>) {
        let from = row.rows;
        if from.schema.width() != self.schema.width() {
            debug_assert!(false, "a row of another schema");
            return;
        }
        for index in 0..from.schema.width() {
            let cell = match from.cells[row.start + index] {
                Cell::Text(span) => Cell::Text(self.keep_text(&from.text[span.range()])),
                Cell::Json(span) => Cell::Json(self.keep_text(&from.text[span.range()])),
                Cell::Bytes(span) => Cell::Bytes(self.keep_bytes(&from.bytes[span.range()])),
                plain => plain,
            };
            self.cells.push(cell);
        }
    }

    /// Adds all rows of another page of the same schema, moving whole buffers.
    pub fn append(&mut self, other: &Rows) {
        if self.schema.width() != other.schema.width() {
            debug_assert!(false, "rows of another schema");
            return;
        }
        let (text, bytes) = (place(self.text.len()), place(self.bytes.len()));
        place(self.text.len() + other.text.len());
        place(self.bytes.len() + other.bytes.len());
        self.text.push_str(&other.text);
        self.bytes.extend_from_slice(&other.bytes);
        let moved = |span: Span, by: u32| Span { start: span.start + by, end: span.end + by };
        self.cells.extend(other.cells.iter().map(|cell| match *cell {
            Cell::Text(span) => Cell::Text(moved(span, text)),
            Cell::Json(span) => Cell::Json(moved(span, text)),
            Cell::Bytes(span) => Cell::Bytes(moved(span, bytes)),
            plain => plain,
        }));
    }

    // A call and a copy of the value for every cell cost more than what is done here.
    #[inline(always)]
    fn value(&self, cell: Cell) -> ValueRef<'_> {
        match cell {
            Cell::Null => ValueRef::Null,
            Cell::Bool(v) => ValueRef::Bool(v),
            Cell::Int(v) => ValueRef::Int(v),
            Cell::UInt(v) => ValueRef::UInt(v),
            Cell::Float(v) => ValueRef::Float(v),
            Cell::Decimal(v) => ValueRef::Decimal(v),
            Cell::Text(span) => ValueRef::Text(&self.text[span.range()]),
            Cell::Bytes(span) => ValueRef::Bytes(&self.bytes[span.range()]),
            Cell::Timestamp(v) => ValueRef::Timestamp(v),
            Cell::Date(v) => ValueRef::Date(v),
            Cell::Json(span) => ValueRef::Json(&self.text[span.range()]),
        }
    }

    #[inline]
    fn keep(&mut self, value: ValueRef<'_>) -> Cell {
        match value {
            ValueRef::Null => Cell::Null,
            ValueRef::Bool(v) => Cell::Bool(v),
            ValueRef::Int(v) => Cell::Int(v),
            ValueRef::UInt(v) => Cell::UInt(v),
            ValueRef::Float(v) => Cell::Float(v),
            ValueRef::Decimal(v) => Cell::Decimal(v),
            ValueRef::Text(v) => Cell::Text(self.keep_text(v)),
            ValueRef::Bytes(v) => Cell::Bytes(self.keep_bytes(v)),
            ValueRef::Timestamp(v) => Cell::Timestamp(v),
            ValueRef::Date(v) => Cell::Date(v),
            ValueRef::Json(v) => Cell::Json(self.keep_text(v)),
        }
    }

    #[inline]
    fn keep_text(&mut self, text: &str) -> Span {
        let start = place(self.text.len());
        self.text.push_str(text);
        Span { start, end: place(self.text.len()) }
    }

    fn keep_bytes(&mut self, bytes: &[u8]) -> Span {
        let start = place(self.bytes.len());
        self.bytes.extend_from_slice(bytes);
        Span { start, end: place(self.bytes.len()) }
    }
}

/// A position in a page's text. Body limits keep pages far below this.
#[expect(clippy::expect_used, reason = "a page is bounded by the body limit, far below 4 GiB")]
fn place(length: usize) -> u32 {
    u32::try_from(length).expect("a page holds less than 4 GiB of text")
}

impl fmt::Debug for Rows {
    /// Counts and columns, never values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("len", &self.len()).field("width", &self.schema.width()).finish_non_exhaustive()
    }
}

impl PartialEq for Rows {
    fn eq(&self, other: &Self) -> bool {
        self.schema == other.schema && self.len() == other.len() && self.iter().eq(other.iter())
    }
}

/// One row, borrowed from its page.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    rows: &'a Rows,
    start: usize,
}

impl<'a> Row<'a> {
    /// The columns.
    #[inline]
    pub fn schema(&self) -> &'a Arc<Schema> {
        &self.rows.schema
    }

    /// The value in the column at this position.
    ///
    /// # Panics
    /// When there is no such column.
    #[inline]
    pub fn at(&self, column: usize) -> ValueRef<'a> {
        assert!(column < self.rows.schema.width(), "column {column} of {}", self.rows.schema.width());
        self.rows.value(self.rows.cells[self.start + column])
    }

    /// The value in the column of this name.
    pub fn named(&self, name: &str) -> Option<ValueRef<'a>> {
        self.rows.schema.index(name).map(|column| self.at(column))
    }

    /// All values in schema order.
    #[inline]
    pub fn values(&self) -> impl ExactSizeIterator<Item = ValueRef<'a>> + use<'a> {
        let rows = self.rows;
        rows.cells[self.start..self.start + rows.schema.width()].iter().map(|cell| rows.value(*cell))
    }

    /// All values in schema order, owned.
    pub fn to_values(&self) -> Vec<Value> {
        self.values().map(ValueRef::to_owned).collect()
    }
}

impl PartialEq for Row<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.values().eq(other.values())
    }
}

impl fmt::Debug for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row").field("width", &self.rows.schema.width()).finish_non_exhaustive()
    }
}

struct Mark {
    cells: usize,
    text: usize,
    bytes: usize,
}

/// A row being written. Dropped without [`RowWriter::finish`], it leaves no trace.
pub struct RowWriter<'a> {
    rows: &'a mut Rows,
    mark: Mark,
    finished: bool,
}

impl RowWriter<'_> {
    /// Puts a value into a column.
    ///
    /// # Errors
    /// `Data` when the column cannot hold a value of this kind; the message names the column, never the value.
    pub fn set(&mut self, column: usize, value: ValueRef<'_>) -> Result<()> {
        let field = &self.rows.schema.fields()[column];
        if !value.fits(field.kind()) {
            return Err(misfit(field, value));
        }
        self.set_unchecked(column, value);
        Ok(())
    }

    /// Puts a value into a column whose kind the caller has matched already.
    #[inline]
    pub(crate) fn set_unchecked(&mut self, column: usize, value: ValueRef<'_>) {
        let cell = self.rows.keep(value);
        self.rows.cells[self.mark.cells + column] = cell;
    }

    /// Puts text into a column of text.
    #[inline]
    pub(crate) fn set_text(&mut self, column: usize, text: &str) {
        let span = self.rows.keep_text(text);
        self.rows.cells[self.mark.cells + column] = Cell::Text(span);
    }

    /// Keeps the row.
    #[inline]
    pub fn finish(mut self) {
        self.finished = true;
    }
}

#[cold]
fn misfit(field: &super::Field, value: ValueRef<'_>) -> Error {
    Error::data(format!(
        "column {:?} is declared as {} and was given a value of kind {}",
        field.name(),
        field.kind(),
        value.kind_name()
    ))
}

impl Drop for RowWriter<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.rows.cells.truncate(self.mark.cells);
            self.rows.text.truncate(self.mark.text);
            self.rows.bytes.truncate(self.mark.bytes);
        }
    }
}

impl fmt::Debug for RowWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowWriter").finish_non_exhaustive()
    }
}
