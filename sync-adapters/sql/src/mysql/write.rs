//! Classify, then write: one statement looks at what is there, and only what differs is locked, looked at again, and
//! written.

use std::collections::{BTreeMap, HashMap};

use futures::TryStreamExt;
use sqlx::mysql::{MySqlArguments, MySqlConnection};
use sqlx::{AssertSqlSafe, Row as _};
use sync_core::model::{Changes, Key, Op, Outcome};
use sync_core::sink::WriteMode;
use sync_core::{Error, ErrorKind, Result};

use super::batch::{self, Pieces, ROWS, pieces};
use super::column::{cell, size_of};
use super::error::failed;
use super::query::Plan;
use super::update::{delete, update};
use crate::classified::{Classified, Incoming, Look, changed_meanwhile};
use crate::refused::Refused;
use crate::standing::Standing;

/// Whether a row is marked as missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marked(bool);

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
    /// Writes the changes and says of each what became of it. What the table refuses is named, and left out as if it had not
    /// been there: a statement that fails has had no effect. Who calls takes all of it back then.
    pub(crate) async fn write(&self, connection: &mut MySqlConnection, refused: &mut Refused) -> Result<Vec<Outcome>> {
        let mut outcomes = vec![None; self.incoming.changes.len()];
        let open = self.sendable(refused);
        if self.incoming.rules.mode == WriteMode::Append {
            self.insert(connection, &open, refused).await?;
            return Ok(vec![Outcome::Created; outcomes.len()]);
        }
        if self.insert_first && self.incoming.expect.is_empty() {
            self.insert_new(connection, &open, &mut outcomes).await?;
        }
        let mut open: Vec<usize> = open.into_iter().filter(|&row| outcomes[row].is_none()).collect();
        if self.look == Look::Locked {
            open.sort_by_cached_key(|&row| self.plan.key_of(self.incoming.changes.rows().row(row)));
        }
        self.settle(connection, &open, &mut outcomes, refused).await?;
        Ok(outcomes.into_iter().map(|outcome| outcome.unwrap_or(Outcome::Unchanged)).collect())
    }

    /// The changes without those that no table could hold, and those whose keys cannot be looked for.
    fn sendable(&self, refused: &mut Refused) -> Vec<usize> {
        let Incoming { changes, step, .. } = self.incoming;
        let mut errors: BTreeMap<usize, Error> = BTreeMap::new();
        let unfit = self.incoming.unfit().filter_map(|error| Some((error.row()?.row, error)));
        errors.extend(unfit);
        for row in 0..changes.len() {
            if let Err(error) = self.plan.key_fits(changes, row, step) {
                errors.entry(row).or_insert(error);
            }
        }
        let open = (0..changes.len()).filter(|row| !errors.contains_key(row)).collect();
        errors.into_values().for_each(|error| refused.add(error));
        open
    }

    /// Inserts piece by piece while all rows of a piece are new; a statement that fails has had no effect.
    async fn insert_new(
        &self,
        connection: &mut MySqlConnection,
        open: &[usize],
        outcomes: &mut [Option<Outcome>],
    ) -> Result<()> {
        let is_upsert = |row: &&usize| self.incoming.changes.at(**row).op() == Op::Upsert;
        let upserts: Vec<usize> = open.iter().filter(is_upsert).copied().collect();
        for piece in self.pieces(&upserts) {
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
        refused: &mut Refused,
    ) -> Result<()> {
        let standing = look(connection, self.plan, self.incoming.changes, open, self.incoming.step, self.look).await?;
        let stands = |place| standing.at(place).map(|(row, marked)| (row, marked.0));
        let rows = open.iter().enumerate().map(|(place, &row)| (row, stands(place)));
        let Classified { inserts, updates, deletes } = self.incoming.classify(rows, outcomes)?;
        let touched = |place: &usize| matches!(outcomes[open[*place]], Some(Outcome::Updated | Outcome::Deleted));
        if self.look == Look::Free {
            self.lock(connection, open, &standing, (0..open.len()).filter(touched).collect()).await?;
        }
        for ((columns, marked), rows) in updates {
            update(connection, self, &columns, marked, &rows, refused).await?;
        }
        delete(connection, self, &deletes, refused).await?;
        self.insert(connection, &inserts, refused).await
    }

    /// Compare-and-set: rows that are about to be changed are locked, in the order of their keys, and must still be as
    /// they were looked at. Otherwise the whole unit is tried again.
    async fn lock(
        &self,
        connection: &mut MySqlConnection,
        open: &[usize],
        standing: &Standing<Marked>,
        mut touched: Vec<usize>,
    ) -> Result<()> {
        touched.sort_by_cached_key(|&place| self.plan.key_of(self.incoming.changes.rows().row(open[place])));
        let rows: Vec<usize> = touched.iter().map(|&place| open[place]).collect();
        let locked =
            look(connection, self.plan, self.incoming.changes, &rows, self.incoming.step, Look::Locked).await?;
        let same = touched.iter().enumerate().all(|(again, &place)| standing.at(place) == locked.at(again));
        if same { Ok(()) } else { Err(changed_meanwhile(self.plan.stream)) }
    }

    /// Inserts rows. A piece that is refused is halved until the rows at fault are found.
    async fn insert(&self, connection: &mut MySqlConnection, rows: &[usize], refused: &mut Refused) -> Result<()> {
        let mut pieces = self.pieces(rows);
        for &row in &pieces.too_large {
            refused.add(batch::too_large(self.plan.server).at_row(self.incoming.step, row));
        }
        while let Some(piece) = pieces.next() {
            match self.insert_piece(connection, piece).await {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Data => {
                    if let Some(row) = pieces.refused(piece) {
                        refused.add(self.blame(connection, row, error).await?);
                    }
                }
                Err(error) => return Err(error),
            }
            if refused.is_full() {
                break;
            }
        }
        Ok(())
    }

    /// A row that cannot be inserted is at fault itself, unless its key has come meanwhile: then the whole unit is tried
    /// again.
    async fn blame(&self, connection: &mut MySqlConnection, row: usize, error: Error) -> Result<Error> {
        let Incoming { changes, rules, step, .. } = self.incoming;
        if rules.mode != WriteMode::Append {
            let standing = look(connection, self.plan, changes, &[row], step, Look::Free).await?;
            if standing.at(0).is_some() {
                return Err(changed_meanwhile(self.plan.stream));
            }
        }
        Ok(error.at_row(step, row))
    }

    fn pieces<'r>(&self, rows: &'r [usize]) -> Pieces<'r> {
        let size = |row: usize| self.incoming.changes.rows().row(row).values().map(size_of).sum();
        pieces(rows, self.plan.stream.schema().width(), self.plan.server, size)
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
) -> Result<Standing<Marked>> {
    let mut standing = Standing::new(plan.stream, rows.len());
    // No more keys than go through if all were as long as the longest, which may be repeated.
    let longest = rows.iter().map(|&row| plan.key_size(changes, row)).max().unwrap_or_default();
    let room = plan.server.packet / 2 / longest.max(1);
    let most = (LOOKS / plan.key.len().max(1)).min(room).max(1);
    for (piece, rows) in rows.chunks(most).enumerate() {
        let by_key = look_at_piece(connection, plan, changes, rows, step, look, &mut standing).await?;
        for (place, &row) in rows.iter().enumerate() {
            // A reader may ask for one key twice.
            if let Some(&found) = by_key.get(&plan.key_of(changes.rows().row(row))) {
                standing.put(piece * most + place, found);
            }
        }
    }
    Ok(standing)
}

/// Adds the rows that stand under these keys, and says which are whose.
async fn look_at_piece(
    connection: &mut MySqlConnection,
    plan: &Plan<'_>,
    changes: &Changes,
    rows: &[usize],
    step: usize,
    look: Look,
    standing: &mut Standing<Marked>,
) -> Result<HashMap<Key, usize>> {
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
    let mut found = sqlx::query_with(AssertSqlSafe(sql), arguments).fetch(connection);
    let mut by_key = HashMap::with_capacity(rows.len());
    while let Some(row) = found.try_next().await.map_err(unread)? {
        let marked: i64 = row.try_get_unchecked(0).map_err(unread)?;
        let (found, row) = standing.add(Marked(marked != 0), |column| cell(&row, column + 1, plan.field(column)))?;
        by_key.insert(plan.key_of(row), found);
    }
    Ok(by_key)
}
