//! Bodies and their records one by one: the whole body at once where all is well, and record by record where it is
//! not, so that a bad record is lost alone.

use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde_json::value::RawValue;

use super::fault::{self, Fault};
use super::outer::{Outers, Values};
use super::page::{Page, RejectedRecord};
use super::plan::Plan;
use super::record::Walk;
use super::unfold::{Cut, Unfold, Unfolder};
use super::walk::{Place, Records, Search};
use super::{Envelope, Layout, scan};
use crate::model::{Key, Rows, Schema};
use crate::{Error, ErrorKind, Result, Retry};

/// What reading needs to know of a stream.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) plan: Plan,
    /// The key columns alone: to name a record that could not be read.
    pub(super) keys: Plan,
    pub(super) key_indices: Vec<usize>,
    pub(super) outers: Outers,
    pub(super) unfold: Option<Unfold>,
}

/// The reading of one body.
pub(super) struct Reading<'a> {
    pub(super) schema: &'a Arc<Schema>,
    pub(super) shape: &'a Shape,
    pub(super) envelope: &'a Envelope,
    /// The outer values that are the same for all records.
    pub(super) given: Values<'static>,
}

impl<'a> Reading<'a> {
    /// Reads the whole body.
    pub(super) fn page(&self, body: &[u8], rows: Rows) -> Result<Page> {
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        if self.envelope.layout == Layout::Lines {
            return self.lines(body, rows);
        }
        let text = std::str::from_utf8(body).map_err(|cause| fault::not_utf8(body, cause))?;
        let (tree, second) = Place::of(self.envelope).map_err(Error::config)?;
        let mut search = Search::new(self.envelope, self.parsing(rows));
        let mut page = match search.walk(text, &tree) {
            Ok(()) => search.records.page(search.extras, search.found),
            Err(_) => self.split(text, &tree)?,
        };
        if let Some(second) = second {
            let mut search = Search::new(self.envelope, Nowhere);
            search.walk(text, &second).map_err(|cause| stopped(text, &cause, search.fault.as_ref()))?;
            search.extras.into_iter().zip(&mut page.extras).for_each(|(extra, place)| *place = extra.or(place.take()));
        }
        Ok(page)
    }

