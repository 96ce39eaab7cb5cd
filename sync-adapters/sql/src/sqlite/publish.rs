//! Staged rows become visible at once, in key order, and the rows they do not name are dealt with.

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row as SqlRow, params_from_iter};
use sync_core::model::{Absent, Changes, Mark, Op, Outcome, Rows, Tally};
use sync_core::sink::{Guard, Publish, StepReport, WriteMode};
use sync_core::{Error, ErrorKind, Key, Result, Value, ValueRef};

use super::error::failed;
use super::plan::{Plan, names};
use super::refusals::Refusals;
use super::scope::condition;
use super::write::{Writer, read, read_row, unprepared};
use super::{schema, stage};
use crate::ident::quoted;
use crate::staged::{Staged, column, columns, fields, kept_back, key};

/// Publishes a stage. The stage is gone afterwards.
pub(crate) fn publish(
    connection: &Connection,
    step: usize,
    publish: &Publish,
    refusals: &mut Refusals<'_>,
) -> Result<StepReport> {
    let plan = Plan::of(&publish.stream)?;
    if !stage::exists(connection, &publish.stage, &publish.stream)? {
        return Ok(StepReport::Published { staged: Tally::new(), absent: Tally::new() });
    }
    stage::create(connection, &publish.stage, &publish.stream)?;
    let staged = Staged { publish, stage: stage::table(&publish.stage, &publish.stream)?, target: plan.table.clone() };
    let skip = publish.skip.iter().collect();
    let publishing = Publishing { connection, publish, plan: &plan, staged: &staged, skip };
    let tally = if publish.keys_only {
        publishing.compare_keys()?
    } else if let Some(tally) = publishing.fill_empty_target()? {
        tally
    } else {
        publishing.merge(step, refusals)?
    };
    refusals.finish()?;
    stage::name_keys(connection, publish)?;
    publishing.unmark()?;
    let absent = publishing.deal_with_absent()?;
    stage::discard(connection, &publish.stage, &publish.stream)?;
    Ok(StepReport::Published { staged: tally, absent })
}

struct Publishing<'c> {
    connection: &'c Connection,
    publish: &'c Publish,
    plan: &'c Plan<'c>,
    staged: &'c Staged<'c>,
    skip: HashSet<&'c Key>,
}

