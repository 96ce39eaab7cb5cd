//! Staged rows become visible at once, in key order, and the rows they do not name are dealt with.

use rusqlite::{Connection, OptionalExtension, params_from_iter};
use sync_core::model::{Absent, Changes, Mark, Op, Outcome, Rows, Tally};
use sync_core::sink::{Guard, Publish, StepReport, WriteMode};
use sync_core::{ErrorKind, Key, Result, Value};

use super::error::failed;
use super::plan::{Plan, names};
use super::scope::condition;
use super::stage;
use super::write::{Writer, read_row, unprepared};
use crate::ident::{list, quoted};

/// Publishes a stage. The stage is gone afterwards.
pub(crate) fn publish(connection: &Connection, step: usize, publish: &Publish) -> Result<StepReport> {
    let plan = Plan::of(&publish.stream)?;
    if !stage::exists(connection, &publish.stage, &publish.stream)? {
        return Ok(StepReport::Published { staged: Tally::new(), absent: Tally::new() });
    }
    let staged = Staged { connection, publish, plan: &plan, table: stage::table(&publish.stage, &publish.stream)? };
    let tally = if publish.keys_only {
        staged.compare_keys()?
    } else if let Some(tally) = staged.fill_empty_target()? {
        tally
    } else {
        staged.merge(step)?
    };
    stage::name_keys(connection, publish)?;
    let absent = staged.deal_with_absent()?;
    stage::discard(connection, &publish.stage, &publish.stream)?;
    Ok(StepReport::Published { staged: tally, absent })
}

struct Staged<'c> {
    connection: &'c Connection,
    publish: &'c Publish,
    plan: &'c Plan<'c>,
    table: String,
}