    /// A walk whose records may take the outer values.
    fn walk<'de>(&self, walk: Walk<'a, 'de>) -> Walk<'a, 'de> {
        walk.with(self.given.clone())
    }

    fn parsing<'de>(&self, rows: Rows) -> Parsing<'a, 'de> {
        Parsing {
            walk: self.walk(Walk::new(&self.shape.plan)),
            rows,
            wrapper: self.envelope.wrapper.as_deref(),
            unfolder: self.shape.unfold.as_ref().map(Unfolder::new),
            given: self.given.clone(),
            read: Counts::default(),
        }
    }

    /// Reads record by record, after something was wrong with one of them or with the body.
    fn split(&self, text: &str, tree: &Place) -> Result<Page> {
        let mut search = Search::new(self.envelope, Splitting(Vec::new()));
        search.walk(text, tree).map_err(|cause| stopped(text, &cause, search.fault.as_ref()))?;
        let mut page = Page::of(Rows::new(Arc::clone(self.schema)), search.extras, search.found);
        let mut one = OneByOne::new(self);
        for (raw, depth) in search.records.0 {
            one.add(raw, depth, &mut page)
                .map_err(|fault| fault::condemned(text, fault::offset_of(text, raw), &fault))?;
        }
        self.finished(page, one)
    }

    /// Reads JSON Lines.
    fn lines(&self, body: &[u8], rows: Rows) -> Result<Page> {
        if let Ok(text) = std::str::from_utf8(body)
            && let Some(page) = self.good_lines(text, rows)
        {
            return Ok(page);
        }
        let mut page = Page::of(Rows::new(Arc::clone(self.schema)), Vec::new(), true);
        let mut one = OneByOne::new(self);
        for whole in body.split_inclusive(|byte| *byte == b'\n') {
            let line = whole.trim_ascii();
            if line.is_empty() {
                continue;
            }
            let place = |error: Error| {
                let start = (line.as_ptr() as usize).saturating_sub(body.as_ptr() as usize);
                error.with("record from byte", start)
            };
            let Ok(text) = std::str::from_utf8(line) else {
                let reason = "the record is not valid UTF-8".to_owned();
                page.rejects.push(RejectedRecord { body: line.into(), key: None, reason });
                one.read.records += 1;
                one.tried += 1;
                continue;
            };
            if let Err(cause) = serde_json::from_str::<&RawValue>(text) {
                let error = fault::malformed(text, &cause);
                // Only the last line can have been cut off, and only where not even its end is there.
                let whole_line = whole.ends_with(b"\n");
                return Err(place(if whole_line { error.with_retry(Retry::Never) } else { error }));
            }
            one.add(text, 0, &mut page).map_err(|fault| place(fault::condemned(text, 0, &fault)))?;
        }
        self.finished(page, one)
    }

    /// All lines as rows; `None` where something is wrong with one of them.
    fn good_lines(&self, text: &str, rows: Rows) -> Option<Page> {
        let mut parsing = self.parsing(rows);
        for line in text.split('\n').map(str::trim_ascii).filter(|line| !line.is_empty()) {
            let mut parser = serde_json::Deserializer::from_str(line);
            parsing.record(&mut parser, 0).ok()?;
            parser.end().ok()?;
        }
        Some(parsing.page(Vec::new(), true))
    }

    /// Reads one record that is the whole text.
    pub(super) fn alone(&self, record: &[u8]) -> Result<Rows> {
        let text = std::str::from_utf8(record).map_err(|cause| fault::not_utf8(record, cause))?;
        serde_json::from_str::<&RawValue>(text).map_err(|cause| stopped(text, &cause, None))?;
        let mut page = Page::of(Rows::new(Arc::clone(self.schema)), Vec::new(), true);
        let mut one = OneByOne::new(self);
        let added = match self.shape.outers.unpack(text.trim()) {
            Some((record, outer)) => one.add_packed(record, outer, &mut page),
            None => one.add(text.trim(), 0, &mut page),
        };
        added.map_err(|fault| fault::condemned(text, 0, &fault))?;
        match page.rejects.pop() {
            Some(reject) => Err(Error::data(reject.reason)),
            None => Ok(page.rows),
        }
    }

    fn finished(&self, page: Page, one: OneByOne<'_, '_>) -> Result<Page> {
        if let Some(column) = one.keyless_column.as_deref()
            && one.keyless == one.tried
        {
            let message = format!("{}: none of the records has it", fault::keyless(column));
            return Err(Error::new(ErrorKind::Schema, message));
        }
        Ok(page.count(one.read))
    }
}

fn stopped(text: &str, cause: &serde_json::Error, fault: Option<&Fault>) -> Error {
    match fault {
        Some(fault) => fault::condemned(text, fault::offset(text, cause), fault),
        None => fault::malformed(text, cause),
    }
}

impl Page {
    fn of(rows: Rows, extras: Vec<Option<crate::model::Value>>, found: bool) -> Self {
        let (records, rejects) = (rows.len(), Vec::new());
        Self { records, rows, rejects, extras, found, dropped: 0, exploded: Vec::new() }
    }

    fn count(mut self, read: Counts) -> Self {
        (self.records, self.dropped, self.exploded) = (read.records, read.dropped, read.exploded);
        self
    }
}

/// Records of a body that unfolds, counted as its source does.
#[derive(Default)]
struct Counts {
    records: usize,
    dropped: usize,
    exploded: Vec<u64>,
}

