//! Which versions may still appear: what PostgreSQL itself knows about transactions that are under way.
//!
//! A row becomes visible when its transaction commits, and bears the version that it was given earlier. The position of a
//! source must not pass a version that a running transaction may still bring (`docs/adr/0015`).

use sqlx::Row as _;
use sqlx::postgres::PgPool;
use sync_core::model::{Frontier, FrontierProof, Kind, Timestamp};
use sync_core::{Error, ErrorKind, Result, StreamSpec, Value};

use super::table::Table;
use crate::keyset::version;
use crate::postgres::error::failed;

/// Seconds that the horizon stays behind the oldest transaction and the present.
///
/// A backend reads the clock a moment before it shows its transaction to others, and a column with fewer digits rounds down
/// by up to half a second. Both are much less; rows of this time are only read again.
const MARGIN: i64 = 5;

/// Seconds after which a transaction that holds the horizon back is worth a line in the log.
const LONG: i64 = 600;

/// What a version must be below, so that no row can appear before it any more.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Horizon {
    /// This value.
    Below(Value),
    /// Everything may still appear: nothing is settled.
    Nothing,
}

impl Horizon {
    /// Whether no row of a lower or the same version can appear any more.
    pub(super) fn settles(&self, version: &Value) -> bool {
        match self {
            Self::Below(limit) => version < limit,
            Self::Nothing => false,
        }
    }

    /// Up to where changes are complete, when these are the last row read and there may be more, or all was read.
    pub(super) fn frontier(&self, last: Option<Timestamp>, over: bool) -> Option<Frontier> {
        let Self::Below(Value::Timestamp(limit)) = self else { return None };
        let at = if over { *limit } else { last?.min(*limit) };
        Some(Frontier { at, proof: FrontierProof::Provable })
    }
}

/// How versions are stamped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stamp {
    /// With the clock of the server.
    Clock,
    /// With the number of the transaction.
    Transaction,
}

/// How the server stamps this stream's version.
///
/// # Errors
/// `Config` when the column cannot be one that a server stamps in a provable way.
fn stamp(stream: &StreamSpec, table: &Table) -> Result<Stamp> {
    let refused = |what: String| Err(Error::config(what).with("table", stream.name()));
    let Some((field, column)) = version(stream).and_then(|field| Some((field, table.column(field.name())?))) else {
        return refused("`stamped_by_server` speaks of a version column, and this stream declares none".to_owned());
    };
    if table.replicated {
        return refused(
            "a subscription writes into this table, with versions that another server stamped: leave out `stamped_by_server`, and say by `lookback` how late its rows may come".to_owned(),
        );
    }
    match (field.kind(), column.base.as_str()) {
        (Kind::Timestamp, "timestamptz") => Ok(Stamp::Clock),
        (Kind::UInt, "xid8") => Ok(Stamp::Transaction),
        _ => refused(format!(
            "the version {:?} is declared {:?}: the server can prove nothing about it. `stamped_by_server` needs a \"timestamp with time zone\" (a timestamp, such as now()) or an \"xid8\" (an unsigned integer, pg_current_xact_id()); otherwise leave it out, and say by `lookback` how late rows may come",
            column.name, column.declared
        )),
    }
}

/// Reads the horizon. Every page that is read afterwards shows all rows below it.
///
/// # Errors
/// `Forbidden` with the right that is missing, `Config` when this server cannot say.
pub(super) async fn read(pool: &PgPool, stream: &StreamSpec, table: &Table) -> Result<Horizon> {
    match stamp(stream, table)? {
        Stamp::Clock => by_clock(pool).await.map_err(|error| error.with("table", stream.name())),
        Stamp::Transaction => by_transaction(pool).await.map_err(|error| error.with("table", stream.name())),
    }
}

/// All transactions with lower numbers are over, those of other databases and prepared ones as well.
async fn by_transaction(pool: &PgPool) -> Result<Horizon> {
    let unread = |cause| failed("the running transactions cannot be looked at", cause);
    let oldest: String = sqlx::query_scalar("SELECT pg_snapshot_xmin(pg_current_snapshot())::text")
        .fetch_one(pool)
        .await
        .map_err(unread)?;
    let oldest = oldest.parse().map_err(|_| Error::internal("the server's transaction number is none"))?;
    Ok(Horizon::Below(Value::UInt(oldest)))
}

/// What is older than every transaction of this database, and than the present.
///
/// Only connections to this database can write into its tables; those of vacuum do not write rows. Everything else counts,
/// readers too: whoever has begun may still write. So does a command that is under way, though no transaction is shown: the
/// second transaction of one message, or of COMMIT AND CHAIN, has the time at which the message came, and for a moment
/// between the two none is shown. Outside of a transaction block, each statement looks anew.
async fn by_clock(pool: &PgPool) -> Result<Horizon> {
    let unread = |cause| failed("the running transactions cannot be looked at", cause);
    let seen = sqlx::query(
        "SELECT pg_is_in_recovery(), pg_has_role('pg_read_all_stats', 'USAGE'), current_user::text,
                count(*) FILTER (WHERE state = 'disabled'),
                least(min(began), statement_timestamp()) - $1 * interval '1 second',
                extract(epoch FROM statement_timestamp() - min(began))::bigint,
                (array_agg(pid ORDER BY began) FILTER (WHERE began IS NOT NULL))[1]
         FROM pg_stat_activity, least(xact_start, CASE WHEN state <> 'idle' THEN query_start END) began
         WHERE datid = (SELECT oid FROM pg_database WHERE datname = current_database())
           AND pid <> pg_backend_pid() AND backend_type IS DISTINCT FROM 'autovacuum worker'",
    )
    .bind(MARGIN as f64)
    .fetch_one(pool)
    .await
    .map_err(unread)?;
    if seen.try_get(0).map_err(unread)? {
        return Err(Error::config(
            "this server is a standby, which does not know the transactions of its primary: read from the primary, or leave out `stamped_by_server` and say by `lookback` how late rows may come",
        ));
    }
    let may_see: bool = seen.try_get(1).map_err(unread)?;
    if !may_see {
        let account: String = seen.try_get(2).map_err(unread)?;
        return Err(Error::new(
            ErrorKind::Forbidden,
            format!(
                "this account does not see the transactions of others: let an administrator run GRANT pg_read_all_stats TO {}",
                crate::ident::quoted(&account)?
            ),
        ));
    }
    let hidden: i64 = seen.try_get(3).map_err(unread)?;
    if hidden > 0 {
        return Err(Error::config(format!(
            "{hidden} connections hide their transactions, since `track_activities` is off for them: switch it on, or leave out `stamped_by_server` and say by `lookback` how late rows may come"
        )));
    }
    // A transaction that is being prepared is shown here before it disappears there: the order of the two statements counts.
    let prepared: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()")
            .fetch_one(pool)
            .await
            .map_err(unread)?;
    if prepared > 0 {
        tracing::warn!(
            prepared,
            "prepared transactions wait for their commit, and nobody knows when they began: changes are read, and the position stays where it is until they are over"
        );
        return Ok(Horizon::Nothing);
    }
    let age: Option<i64> = seen.try_get(5).map_err(unread)?;
    if let Some(age) = age.filter(|age| *age > LONG) {
        let pid: Option<i32> = seen.try_get(6).map_err(unread)?;
        tracing::warn!(
            pid,
            seconds = age,
            "a long transaction holds the position back: every run reads the changes since it began again"
        );
    }
    let limit: chrono::DateTime<chrono::Utc> = seen.try_get(4).map_err(unread)?;
    Ok(Horizon::Below(Value::Timestamp(limit.into())))
}
