//! What every run did.

use sqlx::{Sqlite, SqlitePool, Transaction};
use sync_core::Result;
use sync_core::state::{RunId, RunQuery, RunRecord};

use crate::error::{from_json, from_sql, to_json};

/// Keeps a record; a later one of the same run and scope replaces it.
pub(crate) async fn keep(transaction: &mut Transaction<'static, Sqlite>, record: &RunRecord) -> Result<()> {
    sqlx::query(
        "INSERT INTO _sync_run (run, scope, pipeline, status, record) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (run, scope) DO UPDATE SET status = excluded.status, record = excluded.record",
    )
    .bind(record.run.as_str())
    .bind(record.scope.to_string())
    .bind(&record.scope.pipeline)
    .bind(record.status.name())
    .bind(to_json(record)?)
    .execute(&mut **transaction)
    .await
    .map_err(|cause| from_sql("a run record cannot be kept", cause).with("run", &record.run))?;
    Ok(())
}

/// Records of the newest runs first. A run never lies across two pages, so a page may be longer than asked.
pub(crate) async fn page(pool: &SqlitePool, query: &RunQuery) -> Result<Vec<RunRecord>> {
    let records: Vec<String> = sqlx::query_scalar(
        "SELECT record FROM _sync_run
         WHERE (?1 IS NULL OR pipeline = ?1) AND (?2 IS NULL OR run < ?2)
           AND run >= coalesce(
             (SELECT min(run) FROM (SELECT run FROM _sync_run
                WHERE (?1 IS NULL OR pipeline = ?1) AND (?2 IS NULL OR run < ?2) ORDER BY run DESC LIMIT ?3)), '')
         ORDER BY run DESC, scope",
    )
    .bind(query.pipeline.as_deref())
    .bind(query.before.as_ref().map(RunId::as_str))
    .bind(if query.limit == 0 { 100 } else { query.limit })
    .fetch_all(pool)
    .await
    .map_err(|cause| from_sql("the run log cannot be read", cause))?;
    records.iter().map(|record| from_json(record)).collect()
}
