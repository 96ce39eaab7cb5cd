//! Staged rows: a plain append, out of sight. The table is a logged one: what is staged survives the server's crash.

use sqlx::{AssertSqlSafe, PgConnection};
use sync_core::model::{Field, Op, Outcome, StreamSpec};
use sync_core::sink::Stage;
use sync_core::state::StageName;
use sync_core::{Error, Result};

use super::column::{Column, declared_type};
use super::error::failed;
use super::query::{Plan, arrays};
use super::schema;
use super::write::execute;
use crate::ident::quoted;
use crate::staged::{column, columns, named, plain_table};

/// The table that holds the staged rows of a stream, quoted.
pub(crate) fn table(stage: &StageName, stream: &StreamSpec) -> Result<String> {
    quoted(&plain_table(stage, stream))
}

/// Whether there is such a stage.
pub(crate) async fn exists(connection: &mut PgConnection, stage: &StageName, stream: &StreamSpec) -> Result<bool> {
    sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(table(stage, stream)?)
        .fetch_one(connection)
        .await
        .map_err(|cause| failed("the stage cannot be looked for", cause))
}

/// Creates the stage, or adds the columns that the stream has gained.
async fn create(connection: &mut PgConnection, stage: &StageName, stream: &StreamSpec) -> Result<()> {
    schema::alone(connection).await?;
    let table = table(stage, stream)?;
    let fields = stream.schema().fields();
    let parts = fields.iter().map(|field| Ok(format!("{} {}", column(field.name())?, declared_type(field.kind()))));
    let parts = parts.collect::<Result<Vec<_>>>()?;
    let what = "the stage cannot be created";
    if !exists(connection, stage, stream).await? {
        let create =
            format!("CREATE TABLE {table} (seq bigserial, op smallint NOT NULL, fields text, {})", parts.join(", "));
        return schema::run(connection, create, what).await;
    }
    let add: Vec<String> = parts.iter().map(|part| format!("ADD COLUMN IF NOT EXISTS {part}")).collect();
    schema::run(connection, format!("ALTER TABLE {table} {}", add.join(", ")), what).await
}

/// Appends rows to the stage.
pub(crate) async fn append(connection: &mut PgConnection, step: usize, stage: &Stage) -> Result<Vec<Outcome>> {
    let stream = &stage.stream;
    if stage.changes.is_empty() || !exists(connection, &stage.stage, stream).await? {
        create(connection, &stage.stage, stream).await?;
    }
    let plan = Plan::of(stream)?;
    let all = plan.all();
    for (row, change) in stage.changes.iter().enumerate() {
        if let Some(&key) = plan.key_indices.iter().find(|&&key| change.row().at(key).is_null()) {
            let empty = format!("column {:?} must not be empty", plan.field(key).name());
            return Err(Error::data(empty).with("stream", stream.name()).at_row(step, row));
        }
    }
    let rows: Vec<usize> = (0..stage.changes.len()).collect();
    let mut sent = arrays(&plan, &stage.changes, &rows, &all, step)?;
    sent.push(Column::Int(stage.changes.iter().map(|change| Some(i64::from(change.op() == Op::Delete))).collect()));
    let fields = stage.changes.iter().map(|change| change.fields().map(|fields| named(stream, fields)));
    sent.push(Column::Text(fields.collect()));
    let values: Vec<String> = all.iter().map(|&column| plan.sent(&all, column)).collect();
    let sql = format!(
        "INSERT INTO {} ({}, op, fields) SELECT {}, u.c{}::smallint, u.c{} FROM {} ORDER BY u.ord",
        table(&stage.stage, stream)?,
        columns(stream.schema().fields().iter().map(Field::name))?,
        values.join(", "),
        all.len(),
        all.len() + 1,
        plan.unnest(&all, 1, &["bigint", "text"]),
    );
    execute(connection, sql, sent, "the rows cannot be staged").await?;
    Ok(vec![Outcome::Staged; stage.changes.len()])
}

/// Forgets a stage, and says how many rows it held.
pub(crate) async fn discard(connection: &mut PgConnection, stage: &StageName, stream: &StreamSpec) -> Result<u64> {
    if !exists(connection, stage, stream).await? {
        return Ok(0);
    }
    let table = table(stage, stream)?;
    let held: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
        .fetch_one(&mut *connection)
        .await
        .map_err(|cause| failed("the stage cannot be counted", cause))?;
    schema::run(connection, format!("DROP TABLE {table}"), "the stage cannot be dropped").await?;
    Ok(held.cast_unsigned())
}
