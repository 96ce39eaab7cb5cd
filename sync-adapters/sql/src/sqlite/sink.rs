//! The sink: each unit is one transaction.

use async_trait::async_trait;
use rusqlite::{Connection, TransactionBehavior};
use sync_core::model::{RowScope, Scope};
use sync_core::sink::{Altered, Intent, SinkCapabilities, Step, StepReport, StoredRow, WriteReport, WriteUnit};
use sync_core::state::{Advance, Checkpoint, FencingToken};
use sync_core::{Error, Key, Result, Sink, StreamSpec, Value, ValueRef};

use super::deferred::Orphans;
use super::error::failed;
use super::plan::Plan;
use super::refusals::Refusals;
use super::{Sqlite, checkpoint, publish, schema, scope, stage, write};

#[async_trait]
impl Sink for Sqlite {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> SinkCapabilities {
        SinkCapabilities::all()
    }

    async fn apply(&self, unit: &WriteUnit<'_>) -> Result<WriteReport> {
        if unit.intent == Intent::Rehearse {
            // Nothing was prepared before a rehearsal.
            unit.steps.iter().filter_map(target).try_for_each(|stream| self.names.check(stream))?;
        }
        // Steps share their rows, so this copies none.
        let (scope, steps, advance, intent) =
            (unit.scope.clone(), unit.steps.to_vec(), unit.advance.cloned(), unit.intent);
        self.worker.call(move |connection| apply(connection, &scope, &steps, advance.as_ref(), intent)).await
    }

    async fn open(&self, scope: &Scope, token: FencingToken) -> Result<Option<Checkpoint>> {
        let scope = scope.clone();
        self.worker
            .call(move |connection| {
                in_transaction(connection, |connection| checkpoint::claim(connection, &scope, token))
            })
            .await
    }

    async fn checkpoint(&self, scope: &Scope) -> Result<Option<Checkpoint>> {
        let scope = scope.clone();
        self.worker
            .call(move |connection| Ok(checkpoint::read(connection, &scope)?.map(|(_, checkpoint)| checkpoint)))
            .await
    }

    async fn prepare(&self, stream: &StreamSpec) -> Result<Altered> {
        self.names.check(stream)?;
        let table = stream.clone();
        let prepare = move |connection: &mut Connection| {
            in_transaction(connection, |connection| schema::prepare(connection, &table))
        };
        let altered = self.worker.call(prepare).await?;
        self.alterations.begin(stream, altered);
        Ok(self.alterations.end(stream))
    }

    async fn lacking(&self, stream: &StreamSpec) -> Result<Altered> {
        self.names.check(stream)?;
        let table = stream.clone();
        self.worker.call(move |connection| schema::lacking(connection, &table)).await
    }

    async fn exists(&self, stream: &StreamSpec) -> Result<bool> {
        let table = stream.name().to_owned();
        self.worker.call(move |connection| Ok(!schema::columns(connection, &table)?.is_empty())).await
    }

    async fn stored(&self, stream: &StreamSpec, keys: &[Key]) -> Result<Vec<Option<StoredRow>>> {
        let (stream, keys) = (stream.clone(), keys.to_vec());
        self.worker.call(move |connection| stored(connection, &stream, &keys)).await
    }

    async fn count(&self, stream: &StreamSpec, rows: &RowScope) -> Result<Option<u64>> {
        let (stream, rows) = (stream.clone(), rows.clone());
        self.worker.call(move |connection| count(connection, &stream, &rows).map(Some)).await
    }

    async fn check(&self) -> Result<()> {
        // Taking the write lock shows that the file can be written; nothing is.
        let probe = |connection: &mut Connection| {
            connection
                .execute_batch("BEGIN IMMEDIATE; ROLLBACK")
                .map_err(|cause| failed("the database cannot be written", cause))
        };
        self.worker.call(probe).await
    }
}

fn apply(
    connection: &mut Connection,
    scope: &Scope,
    steps: &[Step],
    advance: Option<&Advance>,
    intent: Intent,
) -> Result<WriteReport> {
    if intent == Intent::Rehearse {
        return rehearse(connection, steps);
    }
    in_transaction(connection, |connection| {
        let report = take_steps(connection, steps, intent)?;
        if let Some(advance) = advance {
            checkpoint::advance(connection, scope, advance, report.tally())?;
        }
        Ok(report)
    })
}

/// The same steps in a transaction that is rolled back, tables included.
fn rehearse(connection: &mut Connection, steps: &[Step]) -> Result<WriteReport> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|cause| failed("no transaction can begin", cause))?;
    steps.iter().filter_map(target).try_for_each(|stream| schema::prepare(&transaction, stream).map(drop))?;
    let orphans = steps.iter().filter_map(target).map(|stream| Ok((stream, Orphans::of(&transaction, stream)?)));
    let orphans = orphans.collect::<Result<Vec<_>>>()?;
    let report = take_steps(&transaction, steps, Intent::Rehearse)?;
    orphans.into_iter().try_for_each(|(stream, before)| before.check(&transaction, stream, steps))?;
    Ok(report)
}

/// The stream whose table a step writes.
fn target(step: &Step) -> Option<&StreamSpec> {
    match step {
        Step::Write(write) => Some(&write.stream),
        Step::Publish(publish) => Some(&publish.stream),
        _ => None,
    }
}

fn take_steps(connection: &Connection, steps: &[Step], intent: Intent) -> Result<WriteReport> {
    let mut report = WriteReport::default();
    let mut refusals = Refusals::new(connection, steps, intent)?;
    for (index, step) in steps.iter().enumerate() {
        report.steps.push(match step {
            Step::Write(write) => StepReport::Rows(write::write(connection, index, write, &mut refusals)?),
            Step::Stage(stage) => StepReport::Rows(stage::append(connection, index, stage)?),
            Step::Publish(publish) => {
                // What is published depends on all rows before it.
                refusals.finish()?;
                publish::publish(connection, index, publish, &mut refusals)?
            }
            Step::Discard { stage, stream } => StepReport::Discarded(stage::discard(connection, stage, stream)?),
            other => return Err(Error::internal(format!("this sink does not know the step {other:?}"))),
        });
    }
    refusals.finish()?;
    Ok(report)
}

fn in_transaction<T>(connection: &mut Connection, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|cause| failed("no transaction can begin", cause))?;
    // On an error the transaction is rolled back when it is dropped.
    let done = work(&transaction)?;
    transaction.commit().map_err(|cause| failed("the transaction cannot be committed", cause))?;
    Ok(done)
}

fn stored(connection: &Connection, stream: &StreamSpec, keys: &[Key]) -> Result<Vec<Option<StoredRow>>> {
    let plan = Plan::of(stream)?;
    let row = |key: &Key| {
        let values: Vec<ValueRef<'_>> = key.values().iter().map(Value::as_ref).collect();
        Ok(write::read(connection, &plan, &values)?.map(|values| StoredRow { values }))
    };
    keys.iter().map(row).collect()
}

fn count(connection: &Connection, stream: &StreamSpec, rows: &RowScope) -> Result<u64> {
    let plan = Plan::of(stream)?;
    let scope = scope::condition(connection, stream, rows)?;
    let sql = format!("SELECT count(*) FROM {} t WHERE {}", plan.table, scope.sql);
    let rows: i64 = connection
        .query_row(&sql, rusqlite::params_from_iter(&scope.values), |row| row.get(0))
        .map_err(|cause| failed("the rows cannot be counted", cause).with("table", stream.name()))?;
    Ok(rows.cast_unsigned())
}
