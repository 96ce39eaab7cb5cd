//! Staged rows become visible at once, in key order, and the rows they do not name are dealt with.

use std::collections::HashSet;
use std::sync::Arc;

use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use sync_core::model::{Absent, Changes, Mark, Op, Outcome, Rows, Tally};
use sync_core::sink::{Guard, Publish, StepReport, WriteMode};
use sync_core::{Error, ErrorKind, Key, Result, Value};

use super::column::{Column, read};
use super::error::failed;
use super::query::{Plan, name};
use super::schema;
use super::scope::Condition;
use super::stage;
use super::write::{Writing, execute};
use crate::classified::{Incoming, Look};
use crate::refused::Refused;
use crate::staged::{Gone, Staged, column, fields, kept_back, key};

/// Staged rows that are looked at and written together.
const CHUNK: usize = 5000;

/// Publishes a stage. The stage is gone afterwards.
pub(crate) async fn publish(
    connection: &mut PgConnection,
    step: usize,
    publish: &Publish,
    look: Look,
    copies: bool,
) -> Result<StepReport> {
    let stream = &publish.stream;
    if !stage::exists(connection, &publish.stage, stream).await? {
        return Ok(StepReport::Published { staged: Tally::new(), absent: Tally::new() });
    }
    let plan = Plan::of(stream)?;
    let staged = Staged { publish, stage: stage::table(&publish.stage, stream)?, target: plan.table.clone() };
    let skip = publish.skip.iter().collect();
    let publishing = Publishing { publish, plan: &plan, staged: &staged, look, copies, skip };
    let tally = if publish.keys_only {
        publishing.compare_keys(connection).await?
    } else {
        match publishing.fill_empty_target(connection).await? {
            Some(tally) => tally,
            None => publishing.merge(connection, step).await?,
        }
    };
    let absent = publishing.deal_with_absent(connection).await?;
    stage::discard(connection, &publish.stage, stream).await?;
    Ok(StepReport::Published { staged: tally, absent })
}

struct Publishing<'p> {
    publish: &'p Publish,
    plan: &'p Plan<'p>,
    staged: &'p Staged<'p>,
    look: Look,
    copies: bool,
    skip: HashSet<&'p Key>,
}

