//! Rows that are there already: a few are written one by one, many by way of a temporary table.

use sqlx::mysql::{MySqlArguments, MySqlConnection};
use sync_core::{ErrorKind, Result};

use super::batch::{self, pieces};
use super::column::size_of;
use super::error::failed;
use super::write::Writing;
use crate::classified::Incoming;
use crate::ident::quoted;
use crate::refused::Refused;

/// From so many rows on, the temporary table costs less than as many statements.
const MANY: usize = 12;

/// The temporary table. Nobody else sees it, and it ends with the connection at the latest.
const SENT: &str = "\"_sync_sent\"";

/// The most rows that one statement puts there: the server names each value when it makes the statement ready, which is done once.
const AT_ONCE: usize = 250;

const FAILED: &str = "the rows cannot be updated";

/// Writes these columns of rows that are locked, and clears their marks.
pub(crate) async fn update(
    connection: &mut MySqlConnection,
    writing: &Writing<'_>,
    columns: &[usize],
    clear_mark: bool,
    rows: &[usize],
    refused: &mut Refused,
) -> Result<()> {
    let update = Update { writing, columns, clear_mark };
    if columns.is_empty() && update.mark().is_none() {
        return Ok(());
    }
    let (rows, too_large): (Vec<usize>, Vec<usize>) = rows.iter().partition(|&&row| update.fits(row));
    for row in too_large {
        refused.add(batch::too_large(writing.plan.server).at_row(writing.incoming.step, row));
    }
    if rows.len() >= MANY {
        match update.joined(connection, &rows).await {
            // The statement was undone as a whole; row by row the one at fault can be named.
            Err(error) if error.kind() == ErrorKind::Data => {}
            done => return done,
        }
    }
    for row in rows {
        match update.single(connection, row).await {
            Err(error) if error.kind() == ErrorKind::Data => refused.add(error.at_row(writing.incoming.step, row)),
            done => done?,
        }
        if refused.is_full() {
            break;
        }
    }
    Ok(())
}

struct Update<'u> {
    writing: &'u Writing<'u>,
    columns: &'u [usize],
    clear_mark: bool,
}

