//! Leases: one owner at a time, tokens that only grow, expiry by the database's own clock.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use sync_core::state::{FencingToken, Lease};
use sync_core::{Error, Result};

use crate::database::{Database, Transaction};
use crate::error::from_sql;
use crate::statement::Statement;

pub(crate) async fn acquire(
    transaction: &mut Transaction,
    name: &str,
    owner: &str,
    ttl: Duration,
    floor: FencingToken,
) -> Result<Lease> {
    let failed = |cause| from_sql("the lease cannot be acquired", cause).with("lease", name);
    if let Some(token) = take_free(transaction, name, owner, ttl, floor).await.map_err(failed)? {
        return Ok(granted(name, owner, ttl, token));
    }
    let read = Statement::new("SELECT token, owner, expires_ms FROM _sync_lease WHERE name = ?{lock}").key(name);
    let standing: Option<(i64, Option<String>, i64)> = transaction.row(read).await.map_err(failed)?;
    let floor = number_of(floor);
    let Some((last, holder, expires)) = standing else {
        let token = floor.max(1);
        // Two may insert the first at once: the database refuses one of them, who then begins again and finds a row.
        let first =
            Statement::new("INSERT INTO _sync_lease (name, token, owner, expires_ms) VALUES (?, ?, ?, {now} + ?)");
        let first = first.key(name).number(token).text(owner).number(millis(ttl));
        transaction.execute(first).await.map_err(failed)?;
        return Ok(granted(name, owner, ttl, token));
    };
    let token = (last + 1).max(floor);
    let other = holder.filter(|holder| holder != owner);
    // The time is looked at here, where the row is locked: reading it may have waited for another holder's transaction.
    let take = Statement::new("UPDATE _sync_lease SET token = ?, owner = ?, expires_ms = {now} + ?")
        .and(" WHERE name = ? AND (? = 1 OR expires_ms <= {now})");
    let take = take.number(token).text(owner).number(millis(ttl)).key(name).number(i64::from(other.is_none()));
    if transaction.execute(take).await.map_err(failed)? > 0 {
        return Ok(granted(name, owner, ttl, token));
    }
    let until = DateTime::from_timestamp_millis(expires).unwrap_or_default();
    Err(Error::fenced(token_of(last), "another owner holds the lease")
        .with("lease", name)
        .with("owner", other.unwrap_or_default())
        .with("until", until.to_rfc3339_opts(SecondsFormat::Millis, true)))
}

/// Takes a lease that was given back or has run out, in one statement, and says its token. The time is looked at where the row is
/// locked.
async fn take_free(
    transaction: &mut Transaction,
    name: &str,
    owner: &str,
    ttl: Duration,
    floor: FencingToken,
) -> sqlx::Result<Option<i64>> {
    let take = Statement::new("UPDATE _sync_lease SET token = {note}(CASE WHEN token < ? THEN ? ELSE token + 1 END),")
        .and(" owner = ?, expires_ms = {now} + ? WHERE name = ? AND expires_ms <= {now}{noted}");
    let floor = number_of(floor);
    transaction.noted(take.number(floor).number(floor).text(owner).number(millis(ttl)).key(name)).await
}

fn granted(name: &str, owner: &str, ttl: Duration, token: i64) -> Lease {
    Lease { name: name.to_owned(), owner: owner.to_owned(), token: token_of(token), ttl }
}

pub(crate) async fn renew(database: &Database, lease: &Lease) -> Result<()> {
    let failed = |cause| from_sql("the lease cannot be renewed", cause).with("lease", &lease.name);
    let renew = Statement::new("UPDATE _sync_lease SET expires_ms = {now} + ?")
        .and(" WHERE name = ? AND token = ? AND owner IS NOT NULL")
        .number(millis(lease.ttl))
        .key(&lease.name)
        .number(number_of(lease.token));
    if database.execute(renew).await.map_err(failed)? > 0 {
        return Ok(());
    }
    let read = Statement::new("SELECT token FROM _sync_lease WHERE name = ?").key(&lease.name);
    let newest: Option<(i64,)> = database.row(read).await.map_err(failed)?;
    must_be_newest(lease, newest)?;
    Err(Error::fenced(lease.token, "the lease was given back").with("lease", &lease.name))
}

/// Gives the lease back, unless somebody else has it by now.
pub(crate) async fn release(database: &Database, lease: &Lease) -> Result<()> {
    let failed = |cause| from_sql("the lease cannot be given back", cause).with("lease", &lease.name);
    database.execute(freeing(lease)).await.map(drop).map_err(failed)
}

/// Gives the lease back in a transaction, before whose end nobody takes it, and refuses a holder whose lease is no longer the
/// newest under its name.
pub(crate) async fn give_back(transaction: &mut Transaction, lease: &Lease) -> Result<()> {
    let failed = |cause| from_sql("the lease cannot be given back", cause).with("lease", &lease.name);
    if transaction.execute(freeing(lease)).await.map_err(failed)? > 0 {
        return Ok(());
    }
    check_newest(transaction, lease).await
}

fn freeing(lease: &Lease) -> Statement {
    Statement::new("UPDATE _sync_lease SET owner = NULL, expires_ms = 0 WHERE name = ? AND token = ?")
        .key(&lease.name)
        .number(number_of(lease.token))
}

/// Refuses a holder whose lease is no longer the newest under its name. Nobody takes it before the transaction ends.
pub(crate) async fn check_newest(transaction: &mut Transaction, lease: &Lease) -> Result<()> {
    let read = Statement::new("SELECT token FROM _sync_lease WHERE name = ?{lock}").key(&lease.name);
    let failed = |cause| from_sql("the lease cannot be read", cause).with("lease", &lease.name);
    let newest = transaction.row(read).await.map_err(failed)?;
    must_be_newest(lease, newest)
}

fn must_be_newest(lease: &Lease, newest: Option<(i64,)>) -> Result<()> {
    let newest = token_of(newest.unwrap_or_default().0);
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
    i64::try_from(token.0).unwrap_or(i64::MAX)
}

/// At most a thousand years, so that no database's clock overflows.
fn millis(time: Duration) -> i64 {
    const MOST: i64 = 1000 * 366 * 86_400_000;
    i64::try_from(time.as_millis()).unwrap_or(MOST).min(MOST)
}
