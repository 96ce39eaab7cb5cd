//! The sink: each unit is one transaction.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _, Transaction};
use sync_core::model::{Changes, Outcome, RowScope, Rows, Scope};
use sync_core::sink::{
    Altered, Intent, Publish, SinkCapabilities, Step, StepReport, StoredRow, Write, WriteReport, WriteUnit,
};
use sync_core::state::{Checkpoint, FencingToken};
use sync_core::{Error, ErrorKind, Key, Result, Sink, StreamSpec, Value, ValueRef};

use super::copy::Cut;
use super::error::{failed, uncommitted};
use super::query::Plan;
use super::scope::Condition;
use super::session::Session;
use super::write::{Undo, Writing, copy_unseen, look};
use super::{Postgres, checkpoint, deferred, publish, schema, stage};
use crate::classified::{Incoming, Look};
use crate::refused::Refused;
use crate::tables::{Shape, is_conflict, written};

#[async_trait]
impl Sink for Postgres {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> SinkCapabilities {
        // Measured (ADR 0013): rows that are staged first are written twice, which an index that takes ordered keys faster
        // makes good only from about a million rows on, and then by a sixth.
        let mut capabilities = SinkCapabilities::all();
        capabilities.sorts_first_load = false;
        capabilities
    }

    async fn apply(&self, unit: &WriteUnit<'_>) -> Result<WriteReport> {
        let mut session = self.sessions.session().await?;
        if unit.intent == Intent::Rehearse {
            let (mut transaction, mut changed) = (begin(&mut session).await?, false);
            for step in unit.steps {
                match step {
                    Step::Write(Write { stream, .. }) | Step::Publish(Publish { stream, .. }) => {
                        changed |= schema::prepare(&mut transaction, stream).await?;
                    }
                    _ => {}
                }
            }
            if changed {
                // The server does not run a statement whose columns are others by now.
                let forgotten = transaction.clear_cached_statements().await;
                forgotten.map_err(|cause| failed("statements cannot be given back", cause))?;
            }
            let report = self.take_steps(&mut transaction, unit.steps, Intent::Rehearse, false).await?;
            deferred::check(&mut transaction, unit.steps).await?;
            transaction.rollback().await.map_err(|cause| failed("the rehearsal cannot be taken back", cause))?;
            if !changed {
                session.keep();
            }
            return Ok(report);
        }
        let mut unseen = true;
        let done = loop {
            let mut transaction = begin(&mut session).await?;
            let done = self.write_unit(&mut transaction, unit, unseen).await;
            match ended(transaction, done).await {
                // Its rows are no longer taken for new, whatever other units have found meanwhile.
                Ok(Err(error)) if Cut::NotNew.ended(&error) => unseen = false,
                done => break kept(session, done),
            }
        };
        for stream in written(unit.steps) {
            self.contended.note(stream.name(), is_conflict(&done));
            if done.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unavailable) {
                self.apart.note(stream.name(), true);
            }
            if done.as_ref().is_err_and(|error| Cut::Stalled.ended(error)) {
                self.stalled.note(stream.name(), true);
            }
        }
        match done {
            Err(error) if matches!(error.kind(), ErrorKind::Schema | ErrorKind::Data) => {
                Err(self.explained(unit.steps, error).await)
            }
            done => done,
        }
    }

    async fn open(&self, scope: &Scope, token: FencingToken) -> Result<Option<Checkpoint>> {
        let mut session = self.sessions.session().await?;
        let claimed = checkpoint::claim(&mut session, scope, token).await;
        // Each run asks with the lowest token first, and is told the newest one as an error.
        if claimed.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::Fenced) {
            session.keep();
        }
        claimed
    }

    async fn checkpoint(&self, scope: &Scope) -> Result<Option<Checkpoint>> {
        let mut session = self.sessions.session().await?;
        let checkpoint = checkpoint::look(&mut session, scope).await?;
        session.keep();
        Ok(checkpoint)
    }

    async fn prepare(&self, stream: &StreamSpec) -> Result<Altered> {
        let mut session = self.sessions.session().await?;
        let named = |error: Error| error.with("database", &self.name);
        // Mostly there is nothing to change, and nothing to commit.
        let shape = match schema::standing(&mut session, stream).await.map_err(named)? {
            Some(shape) => {
                session.keep();
                shape
            }
            None => {
                let mut changed = self.change(&mut session, stream).await;
                if matches!(&changed, Ok(Err(error)) if error.kind() == ErrorKind::Conflict) {
                    // Then it is there.
                    changed = self.change(&mut session, stream).await;
                }
                kept(session, changed).map_err(named)?
            }
        };
        self.shapes.note(stream, shape);
        // Each run looks at first: where nothing has changed, nothing is written and taken back either.
        self.fresh.note(stream.name(), false);
        self.apart.note(stream.name(), false);
        Ok(self.alterations.end(stream))
    }

    async fn lacking(&self, stream: &StreamSpec) -> Result<Altered> {
        let mut session = self.sessions.session().await?;
        let lacking =
            schema::lacking(&mut session, stream).await.map_err(|error| error.with("database", &self.name))?;
        session.keep();
        Ok(lacking)
    }

    async fn exists(&self, stream: &StreamSpec) -> Result<bool> {
        let mut session = self.sessions.session().await?;
        let exists = schema::exists(&mut session, stream).await?;
        session.keep();
        Ok(exists)
    }

    async fn stored(&self, stream: &StreamSpec, keys: &[Key]) -> Result<Vec<Option<StoredRow>>> {
        let mut session = self.sessions.session().await?;
        let plan = Plan::of(stream)?;
        let mut rows = Rows::new(Arc::clone(stream.schema()));
        for key in keys {
            let value = |column: usize| {
                let place = plan.key_indices.iter().position(|&key| key == column);
                place.and_then(|place| key.values().get(place)).map_or(ValueRef::Null, Value::as_ref)
            };
            rows.push((0..stream.schema().width()).map(value))?;
        }
        let all: Vec<usize> = (0..keys.len()).collect();
        let standing = look(&mut session, &plan, &Changes::upserts(rows), &all, 0, Look::Free).await?;
        session.keep();
        let stored = |place| standing.at(place).map(|(row, _)| StoredRow { values: row.to_values() });
        Ok((0..keys.len()).map(stored).collect())
    }

    async fn count(&self, stream: &StreamSpec, rows: &RowScope) -> Result<Option<u64>> {
        let mut session = self.sessions.session().await?;
        let scope = Condition::of(stream, rows)?;
        let sql = format!("SELECT count(*) FROM {} t WHERE {}", Plan::of(stream)?.table, scope.sql);
        let row = scope
            .bind(sqlx::query(AssertSqlSafe(sql)))
            .fetch_one(&mut *session)
            .await
            .map_err(|cause| failed("the rows cannot be counted", cause).with("table", stream.name()))?;
        session.keep();
        let count = row.get::<i64, _>(0).cast_unsigned();
        if count == 0 && *rows == RowScope::All {
            // Whatever comes is new.
            self.fresh.note(stream.name(), true);
        }
        Ok(Some(count))
    }

    async fn check(&self) -> Result<()> {
        let mut session = self.sessions.session().await?;
        let read_only: String = sqlx::query_scalar("SHOW transaction_read_only")
            .fetch_one(&mut *session)
            .await
            .map_err(|cause| failed("the database cannot be asked", cause))?;
        let may_create: bool =
            sqlx::query_scalar("SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)")
                .fetch_one(&mut *session)
                .await
                .map_err(|cause| failed("the database cannot be asked", cause))?;
        session.keep();
        match (read_only.as_str(), may_create) {
            ("on", _) => Err(Error::new(ErrorKind::Forbidden, "the server only reads: connect to the primary").with("database", &self.name)),
            (_, false) => Err(Error::new(ErrorKind::Forbidden, "the account may not create tables in its schema: GRANT CREATE ON SCHEMA … TO it, or let somebody else create the tables").with("database", &self.name)),
            _ => Ok(()),
        }
    }
}

