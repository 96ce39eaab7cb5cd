//! Staged rows: a plain append, out of sight. The table is a logged one: what is staged survives the server's crash.

use std::collections::HashMap;

use sqlx::{AssertSqlSafe, PgConnection};
use sync_core::model::{Field, Op, Outcome, StreamSpec};
use sync_core::sink::Stage;
use sync_core::state::StageName;
use sync_core::{Error, Result};

use super::column::{Column, declared_type};
use super::copy::{self, Body, copy};
use super::error::failed;
use super::query::{Plan, arrays};
use super::schema;
use super::write::execute;
use crate::ident::quoted;
use crate::staged::{column, columns, named, plain_column, plain_table};

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

/// Creates the stage, or gives it the columns that the stream has by now.
async fn create(connection: &mut PgConnection, stage: &StageName, stream: &StreamSpec) -> Result<()> {
    schema::alone(connection).await?;
    let table = table(stage, stream)?;
    let fields = stream.schema().fields();
    let what = "the stage cannot be created";
    let standing = types(connection, &table).await?;
    if standing.is_empty() {
        let parts = fields.iter().map(|field| Ok(format!("{} {}", column(field.name())?, declared_type(field.kind()))));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let create =
            format!("CREATE TABLE {table} (seq bigserial, op smallint NOT NULL, fields text, {})", parts.join(", "));
        return schema::run(connection, create, what).await;
    }
    let mut changes = Vec::new();
    for field in fields {
        let (name, wanted) = (column(field.name())?, declared_type(field.kind()));
        match standing.get(&plain_column(field.name())) {
            Some(standing) if *standing == wanted => {}
            Some(_) => changes.push(format!("ALTER COLUMN {name} TYPE {wanted} USING {name}::{wanted}")),
            None => changes.push(format!("ADD COLUMN {name} {wanted}")),
        }
    }
    if changes.is_empty() {
        return Ok(());
    }
    schema::run(connection, format!("ALTER TABLE {table} {}", changes.join(", ")), what).await
}

/// The types of a stage's columns; none where there is no such stage.
async fn types(connection: &mut PgConnection, table: &str) -> Result<HashMap<String, String>> {
    let types: Vec<(String, String)> = sqlx::query_as(
        "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute
         WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped",
    )
    .bind(table)
    .fetch_all(connection)
    .await
    .map_err(|cause| failed("the stage cannot be looked at", cause))?;
    Ok(types.into_iter().collect())
}

/// Appends rows to the stage.
pub(crate) async fn append(connection: &mut PgConnection, step: usize, stage: &Stage) -> Result<Vec<Outcome>> {
    let stream = &stage.stream;
    let standing = types(connection, &table(&stage.stage, stream)?).await?;
    // What is copied into a column of another type may mean something else there.
    let fits = |field: &Field| standing.get(&plain_column(field.name())) == Some(&declared_type(field.kind()));
    if standing.is_empty() || !stream.schema().fields().iter().all(fits) {
        create(connection, &stage.stage, stream).await?;
    }
    let plan = Plan::of(stream)?;
    for (row, change) in stage.changes.iter().enumerate() {
        if let Some(&key) = plan.key_indices.iter().find(|&&key| change.row().at(key).is_null()) {
            let empty = format!("column {:?} must not be empty", plan.field(key).name());
            return Err(Error::data(empty).with("stream", stream.name()).at_row(step, row));
        }
    }
    let what = "the rows cannot be staged";
    let all_columns = columns(stream.schema().fields().iter().map(Field::name))?;
    let place = table(&stage.stage, stream)?;
    if let Some(body) = body(&plan, stage, step)? {
        copy(connection, &copy::into(&place, &format!("op, fields, {all_columns}")), &body, what).await?;
        return Ok(vec![Outcome::Staged; stage.changes.len()]);
    }
    let all = plan.all();
    let rows: Vec<usize> = (0..stage.changes.len()).collect();
    let mut sent = arrays(&plan, &stage.changes, &rows, &all, step)?;
    sent.push(Column::Int(stage.changes.iter().map(|change| Some(i64::from(change.op() == Op::Delete))).collect()));
    let fields = stage.changes.iter().map(|change| change.fields().map(|fields| named(stream, fields)));
    sent.push(Column::Text(fields.collect()));
    let values: Vec<String> = all.iter().map(|&column| plan.sent(&all, column)).collect();
    let sql = format!(
        "INSERT INTO {place} ({all_columns}, op, fields) SELECT {}, u.c{}::smallint, u.c{} FROM {} ORDER BY u.ord",
        values.join(", "),
        all.len(),
        all.len() + 1,
        plan.unnest(&all, 1, &["bigint", "text"]),
    );
    execute(connection, sql, sent, what).await?;
    Ok(vec![Outcome::Staged; stage.changes.len()])
}

/// Many rows as they are copied into the stage.
fn body(plan: &Plan<'_>, stage: &Stage, step: usize) -> Result<Option<Vec<u8>>> {
    if stage.changes.len() < copy::MANY {
        return Ok(None);
    }
    let mut body = Body::new(stage.changes.len());
    for (row, change) in stage.changes.iter().enumerate() {
        body.begin(plan.stream.schema().width() + 2);
        body.small(i16::from(change.op() == Op::Delete));
        body.text(change.fields().map(|fields| named(plan.stream, fields)).as_deref());
        body.row(plan, &stage.changes, row, step)?;
    }
    Ok(body.is_large().then(|| body.ended()))
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
