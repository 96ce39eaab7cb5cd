//! One page of a table, read by keyset: what comes after the last row, in an order that no row shares.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::types::{Value as Owned, ValueRef as Cell};
use rusqlite::{Connection, params_from_iter};
use sync_core::model::{Kind, Reject, Timestamp};
use sync_core::source::Estimate;
use sync_core::{Error, ErrorKind, Key, Result, StreamSpec, Value};

use super::error::failed;
use super::function::INSTANT;
use super::plan::names;
use super::position::{Begin, time_of};
use super::schema::{Column, columns};
use super::scope::condition;
use super::value::{declared_type, value_of};
use super::write::{read_row, unprepared};
use crate::catalog::NAME_ONE;
use crate::ident::quoted;
use crate::keyset::{self, MOST_BYTES, Page, by_time, estimate, no_place, stands_in_order, version};

/// What the pages of one read need to know.
#[derive(Clone)]
pub(crate) struct Reading {
    /// Where the whole read begins, if it is not at the beginning of the table.
    pub(super) begin: Option<Begin>,
    /// The present.
    pub(super) now: Timestamp,
}

/// Which page to read.
pub(super) type Ask = keyset::Ask<Reading>;

/// Reads a page.
pub(super) fn read(connection: &Connection, ask: &Ask) -> Result<Page> {
    let stream = &ask.stream;
    let (sql, values) = select(connection, ask)?;
    let mut select = connection.prepare_cached(&sql).map_err(unprepared)?;
    let unread = |cause| failed("the table cannot be read", cause).with("table", stream.name());
    let mut found = select.query(params_from_iter(&values)).map_err(unread)?;
    let mut page = Page::of(stream);
    let (mut read, mut rejected, mut last) = (0, 0, None);
    while let Some(row) = found.next().map_err(unread)? {
        read += 1;
        let place = ask
            .order
            .iter()
            .filter_map(|name| stream.schema().index(name))
            .map(|column| raw_value(row.get_ref(column).map_err(unread)?))
            .collect::<Result<Vec<Value>>>()?;
        match read_row(row, stream) {
            Ok(values) => page.rows.push(values.iter().map(Value::as_ref))?,
            Err(error) => {
                let reject = reject(stream, row, &error);
                rejected += reject.body.len();
                page.rejects.push(reject);
            }
        }
        if !place.iter().any(Value::is_null) {
            if settles(ask, row, &place) {
                page.settled = Some(place.clone());
            }
            last = Some(place);
        }
        if last.is_some() && page.rows.size() + rejected >= MOST_BYTES {
            page.next = last;
            return Ok(page);
        }
    }
    if read == ask.limit && last.is_none() {
        // Nothing tells where the next page begins.
        return Err(no_place(stream));
    }
    page.next = last.filter(|_| read == ask.limit);
    Ok(page)
}

/// The statement, and the values bound in it.
///
/// Keys are told apart byte by byte here, whatever the collation of the column: where it takes `a` for `A`, a page that
/// ends between them would lose one. The collation stands beside the bound, so that an index is still used.
fn select(connection: &Connection, ask: &Ask) -> Result<(String, Vec<Owned>)> {
    let stream = &ask.stream;
    let mut condition = condition(connection, stream, &ask.rows)?;
    let columns = names(stream).map(column).collect::<Result<Vec<_>>>()?.join(", ");
    let order = ask.order.iter().map(|name| column(name)).collect::<Result<Vec<_>>>()?;
    if let (Some(begin), Some(version)) = (&ask.table.begin, order.first()) {
        // Later pages are found by their place alone: an index looks for one of the two.
        if ask.after.is_none() {
            condition.sql.push_str(&format!(" AND {version} >= ? COLLATE BINARY"));
            condition.values.push(match begin {
                Begin::Version(first) => raw_of(first)?,
                Begin::Time(time) => Owned::Text(time.earliest.clone()),
            });
        }
        if let Begin::Time(time) = begin {
            let later = format!("({version} >= ? COLLATE BINARY OR coalesce({INSTANT}({version}) >= ?, TRUE))");
            condition.sql.push_str(&format!(" AND {later}"));
            condition.values.extend([Owned::Text(time.floor.clone()), Owned::Integer(time.since.micros())]);
        }
    }
    if let Some(after) = &ask.after {
        let marks = vec!["? COLLATE BINARY"; order.len()].join(", ");
        condition.sql.push_str(&format!(" AND ({}) > ({marks})", order.join(", ")));
        for value in after {
            condition.values.push(raw_of(value)?);
        }
    }
    let by = order.iter().map(|column| format!("{column} COLLATE BINARY")).collect::<Vec<_>>().join(", ");
    let table = quoted(stream.name())?;
    let sql = format!("SELECT {columns} FROM {table} t WHERE {} ORDER BY {by} LIMIT {}", condition.sql, ask.limit);
    Ok((sql, condition.values))
}

/// A column of the table under its alias: alone, SQLite would take the name of a missing column for a text.
fn column(name: &str) -> Result<String> {
    Ok(format!("t.{}", quoted(name)?))
}

