//! Staged rows become visible at once, in key order, and the rows they do not name are dealt with.

use std::collections::HashSet;
use std::sync::Arc;

use sqlx::mysql::{MySqlArguments, MySqlConnection, MySqlRow};
use sqlx::{Arguments as _, AssertSqlSafe, Row as _};
use sync_core::model::{Absent, Changes, Mark, Op, Outcome, Rows, StreamSpec, Tally};
use sync_core::sink::{Guard, Publish, StepReport, WriteMode};
use sync_core::state::StageName;
use sync_core::{Error, ErrorKind, Key, Result, Value};

use super::MySql;
use super::batch::{self, run};
use super::column::{bind, compared, read, size_of};
use super::connection::Server;
use super::error::failed;
use super::query::{Plan, name};
use super::scope::Condition;
use super::stage::{self, Place, Places};
use super::write::{Writing, look};
use crate::classified::{Incoming, Look};
use crate::refused::Refused;
use crate::staged::{Staged, column, fields, id, kept_back, key};

/// Staged rows that are looked at and written together.
const CHUNK: usize = 5000;

/// Publishes a stage. The stage is gone afterwards.
pub(crate) async fn publish(
    connection: &mut MySqlConnection,
    sink: &MySql,
    step: usize,
    publish: &Publish,
    places: &mut Places,
    place: Option<Place>,
) -> Result<StepReport> {
    let Some(place) = place else {
        return Ok(StepReport::Published { staged: Tally::new(), absent: Tally::new() });
    };
    let plan = Plan::of(&publish.stream, sink.server())?;
    stage::claim(connection, &plan, &id(&publish.stage, &publish.stream), &place).await?;
    let staged = Staged { publish, stage: place.table()?, target: plan.table.clone() };
    let skip = publish.skip.iter().collect();
    let look = sink.look(&publish.stream);
    let publishing = Publishing { plan: &plan, publish, staged: &staged, look, skip };
    let tally = if publish.keys_only {
        publishing.compare_keys(connection).await?
    } else {
        match publishing.fill_empty_target(connection).await? {
            Some(tally) => tally,
            None => publishing.merge(connection, step).await?,
        }
    };
    let absent = publishing.deal_with_absent(connection).await?;
    stage::forget(connection, &publish.stage, &publish.stream, places, &place).await?;
    Ok(StepReport::Published { staged: tally, absent })
}

/// Forgets a stage, and says how many rows it held.
pub(crate) async fn discard(
    connection: &mut MySqlConnection,
    server: Server,
    stage: &StageName,
    stream: &StreamSpec,
    places: &mut Places,
    place: Option<Place>,
) -> Result<u64> {
    let Some(place) = place else { return Ok(0) };
    stage::claim(connection, &Plan::of(stream, server)?, &id(stage, stream), &place).await?;
    // Of a table that somebody has dropped, the entry must go all the same.
    let held = if place.exists(connection).await? {
        number(connection, format!("SELECT count(*) FROM {}", place.table()?)).await?
    } else {
        0
    };
    stage::forget(connection, stage, stream, places, &place).await?;
    Ok(held)
}

struct Publishing<'p> {
    plan: &'p Plan<'p>,
    publish: &'p Publish,
    staged: &'p Staged<'p>,
    look: Look,
    skip: HashSet<&'p Key>,
}

/// The end of a piece of staged rows: the key and the place of its last one.
type End = (Vec<Value>, i64);

