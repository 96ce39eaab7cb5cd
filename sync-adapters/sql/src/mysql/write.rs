//! Classify, then write: one statement looks at what is there, and only what differs is locked, looked at again, and
//! written.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::mysql::{MySqlArguments, MySqlConnection};
use sqlx::{AssertSqlSafe, Row as _};
use sync_core::model::{Changes, Key, Op, Outcome, Rows};
use sync_core::sink::WriteMode;
use sync_core::{Error, ErrorKind, Result, Value};

use super::batch::{self, ROWS, pieces};
use super::column::{read, size_of};
use super::error::failed;
use super::query::Plan;
use super::update::{delete, update};
use crate::classified::{Classified, Incoming, Look, changed_meanwhile};

/// A row as it stands in the table.
#[derive(PartialEq)]
pub(crate) struct Standing {
    pub(crate) rows: Rows,
    marked: bool,
}

/// The most values of keys that one look binds: from 1,000 on, MariaDB makes another query of an `IN`.
const LOOKS: usize = 512;

/// What to write.
pub(crate) struct Writing<'w> {
    pub(crate) plan: &'w Plan<'w>,
    pub(crate) incoming: Incoming<'w>,
    /// Whether rows are probably new, so that inserting first saves a look.
    pub(crate) insert_first: bool,
    /// Locked from the first look on, where somebody else is writing the same rows.
    pub(crate) look: Look,
}

impl Writing<'_> {
    /// Writes the changes and says of each what became of it.
    pub(crate) async fn write(&self, connection: &mut MySqlConnection) -> Result<Vec<Outcome>> {
        self.incoming.refuse_unfit()?;
        let all: Vec<usize> = (0..self.incoming.changes.len()).collect();
        if self.incoming.rules.mode == WriteMode::Append {
            self.insert(connection, &all).await?;
            return Ok(vec![Outcome::Created; all.len()]);
        }
        let mut outcomes = vec![None; all.len()];
        if self.insert_first && self.incoming.expect.is_empty() {
            self.insert_new(connection, &mut outcomes).await?;
        }
        let mut open: Vec<usize> = all.into_iter().filter(|&row| outcomes[row].is_none()).collect();
        if self.look == Look::Locked {
            open.sort_by_cached_key(|&row| self.plan.key_of(self.incoming.changes.rows().row(row)));
        }
        self.settle(connection, &open, &mut outcomes).await?;
        Ok(outcomes.into_iter().map(|outcome| outcome.unwrap_or(Outcome::Unchanged)).collect())
    }

    /// Inserts piece by piece while all rows of a piece are new; a statement that fails has had no effect.
    async fn insert_new(&self, connection: &mut MySqlConnection, outcomes: &mut [Option<Outcome>]) -> Result<()> {
        let upserts: Vec<usize> =
            (0..self.incoming.changes.len()).filter(|&row| self.incoming.changes.at(row).op() == Op::Upsert).collect();
        for piece in self.pieces(&upserts)? {
            match self.insert_piece(connection, piece).await {
                Ok(()) => piece.iter().for_each(|&row| outcomes[row] = Some(Outcome::Created)),
                // A key is there already, or a row is refused, which matters only if it is to be written.
                Err(error) if error.kind() == ErrorKind::Data => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Looks at the rows that are there, and writes what differs.
    async fn settle(
        &self,
        connection: &mut MySqlConnection,
        open: &[usize],
        outcomes: &mut [Option<Outcome>],
    ) -> Result<()> {
        let standing = look(connection, self.plan, self.incoming.changes, open, self.incoming.step, self.look).await?;
        let rows = open
            .iter()
            .zip(&standing)
            .map(|(&row, standing)| (row, standing.as_ref().map(|standing| (standing.rows.row(0), standing.marked))));
        let Classified { inserts, updates, deletes } = self.incoming.classify(rows, outcomes)?;
        let touched = |place: &usize| matches!(outcomes[open[*place]], Some(Outcome::Updated | Outcome::Deleted));
        if self.look == Look::Free {
            self.lock(connection, open, &standing, (0..open.len()).filter(touched).collect()).await?;
        }
        for ((columns, marked), rows) in updates {
            update(connection, self, &columns, marked, &rows).await?;
        }
        delete(connection, self, &deletes).await?;
        self.insert(connection, &inserts).await
    }

    /// Compare-and-set: rows that are about to be changed are locked, in the order of their keys, and must still be as
    /// they were looked at. Otherwise the whole unit is tried again.
    async fn lock(
        &self,
        connection: &mut MySqlConnection,
        open: &[usize],
        standing: &[Option<Standing>],
        mut touched: Vec<usize>,
    ) -> Result<()> {
        touched.sort_by_cached_key(|&place| self.plan.key_of(self.incoming.changes.rows().row(open[place])));
        let rows: Vec<usize> = touched.iter().map(|&place| open[place]).collect();
        let locked =
            look(connection, self.plan, self.incoming.changes, &rows, self.incoming.step, Look::Locked).await?;
        let same = touched.iter().zip(&locked).all(|(&place, locked)| standing[place] == *locked);
        if same { Ok(()) } else { Err(changed_meanwhile(self.plan.stream)) }
    }

    /// Inserts rows. A piece that is refused is halved until the row at fault is found.
    async fn insert(&self, connection: &mut MySqlConnection, rows: &[usize]) -> Result<()> {
        for piece in self.pieces(rows)? {
            let Err(error) = self.insert_piece(connection, piece).await else { continue };
            if error.kind() != ErrorKind::Data {
                return Err(error);
            }
            let (mut suspects, mut error) = (piece, error);
            while suspects.len() > 1 {
                let (first, second) = suspects.split_at(suspects.len() / 2);
                for half in [first, second] {
                    match self.insert_piece(connection, half).await {
                        Ok(()) => suspects = &[],
                        Err(refused) if refused.kind() == ErrorKind::Data => {
                            (suspects, error) = (half, refused);
                            break;
                        }
                        Err(other) => return Err(other),
                    }
                }
            }
            return Err(match suspects {
                [row] => self.blame(connection, *row, error).await,
                // Whoever was in the way has gone meanwhile. Rows behind the parts that were tried are still to come.
                _ => changed_meanwhile(self.plan.stream),
            });
        }
        Ok(())
    }

    /// A row that cannot be inserted because its key has come meanwhile is tried again; any other is at fault itself.
    async fn blame(&self, connection: &mut MySqlConnection, row: usize, error: Error) -> Error {
        if self.incoming.rules.mode != WriteMode::Append {
            match look(connection, self.plan, self.incoming.changes, &[row], self.incoming.step, Look::Free)
                .await
                .as_deref()
            {
                Ok([Some(_)]) => return changed_meanwhile(self.plan.stream),
                Ok(_) => {}
                Err(_) => return error,
            }
        }
        error.at_row(self.incoming.step, row)
    }

    fn pieces<'r>(&self, rows: &'r [usize]) -> Result<Vec<&'r [usize]>> {
        let size = |row: usize| self.incoming.changes.rows().row(row).values().map(size_of).sum();
        pieces(rows, self.plan.stream.schema().width(), self.plan.server, size)
            .map_err(|row| batch::too_large(self.plan.server).at_row(self.incoming.step, row))
    }

    async fn insert_piece(&self, connection: &mut MySqlConnection, rows: &[usize]) -> Result<()> {
        let all = self.plan.all();
        let mut arguments = MySqlArguments::default();
        for &row in rows {
            self.plan.bind(&mut arguments, self.incoming.changes, row, &all, self.incoming.step)?;
        }
        let head = format!("INSERT INTO {} ({})", self.plan.table, self.plan.columns);
        let places = format!("({})", vec!["?"; all.len()].join(","));
        let keep = rows.len() == ROWS || rows.len() == 1;
        batch::execute(connection, batch::values(&head, &places, rows.len()), arguments, keep)
            .await
            .map(drop)
            .map_err(|cause| failed("the rows cannot be inserted", cause).with("table", self.plan.stream.name()))
    }
}

