//! One page of a table, read by keyset: what comes after the last row, in an order that no row shares.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::TryStreamExt;
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{AssertSqlSafe, Row as _};
use sync_core::model::{Kind, Reject, Timestamp};
use sync_core::{Error, Key, Result, StreamSpec, Value, ValueRef};

use super::horizon::Horizon;
use super::parse;
use super::scope::Condition;
use super::table::Table;
use crate::ident::quoted;
use crate::keyset::{self, MOST_BYTES, Page, by_time, version};
use crate::postgres::error::failed;

/// What the pages of one read need to know.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(super) table: Arc<Table>,
    /// The version that the whole read begins with, where it does not begin at its place.
    pub(super) begin: Option<String>,
    /// Which versions may still appear, where the server can prove it.
    pub(super) horizon: Option<Horizon>,
    /// The present.
    pub(super) now: Timestamp,
}

/// Which page to read.
pub(crate) type Ask = keyset::Ask<Reading>;

/// Reads a page.
pub(super) async fn read(pool: &PgPool, ask: &Ask) -> Result<Page> {
    let stream = &ask.stream;
    let (sql, values) = select(ask)?;
    let mut select = sqlx::query(AssertSqlSafe(sql)).persistent(false);
    for value in values {
        select = select.bind(value);
    }
    let unread = |cause| failed("the table cannot be read", cause).with("table", stream.name());
    let mut found = select.fetch(pool);
    let mut page = Page::of(stream);
    let order: Vec<usize> = ask.order.iter().filter_map(|name| stream.schema().index(name)).collect();
    let (mut read, mut rejected, mut last) = (0, 0, None);
    while let Some(row) = found.try_next().await.map_err(unread)? {
        read += 1;
        let cells = cells(&row, stream)?;
        let place: Vec<Value> = order.iter().map(|&column| cells[column].place()).collect();
        match values_of(&cells, stream) {
            Ok(values) => page.rows.push(values)?,
            Err(error) => {
                let reject = reject(stream, &cells, &error);
                rejected += reject.body.len();
                page.rejects.push(reject);
            }
        }
        if settles(ask, &cells) {
            page.settled = Some(place.clone());
        }
        last = Some(place);
        if page.rows.size() + rejected >= MOST_BYTES {
            page.next = last;
            return Ok(page);
        }
    }
    page.next = last.filter(|_| read == ask.limit);
    Ok(page)
}

/// The statement, and the values bound in it.
///
/// Bounds have the type of their column, and its collation, so that an index over (version, key) answers: PostgreSQL
/// compares rows of columns in the order of such an index. Only a version that is text is told apart byte by byte, as the
/// rest of the library orders texts.
fn select(ask: &Ask) -> Result<(String, Vec<String>)> {
    let (stream, table) = (&ask.stream, &ask.table.table);
    let mut condition = Condition::of(stream, table, &ask.rows)?;
    let columns = stream.schema().fields().iter().map(|field| {
        let cast = if field.kind() == Kind::Bytes { "" } else { "::text" };
        Ok(format!("t.{}{cast}", quoted(field.name())?))
    });
    let columns = columns.collect::<Result<Vec<_>>>()?.join(", ");
    let order = ask.order.iter().enumerate().map(|(place, name)| {
        let column = table.column(name).ok_or_else(|| Error::internal("a column that was there is gone"))?;
        let by_bytes = if ask.by_version && place == 0 && column.is_text() { " COLLATE \"C\"" } else { "" };
        Ok((format!("t.{}{by_bytes}", quoted(name)?), column.cast.as_str()))
    });
    let order = order.collect::<Result<Vec<_>>>()?;
    let by = order.iter().map(|(column, _)| column.as_str()).collect::<Vec<_>>().join(", ");
    match (&ask.after, &ask.table.begin, order.first()) {
        (Some(after), _, _) => {
            let bounds = after.iter().zip(&order).map(|(value, (_, cast))| {
                let Value::Text(text) = value else {
                    return Err(Error::internal("a cursor that is not one of this source"));
                };
                Ok(condition.bound(text.to_string(), cast))
            });
            let bounds = bounds.collect::<Result<Vec<_>>>()?.join(", ");
            condition.sql.push_str(&format!(" AND ({by}) > ({bounds})"));
        }
        // Later pages are found by their place alone.
        (None, Some(begin), Some((version, cast))) => {
            let bound = condition.bound(begin.clone(), cast);
            condition.sql.push_str(&format!(" AND {version} >= {bound}"));
        }
        _ => {}
    }
    let sql =
        format!("SELECT {columns} FROM {} t WHERE {} ORDER BY {by} LIMIT {}", table.sql, condition.sql, ask.limit);
    Ok((sql, condition.values))
}

