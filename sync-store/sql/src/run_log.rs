//! What every run did.

use sync_core::Result;
use sync_core::state::{RunId, RunQuery, RunRecord};

use crate::database::{Database, Transaction};
use crate::error::{from_json, from_sql, to_json};
use crate::statement::Statement;

/// Keeps a record; a later one of the same run and scope replaces it.
pub(crate) async fn keep(transaction: &mut Transaction, record: &RunRecord) -> Result<()> {
    let keep = Statement::upsert("_sync_run", &["run", "scope"], &["pipeline", "status", "record"])
        .key(record.run.as_str())
        .key(&record.scope.id())
        .key(&record.scope.pipeline)
        .key(record.status.name())
        .text(to_json(record)?);
    let failed = |cause| from_sql("a run record cannot be kept", cause).with("run", &record.run);
    transaction.execute(keep).await.map(drop).map_err(failed)
}

/// Records of the newest runs first. A run never lies across two pages, so a page may be longer than asked.
pub(crate) async fn page(database: &Database, query: &RunQuery) -> Result<Vec<RunRecord>> {
    read(database.rows(newest(query)).await)
}

/// The records among which a run that begins finds those that have died.
pub(crate) async fn recent(transaction: &mut Transaction, first: &RunRecord) -> Result<Vec<RunRecord>> {
    read(transaction.rows(newest(&first.recent())).await)
}

fn newest(query: &RunQuery) -> Statement {
    let pipeline = query.pipeline.as_deref();
    let before = query.before.as_ref().map(RunId::as_str);
    let asked = |statement: Statement| statement.and_if(" AND pipeline = ?", pipeline).and_if(" AND run < ?", before);
    let page = Statement::new("SELECT record FROM _sync_run WHERE run >= coalesce((SELECT min(run) FROM (")
        .and("SELECT run FROM _sync_run WHERE run IS NOT NULL");
    let page = asked(page).and(" ORDER BY run DESC LIMIT ?").number(limit(query.limit)).and(") AS newest), '')");
    asked(page).and(" ORDER BY run DESC, scope")
}

fn read(records: sqlx::Result<Vec<(String,)>>) -> Result<Vec<RunRecord>> {
    let records = records.map_err(|cause| from_sql("the run log cannot be read", cause))?;
    records.iter().map(|(record,)| from_json(record)).collect()
}

/// A page where nothing is said about its length has 100.
pub(crate) fn limit(asked: u32) -> i64 {
    if asked == 0 { 100 } else { i64::from(asked) }
}
