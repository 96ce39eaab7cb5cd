//! How far scopes have got, and until when they must be left alone.

use chrono::{DateTime, Utc};
use sqlx::{Row, Sqlite, SqlitePool, Transaction};
use sync_core::model::Scope;
use sync_core::state::{Advance, Checkpoint, FencingToken, Lease};
use sync_core::{Error, Result};

use crate::error::{from_json, from_sql, to_json};
use crate::lease::{number_of, token_of};

/// Moves a checkpoint one step, if its token and sequence hold.
pub(crate) async fn advance(
    transaction: &mut Transaction<'static, Sqlite>,
    lease: &Lease,
    scope: &Scope,
    advance: &Advance,
) -> Result<()> {
    let name = scope.to_string();
    let failed = |cause| from_sql("the checkpoint cannot be written", cause).with("scope", &name);
    let standing = sqlx::query("SELECT token, seq FROM _sync_position WHERE scope = ?")
        .bind(&name)
        .fetch_optional(&mut **transaction)
        .await
        .map_err(failed)?;
    let (claimed, seq) = standing
        .map_or((FencingToken::default(), 0), |row| (token_of(row.get(0)), row.get::<i64, _>(1).cast_unsigned()));
    let claimed = claimed.max(lease.token);
    if advance.token != claimed || advance.expected != seq {
        return Err(Error::fenced(claimed, "the scope does not stand where the unit expects it")
            .with("scope", &name)
            .with("token", advance.token)
            .with("expected", advance.expected)
            .with("stands_at", seq));
    }
    sqlx::query(
        "INSERT INTO _sync_position (scope, token, seq, checkpoint) VALUES (?, ?, ?, ?)
         ON CONFLICT (scope) DO UPDATE SET token = excluded.token, seq = excluded.seq, checkpoint = excluded.checkpoint",
    )
    .bind(&name)
    .bind(number_of(advance.token))
    .bind(advance.next.seq.cast_signed())
    .bind(to_json(&advance.next)?)
    .execute(&mut **transaction)
    .await
    .map_err(failed)?;
    Ok(())
}

pub(crate) async fn checkpoint(pool: &SqlitePool, scope: &Scope) -> Result<Option<Checkpoint>> {
    let kept: Option<String> = sqlx::query_scalar("SELECT checkpoint FROM _sync_position WHERE scope = ?")
        .bind(scope.to_string())
        .fetch_optional(pool)
        .await
        .map_err(|cause| from_sql("the checkpoint cannot be read", cause).with("scope", scope))?;
    kept.as_deref().map(from_json).transpose()
}

pub(crate) async fn hold(
    transaction: &mut Transaction<'static, Sqlite>,
    scope: &Scope,
    until: Option<DateTime<Utc>>,
) -> Result<()> {
    let change = match until {
        Some(until) => sqlx::query("INSERT INTO _sync_hold (scope, until_us) VALUES (?, ?) ON CONFLICT (scope) DO UPDATE SET until_us = excluded.until_us")
            .bind(scope.to_string())
            .bind(until.timestamp_micros()),
        None => sqlx::query("DELETE FROM _sync_hold WHERE scope = ?").bind(scope.to_string()),
    };
    change
        .execute(&mut **transaction)
        .await
        .map_err(|cause| from_sql("the hold cannot be written", cause).with("scope", scope))?;
    Ok(())
}

pub(crate) async fn held_until(pool: &SqlitePool, scope: &Scope) -> Result<Option<DateTime<Utc>>> {
    let until: Option<i64> = sqlx::query_scalar("SELECT until_us FROM _sync_hold WHERE scope = ?")
        .bind(scope.to_string())
        .fetch_optional(pool)
        .await
        .map_err(|cause| from_sql("the hold cannot be read", cause).with("scope", scope))?;
    Ok(until.and_then(DateTime::from_timestamp_micros))
}
