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
use super::walk::{Place, Records, Search};
use super::wrapper::unwrapped;
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
        let wrapper = self.envelope.wrapper.as_deref();
        let parsing = Parsing { walk: self.walk(Walk::new(&self.shape.plan)), rows, wrapper };
        let mut search = Search::new(self.envelope, parsing);
        let mut page = match search.walk(text, &tree) {
            Ok(()) => Page::of(search.records.rows, search.extras, search.found),
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
        self.finished(page, &one)
    }

    /// Reads JSON Lines.
    fn lines(&self, body: &[u8], rows: Rows) -> Result<Page> {
        if let Ok(text) = std::str::from_utf8(body)
            && let Some(rows) = self.good_lines(text, rows)
        {
            return Ok(Page::of(rows, Vec::new(), true));
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
                page.reject(line, None, "the record is not valid UTF-8".to_owned());
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
        self.finished(page, &one)
    }

    /// All lines as rows; `None` where something is wrong with one of them.
    fn good_lines(&self, text: &str, rows: Rows) -> Option<Rows> {
        let wrapper = self.envelope.wrapper.as_deref();
        let mut parsing = Parsing { walk: self.walk(Walk::new(&self.shape.plan)), rows, wrapper };
        for line in text.split('\n').map(str::trim_ascii).filter(|line| !line.is_empty()) {
            let mut parser = serde_json::Deserializer::from_str(line);
            parsing.record(&mut parser, 0).ok()?;
            parser.end().ok()?;
        }
        Some(parsing.rows)
    }

    /// Reads one record that is the whole text.
    pub(super) fn alone(&self, record: &[u8]) -> Result<Rows> {
        let text = std::str::from_utf8(record).map_err(|cause| fault::not_utf8(record, cause))?;
        serde_json::from_str::<&RawValue>(text).map_err(|cause| stopped(text, &cause, None))?;
        let mut page = Page::of(Rows::new(Arc::clone(self.schema)), Vec::new(), true);
        let mut one = OneByOne::new(self);
        let (record, outer) = self.shape.outers.unpack(text.trim());
        one.walk.outer = outer;
        one.add(record, 0, &mut page).map_err(|fault| fault::condemned(text, 0, &fault))?;
        match page.rejects.pop() {
            Some(reject) => Err(Error::data(reject.reason)),
            None => Ok(page.rows),
        }
    }

    fn finished(&self, page: Page, one: &OneByOne<'_, '_>) -> Result<Page> {
        if let Some(column) = one.keyless_column.as_deref()
            && one.keyless == page.records
        {
            let message = format!("{}: none of the records has it", fault::keyless(column));
            return Err(Error::new(ErrorKind::Schema, message));
        }
        Ok(page)
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
        Self { records: rows.len(), rows, rejects: Vec::new(), extras, found }
    }

    fn reject(&mut self, body: &[u8], key: Option<Key>, reason: String) {
        self.rejects.push(RejectedRecord { body: body.into(), key, reason });
        self.records += 1;
    }
}

/// Reads records one at a time and sorts out the bad ones.
struct OneByOne<'a, 'de> {
    reading: &'a Reading<'a>,
    walk: Walk<'a, 'de>,
    /// How many records lacked a key column altogether, and which.
    keyless: usize,
    keyless_column: Option<Box<str>>,
}

impl<'a, 'de> OneByOne<'a, 'de> {
    fn new(reading: &'a Reading<'a>) -> Self {
        let walk = reading.walk(Walk::by_text(&reading.shape.plan));
        Self { reading, walk, keyless: 0, keyless_column: None }
    }

    /// Adds a row or a reject.
    ///
    /// # Errors
    /// A fault that condemns the whole body.
    fn add(&mut self, raw: &'de str, depth: usize, page: &mut Page) -> Result<(), Fault> {
        if !raw.starts_with('{') && scan::too_deep(raw, depth) {
            return Err(Fault::TooDeep);
        }
        let wrapper = self.reading.envelope.wrapper.as_deref();
        self.walk.fault = None;
        let mut parser = serde_json::Deserializer::from_str(raw);
        let Err(cause) = self.walk.wrapped(&mut parser, depth, wrapper, &mut page.rows) else {
            page.records += 1;
            return Ok(());
        };
        let reason = match self.walk.fault.take() {
            Some(fault @ (Fault::Duplicate(_) | Fault::TooDeep | Fault::ByText)) => return Err(fault),
            Some(Fault::Refused(reason)) => reason,
            Some(Fault::Keyless(column)) => {
                let reason = fault::keyless(&column);
                self.keyless += 1;
                self.keyless_column.get_or_insert(column);
                reason
            }
            // The grammar was found right before: what is left are escapes in names that are no characters.
            None => cause.to_string().split(" at line ").next().unwrap_or_default().to_owned(),
        };
        let body = wrapper.and_then(|member| unwrapped(raw, member).ok()).unwrap_or(raw);
        let key = self.key(body, &page.rows);
        page.reject(&self.reading.shape.outers.pack(body, &self.walk.outer), key, reason);
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
}

impl<'de> Records<'de> for Parsing<'_, 'de> {
    fn record<D: Deserializer<'de>>(&mut self, record: D, depth: usize) -> Result<(), D::Error> {
        self.walk.wrapped(record, depth, self.wrapper, &mut self.rows)
    }

    fn restart(&mut self) {
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
