//! The feed. SQLite has one writer at a time, so that the log is in the order of the commits by itself: the feed is the log
//! up to the last group that is complete.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _};
use sync_core::two_way::{Entry, Head, Hlc, Outline};
use sync_core::{Error, Key, Result, Value};

use super::Shared;
use super::layout::{Layout, list};
use super::rows::{by_key, image, key, stamp};
use crate::sqlite::error::failed;

/// Ends the group that is being written: what follows belongs to another transaction.
pub(super) fn end_group(connection: &Connection) -> Result<()> {
    let end = || connection.prepare_cached("INSERT INTO _sync_group VALUES (1)")?.execute([]);
    end().map(drop).map_err(|cause| failed("the group cannot be ended", cause))
}

/// Whether something was captured that is not in the feed.
pub(super) fn is_behind(connection: &Connection) -> Result<bool> {
    let read = || connection.prepare_cached("SELECT last > seq FROM _sync_ctx")?.query_row([], |row| row.get(0));
    read().map_err(unread)
}

pub(super) fn head(connection: &Connection) -> Result<Head> {
    let read = || {
        let sql = "SELECT c.epoch, c.seq, coalesce(l.nonce, 0), c.trimmed, c.rev FROM _sync_ctx c LEFT JOIN _sync_log l ON l.id = c.seq";
        connection.prepare_cached(sql)?.query_row([], |row| {
            let number = |place: usize| row.get::<_, i64>(place).map(i64::cast_unsigned);
            Ok(Head { epoch: number(0)?, seq: number(1)?, nonce: number(2)?, trimmed: number(3)?, rev: number(4)? })
        })
    };
    read().map_err(unread)
}

pub(super) fn nonce(connection: &Connection, seq: u64) -> Result<Option<u64>> {
    let Ok(seq) = i64::try_from(seq) else { return Ok(None) };
    let read = || {
        let sql = "SELECT nonce FROM _sync_log, _sync_ctx c WHERE _sync_log.id = ? AND _sync_log.id <= c.seq";
        connection.prepare_cached(sql)?.query_row([seq], |row| row.get::<_, i64>(0)).optional()
    };
    Ok(read().map_err(unread)?.map(i64::cast_unsigned))
}

pub(super) fn begin_epoch(connection: &Connection, epoch: u64, rev: u64) -> Result<()> {
    let sql = "UPDATE _sync_ctx SET epoch = ?, rev = max(rev, ?)";
    let rev = i64::try_from(rev).map_err(|_| Error::data("a count of writes is larger than SQLite's integers"))?;
    connection
        .execute(sql, [epoch.cast_signed(), rev])
        .map(drop)
        .map_err(|cause| failed("no new life can be begun", cause))
}

pub(super) fn feed(connection: &Connection, shared: &Shared, after: u64, limit: usize) -> Result<Vec<Entry>> {
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let limit = i64::try_from(limit.max(1)).unwrap_or(i64::MAX);
    let read = || -> rusqlite::Result<i64> {
        let seq = connection.prepare_cached("SELECT seq FROM _sync_ctx")?.query_row([], |row| row.get(0))?;
        let sql = "SELECT id, grp FROM _sync_log WHERE id > ? AND id <= ? ORDER BY id LIMIT 1 OFFSET ?";
        let last = connection
            .prepare_cached(sql)?
            .query_row((after, seq, limit - 1), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)));
        let Some((last, group)) = last.optional()? else { return Ok(seq) };
        // The rest of the group, however long it is.
        let sql = "SELECT id FROM _sync_log WHERE id > ? AND id <= ? AND grp <> ? ORDER BY id LIMIT 1";
        let next = connection.prepare_cached(sql)?.query_row((last, seq, group), |row| row.get::<_, i64>(0));
        Ok(next.optional()?.map_or(seq, |next| next - 1))
    };
    let up_to = read().map_err(unread)?;
    if up_to <= after {
        return Ok(Vec::new());
    }
    between(connection, shared, after, up_to)
}

/// Entries without their rows.
pub(super) fn outline(connection: &Connection, after: u64, limit: usize) -> Result<Vec<Outline>> {
    let (after, limit) = (i64::try_from(after).unwrap_or(i64::MAX), i64::try_from(limit).unwrap_or(i64::MAX));
    let read = || -> rusqlite::Result<Vec<Outline>> {
        let sql = "SELECT l.id, l.grp, l.hlc, l.upstream FROM _sync_log l, _sync_ctx c WHERE l.id > ? AND l.id <= c.seq
                   ORDER BY l.id LIMIT ?";
        let outlined = |row: &rusqlite::Row<'_>| {
            let number = |place: usize| row.get::<_, i64>(place).map(i64::cast_unsigned);
            Ok(Outline { seq: number(0)?, group: number(1)?, hlc: Hlc(number(2)?), upstream: row.get(3)? })
        };
        connection.prepare_cached(sql)?.query_map([after, limit], outlined)?.collect()
    };
    read().map_err(unread)
}

/// What the log says besides the images.
const ENTRY: &str = "l.id, l.tbl, l.grp, l.nonce, l.upstream, l.rev, l.hlc, l.origin, l.op, l.seen";

fn entry(row: &rusqlite::Row<'_>) -> rusqlite::Result<Entry> {
    let number = |place: usize| row.get::<_, i64>(place).map(i64::cast_unsigned);
    Ok(Entry {
        seq: number(0)?,
        nonce: number(3)?,
        group: number(2)?,
        table: row.get(1)?,
        key: Key::new(Vec::<Value>::new()),
        stamp: stamp(row, 5)?,
        upstream: row.get(4)?,
        before: None,
        after: None,
    })
}

