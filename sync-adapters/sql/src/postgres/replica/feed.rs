//! The feed, the head, and what is forgotten.

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use sync_core::model::Field;
use sync_core::two_way::{Entry, Head, Hlc, Outline, Stamp};
use sync_core::{Error, Key, Result, Value};

use super::Shared;
use super::layout::{Layout, bind_all};
use crate::postgres::column::read;
use crate::postgres::error::failed;
use crate::replica::Images;

/// Whether something is committed that is not in the feed.
pub(super) async fn is_behind(connection: &mut PgConnection, schema: &str) -> Result<bool> {
    let sql = format!("SELECT EXISTS (SELECT FROM {schema}._sync_log WHERE seq IS NULL)");
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(connection).await.map_err(unread)
}

/// Gives a place to what is committed.
pub(super) async fn sequence(connection: &mut PgConnection, schema: &str) -> Result<()> {
    let sql = format!("SELECT {schema}._sync_sequence()");
    let done = sqlx::query(AssertSqlSafe(sql)).execute(connection).await;
    done.map(drop).map_err(|cause| failed("what was committed gets no place in the feed", cause))
}

pub(super) async fn head(connection: &mut PgConnection, schema: &str) -> Result<Head> {
    // What is committed and has no place yet is counted: rows with it may have been handed out.
    let sql = format!(
        "SELECT c.epoch, c.seq, coalesce(l.nonce, 0), c.trimmed, greatest(c.rev, (SELECT max(id) FROM {schema}._sync_log))
         FROM {schema}._sync_ctx c LEFT JOIN {schema}._sync_log l ON l.seq = c.seq"
    );
    let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(connection).await.map_err(unread)?;
    let number = |place: usize| row.try_get::<i64, _>(place).map(i64::cast_unsigned).map_err(unread);
    Ok(Head { epoch: number(0)?, seq: number(1)?, nonce: number(2)?, trimmed: number(3)?, rev: number(4)? })
}

pub(super) async fn nonce(connection: &mut PgConnection, schema: &str, seq: u64) -> Result<Option<u64>> {
    let Ok(seq) = i64::try_from(seq) else { return Ok(None) };
    let sql = format!("SELECT nonce FROM {schema}._sync_log WHERE seq = $1");
    let found: Option<i64> =
        sqlx::query_scalar(AssertSqlSafe(sql)).bind(seq).fetch_optional(connection).await.map_err(unread)?;
    Ok(found.map(i64::cast_unsigned))
}

/// The count of writes jumps at once and for everybody, whatever becomes of the transaction: no number is ever given twice.
pub(super) async fn begin_epoch(connection: &mut PgConnection, schema: &str, epoch: u64, rev: u64) -> Result<()> {
    let unbegun = |cause| failed("no new life can be begun", cause);
    let rev = i64::try_from(rev).map_err(|_| Error::data("a count of writes is larger than PostgreSQL's integers"))?;
    let sql = format!("UPDATE {schema}._sync_ctx SET epoch = $1, rev = greatest(rev, $2)");
    let update = sqlx::query(AssertSqlSafe(sql)).bind(epoch.cast_signed()).bind(rev);
    update.execute(&mut *connection).await.map_err(unbegun)?;
    let sql = format!(
        "SELECT setval({}, $1) FROM {schema}._sync_rev WHERE last_value < $1",
        crate::replica::literal(&format!("{schema}._sync_rev"))
    );
    sqlx::query(AssertSqlSafe(sql)).bind(rev).execute(connection).await.map(drop).map_err(unbegun)
}

/// The place behind which entries are read, and the end of the last group that the page holds.
pub(super) async fn page(connection: &mut PgConnection, schema: &str, after: u64, limit: usize) -> Result<(u64, u64)> {
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let limit = i64::try_from(limit.max(1)).unwrap_or(i64::MAX);
    // The place where the page is full, and the rest of its group, however long that is.
    let sql = format!(
        "WITH begin AS (SELECT greatest($1, c.trimmed) AS seq, c.seq AS end FROM {schema}._sync_ctx c),
         full_at AS (SELECT l.seq, l.grp FROM {schema}._sync_log l, begin b WHERE l.seq > b.seq ORDER BY l.seq LIMIT 1 OFFSET $2),
         next AS (SELECT l.seq FROM {schema}._sync_log l, full_at f WHERE l.seq > f.seq AND l.grp <> f.grp ORDER BY l.seq LIMIT 1)
         SELECT b.seq, coalesce((SELECT seq - 1 FROM next), b.end) FROM begin b"
    );
    let page = sqlx::query_as::<_, (i64, i64)>(AssertSqlSafe(sql)).bind(after).bind(limit - 1);
    let (after, up_to) = page.fetch_one(&mut *connection).await.map_err(unread)?;
    Ok((after.cast_unsigned(), up_to.cast_unsigned()))
}

