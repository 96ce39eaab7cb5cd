//! The sink: each unit is one transaction.

use async_trait::async_trait;
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Row as _};
use sync_core::model::{Changes, Outcome, RowScope, Rows, Scope};
use sync_core::sink::{
    Altered, Intent, SinkCapabilities, Step, StepReport, StoredRow, Write, WriteMode, WriteReport, WriteUnit,
};
use sync_core::state::{Checkpoint, FencingToken};
use sync_core::{Error, ErrorKind, Key, Result, Sink, StreamSpec, Value, ValueRef};

use super::batch::{ask, run};
use super::checkpoint::NO_SUCH_TABLE;
use super::error::{failed, number, uncommitted};
use super::pool::Session;
use super::query::{Plan, name};
use super::scope::Condition;
use super::stage::Places;
use super::write::{Writing, look};
use super::{MySql, checkpoint, publish, rehearsal, schema, stage, table};
use crate::classified::{Incoming, Look};
use crate::refused::Refused;
use crate::tables::{is_conflict, written};

/// So many rows of a first write are looked for, to learn whether they are new.
const PROBE: usize = 8;

#[async_trait]
impl Sink for MySql {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> SinkCapabilities {
        // Measured (ADR 0014): a clustered index takes scattered keys at four fifths of the speed of ordered ones, and rows
        // that are staged first are written twice.
        let mut capabilities = SinkCapabilities::all();
        capabilities.sorts_first_load = false;
        capabilities
    }

    async fn apply(&self, unit: &WriteUnit<'_>) -> Result<WriteReport> {
        let session = self.session().await?;
        if unit.intent == Intent::Rehearse {
            return rehearsal::rehearse(self, session, unit.steps).await;
        }
        let done = self.write_unit(session, unit).await;
        for stream in written(unit.steps) {
            self.contended.note(stream.name(), is_conflict(&done));
        }
        done
    }

    async fn open(&self, scope: &Scope, token: FencingToken) -> Result<Option<Checkpoint>> {
        let mut session = self.session().await?;
        let claimed = checkpoint::claim(&mut session, scope, token).await;
        // Each run asks with the lowest token first, and is told the newest one as an error.
        if claimed.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::Fenced) {
            session.release();
        }
        claimed
    }

    async fn checkpoint(&self, scope: &Scope) -> Result<Option<Checkpoint>> {
        let mut session = self.session().await?;
        let checkpoint = checkpoint::look(&mut session, scope).await?;
        session.release();
        Ok(checkpoint)
    }

    async fn prepare(&self, stream: &StreamSpec) -> Result<Altered> {
        let mut session = self.session().await?;
        let named = |error: Error| error.with("database", &self.name);
        // First how the table is written down, then what its columns are: who changes it in between is noticed by the unit.
        let show = table::show(stream.name())?;
        let definition = ask(&mut session, show).await.ok();
        let note = |altered| self.alterations.begin(stream, altered);
        let prepared = schema::prepare(&mut session, stream, self.server(), note).await;
        if prepared.as_ref().is_err_and(|error| error.kind() != ErrorKind::Unavailable) {
            // What was refused was not done.
            self.alterations.end(stream);
        }
        let shape = prepared.map_err(named)?;
        self.definitions.note(stream.name(), definition.and_then(|shown| table::definition(shown.first()?)));
        self.shapes.note(stream, shape);
        session.release();
        Ok(self.alterations.end(stream))
    }

    async fn lacking(&self, stream: &StreamSpec) -> Result<Altered> {
        let mut session = self.session().await?;
        let named = |error: Error| error.with("database", &self.name);
        let lacking = schema::lacking(&mut session, stream, self.server()).await.map_err(named)?;
        session.release();
        Ok(lacking)
    }

    async fn exists(&self, stream: &StreamSpec) -> Result<bool> {
        let mut session = self.session().await?;
        let exists = table::exists(&mut session, stream.name()).await?;
        session.release();
        Ok(exists)
    }

    async fn stored(&self, stream: &StreamSpec, keys: &[Key]) -> Result<Vec<Option<StoredRow>>> {
        let mut session = self.session().await?;
        let plan = Plan::of(stream, self.server())?;
        let mut rows = Rows::new(std::sync::Arc::clone(stream.schema()));
        for key in keys {
            let value = |column: usize| {
                let place = plan.key.iter().position(|&key| key == column);
                place.and_then(|place| key.values().get(place)).map_or(ValueRef::Null, Value::as_ref)
            };
            rows.push((0..stream.schema().width()).map(value))?;
        }
        let all: Vec<usize> = (0..keys.len()).collect();
        let standing = look(&mut session, &plan, &Changes::upserts(rows), &all, 0, Look::Free).await?;
        session.release();
        let stored = |place| standing.at(place).map(|(row, _)| StoredRow { values: row.to_values() });
        Ok((0..keys.len()).map(stored).collect())
    }

    async fn count(&self, stream: &StreamSpec, rows: &RowScope) -> Result<Option<u64>> {
        let mut session = self.session().await?;
        let scope = Condition::of(stream, self.server(), rows)?;
        let sql = format!("SELECT count(*) FROM {} t WHERE {}", Plan::of(stream, self.server())?.table, scope.sql);
        let row = sqlx::query_with(AssertSqlSafe(sql), scope.arguments()?)
            .fetch_one(&mut *session)
            .await
            .map_err(|cause| failed("the rows cannot be counted", cause).with("table", stream.name()))?;
        session.release();
        Ok(Some(row.get::<i64, _>(0).cast_unsigned()))
    }

    async fn check(&self) -> Result<()> {
        let mut session = self.session().await?;
        schema::writable(&mut session).await.map_err(|error| error.with("database", &self.name))?;
        let may_create = may_create(&mut session).await?;
        session.release();
        if may_create {
            return Ok(());
        }
        let what = "the account may not create tables: GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP, CREATE TEMPORARY TABLES on the database to it";
        Err(Error::new(ErrorKind::Forbidden, what).with("database", &self.name))
    }
}

