//! One page of a table, read by keyset: what comes after the last row, in an order that no row shares.

use std::sync::Arc;

use futures::TryStreamExt;
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{AssertSqlSafe, Row as _};
use sync_core::model::{Kind, Timestamp};
use sync_core::{Error, Result, StreamSpec, Value};

use super::horizon::Horizon;
use super::parse;
use super::scope::Condition;
use super::table::Table;
use crate::ident::quoted;
use crate::keyset::{self, Cell, Gathering, Page, settles_by_clock, version};
use crate::postgres::error::{failed, unread};

/// What the pages of one read need to know.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(super) table: Arc<Table>,
    /// The version that the whole read begins with, where it does not begin at its place.
    pub(super) begin: Option<Value>,
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
    let unread = |cause| unread("the table cannot be read", cause).with("table", stream.name());
    let mut found = select.fetch(pool);
    let mut page = Gathering::of(ask, parse::value);
    let order: Vec<usize> = ask.order.iter().filter_map(|name| stream.schema().index(name)).collect();
    while let Some(row) = found.try_next().await.map_err(unread)? {
        let cells = cells(&row, stream)?;
        let at = order.iter().map(|&column| place(&cells[column])).collect();
        if page.take(&cells, at, settles(ask, &cells))? {
            break;
        }
    }
    page.end(ask.limit)
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
            let bounds = after.iter().zip(&order).map(|(value, (_, cast))| Ok(condition.bound(text(value)?, cast)));
            let bounds = bounds.collect::<Result<Vec<_>>>()?.join(", ");
            condition.sql.push_str(&format!(" AND ({by}) > ({bounds})"));
        }
        // Later pages are found by their place alone.
        (None, Some(begin), Some((version, cast))) => {
            let bound = condition.bound(text(begin)?, cast);
            condition.sql.push_str(&format!(" AND {version} >= {bound}"));
        }
        _ => {}
    }
    let sql =
        format!("SELECT {columns} FROM {} t WHERE {} ORDER BY {by} LIMIT {}", table.sql, condition.sql, ask.limit);
    Ok((sql, condition.values))
}

/// A bound as it is sent: places of this source are texts.
fn text(value: &Value) -> Result<String> {
    match value {
        Value::Text(text) => Ok(text.to_string()),
        _ => Err(Error::internal("a cursor that is not one of this source")),
    }
}

/// Whether every later change has a later place than this row.
fn settles(ask: &Ask, cells: &[Cell<'_>]) -> bool {
    let Some(horizon) = &ask.table.horizon else { return settles_by_clock(ask, cells, ask.table.now, parse::value) };
    let (Some(field), Some(index)) = (version(&ask.stream).filter(|_| ask.by_version), ask.stream.version_index())
    else {
        return true;
    };
    cells[index].value(field, parse::value).is_ok_and(|version| horizon.settles(&version.to_owned()))
}

/// A cell as a bound of the next page.
fn place(cell: &Cell<'_>) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Text(text) => Value::from(text.as_ref()),
        Cell::Bytes(bytes) => {
            Value::from(bytes.iter().fold("\\x".to_owned(), |text, byte| text + &format!("{byte:02x}")).as_str())
        }
    }
}

fn cells<'r>(row: &'r PgRow, stream: &StreamSpec) -> Result<Vec<Cell<'r>>> {
    let fields = stream.schema().fields().iter().enumerate();
    let cells = fields.map(|(at, field)| {
        let cell = if field.kind() == Kind::Bytes {
            row.try_get::<Option<&[u8]>, _>(at).map(|bytes| bytes.map_or(Cell::Null, Cell::Bytes))
        } else {
            row.try_get::<Option<&str>, _>(at).map(|text| text.map_or(Cell::Null, |text| Cell::Text(text.into())))
        };
        cell.map_err(|cause| failed("a stored value cannot be read", cause).with("column", field.name()))
    });
    cells.collect()
}
