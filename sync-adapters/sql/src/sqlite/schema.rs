//! The target table: created from the declaration, grown with it, and refused where it would lose something.

use rusqlite::Connection;
use sync_core::Result;
use sync_core::model::{Absent, Field, Kind, StreamSpec};
use sync_core::sink::Altered;

use super::error::failed;
use super::value::declared_type;
use crate::differs::differs;
use crate::ident::{list, quoted};

/// A column as the table has it.
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) declared: String,
    /// Its place in the primary key, from 1; 0 when it is not part of it.
    pub(crate) key_place: i64,
    /// Whether the table computes it from others.
    pub(crate) computed: bool,
    /// Whether a row cannot be inserted without it.
    pub(crate) required: bool,
}

impl Column {
    /// Whether numbers become text in it.
    pub(crate) fn keeps_text(&self) -> bool {
        affinity(&self.declared) == Affinity::Text
    }
}

/// Creates the table, or adds the columns it lacks. Says what it changed in a table that was there.
///
/// # Errors
/// `Schema`, with the exact difference, when the table cannot hold the stream without loss.
pub(crate) fn prepare(connection: &Connection, stream: &StreamSpec) -> Result<Altered> {
    let Some(missing) = missing(connection, stream)? else {
        create(connection, stream)?;
        return Ok(Altered::default());
    };
    for field in &missing {
        let add = format!(
            "ALTER TABLE {} ADD COLUMN {} {}",
            quoted(stream.name())?,
            quoted(field.name())?,
            declared_type(field.kind())
        );
        connection
            .execute_batch(&add)
            .map_err(|cause| failed("a column cannot be added", cause).with("column", field.name()))?;
    }
    Ok(added(missing))
}

/// What would be changed in a table that is there.
///
/// # Errors
/// As those of [`prepare`].
pub(crate) fn lacking(connection: &Connection, stream: &StreamSpec) -> Result<Altered> {
    Ok(added(missing(connection, stream)?.unwrap_or_default()))
}

fn added(fields: Vec<Field>) -> Altered {
    Altered { added: fields.iter().map(|field| field.name().to_owned()).collect(), ..Altered::default() }
}

/// The fields that the table has no column for, where there is one.
fn missing(connection: &Connection, stream: &StreamSpec) -> Result<Option<Vec<Field>>> {
    let columns = columns(connection, stream.name())?;
    if columns.is_empty() {
        return Ok(None);
    }
    check_writable(connection, stream)?;
    check_key(connection, stream, &columns)?;
    let wanted = wanted(stream);
    let declared = |column: &Column| wanted.iter().any(|field| column.name.eq_ignore_ascii_case(field.name()));
    if let Some(column) = columns.iter().find(|column| column.required && !column.computed && !declared(column)) {
        let what = "which the stream does not declare, so no row could be added: declare it in the stream, or give it a default in the table";
        return Err(differs(stream, format!("the target table requires column {:?}, {what}", column.name)));
    }
    let mut missing = Vec::new();
    for field in wanted {
        match columns.iter().find(|column| column.name.eq_ignore_ascii_case(field.name())) {
            Some(column) => check_column(stream, &field, column)?,
            None => missing.push(field),
        }
    }
    Ok(Some(missing))
}

/// The stream's columns, and the one that marks missing rows.
fn wanted(stream: &StreamSpec) -> Vec<Field> {
    let mut fields = stream.schema().fields().to_vec();
    if let Absent::Mark(column) = stream.when_absent()
        && stream.schema().index(column).is_none()
    {
        fields.push(Field::new(column.as_str(), Kind::Timestamp));
    }
    fields
}

