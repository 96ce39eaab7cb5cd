//! The checkpoints a sink keeps beside its rows, fenced by token and sequence.

use sqlx::{Connection as _, PgConnection, Row as _};
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

/// Claims a scope: from now on lower tokens are refused. One statement does it, which commits by itself; the lowest token, by
/// which the engine asks for the newest one, claims nothing, and only looks.
pub(crate) async fn claim(
    connection: &mut PgConnection,
    scope: &Scope,
    token: FencingToken,
) -> Result<Option<Checkpoint>> {
    let claimed = |cause| failed("the scope cannot be claimed", cause).with("scope", scope);
    if token == FencingToken::default() {
        return match newest(connection, scope).await {
            Ok(Some((newest, _))) if newest > token => Err(fenced(newest, scope)),
            Ok(found) => found.map_or(Ok(None), |(_, kept)| from_claim(&kept, scope)),
            Err(cause) if is_missing(&cause) => Ok(None),
            Err(cause) => Err(claimed(cause)),
        };
    }
    let kept = match upsert(connection, scope, token).await? {
        Err(cause) if is_missing(&cause) => {
            create(connection).await?;
            upsert(connection, scope, token).await?
        }
        done => done,
    };
    match kept.map_err(claimed)? {
        Some(kept) => from_claim(&kept, scope),
        None => {
            let newest = newest(connection, scope).await.map_err(claimed)?;
            Err(fenced(newest.map_or(token, |(newest, _)| newest), scope))
        }
    }
}

/// Nothing comes back where the scope has a higher token.
async fn upsert(
    connection: &mut PgConnection,
    scope: &Scope,
    token: FencingToken,
) -> Result<sqlx::Result<Option<String>>> {
    let kept = sqlx::query_scalar(
        "INSERT INTO _sync_checkpoint AS c (scope, token, seq, checkpoint) VALUES ($1, $2, 0, $3)
         ON CONFLICT (scope) DO UPDATE SET token = excluded.token WHERE c.token <= excluded.token RETURNING checkpoint",
    )
    .bind(scope.id())
    .bind(token.0.cast_signed())
    .bind(to_json(&Checkpoint::default())?)
    .fetch_optional(connection);
    Ok(kept.await)
}

async fn newest(connection: &mut PgConnection, scope: &Scope) -> sqlx::Result<Option<(FencingToken, String)>> {
    let row = sqlx::query("SELECT token, checkpoint FROM _sync_checkpoint WHERE scope = $1")
        .bind(scope.id())
        .fetch_optional(connection)
        .await?;
    row.map(|row| Ok((FencingToken(row.try_get::<i64, _>(0)?.cast_unsigned()), row.try_get(1)?))).transpose()
}

fn from_claim(kept: &str, scope: &Scope) -> Result<Option<Checkpoint>> {
    Ok(Some(from_json(kept, scope)?).filter(|checkpoint| *checkpoint != Checkpoint::default()))
}

/// Whether there is no table of checkpoints yet.
fn is_missing(cause: &sqlx::Error) -> bool {
    cause.as_database_error().is_some_and(|said| said.code().as_deref() == Some("42P01"))
}

async fn create(connection: &mut PgConnection) -> Result<()> {
    let failed = |cause| failed("the table of checkpoints cannot be created", cause);
    let mut transaction = connection.begin().await.map_err(failed)?;
    schema::alone(&mut transaction).await?;
    sqlx::query(CREATE).execute(&mut *transaction).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)
}

/// The checkpoint of a scope, without claiming it.
pub(crate) async fn look(connection: &mut PgConnection, scope: &Scope) -> Result<Option<Checkpoint>> {
    match newest(connection, scope).await {
        Ok(found) => found.map(|(_, kept)| from_json(&kept, scope)).transpose(),
        Err(cause) if is_missing(&cause) => Ok(None),
        Err(cause) => Err(failed("the checkpoint cannot be read", cause).with("scope", scope)),
    }
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
    let live = scope.live();
    if live != *scope {
        // Until this commits, nobody claims the lane that all others share their token with.
        let newest: Option<i64> = sqlx::query_scalar("SELECT token FROM _sync_checkpoint WHERE scope = $1 FOR SHARE")
            .bind(live.id())
            .fetch_optional(&mut *connection)
            .await
            .map_err(failed)?;
        let newest = newest.map(|newest| FencingToken(newest.cast_unsigned()));
        if let Some(newest) = newest.filter(|newest| *newest > advance.token) {
            return Err(fenced(newest, scope).with("token", advance.token));
        }
    }
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
    let newest = newest(connection, scope).await.map_err(failed)?;
    let newest = newest.map_or(FencingToken::default(), |(newest, _)| newest);
    Err(fenced(newest, scope).with("token", advance.token).with("expected", advance.expected))
}
