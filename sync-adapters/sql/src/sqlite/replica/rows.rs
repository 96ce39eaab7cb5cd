//! Rows and their stamps: read, written under the stamp that they come with, and refused with the rule that they break.

use rusqlite::types::{Value as Cell, ValueRef as CellRef};
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row as SqlRow, ffi};
use sync_core::model::{Field, Kind};
use sync_core::two_way::{Held, Hlc, RowWrite, Stamp};
use sync_core::{Error, Key, Result, Value};

use super::Shared;
use super::layout::{Layout, Names, list};
use crate::sqlite::error::failed;
use crate::sqlite::value::{Scratch, stored_form, value_of};
use crate::sqlite::write::{bind, unprepared};

/// The values of a result row from this column on.
pub(super) fn image(row: &SqlRow<'_>, from: usize, fields: &[Field]) -> Result<Vec<Value>> {
    let fields = fields.iter().enumerate();
    fields.map(|(column, field)| value_of(row.get_ref(from + column).map_err(unread)?, field)).collect()
}

/// A value in the form in which a column of this kind holds it.
pub(super) fn cell(value: &Value, field: &Field) -> Result<Cell> {
    let mut scratch = Scratch::new();
    let stored = stored_form(value.as_ref(), field, &mut scratch)?;
    Cell::try_from(stored).map_err(|cause| Error::internal("a value cannot be bound").caused_by(cause))
}

/// The key of a result row from this column on.
pub(super) fn key(row: &SqlRow<'_>, from: usize, layout: &Layout) -> Result<Key> {
    let fields = layout.key.iter().enumerate();
    let values = fields
        .map(|(place, &column)| value_of(row.get_ref(from + place).map_err(unread)?, &layout.fields()[column]))
        .collect::<Result<Vec<_>>>()?;
    Ok(Key::new(values))
}

/// Five columns of a result row: `rev`, `hlc`, `origin`, `op` and `seen`.
pub(super) fn stamp(row: &SqlRow<'_>, from: usize) -> rusqlite::Result<Stamp> {
    let number = |place: usize| row.get::<_, i64>(from + place).map(i64::cast_unsigned);
    Ok(Stamp {
        rev: number(0)?,
        hlc: Hlc(number(1)?),
        origin: row.get::<_, String>(from + 2)?.into(),
        op: number(3)?,
        seen: number(4)?,
    })
}

/// A statement with a key bound from this place on.
pub(super) fn by_key<'c>(
    connection: &'c Connection,
    sql: &str,
    layout: &Layout,
    key: &Key,
    place: usize,
) -> Result<CachedStatement<'c>> {
    let mut statement = connection.prepare_cached(sql).map_err(unprepared)?;
    bind_key(&mut statement, layout, key, place)?;
    Ok(statement)
}

fn bind_key(statement: &mut CachedStatement<'_>, layout: &Layout, key: &Key, place: usize) -> Result<()> {
    if key.values().len() != layout.key.len() {
        return Err(Error::data("the key has not one value for each key column").with("table", layout.name()));
    }
    let mut scratch = Scratch::new();
    for (nth, (value, &column)) in key.values().iter().zip(&layout.key).enumerate() {
        bind(statement, place + nth, value.as_ref(), &layout.fields()[column], &mut scratch)?;
    }
    Ok(())
}

pub(super) fn held(connection: &Connection, layout: &Layout, wanted: &Key) -> Result<Held> {
    let columns = list(layout.columns.iter(), |names| names.host.clone());
    let sql = format!("SELECT {columns} FROM {} WHERE {}", layout.host, layout.by_host_key());
    let mut select = by_key(connection, &sql, layout, wanted, 1)?;
    let mut found = select.raw_query();
    let row = found.next().map_err(unread)?.map(|row| image(row, 0, layout.fields())).transpose();
    let row = row.map_err(|error| error.with("table", layout.name()))?;
    let sql = format!("SELECT rev, hlc, origin, op, seen FROM {} WHERE {}", layout.row, layout.by_key(""));
    let mut select = by_key(connection, &sql, layout, wanted, 1)?;
    let mut found = select.raw_query();
    let stamp = found.next().map_err(unread)?.map(|row| stamp(row, 0)).transpose().map_err(unread)?;
    Ok(Held { stamp, row })
}

