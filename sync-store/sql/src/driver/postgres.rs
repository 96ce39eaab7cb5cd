//! PostgreSQL, 12 and later.

use sqlx::Executor;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sync_core::ErrorKind;

use super::Transaction;
use super::server::{Served, Server};
use crate::error::Meaning;

/// What every session is set to. A lock is waited for ten seconds, not for ever. A process that stops in the middle of a
/// transaction (its machine is suspended, its network gone) loses it, so that the lease can be taken over. And what has
/// been committed is on the disk, even where the database is set to be faster than that.
const SESSION: &str = "SELECT set_config('lock_timeout', '10s', false), \
     set_config('idle_in_transaction_session_timeout', '60s', false), \
     set_config('default_transaction_isolation', 'read committed', false), \
     set_config('default_transaction_read_only', 'off', false), \
     set_config('synchronous_commit', replace(current_setting('synchronous_commit'), 'off', 'on'), false)";

/// Held while tables are changed: any number that nobody else in the database takes for a lock.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7165080224153)";

pub(crate) async fn open(options: PgConnectOptions) -> Result<Server<sqlx::Postgres>, sqlx::Error> {
    let pool = PgPoolOptions::new()
        .after_connect(|connection, _| Box::pin(async move { connection.execute(SESSION).await.map(drop) }));
    Server::open(options, pool).await
}

impl Served for sqlx::Postgres {
    async fn run(connection: &mut PgConnection, sql: &'static str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(sql).execute(connection).await.map(drop)
    }
}

/// Waits until no other process changes the tables; the lock ends with the transaction.
pub(crate) async fn lock_out_others(
    mut transaction: Transaction<sqlx::Postgres>,
) -> Result<Transaction<sqlx::Postgres>, sqlx::Error> {
    sqlx::raw_sql(LOCK).execute(&mut *transaction).await?;
    Ok(transaction)
}

/// What a state means (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
pub(crate) fn meaning(state: &str) -> Meaning {
    match state {
        // Serialization, deadlock, lock not available; another process has inserted the same key.
        "40001" | "40P01" | "55P03" | "23505" => Meaning::COLLISION,
        // Cancelled by a timeout of the server; too many connections; out of memory; a server that only reads, which
        // after a failover may be the wrong one for a while.
        "57014" | "53300" | "53200" | "25006" | "25P03" => Meaning::UNAVAILABLE,
        "53100" => Meaning::fatal(ErrorKind::Full),
        "42501" => Meaning::fatal(ErrorKind::Forbidden).with_remedy(
            "the account makes the state store's tables and owns them: GRANT USAGE, CREATE ON the schema TO the account",
        ),
        "3D000" => Meaning::fatal(ErrorKind::Config),
        // An account sees no schema that it has no right to.
        "3F000" => Meaning::fatal(ErrorKind::Config).with_remedy(
            "GRANT USAGE, CREATE ON SCHEMA … TO the account, or set its search_path to a schema that it may use",
        ),
        "42703" | "42P01" | "42804" => Meaning::fatal(ErrorKind::Schema),
        _ => match state.get(..2) {
            // The connection is lost; the server goes down or comes up.
            Some("08" | "57") => Meaning::UNAVAILABLE,
            Some("28") => Meaning::fatal(ErrorKind::Unauthorized),
            Some("22") => Meaning::fatal(ErrorKind::Data),
            Some("54") => Meaning::fatal(ErrorKind::Limit),
            _ => Meaning::fatal(ErrorKind::Internal),
        },
    }
}
