//! The feed, the head, and what is forgotten.

use sqlx::mysql::{MySqlArguments, MySqlRow};
use sqlx::{Arguments as _, AssertSqlSafe, MySqlConnection, Row as _};
use sync_core::model::Field;
use sync_core::two_way::{Entry, Head, Hlc, Outline, Stamp};
use sync_core::{Error, Key, Result, Value};

use super::dialect::Shared;
use super::layout::Layout;
use super::rows::KEYS;
use crate::mysql::batch::run;
use crate::mysql::column::read;
use crate::mysql::error::failed;
use crate::replica::{Connects as _, Images, count};

/// Whether something is committed that is not in the feed.
pub(super) async fn is_behind(connection: &mut MySqlConnection) -> Result<bool> {
    let sql = "SELECT 1 FROM _sync_log WHERE seq IS NULL LIMIT 1";
    sqlx::query(sql).fetch_optional(connection).await.map(|row| row.is_some()).map_err(unread)
}

/// Gives a place to what is committed.
pub(super) async fn sequence(connection: &mut MySqlConnection) -> Result<()> {
    run(connection, "CALL _sync_sequence()".to_owned(), "what was committed gets no place in the feed").await
}

pub(super) async fn head(connection: &mut MySqlConnection) -> Result<Head> {
    // What is committed and has no place yet is counted: rows with it may have been handed out.
    let sql = "SELECT c.epoch, c.seq, COALESCE(l.nonce, 0), c.trimmed,
                      GREATEST(c.rev, COALESCE((SELECT MAX(id) FROM _sync_log), 0))
               FROM _sync_ctx c LEFT JOIN _sync_log l ON l.seq = c.seq";
    let row = sqlx::query(sql).fetch_one(connection).await.map_err(unread)?;
    let number = |place: usize| number(&row, place).map(i64::cast_unsigned).map_err(unread);
    Ok(Head { epoch: number(0)?, seq: number(1)?, nonce: number(2)?, trimmed: number(3)?, rev: number(4)? })
}

pub(super) async fn nonce(connection: &mut MySqlConnection, seq: u64) -> Result<Option<u64>> {
    let Ok(seq) = i64::try_from(seq) else { return Ok(None) };
    let select = sqlx::query("SELECT nonce FROM _sync_log WHERE seq = ?").bind(seq);
    let found = select.fetch_optional(connection).await.map_err(unread)?;
    found.map(|row| number(&row, 0).map(i64::cast_unsigned)).transpose().map_err(unread)
}

/// The count of writes jumps at once and for everybody, whatever becomes of the transaction: no number is ever given twice.
pub(super) async fn begin_epoch(connection: &mut MySqlConnection, epoch: u64, rev: u64) -> Result<()> {
    let unbegun = |cause| failed("no new life can be begun", cause);
    let rev = count(rev)?;
    let update = sqlx::query("UPDATE _sync_ctx SET epoch = ?, rev = GREATEST(rev, ?)");
    update.bind(epoch.cast_signed()).bind(rev).execute(&mut *connection).await.map_err(unbegun)?;
    count_on(connection, rev).await.map_err(unbegun)
}

/// Lets the count of writes go on behind this number, within the transaction that is open.
async fn count_on(connection: &mut MySqlConnection, rev: i64) -> sqlx::Result<()> {
    const WRITE: &str =
        "INSERT INTO _sync_log (id, trx, tbl, hlc, origin, seen, upstream) VALUES (?, 0, '', 0, '', 0, 0)";
    // InnoDB's counter does not go back with a savepoint.
    Shared::run(connection, "SAVEPOINT sync_count".to_owned()).await?;
    let next = sqlx::query(WRITE).bind(None::<i64>).execute(&mut *connection).await?.last_insert_id();
    if next.cast_signed() < rev {
        sqlx::query(WRITE).bind(rev).execute(&mut *connection).await?;
    }
    Shared::run(connection, "ROLLBACK TO SAVEPOINT sync_count; RELEASE SAVEPOINT sync_count".to_owned()).await
}

/// Lets the count of writes go on where it was: tables that were copied without their counters begin at one.
pub(super) async fn resume(connection: &mut MySqlConnection) -> sqlx::Result<()> {
    let row = sqlx::raw_sql("SELECT rev FROM _sync_ctx").fetch_one(&mut *connection).await?;
    Shared::run(connection, "START TRANSACTION".to_owned()).await?;
    count_on(connection, number(&row, 0)?).await?;
    Shared::run(connection, "ROLLBACK".to_owned()).await
}