impl Postgres {
    /// Makes the table, or what it lacks, and says what its columns are then.
    async fn change(&self, session: &mut Session, stream: &StreamSpec) -> Ended<Shape> {
        let mut transaction = begin_in_turn(session).await?;
        let changed = async {
            schema::change(&mut transaction, stream, |altered| self.alterations.begin(stream, altered)).await?;
            schema::shape(&mut transaction, stream).await
        };
        let changed = changed.await;
        ended(transaction, changed).await
    }

    /// `unseen`: whether rows that are likely to be new are copied without a look.
    async fn write_unit(
        &self,
        connection: &mut PgConnection,
        unit: &WriteUnit<'_>,
        unseen: bool,
    ) -> Result<WriteReport> {
        let report = self.take_steps(connection, unit.steps, Intent::Commit, unseen).await?;
        // By now the transaction holds the tables, and nobody changes them before it ends.
        for stream in written(unit.steps).filter(|stream| self.shapes.knows(stream)) {
            self.shapes.check(stream, &schema::shape(connection, stream).await?)?;
        }
        if let Some(advance) = unit.advance {
            checkpoint::advance(connection, unit.scope, advance, report.tally()).await?;
        }
        Ok(report)
    }

    /// The error of a statement that a changed table does not take, with the difference where there is one.
    async fn explained(&self, steps: &[Step], error: Error) -> Error {
        let Ok(mut session) = self.sessions.session().await else { return error };
        for stream in written(steps) {
            let Ok(shape) = schema::shape(&mut session, stream).await else { return error };
            if let Err(difference) = self.shapes.check(stream, &shape) {
                let is_told = difference.message() == error.message();
                return if is_told { error } else { difference.caused_by(error) };
            }
        }
        session.keep();
        error
    }

