//! One page of a table, read by keyset: what comes after the last row, in an order that no row shares.

use std::sync::Arc;

use futures::TryStreamExt;
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, Row as _};
use sync_core::model::{Field, Kind, Timestamp};
use sync_core::{Error, Result, Value};

use super::column::Form;
use super::parse;
use super::scope::Condition;
use super::table::{Ordering, Table};
use crate::ident::quoted;
use crate::keyset::{self, Cell, Gathering, Page, settles_by_clock};
use crate::mysql::error::unread;
use crate::mysql::pool::Pool;

/// What the pages of one read need to know.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(super) table: Arc<Table>,
    /// The version that the whole read begins with, where it does not begin at its place.
    pub(super) begin: Option<Value>,
    /// The present.
    pub(super) now: Timestamp,
}

/// Which page to read.
pub(crate) type Ask = keyset::Ask<Reading>;

/// Reads a page.
pub(super) async fn read(pool: &Pool, ask: &Ask) -> Result<Page> {
    let (stream, table) = (&ask.stream, &ask.table.table);
    let order = table.ordered(stream, &ask.order, ask.by_version)?;
    let (sql, values) = select(ask, &order)?;
    let mut select = sqlx::query(AssertSqlSafe(sql)).persistent(false);
    for value in values {
        select = match value {
            Value::Text(text) => select.bind(text.to_string()),
            Value::Bytes(bytes) => select.bind(bytes.to_vec()),
            _ => return Err(Error::internal("a cursor that is not one of this source")),
        };
    }
    let failed = |cause| unread("the table cannot be read", cause).with("table", stream.name());
    let mut session = pool.session().await?;
    let mut found = select.fetch(&mut *session);
    let mut page = Gathering::of(ask, parse::value);
    let fields = stream.schema().fields();
    let forms: Vec<&Form> = fields
        .iter()
        .map(|field| table.column(field.name()).map(|column| &column.form))
        .collect::<Option<_>>()
        .ok_or_else(|| Error::internal("a column that was there is gone"))?;
    let places = places(ask, &order);
    let mut full = false;
    while let Some(row) = found.try_next().await.map_err(failed)? {
        let cell = |(at, field): (usize, &Field)| cell(&row, at, forms[at], field);
        let cells = fields.iter().enumerate().map(cell).collect::<Result<Vec<_>>>()?;
        let place = places.iter().map(|&(at, form)| place(&row, at, form)).collect::<Result<Vec<_>>>()?;
        let settles = settles_by_clock(ask, &cells, ask.table.now, parse::value);
        full = page.take(&cells, place, settles)?;
        if full {
            break;
        }
    }
    drop(found);
    // Of a page that is full of bytes, the rest of the answer is still under way: closing the connection ends it.
    if !full {
        session.release();
    }
    page.end(ask.limit)
}

/// Where the answer has what tells the place of a row. A place of its own stands behind the columns of the stream.
fn places<'t>(ask: &Ask, order: &[Ordering<'t>]) -> Vec<(usize, Option<&'t Form>)> {
    let schema = ask.stream.schema();
    let mut behind = schema.width()..;
    let place = |ordering: &Ordering<'t>| match (&ordering.place, schema.index(&ordering.column.name)) {
        (None, Some(at)) => Some((at, Some(&ordering.column.form))),
        _ => behind.next().map(|at| (at, None)),
    };
    order.iter().filter_map(place).collect()
}

