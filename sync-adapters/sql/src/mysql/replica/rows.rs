//! Rows and their stamps: the statements that read, lock and write them.

use std::collections::HashMap;

use sqlx::mysql::{MySqlArguments, MySqlRow};
use sqlx::{Arguments as _, AssertSqlSafe, MySqlConnection};
use sync_core::two_way::{Held, RowWrite};
use sync_core::{Error, Key, Result};

use super::batch;
use super::feed::{image, key, number, stamp};
use super::layout::Layout;
use super::log::SLOTS;
use crate::mysql::column::compared;
use crate::mysql::error::failed;
use crate::replica::{Doing, clock, count, list};

/// The most keys of one statement.
pub(super) const KEYS: usize = 100;

/// What is known of a row's last write: five columns. What is written here has its place in the feed as its number.
const STAMP: &str = "b.rev, b.hlc, b.origin, COALESCE(b.op, l.seq, 0), b.seen";

/// Locks the rows of these keys against other writers, in the order of the keys: one statement for each.
pub(super) async fn lock(connection: &mut MySqlConnection, layout: &Layout, keys: &[Key]) -> Result<()> {
    let mut keys: Vec<&Key> = keys.iter().collect();
    keys.sort();
    if keys.len() > 1 {
        return batch::lock(connection, layout, &keys).await;
    }
    let sql = format!("SELECT 1 FROM {} t WHERE {} FOR UPDATE", layout.host, layout.is_host("t.", 1));
    for key in keys {
        let mut arguments = MySqlArguments::default();
        layout.bind_key(&mut arguments, key)?;
        let lock = sqlx::query_with(AssertSqlSafe(sql.clone()), arguments).fetch_all(&mut *connection).await;
        lock.map_err(|cause| failed("rows cannot be locked", cause).with("table", layout.name()))?;
    }
    Ok(())
}

/// The rows of these keys, in the same order.
pub(super) async fn held(connection: &mut MySqlConnection, layout: &Layout, keys: &[Key]) -> Result<Vec<Held>> {
    let mut found: HashMap<Key, Held> = HashMap::new();
    for keys in keys.chunks(KEYS) {
        // One statement sees a row and what is known of it at one moment.
        let sql = format!(
            "SELECT 1, b.rev IS NOT NULL, {STAMP}, {host_keys}, {values} FROM {host} t LEFT JOIN {row} b ON {is_row}
             LEFT JOIN _sync_log l ON l.id = b.rev WHERE {is_host}
             UNION ALL SELECT 0, 1, {STAMP}, {kept}, {none} FROM {row} b LEFT JOIN _sync_log l ON l.id = b.rev
             WHERE {is_ours} AND NOT EXISTS (SELECT 1 FROM {host} t WHERE {is_row})",
            host_keys = layout.host_keys("t."),
            values = layout.all("t.", |names| &names.host),
            host = layout.host,
            row = layout.row,
            is_row = layout.is_row("b"),
            is_host = layout.is_host("t.", keys.len()),
            kept = layout.keys("b."),
            none = vec!["NULL"; layout.columns.len()].join(", "),
            is_ours = layout.is_ours("b.", keys.len()),
        );
        let mut arguments = MySqlArguments::default();
        for _ in 0..2 {
            keys.iter().try_for_each(|key| layout.bind_key(&mut arguments, key))?;
        }
        let select = sqlx::query_with(AssertSqlSafe(sql), arguments).persistent(keys.len() == 1);
        for row in select.fetch_all(&mut *connection).await.map_err(unread)? {
            let (key, held) = one(&row, layout).map_err(|error| error.with("table", layout.name()))?;
            found.insert(layout.canonical(&key), held);
        }
    }
    Ok(keys.iter().map(|key| found.get(&layout.canonical(key)).cloned().unwrap_or_default()).collect())
}

