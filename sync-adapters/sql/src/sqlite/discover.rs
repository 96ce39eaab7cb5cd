//! The stream that a table makes, read from its declaration.

use rusqlite::Connection;
use sync_core::model::{Field, Kind};
use sync_core::{Error, ErrorKind, Result, StreamSpec};

use super::schema::{Column, columns};

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