fn between(connection: &Connection, shared: &Shared, after: i64, up_to: i64) -> Result<Vec<Entry>> {
    let read = || -> rusqlite::Result<Vec<Entry>> {
        let sql = format!("SELECT {ENTRY} FROM _sync_log l WHERE l.id > ? AND l.id <= ? ORDER BY l.id");
        connection.prepare_cached(&sql)?.query_map([after, up_to], entry)?.collect()
    };
    let mut entries = read().map_err(unread)?;
    let mut images: BTreeMap<u64, Images> = BTreeMap::new();
    for layout in shared.layouts.values() {
        if !entries.iter().any(|entry| entry.table == layout.name()) {
            continue;
        }
        let sql = format!("SELECT {} FROM {} i WHERE i.id > ? AND i.id <= ?", of_images(layout), layout.log);
        let mut select = connection.prepare_cached(&sql).map_err(unread)?;
        let mut found = select.query([after, up_to]).map_err(unread)?;
        while let Some(row) = found.next().map_err(unread)? {
            let seq: i64 = row.get(0).map_err(unread)?;
            images.insert(seq.cast_unsigned(), Images::of(row, 1, layout)?);
        }
    }
    for entry in &mut entries {
        let images = images.remove(&entry.seq);
        images
            .ok_or_else(|| Error::internal("an entry without its rows").with("table", &entry.table))?
            .into_entry(entry);
    }
    Ok(entries)
}

/// The rows of an entry.
struct Images {
    key: Key,
    before: Option<Vec<Value>>,
    after: Option<Vec<Value>>,
}

/// The columns that [`Images`] are read from, behind the place.
fn of_images(layout: &Layout) -> String {
    let before = list(layout.columns.iter(), |names| format!("i.{}", names.before));
    let after = list(layout.columns.iter(), |names| format!("i.{}", names.after));
    format!("i.id, i.had, i.has, {}, {before}, {after}", layout.keys("i."))
}

impl Images {
    fn of(row: &rusqlite::Row<'_>, from: usize, layout: &Layout) -> Result<Self> {
        let (had, has): (bool, bool) = (row.get(from).map_err(unread)?, row.get(from + 1).map_err(unread)?);
        let (keys, width) = (layout.key.len(), layout.fields().len());
        let read = |from| image(row, from, layout.fields()).map_err(|error| error.with("table", layout.name()));
        let before = had.then(|| read(from + 2 + keys)).transpose()?;
        let after = has.then(|| read(from + 2 + keys + width)).transpose()?;
        Ok(Self { key: key(row, from + 2, layout)?, before, after })
    }

    fn into_entry(self, entry: &mut Entry) {
        (entry.key, entry.before, entry.after) = (self.key, self.before, self.after);
    }
}

pub(super) fn pending(connection: &Connection, layout: &Layout, keys: &[Key], above: u64) -> Result<Vec<Entry>> {
    let above = i64::try_from(above).unwrap_or(i64::MAX);
    let read = || connection.prepare_cached("SELECT seq FROM _sync_ctx")?.query_row([], |row| row.get::<_, i64>(0));
    let seq = read().map_err(unread)?.cast_unsigned();
    let sql = format!(
        "SELECT {ENTRY}, {} FROM {} i JOIN _sync_log l ON l.id = i.id WHERE i.id > ? AND {} AND NOT l.upstream",
        of_images(layout),
        layout.log,
        layout.by_key("i.")
    );
    let mut pending = Vec::new();
    for wanted in keys {
        let mut select = by_key(connection, &sql, layout, wanted, 2)?;
        select.raw_bind_parameter(1, above).map_err(unread)?;
        let mut found = select.raw_query();
        while let Some(row) = found.next().map_err(unread)? {
            let mut entry = entry(row).map_err(unread)?;
            Images::of(row, 11, layout)?.into_entry(&mut entry);
            pending.push(entry);
        }
    }
    pending.sort_by_key(|entry| entry.seq);
    for entry in pending.iter_mut().filter(|entry| entry.seq > seq) {
        (entry.seq, entry.nonce) = (0, 0);
    }
    Ok(pending)
}

/// Forgets entries, and deleted rows whose delete is among them.
pub(super) fn trim(connection: &Connection, shared: &Shared, up_to: u64) -> Result<u64> {
    let up_to = i64::try_from(up_to).unwrap_or(i64::MAX);
    let forget = || -> rusqlite::Result<usize> {
        for layout in shared.layouts.values() {
            let Layout { row, log, .. } = layout;
            let sql = format!(
                "DELETE FROM {row} WHERE deleted AND ({keys}) IN (SELECT {of} FROM {log} i WHERE i.id <= ?1 AND NOT i.has)
                   AND rev <= (SELECT max(rev) FROM _sync_log WHERE id <= ?1)",
                keys = layout.keys(""),
                of = layout.keys("i."),
            );
            connection.prepare_cached(&sql)?.execute([up_to])?;
            connection.prepare_cached(&format!("DELETE FROM {log} WHERE id <= ?"))?.execute([up_to])?;
        }
        connection.execute("UPDATE _sync_ctx SET trimmed = max(trimmed, ?)", [up_to])?;
        connection.execute("DELETE FROM _sync_log WHERE id <= ?", [up_to])
    };
    forget().map(|entries| entries as u64).map_err(|cause| failed("the feed cannot be cleaned up", cause))
}

fn unread(cause: rusqlite::Error) -> Error {
    failed("the feed cannot be read", cause)
}
