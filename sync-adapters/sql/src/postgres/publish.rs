//! Staged rows become visible at once, in key order, and the rows they do not name are dealt with.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use sync_core::model::{Absent, Changes, Field, FieldSet, Mark, Op, Outcome, Rows, Tally};
use sync_core::sink::{Guard, Publish, StepReport, WriteMode};
use sync_core::{Error, ErrorKind, Key, Result, Value};

use super::column::{Column, read};
use super::error::failed;
use super::query::{Plan, name};
use super::schema;
use super::scope::Condition;
use super::stage;
use super::write::{Writing, execute};
use crate::ident::quoted;

/// Staged rows that are looked at and written together.
const CHUNK: usize = 5000;

/// Publishes a stage. The stage is gone afterwards.
pub(crate) async fn publish(connection: &mut PgConnection, step: usize, publish: &Publish) -> Result<StepReport> {
    let stream = &publish.stream;
    if !stage::exists(connection, &publish.stage, stream).await? {
        return Ok(StepReport::Published { staged: Tally::new(), absent: Tally::new() });
    }
    let plan = Plan::of(stream)?;
    let staged = Staged { publish, plan: &plan, table: stage::table(&publish.stage, stream)? };
    let tally = if publish.keys_only {
        staged.compare_keys(connection).await?
    } else {
        match staged.fill_empty_target(connection).await? {
            Some(tally) => tally,
            None => staged.merge(connection, step).await?,
        }
    };
    let absent = staged.deal_with_absent(connection).await?;
    stage::discard(connection, &publish.stage, stream).await?;
    Ok(StepReport::Published { staged: tally, absent })
}

struct Staged<'p> {
    publish: &'p Publish,
    plan: &'p Plan<'p>,
    table: String,
}

