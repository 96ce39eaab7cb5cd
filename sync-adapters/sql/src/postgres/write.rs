//! Classify, then write: one statement looks at what is there, and only what differs is written.

use std::collections::HashMap;

use futures::TryStreamExt;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use sync_core::model::{Changes, Outcome};
use sync_core::sink::WriteMode;
use sync_core::{Error, ErrorKind, Result};

use super::column::{Column, cell};
use super::copy::{self, Cut};
use super::error::failed;
use super::query::{Plan, arrays};
use super::{relation, schema};
use crate::classified::{Classified, Incoming, Look, changed_meanwhile};
use crate::ident::quoted;
use crate::standing::Standing;

/// What the table says of a row beside its values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// The transaction that wrote it last: as long as it is the same, nobody else has.
    xmin: i64,
    /// Whether it is marked as missing.
    marked: bool,
}

/// What to write.
pub(crate) struct Writing<'w> {
    pub(crate) plan: &'w Plan<'w>,
    pub(crate) incoming: Incoming<'w>,
    /// Whether many rows may be copied, since the table's columns are compared with the stream's before the commit: what
    /// `COPY` writes into a column of another type may mean something else there.
    pub(crate) copies: bool,
    /// Locked from the first look on, where somebody else is writing the same rows.
    pub(crate) look: Look,
    /// Whether every row is likely to be new, as those before it were.
    pub(crate) fresh: bool,
}

/// How often rows are looked at anew whose keys somebody else has added meanwhile, before the whole unit is tried again.
const LOOKS: usize = 4;