/// The rows that stand under the keys of these changes, in their order.
pub(crate) async fn look(
    connection: &mut MySqlConnection,
    plan: &Plan<'_>,
    changes: &Changes,
    rows: &[usize],
    step: usize,
    look: Look,
) -> Result<Vec<Option<Standing>>> {
    let mut standing: Vec<Option<Standing>> = std::iter::repeat_with(|| None).take(rows.len()).collect();
    // Keys are short, so their number alone decides.
    let most = (LOOKS / plan.key.len().max(1)).max(1);
    for (piece, rows) in rows.chunks(most).enumerate() {
        let mut found = look_at_piece(connection, plan, changes, rows, step, look).await?;
        for (place, &row) in rows.iter().enumerate() {
            standing[piece * most + place] = match found.get_mut(&plan.key_of(changes.rows().row(row))) {
                // A reader may ask for one key twice.
                Some(found) => Some(Standing { rows: found.rows.clone(), marked: found.marked }),
                None => None,
            };
        }
    }
    Ok(standing)
}

async fn look_at_piece(
    connection: &mut MySqlConnection,
    plan: &Plan<'_>,
    changes: &Changes,
    rows: &[usize],
    step: usize,
    look: Look,
) -> Result<HashMap<Key, Standing>> {
    // A few lengths of the statement serve all numbers of keys: the last key is repeated.
    let (Some(&last), padded) = (rows.last(), rows.len().next_power_of_two()) else { return Ok(HashMap::new()) };
    let mut arguments = MySqlArguments::default();
    for &row in rows.iter().chain(std::iter::repeat_n(&last, padded - rows.len())) {
        plan.bind(&mut arguments, changes, row, &plan.key, step)?;
    }
    let marked = plan.mark.as_ref().map_or_else(|| "0".to_owned(), |mark| format!("t.{mark} IS NOT NULL"));
    let lock = if look == Look::Locked { " FOR UPDATE" } else { "" };
    let sql = format!(
        "SELECT {marked}, {} FROM {} AS t WHERE {}{lock}",
        plan.columns,
        plan.table,
        plan.has_one_key_of(padded)?
    );
    let unread = |cause| failed("the stored rows cannot be read", cause).with("table", plan.stream.name());
    let found = sqlx::query_with(AssertSqlSafe(sql), arguments).fetch_all(connection).await.map_err(unread)?;
    let mut standing = HashMap::with_capacity(found.len());
    for row in found {
        let values = (0..plan.stream.schema().width())
            .map(|column| read(&row, column + 1, plan.field(column)))
            .collect::<Result<Vec<Value>>>()?;
        let mut rows = Rows::new(Arc::clone(plan.stream.schema()));
        rows.push(values.iter().map(Value::as_ref))?;
        let marked: i64 = row.try_get_unchecked(0).map_err(unread)?;
        standing.insert(plan.key_of(rows.row(0)), Standing { rows, marked: marked != 0 });
    }
    Ok(standing)
}
