//! Rows and their stamps: the statements that read, lock and write them.

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use sync_core::two_way::{Held, RowWrite};
use sync_core::{Error, Key, Result, Value};

use super::feed::{image, key, stamp};
use super::layout::{Layout, all, bind_all};
use crate::postgres::column::Column;
use crate::postgres::error::failed;
use crate::replica::{Doing, clock, count};

/// What is known of a row's last write: five columns. What is written here has its place in the feed as its number.
const STAMP: &str = "b.rev, b.hlc, b.origin, coalesce(b.op, l.seq, 0) AS op, b.seen";

/// Locks the rows of these keys against other writers, in the order of the keys.
pub(super) async fn lock(connection: &mut PgConnection, layout: &Layout, keys: &[Key]) -> Result<()> {
    // A join would do, but a plan that was made for an empty table reads the whole of it, for as long as the connection lasts.
    // Here and below each key is looked up by itself, whatever is planned.
    let sql = format!(
        "SELECT 1 FROM (SELECT * FROM {} ORDER BY {}) u, LATERAL (SELECT FROM {} t WHERE {} LIMIT 1 FOR UPDATE) t",
        layout.unnest_keys(1),
        layout.sent_keys(),
        layout.host,
        layout.is_sent("t."),
    );
    let lock = bind_all(sqlx::query(AssertSqlSafe(sql)), layout.key_arrays(keys)?);
    let done = lock.execute(connection).await;
    done.map(drop).map_err(|cause| failed("rows cannot be locked", cause).with("table", layout.name()))
}

/// The rows of these keys, in the same order.
pub(super) async fn held(
    connection: &mut PgConnection,
    schema: &str,
    layout: &Layout,
    keys: &[Key],
) -> Result<Vec<Held>> {
    let there = layout.key_names().next().map_or("NULL", |names| &names.host);
    let sql = format!(
        "SELECT t.{there} IS NOT NULL, b.rev IS NOT NULL, b.rev, b.hlc, b.origin, b.op, b.seen, {} FROM {}
         LEFT JOIN LATERAL (SELECT * FROM {} t WHERE {} LIMIT 1) t ON true
         LEFT JOIN LATERAL (SELECT {STAMP} FROM {} b LEFT JOIN {schema}._sync_log l ON l.id = b.rev WHERE {} LIMIT 1) b ON true
         ORDER BY u.ord",
        layout.asked("t.", |names| &names.host),
        layout.unnest_keys(1),
        layout.host,
        layout.is_sent("t."),
        layout.row,
        layout.is_sent_ours("b."),
    );
    let select = bind_all(sqlx::query(AssertSqlSafe(sql)), layout.key_arrays(keys)?);
    let one = |row: &PgRow| -> Result<Held> {
        let (there, known): (bool, bool) = (row.try_get(0).map_err(unread)?, row.try_get(1).map_err(unread)?);
        let values = there.then(|| image(row, 7, layout.fields())).transpose();
        Ok(Held {
            stamp: known.then(|| stamp(row, 2)).transpose().map_err(unread)?,
            row: values.map_err(|error| error.with("table", layout.name()))?,
        })
    };
    select.fetch_all(connection).await.map_err(unread)?.iter().map(one).collect()
}

/// The next keys. The book of rows has them in the order that all replicas know, whatever collation the host's table has.
pub(super) async fn keys(
    connection: &mut PgConnection,
    layout: &Layout,
    after: Option<&Key>,
    limit: usize,
) -> Result<Vec<Key>> {
    let order = layout.keys("b.");
    let later = match after {
        Some(_) => format!("({order}) > (SELECT {} FROM {})", layout.sent_keys(), layout.unnest_keys(2)),
        None => "true".to_owned(),
    };
    let sql = format!(
        "SELECT {} FROM {} b WHERE NOT b.deleted AND {later} ORDER BY {order} LIMIT $1",
        layout.asked_key("b."),
        layout.row,
    );
    let select = sqlx::query(AssertSqlSafe(sql)).bind(i64::try_from(limit).unwrap_or(i64::MAX));
    let select = bind_all(select, after.map(|after| layout.key_arrays([after])).transpose()?.unwrap_or_default());
    select.fetch_all(connection).await.map_err(unread)?.iter().map(|row| key(row, 0, layout)).collect()
}

/// Makes a write. Returns how many rows there were for it.
pub(super) async fn make(
    connection: &mut PgConnection,
    layout: &Layout,
    key: &Key,
    doing: Doing<'_>,
) -> Result<Written> {
    let (sql, arrays) = match doing {
        Doing::Insert(row) => return insert(connection, layout, row).await,
        Doing::Update(row) => return update(connection, layout, row).await,
        Doing::Delete => (
            format!(
                "DELETE FROM {} t USING (SELECT * FROM {} LIMIT 1) u WHERE {}",
                layout.host,
                layout.unnest_keys(1),
                layout.is_sent("t.")
            ),
            layout.key_arrays([key])?,
        ),
        Doing::Note => (
            format!("SELECT {}({}) FROM {}", layout.put, layout.sent_keys(), layout.unnest_keys(1)),
            layout.key_arrays([key])?,
        ),
    };
    Ok(execute(connection, sql, arrays).await)
}

type Written = sqlx::Result<u64>;

async fn execute(connection: &mut PgConnection, sql: String, arrays: Vec<Column>) -> Written {
    bind_all(sqlx::query(AssertSqlSafe(sql)), arrays).execute(connection).await.map(|done| done.rows_affected())
}