impl Writing<'_> {
    /// Writes the changes and says of each what became of it.
    pub(crate) async fn write(&self, connection: &mut PgConnection) -> Result<Vec<Outcome>> {
        self.incoming.unfit().next().map_or(Ok(()), Err)?;
        let all: Vec<usize> = (0..self.incoming.changes.len()).collect();
        if self.incoming.rules.mode == WriteMode::Append {
            self.append(connection, &all).await?;
            return Ok(vec![Outcome::Created; all.len()]);
        }
        if self.fresh
            && copy_unseen(connection, self.plan, std::slice::from_ref(&self.incoming), Undo::Savepoint).await?
        {
            return Ok(vec![Outcome::Created; all.len()]);
        }
        let mut outcomes = vec![None; all.len()];
        let mut open = all;
        for _ in 0..LOOKS {
            open = self.settle(connection, &open, &mut outcomes).await?;
        }
        if !open.is_empty() {
            return Err(self.not_inserted(connection, &open).await?);
        }
        Ok(outcomes.into_iter().map(|outcome| outcome.unwrap_or(Outcome::Unchanged)).collect())
    }

    /// Looks at the rows that are there, and writes what differs. Returns those that somebody else has added meanwhile.
    async fn settle(
        &self,
        connection: &mut PgConnection,
        open: &[usize],
        outcomes: &mut [Option<Outcome>],
    ) -> Result<Vec<usize>> {
        if open.is_empty() {
            return Ok(Vec::new());
        }
        let standing = look(connection, self.plan, self.incoming.changes, open, self.incoming.step, self.look).await?;
        let stands = |place| standing.at(place).map(|(row, seen)| (row, seen.marked));
        let rows = open.iter().enumerate().map(|(place, &row)| (row, stands(place)));
        let Classified { inserts, updates, deletes } = self.incoming.classify(rows, outcomes)?;
        let seen: HashMap<usize, i64> =
            open.iter().enumerate().filter_map(|(place, &row)| Some((row, standing.at(place)?.1.xmin))).collect();
        for ((columns, marked), rows) in updates {
            self.update(connection, &columns, marked, &rows, &seen).await?;
        }
        self.delete(connection, &deletes, &seen).await?;
        Ok(if self.insert_new(connection, &inserts).await? { Vec::new() } else { inserts })
    }

    /// Why rows do not come in whose keys are not there. Somebody else may add them and take them away again; if not, the
    /// table itself keeps one out.
    async fn not_inserted(&self, connection: &mut PgConnection, rows: &[usize]) -> Result<Error> {
        let Incoming { stream, changes, step, .. } = self.incoming;
        let standing = look(connection, self.plan, changes, rows, step, self.look).await?;
        for (_, &row) in rows.iter().enumerate().filter(|(place, _)| standing.at(*place).is_none()) {
            let came_in = self.insert_new(connection, &[row]).await?;
            let there = look(connection, self.plan, changes, &[row], step, self.look).await?;
            if came_in || there.at(0).is_some() {
                continue;
            }
            if relation::hides_rows(connection, stream).await? {
                let what = "the table hides rows from the account (row-level security), one of which has a key of ours: let the account see all, by a policy or by ALTER ROLE … BYPASSRLS";
                return Ok(Error::new(ErrorKind::Forbidden, what).with("table", stream.name()));
            }
            return Ok(Error::data("a trigger of the table ignores the row")
                .with("table", stream.name())
                .at_row(step, row));
        }
        Ok(changed_meanwhile(stream))
    }

    async fn append(&self, connection: &mut PgConnection, rows: &[usize]) -> Result<()> {
        if self.copy(connection, rows).await? { Ok(()) } else { self.insert(connection, rows).await }
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
        let arrays = arrays(self.plan, self.incoming.changes, rows, &all, self.incoming.step)?;
        let inserted = execute(connection, sql, arrays, "the rows cannot be inserted").await;
        inserted.map(drop).map_err(|error| error.with("table", self.plan.stream.name()))
    }

    /// Inserts rows whose keys were not there a moment ago: all of them, or none and says so, where somebody else has added
    /// one meanwhile.
    async fn insert_new(&self, connection: &mut PgConnection, rows: &[usize]) -> Result<bool> {
        if rows.is_empty() || self.copy(connection, rows).await? {
            return Ok(true);
        }
        let (plan, all) = (self.plan, self.plan.all());
        let values: Vec<String> = all.iter().map(|&column| plan.sent(&all, column)).collect();
        let sql = format!(
            "INSERT INTO {} ({}) SELECT {} FROM {} ON CONFLICT ({}) DO NOTHING",
            plan.table,
            plan.columns,
            values.join(", "),
            plan.unnest(&all, 1, &[]),
            plan.key,
        );
        let arrays = arrays(plan, self.incoming.changes, rows, &all, self.incoming.step)?;
        schema::run(connection, "SAVEPOINT fresh".to_owned(), "no savepoint").await?;
        let inserted = execute(connection, sql, arrays, "the rows cannot be inserted")
            .await
            .map_err(|error| error.with("table", plan.stream.name()))?;
        let whole = inserted == rows.len() as u64;
        schema::run(connection, ended(whole), "no savepoint").await?;
        Ok(whole)
    }

    async fn copy(&self, connection: &mut PgConnection, rows: &[usize]) -> Result<bool> {
        if self.copies {
            copy(connection, self.plan, &[(&self.incoming, rows)], Undo::Savepoint).await
        } else {
            Ok(false)
        }
    }

    async fn update(
        &self,
        connection: &mut PgConnection,
        columns: &[usize],
        clear_mark: bool,
        rows: &[usize],
        seen: &HashMap<usize, i64>,
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
        self.only_if_untouched(connection, sql, &sent, rows, seen, "the rows cannot be updated").await
    }

    async fn delete(&self, connection: &mut PgConnection, rows: &[usize], seen: &HashMap<usize, i64>) -> Result<()> {
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
        self.only_if_untouched(connection, sql, &sent, rows, seen, "the rows cannot be deleted").await
    }

    /// Compare-and-set: every row must still be as it was looked at, or the whole unit is tried again.
    async fn only_if_untouched(
        &self,
        connection: &mut PgConnection,
        sql: String,
        sent: &[usize],
        rows: &[usize],
        seen: &HashMap<usize, i64>,
        what: &'static str,
    ) -> Result<()> {
        let mut arrays = arrays(self.plan, self.incoming.changes, rows, sent, self.incoming.step)?;
        arrays.push(Column::Int(rows.iter().map(|row| seen.get(row).copied()).collect()));
        let done = execute(connection, sql, arrays, what)
            .await
            .map_err(|error| error.with("table", self.plan.stream.name()))?;
        if done == rows.len() as u64 {
            return Ok(());
        }
        // A row that nobody else has touched either is kept as it is by the table itself.
        let Incoming { stream, changes, step, .. } = self.incoming;
        let now = look(connection, self.plan, changes, rows, step, Look::Free).await?;
        let untouched = |&(place, row): &(usize, &usize)| seen.get(row) == now.at(place).map(|(_, now)| &now.xmin);
        Err(match rows.iter().enumerate().find(untouched) {
            Some((_, &row)) => Error::data("a trigger or a policy of the table ignores the change")
                .with("table", stream.name())
                .at_row(step, row),
            None => changed_meanwhile(stream),
        })
    }
}

/// What takes back a copy that the table refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Undo {
    /// A savepoint: nothing is done then.
    Savepoint,
    /// The whole unit, which holds nothing else, and saves two trips to the server: [`Cut::NotNew`] tells of it.
    Unit,
}

