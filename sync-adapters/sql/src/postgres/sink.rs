//! The sink: each unit is one transaction.

use std::ops::Range;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use sync_core::model::{Changes, Outcome, RowScope, Rows, Scope};
use sync_core::sink::{Intent, SinkCapabilities, Step, StepReport, StoredRow, Write, WriteReport, WriteUnit};
use sync_core::state::{Checkpoint, FencingToken};
use sync_core::{Error, ErrorKind, Key, Result, Sink, StreamSpec, Value, ValueRef};

use super::error::{failed, uncommitted};
use super::query::Plan;
use super::scope::Condition;
use super::write::{Writing, look};
use super::{Postgres, checkpoint, publish, schema, stage};
use crate::classified::{Incoming, Look};
use crate::refused::Refused;
use crate::tables::{is_conflict, written};

#[async_trait]
impl Sink for Postgres {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> SinkCapabilities {
        SinkCapabilities::all()
    }

    async fn apply(&self, unit: &WriteUnit<'_>) -> Result<WriteReport> {
        let mut transaction = self.begin().await?;
        if unit.intent == Intent::Rehearse {
            for step in unit.steps {
                match step {
                    Step::Write(write) => schema::prepare(&mut transaction, &write.stream).await?,
                    Step::Publish(publish) => schema::prepare(&mut transaction, &publish.stream).await?,
                    _ => {}
                }
            }
            let report = self.take_steps(&mut transaction, unit.steps, Intent::Rehearse).await?;
            // Keys that are checked at the commit are checked now: a rehearsal never gets there.
            schema::run(
                &mut transaction,
                "SET CONSTRAINTS ALL IMMEDIATE".to_owned(),
                "a row refers to one that is not there",
            )
            .await?;
            transaction.rollback().await.map_err(|cause| failed("the rehearsal cannot be taken back", cause))?;
            return Ok(report);
        }
        let done = self.write_unit(transaction, unit).await;
        for stream in written(unit.steps) {
            self.contended.note(stream.name(), is_conflict(&done));
        }
        match done {
            Err(error) if matches!(error.kind(), ErrorKind::Schema | ErrorKind::Data) => {
                Err(self.explained(unit.steps, error).await)
            }
            done => done,
        }
    }

    async fn open(&self, scope: &Scope, token: FencingToken) -> Result<Option<Checkpoint>> {
        let mut transaction = self.begin().await?;
        let checkpoint = checkpoint::claim(&mut transaction, scope, token).await?;
        transaction.commit().await.map_err(uncommitted)?;
        Ok(checkpoint)
    }

    async fn checkpoint(&self, scope: &Scope) -> Result<Option<Checkpoint>> {
        let mut connection = self.pool.acquire().await.map_err(unreachable)?;
        checkpoint::look(&mut connection, scope).await
    }

    async fn prepare(&self, stream: &StreamSpec) -> Result<()> {
        let mut transaction = self.begin().await?;
        schema::prepare(&mut transaction, stream).await.map_err(|error| error.with("database", &self.name))?;
        let shape = schema::shape(&mut transaction, stream).await?;
        transaction.commit().await.map_err(uncommitted)?;
        self.shapes.note(stream, shape);
        Ok(())
    }

    async fn exists(&self, stream: &StreamSpec) -> Result<bool> {
        let mut connection = self.pool.acquire().await.map_err(unreachable)?;
        schema::exists(&mut connection, stream).await
    }

    async fn stored(&self, stream: &StreamSpec, keys: &[Key]) -> Result<Vec<Option<StoredRow>>> {
        let mut connection = self.pool.acquire().await.map_err(unreachable)?;
        let plan = Plan::of(stream)?;
        let mut rows = Rows::new(std::sync::Arc::clone(stream.schema()));
        for key in keys {
            let value = |column: usize| {
                let place = plan.key_indices.iter().position(|&key| key == column);
                place.and_then(|place| key.values().get(place)).map_or(ValueRef::Null, Value::as_ref)
            };
            rows.push((0..stream.schema().width()).map(value))?;
        }
        let all: Vec<usize> = (0..keys.len()).collect();
        let standing = look(&mut connection, &plan, &Changes::upserts(rows), &all, 0, Look::Free).await?;
        Ok(standing
            .into_iter()
            .map(|standing| standing.map(|standing| StoredRow { values: standing.rows.row(0).to_values() }))
            .collect())
    }

    async fn count(&self, stream: &StreamSpec, rows: &RowScope) -> Result<Option<u64>> {
        let mut connection = self.pool.acquire().await.map_err(unreachable)?;
        let scope = Condition::of(stream, rows)?;
        let sql = format!("SELECT count(*) FROM {} t WHERE {}", Plan::of(stream)?.table, scope.sql);
        let row = scope
            .bind(sqlx::query(AssertSqlSafe(sql)))
            .fetch_one(&mut *connection)
            .await
            .map_err(|cause| failed("the rows cannot be counted", cause).with("table", stream.name()))?;
        Ok(Some(row.get::<i64, _>(0).cast_unsigned()))
    }