    /// Whether rows may be copied into a table.
    fn copies(&self, stream: &StreamSpec) -> bool {
        self.shapes.knows(stream) && !self.stalled.has(stream.name())
    }

    /// How rows of a table are looked at.
    fn look(&self, stream: &StreamSpec) -> Look {
        if self.contended.has(stream.name()) { Look::Locked } else { Look::Free }
    }

    /// Takes the steps of a unit; with `unseen`, writes whose rows are likely to be new are copied together without a look.
    async fn take_steps(
        &self,
        connection: &mut PgConnection,
        steps: &[Step],
        intent: Intent,
        unseen: bool,
    ) -> Result<WriteReport> {
        let mut report = WriteReport::default();
        let mut refused = Refused::default();
        let mut one_by_one = 0;
        while let Some(step) = steps.get(report.steps.len()) {
            let index = report.steps.len();
            if unseen && index >= one_by_one {
                let run = self.new_writes(&steps[index..]);
                let undo = if run.len() == steps.len() { Undo::Unit } else { Undo::Savepoint };
                if self.copy_run(connection, index, &run, undo).await? {
                    let created = |write: &&Write| StepReport::Rows(vec![Outcome::Created; write.changes.len()]);
                    report.steps.extend(run.iter().map(created));
                    continue;
                }
                one_by_one = index + run.len();
            }
            report.steps.push(match step {
                Step::Write(write) if intent == Intent::Rehearse => {
                    let outcomes = self.rehearse(connection, index, write, &mut refused).await?;
                    if refused.is_full() {
                        refused.finish()?;
                    }
                    StepReport::Rows(outcomes)
                }
                Step::Write(write) => StepReport::Rows(self.write(connection, index, write).await?),
                Step::Stage(stage) => StepReport::Rows(stage::append(connection, index, stage).await?),
                Step::Publish(publish) => {
                    // What is published depends on all rows before it.
                    refused.finish()?;
                    let copies = self.copies(&publish.stream);
                    publish::publish(connection, index, publish, self.look(&publish.stream), copies).await?
                }
                Step::Discard { stage, stream } => {
                    StepReport::Discarded(stage::discard(connection, stage, stream).await?)
                }
                other => return Err(Error::internal(format!("this sink does not know the step {other:?}"))),
            });
        }
        refused.finish()?;
        Ok(report)
    }

    /// Writes what a table takes of these rows, and names the others.
    async fn rehearse(
        &self,
        connection: &mut PgConnection,
        step: usize,
        write: &Write,
        refused: &mut Refused,
    ) -> Result<Vec<Outcome>> {
        let (mut done, mut out) = (Vec::new(), Refused::default());
        self.try_stretch(connection, step, write, 0..write.changes.len(), &mut done, &mut out).await?;
        // A row may have been refused for want of another that was tried after it, as a child is before its parent.
        let (mut left, mut before) = (out.take(), usize::MAX);
        while !left.is_empty() && left.len() < before {
            before = left.len();
            for row in left.iter().filter_map(Error::row).map(|at| at.row) {
                self.try_stretch(connection, step, write, row..row + 1, &mut done, &mut out).await?;
            }
            left = out.take();
        }
        left.sort_by_key(|error| error.row().map(|at| at.row));
        left.into_iter().for_each(|error| refused.add(error));
        done.sort_by_key(|&(row, _)| row);
        Ok(done.into_iter().map(|(_, outcome)| outcome).collect())
    }

    /// Writes rows, by ever shorter stretches where one is refused: so it is named, and the others go on behind it.
    async fn try_stretch(
        &self,
        connection: &mut PgConnection,
        step: usize,
        write: &Write,
        rows: Range<usize>,
        done: &mut Vec<(usize, Outcome)>,
        refused: &mut Refused,
    ) -> Result<()> {
        if rows.is_empty() || refused.is_full() {
            return Ok(());
        }
        let mut part = write.clone();
        part.changes = write.changes.select(rows.clone());
        if !write.expect.is_empty() {
            part.expect = write.expect[rows.clone()].to_vec();
        }
        let unset = "no savepoint";
        schema::run(connection, "SAVEPOINT stretch".to_owned(), unset).await?;
        let error = match self.write(connection, step, &part).await {
            Ok(outcomes) => {
                done.extend(rows.zip(outcomes));
                return schema::run(connection, "RELEASE SAVEPOINT stretch".to_owned(), unset).await;
            }
            Err(error) if error.kind() == ErrorKind::Data => error,
            Err(error) => return Err(error),
        };
        schema::run(connection, "ROLLBACK TO SAVEPOINT stretch".to_owned(), unset).await?;
        schema::run(connection, "RELEASE SAVEPOINT stretch".to_owned(), unset).await?;
        if rows.len() == 1 {
            refused.add(error.at_row(step, rows.start));
            return Ok(());
        }
        let middle = rows.start.midpoint(rows.end);
        Box::pin(self.try_stretch(connection, step, write, rows.start..middle, done, refused)).await?;
        Box::pin(self.try_stretch(connection, step, write, middle..rows.end, done, refused)).await
    }