/// Copies rows of one or more writes without a look at what is there, which costs as much as to write a row where keys are in
/// no order: the key itself refuses the whole copy where one of them is there, or stands twice.
pub(crate) async fn copy_unseen(
    connection: &mut PgConnection,
    plan: &Plan<'_>,
    writes: &[Incoming<'_>],
    undo: Undo,
) -> Result<bool> {
    let mut inserts = Vec::with_capacity(writes.len());
    for incoming in writes {
        let mut outcomes = vec![None; incoming.changes.len()];
        match incoming.classify((0..outcomes.len()).map(|row| (row, None)), &mut outcomes) {
            Ok(classified) if classified.inserts.len() == outcomes.len() => inserts.push(classified.inserts),
            _ => return Ok(false),
        }
    }
    let all: Vec<(&Incoming<'_>, &[usize])> = writes.iter().zip(inserts.iter().map(Vec::as_slice)).collect();
    copy(connection, plan, &all, undo).await
}

/// Copies many rows whose keys are not there. Where that is not possible, nothing is done: the statement that comes instead
/// says why, or knows how.
async fn copy(
    connection: &mut PgConnection,
    plan: &Plan<'_>,
    writes: &[(&Incoming<'_>, &[usize])],
    undo: Undo,
) -> Result<bool> {
    let many: usize = writes.iter().map(|(_, rows)| rows.len()).sum();
    if many < copy::MANY {
        return Ok(false);
    }
    let statement = copy::into(&plan.table, &plan.columns);
    let mut body = copy::Body::new(copy::MANY);
    let mut parts: Vec<(&Incoming<'_>, &[usize])> = Vec::new();
    for &(incoming, rows) in writes {
        parts.extend(rows.chunks(copy::MANY).map(|part| (incoming, part)));
    }
    // Enough to see whether it is worth it.
    let mut begun = 0;
    while !body.is_full()
        && let Some(&(incoming, part)) = parts.get(begun)
    {
        body.add(plan, incoming.changes, part, incoming.step)?;
        begun += 1;
    }
    if !body.is_large() || !copy::takes(connection, plan).await? {
        return Ok(false);
    }
    if undo == Undo::Savepoint {
        schema::run(connection, "SAVEPOINT fresh".to_owned(), "no savepoint").await?;
    }
    let copied = copy_parts(connection, plan, &statement, body, &parts[begun..]).await;
    let whole = match copied {
        Ok(copied) => copied == many as u64,
        Err(error) if matches!(error.kind(), ErrorKind::Data | ErrorKind::Schema) && error.row().is_none() => false,
        Err(error) => return Err(error.with("table", plan.stream.name())),
    };
    match undo {
        Undo::Savepoint => schema::run(connection, ended(whole), "no savepoint").await?,
        Undo::Unit if !whole => {
            return Err(Error::internal("rows that were copied as new are not").caused_by(Cut::NotNew));
        }
        Undo::Unit => {}
    }
    Ok(whole)
}

/// Sends what is ready, and each part as soon as it is.
async fn copy_parts(
    connection: &mut PgConnection,
    plan: &Plan<'_>,
    statement: &str,
    mut body: copy::Body,
    parts: &[(&Incoming<'_>, &[usize])],
) -> Result<u64> {
    let mut copying = copy::Copying::begin(connection, statement, "the rows cannot be copied").await?;
    for &(incoming, part) in parts {
        if body.is_full() {
            copying.send(body.ready()).await?;
            body.sent();
        }
        if let Err(unfit) = body.add(plan, incoming.changes, part, incoming.step) {
            // What was sent goes with the unit, which this error ends.
            drop(copying.finish().await);
            return Err(unfit);
        }
    }
    copying.send(&body.ended()).await?;
    copying.finish().await
}

/// What ends the savepoint of new rows: they stay when all of them came in.
fn ended(whole: bool) -> String {
    if whole { "RELEASE SAVEPOINT fresh" } else { "ROLLBACK TO SAVEPOINT fresh" }.to_owned()
}

/// The rows that stand under the keys of these changes, in their order.
pub(crate) async fn look(
    connection: &mut PgConnection,
    plan: &Plan<'_>,
    changes: &Changes,
    rows: &[usize],
    step: usize,
    look: Look,
) -> Result<Standing<Seen>> {
    let sent = &plan.key_indices;
    let asked = plan.asked(&plan.all(), |field| Ok(format!("t.{}", quoted(field.name())?)))?;
    let marked = plan.mark.as_ref().map_or_else(|| "false".to_owned(), |mark| format!("t.{mark} IS NOT NULL"));
    let sql = format!(
        "SELECT u.ord, t.xmin::text::bigint, {marked}, {asked} FROM {} JOIN {} AS t ON {}{}",
        plan.unnest(sent, 1, &[]),
        plan.table,
        plan.same_key(sent)?,
        // All who lock rows in the order of their keys wait for each other, and not in circles.
        if look == Look::Locked {
            format!(" ORDER BY {} FOR UPDATE OF t", plan.key_of_table()?)
        } else {
            String::new()
        }
    );
    let query = arrays(plan, changes, rows, sent, step)?
        .into_iter()
        .fold(sqlx::query(AssertSqlSafe(sql)), |query, array| array.bind(query));
    let unread = |cause| failed("the stored rows cannot be read", cause).with("table", plan.stream.name());
    let mut found = query.fetch(connection);
    let mut standing = Standing::new(plan.stream, rows.len());
    while let Some(row) = found.try_next().await.map_err(unread)? {
        let place: i64 = row.try_get(0).map_err(unread)?;
        let seen = Seen { xmin: row.try_get(1).map_err(unread)?, marked: row.try_get(2).map_err(unread)? };
        let (found, _) = standing.add(seen, |column| cell(&row, column + 3, plan.field(column)))?;
        standing.put(usize::try_from(place - 1).unwrap_or_default(), found);
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
