//! The triggers that notice what the host writes, with any connection and any program.
//!
//! They compare: what they record is the difference between the host's row and what the feed last said of it. So a write
//! that changes nothing leaves no trace, it does not matter in which order triggers of the host run, and what was missed
//! while a trigger was lost is found by the same comparison over the whole table.

use sync_core::Result;

use super::catalog::Unique;
use super::guard::guard;
use super::layout::{Layout, Names, list, literal};
use crate::ident::quoted;

/// Something of ours in the host's schema.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) name: String,
    /// As SQLite keeps it.
    pub(super) sql: String,
}

/// What all tables share.
pub(super) const SHARED: &str = "
CREATE TABLE IF NOT EXISTS _sync_ctx (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  node TEXT NOT NULL,             -- the origin of what is written here
  epoch INTEGER NOT NULL,         -- the life of the feed
  rev INTEGER NOT NULL,           -- the count of writes
  last INTEGER NOT NULL,          -- the last place that was given in the log
  seq INTEGER NOT NULL,           -- the last place whose group is complete: what lies behind it is not in the feed yet
  grp INTEGER NOT NULL,           -- the group that is being written
  trimmed INTEGER NOT NULL,
  skew INTEGER NOT NULL,          -- milliseconds by which the clock is ahead
  now INTEGER);                   -- milliseconds since 1970, where another clock than the machine's counts
