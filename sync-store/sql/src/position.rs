//! How far scopes have got, and until when they must be left alone.

use chrono::{DateTime, Utc};
use sync_core::model::Scope;
use sync_core::state::{Advance, Checkpoint, FencingToken, Lease};
use sync_core::{Error, Result};

use crate::database::{Database, Transaction};
use crate::error::{from_json, from_sql, to_json};
use crate::lease::{number_of, token_of};
use crate::statement::Statement;

/// Moves a checkpoint one step, if its token and sequence hold.
pub(crate) async fn advance(
    transaction: &mut Transaction,
    lease: &Lease,
    scope: &Scope,
    advance: &Advance,
) -> Result<()> {
    let name = scope.id();
    let failed = |cause| from_sql("the checkpoint cannot be written", cause).with("scope", &name);
    let read = Statement::new("SELECT token, seq FROM _sync_position WHERE scope = ?{lock}").key(&name);
    let standing: Option<(i64, i64)> = transaction.row(read).await.map_err(failed)?;
    let (claimed, seq) =
        standing.map_or((FencingToken::default(), 0), |(token, seq)| (token_of(token), seq.cast_unsigned()));
    let claimed = claimed.max(lease.token);
    if advance.token != claimed || advance.expected != seq {
        return Err(Error::fenced(claimed, "the scope does not stand where the unit expects it")
            .with("scope", &name)
            .with("token", advance.token)
            .with("expected", advance.expected)
            .with("stands_at", seq));
    }
    let write = match standing {
        Some(_) => Statement::new("UPDATE _sync_position SET token = ?, seq = ?, checkpoint = ? WHERE scope = ?"),
        // Where two insert the first at once, the database refuses one of them, who then begins again and is fenced.
        None => Statement::new("INSERT INTO _sync_position (token, seq, checkpoint, scope) VALUES (?, ?, ?, ?)"),
    };
    let write = write
        .number(number_of(advance.token))
        .number(advance.next.seq.cast_signed())
        .text(to_json(&advance.next)?)
        .key(&name);
    transaction.execute(write).await.map(drop).map_err(failed)
}

pub(crate) async fn checkpoint(database: &Database, scope: &Scope) -> Result<Option<Checkpoint>> {
    let read = Statement::new("SELECT checkpoint FROM _sync_position WHERE scope = ?").key(&scope.id());
    let failed = |cause| from_sql("the checkpoint cannot be read", cause).with("scope", scope);
    let kept: Option<(String,)> = database.row(read).await.map_err(failed)?;
    kept.map(|(checkpoint,)| from_json(&checkpoint)).transpose()
}

pub(crate) async fn hold(transaction: &mut Transaction, scope: &Scope, until: Option<DateTime<Utc>>) -> Result<()> {
    let name = scope.id();
    let change = match until {
        Some(until) => {
            Statement::upsert("_sync_hold", &["scope"], &["until_us"]).key(&name).number(until.timestamp_micros())
        }
        None => Statement::new("DELETE FROM _sync_hold WHERE scope = ?").key(&name),
    };
    let failed = |cause| from_sql("the hold cannot be written", cause).with("scope", scope);
    transaction.execute(change).await.map(drop).map_err(failed)
}

pub(crate) async fn held_until(database: &Database, scope: &Scope) -> Result<Option<DateTime<Utc>>> {
    let read = Statement::new("SELECT until_us FROM _sync_hold WHERE scope = ?").key(&scope.id());
    let failed = |cause| from_sql("the hold cannot be read", cause).with("scope", scope);
    let until: Option<(i64,)> = database.row(read).await.map_err(failed)?;
    Ok(until.and_then(|(until,)| DateTime::from_timestamp_micros(until)))
}
