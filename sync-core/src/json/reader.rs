//! The reader of a stream's records: where each column stands, how it is written, and the reading itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::convert::{Case, Map};
use super::joined::Split;
use super::outer::Outers;
use super::plan::Plan;
use super::rule::{Listed, Rule};
use super::split::{Reading, Shape};
use super::unfold::{Unfolding, When};
use super::{Envelope, Page, Parse};
use crate::model::{Rows, StreamSpec};
use crate::{Error, Result};

/// Reads the records of one stream. Built once, cheap to clone and to share.
#[derive(Clone)]
pub struct RecordReader {
    inner: Arc<Inner>,
}

struct Inner {
    stream: Arc<StreamSpec>,
    rules: Vec<Rule>,
    unfolding: Unfolding,
    /// The first thing that was declared wrongly.
    fault: Option<String>,
    shape: OnceLock<Result<Shape, String>>,
    /// Bytes of body that a row took last time: tells how much room the next page needs.
    last: AtomicUsize,
}

impl RecordReader {
    /// A reader that takes every column from the member of its own name.
    pub fn new(stream: Arc<StreamSpec>) -> Self {
        let rules = stream.schema().fields().iter().map(|_| Rule::default()).collect();
        Self::of(stream, rules, Unfolding::default(), None)
    }

    fn of(stream: Arc<StreamSpec>, rules: Vec<Rule>, unfolding: Unfolding, fault: Option<String>) -> Self {
        let last = AtomicUsize::new(0);
        Self { inner: Arc::new(Inner { stream, rules, unfolding, fault, shape: OnceLock::new(), last }) }
    }

    /// Reads the records that each record of the body holds in an array, instead of the record itself. Places of
    /// columns are then in those; `^/id` is a place in the record around them. A record whose array is empty, `null` or
    /// not there gives no rows.
    #[must_use]
    pub fn explode(self, path: &str) -> Self {
        self.unfold(|unfolding| unfolding.explode = Some(path.to_owned()))
    }

    /// Drops the records of which this holds, such as rows of sums: they are neither rows nor rejects. Called again,
    /// it names another reason to drop a record. Of what is [exploded](RecordReader::explode), `/kind` drops one
    /// record, and `^/kind` all that come out of the same one.
    #[must_use]
    pub fn drop_if(self, path: &str, when: When) -> Self {
        self.unfold(|unfolding| unfolding.drops.push((path.to_owned(), when)))
    }

    fn unfold(self, change: impl FnOnce(&mut Unfolding)) -> Self {
        let inner = self.inner;
        let mut unfolding = inner.unfolding.clone();
        change(&mut unfolding);
        Self::of(Arc::clone(&inner.stream), inner.rules.clone(), unfolding, inner.fault.clone())
    }

    /// Takes a column from this place in the record: a JSON pointer (RFC 6901) such as `/amount/value`. The empty
    /// pointer is the whole record. A name in braces is no place in the record but a value that is given with the
    /// read, such as `{account}`; see [`RecordReader::read_with`].
    #[must_use]
    pub fn column(self, name: &str, path: &str) -> Self {
        self.first_of(name, [path])
    }

    /// Takes a column from the first of these places that has a value: one that is there, not null, and not
    /// [taken for null](RecordReader::null_if).
    #[must_use]
    pub fn first_of<I: IntoIterator<Item: Into<String>>>(self, name: &str, paths: I) -> Self {
        self.with(name, |rule| rule.places = Some(paths.into_iter().map(Into::into).collect()))
    }

    /// Gives a column this value: where none of its declared places has one, or always when no place is declared. It
    /// is written as the column's kind suggests, whatever [`RecordReader::parse`] says of the source's values.
    #[must_use]
    pub fn constant(self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.with(name, |rule| rule.constant = Some(value.into()))
    }

    /// Takes a column from a list of named values, such as `[{"key": "cust", "value": "new"}]`: the value of the first
    /// item that holds this name. `named` is where an item holds its name, and the name; `value` is where it holds its
    /// value. It goes behind the places of [`RecordReader::first_of`].
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use sync_core::StreamSpec;
    /// # use sync_core::json::RecordReader;
    /// # let stream = Arc::new(StreamSpec::new("sales").key(["id"]).text("customer"));
    /// let reader = RecordReader::new(stream).look_up("customer", "/parameters", ("/key", "cust"), "/value");
    /// # reader.check().unwrap();
    /// ```
    #[must_use]
    pub fn look_up(self, column: &str, list: &str, named: (&str, &str), value: &str) -> Self {
        let [list, by, name, value] = [list, named.0, named.1, value].map(str::to_owned);
        self.with(column, |rule| rule.listed = Some(Listed { list, by, name, value }))
    }

