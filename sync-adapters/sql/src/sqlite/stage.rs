//! Staged rows: a plain append, out of sight, as fast as SQLite writes.

use rusqlite::{Connection, OptionalExtension};
use sync_core::model::{Field, Op, Outcome, StreamSpec};
use sync_core::sink::{Publish, Stage};
use sync_core::state::StageName;
use sync_core::{Error, ErrorKind, Result};

use super::error::failed;
use super::plan::{Plan, names};
use super::schema;
use super::value::{Scratch, declared_type};
use super::write::{bind, unprepared};
use crate::ident::quoted;
use crate::staged::{column, columns, key, named, plain_column, plain_table};

/// The order in which rows were staged.
pub(crate) const SEQ: &str = "seq";

/// What a staged row does: 0 is an upsert, 1 a delete.
pub(crate) const OP: &str = "op";

/// The names of the columns that a change names, as JSON; null when it names all.
pub(crate) const FIELDS: &str = "fields";

/// The table that holds the staged rows of a stream, quoted.
pub(crate) fn table(stage: &StageName, stream: &StreamSpec) -> Result<String> {
    quoted(&plain_table(stage, stream))
}

/// Whether anything was ever staged under this name.
pub(crate) fn exists(connection: &Connection, stage: &StageName, stream: &StreamSpec) -> Result<bool> {
    let there: Option<i64> = connection
        .query_row(
            "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?",
            [plain_table(stage, stream)],
            |row| row.get(0),
        )
        .optional()
        .map_err(|cause| failed("the stage cannot be looked for", cause))?;
    Ok(there.is_some())
}

/// Creates the staging table of a stream, without index: rows are only ever appended to it. One that is there already
/// gets the columns that the stream has gained since.
///
/// # Errors
/// `Schema` when the columns differ otherwise: what is staged is of another stream then.
pub(crate) fn create(connection: &Connection, stage: &StageName, stream: &StreamSpec) -> Result<()> {
    let is_key = |field: &Field| stream.key_columns().iter().any(|key| key == field.name());
    let there = schema::columns(connection, &plain_table(stage, stream))?;
    if there.is_empty() {
        let columns = stream.schema().fields().iter().map(|field| {
            // A listing may hold keys only, and a delete does: what else is required is asked for when it is published.
            let required = if is_key(field) { " NOT NULL" } else { "" };
            Ok(format!("{} {}{required}", column(field.name())?, declared_type(field.kind())))
        });
        let columns = columns.collect::<Result<Vec<_>>>()?.join(", ");
        let create = format!(
            "CREATE TABLE {} ({SEQ} INTEGER PRIMARY KEY, {OP} INTEGER NOT NULL, {FIELDS} TEXT, {columns})",
            table(stage, stream)?
        );
        return connection.execute_batch(&create).map_err(|cause| failed("the stage cannot be created", cause));
    }
    for field in stream.schema().fields() {
        let declared = declared_type(field.kind());
        match there.iter().find(|column| column.name == plain_column(field.name())) {
            Some(column) if column.declared == declared => {}
            None if !is_key(field) => {
                let add =
                    format!("ALTER TABLE {} ADD COLUMN {} {declared}", table(stage, stream)?, column(field.name())?);
                connection.execute_batch(&add).map_err(|cause| {
                    failed("a column cannot be added to the stage", cause).with("column", field.name())
                })?;
            }
            _ => {
                return Err(Error::new(
                    ErrorKind::Schema,
                    format!(
                        "rows were staged before column {:?} was declared as it is now: run once with the option `full`, which begins anew",
                        field.name()
                    ),
                )
                .with("stream", stream.name()));
            }
        }
    }
    Ok(())
}

/// Adds the keys of rows that were listed and could not be staged, so that they do not seem absent.
pub(crate) fn name_keys(connection: &Connection, publish: &Publish) -> Result<()> {
    let stream = &publish.stream;
    let plan = Plan::of(stream)?;
    let places = vec!["?"; plan.key.len()].join(", ");
    let key = key(stream)?;
    let sql = format!("INSERT INTO {} ({key}, {OP}) VALUES ({places}, 0)", table(&publish.stage, stream)?);
    let mut scratch = Scratch::new();
    for spared in &publish.spared {
        let mut insert = connection.prepare_cached(&sql).map_err(unprepared)?;
        let mut put = || -> Result<()> {
            for (place, (&column, value)) in plan.key.iter().zip(spared.values()).enumerate() {
                bind(&mut insert, place + 1, value.as_ref(), plan.field(column), &mut scratch)?;
            }
            insert.raw_execute().map(drop).map_err(|cause| failed("a key cannot be staged", cause))
        };
        match put() {
            // What no column can hold is in no row either.
            Err(error) if error.kind() == ErrorKind::Data => {}
            done => done?,
        }
    }
    Ok(())
}

/// Appends rows to the stage.
pub(crate) fn append(connection: &Connection, step: usize, stage: &Stage) -> Result<Vec<Outcome>> {
    create(connection, &stage.stage, &stage.stream)?;
    let plan = Plan::of(&stage.stream)?;
    let width = stage.stream.schema().width();
    let places = vec!["?"; width + 2].join(", ");
    let sql = format!(
        "INSERT INTO {} ({}, {OP}, {FIELDS}) VALUES ({places})",
        table(&stage.stage, &stage.stream)?,
        columns(names(&stage.stream))?
    );
    let mut insert = connection.prepare_cached(&sql).map_err(unprepared)?;
    let mut scratch = Scratch::new();
    for (row, change) in stage.changes.iter().enumerate() {
        let mut put = || -> Result<()> {
            for (place, (value, field)) in (1..).zip(change.row().values().zip(plan.fields())) {
                bind(&mut insert, place, value, field, &mut scratch)?;
            }
            let op = i64::from(change.op() == Op::Delete);
            insert.raw_bind_parameter(width + 1, op).map_err(unprepared)?;
            insert
                .raw_bind_parameter(width + 2, change.fields().map(|fields| named(plan.stream, fields)))
                .map_err(unprepared)?;
            insert.raw_execute().map_err(|cause| failed("the row cannot be staged", cause))?;
            Ok(())
        };
        put().map_err(|error| if error.kind() == ErrorKind::Data { error.at_row(step, row) } else { error })?;
    }
    Ok(vec![Outcome::Staged; stage.changes.len()])
}

/// Forgets staged rows, and says how many they were.
pub(crate) fn discard(connection: &Connection, stage: &StageName, stream: &StreamSpec) -> Result<u64> {
    if !exists(connection, stage, stream)? {
        return Ok(0);
    }
    let table = table(stage, stream)?;
    let rows: i64 = connection
        .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
        .map_err(|cause| failed("the stage cannot be counted", cause))?;
    connection
        .execute_batch(&format!("DROP TABLE {table}"))
        .map_err(|cause| failed("the stage cannot be dropped", cause))?;
    Ok(rows.cast_unsigned())
}
