//! Staged rows become visible at once, in key order, and the rows they do not name are dealt with.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row as SqlRow, params_from_iter};
use sync_core::model::{Absent, Changes, Mark, Op, Outcome, Rows, Tally};
use sync_core::sink::{Guard, Publish, StepReport, WriteMode};
use sync_core::{Error, ErrorKind, Key, Result, Value, ValueRef};

use super::error::failed;
use super::plan::{Plan, names};
use super::scope::condition;
use super::write::{Writer, read, read_row, unprepared};
use super::{schema, stage};
use crate::ident::{list, quoted};

/// Publishes a stage. The stage is gone afterwards.
pub(crate) fn publish(connection: &Connection, step: usize, publish: &Publish) -> Result<StepReport> {
    let plan = Plan::of(&publish.stream)?;
    if !stage::exists(connection, &publish.stage, &publish.stream)? {
        return Ok(StepReport::Published { staged: Tally::new(), absent: Tally::new() });
    }
    stage::create(connection, &publish.stage, &publish.stream)?;
    let staged = Staged { connection, publish, plan: &plan, table: stage::table(&publish.stage, &publish.stream)? };
    let tally = if publish.keys_only {
        staged.compare_keys()?
    } else if let Some(tally) = staged.fill_empty_target()? {
        tally
    } else {
        staged.merge(step)?
    };
    stage::name_keys(connection, publish)?;
    staged.unmark()?;
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
    /// A key listing says which rows the target has. It writes nothing but that they are not missing any more.
    fn compare_keys(&self) -> Result<Tally> {
        let key = stage::key(&self.publish.stream)?;
        let listed = self.number(&format!("SELECT count(*) FROM {}", self.table))?;
        let distinct = self.number(&format!("SELECT count(*) FROM (SELECT DISTINCT {key} FROM {})", self.table))?;
        let present = self.number(&format!(
            "SELECT count(*) FROM (SELECT DISTINCT {key} FROM {}) s WHERE EXISTS (SELECT 1 FROM {} t WHERE {})",
            self.table,
            self.plan.table,
            self.same_key()?
        ))?;
        let unmarked = self.unmark()?;
        let mut tally = Tally::new();
        tally.add(Outcome::Unchanged, present.saturating_sub(unmarked));
        tally.add(Outcome::Updated, unmarked);
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
            && is_empty(&format!("SELECT 1 FROM {} WHERE {} LIMIT 1", self.table, self.not_plain()?))?;
        if !plain {
            return Ok(None);
        }
        let columns = list(names(&self.publish.stream))?;
        let staged = stage::columns(names(&self.publish.stream))?;
        let key = stage::key(&self.publish.stream)?;
        let fill =
            format!("INSERT INTO {} ({columns}) SELECT {staged} FROM {} ORDER BY {key}", self.plan.table, self.table);
        match self.connection.execute(&fill, []) {
            Ok(rows) => Ok(Some(std::iter::repeat_n(Outcome::Created, rows).collect())),
            // The statement is undone by itself; row by row the one at fault can be named.
            Err(cause) => match failed("the rows cannot be published", cause) {
                refused if refused.kind() == ErrorKind::Data => Ok(None),
                error => Err(error),
            },
        }
    }

    /// The condition that a staged row cannot be put into the target as it is: it deletes, or lacks what is required.
    fn not_plain(&self) -> Result<String> {
        let required = self.publish.stream.schema().fields().iter().filter(|field| !field.is_nullable());
        let empty = required.map(|field| Ok(format!(" OR {} IS NULL", stage::column(field.name())?)));
        Ok(format!("{} <> 0{}", stage::OP, empty.collect::<Result<String>>()?))
    }

    /// Row by row in key order, each classified before it is written.
    fn merge(&self, step: usize) -> Result<Tally> {
        let publish = self.publish;
        let (columns, key) = (stage::columns(names(&publish.stream))?, stage::key(&publish.stream)?);
        let sql = format!(
            "SELECT {columns}, {}, {} FROM {} ORDER BY {key}, {}",
            stage::OP,
            stage::FIELDS,
            self.table,
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

    fn staged_change(&self, row: &SqlRow<'_>) -> Result<Changes> {
        let stream = &self.publish.stream;
        let values = read_row(row, stream)?;
        let unread = |cause| failed("the stage cannot be read", cause);
        let deletes: i64 = row.get(values.len()).map_err(unread)?;
        let fields: Option<String> = row.get(values.len() + 1).map_err(unread)?;
        let mut mark = Mark::default();
        mark.op = if deletes == 0 { Op::Upsert } else { Op::Delete };
        mark.fields = fields.map(|named| stage::fields(stream, &named)).transpose()?;
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

    fn put(&self, step: usize, writer: &mut Writer<'_>, change: &Changes, tally: &mut Tally) -> Result<()> {
        let change = change.at(0);
        let key: Key = change.key(&self.plan.key);
        if self.publish.skip.contains(&key) {
            return Ok(());
        }
        match writer.put(&change) {
            Ok(outcome) => {
                tally.add(outcome, 1);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Data => {
                // The letter holds the whole row, so that replaying it leaves the other columns alone.
                let key: Vec<ValueRef<'_>> = key.values().iter().map(Value::as_ref).collect();
                let existing = if change.fields().is_some() { read(self.connection, self.plan, &key)? } else { None };
                let existing = existing.map(|values| self.change(&values, Mark::default())).transpose()?;
                let row = change.onto(existing.as_ref().map(|existing| existing.at(0).row()));
                Err(error.with_staged_row(step, row))
            }
            Err(error) => Err(error),
        }
    }

    /// Takes the mark from rows that a listing names again, and says from how many.
    fn unmark(&self) -> Result<u64> {
        let Some(mark) = self.plan.mark.as_ref().filter(|_| self.is_listing()) else { return Ok(0) };
        let key = list(self.publish.stream.key_columns().iter().map(String::as_str))?;
        let sql = format!(
            "UPDATE {} SET {mark} = NULL WHERE {mark} IS NOT NULL AND ({key}) IN (SELECT {} FROM {})",
            self.plan.table,
            stage::key(&self.publish.stream)?,
            self.table
        );
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
        let mut tally = Tally::new();
        if self.publish.absent == Absent::Keep || self.publish.mode != WriteMode::Upsert {
            return Ok(tally);
        }
        let key = stage::key(&self.publish.stream)?;
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
        let done =
            self.connection.execute(&sql, params_from_iter(&scope.values)).map_err(|cause| self.kept_back(cause))?;
        tally.add(Outcome::Deleted, done as u64);
        Ok(tally)
    }

    /// Rows that are gone at the source and cannot be removed here. No row that came is at fault, but the tables are.
    fn kept_back(&self, cause: rusqlite::Error) -> Error {
        let error = failed("the rows that are gone cannot be removed", cause);
        if error.kind() != ErrorKind::Data {
            return error;
        }
        let referring = schema::referring(self.connection, self.publish.stream.name()).unwrap_or_default();
        let why = if referring.is_empty() {
            "a rule or a trigger of the table keeps them".to_owned()
        } else {
            format!("rows of {} refer to some of them: remove those first", referring.join(", "))
        };
        let what = format!(
            "rows that are gone at the source cannot be removed, since {why}, or declare the stream with `Absent::Mark` or `Absent::Keep`"
        );
        Error::new(ErrorKind::Schema, what).with("table", self.publish.stream.name()).caused_by(error)
    }

    /// The condition that `s`, a staged row, and `t`, a target row, have one key.
    fn same_key(&self) -> Result<String> {
        let key = self.publish.stream.key_columns().iter();
        let parts = key.map(|name| Ok(format!("s.{} = t.{}", stage::column(name)?, quoted(name)?)));
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