pub(super) fn scan(
    connection: &Connection,
    layout: &Layout,
    after: Option<&Key>,
    limit: usize,
) -> Result<Vec<(Key, Stamp, Vec<Value>)>> {
    let columns = list(layout.columns.iter(), |names| format!("t.{}", names.host));
    let (order, width) = (layout.host_keys("t."), layout.fields().len());
    let later =
        after.map_or_else(String::new, |_| format!("WHERE ({order}) > ({})", vec!["?"; layout.key.len()].join(", ")));
    let sql = format!(
        "SELECT {columns}, b.rev, b.hlc, b.origin, b.op, b.seen FROM {} t LEFT JOIN {} b ON {} {later} ORDER BY {order} LIMIT ?",
        layout.host,
        layout.row,
        layout.is_row("b")
    );
    let mut select = connection.prepare_cached(&sql).map_err(unprepared)?;
    if let Some(after) = after {
        bind_key(&mut select, layout, after, 1)?;
    }
    let place = 1 + after.map_or(0, |_| layout.key.len());
    select.raw_bind_parameter(place, i64::try_from(limit).unwrap_or(i64::MAX)).map_err(unread)?;
    let (mut found, mut rows) = (select.raw_query(), Vec::new());
    while let Some(row) = found.next().map_err(unread)? {
        let values = image(row, 0, layout.fields()).map_err(|error| error.with("table", layout.name()))?;
        let stamp = stamp(row, width).map_err(|cause| {
            failed("a row was written and not noticed: call `SqliteReplica::audit`", cause).with("table", layout.name())
        })?;
        rows.push((layout.table.key_of(&values), stamp, values));
    }
    Ok(rows)
}

/// Writes a row under the stamp that it comes with. Returns its `rev` afterwards.
pub(super) fn write(connection: &Connection, shared: &Shared, write: &RowWrite) -> Result<u64> {
    let layout = shared.layout(write.table.name())?;
    let held = held(connection, layout, &write.key)?;
    let known = held.stamp.as_ref();
    let is_so = held.row == write.row && (known.is_some() || write.row.is_none() && write.op == 0);
    // What the upstream says is written as it is written there, so that programs which compare texts find the same on both sides.
    let respelled = is_so && write.upstream && is_spelled_otherwise(connection, layout, write)?;
    if is_so && !respelled {
        return note_seen(connection, layout, write);
    }
    if write.row.as_ref().is_some_and(|row| layout.table.key_of(row) != write.key) {
        return Err(Error::data("the key is not that of the row").with("table", layout.name()));
    }
    stage(connection, layout, write)?;
    let written = match (&held.row, &write.row) {
        (None, Some(row)) => {
            let columns = list(layout.columns.iter(), |names| names.host.clone());
            let places = vec!["?"; layout.columns.len()].join(", ");
            let sql = format!("INSERT INTO {} ({columns}) VALUES ({places})", layout.host);
            let mut insert = connection.prepare_cached(&sql).map_err(unprepared)?;
            bind_row(&mut insert, layout, row, |_| true)?;
            insert.raw_execute()
        }
        (Some(before), Some(row)) if before != row || respelled => {
            let sets = list(layout.values(), |names| format!("{} = ?", names.host));
            let sql = format!("UPDATE {} SET {sets} WHERE {}", layout.host, layout.by_host_key());
            let mut update = connection.prepare_cached(&sql).map_err(unprepared)?;
            let place = bind_row(&mut update, layout, row, |names| !names.is_key)?;
            bind_key(&mut update, layout, &write.key, place)?;
            update.raw_execute()
        }
        (Some(_), None) => {
            let sql = format!("DELETE FROM {} WHERE {}", layout.host, layout.by_host_key());
            by_key(connection, &sql, layout, &write.key, 1)?.raw_execute()
        }
        // Nothing to write, and something to note: a delete of a row that never was.
        (None, None) => {
            let places = vec!["?"; layout.key.len()].join(", ");
            let sql = format!("INSERT INTO {} ({}, has) VALUES ({places}, 0)", layout.put, layout.keys(""));
            by_key(connection, &sql, layout, &write.key, 1)?.raw_execute().map(|_| 1)
        }
        // A row that was never noticed.
        (Some(_), Some(_)) => {
            let columns = list(layout.columns.iter(), |names| names.host.clone());
            let after = list(layout.columns.iter(), |names| names.after.clone());
            let (put, host, is_row) = (&layout.put, &layout.host, layout.by_host_key());
            let sql = format!("INSERT INTO {put} ({after}, has) SELECT {columns}, 1 FROM {host} WHERE {is_row}");
            by_key(connection, &sql, layout, &write.key, 1)?.raw_execute().map(|_| 1)
        }
    };
    match written {
        Ok(0) => return Err(Error::data("a trigger of the table ignores the row").with("table", layout.name())),
        Ok(_) => {}
        Err(cause) => return Err(refused(cause, layout, write)),
    }
    unstage(connection, layout, write)?;
    let rev = rev(connection, layout, &write.key)?;
    rev.ok_or_else(|| {
        Error::internal("a write was not noticed: call `SqliteReplica::audit`").with("table", layout.name())
    })
}