impl Staged<'_> {
    /// A key listing writes nothing: it says which rows the target has.
    fn compare_keys(&self) -> Result<Tally> {
        let key = list(self.publish.stream.key_columns().iter().map(String::as_str))?;
        let listed = self.number(&format!("SELECT count(*) FROM {}", self.table))?;
        let distinct = self.number(&format!("SELECT count(*) FROM (SELECT DISTINCT {key} FROM {})", self.table))?;
        let present = self.number(&format!(
            "SELECT count(*) FROM (SELECT DISTINCT {key} FROM {}) s WHERE EXISTS (SELECT 1 FROM {} t WHERE {})",
            self.table,
            self.plan.table,
            self.same_key()?
        ))?;
        let mut tally = Tally::new();
        tally.add(Outcome::Unchanged, present);
        tally.add(Outcome::Missing, distinct - present);
        tally.add(Outcome::Duplicate, listed - distinct);
        Ok(tally)
    }

    /// Into an empty target, one statement carries everything, unless a key stands twice or a row is refused.
    fn fill_empty_target(&self) -> Result<Option<Tally>> {
        let unread = |cause| failed("the table cannot be read", cause);
        let is_empty = |sql: &str| -> Result<bool> {
            let first: Option<i64> = self.connection.query_row(sql, [], |row| row.get(0)).optional().map_err(unread)?;
            Ok(first.is_none())
        };
        let plain = self.publish.skip.is_empty()
            && is_empty(&format!("SELECT 1 FROM {} LIMIT 1", self.plan.table))?
            && is_empty(&format!("SELECT 1 FROM {} WHERE {} <> 0 LIMIT 1", self.table, stage::OP))?;
        if !plain {
            return Ok(None);
        }
        let columns = list(names(&self.publish.stream))?;
        let key = list(self.publish.stream.key_columns().iter().map(String::as_str))?;
        let fill =
            format!("INSERT INTO {} ({columns}) SELECT {columns} FROM {} ORDER BY {key}", self.plan.table, self.table);
        match self.connection.execute(&fill, []) {
            Ok(rows) => Ok(Some(std::iter::repeat_n(Outcome::Created, rows).collect())),
            // The statement is undone by itself; row by row the one at fault can be named.
            Err(cause) => match failed("the rows cannot be published", cause) {
                refused if refused.kind() == ErrorKind::Data => Ok(None),
                error => Err(error),
            },
        }
    }

    /// Row by row in key order, each classified before it is written.
    fn merge(&self, step: usize) -> Result<Tally> {
        let publish = self.publish;
        let columns = list(names(&publish.stream))?;
        let key = list(publish.stream.key_columns().iter().map(String::as_str))?;
        let sql = format!("SELECT {columns}, {} FROM {} ORDER BY {key}, rowid", stage::OP, self.table);
        let mut select = self.connection.prepare_cached(&sql).map_err(unprepared)?;
        let mut rows = select.raw_query();
        let mut writer = Writer::new(self.connection, self.plan, publish.mode, publish.guard, publish.difference)?;
        let mut tally = Tally::new();
        let highest = if publish.guard == Guard::Newer { Guard::Newer } else { Guard::NotOlder };
        let mut waiting: Option<Changes> = None;
        while let Some(row) = rows.next().map_err(|cause| failed("the stage cannot be read", cause))? {
            let values = read_row(row, &publish.stream)?;
            let deletes: i64 = row.get(values.len()).map_err(|cause| failed("the stage cannot be read", cause))?;
            let mut page = Rows::new(std::sync::Arc::clone(publish.stream.schema()));
            page.push(values.iter().map(Value::as_ref))?;
            let op = if deletes == 0 { Op::Upsert } else { Op::Delete };
            let mut mark = Mark::default();
            mark.op = op;
            let incoming = Changes::marked(page, vec![mark]);
            waiting = Some(match waiting.take() {
                Some(before) if before.at(0).key(&self.plan.key) == incoming.at(0).key(&self.plan.key) => {
                    tally.add(Outcome::Duplicate, 1);
                    if highest.replaces(&publish.stream, before.at(0), incoming.at(0)) { incoming } else { before }
                }
                Some(before) => {
                    self.put(step, &mut writer, &before, &mut tally)?;
                    incoming
                }
                None => incoming,
            });
        }
        if let Some(last) = waiting {
            self.put(step, &mut writer, &last, &mut tally)?;
        }
        Ok(tally)
    }

    fn put(&self, step: usize, writer: &mut Writer<'_>, change: &Changes, tally: &mut Tally) -> Result<()> {
        let change = change.at(0);
        let key: Key = change.key(&self.plan.key);
        if self.publish.skip.contains(&key) {
            return Ok(());
        }
        let outcome = writer.put(&change).map_err(|error| {
            if error.kind() == ErrorKind::Data { error.with_staged_row(step, change.to_values()) } else { error }
        })?;
        tally.add(outcome, 1);
        Ok(())
    }

    /// Deletes or marks the rows in scope that the stage does not name, if they are not too many.
    fn deal_with_absent(&self) -> Result<Tally> {
        let mut tally = Tally::new();
        if self.publish.absent == Absent::Keep || self.publish.mode != WriteMode::Upsert {
            return Ok(tally);
        }
        let key = list(self.publish.stream.key_columns().iter().map(String::as_str))?;
        let index = format!(
            "CREATE INDEX {} ON {} ({key})",
            quoted(&format!("{}_key", self.table.trim_matches('"')))?,
            self.table
        );
        self.connection.execute_batch(&index).map_err(|cause| failed("the stage cannot be indexed", cause))?;
        let scope = condition(self.connection, &self.publish.stream, &self.publish.rows)?;
        let mark = match &self.publish.absent {
            Absent::Mark(column) => Some(quoted(column)?),
            _ => None,
        };
        let unmarked = mark.as_ref().map_or_else(String::new, |mark| format!(" AND t.{mark} IS NULL"));
        let absent = format!(
            "{}{unmarked} AND NOT EXISTS (SELECT 1 FROM {} s WHERE {})",
            scope.sql,
            self.table,
            self.same_key()?
        );
        let count = |condition: &str| -> Result<u64> {
            let sql = format!("SELECT count(*) FROM {} t WHERE {condition}", self.plan.table);
            let rows: i64 = self
                .connection
                .query_row(&sql, params_from_iter(&scope.values), |row| row.get(0))
                .map_err(|cause| failed("the rows in scope cannot be counted", cause))?;
            Ok(rows.cast_unsigned())
        };
        let (gone, present) = (count(&absent)?, count(&scope.sql)?);
        if gone == 0 {
            return Ok(tally);
        }
        if !self.publish.most.allows(gone, present) {
            tally.add(Outcome::Withheld, gone);
            return Ok(tally);
        }
        let sql = match mark {
            Some(mark) => format!(
                "UPDATE {} AS t SET {mark} = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now') WHERE {absent}",
                self.plan.table
            ),
            None => format!("DELETE FROM {} AS t WHERE {absent}", self.plan.table),
        };
        let done = self
            .connection
            .execute(&sql, params_from_iter(&scope.values))
            .map_err(|cause| failed("the rows that are gone cannot be removed", cause))?;
        tally.add(Outcome::Deleted, done as u64);
        Ok(tally)
    }

    /// The condition that `s`, a staged row, and `t`, a target row, have one key.
    fn same_key(&self) -> Result<String> {
        let parts = self.publish.stream.key_columns().iter().map(|name| Ok(format!("s.{0} = t.{0}", quoted(name)?)));
        Ok(parts.collect::<Result<Vec<_>>>()?.join(" AND "))
    }

    fn number(&self, sql: &str) -> Result<u64> {
        let rows: i64 = self
            .connection
            .query_row(sql, [], |row| row.get(0))
            .map_err(|cause| failed("the stage cannot be counted", cause))?;
        Ok(rows.cast_unsigned())
    }
}