impl Counts {
    fn add(&mut self, raw: &str, cut: &Cut<'_>, explodes: bool) {
        if cut.dropped {
            self.dropped += 1;
            return;
        }
        self.records += 1;
        if explodes {
            let hash = blake3::hash(raw.as_bytes());
            let first = hash.as_bytes().first_chunk().copied().unwrap_or_default();
            self.exploded.push(u64::from_le_bytes(first));
        }
    }
}

/// Reads records one at a time and sorts out the bad ones.
struct OneByOne<'a, 'de> {
    reading: &'a Reading<'a>,
    walk: Walk<'a, 'de>,
    unfolder: Option<Unfolder<'a, 'de>>,
    /// How many records were tried to be read, how many of them lacked a key column altogether, and which.
    tried: usize,
    keyless: usize,
    keyless_column: Option<Box<str>>,
    read: Counts,
}

impl<'a, 'de> OneByOne<'a, 'de> {
    fn new(reading: &'a Reading<'a>) -> Self {
        let walk = reading.walk(Walk::by_text(&reading.shape.plan));
        let unfolder = reading.shape.unfold.as_ref().map(Unfolder::new);
        Self { reading, walk, unfolder, tried: 0, keyless: 0, keyless_column: None, read: Counts::default() }
    }

    /// Adds the rows and rejects of a record of the body.
    ///
    /// # Errors
    /// A fault that condemns the whole body.
    fn add(&mut self, raw: &'de str, depth: usize, page: &mut Page) -> Result<(), Fault> {
        if !raw.starts_with('{') && scan::too_deep(raw, depth) {
            return Err(Fault::TooDeep);
        }
        self.walk.fault = None;
        let wrapper = self.reading.envelope.wrapper.as_deref();
        let Ok((raw, depth)) = self.walk.unwrap(raw, depth, wrapper) else {
            self.read.records += 1;
            return self.reject(raw, page);
        };
        let Some(unfolder) = &mut self.unfolder else {
            self.read.records += 1;
            return self.add_one(raw, depth, page);
        };
        let cut = match unfolder.cut(raw, depth, self.reading.given.clone()) {
            Ok(cut) => cut,
            Err(fault) => {
                self.read.records += 1;
                self.walk.fault = Some(fault);
                return self.reject(raw, page);
            }
        };
        self.read.add(raw, &cut, self.reading.shape.outers.exploded);
        self.walk.outer = cut.outer;
        cut.records.into_iter().try_for_each(|(raw, depth)| self.add_one(raw, depth, page))
    }

    /// The same for a record that was rejected before, and carries its outer values.
    fn add_packed(&mut self, raw: &'de str, outer: Values<'de>, page: &mut Page) -> Result<(), Fault> {
        self.walk.outer = outer;
        self.add_one(raw, 0, page)
    }

    /// Adds a row or a reject.
    fn add_one(&mut self, raw: &'de str, depth: usize, page: &mut Page) -> Result<(), Fault> {
        self.walk.fault = None;
        let mut parser = serde_json::Deserializer::from_str(raw);
        match self.walk.record(&mut parser, depth, &mut page.rows) {
            Ok(()) => {
                self.tried += 1;
                Ok(())
            }
            Err(cause) => {
                // The grammar was found right before: what is left are escapes in names that are no characters.
                let grammar = || cause.to_string().split(" at line ").next().unwrap_or_default().to_owned();
                self.walk.fault.get_or_insert_with(|| Fault::Refused(grammar()));
                self.reject(raw, page)
            }
        }
    }

    /// Adds a reject for the fault of the walk.
    ///
    /// # Errors
    /// The fault, where it condemns the whole body.
    fn reject(&mut self, raw: &'de str, page: &mut Page) -> Result<(), Fault> {
        self.tried += 1;
        let reason = match self.walk.fault.take() {
            Some(fault @ (Fault::Duplicate(_) | Fault::TooDeep | Fault::ByText)) => return Err(fault),
            Some(Fault::Refused(reason)) => reason,
            Some(Fault::Keyless(column)) => {
                let reason = fault::keyless(&column);
                self.keyless += 1;
                self.keyless_column.get_or_insert(column);
                reason
            }
            None => "the record cannot be read".to_owned(),
        };
        let key = self.key(raw, &page.rows);
        let body = self.reading.shape.outers.pack(raw, &self.walk.outer);
        page.rejects.push(RejectedRecord { body: (*body).into(), key, reason });
        Ok(())
    }