/// Whether every later change has a later place than this row.
fn settles(ask: &Ask, cells: &[Cell<'_>]) -> bool {
    let (Some(field), Some(index)) = (version(&ask.stream).filter(|_| ask.by_version), ask.stream.version_index())
    else {
        return true;
    };
    let Ok(version) = cells[index].value(field) else { return false };
    match &ask.table.horizon {
        Some(horizon) => horizon.settles(&version.to_owned()),
        None if by_time(&ask.stream) => cells[index].time().is_some_and(|at| at <= ask.table.now),
        None => true,
    }
}

/// What a column of a row holds.
enum Cell<'r> {
    Null,
    Text(&'r str),
    Bytes(&'r [u8]),
}

impl<'r> Cell<'r> {
    fn value(&self, field: &sync_core::model::Field) -> Result<ValueRef<'r>> {
        match self {
            Self::Null => Ok(ValueRef::Null),
            Self::Text(text) => parse::value(text, field),
            Self::Bytes(bytes) => Ok(ValueRef::Bytes(bytes)),
        }
    }

    /// As a bound of the next page.
    fn place(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Text(text) => Value::from(*text),
            Self::Bytes(bytes) => {
                Value::from(bytes.iter().fold("\\x".to_owned(), |text, byte| text + &format!("{byte:02x}")).as_str())
            }
        }
    }

    fn time(&self) -> Option<Timestamp> {
        match self {
            Self::Text(text) => parse::timestamp(text),
            _ => None,
        }
    }
}

fn cells<'r>(row: &'r PgRow, stream: &StreamSpec) -> Result<Vec<Cell<'r>>> {
    let fields = stream.schema().fields().iter().enumerate();
    let cells = fields.map(|(at, field)| {
        let cell = if field.kind() == Kind::Bytes {
            row.try_get::<Option<&[u8]>, _>(at).map(|bytes| bytes.map_or(Cell::Null, Cell::Bytes))
        } else {
            row.try_get::<Option<&str>, _>(at).map(|text| text.map_or(Cell::Null, Cell::Text))
        };
        cell.map_err(|cause| failed("a stored value cannot be read", cause).with("column", field.name()))
    });
    cells.collect()
}

fn values_of<'r>(cells: &[Cell<'r>], stream: &StreamSpec) -> Result<Vec<ValueRef<'r>>> {
    cells.iter().zip(stream.schema().fields()).map(|(cell, field)| cell.value(field)).collect()
}

/// A row that is not as declared, as JSON for a person to read. Bytes stand in base64.
fn reject(stream: &Arc<StreamSpec>, cells: &[Cell<'_>], error: &Error) -> Reject {
    let fields = stream.schema().fields();
    let object = fields.iter().zip(cells).map(|(field, cell)| {
        let value = match cell {
            Cell::Null => serde_json::Value::Null,
            Cell::Text(text) => (*text).into(),
            Cell::Bytes(bytes) => STANDARD.encode(bytes).into(),
        };
        (field.name().to_owned(), value)
    });
    let object: serde_json::Map<String, serde_json::Value> = object.collect();
    let body = serde_json::Value::from(object).to_string().into_bytes().into();
    let key = stream.key_indices().into_iter().map(|column| match cells[column].value(&fields[column]) {
        Ok(ValueRef::Null) | Err(_) => None,
        Ok(value) => Some(value.to_owned()),
    });
    let key = key.collect::<Option<Vec<Value>>>().map(Key::new);
    Reject { stream: Arc::clone(stream), key, body, reason: error.to_string() }
}
