//! What there is to read: tables, the stream that each makes, and how they refer to each other.

use rusqlite::Connection;
use sync_core::model::{Field, Kind};
use sync_core::{Error, ErrorKind, Result, StreamSpec};

use super::error::failed;
use super::schema::{Column, columns};
use crate::catalog::ForeignKey;

/// The stream that a table makes.
pub(crate) fn stream(connection: &Connection, table: &str) -> Result<StreamSpec> {
    let columns: Vec<Column> = columns(connection, table)?.into_iter().filter(|column| !column.computed).collect();
    let wrong = |what: String| Error::new(ErrorKind::Schema, what).with("table", table);
    if columns.is_empty() {
        return Err(wrong("there is no such table".to_owned()));
    }
    let mut key: Vec<&Column> = columns.iter().filter(|column| column.key_place > 0).collect();
    key.sort_by_key(|column| column.key_place);
    if key.is_empty() {
        return Err(wrong(
            "the table has no primary key: declare the stream by hand, with a key that is unique".to_owned(),
        ));
    }
    let mut stream = StreamSpec::new(table);
    for column in &columns {
        let kind = kind(&column.declared).ok_or_else(|| {
            wrong(format!(
                "column {:?} is declared {:?}, which names no kind: declare the stream by hand",
                column.name, column.declared
            ))
        })?;
        stream = stream.field(Field::new(column.name.as_str(), kind));
    }
    Ok(stream.key(key.into_iter().map(|column| column.name.clone())))
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

/// The kind that a declared type names.
fn kind(declared: &str) -> Option<Kind> {
    let declared = declared.to_ascii_uppercase();
    let (name, digits) =
        declared.split_once('(').map_or((declared.as_str(), ""), |(name, rest)| (name, rest.trim_end_matches(')')));
    Some(match name.trim() {
        "INTEGER" | "INT" | "BIGINT" | "SMALLINT" | "TINYINT" => Kind::Int,
        "BOOLEAN" | "BOOL" => Kind::Bool,
        "REAL" | "DOUBLE" | "FLOAT" | "DOUBLE PRECISION" => Kind::Float,
        "TEXT" | "VARCHAR" | "CHAR" | "CLOB" | "NVARCHAR" => Kind::Text,
        "BLOB" => Kind::Bytes,
        "U64_BLOB" => Kind::UInt,
        "TIMESTAMP_TEXT" => Kind::Timestamp,
        "DATE_TEXT" => Kind::Date,
        "JSON_TEXT" => Kind::Json,
        "DECIMAL_TEXT" => {
            let (precision, scale) = digits.split_once(',')?;
            Kind::Decimal { precision: precision.trim().parse().ok()?, scale: scale.trim().parse().ok()? }
        }
        _ => return None,
    })
}
