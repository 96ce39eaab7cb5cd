//! What there is to read: tables, the stream that each makes, and how they refer to each other.

use rusqlite::Connection;
use sync_core::model::{Field, Kind};
use sync_core::{Error, ErrorKind, Result, StreamSpec};

use super::error::failed;
use super::schema::{Column, columns};
use crate::catalog::{ForeignKey, NAME_ONE};
use crate::ident::quoted;

/// The stream that a table makes.
pub(crate) fn stream(connection: &Connection, table: &str) -> Result<StreamSpec> {
    let columns: Vec<Column> = columns(connection, table)?.into_iter().filter(|column| !column.computed).collect();
    let wrong = |what: String| Error::new(ErrorKind::Schema, what).with("table", table);
    if columns.is_empty() {
        return Err(wrong("there is no such table".to_owned()).with_remedy(NAME_ONE));
    }
    let mut key: Vec<&Column> = columns.iter().filter(|column| column.key_place > 0).collect();
    key.sort_by_key(|column| column.key_place);
    if key.is_empty() {
        return Err(wrong(
            "the table has no primary key: declare the stream by hand, with a key that is unique".to_owned(),
        ));
    }
    let refused: Vec<String> =
        columns.iter().filter(|column| kind(&column.declared).is_none()).map(without_kind).collect();
    if !refused.is_empty() {
        return Err(wrong(format!("declare the stream by hand: {}", refused.join("; "))));
    }
    let mut stream = StreamSpec::new(table);
    for column in &columns {
        if let Some(kind) = kind(&column.declared) {
            let kind = if keeps_decimals(&column.declared) { grown(connection, table, column, kind)? } else { kind };
            stream = stream.field(Field::new(column.name.as_str(), kind));
        }
    }
    Ok(stream.key(key.into_iter().map(|column| column.name.clone())))
}

/// What to write in a declaration by hand, for a column whose declared type names no kind.
fn without_kind(column: &Column) -> String {
    let declared = column.declared.to_ascii_uppercase();
    let instead = if declared.starts_with("DECIMAL") || declared.starts_with("NUMERIC") {
        "declare its digits (`decimal(name, 12, 2)`), or that it holds floats (`float(name)`)"
    } else {
        "declare it by what it holds: `int`, `float`, `text`, `bytes`, or leave it out"
    };
    if declared.is_empty() {
        format!("column {:?} is declared without a type: {instead}", column.name)
    } else {
        format!("column {:?} is declared {:?}, which names no kind: {instead}", column.name, column.declared)
    }
}

/// Whether decimals stand in it as this library writes them.
fn keeps_decimals(declared: &str) -> bool {
    declared.to_ascii_uppercase().starts_with("DECIMAL_TEXT")
}

/// A decimal with the digits that its rows have. Those that were declared bind nothing in SQLite, and stay as they were when
/// a stream comes to have more.
fn grown(connection: &Connection, table: &str, column: &Column, kind: Kind) -> Result<Kind> {
    let Kind::Decimal { precision, scale } = kind else { return Ok(kind) };
    let column = quoted(&column.name)?;
    let sql = format!(
        "SELECT coalesce(max(point - 1), 0), coalesce(max(length(digits) - point), 0)
         FROM (SELECT digits, instr(digits || '.', '.') point
               FROM (SELECT ltrim(t.{column}, '-') digits FROM {} t WHERE typeof(t.{column}) = 'text'))",
        quoted(table)?
    );
    let (whole, after): (i64, i64) = connection
        .query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(|cause| failed("the table cannot be read", cause).with("table", table))?;
    let most = |declared: u8, found: i64| declared.max(u8::try_from(found).unwrap_or(u8::MAX));
    let (whole, scale) = (most(precision.saturating_sub(scale), whole), most(scale, after));
    Ok(Kind::Decimal { precision: whole.saturating_add(scale), scale })
}