/// Whether a value of the row stands there as another text for the same: `9.5` for `9.50`, an instant with another offset.
fn is_spelled_otherwise(connection: &Connection, layout: &Layout, write: &RowWrite) -> Result<bool> {
    let several = |field: &Field| matches!(field.kind(), Kind::Decimal { .. } | Kind::Timestamp | Kind::Date);
    let Some(row) = write.row.as_ref().filter(|_| layout.fields().iter().any(several)) else { return Ok(false) };
    let columns = list(layout.columns.iter(), |names| names.host.clone());
    let sql = format!("SELECT {columns} FROM {} WHERE {}", layout.host, layout.by_host_key());
    let mut select = by_key(connection, &sql, layout, &write.key, 1)?;
    let mut found = select.raw_query();
    let Some(stored) = found.next().map_err(unread)? else { return Ok(false) };
    for (column, (names, field)) in layout.columns.iter().zip(layout.fields()).enumerate() {
        // A column that converts what it is given is left alone: it would do so again.
        if let (false, true, CellRef::Text(there)) =
            (names.is_key, several(field), stored.get_ref(column).map_err(unread)?)
            && stored_form(row[column].as_ref(), field, &mut Scratch::new())? != CellRef::Text(there)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The row is so already: only what is known of the upstream's count is new.
fn note_seen(connection: &Connection, layout: &Layout, write: &RowWrite) -> Result<u64> {
    let sql = format!(
        "UPDATE {} SET seen = CASE WHEN ?1 > 0 THEN ?1 ELSE seen END, hlc = max(hlc, ?2) WHERE {} RETURNING rev",
        layout.row,
        layout.by_key("")
    );
    let mut update = by_key(connection, &sql, layout, &write.key, 3)?;
    update.raw_bind_parameter(1, count(write.seen)?).map_err(unwritten)?;
    update.raw_bind_parameter(2, clock(write)?).map_err(unwritten)?;
    let rev = update.raw_query().next().map_err(unwritten)?.map(|row| row.get::<_, i64>(0)).transpose();
    if let Some(rev) = rev.map_err(unwritten)? {
        return Ok(rev.cast_unsigned());
    }
    let sql = format!(
        "INSERT INTO {} (rev, hlc, origin, op, seen, deleted, {}) VALUES (0, ?, ?, ?, ?, 1, {})",
        layout.row,
        layout.keys(""),
        vec!["?"; layout.key.len()].join(", ")
    );
    let mut insert = by_key(connection, &sql, layout, &write.key, 5)?;
    bind_stamp(&mut insert, write)?;
    insert.raw_execute().map_err(unwritten)?;
    Ok(0)
}

/// Lays out the stamp for the trigger that is about to notice the write.
fn stage(connection: &Connection, layout: &Layout, write: &RowWrite) -> Result<()> {
    let sql = format!(
        "INSERT INTO {} (hlc, origin, op, seen, upstream, {}) VALUES (?, ?, ?, ?, ?, {})",
        layout.staged,
        layout.keys(""),
        vec!["?"; layout.key.len()].join(", ")
    );
    let mut insert = by_key(connection, &sql, layout, &write.key, 6)?;
    bind_stamp(&mut insert, write)?;
    insert.raw_bind_parameter(5, write.upstream).map_err(unwritten)?;
    insert.raw_execute().map(drop).map_err(unwritten)
}

/// No stamp outlives its write: what follows is the host's.
fn unstage(connection: &Connection, layout: &Layout, write: &RowWrite) -> Result<()> {
    let sql = format!("DELETE FROM {} WHERE {}", layout.staged, layout.by_key(""));
    by_key(connection, &sql, layout, &write.key, 1)?.raw_execute().map(drop).map_err(unwritten)
}

fn bind_stamp(statement: &mut CachedStatement<'_>, write: &RowWrite) -> Result<()> {
    statement.raw_bind_parameter(1, clock(write)?).map_err(unwritten)?;
    statement.raw_bind_parameter(2, &*write.origin).map_err(unwritten)?;
    statement.raw_bind_parameter(3, count(write.op)?).map_err(unwritten)?;
    statement.raw_bind_parameter(4, count(write.seen)?).map_err(unwritten)
}

/// The columns' values, from the first place on. Returns the next place.
fn bind_row(
    statement: &mut CachedStatement<'_>,
    layout: &Layout,
    row: &[Value],
    takes: impl Fn(&Names) -> bool,
) -> Result<usize> {
    let (mut scratch, mut place) = (Scratch::new(), 1);
    for ((names, field), value) in layout.columns.iter().zip(layout.fields()).zip(row) {
        if takes(names) {
            bind(statement, place, value.as_ref(), field, &mut scratch)?;
            place += 1;
        }
    }
    Ok(place)
}

fn rev(connection: &Connection, layout: &Layout, key: &Key) -> Result<Option<u64>> {
    let sql = format!("SELECT rev FROM {} WHERE {}", layout.row, layout.by_key(""));
    let mut select = by_key(connection, &sql, layout, key, 1)?;
    let mut found = select.raw_query();
    let rev = found.next().map_err(unread)?.map(|row| row.get::<_, i64>(0)).transpose().optional().map_err(unread)?;
    Ok(rev.flatten().map(i64::cast_unsigned))
}

/// SQLite's integers end at 2⁶³. Half of that is room for the counter above any time that is to come.
fn clock(write: &RowWrite) -> Result<i64> {
    let hlc = i64::try_from(write.hlc.0).ok().filter(|hlc| *hlc < i64::MAX / 2);
    hlc.ok_or_else(|| Error::data("the time of the write lies beyond the year 4000").with("table", write.table.name()))
}

fn count(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|_| Error::data("a count of writes is larger than SQLite's integers"))
}

/// Which rule of the table the row breaks (<https://www.sqlite.org/rescode.html>).
fn refused(cause: rusqlite::Error, layout: &Layout, write: &RowWrite) -> Error {
    let extended = cause.sqlite_error().map(|error| error.extended_code);
    let (code, what) = match extended {
        Some(ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID) => {
            (Some("unique"), "another row holds this unique value")
        }
        Some(ffi::SQLITE_CONSTRAINT_FOREIGNKEY) if write.row.is_none() => {
            (Some("child"), "other rows hang on this one")
        }
        Some(ffi::SQLITE_CONSTRAINT_FOREIGNKEY) => (Some("parent"), "the row it hangs on is missing"),
        _ => (None, "the row cannot be written"),
    };
    let error = failed(what, cause).with("table", layout.name());
    match code {
        Some(code) => error.with("code", code),
        None => error,
    }
}

fn unread(cause: rusqlite::Error) -> Error {
    failed("rows cannot be read", cause)
}

fn unwritten(cause: rusqlite::Error) -> Error {
    failed("the stamp of a row cannot be written", cause)
}
