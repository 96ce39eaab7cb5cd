//! The checkpoints a sink keeps beside its rows, fenced by token and sequence.

use rusqlite::{Connection, OptionalExtension, params};
use sync_core::Result;
use sync_core::model::{Scope, Tally};
use sync_core::state::{Advance, Checkpoint, FencingToken};

use super::error::failed;
use crate::position::{fenced, from_json, to_json};

const CREATE: &str = "CREATE TABLE IF NOT EXISTS _sync_checkpoint (
    scope      TEXT PRIMARY KEY NOT NULL,
    token      INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    checkpoint TEXT NOT NULL,
    updated_at TEXT NOT NULL
) STRICT";

/// Claims a scope: from now on lower tokens are refused.
pub(crate) fn claim(connection: &Connection, scope: &Scope, token: FencingToken) -> Result<Option<Checkpoint>> {
    let claimed = |cause| failed("the scope cannot be claimed", cause).with("scope", scope);
    connection.execute_batch(CREATE).map_err(claimed)?;
    let standing = read(connection, scope)?;
    if let Some((newer, _)) = &standing
        && *newer > token
    {
        return Err(fenced(*newer, scope));
    }
    let checkpoint =
        standing.map(|(_, checkpoint)| checkpoint).filter(|checkpoint| *checkpoint != Checkpoint::default());
    let body = to_json(&checkpoint.clone().unwrap_or_default())?;
    connection
        .execute(
            "INSERT INTO _sync_checkpoint (scope, token, seq, checkpoint, updated_at) VALUES (?1, ?2, 0, ?3, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
             ON CONFLICT (scope) DO UPDATE SET token = excluded.token",
            params![scope.id(), token.0.cast_signed(), body],
        )
        .map_err(claimed)?;
    Ok(checkpoint)
}

/// The checkpoint of a scope, and the token that claimed it.
pub(crate) fn read(connection: &Connection, scope: &Scope) -> Result<Option<(FencingToken, Checkpoint)>> {
    let unread = |cause| failed("the checkpoint cannot be read", cause).with("scope", scope);
    let there: Option<bool> = connection
        .query_row("SELECT 1 FROM sqlite_schema WHERE name = '_sync_checkpoint'", [], |row| row.get(0))
        .optional()
        .map_err(unread)?;
    if there.is_none() {
        return Ok(None);
    }
    let row: Option<(i64, String)> = connection
        .prepare_cached("SELECT token, checkpoint FROM _sync_checkpoint WHERE scope = ?")
        .and_then(|mut statement| statement.query_row([scope.id()], |row| Ok((row.get(0)?, row.get(1)?))).optional())
        .map_err(unread)?;
    row.map(|(token, body)| Ok((FencingToken(token.cast_unsigned()), from_json(&body, scope)?))).transpose()
}

/// Moves the checkpoint one step, with what became of the unit's rows. Fails, so that the whole unit is rolled back, when
/// somebody else has claimed the scope or it does not stand where the unit expects it.
pub(crate) fn advance(connection: &Connection, scope: &Scope, advance: &Advance, tally: Tally) -> Result<()> {
    let next = Checkpoint { tally, ..advance.next.clone() };
    let body = to_json(&next)?;
    let moved = connection
        .prepare_cached(
            "UPDATE _sync_checkpoint SET seq = ?1, checkpoint = ?2, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
             WHERE scope = ?3 AND token = ?4 AND seq = ?5
             AND NOT EXISTS (SELECT 1 FROM _sync_checkpoint AS live WHERE live.scope = ?6 AND live.token > ?4)",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                next.seq.cast_signed(),
                body,
                scope.id(),
                advance.token.0.cast_signed(),
                advance.expected.cast_signed(),
                scope.live().id()
            ])
        })
        .map_err(|cause| failed("the checkpoint cannot be written", cause).with("scope", scope))?;
    if moved == 1 {
        return Ok(());
    }
    let standing = [read(connection, scope)?, read(connection, &scope.live())?];
    let newest = standing.into_iter().flatten().map(|(token, _)| token).max().unwrap_or_default();
    Err(fenced(newest, scope).with("token", advance.token).with("expected", advance.expected))
}