/// The tables there are, by name; views, SQLite's own and those of this library are left out.
pub(crate) fn tables(connection: &Connection) -> Result<Vec<String>> {
    let unread = |cause| failed("the tables cannot be listed", cause);
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
                 AND name NOT LIKE '\\_sync\\_%' ESCAPE '\\' ORDER BY name";
    let mut select = connection.prepare(sql).map_err(unread)?;
    let names = select.query_map([], |row| row.get(0)).map_err(unread)?;
    names.collect::<rusqlite::Result<_>>().map_err(unread)
}

/// How the tables refer to each other.
pub(crate) fn foreign_keys(connection: &Connection) -> Result<Vec<ForeignKey>> {
    let mut keys = Vec::new();
    for table in tables(connection)? {
        let unread = |cause| failed("the foreign keys cannot be listed", cause).with("table", &table);
        let sql = "SELECT id, \"table\", \"from\", \"to\" FROM pragma_foreign_key_list(?) ORDER BY id DESC, seq";
        let mut select = connection.prepare_cached(sql).map_err(unread)?;
        let mut found = select.query([&table]).map_err(unread)?;
        let (mut last, mut key) = (None, Vec::new());
        while let Some(row) = found.next().map_err(unread)? {
            let (id, references): (i64, String) = (row.get(0).map_err(unread)?, row.get(1).map_err(unread)?);
            if last.replace(id) != Some(id) {
                key = columns(connection, &references)?;
                key.retain(|column| column.key_place > 0);
                key.sort_by_key(|column| column.key_place);
                let (columns, referenced) = (Vec::new(), Vec::new());
                keys.push(ForeignKey { table: table.clone(), columns, references, referenced });
            }
            let Some(foreign) = keys.last_mut() else { continue };
            // Without columns, the primary key is meant.
            let meant = key.get(foreign.columns.len()).map(|column| column.name.clone());
            foreign.columns.push(row.get(2).map_err(unread)?);
            foreign.referenced.extend(row.get::<_, Option<String>>(3).map_err(unread)?.or(meant));
        }
    }
    Ok(keys)
}

/// The digits of the longest decimal, which a target must be able to hold.
const MOST_DIGITS: u8 = 38;

/// The kind that a declared type names. [`SqliteSource`](super::SqliteSource) has a table of them.
fn kind(declared: &str) -> Option<Kind> {
    let declared = declared.to_ascii_uppercase();
    let (name, digits) =
        declared.split_once('(').map_or((declared.as_str(), ""), |(name, rest)| (name, rest.trim_end_matches(')')));
    Some(match name.trim() {
        "INTEGER" | "INT" | "BIGINT" | "MEDIUMINT" | "SMALLINT" | "TINYINT" | "INT2" | "INT8" | "UNSIGNED BIG INT"
        | "INTEGER UNSIGNED" | "INT UNSIGNED" | "BIGINT UNSIGNED" | "MEDIUMINT UNSIGNED" | "SMALLINT UNSIGNED"
        | "TINYINT UNSIGNED" => Kind::Int,
        "BOOLEAN" | "BOOL" => Kind::Bool,
        "REAL" | "DOUBLE" | "FLOAT" | "DOUBLE PRECISION" => Kind::Float,
        "TEXT" | "VARCHAR" | "CHAR" | "CLOB" | "NVARCHAR" | "NCHAR" | "CHARACTER" | "VARYING CHARACTER"
        | "CHARACTER VARYING" => Kind::Text,
        "BLOB" => Kind::Bytes,
        "U64_BLOB" => Kind::UInt,
        "TIMESTAMP_TEXT" | "TIMESTAMP" | "DATETIME" => Kind::Timestamp,
        "DATE_TEXT" | "DATE" => Kind::Date,
        "JSON_TEXT" => Kind::Json,
        "DECIMAL_TEXT" | "DECIMAL" | "NUMERIC" => {
            let (precision, scale) = digits.split_once(',')?;
            let (precision, scale) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
            if precision > MOST_DIGITS || scale > precision {
                return None;
            }
            Kind::Decimal { precision, scale }
        }
        _ => return None,
    })
}
