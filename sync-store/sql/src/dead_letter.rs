//! Dead letters: kept once each, in the order they came.

use sync_core::Result;
use sync_core::state::{DeadLetter, LetterId, LetterKind, LetterQuery};

use crate::database::{Database, Transaction};
use crate::error::{from_json, from_sql, to_json};
use crate::run_log::limit;
use crate::statement::Statement;

/// Keeps a letter. One that comes again keeps its place and takes the newest reason.
pub(crate) async fn keep(transaction: &mut Transaction, letter: &DeadLetter) -> Result<()> {
    let columns = &["pipeline", "stream", "kind", "letter", "resolved"];
    let keep = Statement::upsert("_sync_dead_letter", &["id"], columns)
        .key(letter.id.as_str())
        .key(&letter.scope.pipeline)
        .key(&letter.stream)
        .key(kind_name(letter.kind))
        .text(to_json(letter)?)
        .number(None);
    let failed = |cause| from_sql("a dead letter cannot be kept", cause).with("letter", &letter.id);
    transaction.execute(keep).await.map(drop).map_err(failed)
}

pub(crate) async fn resolve(transaction: &mut Transaction, id: &LetterId) -> Result<()> {
    let resolve = Statement::new("UPDATE _sync_dead_letter SET resolved = {now} WHERE id = ? AND resolved IS NULL");
    let failed = |cause| from_sql("a dead letter cannot be marked as dealt with", cause).with("letter", id);
    transaction.execute(resolve.key(id.as_str())).await.map(drop).map_err(failed)
}

/// Letters that wait, oldest first.
pub(crate) async fn page(database: &Database, query: &LetterQuery) -> Result<Vec<DeadLetter>> {
    let after = query.after.as_ref().map(LetterId::as_str);
    let page = Statement::new("SELECT letter FROM _sync_dead_letter WHERE resolved IS NULL")
        .and_if(" AND pipeline = ?", query.pipeline.as_deref())
        .and_if(" AND stream = ?", query.stream.as_deref())
        .and_if(" AND kind = ?", query.kind.map(kind_name))
        .and_if(" AND place > coalesce((SELECT place FROM _sync_dead_letter WHERE id = ?), 0)", after)
        .and(" ORDER BY place LIMIT ?")
        .number(limit(query.limit));
    let failed = |cause| from_sql("the dead letters cannot be read", cause);
    let letters: Vec<(String,)> = database.rows(page).await.map_err(failed)?;
    letters.iter().map(|(letter,)| from_json(letter)).collect()
}

fn kind_name(kind: LetterKind) -> &'static str {
    match kind {
        LetterKind::Rejected => "rejected",
        LetterKind::Parked => "parked",
    }
}
