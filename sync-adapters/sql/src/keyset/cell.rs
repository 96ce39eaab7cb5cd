//! Rows as a database sends them, gathered into a page: what is not as declared is told row by row.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sync_core::model::{Decimal, Field, Reject, Timestamp};
use sync_core::{Error, Key, Result, StreamSpec, Value, ValueRef};

use super::bounds::never_found;
use super::position::{by_time, no_place, stands_in_order, version};
use super::walk::{Ask, MOST_BYTES, Page};

/// What a column of a row holds.
pub(crate) enum Cell<'r> {
    Null,
    Text(Cow<'r, str>),
    Bytes(&'r [u8]),
}

/// How a database writes values: the value of a text, as its column is declared, or an error of the kind `Data`.
pub(crate) type Parse = for<'t> fn(&'t str, &Field) -> Result<ValueRef<'t>>;

impl Cell<'_> {
    /// The value, as its column is declared.
    ///
    /// # Errors
    /// `Data`, naming the column, when it is none.
    pub(crate) fn value(&self, field: &Field, parse: Parse) -> Result<ValueRef<'_>> {
        match self {
            Self::Null => Ok(ValueRef::Null),
            Self::Text(text) => parse(text, field),
            Self::Bytes(bytes) if field.kind() == sync_core::model::Kind::Bytes => Ok(ValueRef::Bytes(bytes)),
            Self::Bytes(_) => Err(no_such_value(field)),
        }
    }
}

/// The error of a value that is not as its column is declared. It does not repeat the value.
pub(crate) fn no_such_value(field: &Field) -> Error {
    Error::data(format!("column {:?} holds a value that is no {}", field.name(), field.kind()))
}

/// A plain decimal; as text, where it has more digits than 96 bits hold.
pub(crate) fn decimal(text: &str) -> Option<ValueRef<'_>> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    Some(Decimal::from_str_exact(text).map_or(ValueRef::Text(text), ValueRef::Decimal))
}

/// A page that fills up, row by row.
pub(crate) struct Gathering {
    stream: Arc<StreamSpec>,
    order: Vec<String>,
    by_version: bool,
    page: Page,
    parse: Parse,
    read: usize,
    /// Bytes of the rows that are not as declared.
    rejected: usize,
    last: Option<Vec<Value>>,
}

impl Gathering {
    pub(crate) fn of<T>(ask: &Ask<T>, parse: Parse) -> Self {
        Self {
            stream: Arc::clone(&ask.stream),
            order: ask.order.clone(),
            by_version: ask.by_version,
            page: Page::of(&ask.stream),
            parse,
            read: 0,
            rejected: 0,
            last: None,
        }
    }

    /// Takes a row that stands at this place. Says whether the page is full of bytes.
    ///
    /// A row that came after empty versions were looked for may have one: that is no place to go on from.
    ///
    /// # Errors
    /// `Schema` where its key is empty.
    pub(crate) fn take(&mut self, cells: &[Cell<'_>], place: Vec<Value>, settles: bool) -> Result<bool> {
        self.read += 1;
        let fields = self.stream.schema().fields();
        match cells.iter().zip(fields).map(|(cell, field)| cell.value(field, self.parse)).collect::<Result<Vec<_>>>() {
            Ok(values) => self.page.rows.push(values)?,
            Err(error) => {
                let reject = reject(&self.stream, cells, &error, self.parse);
                self.rejected += reject.body.len();
                self.page.rejects.push(reject);
            }
        }
        match place.iter().position(Value::is_null) {
            Some(0) if self.by_version => {}
            Some(at) => return Err(never_found(&self.stream, &self.order[at], 1)),
            None => {
                if settles {
                    self.page.settled = Some(place.clone());
                }
                self.last = Some(place);
            }
        }
        Ok(self.last.is_some() && self.is_full())
    }

    fn is_full(&self) -> bool {
        self.page.rows.size() + self.rejected >= MOST_BYTES
    }

    /// The page, which more rows follow when it is full of bytes or has as many rows as were asked for.
    ///
    /// # Errors
    /// `Schema` where more follow and nothing tells behind what.
    pub(crate) fn end(mut self, limit: usize) -> Result<Page> {
        if self.read > 0 && self.read == limit && self.last.is_none() {
            return Err(no_place(&self.stream));
        }
        let more = self.is_full() || self.read == limit;
        self.page.next = self.last.filter(|_| more);
        Ok(self.page)
    }
}

/// Whether every later change has a later place than this row, as far as its clock says.
pub(crate) fn settles_by_clock<T>(ask: &Ask<T>, cells: &[Cell<'_>], now: Timestamp, parse: Parse) -> bool {
    let Some(field) = version(&ask.stream).filter(|_| ask.by_version) else { return true };
    let index = ask.stream.version_index().unwrap_or_default();
    match cells[index].value(field, parse) {
        Err(_) => false,
        Ok(value) if !stands_in_order(&value) => false,
        Ok(_) if !by_time(&ask.stream) => true,
        Ok(ValueRef::Timestamp(at)) => at <= now,
        Ok(ValueRef::Date(day)) => Timestamp::from(chrono::NaiveDateTime::from(day).and_utc()) <= now,
        Ok(_) => false,
    }
}

/// A row that is not as declared, as JSON for a person to read. Bytes stand in base64.
fn reject(stream: &Arc<StreamSpec>, cells: &[Cell<'_>], error: &Error, parse: Parse) -> Reject {
    let fields = stream.schema().fields();
    let object = fields.iter().zip(cells).map(|(field, cell)| {
        let value = match cell {
            Cell::Null => serde_json::Value::Null,
            Cell::Text(text) => text.as_ref().into(),
            Cell::Bytes(bytes) => STANDARD.encode(bytes).into(),
        };
        (field.name().to_owned(), value)
    });
    let object: serde_json::Map<String, serde_json::Value> = object.collect();
    let body = serde_json::Value::from(object).to_string().into_bytes().into();
    let key = stream.key_indices().into_iter().map(|column| match cells[column].value(&fields[column], parse) {
        Ok(ValueRef::Null) | Err(_) => None,
        Ok(value) => Some(value.to_owned()),
    });
    let key = key.collect::<Option<Vec<Value>>>().map(Key::new);
    Reject { stream: Arc::clone(stream), key, body, reason: error.to_string() }
}