    /// Makes a text column the hash over the values at these places, 32 hexadecimal digits: a key for records that have
    /// none. It goes behind the places of [`RecordReader::first_of`] and a list that is looked into.
    ///
    /// A value counts by its text, after blanks, placeholders and case are seen to as the column says; no value differs
    /// from an empty one. Where none of them is there, the column has no value. The empty place is the whole record. The
    /// hash of the same values stays the same in all releases.
    #[must_use]
    pub fn hash_of<I: IntoIterator<Item: Into<String>>>(self, name: &str, places: I) -> Self {
        self.with(name, |rule| rule.hash_of = places.into_iter().map(Into::into).collect())
    }

    /// Cuts the texts of a JSON column, such as `"SA, AE"`, where this stands, into a list of texts. Each is cleaned and
    /// looked up in the column's map by itself; empty ones are left out. A list that is one already is only cleaned.
    #[must_use]
    pub fn split(self, name: &str, on: &str) -> Self {
        self.with(name, |rule| rule.clean.split = Some(Split { on: on.to_owned(), part: None }))
    }

    /// Takes one part, counted from 0, of the texts of a column that are cut where this stands: part 1 of
    /// `"5500.1001.700001"` is `1001`. Where it is not there or empty, there is no value.
    #[must_use]
    pub fn part(self, name: &str, on: &str, part: usize) -> Self {
        self.with(name, |rule| rule.clean.split = Some(Split { on: on.to_owned(), part: Some(part) }))
    }

    /// Says what the texts of a column mean, such as `"0"` for `"pending"`; numbers, true and false count by their
    /// text. What is not listed means `default`; without one its record is rejected. No value stays no value.
    #[must_use]
    pub fn map<I, T, M>(self, name: &str, meanings: I, default: Option<&str>) -> Self
    where
        I: IntoIterator<Item = (T, M)>,
        T: Into<String>,
        M: Into<String>,
    {
        let values = meanings.into_iter().map(|(text, meaning)| (text.into(), meaning.into())).collect();
        self.with(name, |rule| rule.clean.map = Some(Map { values, default: default.map(str::to_owned) }))
    }

    /// Says how the values of a column are written.
    #[must_use]
    pub fn parse(self, name: &str, parse: Parse) -> Self {
        self.with(name, |rule| rule.parse = parse)
    }

    /// Takes blanks around the texts of a column away.
    #[must_use]
    pub fn trim(self, name: &str) -> Self {
        self.with(name, |rule| rule.clean.trim = true)
    }

    /// Turns the texts of a column into upper case.
    #[must_use]
    pub fn upper(self, name: &str) -> Self {
        self.with(name, |rule| rule.clean.case = Some(Case::Upper))
    }

    /// Turns the texts of a column into lower case.
    #[must_use]
    pub fn lower(self, name: &str) -> Self {
        self.with(name, |rule| rule.clean.case = Some(Case::Lower))
    }

    /// Takes these values of a column for none, such as `""`, `"-"` or `"0000-00-00"`. Numbers count by their text.
    #[must_use]
    pub fn null_if<I: IntoIterator<Item: Into<String>>>(self, name: &str, values: I) -> Self {
        self.with(name, |rule| rule.clean.nulls.extend(values.into_iter().map(Into::into)))
    }

    fn with(self, name: &str, change: impl FnOnce(&mut Rule)) -> Self {
        let inner = self.inner;
        let (mut rules, mut fault) = (inner.rules.clone(), inner.fault.clone());
        match inner.stream.schema().index(name) {
            Some(index) => change(&mut rules[index]),
            None => {
                fault.get_or_insert(format!("{name:?} is no declared column"));
            }
        }
        Self::of(Arc::clone(&inner.stream), rules, inner.unfolding.clone(), fault)
    }

    /// The stream whose records are read.
    pub fn stream(&self) -> &Arc<StreamSpec> {
        &self.inner.stream
    }

    /// Says what is wrong with the declaration, if anything.
    ///
    /// # Errors
    /// `Config`: an unknown column, a pointer that is none, a format or zone that cannot be read, a way of writing
    /// that does not go with the column's kind.
    pub fn check(&self) -> Result<()> {
        self.shape().map(drop).map_err(|error| self.name(error))
    }