/// What the log says besides the images: ten columns. What is written here has its place as its number.
const ENTRY: &str = "coalesce(l.seq, 0), l.tbl, coalesce(l.grp, 0), coalesce(l.nonce, 0), l.upstream, l.id, l.hlc, l.origin, coalesce(l.op, l.seq, 0), l.seen";

fn entry(row: &PgRow) -> sqlx::Result<Entry> {
    let number = |place: usize| row.try_get::<i64, _>(place).map(i64::cast_unsigned);
    Ok(Entry {
        seq: number(0)?,
        nonce: number(3)?,
        group: number(2)?,
        table: row.try_get(1)?,
        key: Key::new(Vec::<Value>::new()),
        stamp: stamp(row, 5)?,
        upstream: row.try_get(4)?,
        before: None,
        after: None,
    })
}

/// Five columns of a result row: `rev`, `hlc`, `origin`, `op` and `seen`.
pub(super) fn stamp(row: &PgRow, from: usize) -> sqlx::Result<Stamp> {
    let number = |place: usize| row.try_get::<i64, _>(from + place).map(i64::cast_unsigned);
    Ok(Stamp {
        rev: number(0)?,
        hlc: Hlc(number(1)?),
        origin: row.try_get::<String, _>(from + 2)?.into(),
        op: number(3)?,
        seen: number(4)?,
    })
}

/// The values of a result row from this column on.
pub(super) fn image(row: &PgRow, from: usize, fields: &[Field]) -> Result<Vec<Value>> {
    fields.iter().enumerate().map(|(column, field)| read(row, from + column, field)).collect()
}

/// The key of a result row from this column on.
pub(super) fn key(row: &PgRow, from: usize, layout: &Layout) -> Result<Key> {
    let fields = layout.key.iter().enumerate();
    let values = fields.map(|(place, &column)| read(row, from + place, &layout.fields()[column]));
    Ok(Key::new(values.collect::<Result<Vec<_>>>()?))
}

/// Entries without their rows, behind one place and up to another.
pub(super) async fn entries(connection: &mut PgConnection, schema: &str, after: u64, up_to: u64) -> Result<Vec<Entry>> {
    let sql = format!("SELECT {ENTRY} FROM {schema}._sync_log l WHERE l.seq > $1 AND l.seq <= $2 ORDER BY l.seq");
    let select = sqlx::query(AssertSqlSafe(sql)).bind(after.cast_signed()).bind(up_to.cast_signed());
    let rows = select.fetch_all(connection).await.map_err(unread)?;
    rows.iter().map(entry).collect::<sqlx::Result<_>>().map_err(unread)
}

/// Entries without their rows, whatever their groups.
pub(super) async fn outline(
    connection: &mut PgConnection,
    schema: &str,
    after: u64,
    limit: usize,
) -> Result<Vec<Outline>> {
    let sql = format!(
        "SELECT l.seq, coalesce(l.grp, 0), l.hlc, l.upstream FROM {schema}._sync_log l
         WHERE l.seq > greatest($1, (SELECT trimmed FROM {schema}._sync_ctx)) ORDER BY l.seq LIMIT $2"
    );
    let (after, limit) = (i64::try_from(after).unwrap_or(i64::MAX), i64::try_from(limit).unwrap_or(i64::MAX));
    let select = sqlx::query_as::<_, (i64, i64, i64, bool)>(AssertSqlSafe(sql)).bind(after).bind(limit);
    let rows = select.fetch_all(connection).await.map_err(unread)?;
    let outlined = |(seq, group, hlc, upstream): (i64, i64, i64, bool)| {
        let [seq, group, hlc] = [seq, group, hlc].map(i64::cast_unsigned);
        Outline { seq, group, hlc: Hlc(hlc), upstream }
    };
    Ok(rows.into_iter().map(outlined).collect())
}

/// The rows of the entries of one table, with their places.
pub(super) async fn images(
    connection: &mut PgConnection,
    schema: &str,
    layout: &Layout,
    after: u64,
    up_to: u64,
) -> Result<Vec<(u64, Images)>> {
    let sql = format!(
        "SELECT l.seq, {} FROM {schema}._sync_log l JOIN {} i ON i.id = l.id WHERE l.seq > $1 AND l.seq <= $2 AND l.tbl = $3",
        of_images(layout),
        layout.log
    );
    let select = sqlx::query(AssertSqlSafe(sql)).bind(after.cast_signed()).bind(up_to.cast_signed());
    let rows = select.bind(layout.name()).fetch_all(connection).await.map_err(unread)?;
    let one = |row: &PgRow| {
        let seq: i64 = row.try_get(0).map_err(unread)?;
        Ok((seq.cast_unsigned(), images_of(row, 1, layout)?))
    };
    rows.iter().map(one).collect()
}