impl Publishing<'_> {
    /// A key listing says which rows the target has. It writes nothing but that they are not missing any more.
    fn compare_keys(&self) -> Result<Tally> {
        let listed = self.number(&self.staged.listed())?;
        let distinct = self.number(&self.staged.distinct()?)?;
        let present = self.number(&self.staged.present()?)?;
        Ok(Staged::compared(listed, distinct, present, self.unmark()?))
    }

    /// Into an empty target, one statement carries everything, unless a key stands twice or a row is refused.
    fn fill_empty_target(&self) -> Result<Option<Tally>> {
        let unread = |cause| failed("the table cannot be read", cause);
        let is_empty = |sql: &str| -> Result<bool> {
            let first: Option<i64> = self.connection.query_row(sql, [], |row| row.get(0)).optional().map_err(unread)?;
            Ok(first.is_none())
        };
        let plain = self.publish.skip.is_empty()
            && is_empty(&format!("SELECT 1 FROM {} LIMIT 1", self.staged.target))?
            && is_empty(&format!("SELECT 1 FROM {} WHERE {} LIMIT 1", self.staged.stage, self.not_plain()?))?;
        if !plain {
            return Ok(None);
        }
        let listed = self.number(&self.staged.listed())?;
        let run =
            |sql: &str| self.connection.execute_batch(sql).map_err(|cause| failed("no savepoint can be set", cause));
        run("SAVEPOINT fill")?;
        match self.connection.execute(&self.staged.fill()?, []) {
            Ok(rows) if rows as u64 == listed => {
                run("RELEASE fill")?;
                return Ok(Some(std::iter::repeat_n(Outcome::Created, rows).collect()));
            }
            // A trigger of the table has ignored some.
            Ok(_) => {}
            Err(cause) => match failed("the rows cannot be published", cause) {
                refused if refused.kind() == ErrorKind::Data => {}
                error => return Err(error),
            },
        }
        // Row by row the one at fault can be named. A trigger may have taken the whole transaction back.
        run(if self.connection.is_autocommit() { "BEGIN IMMEDIATE" } else { "ROLLBACK TO fill; RELEASE fill" })?;
        Ok(None)
    }

    /// The condition that a staged row cannot be put into the target as it is: it deletes, or lacks what is required.
    fn not_plain(&self) -> Result<String> {
        let required = self.publish.stream.schema().fields().iter().filter(|field| !field.is_nullable());
        let empty = required.map(|field| Ok(format!(" OR {} IS NULL", column(field.name())?)));
        Ok(format!("{} <> 0{}", stage::OP, empty.collect::<Result<String>>()?))
    }

    /// Row by row in key order, each classified before it is written.
    fn merge(&self, step: usize, refusals: &mut Refusals<'_>) -> Result<Tally> {
        let publish = self.publish;
        let (columns, key) = (columns(names(&publish.stream))?, key(&publish.stream)?);
        let sql = format!(
            "SELECT {columns}, {}, {} FROM {} ORDER BY {key}, {}",
            stage::OP,
            stage::FIELDS,
            self.staged.stage,
            stage::SEQ
        );
        let mut select = self.connection.prepare_cached(&sql).map_err(unprepared)?;
        let mut rows = select.raw_query();
        let mut writer = Writer::new(self.connection, self.plan, publish.mode, publish.guard, publish.difference)?;
        let mut tally = Tally::new();
        let mut waiting: Option<Changes> = None;
        while let Some(row) = rows.next().map_err(|cause| failed("the stage cannot be read", cause))? {
            let incoming = self.staged_change(row)?;
            waiting = Some(match waiting.take() {
                Some(before) if before.at(0).key(&self.plan.key) == incoming.at(0).key(&self.plan.key) => {
                    tally.add(Outcome::Duplicate, 1);
                    self.both(&before, &incoming)?
                }
                Some(before) => {
                    self.put(step, &mut writer, &before, &mut tally, refusals)?;
                    incoming
                }
                None => incoming,
            });
        }
        if let Some(last) = waiting {
            self.put(step, &mut writer, &last, &mut tally, refusals)?;
        }
        Ok(tally)
    }

    fn staged_change(&self, row: &SqlRow<'_>) -> Result<Changes> {
        let stream = &self.publish.stream;
        let values = read_row(row, stream)?;
        let unread = |cause| failed("the stage cannot be read", cause);
        let deletes: i64 = row.get(values.len()).map_err(unread)?;
        let named: Option<String> = row.get(values.len() + 1).map_err(unread)?;
        let mut mark = Mark::default();
        mark.op = if deletes == 0 { Op::Upsert } else { Op::Delete };
        mark.fields = named.map(|named| fields(stream, &named)).transpose()?;
        self.change(&values, mark)
    }

    fn change(&self, values: &[Value], mark: Mark) -> Result<Changes> {
        let mut page = Rows::new(Arc::clone(self.publish.stream.schema()));
        page.push(values.iter().map(Value::as_ref))?;
        Ok(Changes::marked(page, vec![mark]))
    }

    /// What stands for two changes of one key.
    fn both(&self, before: &Changes, incoming: &Changes) -> Result<Changes> {
        let highest = if self.publish.guard == Guard::Newer { Guard::Newer } else { Guard::NotOlder };
        highest.in_turn(&self.publish.stream, before.at(0), incoming.at(0))
    }

    fn put(
        &self,
        step: usize,
        writer: &mut Writer<'_>,
        change: &Changes,
        tally: &mut Tally,
        refusals: &mut Refusals<'_>,
    ) -> Result<()> {
        let change = change.at(0);
        let key: Key = change.key(&self.plan.key);
        if self.skip.contains(&key) {
            return Ok(());
        }
        let blame = |error: Error| {
            // The letter holds the whole row, so that replaying it leaves the other columns alone.
            let key: Vec<ValueRef<'_>> = key.values().iter().map(Value::as_ref).collect();
            let existing = if change.fields().is_some() { read(self.connection, self.plan, &key)? } else { None };
            let existing = existing.map(|values| self.change(&values, Mark::default())).transpose()?;
            let row = change.onto(existing.as_ref().map(|existing| existing.at(0).row()));
            Ok(error.with_staged_row(step, row))
        };
        if let Some(outcome) = refusals.try_row(|| writer.put(&change), blame)? {
            tally.add(outcome, 1);
        }
        Ok(())
    }

    /// Takes the mark from rows that a listing names again, and says from how many.
    fn unmark(&self) -> Result<u64> {
        let Some(mark) = self.plan.mark.as_ref().filter(|_| self.is_listing()) else { return Ok(0) };
        let sql = self.staged.unmark(mark)?;
        let cleared =
            self.connection.execute(&sql, []).map_err(|cause| failed("the marks cannot be cleared", cause))?;
        Ok(cleared as u64)
    }

    /// Whether the stage names every row of its scope.
    fn is_listing(&self) -> bool {
        self.publish.mode == WriteMode::Upsert && (self.publish.keys_only || self.publish.absent != Absent::Keep)
    }

    /// Deletes or marks the rows in scope that the stage does not name, if they are not too many.
    fn deal_with_absent(&self) -> Result<Tally> {
        if self.publish.absent == Absent::Keep || self.publish.mode != WriteMode::Upsert {
            return Ok(Tally::new());
        }
        let index = format!(
            "CREATE INDEX {} ON {} ({})",
            quoted(&format!("{}_key", self.staged.stage.trim_matches('"')))?,
            self.staged.stage,
            key(&self.publish.stream)?
        );
        self.connection.execute_batch(&index).map_err(|cause| failed("the stage cannot be indexed", cause))?;
        let scope = condition(self.connection, &self.publish.stream, &self.publish.rows)?;
        let mark = match &self.publish.absent {
            Absent::Mark(column) => Some(quoted(column)?),
            _ => None,
        };
        let gone = self.staged.gone(&scope.sql, mark)?;
        let count = |sql: String| -> Result<u64> {
            let rows: i64 = self
                .connection
                .query_row(&sql, params_from_iter(&scope.values), |row| row.get(0))
                .map_err(|cause| failed("the rows in scope cannot be counted", cause))?;
            Ok(rows.cast_unsigned())
        };
        if let Some(tally) = gone.withheld(count(gone.count())?, count(gone.count_present())?) {
            return Ok(tally);
        }
        let sql = gone.remove("strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')", "DELETE FROM");
        let done =
            self.connection.execute(&sql, params_from_iter(&scope.values)).map_err(|cause| self.kept_back(cause))?;
        let mut tally = Tally::new();
        tally.add(Outcome::Deleted, done as u64);
        Ok(tally)
    }

    fn kept_back(&self, cause: rusqlite::Error) -> Error {
        let error = failed("the rows that are gone cannot be removed", cause);
        if error.kind() != ErrorKind::Data {
            return error;
        }
        let stream = &self.publish.stream;
        kept_back(stream, error, &schema::referring(self.connection, stream.name()).unwrap_or_default())
    }

    fn number(&self, sql: &str) -> Result<u64> {
        let rows: i64 = self
            .connection
            .query_row(sql, [], |row| row.get(0))
            .map_err(|cause| failed("the stage cannot be counted", cause))?;
        Ok(rows.cast_unsigned())
    }
}