fn create(connection: &Connection, stream: &StreamSpec) -> Result<()> {
    let mut parts = wanted(stream)
        .iter()
        .map(|field| {
            Ok(format!(
                "{} {}{}",
                quoted(field.name())?,
                declared_type(field.kind()),
                if field.is_nullable() { "" } else { " NOT NULL" }
            ))
        })
        .collect::<Result<Vec<_>>>()?;
    if !stream.key_columns().is_empty() {
        // A row id with an index over it takes scattered text keys three times faster than a table without row ids.
        parts.push(format!("PRIMARY KEY ({})", list(stream.key_columns().iter().map(String::as_str))?));
    }
    let create = format!("CREATE TABLE {} ({})", quoted(stream.name())?, parts.join(", "));
    connection
        .execute_batch(&create)
        .map_err(|cause| failed("the table cannot be created", cause).with("table", stream.name()))
}

pub(crate) fn columns(connection: &Connection, table: &str) -> Result<Vec<Column>> {
    let read = || -> rusqlite::Result<Vec<Column>> {
        let mut statement = connection.prepare_cached(
            "SELECT name, type, pk, hidden > 1, \"notnull\" AND dflt_value IS NULL FROM pragma_table_xinfo(?) WHERE hidden <> 1",
        )?;
        let columns = statement.query_map([table], |row| {
            Ok(Column {
                name: row.get(0)?,
                declared: row.get(1)?,
                key_place: row.get(2)?,
                computed: row.get(3)?,
                required: row.get(4)?,
            })
        })?;
        columns.collect()
    };
    read().map_err(|cause| failed("the table cannot be looked at", cause).with("table", table))
}

/// Refuses what is called a table and is none.
fn check_writable(connection: &Connection, stream: &StreamSpec) -> Result<()> {
    let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'view' AND name = ? COLLATE NOCASE";
    let views: i64 = connection
        .query_row(sql, [stream.name()], |row| row.get(0))
        .map_err(|cause| failed("the table cannot be looked at", cause).with("table", stream.name()))?;
    if views == 0 {
        Ok(())
    } else {
        Err(differs(stream, "the target is a view, which holds no rows of its own".to_owned()))
    }
}

/// The tables whose rows refer to rows of this one, quoted.
pub(crate) fn referring(connection: &Connection, table: &str) -> Result<Vec<String>> {
    let read = || -> rusqlite::Result<Vec<String>> {
        let mut statement = connection.prepare_cached(
            "SELECT DISTINCT s.name FROM sqlite_schema s JOIN pragma_foreign_key_list(s.name) f
             WHERE s.type = 'table' AND f.\"table\" = ? COLLATE NOCASE ORDER BY s.name",
        )?;
        let tables = statement.query_map([table], |row| Ok(format!("{:?}", row.get::<_, String>(0)?)))?;
        tables.collect()
    };
    read().map_err(|cause| failed("the table's references cannot be looked at", cause).with("table", table))
}

/// Refuses a table whose key is another one, or takes different keys for the same.
fn check_key(connection: &Connection, stream: &StreamSpec, columns: &[Column]) -> Result<()> {
    let wanted = folded(stream.key_columns().iter().map(String::as_str));
    if wanted.is_empty() {
        return Ok(());
    }
    let mut primary: Vec<&Column> = columns.iter().filter(|column| column.key_place > 0).collect();
    primary.sort_by_key(|column| column.key_place);
    let row_id = primary.len() == 1 && primary[0].declared.eq_ignore_ascii_case("INTEGER");
    if row_id && folded(primary.iter().map(|column| column.name.as_str())) == wanted {
        return Ok(());
    }
    let mut found = Vec::new();
    for (index, partial) in unique_indexes(connection, stream.name())? {
        let parts = index_columns(connection, &index)?;
        let names = folded(parts.iter().map(|(name, _)| name.as_str()));
        if names == wanted && !partial {
            let Some((name, collation)) = parts.iter().find(|(_, collation)| !collation.eq_ignore_ascii_case("BINARY"))
            else {
                return Ok(());
            };
            return Err(differs(
                stream,
                format!(
                    "key column {name:?} of the target table has the collation {collation}, which takes different keys for the same; declare it COLLATE BINARY"
                ),
            ));
        }
        found.push(format!("({})", names.join(", ")));
    }
    let has = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
    Err(differs(
        stream,
        format!("the target table needs a unique key over exactly ({}); it has {has}", wanted.join(", ")),
    ))
}

