//! Classify, then write: one statement looks at what is there, and only what differs is written.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use sync_core::model::{Changes, Key, Kind, Op, Outcome, Rows};
use sync_core::sink::{Expect, Rules, Write, WriteMode};
use sync_core::{Error, ErrorKind, Result, Retry, Value, ValueRef};

use super::column::{Column, read, text_of};
use super::error::failed;
use super::query::{Plan, arrays};
use crate::ident::quoted;

/// A row as it stands in the table.
pub(crate) struct Standing {
    pub(crate) rows: Rows,
    /// The transaction that wrote it last: as long as it is the same, nobody else has.
    xmin: i64,
    marked: bool,
}

/// Rows to update and the `xmin` they were seen with, by the columns that differ and whether a mark goes: one statement
/// for each.
type Updates = BTreeMap<(Vec<usize>, bool), Vec<(usize, i64)>>;

/// What to write, and by which rules.
pub(crate) struct Writing<'w> {
    pub(crate) plan: &'w Plan<'w>,
    pub(crate) changes: &'w Changes,
    pub(crate) rules: Rules,
    pub(crate) expect: &'w [Expect],
    /// The step, for errors about a row.
    pub(crate) step: usize,
    /// Whether rows are probably new, so that inserting first saves a look.
    pub(crate) insert_first: bool,
}