impl Staged<'_> {
    fn key(&self) -> Result<String> {
        stage::columns(self.publish.stream.key_columns().iter().map(String::as_str))
    }

    /// The condition that `s`, a staged row, and `t`, a target row, have one key.
    fn same_key(&self) -> Result<String> {
        let names = self.publish.stream.key_columns().iter();
        let parts = names.map(|name| Ok(format!("s.{} = t.{}", stage::column(name)?, quoted(name)?)));
        Ok(parts.collect::<Result<Vec<_>>>()?.join(" AND "))
    }

    /// A key listing writes no row, but the marks of those it names; it says which rows the target has.
    async fn compare_keys(&self, connection: &mut PgConnection) -> Result<Tally> {
        let (key, same, stage, target) = (self.key()?, self.same_key()?, &self.table, &self.plan.table);
        let listed = number(connection, format!("SELECT count(*) FROM {stage}")).await?;
        let distinct =
            number(connection, format!("SELECT count(*) FROM (SELECT DISTINCT {key} FROM {stage}) d")).await?;
        let mut unmarked = String::new();
        if let Absent::Mark(mark) = &self.publish.absent {
            let mark = name(mark)?;
            // A row that is named again is no longer missing.
            let clear = format!(
                "UPDATE {target} AS t SET {mark} = NULL WHERE t.{mark} IS NOT NULL AND EXISTS (SELECT 1 FROM {stage} s WHERE {same})"
            );
            let cleared = execute(connection, clear, Vec::new(), "the marks cannot be cleared").await?;
            if cleared > 0 {
                unmarked = format!("{cleared}");
            }
        }
        let present = number(
            connection,
            format!("SELECT count(*) FROM (SELECT DISTINCT {key} FROM {stage}) s WHERE EXISTS (SELECT 1 FROM {target} t WHERE {same})"),
        )
        .await?;
        let updated = unmarked.parse::<u64>().unwrap_or_default();
        let mut tally = Tally::new();
        tally.add(Outcome::Updated, updated);
        tally.add(Outcome::Unchanged, present - updated);
        tally.add(Outcome::Missing, distinct - present);
        tally.add(Outcome::Duplicate, listed - distinct);
        Ok(tally)
    }

    /// Into an empty target, one statement carries everything, unless a key stands twice or a row is refused.
    async fn fill_empty_target(&self, connection: &mut PgConnection) -> Result<Option<Tally>> {
        let odd = format!(
            "SELECT (EXISTS (SELECT 1 FROM {}) OR EXISTS (SELECT 1 FROM {} WHERE op <> 0))::int::bigint",
            self.plan.table, self.table
        );
        if !self.publish.skip.is_empty() || number(connection, odd).await? > 0 {
            return Ok(None);
        }
        let from = stage::columns(self.publish.stream.schema().fields().iter().map(Field::name))?;
        let fill = format!(
            "INSERT INTO {} ({}) SELECT {from} FROM {} ORDER BY {}",
            self.plan.table,
            self.plan.columns,
            self.table,
            self.key()?
        );
        schema::run(connection, "SAVEPOINT fill".to_owned(), "no savepoint").await?;
        match execute(connection, fill, Vec::new(), "the rows cannot be published").await {
            Ok(rows) => {
                schema::run(connection, "RELEASE SAVEPOINT fill".to_owned(), "no savepoint").await?;
                let mut tally = Tally::new();
                tally.add(Outcome::Created, rows);
                Ok(Some(tally))
            }
            // Piece by piece the row at fault can be named.
            Err(error) if error.kind() == ErrorKind::Data => {
                schema::run(connection, "ROLLBACK TO SAVEPOINT fill".to_owned(), "no savepoint").await?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Piece by piece in key order, each row classified before it is written.
    async fn merge(&self, connection: &mut PgConnection, step: usize) -> Result<Tally> {
        let stream = &self.publish.stream;
        let asked = self.plan.asked(&self.plan.all(), |field| stage::column(field.name()))?;
        let declare = format!(
            "DECLARE staged NO SCROLL CURSOR FOR SELECT op::bigint, fields, {asked} FROM {} ORDER BY {}, seq",
            self.table,
            self.key()?
        );
        schema::run(connection, declare, "the stage cannot be read").await?;
        let mut tally = Tally::new();
        let mut waiting: Option<Changes> = None;
        loop {
            let piece = self.fetch(connection).await?;
            let last = piece.is_empty();
            let mut settled = Changes::upserts(Rows::new(Arc::clone(stream.schema())));
            for incoming in piece {
                waiting = Some(match waiting.take() {
                    Some(before) if self.key_of(&before) == self.key_of(&incoming) => {
                        tally.add(Outcome::Duplicate, 1);
                        self.both(&before, &incoming)?
                    }
                    Some(before) => {
                        settled.push(before.at(0));
                        incoming
                    }
                    None => incoming,
                });
            }
            if last && let Some(before) = waiting.take() {
                settled.push(before.at(0));
            }
            tally += self.put(connection, step, &settled).await?;
            if last {
                break;
            }
        }
        schema::run(connection, "CLOSE staged".to_owned(), "the stage cannot be read").await?;
        Ok(tally)
    }

    async fn fetch(&self, connection: &mut PgConnection) -> Result<Vec<Changes>> {
        let unread = |cause| failed("the stage cannot be read", cause);
        let rows = sqlx::query(AssertSqlSafe(format!("FETCH {CHUNK} FROM staged")))
            .fetch_all(connection)
            .await
            .map_err(unread)?;
        let schema = self.publish.stream.schema();
        let change = |row: &sqlx::postgres::PgRow| {
            let values = (0..schema.width()).map(|column| read(row, column + 2, self.plan.field(column)));
            let values = values.collect::<Result<Vec<Value>>>()?;
            let mut page = Rows::new(Arc::clone(schema));
            page.push(values.iter().map(Value::as_ref))?;
            let mut mark = Mark::default();
            mark.op = if row.try_get::<i64, _>(0).map_err(unread)? == 0 { Op::Upsert } else { Op::Delete };
            mark.fields = match row.try_get::<Option<String>, _>(1).map_err(unread)? {
                None => None,
                Some(names) => Some(fields_of(&names, self.plan)?),
            };
            Ok(Changes::marked(page, vec![mark]))
        };
        rows.iter().map(change).collect()
    }

    fn key_of(&self, change: &Changes) -> Key {
        change.at(0).key(&self.plan.key_indices)
    }

    /// What stands for two changes of one key.
    fn both(&self, before: &Changes, incoming: &Changes) -> Result<Changes> {
        let highest = if self.publish.guard == Guard::Newer { Guard::Newer } else { Guard::NotOlder };
        highest.in_turn(&self.publish.stream, before.at(0), incoming.at(0))
    }

    async fn put(&self, connection: &mut PgConnection, step: usize, changes: &Changes) -> Result<Tally> {
        let kept: Vec<usize> = (0..changes.len())
            .filter(|&row| !self.publish.skip.contains(&changes.at(row).key(&self.plan.key_indices)))
            .collect();
        let changes = changes.select(kept);
        if changes.is_empty() {
            return Ok(Tally::new());
        }
        schema::run(connection, "SAVEPOINT piece".to_owned(), "no savepoint").await?;
        let tried = self.write(connection, step, &changes).await;
        let error = match tried {
            Ok(tally) => {
                schema::run(connection, "RELEASE SAVEPOINT piece".to_owned(), "no savepoint").await?;
                return Ok(tally);
            }
            Err(error) if error.kind() == ErrorKind::Data => error,
            Err(error) => return Err(error),
        };
        schema::run(connection, "ROLLBACK TO SAVEPOINT piece".to_owned(), "no savepoint").await?;
        if changes.len() == 1 {
            return Err(error.with_staged_row(step, changes.at(0).to_values()));
        }
        let middle = changes.len() / 2;
        let mut tally = Box::pin(self.put(connection, step, &changes.select(0..middle))).await?;
        tally += Box::pin(self.put(connection, step, &changes.select(middle..changes.len()))).await?;
        Ok(tally)
    }

    async fn write(&self, connection: &mut PgConnection, step: usize, changes: &Changes) -> Result<Tally> {
        let writing =
            Writing { plan: self.plan, changes, rules: self.publish.rules(), expect: &[], step, insert_first: false };
        Ok(writing.write(connection).await?.into_iter().collect())
    }

    /// Deletes or marks the rows in scope that the stage does not name, if they are not too many.
    async fn deal_with_absent(&self, connection: &mut PgConnection) -> Result<Tally> {
        let mut tally = Tally::new();
        if self.publish.absent == Absent::Keep || self.publish.mode != WriteMode::Upsert {
            return Ok(tally);
        }
        self.name_spared(connection).await?;
        schema::run(connection, format!("ANALYZE {}", self.table), "the stage cannot be looked through").await?;
        let scope = Condition::of(&self.publish.stream, &self.publish.rows)?;
        let mark = match &self.publish.absent {
            Absent::Mark(column) => Some(name(column)?),
            _ => None,
        };
        let unmarked = mark.as_ref().map_or_else(String::new, |mark| format!(" AND t.{mark} IS NULL"));
        let absent = format!(
            "{}{unmarked} AND NOT EXISTS (SELECT 1 FROM {} s WHERE {})",
            scope.sql,
            self.table,
            self.same_key()?
        );
        let gone = self.count(connection, &scope, &absent).await?;
        let present = self.count(connection, &scope, &format!("{}{unmarked}", scope.sql)).await?;
        if gone == 0 {
            return Ok(tally);
        }
        if !self.publish.most.allows(gone, present) {
            tally.add(Outcome::Withheld, gone);
            return Ok(tally);
        }
        let sql = match mark {
            Some(mark) => format!("UPDATE {} AS t SET {mark} = now() WHERE {absent}", self.plan.table),
            None => format!("DELETE FROM {} AS t WHERE {absent}", self.plan.table),
        };
        let done = scope.bind(sqlx::query(AssertSqlSafe(sql))).execute(connection).await.map_err(|cause| {
            failed("the rows that are gone cannot be removed", cause).with("table", self.publish.stream.name())
        })?;
        tally.add(Outcome::Deleted, done.rows_affected());
        Ok(tally)
    }

    /// Adds the keys of rows that were listed and could not be staged, so that they do not seem absent.
    async fn name_spared(&self, connection: &mut PgConnection) -> Result<()> {
        let plan = self.plan;
        let mut arrays: Vec<Column> = Vec::new();
        for (place, &column) in plan.key_indices.iter().enumerate() {
            let field = plan.field(column);
            let mut array = Column::new(field.kind(), self.publish.spared.len());
            for key in &self.publish.spared {
                let value = key.values().get(place).ok_or_else(|| Error::internal("a key without all its columns"))?;
                // What no column can hold is in no row either.
                if array.push(value.as_ref(), field).is_err() {
                    array.push(sync_core::ValueRef::Null, field)?;
                }
            }
            arrays.push(array);
        }
        if self.publish.spared.is_empty() {
            return Ok(());
        }
        let sent = &plan.key_indices;
        let values: Vec<String> = sent.iter().map(|&column| plan.sent(sent, column)).collect();
        let sql = format!(
            "INSERT INTO {} ({}, op) SELECT {}, 0 FROM {}",
            self.table,
            self.key()?,
            values.join(", "),
            plan.unnest(sent, 1, &[])
        );
        execute(connection, sql, arrays, "the keys cannot be staged").await.map(drop)
    }

    async fn count(&self, connection: &mut PgConnection, scope: &Condition, condition: &str) -> Result<u64> {
        let sql = format!("SELECT count(*) FROM {} t WHERE {condition}", self.plan.table);
        let row = scope
            .bind(sqlx::query(AssertSqlSafe(sql)))
            .fetch_one(connection)
            .await
            .map_err(|cause| failed("the rows in scope cannot be counted", cause))?;
        Ok(row.get::<i64, _>(0).cast_unsigned())
    }
}

fn fields_of(names: &str, plan: &Plan<'_>) -> Result<FieldSet> {
    let names: Vec<String> = serde_json::from_str(names)
        .map_err(|cause| Error::new(ErrorKind::Schema, "the stage was written by another release").caused_by(cause))?;
    Ok(names.iter().filter_map(|name| plan.stream.schema().index(name)).collect())
}

async fn number(connection: &mut PgConnection, sql: String) -> Result<u64> {
    let rows: i64 = sqlx::query_scalar(AssertSqlSafe(sql))
        .fetch_one(connection)
        .await
        .map_err(|cause| failed("the stage cannot be counted", cause))?;
    Ok(rows.cast_unsigned())
}
