//! Dead letters: kept once each, in the order they came.

use sqlx::{Sqlite, SqlitePool, Transaction};
use sync_core::Result;
use sync_core::state::{DeadLetter, LetterId, LetterKind, LetterQuery};

use crate::error::{from_json, from_sql, to_json};

/// Keeps a letter. One that comes again keeps its place and takes the newest reason.
pub(crate) async fn keep(transaction: &mut Transaction<'static, Sqlite>, letter: &DeadLetter) -> Result<()> {
    sqlx::query(
        "INSERT INTO _sync_dead_letter (id, pipeline, stream, kind, letter) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, letter = excluded.letter, resolved = NULL",
    )
    .bind(letter.id.as_str())
    .bind(&letter.scope.pipeline)
    .bind(&letter.stream)
    .bind(kind_name(letter.kind))
    .bind(to_json(letter)?)
    .execute(&mut **transaction)
    .await
    .map_err(|cause| from_sql("a dead letter cannot be kept", cause).with("letter", &letter.id))?;
    Ok(())
}

pub(crate) async fn resolve(transaction: &mut Transaction<'static, Sqlite>, id: &LetterId) -> Result<()> {
    sqlx::query("UPDATE _sync_dead_letter SET resolved = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') WHERE id = ? AND resolved IS NULL")
        .bind(id.as_str())
        .execute(&mut **transaction)
        .await
        .map_err(|cause| from_sql("a dead letter cannot be marked as dealt with", cause).with("letter", id))?;
    Ok(())
}

/// Letters that wait, oldest first.
pub(crate) async fn page(pool: &SqlitePool, query: &LetterQuery) -> Result<Vec<DeadLetter>> {
    let letters: Vec<String> = sqlx::query_scalar(
        "SELECT letter FROM _sync_dead_letter
         WHERE resolved IS NULL
           AND (?1 IS NULL OR pipeline = ?1) AND (?2 IS NULL OR stream = ?2) AND (?3 IS NULL OR kind = ?3)
           AND place > coalesce((SELECT place FROM _sync_dead_letter WHERE id = ?4), 0)
         ORDER BY place LIMIT ?5",
    )
    .bind(query.pipeline.as_deref())
    .bind(query.stream.as_deref())
    .bind(query.kind.map(kind_name))
    .bind(query.after.as_ref().map(LetterId::as_str))
    .bind(if query.limit == 0 { 100 } else { query.limit })
    .fetch_all(pool)
    .await
    .map_err(|cause| from_sql("the dead letters cannot be read", cause))?;
    letters.iter().map(|letter| from_json(letter)).collect()
}

fn kind_name(kind: LetterKind) -> &'static str {
    match kind {
        LetterKind::Rejected => "rejected",
        LetterKind::Parked => "parked",
    }
}