impl Publishing<'_> {
    /// A key listing writes no row, but the marks of those it names; it says which rows the target has.
    async fn compare_keys(&self, connection: &mut MySqlConnection) -> Result<Tally> {
        let listed = number(connection, self.staged.listed()).await?;
        let distinct = number(connection, self.staged.distinct()?).await?;
        let present = number(connection, self.staged.present()?).await?;
        let mut unmarked = 0;
        if let Absent::Mark(mark) = &self.publish.absent {
            let clear = self.staged.unmark(&name(mark)?)?;
            unmarked = batch::execute(connection, clear, MySqlArguments::default(), false)
                .await
                .map_err(|cause| failed("the marks cannot be cleared", cause))?;
        }
        Ok(Staged::compared(listed, distinct, present, unmarked))
    }

    /// Into an empty target, one statement carries everything, unless a key stands twice or a row is refused.
    async fn fill_empty_target(&self, connection: &mut MySqlConnection) -> Result<Option<Tally>> {
        let odd = format!(
            "SELECT EXISTS (SELECT 1 FROM {}) OR EXISTS (SELECT 1 FROM {} WHERE op <> 0)",
            self.staged.target, self.staged.stage
        );
        if !self.publish.skip.is_empty() || number(connection, odd).await? > 0 {
            return Ok(None);
        }
        let listed = number(connection, self.staged.listed()).await?;
        match run(connection, self.staged.fill()?, "the rows cannot be published").await {
            Ok(()) => {
                let mut tally = Tally::new();
                tally.add(Outcome::Created, listed);
                Ok(Some(tally))
            }
            // The statement was undone as a whole; piece by piece the row at fault can be named.
            Err(error) if error.kind() == ErrorKind::Data => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Piece by piece in key order, each row classified before it is written.
    async fn merge(&self, connection: &mut MySqlConnection, step: usize) -> Result<Tally> {
        let stream = &self.publish.stream;
        let mut tally = Tally::new();
        let mut waiting: Option<Changes> = None;
        let mut refused = Refused::default();
        let mut after: Option<End> = None;
        loop {
            let piece = self.fetch(connection, after.as_ref()).await?;
            let mut settled = Changes::upserts(Rows::new(Arc::clone(stream.schema())));
            let is_last = piece.len() < CHUNK;
            for (incoming, seq) in piece {
                let key = incoming.at(0).key(&self.plan.key);
                after = Some((key.values().to_vec(), seq));
                waiting = Some(match waiting.take() {
                    Some(before) if self.plan.key_of(before.at(0).row()) == self.plan.key_of(incoming.at(0).row()) => {
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
            if is_last && let Some(before) = waiting.take() {
                settled.push(before.at(0));
            }
            tally += self.put(connection, step, &settled, &mut refused).await?;
            if is_last {
                refused.finish()?;
                return Ok(tally);
            }
        }
    }

    /// The next staged rows in the order of their keys, and of their coming.
    async fn fetch(&self, connection: &mut MySqlConnection, after: Option<&End>) -> Result<Vec<(Changes, i64)>> {
        let stream = &self.publish.stream;
        let unread = |cause| failed("the stage cannot be read", cause);
        let columns = crate::staged::columns(stream.schema().fields().iter().map(sync_core::model::Field::name))?;
        let mut arguments = MySqlArguments::default();
        let begin = match after {
            None => String::new(),
            Some(end) => format!("WHERE {}", self.beyond(end, 0, &mut arguments)?),
        };
        let sql = format!(
            "SELECT seq, op, fields, {columns} FROM {} FORCE INDEX (by_key) {begin} ORDER BY {}, seq LIMIT {CHUNK}",
            self.staged.stage,
            key(stream)?
        );
        let rows = sqlx::query_with(AssertSqlSafe(sql), arguments).fetch_all(connection).await.map_err(unread)?;
        let change = |row: &MySqlRow| {
            let values = (0..stream.schema().width()).map(|column| read(row, column + 3, self.plan.field(column)));
            let mut mark = Mark::default();
            mark.op = if row.try_get::<i64, _>(1).map_err(unread)? == 0 { Op::Upsert } else { Op::Delete };
            let names: Option<String> = row.try_get_unchecked(2).map_err(unread)?;
            mark.fields = names.map(|names| fields(stream, &names)).transpose()?;
            let change = self.change(&values.collect::<Result<Vec<Value>>>()?, mark)?;
            Ok((change, row.try_get::<i64, _>(0).map_err(unread)?))
        };
        rows.iter().map(change).collect()
    }

    /// `a >= ? AND (a > ? OR b >= ? AND (b > ? OR seq > ?))`, so that the index finds the place.
    fn beyond(&self, end: &End, place: usize, arguments: &mut MySqlArguments) -> Result<String> {
        let unsent = || Error::internal("the end of a piece of the stage cannot be sent");
        let (Some(&index), Some(value)) = (self.plan.key.get(place), end.0.get(place)) else {
            arguments.add(end.1).map_err(|_| unsent())?;
            return Ok("seq > ?".to_owned());
        };
        let field = self.plan.field(index);
        let (column, sent) = (column(field.name())?, compared(field.kind()));
        bind(arguments, value.as_ref(), field)?;
        bind(arguments, value.as_ref(), field)?;
        Ok(format!("{column} >= {sent} AND ({column} > {sent} OR {})", self.beyond(end, place + 1, arguments)?))
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

    /// Writes a piece, but for the rows that are refused.
    async fn put(
        &self,
        connection: &mut MySqlConnection,
        step: usize,
        changes: &Changes,
        refused: &mut Refused,
    ) -> Result<Tally> {
        let kept = (0..changes.len()).filter(|&row| !self.skip.contains(&changes.at(row).key(&self.plan.key)));
        let changes = changes.select(kept);
        let rules = self.publish.rules();
        let incoming = Incoming { stream: self.plan.stream, changes: &changes, rules, expect: &[], step };
        let writing = Writing { plan: self.plan, incoming, insert_first: false, look: self.look };
        let mut found = Refused::default();
        let outcomes = writing.write(connection, &mut found).await?;
        for error in found.into_errors() {
            let Some(at) = error.row() else { return Err(error) };
            // The letter holds the whole row, so that replaying it leaves the other columns alone.
            let rows = if self.plan.key_fits(&changes, at.row, step).is_ok() { vec![at.row] } else { Vec::new() };
            let standing = look(connection, self.plan, &changes, &rows, step, Look::Free).await?;
            let row = changes.at(at.row).onto(standing.at(0).map(|(existing, _)| existing));
            refused.add(error.with_staged_row(step, row));
        }
        if refused.is_full() {
            refused.finish()?;
        }
        Ok(outcomes.into_iter().collect())
    }

    /// Deletes or marks the rows in scope that the stage does not name, if they are not too many.
    async fn deal_with_absent(&self, connection: &mut MySqlConnection) -> Result<Tally> {
        if self.publish.absent == Absent::Keep || self.publish.mode != WriteMode::Upsert {
            return Ok(Tally::new());
        }
        self.name_spared(connection).await?;
        let stream = &self.publish.stream;
        let scope = Condition::of(stream, self.plan.server, &self.publish.rows)?;
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
        let remove = gone.remove("UTC_TIMESTAMP(6)", "DELETE t FROM");
        let removed = match batch::execute(connection, remove, scope.arguments()?, false).await {
            Ok(removed) => removed,
            Err(cause) => {
                let error = failed("the rows that are gone cannot be removed", cause).with("table", stream.name());
                if error.kind() != ErrorKind::Data {
                    return Err(error);
                }
                let referring = referring(connection, stream.name()).await.unwrap_or_default();
                return Err(kept_back(stream, error, &referring));
            }
        };
        let mut tally = Tally::new();
        tally.add(Outcome::Deleted, removed);
        Ok(tally)
    }

    /// Adds the keys of rows that were listed and could not be staged, so that they do not seem absent.
    async fn name_spared(&self, connection: &mut MySqlConnection) -> Result<()> {
        let fields = || self.plan.key.iter().map(|&column| self.plan.field(column));
        let bound = |key: &Key| {
            let mut arguments = MySqlArguments::default();
            // What no column can hold is in no row either.
            let whole = fields()
                .zip(key.values())
                .all(|(field, value)| !value.is_null() && bind(&mut arguments, value.as_ref(), field).is_ok());
            whole.then_some(arguments)
        };
        let head = format!("INSERT INTO {} ({}, op)", self.staged.stage, key(&self.publish.stream)?);
        let places = format!("({}, 0)", vec!["?"; self.plan.key.len()].join(","));
        let spared: Vec<&Key> = self.publish.spared.iter().filter(|key| bound(key).is_some()).collect();
        let all: Vec<usize> = (0..spared.len()).collect();
        let size = |key: usize| spared[key].values().iter().map(|value| size_of(value.as_ref())).sum();
        for piece in batch::pieces(&all, self.plan.key.len(), self.plan.server, size) {
            let mut arguments = MySqlArguments::default();
            for (field, value) in piece.iter().flat_map(|&key| fields().zip(spared[key].values())) {
                bind(&mut arguments, value.as_ref(), field)?;
            }
            batch::execute(connection, batch::values(&head, &places, piece.len()), arguments, false)
                .await
                .map_err(|cause| failed("the keys cannot be staged", cause))?;
        }
        Ok(())
    }
}

/// Tables whose rows refer to rows of this one.
async fn referring(connection: &mut MySqlConnection, table: &str) -> Result<Vec<String>> {
    let rows = sqlx::query(
        "SELECT DISTINCT TABLE_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS
         WHERE UNIQUE_CONSTRAINT_SCHEMA = DATABASE() AND REFERENCED_TABLE_NAME = ?",
    )
    .bind(table)
    .fetch_all(connection)
    .await;
    let names = rows.and_then(|rows| rows.iter().map(|row| row.try_get_unchecked(0)).collect());
    names.map_err(|cause| failed("the keys of other tables cannot be looked at", cause))
}

async fn count(connection: &mut MySqlConnection, sql: String, scope: &Condition<'_>) -> Result<u64> {
    let row = sqlx::query_with(AssertSqlSafe(sql), scope.arguments()?)
        .fetch_one(connection)
        .await
        .map_err(|cause| failed("the rows in scope cannot be counted", cause))?;
    Ok(row.get::<i64, _>(0).cast_unsigned())
}

async fn number(connection: &mut MySqlConnection, sql: String) -> Result<u64> {
    let rows: i64 = sqlx::raw_sql(AssertSqlSafe(sql))
        .fetch_one(connection)
        .await
        .and_then(|row| row.try_get_unchecked(0))
        .map_err(|cause| failed("the stage cannot be counted", cause))?;
    Ok(rows.cast_unsigned())
}