/// The statement, and the values bound in it.
///
/// `(a, b) > (x, y)` is written out: neither server finds the rows of the short form by an index. Of the long one it makes
/// the two ranges `a = x AND b > y` and `a > x`, which lie side by side in an index over (a, b).
fn select(ask: &Ask, order: &[Ordering<'_>]) -> Result<(String, Vec<Value>)> {
    let (stream, table) = (&ask.stream, &ask.table.table);
    let mut condition = Condition::of(stream, table, &ask.rows)?;
    let columns = stream.schema().fields().iter().map(|field| {
        let column = format!("t.{}", quoted(field.name())?);
        Ok(table.column(field.name()).map_or_else(|| column.clone(), |there| there.form.asked(&column)))
    });
    let mut columns = columns.collect::<Result<Vec<_>>>()?;
    columns.extend(order.iter().filter_map(|ordering| ordering.place.clone()));
    for ordering in order.iter().filter(|ordering| !ordering.column.required) {
        condition.sql.push_str(&format!(" AND t.{} IS NOT NULL", quoted(&ordering.column.name)?));
    }
    match (&ask.after, &ask.table.begin, order.first()) {
        (Some(after), ..) => {
            condition.sql.push_str(" AND ");
            behind(&mut condition, order, after);
        }
        // Later pages are found by their place alone.
        (None, Some(begin), Some(version)) => {
            condition.sql.push_str(&format!(" AND {} >= {}", version.sql, version.bound));
            condition.values.push(begin.clone());
        }
        _ => {}
    }
    // The rows of a narrower scope may have an index of their own.
    let index = if ask.rows == sync_core::model::RowScope::All { table.index_for(order)? } else { String::new() };
    let by = order.iter().map(|ordering| ordering.sql.as_str()).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT {} FROM {} t{index} WHERE {} ORDER BY {by} LIMIT {}",
        columns.join(", "),
        table.sql,
        condition.sql,
        ask.limit
    );
    Ok((sql, condition.values))
}

/// `(a > x OR (a = x AND (b > y OR …)))`: that a row comes after this place.
fn behind(condition: &mut Condition, order: &[Ordering<'_>], after: &[Value]) {
    let (Some((ordering, order)), Some((value, after))) = (order.split_first(), after.split_first()) else { return };
    let Ordering { sql, bound, .. } = ordering;
    condition.sql.push_str(&format!("({sql} > {bound}"));
    condition.values.push(value.clone());
    if !order.is_empty() {
        condition.sql.push_str(&format!(" OR ({sql} = {bound} AND "));
        condition.values.push(value.clone());
        behind(condition, order, after);
        condition.sql.push(')');
    }
    condition.sql.push(')');
}

/// The value of a column that was asked for as its form says.
fn cell<'r>(row: &'r MySqlRow, at: usize, form: &Form, field: &Field) -> Result<Cell<'r>> {
    let failed = |cause| unread("a stored value cannot be read", cause).with("column", field.name());
    if let Form::Float { single } = form {
        let number: Option<f64> = row.try_get_unchecked(at).map_err(failed)?;
        // The shortest text that names the number, as the server itself writes it.
        let text = |number: f64| if *single { (number as f32).to_string() } else { number.to_string() };
        return Ok(number.map_or(Cell::Null, |number| Cell::Text(text(number).into())));
    }
    let bytes: Option<&[u8]> = row.try_get_unchecked(at).map_err(failed)?;
    Ok(match bytes {
        None => Cell::Null,
        Some(bytes) if field.kind() == Kind::Bytes => Cell::Bytes(bytes),
        Some(bytes) => std::str::from_utf8(bytes).map_or(Cell::Bytes(bytes), |text| Cell::Text(text.into())),
    })
}

/// A bound of the next page.
fn place(row: &MySqlRow, at: usize, form: Option<&Form>) -> Result<Value> {
    let failed = |cause| unread("a stored value cannot be read", cause);
    if let Some(Form::Float { .. }) = form {
        let number: f64 = row.try_get_unchecked(at).map_err(failed)?;
        return Ok(Value::from(format!("{number:e}").as_str()));
    }
    let bytes: &[u8] = row.try_get_unchecked(at).map_err(failed)?;
    match (form, std::str::from_utf8(bytes)) {
        (Some(Form::Bytes), _) => Ok(Value::Bytes(bytes.into())),
        (_, Ok(text)) => Ok(Value::from(text)),
        (_, Err(_)) => Err(Error::internal("the server sent a text that is no UTF-8")),
    }
}