    /// Reads a body in one pass. A record that cannot be read is in [`Page::rejects`]; the others are as if it had
    /// not been there.
    ///
    /// # Errors
    /// - `Malformed`: not JSON, not UTF-8, nested deeper than 64 levels, a wanted member twice in one object. It says
    ///   [`Retry::Backoff`](crate::Retry::Backoff) where the body ends too early, since the transfer may have been
    ///   cut, and [`Retry::Never`](crate::Retry::Never) otherwise. In JSON Lines, a line that is not UTF-8 is only
    ///   rejected.
    /// - `Schema`: none of the records has a key column.
    /// - `Config`: see [`RecordReader::check`] and [`Envelope::check`].
    pub fn read(&self, body: &[u8], envelope: &Envelope) -> Result<Page> {
        self.read_with(body, envelope, &BTreeMap::new())
    }

    /// The same with values for the columns that take theirs from outside of the record, by name: `account` for
    /// `{account}`. A name that is not there gives no value. A rejected record carries its values
    /// with it, as `{"record": …, "outer": {"{account}": …}}`.
    ///
    /// # Errors
    /// Those of [`RecordReader::read`].
    pub fn read_with(&self, body: &[u8], envelope: &Envelope, given: &BTreeMap<String, String>) -> Result<Page> {
        let page = envelope.check().and_then(|()| self.reading(envelope, given)?.page(body, self.room(body.len())));
        let page = page.map_err(|error| self.name(error))?;
        self.remember(body.len(), page.rows.len());
        Ok(page)
    }

    /// Reads one record alone, such as the body of a [`RejectedRecord`](super::RejectedRecord). Where records are
    /// exploded, it may also be one that is still whole: then all its rows come.
    ///
    /// # Errors
    /// `Malformed` where it is no JSON, `Data` with the reason where it is no row.
    pub fn record(&self, record: &[u8]) -> Result<Rows> {
        let rows = self.reading(&Envelope::lines(), &BTreeMap::new()).and_then(|reading| reading.alone(record));
        rows.map_err(|error| self.name(error))
    }

    fn reading<'a>(&'a self, envelope: &'a Envelope, given: &BTreeMap<String, String>) -> Result<Reading<'a>> {
        let shape = self.shape()?;
        Ok(Reading { schema: self.inner.stream.schema(), shape, envelope, given: shape.outers.given(given) })
    }

    fn name(&self, error: Error) -> Error {
        error.with("stream", self.inner.stream.name())
    }

    fn shape(&self) -> Result<&Shape> {
        let shape = self.inner.shape.get_or_init(|| self.compile());
        shape.as_ref().map_err(|fault| Error::config(fault.clone()))
    }

    fn compile(&self) -> Result<Shape, String> {
        if let Some(fault) = &self.inner.fault {
            return Err(fault.clone());
        }
        let stream = &self.inner.stream;
        let key_indices = stream.key_indices();
        let unfolding = &self.inner.unfolding;
        let mut outers = Outers::new(unfolding.explode.is_some());
        let mut columns = Vec::new();
        for (index, (field, rule)) in stream.schema().fields().iter().zip(&self.inner.rules).enumerate() {
            let (mut column, source) = rule.compile(index, field, &mut outers)?;
            column.key = key_indices.contains(&index);
            columns.push((column, source));
        }
        let keys = columns.iter().filter(|(column, _)| column.key).cloned().collect::<Vec<_>>();
        let unfold = unfolding.compile(&outers)?;
        Ok(Shape { plan: Plan::new(columns), keys: Plan::new(keys), key_indices, outers, unfold })
    }

    /// Rows with room for about as many as the last page held in a body of this size.
    fn room(&self, body: usize) -> Rows {
        let rows = body.checked_div(self.inner.last.load(Ordering::Relaxed)).map_or(0, |rows| rows + rows / 16 + 1);
        Rows::with_capacity(Arc::clone(self.inner.stream.schema()), rows, if rows > 0 { body / 2 } else { 0 })
    }

    fn remember(&self, body: usize, rows: usize) {
        if let Some(each) = body.checked_div(rows) {
            self.inner.last.store(each.max(1), Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for RecordReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordReader").field("stream", &self.inner.stream.name()).finish_non_exhaustive()
    }
}
