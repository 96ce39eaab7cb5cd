//! The checkpoints a sink keeps beside its rows, fenced by token and sequence.

use sqlx::Row as _;
use sqlx::mysql::{MySqlConnection, MySqlRow};
use sync_core::Result;
use sync_core::model::{Scope, Tally};
use sync_core::state::{Advance, Checkpoint, FencingToken};

use super::batch;
use super::error::{failed, number, uncommitted};
use super::pool::Session;
use crate::position::{fenced, from_json, to_json};

/// The scope is found by its hash, since an index holds no text of any length.
const CREATE: &str = "CREATE TABLE IF NOT EXISTS _sync_checkpoint (
    id         char(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    scope      longtext NOT NULL,
    token      bigint unsigned NOT NULL,
    seq        bigint unsigned NOT NULL,
    checkpoint longtext NOT NULL,
    updated_at datetime(6) NOT NULL
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4";

fn id(scope: &Scope) -> String {
    blake3::hash(scope.id().as_bytes()).to_hex().to_string()
}

/// Claims a scope: from now on lower tokens are refused.
pub(crate) async fn claim(session: &mut Session, scope: &Scope, token: FencingToken) -> Result<Option<Checkpoint>> {
    // One packet does it where the scope has been claimed before: who holds a lower token is refused from its first statement
    // on, and what the second one says was so after that. The lowest token, by which the engine asks for the newest one, claims
    // nothing.
    let look = format!("SELECT token, checkpoint FROM _sync_checkpoint WHERE id = '{}'", id(scope));
    let sql = match token {
        FencingToken(0) => look,
        token => format!(
            "UPDATE _sync_checkpoint SET token = {} WHERE id = '{}' AND token < {}; {look}",
            token.0,
            id(scope),
            token.0
        ),
    };
    match batch::ask(session, sql).await {
        // Making a table would commit: it is done before the transaction, and only when there is none.
        Err(cause) if number(&cause) == Some(NO_SUCH_TABLE) => {
            batch::run(session, CREATE.to_owned(), "the table of checkpoints cannot be created").await?;
        }
        Err(cause) => return Err(failed("the scope cannot be claimed", cause).with("scope", scope)),
        Ok(answers) => {
            if let Some(row) = answers.into_iter().flatten().next() {
                return claimed(&row, scope, token);
            }
        }
    }
    match in_transaction(session, scope, token).await {
        Ok(checkpoint) => {
            sqlx::raw_sql("COMMIT").execute(&mut **session).await.map_err(uncommitted)?;
            Ok(checkpoint)
        }
        Err(error) => {
            batch::run(session, "ROLLBACK".to_owned(), "the claim cannot be taken back").await?;
            Err(error)
        }
    }
}

/// What stands in a row of the scope, unless its token is higher.
fn claimed(row: &MySqlRow, scope: &Scope, token: FencingToken) -> Result<Option<Checkpoint>> {
    let unread = |cause| failed("the scope cannot be claimed", cause).with("scope", scope);
    let newest = FencingToken(row.try_get_unchecked(0).map_err(unread)?);
    if newest > token {
        return Err(fenced(newest, scope));
    }
    let checkpoint = from_json(&row.try_get_unchecked::<String, _>(1).map_err(unread)?, scope)?;
    Ok((checkpoint != Checkpoint::default()).then_some(checkpoint))
}

async fn in_transaction(
    connection: &mut MySqlConnection,
    scope: &Scope,
    token: FencingToken,
) -> Result<Option<Checkpoint>> {
    let unclaimed = |cause| failed("the scope cannot be claimed", cause).with("scope", scope);
    let locked = format!("SELECT token, checkpoint FROM _sync_checkpoint WHERE id = '{}' FOR UPDATE", id(scope));
    let begun = batch::ask(connection, format!("START TRANSACTION READ WRITE; {locked}")).await.map_err(unclaimed)?;
    let mut row = begun.into_iter().flatten().next();
    if row.is_none() {
        // The row is there and locked before anybody decides by it. The table has no other key.
        sqlx::query(
            "INSERT INTO _sync_checkpoint (id, scope, token, seq, checkpoint, updated_at)
             VALUES (?, ?, 0, 0, ?, UTC_TIMESTAMP(6)) ON DUPLICATE KEY UPDATE id = id",
        )
        .bind(id(scope))
        .bind(scope.id())
        .bind(to_json(&Checkpoint::default())?)
        .execute(&mut *connection)
        .await
        .map_err(unclaimed)?;
        row = batch::ask(connection, locked).await.map_err(unclaimed)?.into_iter().flatten().next();
    }
    let row = row.ok_or_else(|| unclaimed(sqlx::Error::RowNotFound))?;
    let checkpoint = claimed(&row, scope, token)?;
    let claim = format!("UPDATE _sync_checkpoint SET token = {} WHERE id = '{}'", token.0, id(scope));
    batch::ask(connection, claim).await.map_err(unclaimed)?;
    Ok(checkpoint)
}

/// The checkpoint of a scope, without claiming it.
pub(crate) async fn look(connection: &mut MySqlConnection, scope: &Scope) -> Result<Option<Checkpoint>> {
    let kept = sqlx::query_scalar("SELECT checkpoint FROM _sync_checkpoint WHERE id = ?")
        .bind(id(scope))
        .fetch_optional(connection)
        .await;
    let kept: Option<String> = match kept {
        Err(cause) if number(&cause) == Some(NO_SUCH_TABLE) => return Ok(None),
        kept => kept.map_err(|cause| failed("the checkpoint cannot be read", cause).with("scope", scope))?,
    };
    kept.map(|kept| from_json(&kept, scope)).transpose()
}

/// What the server says of a table that is not there.
pub(crate) const NO_SUCH_TABLE: u16 = 1146;

/// Moves the checkpoint one step, with what became of the unit's rows. Fails, so that the whole unit is rolled back, when
/// somebody else has claimed the scope or it does not stand where the unit expects it.
pub(crate) async fn advance(
    connection: &mut MySqlConnection,
    scope: &Scope,
    advance: &Advance,
    tally: Tally,
) -> Result<()> {
    let next = Checkpoint { tally, ..advance.next.clone() };
    let failed = |cause| failed("the checkpoint cannot be written", cause).with("scope", scope);
    let live = scope.live();
    if live != *scope {
        // Until this commits, nobody claims the lane that all others share their token with.
        let sql = format!("SELECT token FROM _sync_checkpoint WHERE id = '{}' LOCK IN SHARE MODE", id(&live));
        let newest = batch::ask(connection, sql).await.map_err(failed)?.into_iter().flatten().next();
        let newest = newest.map(|row| row.try_get_unchecked(0)).transpose().map_err(failed)?.map(FencingToken);
        if let Some(newest) = newest.filter(|newest| *newest > advance.token) {
            return Err(fenced(newest, scope).with("token", advance.token));
        }
    }
    // The number of rows that an UPDATE changed depends on the driver's flags: what is locked is looked at instead.
    let sql = format!("SELECT token, seq FROM _sync_checkpoint WHERE id = '{}' FOR UPDATE", id(scope));
    let standing = batch::ask(connection, sql).await.map_err(failed)?.into_iter().flatten().next();
    let (token, seq): (u64, u64) = match standing {
        Some(row) => (row.try_get_unchecked(0).map_err(failed)?, row.try_get_unchecked(1).map_err(failed)?),
        None => (0, 0),
    };
    if (token, seq) != (advance.token.0, advance.expected) {
        return Err(fenced(FencingToken(token), scope).with("token", advance.token).with("expected", advance.expected));
    }
    sqlx::query("UPDATE _sync_checkpoint SET seq = ?, checkpoint = ?, updated_at = UTC_TIMESTAMP(6) WHERE id = ?")
        .bind(next.seq)
        .bind(to_json(&next)?)
        .bind(id(scope))
        .execute(&mut *connection)
        .await
        .map(drop)
        .map_err(failed)
}