fn one(row: &MySqlRow, layout: &Layout) -> Result<(Key, Held)> {
    let flag = |at| number(row, at).map(|flag| flag != 0).map_err(unread);
    let values = flag(0)?.then(|| image(row, 7 + layout.key.len(), layout.fields())).transpose()?;
    let stamp = flag(1)?.then(|| stamp(row, 2)).transpose().map_err(unread)?;
    Ok((key(row, 7, layout)?, Held { stamp, row: values }))
}

/// The next keys. The book of rows has them in the order that all replicas know.
pub(super) async fn keys(
    connection: &mut MySqlConnection,
    layout: &Layout,
    after: Option<&Key>,
    limit: usize,
) -> Result<Vec<Key>> {
    let order = layout.keys("b.");
    let mut arguments = MySqlArguments::default();
    let later = match after {
        Some(after) => {
            layout.bind_later(&mut arguments, after)?;
            layout.is_later("b.")
        }
        None => "1".to_owned(),
    };
    arguments.add(i64::try_from(limit).unwrap_or(i64::MAX)).map_err(|cause| unread(sqlx::Error::Encode(cause)))?;
    let sql =
        format!("SELECT {order} FROM {} b WHERE NOT b.deleted AND ({later}) ORDER BY {order} LIMIT ?", layout.row);
    let select = sqlx::query_with(AssertSqlSafe(sql), arguments);
    select.fetch_all(connection).await.map_err(unread)?.iter().map(|row| key(row, 0, layout)).collect()
}

/// Makes a write. Returns how many rows there were for it.
pub(super) async fn make(
    connection: &mut MySqlConnection,
    layout: &Layout,
    key: &Key,
    doing: Doing<'_>,
) -> Result<sqlx::Result<u64>> {
    let mut arguments = MySqlArguments::default();
    let sql = match doing {
        Doing::Insert(row) => {
            layout.bind_row(&mut arguments, row, |_| true)?;
            let places = vec!["?"; layout.columns.len()].join(", ");
            format!("INSERT INTO {} ({}) VALUES ({places})", layout.host, layout.all("", |names| &names.host))
        }
        Doing::Update(row) => {
            layout.bind_row(&mut arguments, row, |names| !names.is_key)?;
            layout.bind_key(&mut arguments, key)?;
            let sets = list(layout.values(), |names| format!("t.{} = ?", names.host));
            format!("UPDATE {} t SET {sets} WHERE {}", layout.host, layout.is_host("t.", 1))
        }
        Doing::Delete => {
            layout.bind_key(&mut arguments, key)?;
            format!("DELETE FROM {} WHERE {}", layout.host, layout.is_host("", 1))
        }
        Doing::Note => {
            layout.bind_key(&mut arguments, key)?;
            let keys = layout.key.iter().map(|&column| compared(layout.fields()[column].kind()));
            format!("CALL {}({})", layout.ours("see"), keys.collect::<Vec<_>>().join(", "))
        }
    };
    let done = sqlx::query_with(AssertSqlSafe(sql), arguments).execute(connection).await;
    let noted = matches!(doing, Doing::Note);
    Ok(done.map(|done| if noted { 1 } else { done.rows_affected() }))
}

/// The row is so already: only what is known of the upstream's count is new.
pub(super) async fn note_seen(connection: &mut MySqlConnection, layout: &Layout, write: &RowWrite) -> Result<u64> {
    let mut arguments = MySqlArguments::default();
    layout.bind_key(&mut arguments, &write.key)?;
    let add = |added: std::result::Result<(), sqlx::error::BoxDynError>| {
        added.map_err(|cause| unwritten(sqlx::Error::Encode(cause)))
    };
    add(arguments.add(clock(write)?))?;
    add(arguments.add(write.origin.to_string()))?;
    add(arguments.add(count(write.op)?))?;
    add(arguments.add(count(write.seen)?))?;
    let sql = format!(
        "INSERT INTO {} ({}, rev, hlc, origin, op, seen, deleted) VALUES ({}, 0, ?, ?, ?, ?, 1)
         ON DUPLICATE KEY UPDATE seen = IF(VALUES(seen) > 0, VALUES(seen), seen), hlc = GREATEST(hlc, VALUES(hlc))",
        layout.row,
        layout.keys(""),
        vec!["?"; layout.key.len()].join(", "),
    );
    sqlx::query_with(AssertSqlSafe(sql), arguments).execute(&mut *connection).await.map_err(unwritten)?;
    Ok(unstage(connection, layout, &write.key).await?.unwrap_or_default())
}

