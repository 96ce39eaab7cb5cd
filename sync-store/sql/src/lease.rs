//! Leases: one owner at a time, tokens that only grow, expiry by the database's own clock.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use sqlx::{Row, Sqlite, Transaction};
use sync_core::state::{FencingToken, Lease};
use sync_core::{Error, Result};

use crate::error::from_sql;

/// Milliseconds since 1970, by the database's clock.
const NOW: &str = "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)";

pub(crate) async fn acquire(
    transaction: &mut Transaction<'static, Sqlite>,
    name: &str,
    owner: &str,
    ttl: Duration,
    floor: FencingToken,
) -> Result<Lease> {
    let failed = |cause| from_sql("the lease cannot be acquired", cause).with("lease", name);
    let now: i64 = sqlx::query_scalar(NOW).fetch_one(&mut **transaction).await.map_err(failed)?;
    let standing = sqlx::query("SELECT token, owner, expires_ms FROM _sync_lease WHERE name = ?")
        .bind(name)
        .fetch_optional(&mut **transaction)
        .await
        .map_err(failed)?;
    let mut next = 1;
    if let Some(row) = standing {
        let (token, holder, expires): (i64, Option<String>, i64) = (row.get(0), row.get(1), row.get(2));
        if let Some(other) = holder.filter(|holder| holder != owner && expires > now) {
            let until = DateTime::from_timestamp_millis(expires).unwrap_or_default();
            return Err(Error::fenced(token_of(token), "another owner holds the lease")
                .with("lease", name)
                .with("owner", other)
                .with("until", until.to_rfc3339_opts(SecondsFormat::Millis, true)));
        }
        next = token + 1;
    }
    let token = next.max(i64::try_from(floor.0).unwrap_or(i64::MAX));
    sqlx::query(
        "INSERT INTO _sync_lease (name, token, owner, expires_ms) VALUES (?, ?, ?, ?)
         ON CONFLICT (name) DO UPDATE SET token = excluded.token, owner = excluded.owner, expires_ms = excluded.expires_ms",
    )
    .bind(name)
    .bind(token)
    .bind(owner)
    .bind(now.saturating_add(millis(ttl)))
    .execute(&mut **transaction)
    .await
    .map_err(failed)?;
    Ok(Lease { name: name.to_owned(), owner: owner.to_owned(), token: token_of(token), ttl })
}

pub(crate) async fn renew(transaction: &mut Transaction<'static, Sqlite>, lease: &Lease) -> Result<()> {
    let failed = |cause| from_sql("the lease cannot be renewed", cause).with("lease", &lease.name);
    check_newest(transaction, lease).await?;
    let now: i64 = sqlx::query_scalar(NOW).fetch_one(&mut **transaction).await.map_err(failed)?;
    let held = sqlx::query("UPDATE _sync_lease SET expires_ms = ? WHERE name = ? AND owner IS NOT NULL")
        .bind(now.saturating_add(millis(lease.ttl)))
        .bind(&lease.name)
        .execute(&mut **transaction)
        .await
        .map_err(failed)?;
    if held.rows_affected() == 0 {
        return Err(Error::fenced(lease.token, "the lease was given back").with("lease", &lease.name));
    }
    Ok(())
}

/// Gives the lease back, unless somebody else has it by now.
pub(crate) async fn release(transaction: &mut Transaction<'static, Sqlite>, lease: &Lease) -> Result<()> {
    sqlx::query("UPDATE _sync_lease SET owner = NULL, expires_ms = 0 WHERE name = ? AND token = ?")
        .bind(&lease.name)
        .bind(number_of(lease.token))
        .execute(&mut **transaction)
        .await
        .map_err(|cause| from_sql("the lease cannot be given back", cause).with("lease", &lease.name))?;
    Ok(())
}

/// Refuses a holder whose lease is no longer the newest under its name.
pub(crate) async fn check_newest(transaction: &mut Transaction<'static, Sqlite>, lease: &Lease) -> Result<()> {
    let newest: Option<i64> = sqlx::query_scalar("SELECT token FROM _sync_lease WHERE name = ?")
        .bind(&lease.name)
        .fetch_optional(&mut **transaction)
        .await
        .map_err(|cause| from_sql("the lease cannot be read", cause).with("lease", &lease.name))?;
    let newest = token_of(newest.unwrap_or_default());
    if newest == lease.token {
        return Ok(());
    }
    Err(Error::fenced(newest, "somebody else has acquired the lease")
        .with("lease", &lease.name)
        .with("token", lease.token)
        .with("newest", newest))
}

pub(crate) fn token_of(number: i64) -> FencingToken {
    FencingToken(number.cast_unsigned())
}

pub(crate) fn number_of(token: FencingToken) -> i64 {
    token.0.cast_signed()
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