impl Writing<'_> {
    /// Writes the changes and says of each what became of it.
    pub(crate) async fn write(&self, connection: &mut PgConnection) -> Result<Vec<Outcome>> {
        let write = Write {
            stream: Arc::new(self.plan.stream.clone()),
            changes: self.changes.clone(),
            mode: self.rules.mode,
            guard: self.rules.guard,
            difference: self.rules.difference,
            expect: Vec::new(),
        };
        // What no table could hold is refused before anything is asked.
        for row in 0..self.changes.len() {
            write.outcome(row, None).map_err(|error| error.at_row(self.step, row))?;
        }
        let all: Vec<usize> = (0..self.changes.len()).collect();
        if self.rules.mode == WriteMode::Append {
            self.insert(connection, &all).await?;
            return Ok(vec![Outcome::Created; all.len()]);
        }
        let mut outcomes = vec![None; all.len()];
        if self.insert_first && self.expect.is_empty() {
            let upserts: Vec<usize> =
                all.iter().copied().filter(|&row| self.changes.at(row).op() == Op::Upsert).collect();
            let created = self.insert_new(connection, &upserts).await?;
            for row in upserts {
                if created.contains(&self.key(row)) {
                    outcomes[row] = Some(Outcome::Created);
                }
            }
        }
        let open: Vec<usize> = all.into_iter().filter(|&row| outcomes[row].is_none()).collect();
        self.settle(connection, &open, &mut outcomes).await?;
        Ok(outcomes.into_iter().map(|outcome| outcome.unwrap_or(Outcome::Unchanged)).collect())
    }

    /// Looks at the rows that are there, and writes what differs.
    async fn settle(
        &self,
        connection: &mut PgConnection,
        open: &[usize],
        outcomes: &mut [Option<Outcome>],
    ) -> Result<()> {
        if open.is_empty() {
            return Ok(());
        }
        let standing = look(connection, self.plan, self.changes, open, self.step).await?;
        let (mut inserts, mut deletes) = (Vec::new(), Vec::new());
        let mut updates = Updates::new();
        for (&row, standing) in open.iter().zip(&standing) {
            let change = self.changes.at(row);
            let existing = standing.as_ref().map(|standing| standing.rows.row(0));
            self.check(row, existing.map(|existing| existing.to_values()).as_deref())?;
            let marked = standing.as_ref().is_some_and(|standing| standing.marked);
            let outcome = match self.rules.outcome(self.plan.stream, existing, change) {
                Outcome::Unchanged if marked && change.op() == Op::Upsert => Outcome::Updated,
                outcome => outcome,
            };
            match (outcome, standing) {
                (Outcome::Created, _) => inserts.push(row),
                (Outcome::Deleted, Some(standing)) => deletes.push((row, standing.xmin)),
                (Outcome::Updated, Some(standing)) => {
                    let stored = standing.rows.row(0);
                    let differs = |column: &usize| {
                        change.fields().is_none_or(|fields| fields.contains(*column))
                            && !self.same(*column, stored.at(*column), change.row().at(*column))
                    };
                    let columns: Vec<usize> = self.plan.all().into_iter().filter(differs).collect();
                    updates.entry((columns, marked)).or_default().push((row, standing.xmin));
                }
                _ => {}
            }
            outcomes[row] = Some(outcome);
        }
        for ((columns, marked), rows) in updates {
            self.update(connection, &columns, marked, &rows).await?;
        }
        self.delete(connection, &deletes).await?;
        let created = self.insert_new(connection, &inserts).await?;
        if created.len() < inserts.len() {
            return Err(changed_meanwhile(self.plan));
        }
        Ok(())
    }

    /// A long decimal may be written in two ways.
    fn same(&self, column: usize, stored: ValueRef<'_>, incoming: ValueRef<'_>) -> bool {
        let field = self.plan.field(column);
        let long = matches!(field.kind(), Kind::Decimal { .. })
            && matches!((stored, incoming), (ValueRef::Text(_), _) | (_, ValueRef::Text(_)));
        stored == incoming || long && text_of(stored, field).ok() == text_of(incoming, field).ok()
    }

    fn check(&self, row: usize, stored: Option<&[Value]>) -> Result<()> {
        let as_expected = match (self.expect.get(row), stored) {
            (None, _) | (Some(Expect::Absent), None) => true,
            (Some(Expect::Row(expected)), Some(stored)) => expected == stored,
            _ => false,
        };
        if as_expected { Ok(()) } else { Err(changed_meanwhile(self.plan)) }
    }

    fn key(&self, row: usize) -> Key {
        self.changes.at(row).key(&self.plan.key_indices)
    }

    async fn insert(&self, connection: &mut PgConnection, rows: &[usize]) -> Result<()> {
        let all = self.plan.all();
        let values: Vec<String> = all.iter().map(|&column| self.plan.sent(&all, column)).collect();
        let sql = format!(
            "INSERT INTO {} ({}) SELECT {} FROM {} ORDER BY u.ord",
            self.plan.table,
            self.plan.columns,
            values.join(", "),
            self.plan.unnest(&all, 1, &[])
        );
        let arrays = arrays(self.plan, self.changes, rows, &all, self.step)?;
        execute(connection, sql, arrays, "the rows cannot be inserted").await.map(drop)
    }

    /// Inserts rows unless their key is there, and says which keys were not.
    async fn insert_new(&self, connection: &mut PgConnection, rows: &[usize]) -> Result<HashSet<Key>> {
        if rows.is_empty() {
            return Ok(HashSet::new());
        }
        let (plan, all) = (self.plan, self.plan.all());
        let values: Vec<String> = all.iter().map(|&column| plan.sent(&all, column)).collect();
        let returned = plan.asked(&plan.key_indices, |field| quoted(field.name()))?;
        let sql = format!(
            "INSERT INTO {} ({}) SELECT {} FROM {} ON CONFLICT ({}) DO NOTHING RETURNING {returned}",
            plan.table,
            plan.columns,
            values.join(", "),
            plan.unnest(&all, 1, &[]),
            plan.key,
        );
        let query = arrays(plan, self.changes, rows, &all, self.step)?
            .into_iter()
            .fold(sqlx::query(AssertSqlSafe(sql)), |query, array| array.bind(query));
        let created =
            query.fetch_all(connection).await.map_err(|cause| failed("the rows cannot be inserted", cause))?;
        let key = |row: &sqlx::postgres::PgRow| {
            let values = plan.key_indices.iter().enumerate().map(|(at, &column)| read(row, at, plan.field(column)));
            Ok(Key::new(values.collect::<Result<Vec<Value>>>()?))
        };
        created.iter().map(key).collect()
    }

    async fn update(
        &self,
        connection: &mut PgConnection,
        columns: &[usize],
        clear_mark: bool,
        rows: &[(usize, i64)],
    ) -> Result<()> {
        let plan = self.plan;
        let mut sent = plan.key_indices.clone();
        sent.extend(columns.iter().copied().filter(|column| !plan.key_indices.contains(column)));
        let mut sets = columns
            .iter()
            .map(|&column| Ok(format!("{} = {}", quoted(plan.field(column).name())?, plan.sent(&sent, column))))
            .collect::<Result<Vec<_>>>()?;
        if let (true, Some(mark)) = (clear_mark, &plan.mark) {
            sets.push(format!("{mark} = NULL"));
        }
        if sets.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "UPDATE {} AS t SET {} FROM {} WHERE {} AND t.xmin::text::bigint = u.c{}",
            plan.table,
            sets.join(", "),
            plan.unnest(&sent, 1, &["bigint"]),
            plan.same_key(&sent)?,
            sent.len()
        );
        self.only_if_untouched(connection, sql, &sent, rows, "the rows cannot be updated").await
    }

    async fn delete(&self, connection: &mut PgConnection, rows: &[(usize, i64)]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let plan = self.plan;
        let sent = plan.key_indices.clone();
        let sql = format!(
            "DELETE FROM {} AS t USING {} WHERE {} AND t.xmin::text::bigint = u.c{}",
            plan.table,
            plan.unnest(&sent, 1, &["bigint"]),
            plan.same_key(&sent)?,
            sent.len()
        );
        self.only_if_untouched(connection, sql, &sent, rows, "the rows cannot be deleted").await
    }

    /// Compare-and-set: every row must still be as it was looked at, or the whole unit is tried again.
    async fn only_if_untouched(
        &self,
        connection: &mut PgConnection,
        sql: String,
        sent: &[usize],
        rows: &[(usize, i64)],
        what: &'static str,
    ) -> Result<()> {
        let (places, versions): (Vec<usize>, Vec<Option<i64>>) =
            rows.iter().map(|&(row, xmin)| (row, Some(xmin))).unzip();
        let mut arrays = arrays(self.plan, self.changes, &places, sent, self.step)?;
        arrays.push(Column::Int(versions));
        let done = execute(connection, sql, arrays, what).await?;
        if done == rows.len() as u64 { Ok(()) } else { Err(changed_meanwhile(self.plan)) }
    }
}