/// The columns that [`Images`] are read from.
fn of_images(layout: &Layout) -> String {
    let (before, after) = (layout.asked("i.", |names| &names.before), layout.asked("i.", |names| &names.after));
    format!("i.had, i.has, {}, {before}, {after}", layout.asked_key("i."))
}

fn images_of(row: &PgRow, from: usize, layout: &Layout) -> Result<Images> {
    let (had, has): (bool, bool) = (row.try_get(from).map_err(unread)?, row.try_get(from + 1).map_err(unread)?);
    let (keys, width) = (layout.key.len(), layout.fields().len());
    let read = |from| image(row, from, layout.fields()).map_err(|error| error.with("table", layout.name()));
    let before = had.then(|| read(from + 2 + keys)).transpose()?;
    let after = has.then(|| read(from + 2 + keys + width)).transpose()?;
    Ok(Images { key: key(row, from + 2, layout)?, before, after })
}

pub(super) async fn pending(
    connection: &mut PgConnection,
    schema: &str,
    layout: &Layout,
    keys: &[Key],
    above: u64,
) -> Result<Vec<Entry>> {
    let above = i64::try_from(above).unwrap_or(i64::MAX);
    let sql = format!(
        "SELECT {ENTRY}, {} FROM {} JOIN {} i ON {} JOIN {schema}._sync_log l ON l.id = i.id, {schema}._sync_ctx c
         WHERE NOT l.upstream AND (l.seq IS NULL OR l.seq > greatest($1, c.trimmed)) ORDER BY l.seq NULLS LAST, l.id",
        of_images(layout),
        layout.unnest_keys(2),
        layout.log,
        layout.is_sent_ours("i."),
    );
    let select = bind_all(sqlx::query(AssertSqlSafe(sql)).bind(above), layout.key_arrays(keys)?);
    let mut pending = Vec::new();
    for row in select.fetch_all(connection).await.map_err(unread)? {
        let mut entry = entry(&row).map_err(unread)?;
        images_of(&row, 10, layout)?.into_entry(&mut entry);
        pending.push(entry);
    }
    Ok(pending)
}

/// Forgets entries, and deleted rows whose delete is among them.
///
/// A row whose number is its place in the feed gets it written down. Rows that a host is writing are passed by, with their
/// entries, until the next time: nobody waits for a host here.
pub(super) async fn trim(connection: &mut PgConnection, shared: &Shared, up_to: u64) -> Result<u64> {
    let schema = &shared.schema;
    let up_to = i64::try_from(up_to).unwrap_or(i64::MAX);
    let mut run = async |sql: String| {
        let done = sqlx::query(AssertSqlSafe(sql)).bind(up_to).execute(&mut *connection).await;
        done.map(|done| done.rows_affected()).map_err(|cause| failed("the feed cannot be cleaned up", cause))
    };
    let forgotten =
        run(format!("SELECT FROM {schema}._sync_log l, {schema}._sync_ctx c WHERE l.seq > c.trimmed AND l.seq <= $1"))
            .await?;
    for layout in shared.layouts.values() {
        let super::layout::Layout { row, log, .. } = layout;
        let same = layout.same("b", "i");
        // The last entry of each row that is still what it says.
        let last = format!(
            "last AS MATERIALIZED (SELECT b.ctid AS at, b.deleted, l.seq FROM {schema}._sync_log l JOIN {log} i ON i.id = l.id
               JOIN {row} b ON {same} AND b.rev = i.id WHERE l.seq <= $1 AND l.tbl = {} FOR UPDATE OF b SKIP LOCKED)",
            crate::replica::literal(layout.name())
        );
        run(format!("WITH {last} DELETE FROM {row} b USING last WHERE b.ctid = last.at AND last.deleted")).await?;
        run(format!(
            "WITH {last} UPDATE {row} b SET op = last.seq FROM last WHERE b.ctid = last.at AND b.op IS NULL AND NOT last.deleted"
        ))
        .await?;
        run(format!(
            "DELETE FROM {log} i USING {schema}._sync_log l WHERE i.id = l.id AND l.seq <= $1
               AND NOT EXISTS (SELECT FROM {row} b WHERE {same} AND b.rev = i.id AND (b.deleted OR b.op IS NULL))"
        ))
        .await?;
        run(format!(
            "DELETE FROM {schema}._sync_log l WHERE l.seq <= $1 AND l.tbl = {} AND NOT EXISTS (SELECT FROM {log} i WHERE i.id = l.id)",
            crate::replica::literal(layout.name())
        ))
        .await?;
    }
    run(format!("UPDATE {schema}._sync_ctx SET trimmed = greatest(trimmed, $1)")).await?;
    Ok(forgotten)
}

fn unread(cause: sqlx::Error) -> Error {
    failed("the feed cannot be read", cause)
}