/// The place behind which entries are read, and the end of the last group that the page holds.
pub(super) async fn page(connection: &mut MySqlConnection, after: u64, limit: usize) -> Result<(u64, u64)> {
    let select = sqlx::query("SELECT GREATEST(?, trimmed), seq FROM _sync_ctx");
    let row =
        select.bind(i64::try_from(after).unwrap_or(i64::MAX)).fetch_one(&mut *connection).await.map_err(unread)?;
    let (after, end) = (number(&row, 0).map_err(unread)?, number(&row, 1).map_err(unread)?);
    // The place where the page is full, and the rest of its group, however long that is.
    let full = sqlx::query("SELECT seq, grp FROM _sync_log WHERE seq > ? ORDER BY seq LIMIT 1 OFFSET ?");
    let full = full.bind(after).bind(i64::try_from(limit.max(1) - 1).unwrap_or(i64::MAX));
    let up_to = match full.fetch_optional(&mut *connection).await.map_err(unread)? {
        None => end,
        Some(full) => {
            let next = sqlx::query("SELECT seq FROM _sync_log WHERE seq > ? AND grp <> ? ORDER BY seq LIMIT 1");
            let next = next.bind(number(&full, 0).map_err(unread)?).bind(number(&full, 1).map_err(unread)?);
            let next = next.fetch_optional(connection).await.map_err(unread)?;
            next.map(|row| number(&row, 0)).transpose().map_err(unread)?.map_or(end, |next| next - 1)
        }
    };
    Ok((after.cast_unsigned(), up_to.cast_unsigned()))
}

/// What the log says besides the images: ten columns. What is written here has its place as its number.
const ENTRY: &str = "COALESCE(l.seq, 0), l.tbl, COALESCE(l.grp, 0), COALESCE(l.nonce, 0), l.upstream, l.id, l.hlc, l.origin, COALESCE(l.op, l.seq, 0), l.seen";

fn entry(row: &MySqlRow) -> sqlx::Result<Entry> {
    let number = |place: usize| number(row, place).map(i64::cast_unsigned);
    Ok(Entry {
        seq: number(0)?,
        nonce: number(3)?,
        group: number(2)?,
        table: row.try_get_unchecked(1)?,
        key: Key::new(Vec::<Value>::new()),
        stamp: stamp(row, 5)?,
        upstream: number(4)? != 0,
        before: None,
        after: None,
    })
}

/// Five columns of a result row: `rev`, `hlc`, `origin`, `op` and `seen`.
pub(super) fn stamp(row: &MySqlRow, from: usize) -> sqlx::Result<Stamp> {
    let number = |place: usize| number(row, from + place).map(i64::cast_unsigned);
    Ok(Stamp {
        rev: number(0)?,
        hlc: Hlc(number(1)?),
        origin: row.try_get_unchecked::<String, _>(from + 2)?.into(),
        op: number(3)?,
        seen: number(4)?,
    })
}

/// A whole number: those of an expression have other types than those of a column.
pub(super) fn number(row: &MySqlRow, at: usize) -> sqlx::Result<i64> {
    row.try_get_unchecked(at)
}

/// The values of a result row from this column on.
pub(super) fn image(row: &MySqlRow, from: usize, fields: &[Field]) -> Result<Vec<Value>> {
    fields.iter().enumerate().map(|(column, field)| read(row, from + column, field)).collect()
}

/// The key of a result row from this column on.
pub(super) fn key(row: &MySqlRow, from: usize, layout: &Layout) -> Result<Key> {
    let fields = layout.key.iter().enumerate();
    let values = fields.map(|(place, &column)| read(row, from + place, &layout.fields()[column]));
    Ok(Key::new(values.collect::<Result<Vec<_>>>()?))
}

/// Entries without their rows, behind one place and up to another.
pub(super) async fn entries(connection: &mut MySqlConnection, after: u64, up_to: u64) -> Result<Vec<Entry>> {
    let sql = format!("SELECT {ENTRY} FROM _sync_log l WHERE l.seq > ? AND l.seq <= ? ORDER BY l.seq");
    let select = sqlx::query(AssertSqlSafe(sql)).bind(after.cast_signed()).bind(up_to.cast_signed());
    let rows = select.fetch_all(connection).await.map_err(unread)?;
    rows.iter().map(entry).collect::<sqlx::Result<_>>().map_err(unread)
}

/// Entries without their rows, whatever their groups.
pub(super) async fn outline(connection: &mut MySqlConnection, after: u64, limit: usize) -> Result<Vec<Outline>> {
    let sql = "SELECT l.seq, COALESCE(l.grp, 0), l.hlc, l.upstream FROM _sync_log l
               WHERE l.seq > GREATEST(?, (SELECT trimmed FROM _sync_ctx)) ORDER BY l.seq LIMIT ?";
    let select = sqlx::query(sql).bind(i64::try_from(after).unwrap_or(i64::MAX));
    let select = select.bind(i64::try_from(limit).unwrap_or(i64::MAX));
    let rows = select.fetch_all(connection).await.map_err(unread)?;
    let outlined = |row: &MySqlRow| {
        let number = |place: usize| number(row, place).map(i64::cast_unsigned);
        Ok(Outline { seq: number(0)?, group: number(1)?, hlc: Hlc(number(2)?), upstream: number(3)? != 0 })
    };
    rows.iter().map(outlined).collect::<sqlx::Result<_>>().map_err(unread)
}

