//! MySQL 8 and MariaDB 10.5, and later.

use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::{Connection as _, MySqlConnection, MySqlPool};
use sync_core::ErrorKind;

use super::server::{IDLE, Served, Server};
use crate::error::Meaning;

/// What every session is set to. Rows are locked, not the gaps between them. A lock is waited for ten seconds. A process
/// that stops in the middle of a transaction (its machine is suspended, its network gone) loses its connection and with it
/// the lock, so that the lease can be taken over. And nothing is cut off that does not fit.
const SESSION: &str = "SET NAMES utf8mb4; SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
     SET SESSION time_zone = '+00:00', innodb_lock_wait_timeout = 10, wait_timeout = 60, autocommit = 1, \
     sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION')";

/// A connection that has been idle for so long is asked whether it lives before it is used.
const WARM: Duration = Duration::from_millis(10);

/// Locks are known to a whole server, so this one has the name of the database in it, made short.
const LOCK: &str = "SELECT CAST(GET_LOCK(CONCAT('_sync_', MD5(DATABASE())), 10) AS SIGNED)";

pub(crate) async fn open(options: MySqlConnectOptions) -> Result<Server<sqlx::MySql>, sqlx::Error> {
    // All settings go in one packet, by `SESSION`.
    let options = options.set_names(false).timezone(None).pipes_as_concat(false).no_engine_substitution(false);
    Server::open(
        options,
        MySqlPoolOptions::new()
            .idle_timeout(IDLE)
            .test_before_acquire(false)
            .before_acquire(|connection, kept| {
                Box::pin(async move {
                    if kept.idle_for >= WARM {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .after_connect(|connection, _| {
                Box::pin(async move { sqlx::raw_sql(SESSION).execute(connection).await.map(drop) })
            }),
    )
    .await
}

impl Served for sqlx::MySql {
    async fn run(connection: &mut MySqlConnection, sql: &'static str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(sql).execute(connection).await.map(drop)
    }
}

/// Waits until no other process changes the tables; the lock ends with the connection.
pub(crate) async fn lock_out_others(pool: &MySqlPool) -> Result<MySqlConnection, sqlx::Error> {
    let mut guard = pool.acquire().await?.detach();
    match sqlx::query_scalar::<_, Option<i64>>(LOCK).fetch_one(&mut guard).await? {
        Some(1) => Ok(guard),
        _ => Err(sqlx::Error::PoolTimedOut),
    }
}

/// What a number means (<https://mariadb.com/docs/server/reference/error-codes/mariadb-error-code-reference>).
pub(crate) fn meaning(number: u16) -> Meaning {
    match number {
        // Lock wait, deadlock, the row has changed since; another process has inserted the same key.
        1205 | 1213 | 1020 | 1062 => Meaning::COLLISION,
        // Too many connections, shutting down, network, killed, interrupted, too slow, a server that only reads (after a
        // failover it may be the wrong one for a while), a node that is not in its cluster.
        1040
        | 1203
        | 1053
        | 1077
        | 1079
        | 1158..=1161
        | 1927
        | 4031
        | 1317
        | 1969
        | 3024
        | 1290
        | 1792
        | 1836
        | 1047 => Meaning::UNAVAILABLE,
        1021 | 1114 => Meaning::fatal(ErrorKind::Full),
        1045 | 1698 | 1251 => Meaning::fatal(ErrorKind::Unauthorized),
        1044 | 1142 | 1143 | 1227 | 1370 => Meaning::fatal(ErrorKind::Forbidden).with_remedy(
            "the account makes the state store's tables: GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX on the database to the account",
        ),
        // No such database, none chosen; replication by statements, which does not go with row locks.
        1049 | 1046 | 1665 => Meaning::fatal(ErrorKind::Config),
        1146 | 1054 => Meaning::fatal(ErrorKind::Schema),
        // More than `max_allowed_packet`, in its two forms.
        1153 | 1301 => Meaning::fatal(ErrorKind::Limit),
        1406 | 1264 | 1366 => Meaning::fatal(ErrorKind::Data),
        _ => Meaning::fatal(ErrorKind::Internal),
    }
}
