//! Staged rows: a plain append, out of sight, as fast as SQLite writes.

use rusqlite::{Connection, OptionalExtension};
use sync_core::model::{Op, Outcome, StreamSpec};
use sync_core::sink::{Publish, Stage};
use sync_core::state::StageName;
use sync_core::{ErrorKind, Result};

use super::error::failed;
use super::plan::{Plan, names};
use super::value::{Scratch, declared_type};
use super::write::{bind, unprepared};
use crate::ident::{list, quoted};

/// What a staged row does: 0 is an upsert, 1 a delete.
pub(crate) const OP: &str = "_sync_op";

/// The table that holds the staged rows of a stream, quoted.
pub(crate) fn table(stage: &StageName, stream: &StreamSpec) -> Result<String> {
    quoted(&plain_table(stage, stream))
}

fn plain_table(stage: &StageName, stream: &StreamSpec) -> String {
    let both = blake3::hash(format!("{}\0{}", stage.as_str(), stream.name()).as_bytes());
    format!("_sync_stage_{}", &both.to_hex()[..24])
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

/// Creates the staging table of a stream, without index: rows are only ever appended to it.
pub(crate) fn create(connection: &Connection, stage: &StageName, stream: &StreamSpec) -> Result<()> {
    let columns = stream.schema().fields().iter().map(|field| {
        // A listing may hold keys only, and a delete does: what else is required is asked for when it is published.
        let is_key = stream.key_columns().iter().any(|key| key == field.name());
        Ok(format!(
            "{} {}{}",
            quoted(field.name())?,
            declared_type(field.kind()),
            if is_key { " NOT NULL" } else { "" }
        ))
    });
    let columns = columns.collect::<Result<Vec<_>>>()?.join(", ");
    let create = format!("CREATE TABLE IF NOT EXISTS {} ({columns}, {OP} INTEGER NOT NULL)", table(stage, stream)?);
    connection.execute_batch(&create).map_err(|cause| failed("the stage cannot be created", cause))
}

/// Adds the keys of rows that were listed and could not be staged, so that they do not seem absent.
pub(crate) fn name_keys(connection: &Connection, publish: &Publish) -> Result<()> {
    let stream = &publish.stream;
    let plan = Plan::of(stream)?;
    let places = vec!["?"; plan.key.len()].join(", ");
    let key = list(stream.key_columns().iter().map(String::as_str))?;
    let sql = format!("INSERT INTO {} ({key}, {OP}) VALUES ({places}, 0)", table(&publish.stage, stream)?);
    let mut scratch = Scratch::new();
    for spared in &publish.spared {
        let mut insert = connection.prepare_cached(&sql).map_err(unprepared)?;
        let mut put = || -> Result<()> {
            for (place, (&column, value)) in plan.key.iter().zip(spared.values()).enumerate() {
                bind(&mut insert, place + 1, value.as_ref(), &plan, column, &mut scratch)?;
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
    let places = vec!["?"; stage.stream.schema().width() + 1].join(", ");
    let sql = format!(
        "INSERT INTO {} ({}, {OP}) VALUES ({places})",
        table(&stage.stage, &stage.stream)?,
        list(names(&stage.stream))?
    );
    let mut insert = connection.prepare_cached(&sql).map_err(unprepared)?;
    let mut scratch = Scratch::new();
    for (row, change) in stage.changes.iter().enumerate() {
        let mut put = || -> Result<()> {
            for (column, value) in change.row().values().enumerate() {
                bind(&mut insert, column + 1, value, &plan, column, &mut scratch)?;
            }
            let op = i64::from(change.op() == Op::Delete);
            insert.raw_bind_parameter(plan.stream.schema().width() + 1, op).map_err(unprepared)?;
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