fn changed_meanwhile(plan: &Plan<'_>) -> Error {
    Error::new(ErrorKind::Conflict, "somebody else changed a row meanwhile")
        .with_retry(Retry::Backoff)
        .with("table", plan.stream.name())
}

/// The rows that stand under the keys of these changes, in their order.
pub(crate) async fn look(
    connection: &mut PgConnection,
    plan: &Plan<'_>,
    changes: &Changes,
    rows: &[usize],
    step: usize,
) -> Result<Vec<Option<Standing>>> {
    let sent = &plan.key_indices;
    let asked = plan.asked(&plan.all(), |field| Ok(format!("t.{}", quoted(field.name())?)))?;
    let marked = plan.mark.as_ref().map_or_else(|| "false".to_owned(), |mark| format!("t.{mark} IS NOT NULL"));
    let sql = format!(
        "SELECT u.ord, t.xmin::text::bigint, {marked}, {asked} FROM {} JOIN {} AS t ON {}",
        plan.unnest(sent, 1, &[]),
        plan.table,
        plan.same_key(sent)?
    );
    let query = arrays(plan, changes, rows, sent, step)?
        .into_iter()
        .fold(sqlx::query(AssertSqlSafe(sql)), |query, array| array.bind(query));
    let unread = |cause| failed("the stored rows cannot be read", cause).with("table", plan.stream.name());
    let found = query.fetch_all(connection).await.map_err(unread)?;
    let mut standing: Vec<Option<Standing>> = std::iter::repeat_with(|| None).take(rows.len()).collect();
    for row in found {
        let place: i64 = row.try_get(0).map_err(unread)?;
        let values = (0..plan.stream.schema().width())
            .map(|column| read(&row, column + 3, plan.field(column)))
            .collect::<Result<Vec<Value>>>()?;
        let mut rows = Rows::new(Arc::clone(plan.stream.schema()));
        rows.push(values.iter().map(Value::as_ref))?;
        let place = usize::try_from(place - 1).unwrap_or_default();
        standing[place] =
            Some(Standing { rows, xmin: row.try_get(1).map_err(unread)?, marked: row.try_get(2).map_err(unread)? });
    }
    Ok(standing)
}

pub(crate) async fn execute(
    connection: &mut PgConnection,
    sql: String,
    arrays: Vec<Column>,
    what: &'static str,
) -> Result<u64> {
    let query = arrays.into_iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, array| array.bind(query));
    Ok(query.execute(connection).await.map_err(|cause| failed(what, cause))?.rows_affected())
}