/// The values of the row that is sent, each in the type of its column.
fn sent(layout: &Layout) -> Vec<String> {
    let fields = layout.fields().iter().enumerate();
    fields.map(|(place, field)| format!("u.c{place}{}", crate::postgres::column::sent_as(field.kind()).1)).collect()
}

fn every(layout: &Layout) -> Vec<usize> {
    (0..layout.columns.len()).collect()
}

async fn insert(connection: &mut PgConnection, layout: &Layout, row: &[Value]) -> Result<Written> {
    let columns = all(layout, |names| &names.host);
    let (values, unnest) = (sent(layout).join(", "), layout.unnest(&every(layout), 1));
    let sql = format!("INSERT INTO {} ({columns}) SELECT {values} FROM {unnest}", layout.host);
    Ok(execute(connection, sql, layout.row_arrays(row)?).await)
}

async fn update(connection: &mut PgConnection, layout: &Layout, row: &[Value]) -> Result<Written> {
    let pairs = layout.columns.iter().zip(sent(layout));
    let (keys, values): (Vec<_>, Vec<_>) = pairs.partition(|(names, _)| names.is_key);
    let sets: Vec<String> = values.into_iter().map(|(names, value)| format!("{} = {value}", names.host)).collect();
    let same: Vec<String> = keys.into_iter().map(|(names, value)| format!("t.{} = {value}", names.host)).collect();
    let sql = format!(
        "UPDATE {} t SET {} FROM (SELECT * FROM {} LIMIT 1) u WHERE {}",
        layout.host,
        sets.join(", "),
        layout.unnest(&every(layout), 1),
        same.join(" AND ")
    );
    Ok(execute(connection, sql, layout.row_arrays(row)?).await)
}

/// The row is so already: only what is known of the upstream's count is new.
pub(super) async fn note_seen(connection: &mut PgConnection, layout: &Layout, write: &RowWrite) -> Result<u64> {
    let sql = format!(
        "INSERT INTO {} AS b ({}, rev, hlc, origin, op, seen, deleted) SELECT {}, 0, $1, $2, $3, $4, true FROM {}
         ON CONFLICT ({}) DO UPDATE SET seen = CASE WHEN $4 > 0 THEN $4 ELSE b.seen END, hlc = greatest(b.hlc, $1)
         RETURNING rev",
        layout.row,
        layout.keys(""),
        layout.sent_keys(),
        layout.unnest_keys(5),
        layout.keys(""),
    );
    let note = sqlx::query(AssertSqlSafe(sql))
        .bind(clock(write)?)
        .bind(write.origin.to_string())
        .bind(count(write.op)?)
        .bind(count(write.seen)?);
    let note = bind_all(note, layout.key_arrays([&write.key])?);
    let row = note.fetch_one(connection).await.map_err(unwritten)?;
    row.try_get::<i64, _>(0).map(i64::cast_unsigned).map_err(unwritten)
}

/// Lays out the stamp for the trigger that is about to notice the write. It is taken by the first change of that row, and ends
/// with the transaction.
pub(super) async fn stage(connection: &mut PgConnection, layout: &Layout, write: &RowWrite) -> Result<()> {
    let sql = format!(
        "SELECT set_config('sync.hlc', $1, true), set_config('sync.origin', $2, true), set_config('sync.op', $3, true),
           set_config('sync.seen', $4, true), set_config('sync.upstream', $5, true), set_config('sync.row', {}, true) FROM {}",
        layout.sent_row_name(),
        layout.unnest_keys(6)
    );
    let stage = sqlx::query(AssertSqlSafe(sql))
        .bind(clock(write)?.to_string())
        .bind(write.origin.to_string())
        .bind(count(write.op)?.to_string())
        .bind(count(write.seen)?.to_string())
        .bind(write.upstream.to_string());
    let stage = bind_all(stage, layout.key_arrays([&write.key])?);
    stage.execute(connection).await.map(drop).map_err(unwritten)
}

/// The row's count. No stamp outlives its write: what follows is the host's.
pub(super) async fn unstage(connection: &mut PgConnection, layout: &Layout, key: &Key) -> Result<Option<u64>> {
    let sql = format!(
        "SELECT b.rev, set_config('sync.row', '', true) FROM {}, LATERAL (SELECT rev FROM {} b WHERE {} LIMIT 1) b",
        layout.unnest_keys(1),
        layout.row,
        layout.is_sent_ours("b.")
    );
    let select = bind_all(sqlx::query(AssertSqlSafe(sql)), layout.key_arrays([key])?);
    let found = select.fetch_optional(connection).await.map_err(unwritten)?;
    let rev = found.map(|row| row.try_get::<i64, _>(0)).transpose().map_err(unwritten)?;
    Ok(rev.map(i64::cast_unsigned))
}

/// Whether this transaction has written the row last. The log names it whole, whatever savepoint the write was under.
pub(super) async fn is_own(connection: &mut PgConnection, schema: &str, layout: &Layout, key: &Key) -> Result<bool> {
    let sql = format!(
        "SELECT EXISTS (SELECT FROM {}, {} b, {schema}._sync_log l
           WHERE {} AND l.id = b.rev AND l.xid = pg_current_xact_id_if_assigned())",
        layout.unnest_keys(1),
        layout.row,
        layout.is_sent_ours("b."),
    );
    let select = bind_all(sqlx::query(AssertSqlSafe(sql)), layout.key_arrays([key])?);
    select.fetch_one(connection).await.and_then(|row| row.try_get(0)).map_err(unread)
}

fn unread(cause: sqlx::Error) -> Error {
    failed("rows cannot be read", cause)
}

fn unwritten(cause: sqlx::Error) -> Error {
    failed("the stamp of a row cannot be written", cause)
}