/// Whether the account may create tables in its database, as far as it can see. Rights that come by a role are not seen.
async fn may_create(connection: &mut MySqlConnection) -> Result<bool> {
    let account = "concat('''', replace(CURRENT_USER(), '@', '''@'''), '''')";
    let sql = format!(
        "SELECT CURRENT_ROLE() IS NOT NULL AND CURRENT_ROLE() <> 'NONE'
             OR EXISTS (SELECT 1 FROM information_schema.USER_PRIVILEGES
                        WHERE GRANTEE = {account} AND PRIVILEGE_TYPE = 'CREATE')
             OR EXISTS (SELECT 1 FROM information_schema.SCHEMA_PRIVILEGES
                        WHERE GRANTEE = {account} AND PRIVILEGE_TYPE = 'CREATE'
                          AND DATABASE() LIKE TABLE_SCHEMA ESCAPE '\\')"
    );
    let may: i64 = sqlx::raw_sql(AssertSqlSafe(sql))
        .fetch_one(connection)
        .await
        .and_then(|row| row.try_get_unchecked(0))
        .map_err(|cause| failed("the rights of the account cannot be looked at", cause))?;
    Ok(may != 0)
}

impl MySql {
    async fn write_unit(&self, mut session: Session, unit: &WriteUnit<'_>) -> Result<WriteReport> {
        let (mut places, _) = stage::make(&mut session, self.server(), unit.steps, false).await?;
        match self.in_transaction(&mut session, unit, &mut places).await {
            Ok(report) => {
                sqlx::raw_sql("COMMIT").execute(&mut *session).await.map_err(uncommitted)?;
                // The unit is done, whatever becomes of the tables that it needs no more: the next stage sweeps them away.
                if stage::clean_up(&mut session, places, true).await.is_ok() {
                    session.release();
                }
                Ok(report)
            }
            // Nothing is known of the connection, or it leads to a server that only reads now: it is closed, and the
            // server takes the transaction back.
            Err(error) if error.kind() == ErrorKind::Unavailable => Err(error),
            Err(error) => {
                let taken_back = run(&mut session, "ROLLBACK".to_owned(), "the unit cannot be taken back").await;
                if taken_back.is_ok() && stage::clean_up(&mut session, places, false).await.is_ok() {
                    session.release();
                }
                Err(error)
            }
        }
    }

    async fn in_transaction(
        &self,
        session: &mut Session,
        unit: &WriteUnit<'_>,
        places: &mut Places,
    ) -> Result<WriteReport> {
        self.begin(session, unit.steps).await?;
        let report = take_steps(self, session, unit.steps, places).await?;
        if let Some(advance) = unit.advance {
            checkpoint::advance(session, unit.scope, advance, report.tally()).await?;
        }
        Ok(report)
    }

    /// Begins the transaction, holds the tables that are written, so that nobody changes them until it ends, and sees that
    /// they are still what they were when they were prepared: all that with one packet, unless somebody has changed one.
    async fn begin(&self, session: &mut Session, steps: &[Step]) -> Result<()> {
        let known: Vec<&StreamSpec> = written(steps).filter(|stream| self.shapes.knows(stream)).collect();
        let mut sql = "START TRANSACTION READ WRITE".to_owned();
        for stream in &known {
            sql += &format!("; SELECT 1 FROM {} LIMIT 0; {}", name(stream.name())?, table::show(stream.name())?);
        }
        let answers = match ask(session, sql).await {
            // Who compares the columns says that the table is gone.
            Err(cause) if number(&cause) == Some(NO_SUCH_TABLE) => Vec::new(),
            answers => answers.map_err(|cause| failed("no transaction can begin", cause))?,
        };
        for (place, stream) in known.into_iter().enumerate() {
            let shown = answers.get(2 + 2 * place).and_then(|rows| table::definition(rows));
            if shown.as_deref().is_some_and(|shown| self.definitions.is(stream.name(), shown)) {
                continue;
            }
            self.shapes.check(stream, &table::shape(session, stream).await?)?;
            self.definitions.note(stream.name(), shown);
        }
        Ok(())
    }