/// Lays out the stamp for the trigger that is about to notice the write. It is taken by the first change of that row, and is of
/// no use without the mark of this transaction.
pub(super) async fn stage(connection: &mut MySqlConnection, layout: &Layout, write: &RowWrite) -> Result<()> {
    let sql = format!(
        "SET @sync_hlc = ?, @sync_origin = ?, @sync_op = ?, @sync_seen = ?, @sync_upstream = ?, @sync_row = {}",
        layout.bound_row_name(),
    );
    let mut arguments = MySqlArguments::default();
    let add = |added: std::result::Result<(), sqlx::error::BoxDynError>| {
        added.map_err(|cause| unwritten(sqlx::Error::Encode(cause)))
    };
    add(arguments.add(clock(write)?))?;
    add(arguments.add(write.origin.to_string()))?;
    add(arguments.add(count(write.op)?))?;
    add(arguments.add(count(write.seen)?))?;
    add(arguments.add(i64::from(write.upstream)))?;
    layout.bind_key(&mut arguments, &write.key)?;
    let stage = sqlx::query_with(AssertSqlSafe(sql), arguments).execute(connection).await;
    stage.map(drop).map_err(unwritten)
}

/// The row's count. No stamp outlives its write: what follows is the host's.
pub(super) async fn unstage(connection: &mut MySqlConnection, layout: &Layout, key: &Key) -> Result<Option<u64>> {
    let sql = format!("SELECT b.rev, @sync_row := NULL FROM {} b WHERE {}", layout.row, layout.is_ours("b.", 1));
    let mut arguments = MySqlArguments::default();
    layout.bind_key(&mut arguments, key)?;
    let found = sqlx::query_with(AssertSqlSafe(sql), arguments).fetch_optional(connection).await.map_err(unwritten)?;
    found.map(|row| number(&row, 0).map(i64::cast_unsigned)).transpose().map_err(unwritten)
}

/// Whether this transaction has written the row last: the log names it by the number that the server gives it.
pub(super) async fn is_own(connection: &mut MySqlConnection, layout: &Layout, key: &Key) -> Result<bool> {
    let number_it = "SET @sync_number = UUID_SHORT()".to_owned();
    let begun = format!("INSERT INTO _sync_trx (slot, id) VALUES (CONNECTION_ID() MOD {SLOTS}, @sync_number)");
    for sql in [number_it, begun] {
        sqlx::query(AssertSqlSafe(sql)).execute(&mut *connection).await.map_err(unread)?;
    }
    let sql = format!(
        "SELECT EXISTS (SELECT 1 FROM {} b JOIN _sync_log l ON l.id = b.rev JOIN _sync_trx k ON k.trx = l.trx
           WHERE {} AND k.slot = CONNECTION_ID() MOD {SLOTS} AND k.id = @sync_number)",
        layout.row,
        layout.is_ours("b.", 1)
    );
    let mut arguments = MySqlArguments::default();
    layout.bind_key(&mut arguments, key)?;
    let found = sqlx::query_with(AssertSqlSafe(sql), arguments).fetch_one(&mut *connection).await.map_err(unread)?;
    let over = format!("DELETE FROM _sync_trx WHERE slot = CONNECTION_ID() MOD {SLOTS} AND id = @sync_number");
    sqlx::query(AssertSqlSafe(over)).execute(connection).await.map_err(unread)?;
    number(&found, 0).map(|own| own != 0).map_err(unread)
}

fn unread(cause: sqlx::Error) -> Error {
    failed("rows cannot be read", cause)
}

fn unwritten(cause: sqlx::Error) -> Error {
    failed("the stamp of a row cannot be written", cause)
}
