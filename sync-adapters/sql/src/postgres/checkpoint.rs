//! The checkpoints a sink keeps beside its rows, fenced by token and sequence.

use sqlx::{PgConnection, Row as _};
use sync_core::Result;
use sync_core::model::{Scope, Tally};
use sync_core::state::{Advance, Checkpoint, FencingToken};

use super::error::failed;
use super::schema;
use crate::position::{fenced, from_json, to_json};

const CREATE: &str = "CREATE TABLE IF NOT EXISTS _sync_checkpoint (
    scope      text PRIMARY KEY,
    token      bigint NOT NULL,
    seq        bigint NOT NULL,
    checkpoint text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
)";

/// Claims a scope: from now on lower tokens are refused.
pub(crate) async fn claim(
    connection: &mut PgConnection,
    scope: &Scope,
    token: FencingToken,
) -> Result<Option<Checkpoint>> {
    let claimed = |cause| failed("the scope cannot be claimed", cause).with("scope", scope);
    if !exists(connection).await? {
        schema::alone(connection).await?;
        sqlx::query(CREATE).execute(&mut *connection).await.map_err(claimed)?;
    }
    // The row is there and locked before anybody decides by it.
    sqlx::query("INSERT INTO _sync_checkpoint (scope, token, seq, checkpoint) VALUES ($1, 0, 0, $2) ON CONFLICT (scope) DO NOTHING")
        .bind(scope.id())
        .bind(to_json(&Checkpoint::default())?)
        .execute(&mut *connection)
        .await
        .map_err(claimed)?;
    let row = sqlx::query("SELECT token, checkpoint FROM _sync_checkpoint WHERE scope = $1 FOR UPDATE")
        .bind(scope.id())
        .fetch_one(&mut *connection)
        .await
        .map_err(claimed)?;
    let newest = FencingToken(row.try_get::<i64, _>(0).map_err(claimed)?.cast_unsigned());
    if newest > token {
        return Err(fenced(newest, scope));
    }
    let checkpoint = from_json(&row.try_get::<String, _>(1).map_err(claimed)?, scope)?;
    sqlx::query("UPDATE _sync_checkpoint SET token = $2 WHERE scope = $1")
        .bind(scope.id())
        .bind(token.0.cast_signed())
        .execute(&mut *connection)
        .await
        .map_err(claimed)?;
    Ok((checkpoint != Checkpoint::default()).then_some(checkpoint))
}

/// The checkpoint of a scope, without claiming it.
pub(crate) async fn look(connection: &mut PgConnection, scope: &Scope) -> Result<Option<Checkpoint>> {
    if !exists(connection).await? {
        return Ok(None);
    }
    let unread = |cause| failed("the checkpoint cannot be read", cause).with("scope", scope);
    let kept: Option<String> = sqlx::query_scalar("SELECT checkpoint FROM _sync_checkpoint WHERE scope = $1")
        .bind(scope.id())
        .fetch_optional(connection)
        .await
        .map_err(unread)?;
    kept.map(|kept| from_json(&kept, scope)).transpose()
}

/// Moves the checkpoint one step, with what became of the unit's rows. Fails, so that the whole unit is rolled back, when
/// somebody else has claimed the scope or it does not stand where the unit expects it.
pub(crate) async fn advance(
    connection: &mut PgConnection,
    scope: &Scope,
    advance: &Advance,
    tally: Tally,
) -> Result<()> {
    let next = Checkpoint { tally, ..advance.next.clone() };
    let failed = |cause| failed("the checkpoint cannot be written", cause).with("scope", scope);
    let moved = sqlx::query(
        "UPDATE _sync_checkpoint SET seq = $1, checkpoint = $2, updated_at = now() WHERE scope = $3 AND token = $4 AND seq = $5",
    )
    .bind(next.seq.cast_signed())
    .bind(to_json(&next)?)
    .bind(scope.id())
    .bind(advance.token.0.cast_signed())
    .bind(advance.expected.cast_signed())
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    if moved.rows_affected() == 1 {
        return Ok(());
    }
    let newest: Option<i64> = sqlx::query_scalar("SELECT token FROM _sync_checkpoint WHERE scope = $1")
        .bind(scope.id())
        .fetch_optional(connection)
        .await
        .map_err(failed)?;
    let newest = FencingToken(newest.unwrap_or_default().cast_unsigned());
    Err(fenced(newest, scope).with("token", advance.token).with("expected", advance.expected))
}

async fn exists(connection: &mut PgConnection) -> Result<bool> {
    sqlx::query_scalar("SELECT to_regclass('_sync_checkpoint') IS NOT NULL")
        .fetch_one(connection)
        .await
        .map_err(|cause| failed("the checkpoints cannot be looked for", cause))
}