    async fn check(&self) -> Result<()> {
        let mut connection = self.pool.acquire().await.map_err(unreachable)?;
        let read_only: String = sqlx::query_scalar("SHOW transaction_read_only")
            .fetch_one(&mut *connection)
            .await
            .map_err(|cause| failed("the database cannot be asked", cause))?;
        let may_create: bool =
            sqlx::query_scalar("SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)")
                .fetch_one(&mut *connection)
                .await
                .map_err(|cause| failed("the database cannot be asked", cause))?;
        match (read_only.as_str(), may_create) {
            ("on", _) => Err(Error::new(ErrorKind::Forbidden, "the server only reads: connect to the primary").with("database", &self.name)),
            (_, false) => Err(Error::new(ErrorKind::Forbidden, "the account may not create tables in its schema: GRANT CREATE ON SCHEMA … TO it, or let somebody else create the tables").with("database", &self.name)),
            _ => Ok(()),
        }
    }
}

impl Postgres {
    async fn begin(&self) -> Result<sqlx::Transaction<'static, sqlx::Postgres>> {
        self.pool.begin().await.map_err(unreachable)
    }

    async fn write_unit(
        &self,
        mut transaction: sqlx::Transaction<'static, sqlx::Postgres>,
        unit: &WriteUnit<'_>,
    ) -> Result<WriteReport> {
        let report = self.take_steps(&mut transaction, unit.steps, Intent::Commit).await?;
        // By now the transaction holds the tables, and nobody changes them before it ends.
        for stream in written(unit.steps).filter(|stream| self.shapes.knows(stream)) {
            self.shapes.check(stream, &schema::shape(&mut transaction, stream).await?)?;
        }
        if let Some(advance) = unit.advance {
            checkpoint::advance(&mut transaction, unit.scope, advance, report.tally()).await?;
        }
        transaction.commit().await.map_err(uncommitted)?;
        Ok(report)
    }

    /// The error of a statement that a changed table does not take, with the difference where there is one.
    async fn explained(&self, steps: &[Step], error: Error) -> Error {
        let Ok(mut connection) = self.pool.acquire().await else { return error };
        for stream in written(steps) {
            let Ok(shape) = schema::shape(&mut connection, stream).await else { return error };
            if let Err(difference) = self.shapes.check(stream, &shape) {
                return difference.caused_by(error);
            }
        }
        error
    }

    /// How rows of a table are looked at.
    fn look(&self, stream: &StreamSpec) -> Look {
        if self.contended.has(stream.name()) { Look::Locked } else { Look::Free }
    }

    async fn take_steps(&self, connection: &mut PgConnection, steps: &[Step], intent: Intent) -> Result<WriteReport> {
        let mut report = WriteReport::default();
        let mut refused = Refused::default();
        for (index, step) in steps.iter().enumerate() {
            report.steps.push(match step {
                Step::Write(write) if intent == Intent::Rehearse => {
                    let all = 0..write.changes.len();
                    let outcomes = self.rehearse(connection, index, write, all, &mut refused).await?;
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
                    publish::publish(connection, index, publish, self.look(&publish.stream)).await?
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

    /// Writes rows, by ever shorter stretches where one is refused: so it is named, and the others go on behind it.
    async fn rehearse(
        &self,
        connection: &mut PgConnection,
        step: usize,
        write: &Write,
        rows: Range<usize>,
        refused: &mut Refused,
    ) -> Result<Vec<Outcome>> {
        if rows.is_empty() || refused.is_full() {
            return Ok(Vec::new());
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
                schema::run(connection, "RELEASE SAVEPOINT stretch".to_owned(), unset).await?;
                return Ok(outcomes);
            }
            Err(error) if error.kind() == ErrorKind::Data => error,
            Err(error) => return Err(error),
        };
        schema::run(connection, "ROLLBACK TO SAVEPOINT stretch".to_owned(), unset).await?;
        schema::run(connection, "RELEASE SAVEPOINT stretch".to_owned(), unset).await?;
        if rows.len() == 1 {
            refused.add(error.at_row(step, rows.start));
            return Ok(Vec::new());
        }
        let middle = rows.start.midpoint(rows.end);
        let mut outcomes = Box::pin(self.rehearse(connection, step, write, rows.start..middle, refused)).await?;
        outcomes.extend(Box::pin(self.rehearse(connection, step, write, middle..rows.end, refused)).await?);
        Ok(outcomes)
    }

    async fn write(&self, connection: &mut PgConnection, step: usize, write: &Write) -> Result<Vec<Outcome>> {
        if write.changes.is_empty() {
            return Ok(Vec::new());
        }
        let plan = Plan::of(&write.stream)?;
        let writing = Writing {
            plan: &plan,
            incoming: Incoming {
                stream: &write.stream,
                changes: &write.changes,
                rules: write.rules(),
                expect: &write.expect,
                step,
            },
            look: self.look(&write.stream),
            insert_first: !self.known.has(write.stream.name()),
        };
        let outcomes = writing.write(connection).await?;
        let new = outcomes.iter().filter(|outcome| **outcome == Outcome::Created).count();
        self.known.note(write.stream.name(), new * 2 < outcomes.len());
        Ok(outcomes)
    }
}

fn unreachable(cause: sqlx::Error) -> Error {
    failed("the database cannot be reached", cause)
}