    /// How rows of a table are looked at.
    pub(crate) fn look(&self, stream: &StreamSpec) -> Look {
        if self.contended.has(stream.name()) { Look::Locked } else { Look::Free }
    }

    async fn write(
        &self,
        connection: &mut MySqlConnection,
        step: usize,
        write: &Write,
        refused: &mut Refused,
    ) -> Result<Vec<Outcome>> {
        if write.changes.is_empty() {
            return Ok(Vec::new());
        }
        let plan = Plan::of(&write.stream, self.server())?;
        let incoming = Incoming::of(write, step);
        let guess = self.guess(connection, &plan, &incoming).await?;
        let look = if guess == Guess::Changing { Look::Locked } else { self.look(&write.stream) };
        let writing = Writing { plan: &plan, incoming, look, insert_first: guess == Guess::New };
        let outcomes = writing.write(connection, refused).await?;
        self.written.note(write.stream.name(), true);
        let guess = Guess::of(&outcomes);
        self.known.note(write.stream.name(), guess != Guess::New);
        self.changing.note(write.stream.name(), guess == Guess::Changing);
        Ok(outcomes)
    }

    /// What probably becomes of these rows: what became of those of the last write. The first time nothing is known: then a few
    /// of them are looked for, since a thousand that are sent in vain cost as much as the whole rest.
    async fn guess(&self, connection: &mut MySqlConnection, plan: &Plan<'_>, incoming: &Incoming<'_>) -> Result<Guess> {
        let table = plan.stream.name();
        if self.written.has(table) {
            return Ok(match (self.known.has(table), self.changing.has(table)) {
                (false, _) => Guess::New,
                (true, true) => Guess::Changing,
                (true, false) => Guess::Unchanged,
            });
        }
        let rows = incoming.changes.len();
        if rows <= PROBE || plan.key.is_empty() || incoming.rules.mode == WriteMode::Append {
            return Ok(if rows > PROBE { Guess::New } else { Guess::Unchanged });
        }
        let some: Vec<usize> = (0..PROBE)
            .map(|place| place * rows / PROBE)
            .filter(|&row| plan.key.iter().all(|&key| !incoming.changes.rows().row(row).at(key).is_null()))
            .collect();
        let found = look(connection, plan, incoming.changes, &some, incoming.step, Look::Free).await?;
        let outcome = |(place, &row): (usize, &usize)| {
            let standing = found.at(place).map(|(standing, _)| standing);
            incoming.rules.outcome(incoming.stream, standing, incoming.changes.at(row))
        };
        Ok(Guess::of(&some.iter().enumerate().map(outcome).collect::<Vec<_>>()))
    }
}

/// What becomes of most rows of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guess {
    New,
    Changing,
    Unchanged,
}

impl Guess {
    fn of(outcomes: &[Outcome]) -> Self {
        let most = |wanted: &[Outcome]| {
            outcomes.iter().filter(|outcome| wanted.contains(outcome)).count() * 2 >= outcomes.len()
        };
        match () {
            () if most(&[Outcome::Created]) => Self::New,
            () if most(&[Outcome::Updated, Outcome::Deleted]) => Self::Changing,
            () => Self::Unchanged,
        }
    }
}

/// Takes all steps of a unit, in a transaction that somebody else begins and ends.
pub(crate) async fn take_steps(
    sink: &MySql,
    connection: &mut MySqlConnection,
    steps: &[Step],
    places: &mut Places,
) -> Result<WriteReport> {
    let mut report = WriteReport::default();
    let mut refused = Refused::default();
    for (index, step) in steps.iter().enumerate() {
        if matches!(step, Step::Publish(_)) || refused.is_full() {
            // What is published depends on all rows before it.
            refused.finish()?;
        }
        let place = places.of(index).cloned();
        report.steps.push(match step {
            Step::Write(write) => StepReport::Rows(sink.write(connection, index, write, &mut refused).await?),
            Step::Stage(stage) => {
                let place = place.ok_or_else(|| Error::internal("a stage without a table"))?;
                StepReport::Rows(stage::append(connection, sink.server(), index, stage, &place, &mut refused).await?)
            }
            Step::Publish(publish) => publish::publish(connection, sink, index, publish, places, place).await?,
            Step::Discard { stage, stream } => {
                StepReport::Discarded(publish::discard(connection, sink.server(), stage, stream, places, place).await?)
            }
            other => return Err(Error::internal(format!("this sink does not know the step {other:?}"))),
        });
    }
    refused.finish()?;
    Ok(report)
}
