//! What there is to read: tables, the stream that each makes, and how they refer to each other.

use sqlx::Row as _;
use sqlx::mysql::{MySqlConnection, MySqlRow};
use sync_core::model::{Field, Kind};
use sync_core::{Error, ErrorKind, Result, StreamSpec};

use super::column::{Column, Form, digits};
use super::table::Table;
use crate::catalog::ForeignKey;
use crate::mysql::connection::Server;
use crate::mysql::error::unread;

/// The digits of the longest decimal, which a target must be able to hold.
const MOST_DIGITS: u8 = 38;

/// The stream that a table makes.
pub(super) async fn stream(connection: &mut MySqlConnection, server: Server, name: &str) -> Result<StreamSpec> {
    let table = Table::find(connection, server, name).await?;
    let wrong = |what: String| Error::new(ErrorKind::Schema, what).with("table", name);
    if table.key.is_empty() {
        return Err(wrong(
            "the table has no primary key: declare the stream by hand, with a key that is unique".to_owned(),
        ));
    }
    let mut stream = StreamSpec::new(name);
    for column in table.columns.iter().filter(|column| !column.computed) {
        let kind = kind(column).ok_or_else(|| {
            wrong(format!(
                "column {:?} is declared {:?}, which names no kind: declare the stream by hand, without the column",
                column.name, column.declared
            ))
        })?;
        let field = Field::new(column.name.as_str(), kind);
        stream = stream.field(if column.required { field.required() } else { field });
    }
    Ok(stream.key(table.key))
}

/// The kind that a type names.
fn kind(column: &Column) -> Option<Kind> {
    Some(match &column.form {
        Form::Integer { .. } if column.declared == "tinyint(1)" => Kind::Bool,
        Form::Integer { unsigned: true } if column.declared.starts_with("bigint") => Kind::UInt,
        Form::Integer { .. } | Form::Year => Kind::Int,
        Form::Bits if column.declared == "bit(1)" => Kind::Bool,
        Form::Bits => Kind::UInt,
        Form::Float { .. } => Kind::Float,
        // With more digits than a decimal may have, only text holds every value exactly.
        Form::Decimal { .. } => match digits(&column.declared) {
            Some((precision, scale)) if precision <= MOST_DIGITS => Kind::Decimal { precision, scale },
            _ => Kind::Text,
        },
        Form::Date => Kind::Date,
        Form::DateTime => Kind::Timestamp,
        Form::Text { .. } | Form::Choice | Form::Written | Form::Time => Kind::Text,
        Form::Json => Kind::Json,
        Form::Bytes => Kind::Bytes,
        Form::Unknown => return None,
    })
}

/// The tables of the database that this account may see, by name. Views are left out.
pub(super) async fn tables(connection: &mut MySqlConnection) -> Result<Vec<String>> {
    let failed = |cause| unread("the tables cannot be listed", cause);
    let found = sqlx::query(
        "SELECT TABLE_NAME FROM information_schema.TABLES
         WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') ORDER BY 1",
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    found.iter().map(|row| row.try_get_unchecked(0)).collect::<sqlx::Result<_>>().map_err(failed)
}

/// The foreign keys of those tables.
pub(super) async fn foreign_keys(connection: &mut MySqlConnection) -> Result<Vec<ForeignKey>> {
    let failed = |cause| unread("the foreign keys cannot be listed", cause);
    let found = sqlx::query(
        "SELECT CONSTRAINT_NAME, TABLE_NAME, COLUMN_NAME,
                CASE WHEN REFERENCED_TABLE_SCHEMA = DATABASE() THEN REFERENCED_TABLE_NAME
                     ELSE concat(REFERENCED_TABLE_SCHEMA, '.', REFERENCED_TABLE_NAME) END,
                REFERENCED_COLUMN_NAME
         FROM information_schema.KEY_COLUMN_USAGE
         WHERE TABLE_SCHEMA = DATABASE() AND REFERENCED_TABLE_NAME IS NOT NULL
         ORDER BY TABLE_NAME, CONSTRAINT_NAME, ORDINAL_POSITION",
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let part = |row: &MySqlRow| -> sqlx::Result<[String; 5]> {
        let text = |at| row.try_get_unchecked::<String, _>(at);
        Ok([text(0)?, text(1)?, text(2)?, text(3)?, text(4)?])
    };
    let parts = found.iter().map(part).collect::<sqlx::Result<Vec<_>>>().map_err(failed)?;
    let same = |one: &[String; 5], other: &[String; 5]| one[..2] == other[..2];
    let foreign_key = |parts: &[[String; 5]]| ForeignKey {
        table: parts[0][1].clone(),
        columns: parts.iter().map(|part| part[2].clone()).collect(),
        references: parts[0][3].clone(),
        referenced: parts.iter().map(|part| part[4].clone()).collect(),
    };
    Ok(parts.chunk_by(same).map(foreign_key).collect())
}