impl Update<'_> {
    fn mark(&self) -> Option<&String> {
        self.writing.plan.mark.as_ref().filter(|_| self.clear_mark)
    }

    /// `t."a" = …, t."b" = …`.
    fn sets(&self, value: impl Fn(usize) -> Result<String>) -> Result<String> {
        let plan = self.writing.plan;
        let sets = self
            .columns
            .iter()
            .map(|&column| Ok(format!("t.{} = {}", quoted(plan.field(column).name())?, value(column)?)))
            .chain(self.mark().map(|mark| Ok(format!("t.{mark} = NULL"))));
        Ok(sets.collect::<Result<Vec<_>>>()?.join(", "))
    }

    async fn single(&self, connection: &mut MySqlConnection, row: usize) -> Result<()> {
        let Writing { plan, incoming: Incoming { changes, step, .. }, .. } = self.writing;
        let sets = self.sets(|_| Ok("?".to_owned()))?;
        let sql = format!("UPDATE {} AS t SET {sets} WHERE {}", plan.table, plan.has_key()?);
        let mut arguments = MySqlArguments::default();
        plan.bind(&mut arguments, changes, row, self.columns, *step)?;
        plan.bind(&mut arguments, changes, row, &plan.key, *step)?;
        batch::execute(connection, sql, arguments, true)
            .await
            .map(drop)
            .map_err(|cause| failed(FAILED, cause).with("table", plan.stream.name()))
    }

    /// The columns that are sent: those of the key, and those that are set.
    fn sent(&self) -> Vec<usize> {
        let key = &self.writing.plan.key;
        key.iter().chain(self.columns.iter().filter(|column| !key.contains(column))).copied().collect()
    }

    /// The bytes that a row takes, which is sent with its key twice where that is set as well.
    fn size(&self, row: usize) -> usize {
        let Writing { plan, incoming: Incoming { changes, .. }, .. } = self.writing;
        let values = changes.rows().row(row);
        plan.key_size(changes, row) + self.columns.iter().map(|&column| size_of(values.at(column))).sum::<usize>()
    }

    fn fits(&self, row: usize) -> bool {
        let plan = self.writing.plan;
        batch::fits(plan.server, plan.key.len() + self.columns.len(), self.size(row))
    }

    /// The rows go into a temporary table, whose columns are those of the target, and from there at once. Making and
    /// dropping a temporary table commits nothing.
    async fn joined(&self, connection: &mut MySqlConnection, rows: &[usize]) -> Result<()> {
        let Writing { plan, incoming: Incoming { changes, step, .. }, .. } = self.writing;
        let sent = self.sent();
        let drop = format!("DROP TEMPORARY TABLE IF EXISTS {SENT}");
        let columns = sent.iter().map(|&column| format!("c{column} {}", plan.types[column])).collect::<Vec<_>>();
        let key = plan.key.iter().map(|column| format!("c{column}")).collect::<Vec<_>>().join(", ");
        let create = format!(
            "{drop}; CREATE TEMPORARY TABLE {SENT} ({}, PRIMARY KEY ({key})) ENGINE=InnoDB",
            columns.join(", ")
        );
        batch::run(connection, create, FAILED).await?;
        let names = sent.iter().map(|column| format!("c{column}")).collect::<Vec<_>>().join(", ");
        let head = format!("INSERT INTO {SENT} ({names})");
        let places = format!("({})", vec!["?"; sent.len()].join(","));
        let at_once = rows.chunks(AT_ONCE);
        for piece in at_once.flat_map(|rows| pieces(rows, sent.len(), plan.server, |row| self.size(row))) {
            let mut arguments = MySqlArguments::default();
            for &row in piece {
                plan.bind(&mut arguments, changes, row, &sent, *step)?;
            }
            batch::execute(connection, batch::values(&head, &places, piece.len()), arguments, piece.len() == AT_ONCE)
                .await
                .map_err(|cause| failed(FAILED, cause).with("table", plan.stream.name()))?;
        }
        let same_key =
            plan.key.iter().map(|&column| Ok(format!("t.{} = u.c{column}", quoted(plan.field(column).name())?)));
        let sql = format!(
            "UPDATE {SENT} AS u STRAIGHT_JOIN {} AS t ON {} SET {}; {drop}",
            plan.table,
            same_key.collect::<Result<Vec<_>>>()?.join(" AND "),
            self.sets(|column| Ok(format!("u.c{column}")))?
        );
        batch::run(connection, sql, FAILED).await.map_err(|error| error.with("table", plan.stream.name()))
    }
}

/// Deletes rows that are locked.
pub(crate) async fn delete(
    connection: &mut MySqlConnection,
    writing: &Writing<'_>,
    rows: &[usize],
    refused: &mut Refused,
) -> Result<()> {
    let Writing { plan, incoming: Incoming { changes, step, .. }, .. } = writing;
    // The condition of a row is longer than its marks.
    let mut pieces = pieces(rows, plan.key.len() * 16, plan.server, |row| plan.key_size(changes, row));
    while let Some(piece) = pieces.next() {
        match delete_piece(connection, writing, piece).await {
            // Somebody refers to a row. The statement was undone as a whole; by halves the row can be named.
            Err(error) if error.kind() == ErrorKind::Data => {
                if let Some(row) = pieces.refused(piece) {
                    refused.add(error.at_row(*step, row));
                }
            }
            done => done?,
        }
        if refused.is_full() {
            break;
        }
    }
    Ok(())
}

async fn delete_piece(connection: &mut MySqlConnection, writing: &Writing<'_>, rows: &[usize]) -> Result<()> {
    let Writing { plan, incoming: Incoming { changes, step, .. }, .. } = writing;
    let mut arguments = MySqlArguments::default();
    for &row in rows {
        plan.bind(&mut arguments, changes, row, &plan.key, *step)?;
    }
    let sql = format!("DELETE t FROM {} AS t WHERE {}", plan.table, plan.has_one_key_of(rows.len())?);
    batch::execute(connection, sql, arguments, rows.len() == 1)
        .await
        .map(drop)
        .map_err(|cause| failed("the rows cannot be deleted", cause).with("table", plan.stream.name()))
}