/// Names as SQLite compares them, in one order.
fn folded<'n>(names: impl Iterator<Item = &'n str>) -> Vec<String> {
    let mut names: Vec<String> = names.map(str::to_ascii_lowercase).collect();
    names.sort();
    names
}

/// The table's unique indexes, and whether each covers only part of the rows.
pub(crate) fn unique_indexes(connection: &Connection, table: &str) -> Result<Vec<(String, bool)>> {
    let read = || -> rusqlite::Result<Vec<(String, bool)>> {
        let mut statement =
            connection.prepare_cached("SELECT name, partial FROM pragma_index_list(?) WHERE \"unique\" = 1")?;
        let indexes = statement.query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?;
        indexes.collect()
    };
    read().map_err(|cause| failed("the table's keys cannot be looked at", cause).with("table", table))
}

pub(crate) fn index_columns(connection: &Connection, index: &str) -> Result<Vec<(String, String)>> {
    let read = || -> rusqlite::Result<Vec<(String, String)>> {
        let mut statement =
            connection.prepare_cached("SELECT coalesce(name, ''), coll FROM pragma_index_xinfo(?) WHERE key = 1")?;
        let columns = statement.query_map([index], |row| Ok((row.get(0)?, row.get(1)?)))?;
        columns.collect()
    };
    read().map_err(|cause| failed("a key cannot be looked at", cause).with("index", index))
}

/// How SQLite converts what is stored in a column, by the words in its declared type (datatype3.html, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Affinity {
    Integer,
    Text,
    Blob,
    Real,
    Numeric,
}

pub(crate) fn affinity(declared: &str) -> Affinity {
    let declared = declared.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
    if has(&["INT"]) {
        Affinity::Integer
    } else if has(&["CHAR", "CLOB", "TEXT"]) {
        Affinity::Text
    } else if has(&["BLOB"]) || declared.is_empty() {
        Affinity::Blob
    } else if has(&["REAL", "FLOA", "DOUB"]) {
        Affinity::Real
    } else {
        Affinity::Numeric
    }
}

/// Refuses a column that would change what is stored in it, or lose digits.
fn check_column(stream: &StreamSpec, field: &Field, column: &Column) -> Result<()> {
    use Affinity::{Blob, Integer, Numeric, Real, Text};
    if column.computed {
        return Err(differs(
            stream,
            format!(
                "column {:?} is computed by the target table: leave it out of the stream, or make it a plain one",
                column.name
            ),
        ));
    }
    let fitting: &[Affinity] = match field.kind() {
        Kind::Bool | Kind::Int => &[Integer, Numeric, Blob],
        Kind::UInt => &[Blob],
        Kind::Float => &[Real, Blob],
        Kind::Bytes => &[Blob, Text, Integer, Numeric, Real],
        _ => &[Text, Blob],
    };
    let has = affinity(&column.declared);
    if !fitting.contains(&has) {
        return Err(differs(
            stream,
            format!(
                "column {:?} of the target table is declared {:?}, which would convert a value of kind {}; make it {:?} there, or declare in the stream what the table has",
                column.name,
                column.declared,
                field.kind(),
                declared_type(field.kind())
            ),
        ));
    }
    if let (Kind::Decimal { scale, .. }, Some(stored)) = (field.kind(), declared_scale(&column.declared))
        && scale < stored
    {
        return Err(differs(
            stream,
            format!(
                "column {:?} of the target table keeps {stored} digits after the point, and the stream declares {scale}: digits would be lost",
                column.name
            ),
        ));
    }
    Ok(())
}

/// The digits after the point of a column that was declared by us.
fn declared_scale(declared: &str) -> Option<u8> {
    declared.strip_prefix("DECIMAL_TEXT(")?.strip_suffix(')')?.split_once(',')?.1.trim().parse().ok()
}