    /// The writes to one table that these steps begin with, where all their rows are likely to be new.
    fn new_writes<'s>(&self, steps: &'s [Step]) -> Vec<&'s Write> {
        let Some(Step::Write(Write { stream, .. })) = steps.first() else { return Vec::new() };
        if !self.copies(stream) || !self.fresh.has(stream.name()) || self.apart.has(stream.name()) {
            return Vec::new();
        }
        let writes = steps.iter().map_while(|step| match step {
            Step::Write(write) if Arc::ptr_eq(&write.stream, stream) => Some(write),
            _ => None,
        });
        writes.collect()
    }

    /// Copies the rows of writes to one table at once. Where one of them is not new, or is refused, the writes go one by one.
    async fn copy_run(
        &self,
        connection: &mut PgConnection,
        first: usize,
        writes: &[&Write],
        undo: Undo,
    ) -> Result<bool> {
        let Some(Write { stream, .. }) = writes.first() else { return Ok(false) };
        let writes: Vec<Incoming<'_>> = (first..).zip(writes).map(|(step, write)| Incoming::of(write, step)).collect();
        let fit = writes.iter().all(|write| write.unfit().next().is_none());
        let copied = match fit {
            true => copy_unseen(connection, &Plan::of(stream)?, &writes, undo).await,
            false => Ok(false),
        };
        self.fresh.note(stream.name(), matches!(copied, Ok(true)));
        copied
    }

    async fn write(&self, connection: &mut PgConnection, step: usize, write: &Write) -> Result<Vec<Outcome>> {
        if write.changes.is_empty() {
            return Ok(Vec::new());
        }
        let plan = Plan::of(&write.stream)?;
        let writing = Writing {
            plan: &plan,
            incoming: Incoming::of(write, step),
            look: self.look(&write.stream),
            copies: self.copies(&write.stream),
            fresh: self.fresh.has(write.stream.name()),
        };
        let written = writing.write(connection).await;
        let all_new = |outcomes: &Vec<Outcome>| outcomes.iter().all(|outcome| *outcome == Outcome::Created);
        self.fresh.note(write.stream.name(), written.as_ref().is_ok_and(all_new));
        written
    }
}

/// Begins a transaction in which the server says nothing but errors. While rows are copied nobody reads: a trigger that says much
/// (`RAISE NOTICE`) and the rows that go there would wait for each other.
async fn begin(session: &mut Session) -> Result<Transaction<'_, sqlx::Postgres>> {
    begin_with(session, "BEGIN; SET LOCAL client_min_messages = error").await
}

/// Begins a transaction in which each statement sees what was committed before it, whatever the server begins by itself: one that
/// waited for its turn must see what was done meanwhile.
async fn begin_in_turn(session: &mut Session) -> Result<Transaction<'_, sqlx::Postgres>> {
    begin_with(session, "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL client_min_messages = error").await
}

async fn begin_with<'s>(session: &'s mut Session, how: &'static str) -> Result<Transaction<'s, sqlx::Postgres>> {
    session.begin_with(how).await.map_err(|cause| failed("there is no connection to the database", cause))
}

/// Makes final what was done, or takes it back; the inner error says that neither is known to have happened.
async fn ended<T>(transaction: Transaction<'_, sqlx::Postgres>, done: Result<T>) -> Ended<T> {
    match done {
        Ok(done) => transaction.commit().await.map(|()| Ok(done)).map_err(uncommitted),
        // The server would not hear it.
        Err(error) if Cut::Stalled.ended(&error) => Err(error),
        Err(error) => match transaction.rollback().await {
            Ok(()) => Ok(Err(error)),
            // The session has ended, which is all there is to tell.
            Err(cause) if Cut::NotNew.ended(&error) => Err(failed("the copied rows cannot be taken back", cause)),
            Err(_) => Err(error),
        },
    }
}

/// How a transaction ended; an outer error leaves its session in a state that nobody knows.
type Ended<T> = std::result::Result<Result<T>, Error>;

/// Keeps the session of a transaction that has ended.
fn kept<T>(session: Session, ended: Ended<T>) -> Result<T> {
    if ended.is_ok() {
        session.keep();
    }
    ended?
}