impl Publishing<'_> {
    /// A key listing writes no row, but the marks of those it names; it says which rows the target has.
    async fn compare_keys(&self, connection: &mut PgConnection) -> Result<Tally> {
        let listed = number(connection, self.staged.listed()).await?;
        let distinct = number(connection, self.staged.distinct()?).await?;
        let present = number(connection, self.staged.present()?).await?;
        let unmarked = match &self.publish.absent {
            Absent::Mark(mark) => {
                let clear = self.staged.unmark(&name(mark)?)?;
                execute(connection, clear, Vec::new(), "the marks cannot be cleared").await?
            }
            _ => 0,
        };
        Ok(Staged::compared(listed, distinct, present, unmarked))
    }

    /// Into an empty target, one statement carries everything, unless a key stands twice or a row is refused.
    async fn fill_empty_target(&self, connection: &mut PgConnection) -> Result<Option<Tally>> {
        let odd = format!(
            "SELECT (EXISTS (SELECT 1 FROM {}) OR EXISTS (SELECT 1 FROM {} WHERE op <> 0))::int::bigint",
            self.staged.target, self.staged.stage
        );
        if !self.publish.skip.is_empty() || number(connection, odd).await? > 0 {
            return Ok(None);
        }
        let listed = number(connection, self.staged.listed()).await?;
        schema::run(connection, "SAVEPOINT fill".to_owned(), "no savepoint").await?;
        match execute(connection, self.staged.fill()?, Vec::new(), "the rows cannot be published").await {
            Ok(rows) if rows == listed => {
                schema::run(connection, "RELEASE SAVEPOINT fill".to_owned(), "no savepoint").await?;
                let mut tally = Tally::new();
                tally.add(Outcome::Created, rows);
                Ok(Some(tally))
            }
            Err(error) if error.kind() != ErrorKind::Data => Err(error),
            // Piece by piece the row at fault can be named: one is refused, or a trigger has ignored it.
            _ => {
                schema::run(connection, "ROLLBACK TO SAVEPOINT fill".to_owned(), "no savepoint").await?;
                Ok(None)
            }
        }
    }

    /// Piece by piece in key order, each row classified before it is written.
    async fn merge(&self, connection: &mut PgConnection, step: usize) -> Result<Tally> {
        let stream = &self.publish.stream;
        let asked = self.plan.asked(&self.plan.all(), |field| column(field.name()))?;
        let declare = format!(
            "DECLARE staged NO SCROLL CURSOR FOR SELECT op::bigint, fields, {asked} FROM {} ORDER BY {}, seq",
            self.staged.stage,
            key(stream)?
        );
        schema::run(connection, declare, "the stage cannot be read").await?;
        let mut tally = Tally::new();
        let mut waiting: Option<Changes> = None;
        let mut refused = Refused::default();
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
            tally += self.put(connection, step, &settled, &mut refused).await?;
            if last {
                break;
            }
        }
        refused.finish()?;
        schema::run(connection, "CLOSE staged".to_owned(), "the stage cannot be read").await?;
        Ok(tally)
    }

    async fn fetch(&self, connection: &mut PgConnection) -> Result<Vec<Changes>> {
        let unread = |cause| failed("the stage cannot be read", cause);
        // Not kept as prepared: the same words give other columns for another stream.
        let rows = sqlx::query(AssertSqlSafe(format!("FETCH {CHUNK} FROM staged")))
            .persistent(false)
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
                Some(names) => Some(fields(&self.publish.stream, &names)?),
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

    /// Writes a piece, by ever shorter ones where a row is refused, and goes on behind it.
    async fn put(
        &self,
        connection: &mut PgConnection,
        step: usize,
        changes: &Changes,
        refused: &mut Refused,
    ) -> Result<Tally> {
        let kept: Vec<usize> = (0..changes.len())
            .filter(|&row| !self.skip.contains(&changes.at(row).key(&self.plan.key_indices)))
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
            refused.add(error.with_staged_row(step, changes.at(0).to_values()));
            if refused.is_full() {
                refused.finish()?;
            }
            return Ok(Tally::new());
        }
        let middle = changes.len() / 2;
        let mut tally = Box::pin(self.put(connection, step, &changes.select(0..middle), refused)).await?;
        tally += Box::pin(self.put(connection, step, &changes.select(middle..changes.len()), refused)).await?;
        Ok(tally)
    }

    async fn write(&self, connection: &mut PgConnection, step: usize, changes: &Changes) -> Result<Tally> {
        let writing = Writing {
            plan: self.plan,
            incoming: Incoming { stream: self.plan.stream, changes, rules: self.publish.rules(), expect: &[], step },
            copies: self.copies,
            look: self.look,
            fresh: false,
        };
        Ok(writing.write(connection).await?.into_iter().collect())
    }

    /// Deletes or marks the rows in scope that the stage does not name, if they are not too many.
    async fn deal_with_absent(&self, connection: &mut PgConnection) -> Result<Tally> {
        if self.publish.absent == Absent::Keep || self.publish.mode != WriteMode::Upsert {
            return Ok(Tally::new());
        }
        self.name_spared(connection).await?;
        let analyze = format!("ANALYZE {}", self.staged.stage);
        schema::run(connection, analyze, "the stage cannot be looked through").await?;
        let scope = Condition::of(&self.publish.stream, &self.publish.rows)?;
        let mark = match &self.publish.absent {
            Absent::Mark(column) => Some(name(column)?),
            _ => None,
        };
        let gone = self.staged.gone(&scope.sql, mark)?;
        let count = count(connection, gone.count(), &scope).await?;
        let present = self::count(connection, gone.count_present(), &scope).await?;
        if let Some(tally) = gone.withheld(count, present) {
            return Ok(tally);
        }
        let mut tally = Tally::new();
        tally.add(Outcome::Deleted, self.remove(connection, &gone, &scope).await?);
        Ok(tally)
    }

    async fn remove(&self, connection: &mut PgConnection, gone: &Gone<'_>, scope: &Condition) -> Result<u64> {
        let stream = &self.publish.stream;
        schema::run(connection, "SAVEPOINT gone".to_owned(), "no savepoint").await?;
        let sql = gone.remove("now()", "DELETE FROM");
        let removed = scope.bind(sqlx::query(AssertSqlSafe(sql))).execute(&mut *connection).await;
        match removed.map_err(|cause| failed("the rows that are gone cannot be removed", cause)) {
            Ok(removed) => {
                schema::run(connection, "RELEASE SAVEPOINT gone".to_owned(), "no savepoint").await?;
                Ok(removed.rows_affected())
            }
            Err(error) if error.kind() == ErrorKind::Data => {
                schema::run(connection, "ROLLBACK TO SAVEPOINT gone".to_owned(), "no savepoint").await?;
                Err(kept_back(stream, error, &referring(connection, &self.staged.target).await?))
            }
            Err(error) => Err(error.with("table", stream.name())),
        }
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
            self.staged.stage,
            key(&self.publish.stream)?,
            values.join(", "),
            plan.unnest(sent, 1, &[])
        );
        execute(connection, sql, arrays, "the keys cannot be staged").await.map(drop)
    }
}

/// Tables whose rows refer to rows of this one.
async fn referring(connection: &mut PgConnection, table: &str) -> Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT DISTINCT conrelid::regclass::text FROM pg_constraint WHERE contype = 'f' AND confrelid = to_regclass($1)",
    )
    .bind(table)
    .fetch_all(connection)
    .await
    .map_err(|cause| failed("the keys of other tables cannot be looked at", cause))
}

async fn count(connection: &mut PgConnection, sql: String, scope: &Condition) -> Result<u64> {
    let row = scope
        .bind(sqlx::query(AssertSqlSafe(sql)))
        .fetch_one(connection)
        .await
        .map_err(|cause| failed("the rows in scope cannot be counted", cause))?;
    Ok(row.get::<i64, _>(0).cast_unsigned())
}

async fn number(connection: &mut PgConnection, sql: String) -> Result<u64> {
    let rows: i64 = sqlx::query_scalar(AssertSqlSafe(sql))
        .fetch_one(connection)
        .await
        .map_err(|cause| failed("the stage cannot be counted", cause))?;
    Ok(rows.cast_unsigned())
}