    /// The key of a record that could not be read otherwise.
    fn key(&self, raw: &'de str, rows: &Rows) -> Option<Key> {
        let shape = self.reading.shape;
        if shape.key_indices.is_empty() {
            return None;
        }
        let mut rows = Rows::new(Arc::clone(rows.schema()));
        let mut parser = serde_json::Deserializer::from_str(raw);
        let mut walk = Walk::by_text(&shape.keys).with(self.walk.outer.clone());
        walk.record(&mut parser, 0, &mut rows).ok()?;
        Some(Key::of(rows.row(0), &shape.key_indices))
    }
}

/// Records that become rows where they stand.
struct Parsing<'a, 'de> {
    walk: Walk<'a, 'de>,
    rows: Rows,
    wrapper: Option<&'a str>,
    unfolder: Option<Unfolder<'a, 'de>>,
    given: Values<'static>,
    read: Counts,
}

impl<'de> Parsing<'_, 'de> {
    fn page(self, extras: Vec<Option<crate::model::Value>>, found: bool) -> Page {
        let page = Page::of(self.rows, extras, found);
        if self.unfolder.is_some() { page.count(self.read) } else { page }
    }

    /// Reads the records that come out of one.
    fn unfolded(&mut self, raw: &'de str, depth: usize) -> Result<(), ()> {
        let (raw, depth) = self.walk.unwrap(raw, depth, self.wrapper).map_err(drop)?;
        let mut read = |walk: &mut Walk<'_, 'de>, raw, depth| {
            walk.record(&mut serde_json::Deserializer::from_str(raw), depth, &mut self.rows).map_err(drop)
        };
        let Some(unfolder) = &mut self.unfolder else { return read(&mut self.walk, raw, depth) };
        let cut = unfolder.cut(raw, depth, self.given.clone()).map_err(drop)?;
        self.read.add(raw, &cut, unfolder.explodes());
        self.walk.outer = cut.outer;
        cut.records.into_iter().try_for_each(|(raw, depth)| read(&mut self.walk, raw, depth))
    }
}

impl<'de> Records<'de> for Parsing<'_, 'de> {
    fn record<D: Deserializer<'de>>(&mut self, record: D, depth: usize) -> Result<(), D::Error> {
        if self.wrapper.is_none() && self.unfolder.is_none() {
            return self.walk.record(record, depth, &mut self.rows);
        }
        let raw = <&RawValue>::deserialize(record)?.get();
        // What is wrong is found out when the body is read again record by record.
        self.unfolded(raw, depth).map_err(|()| D::Error::custom("a record cannot be read"))
    }

    fn restart(&mut self) {
        self.read = Counts::default();
        self.rows = Rows::new(Arc::clone(self.rows.schema()));
    }
}

/// Records that are only cut out.
struct Splitting<'de>(Vec<(&'de str, usize)>);

impl<'de> Records<'de> for Splitting<'de> {
    fn record<D: Deserializer<'de>>(&mut self, record: D, depth: usize) -> Result<(), D::Error> {
        self.0.push((<&RawValue>::deserialize(record)?.get(), depth));
        Ok(())
    }

    fn restart(&mut self) {
        self.0.clear();
    }
}

/// No records are looked for.
struct Nowhere;

impl<'de> Records<'de> for Nowhere {
    fn record<D: Deserializer<'de>>(&mut self, _: D, _: usize) -> Result<(), D::Error> {
        Err(D::Error::custom("no records are looked for"))
    }

    fn restart(&mut self) {}
}