/// The rows of the entries of one table, with their places.
pub(super) async fn images(
    connection: &mut MySqlConnection,
    layout: &Layout,
    after: u64,
    up_to: u64,
) -> Result<Vec<(u64, Images)>> {
    let sql = format!(
        "SELECT l.seq, {} FROM _sync_log l JOIN {} i ON i.id = l.id WHERE l.seq > ? AND l.seq <= ? AND l.tbl = ?",
        of_images(layout),
        layout.log
    );
    let select = sqlx::query(AssertSqlSafe(sql)).bind(after.cast_signed()).bind(up_to.cast_signed());
    let rows = select.bind(layout.name()).fetch_all(connection).await.map_err(unread)?;
    let one = |row: &MySqlRow| Ok((number(row, 0).map_err(unread)?.cast_unsigned(), images_of(row, 1, layout)?));
    rows.iter().map(one).collect()
}

/// The columns that [`Images`] are read from.
fn of_images(layout: &Layout) -> String {
    let (before, after) = (layout.all("i.", |names| &names.before), layout.all("i.", |names| &names.after));
    format!("i.had, i.has, {}, {before}, {after}", layout.keys("i."))
}

fn images_of(row: &MySqlRow, from: usize, layout: &Layout) -> Result<Images> {
    let flag = |at| number(row, at).map(|flag| flag != 0).map_err(unread);
    let (keys, width) = (layout.key.len(), layout.fields().len());
    let read = |from| image(row, from, layout.fields()).map_err(|error| error.with("table", layout.name()));
    let before = flag(from)?.then(|| read(from + 2 + keys)).transpose()?;
    let after = flag(from + 1)?.then(|| read(from + 2 + keys + width)).transpose()?;
    Ok(Images { key: key(row, from + 2, layout)?, before, after })
}

pub(super) async fn pending(
    connection: &mut MySqlConnection,
    layout: &Layout,
    keys: &[Key],
    above: u64,
) -> Result<Vec<Entry>> {
    let mut pending = Vec::new();
    for keys in keys.chunks(KEYS) {
        let sql = format!(
            "SELECT {ENTRY}, {} FROM {} i JOIN _sync_log l ON l.id = i.id JOIN _sync_ctx c
             WHERE {} AND NOT l.upstream AND (l.seq IS NULL OR l.seq > GREATEST(?, c.trimmed))",
            of_images(layout),
            layout.log,
            layout.is_ours("i.", keys.len()),
        );
        let mut arguments = MySqlArguments::default();
        keys.iter().try_for_each(|key| layout.bind_key(&mut arguments, key))?;
        arguments.add(i64::try_from(above).unwrap_or(i64::MAX)).map_err(|cause| unread(sqlx::Error::Encode(cause)))?;
        let select = sqlx::query_with(AssertSqlSafe(sql), arguments).persistent(keys.len() == 1);
        for row in select.fetch_all(&mut *connection).await.map_err(unread)? {
            let mut entry = entry(&row).map_err(unread)?;
            images_of(&row, 10, layout)?.into_entry(&mut entry);
            pending.push(entry);
        }
    }
    pending.sort_by_key(|entry| (entry.seq == 0, entry.seq, entry.stamp.rev));
    Ok(pending)
}

/// Forgets entries, and deleted rows whose delete is among them.
///
/// A row whose number is its place in the feed gets it written down. Rows that a host is writing are passed by, with their
/// entries, until the next time: nobody waits for a host here.
pub(super) async fn trim(connection: &mut MySqlConnection, shared: &Shared, up_to: u64) -> Result<u64> {
    let uncleaned = |cause| failed("the feed cannot be cleaned up", cause);
    let up_to = i64::try_from(up_to).unwrap_or(i64::MAX);
    let select =
        sqlx::query("SELECT COUNT(*) FROM _sync_log l JOIN _sync_ctx c WHERE l.seq > c.trimmed AND l.seq <= ?");
    let row = select.bind(up_to).fetch_one(&mut *connection).await.map_err(uncleaned)?;
    let forgotten = number(&row, 0).map_err(uncleaned)?;
    for layout in shared.in_order() {
        let sql = format!("CALL {}({up_to})", layout.ours("trim"));
        run(connection, sql, "the feed cannot be cleaned up")
            .await
            .map_err(|error| error.with("table", layout.name()))?;
    }
    let update = sqlx::query("UPDATE _sync_ctx SET trimmed = GREATEST(trimmed, ?)").bind(up_to);
    update.execute(connection).await.map_err(uncleaned)?;
    Ok(forgotten.cast_unsigned())
}

fn unread(cause: sqlx::Error) -> Error {
    failed("the feed cannot be read", cause)
}