/// Whether every later change has a later place than this row.
fn settles(ask: &Ask, row: &rusqlite::Row<'_>, place: &[Value]) -> bool {
    if !ask.by_version {
        return true;
    }
    let (Some(version), Some(index)) = (version(&ask.stream), ask.stream.version_index()) else { return true };
    let value = row.get_ref(index).ok().and_then(|cell| value_of(cell, version).ok());
    let in_order = value.is_some_and(|value| stands_in_order(&value.as_ref()));
    in_order && (!by_time(&ask.stream) || place.first().and_then(time_of).is_some_and(|at| at <= ask.table.now))
}

/// Refuses a stream that the table cannot be read as.
pub(super) fn check(connection: &Connection, stream: &StreamSpec) -> Result<Vec<Column>> {
    let wrong = |what: String| Error::new(ErrorKind::Schema, what).with("table", stream.name());
    let refused = |what: String| Err(wrong(what));
    let columns = columns(connection, stream.name())?;
    if columns.is_empty() {
        return Err(wrong("there is no such table".to_owned()).with_remedy(NAME_ONE));
    }
    let there = |name: &str| columns.iter().any(|column| column.name.eq_ignore_ascii_case(name));
    match names(stream).find(|name| !there(name)) {
        Some(name) if stream.schema().index(name) == stream.version_index() => refused(format!(
            "the table has no column {name:?}, which the stream declares as its version{}",
            has(&columns)
        )),
        Some(name) => refused(format!("the table has no column {name:?}, which the stream declares{}", has(&columns))),
        None => Ok(columns),
    }
}

/// The columns there are, for whoever misspelt one.
fn has(columns: &[Column]) -> String {
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    format!("; it has {}", names.join(", "))
}

/// Refuses a table by whose versions changes cannot be found, and says whether its times are all of one form.
pub(super) fn check_version(connection: &Connection, stream: &StreamSpec) -> Result<bool> {
    let columns = check(connection, stream)?;
    let Some(version) = version(stream) else { return Ok(true) };
    let refused = |what: String| Err(Error::new(ErrorKind::Schema, what).with("table", stream.name()));
    let Some(column) = columns.iter().find(|column| column.name.eq_ignore_ascii_case(version.name())) else {
        return Ok(true);
    };
    if matches!(version.kind(), Kind::Decimal { .. }) && column.keeps_text() {
        return refused(format!(
            "the version {:?} is kept as text, in which 9 comes after 10: declare another column as the version, or none",
            version.name()
        ));
    }
    let sql = format!("SELECT count(*) FROM {} t WHERE t.{} IS NULL", quoted(stream.name())?, quoted(version.name())?);
    let without: i64 = connection
        .query_row(&sql, [], |row| row.get(0))
        .map_err(|cause| failed("the table cannot be read", cause).with("table", stream.name()))?;
    if without > 0 {
        return refused(format!(
            "{} no {:?} and would never be found: fill it, or declare the stream without a version",
            if without == 1 { "1 row has".to_owned() } else { format!("{without} rows have") },
            version.name()
        ));
    }
    Ok(column.declared == declared_type(Kind::Timestamp))
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

/// A row that is not as declared, as JSON for a person to read. Bytes, and text that is no UTF-8, stand in base64.
fn reject(stream: &Arc<StreamSpec>, row: &rusqlite::Row<'_>, error: &Error) -> Reject {
    let value = |column: usize| match row.get_ref(column) {
        Ok(Cell::Integer(number)) => number.into(),
        Ok(Cell::Real(number)) => number.into(),
        Ok(Cell::Text(text)) => std::str::from_utf8(text).map_or_else(|_| STANDARD.encode(text), str::to_owned).into(),
        Ok(Cell::Blob(bytes)) => STANDARD.encode(bytes).into(),
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

/// So many rows are counted: a few milliseconds.
const COUNTED: u64 = 1_000_000;

/// How many rows a table holds: counted up to a million, and beyond as the last `ANALYZE` has found.
pub(super) fn estimate(connection: &Connection, table: &str) -> Result<Option<Estimate>> {
    let failed = |cause| failed("the rows cannot be counted", cause).with("table", table);
    let number = |sql: &str, values: &[&str]| {
        connection
            .query_row(sql, rusqlite::params_from_iter(values), |row| row.get::<_, Option<i64>>(0))
            .map_err(failed)
    };
    // A view is not counted for nothing.
    let is_table = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ? COLLATE NOCASE";
    if number(is_table, &[table])? == Some(0) {
        return Ok(None);
    }
    let counted = number(&estimate::count(&quoted(table)?, COUNTED), &[])?.unwrap_or_default().cast_unsigned();
    let analyzed = || -> Result<Option<u64>> {
        if number("SELECT count(*) FROM sqlite_schema WHERE name = 'sqlite_stat1'", &[])? == Some(0) {
            return Ok(None);
        }
        // The first number of the text; an index of some rows only has a lower one.
        let most = "SELECT max(CAST(stat AS INTEGER)) FROM sqlite_stat1 WHERE tbl = ? COLLATE NOCASE";
        Ok(number(most, &[table])?.map(i64::cast_unsigned))
    };
    let statistics = if counted > COUNTED { analyzed()? } else { None };
    Ok(estimate::rows(counted, COUNTED, statistics))
}