CREATE TABLE IF NOT EXISTS _sync_table (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _sync_log (
  id INTEGER PRIMARY KEY, tbl TEXT NOT NULL, grp INTEGER NOT NULL, nonce INTEGER NOT NULL, rev INTEGER NOT NULL,
  hlc INTEGER NOT NULL, origin TEXT NOT NULL, op INTEGER NOT NULL, seen INTEGER NOT NULL, upstream INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS _sync_book (book TEXT NOT NULL, id TEXT NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (book, id)) WITHOUT ROWID;
CREATE VIEW IF NOT EXISTS _sync_group AS SELECT NULL AS ended;
CREATE TRIGGER IF NOT EXISTS _sync_group_ended INSTEAD OF INSERT ON _sync_group BEGIN
  UPDATE _sync_ctx SET seq = last, grp = grp + 1 WHERE last > seq;
END;";

/// The names of what all tables share, in the order in which they can be dropped.
pub(super) const SHARED_NAMES: [(&str, &str); 5] = [
    ("VIEW", "_sync_group"),
    ("TABLE", "_sync_book"),
    ("TABLE", "_sync_log"),
    ("TABLE", "_sync_table"),
    ("TABLE", "_sync_ctx"),
];

/// Milliseconds since 1970, as triggers see it. `unixepoch` with fractions came with SQLite 3.42 only.
const NOW: &str = "coalesce(c.now, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)) + c.skew";

/// The view and the triggers of a table.
pub(super) fn objects(layout: &Layout, unique: &[Unique]) -> Result<Vec<Object>> {
    let mut objects = vec![view(layout), put(layout)?];
    let displaced = if unique.is_empty() { String::new() } else { displaced(layout) };
    if !unique.is_empty() {
        objects.push(trigger(layout, "bi", "BEFORE INSERT", &suspects(layout, unique, None)?)?);
        objects.push(trigger(layout, "bu", "BEFORE UPDATE", &suspects(layout, unique, Some("OLD"))?)?);
    }
    let (guard, here, gone) = (guard(layout), here(layout), gone(layout));
    objects.push(trigger(layout, "ai", "AFTER INSERT", &format!("{guard}{displaced}{here}"))?);
    objects.push(trigger(layout, "au", "AFTER UPDATE", &format!("{guard}{displaced}{gone}{here}"))?);
    objects.push(trigger(layout, "ad", "AFTER DELETE", &gone)?);
    Ok(objects)
}

/// The names that [`objects`] may give.
pub(super) fn names(table: &str) -> Vec<String> {
    let marks = ["put_", "bi_", "bu_", "ai_", "au_", "ad_", "changed_"];
    marks.iter().map(|mark| format!("_sync_{mark}{table}")).collect()
}

fn trigger(layout: &Layout, mark: &str, when: &str, body: &str) -> Result<Object> {
    let name = format!("_sync_{mark}_{}", layout.name());
    let sql = format!("CREATE TRIGGER {} {when} ON {} BEGIN\n{body}END", quoted(&name)?, layout.host);
    Ok(Object { name, sql })
}

/// A row by its key, and the row itself where it is there. Nothing of it is about the host's table: that can be dropped and
/// another put in its place.
fn view(layout: &Layout) -> Object {
    let columns = list(layout.columns.iter(), |names| format!("NULL AS {}", names.after));
    Object {
        name: format!("_sync_put_{}", layout.name()),
        sql: format!("CREATE VIEW {} AS SELECT {columns}, NULL AS has", layout.put),
    }
}

/// Records the difference between a row and what the feed last said of it.
fn put(layout: &Layout) -> Result<Object> {
    let Layout { row, log, staged, .. } = layout;
    let (key, new_key) = (layout.keys(""), layout.keys("NEW."));
    let (is_b, is_i) = (layout.same("b", "NEW"), layout.same("i", "NEW"));
    let all = |piece: &dyn Fn(&Names) -> String| -> String {
        layout.values().map(|names| format!(", {}", piece(names))).collect()
    };
    let differs = layout.differs(|names| format!("NEW.{}", names.after));
    let name = format!("_sync_changed_{}", layout.name());
    let sql = format!(
        "CREATE TRIGGER {trigger} INSTEAD OF INSERT ON {put}
WHEN NEW.has <> coalesce((SELECT NOT b.deleted FROM {row} b WHERE {is_b}), 0)
  OR NEW.has AND EXISTS (SELECT 1 FROM {row} b WHERE {is_b} AND ({differs}))
  OR NOT NEW.has AND EXISTS (SELECT 1 FROM {staged} i WHERE {is_i}) AND NOT EXISTS (SELECT 1 FROM {row} b WHERE {is_b})
BEGIN
  UPDATE _sync_ctx SET rev = rev + 1, last = last + 1;
  INSERT INTO {log} (id, {key}, had, has{befores}{afters})
    SELECT c.last, {new_key}, coalesce(NOT b.deleted, 0), NEW.has{kept}{new}
    FROM _sync_ctx c LEFT JOIN {row} b ON {is_b};
  INSERT INTO _sync_log (id, tbl, grp, nonce, rev, hlc, origin, op, seen, upstream)
    SELECT c.last, {table}, c.grp, random() & 9223372036854775807, c.rev,
      coalesce(i.hlc, max(({NOW}) << 16, coalesce(b.hlc, 0) + 1)), coalesce(i.origin, c.node), coalesce(i.op, c.last),
      coalesce(i.seen, b.seen, 0), coalesce(i.upstream, 0)
    FROM _sync_ctx c LEFT JOIN {staged} i ON {is_i} LEFT JOIN {row} b ON {is_b};
  INSERT INTO {row} ({key}{keeps}, rev, hlc, origin, op, seen, deleted)
    SELECT {new_key}{new}, l.rev, l.hlc, l.origin, l.op, l.seen, NOT NEW.has
    FROM _sync_ctx c JOIN _sync_log l ON l.id = c.last WHERE true
    ON CONFLICT ({key}) DO UPDATE SET rev = excluded.rev, hlc = excluded.hlc, origin = excluded.origin, op = excluded.op,
      seen = excluded.seen, deleted = excluded.deleted{sets};
  DELETE FROM {staged} WHERE {is_in};
END",
        trigger = quoted(&name)?,
        put = layout.put,
        table = literal(layout.name()),
        befores = all(&|names| names.before.clone()),
        afters = all(&|names| names.after.clone()),
        kept = all(&|names| format!("b.{}", names.kept)),
        keeps = all(&|names| names.kept.clone()),
        new = all(&|names| format!("NEW.{}", names.after)),
        sets = all(&|names| format!("{0} = excluded.{0}", names.kept)),
        is_in = layout.same(staged, "NEW"),
    );
    Ok(Object { name, sql })
}

/// The row that was written is there: as it stands, since a trigger of the host may have changed it again.
fn here(layout: &Layout) -> String {
    format!(
        "  INSERT INTO {} ({}, has) SELECT {}, 1 FROM {} t WHERE {};\n",
        layout.put,
        list(layout.columns.iter(), |names| names.after.clone()),
        list(layout.columns.iter(), |names| format!("t.{}", names.host)),
        layout.host,
        layout.is_host_row("NEW"),
    )
}

/// The row that was written is no longer there: it was deleted, or has another key now.
fn gone(layout: &Layout) -> String {
    format!(
        "  INSERT INTO {} ({}, has) SELECT {}, 0 WHERE NOT EXISTS (SELECT 1 FROM {} t WHERE {});\n",
        layout.put,
        layout.keys(""),
        layout.host_keys("OLD."),
        layout.host,
        layout.is_host_row("OLD"),
    )
}

/// Notes the rows that hold a unique value which is about to be written: `REPLACE` takes them away and fires no trigger
/// (<https://www.sqlite.org/lang_conflict.html>).
fn suspects(layout: &Layout, unique: &[Unique], itself: Option<&str>) -> Result<String> {
    let mut body = String::new();
    for index in unique {
        let holds = index.columns.iter().map(|(column, collation)| {
            let column = quoted(column)?;
            Ok(format!("t.{column} COLLATE {} = NEW.{column}", quoted(collation)?))
        });
        let holds = holds.collect::<Result<Vec<_>>>()?.join(" AND ");
        let other = itself.map_or_else(String::new, |old| format!(" AND NOT ({})", layout.is_host_row(old)));
        body.push_str(&format!(
            "  INSERT INTO {gone} ({}) SELECT {} FROM {} t WHERE {holds}{other}
    AND NOT EXISTS (SELECT 1 FROM {gone} g WHERE {});\n",
            layout.keys(""),
            layout.host_keys("t."),
            layout.host,
            layout.is_row("g"),
            gone = layout.gone,
        ));
    }
    Ok(body)
}

/// The noted rows that are no longer there were displaced.
pub(super) fn displaced(layout: &Layout) -> String {
    let missing = |of: &str| format!("NOT EXISTS (SELECT 1 FROM {} t WHERE {})", layout.host, layout.is_row(of));
    format!(
        "  INSERT INTO {} ({}, has) SELECT {}, 0 FROM {gone} g WHERE {};\n  DELETE FROM {gone} WHERE {};\n",
        layout.put,
        layout.keys(""),
        layout.keys("g."),
        missing("g"),
        missing(&layout.gone),
        gone = layout.gone,
    )
}

/// Records every difference between the host's table and what the feed last said: two statements.
pub(super) fn sweep(layout: &Layout) -> String {
    let Layout { row, host, put, .. } = layout;
    let after = list(layout.columns.iter(), |names| names.after.clone());
    let columns = list(layout.columns.iter(), |names| format!("t.{}", names.host));
    let differs = layout.differs(|names| format!("t.{}", names.host));
    let known = layout.is_row("b");
    format!(
        "INSERT INTO {put} ({key}, has) SELECT {b_key}, 0 FROM {row} b
  WHERE NOT b.deleted AND NOT EXISTS (SELECT 1 FROM {host} t WHERE {known});
INSERT INTO {put} ({after}, has) SELECT {columns}, 1 FROM {host} t LEFT JOIN {row} b ON {known}
  WHERE b.rev IS NULL OR b.deleted OR {differs};
DELETE FROM {gone};",
        key = layout.keys(""),
        b_key = layout.keys("b."),
        gone = layout.gone,
    )
}
