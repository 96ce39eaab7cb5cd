//! Puts our tables and triggers beside the host's tables, notices when the host's schema has changed, and mends what that broke.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension as _};
use sync_core::{Error, ErrorKind, Result};

use super::Shared;
use super::catalog::{self, Catalog};
use super::layout::{Layout, TABLES, list};
use super::triggers::{self, Object, SHARED, SHARED_NAMES};
use crate::ident::quoted;
use crate::sqlite::error::failed;
use crate::sqlite::schema::{Affinity, affinity, columns, prepare};

/// Makes sure that every change of a declared table is captured, within the transaction that writes. Returns the schema when
/// anything about it is new: it counts once the transaction is committed.
///
/// # Errors
/// `Schema` or `Config`, naming the table and the remedy, when it cannot be made so.
pub(super) fn ensure(connection: &Connection, shared: &Shared) -> Result<Option<Catalog>> {
    if catalog::version(connection)? == shared.catalog().version {
        return Ok(None);
    }
    run(connection, SHARED)?;
    identify(connection, shared)?;
    let taking_part = registered(connection)?;
    if let Some(other) = taking_part.iter().find(|name| !shared.layouts.contains_key(*name)) {
        let what = "the table took part in two-way sync before: declare it again, or take everything out with `SqliteReplica::remove` and begin anew";
        return Err(Error::config(what).with("table", other));
    }
    for layout in shared.in_order() {
        if !taking_part.contains(layout.name()) {
            prepare(connection, layout.table.spec())?;
        } else if columns(connection, layout.name())?.is_empty() {
            let what = "the table takes part in two-way sync and is gone: if it was renamed, rename it back; if it was dropped, create it again, empty or not";
            return Err(Error::new(ErrorKind::Schema, what).with("table", layout.name()));
        } else {
            prepare(connection, layout.table.spec())?;
        }
    }
    let now = Catalog::of(connection, shared.layouts.values())?;
    let mut torn = false;
    for layout in shared.in_order() {
        let unique = now.unique.get(layout.name()).map(Vec::as_slice).unwrap_or_default();
        let mended = books(connection, layout)? | objects(connection, &triggers::objects(layout, unique)?, layout)?;
        if mended {
            sweep(connection, layout)?;
            torn = true;
        }
        let note = "INSERT INTO _sync_table (name) VALUES (?) ON CONFLICT DO NOTHING";
        connection.execute(note, [layout.name()]).map_err(uninstalled)?;
    }
    if torn {
        run(connection, "INSERT INTO _sync_group VALUES (1)")?;
    }
    Ok(Some(Catalog { version: catalog::version(connection)?, ..now }))
}

/// Whose database it is.
fn identify(connection: &Connection, shared: &Shared) -> Result<()> {
    let new =
        "INSERT INTO _sync_ctx (id, node, epoch, rev, last, seq, grp, trimmed, skew) VALUES (1, ?, ?, 0, 0, 0, 1, 0, 0)
               ON CONFLICT DO NOTHING";
    let epoch = shared.clock.random() >> 1;
    connection.execute(new, (&*shared.name, epoch.cast_signed())).map_err(uninstalled)?;
    let node: String = connection.query_row("SELECT node FROM _sync_ctx", [], |row| row.get(0)).map_err(uninstalled)?;
    if *node == *shared.name {
        return Ok(());
    }
    let what =
        "the database is that of another replica: open it under its name; a copy of it cannot be a replica of its own";
    Err(Error::config(what).with("replica", node).with("name", &shared.name))
}

fn registered(connection: &Connection) -> Result<BTreeSet<String>> {
    let read = || -> rusqlite::Result<BTreeSet<String>> {
        connection.prepare("SELECT name FROM _sync_table")?.query_map([], |row| row.get(0))?.collect()
    };
    read().map_err(uninstalled)
}

/// Our tables about one of the host's: created, or grown with it. Returns whether anything was missing.
fn books(connection: &Connection, layout: &Layout) -> Result<bool> {
    let host = columns(connection, layout.name())?;
    let kept_as = |column: usize| {
        let name = layout.fields()[column].name();
        let declared =
            host.iter().find(|column| column.name.eq_ignore_ascii_case(name)).map(|column| &*column.declared);
        // The same affinity as the host's column, so that indexes serve comparisons between both.
        match affinity(declared.unwrap_or_default()) {
            Affinity::Integer => "INTEGER",
            Affinity::Text => "TEXT",
            Affinity::Blob => "BLOB",
            Affinity::Real => "REAL",
            Affinity::Numeric => "NUMERIC",
        }
    };
    let key = layout.key.iter().map(|&column| format!("{} {} NOT NULL", layout.columns[column].kept, kept_as(column)));
    let (key, names) = (key.collect::<Vec<_>>().join(", "), layout.keys(""));
    // Values have no type of their own here: they stay exactly what they are.
    let kept: String = layout.values().map(|names| format!(", {}", names.kept)).collect();
    let images: String = layout.values().map(|names| format!(", {}, {}", names.before, names.after)).collect();
    let Layout { row, log, staged, gone, .. } = layout;
    let stamp = "hlc INTEGER NOT NULL, origin TEXT NOT NULL, op INTEGER NOT NULL, seen INTEGER NOT NULL";
    let wanted = [
        (TABLES[0], format!("CREATE TABLE {row} ({key}{kept}, rev INTEGER NOT NULL, {stamp}, deleted INTEGER NOT NULL, PRIMARY KEY ({names})) WITHOUT ROWID")),
        (TABLES[1], format!("CREATE TABLE {log} (id INTEGER PRIMARY KEY, {key}, had INTEGER NOT NULL, has INTEGER NOT NULL{images});
            CREATE INDEX {} ON {log} ({names}, id)", quoted(&format!("_sync_key_{}", layout.name()))?)),
        (TABLES[2], format!("CREATE TABLE {staged} ({key}, {stamp}, upstream INTEGER NOT NULL, PRIMARY KEY ({names})) WITHOUT ROWID")),
        (TABLES[3], format!("CREATE TABLE {gone} ({key}, PRIMARY KEY ({names})) WITHOUT ROWID")),
    ];
    let mut grew = false;
    for (prefix, create) in wanted {
        let name = format!("{prefix}{}", layout.name());
        let there = columns(connection, &name)?;
        if there.is_empty() {
            run(connection, &create)?;
            grew = true;
            continue;
        }
        let lacks =
            |column: &&String| !there.iter().any(|there| quoted(&there.name).is_ok_and(|name| name == **column));
        let mut columns: Vec<&String> = Vec::new();
        for names in layout.values() {
            match prefix {
                "_sync_row_" => columns.push(&names.kept),
                "_sync_log_" => columns.extend([&names.before, &names.after]),
                _ => {}
            }
        }
        for column in columns.into_iter().filter(lacks) {
            run(connection, &format!("ALTER TABLE {} ADD COLUMN {column}", quoted(&name)?))?;
            grew = true;
        }
    }
    Ok(grew)
}

/// The view and the triggers, as they must be. Returns whether any was not.
fn objects(connection: &Connection, wanted: &[Object], layout: &Layout) -> Result<bool> {
    let found = |name: &str| {
        let sql = "SELECT sql FROM sqlite_schema WHERE name = ? AND type IN ('trigger', 'view')";
        connection.query_row(sql, [name], |row| row.get::<_, String>(0)).optional().map_err(uninstalled)
    };
    let mut right = true;
    for name in triggers::names(layout.name()) {
        let wanted = wanted.iter().find(|object| object.name == name).map(|object| &object.sql);
        right &= found(&name)?.as_ref() == wanted;
    }
    if right {
        return Ok(false);
    }
    drop_objects(connection, layout.name())?;
    wanted.iter().try_for_each(|object| run(connection, &object.sql))?;
    Ok(true)
}

fn drop_objects(connection: &Connection, table: &str) -> Result<()> {
    // The view goes last, and takes its own trigger with it.
    for name in triggers::names(table).iter().rev() {
        let kind = if name.starts_with("_sync_put_") { "VIEW" } else { "TRIGGER" };
        run(connection, &format!("DROP {kind} IF EXISTS {}", quoted(name)?))?;
    }
    Ok(())
}

/// Captures what was written while nobody noticed: every difference between the table and what the feed last said of it.
pub(super) fn sweep(connection: &Connection, layout: &Layout) -> Result<()> {
    readable(connection, layout)?;
    run(connection, &triggers::sweep(layout)).map_err(|error| error.with("table", layout.name()))
}

/// Refuses a table with a value that is not what is declared: the feed could not be read any more.
fn readable(connection: &Connection, layout: &Layout) -> Result<()> {
    let columns = list(layout.columns.iter(), |names| names.host.clone());
    let unread = |cause| failed("the table cannot be read", cause).with("table", layout.name());
    let mut select = connection.prepare(&format!("SELECT {columns} FROM {}", layout.host)).map_err(unread)?;
    let mut rows = select.query([]).map_err(unread)?;
    while let Some(row) = rows.next().map_err(unread)? {
        super::rows::image(row, 0, layout.fields()).map_err(|error| error.with("table", layout.name()))?;
    }
    Ok(())
}

/// Takes everything of ours out. The host's tables stay as they are.
pub(super) fn remove(connection: &Connection) -> Result<()> {
    let is_there: bool = connection
        .query_row("SELECT count(*) FROM sqlite_schema WHERE name = '_sync_table'", [], |row| row.get(0))
        .map_err(uninstalled)?;
    if !is_there {
        return Ok(());
    }
    for table in registered(connection)? {
        drop_objects(connection, &table)?;
        for prefix in TABLES {
            run(connection, &format!("DROP TABLE IF EXISTS {}", quoted(&format!("{prefix}{table}"))?))?;
        }
    }
    SHARED_NAMES.iter().try_for_each(|(kind, name)| run(connection, &format!("DROP {kind} IF EXISTS {name}")))
}

pub(super) fn run(connection: &Connection, sql: &str) -> Result<()> {
    connection.execute_batch(sql).map_err(uninstalled)
}

fn uninstalled(cause: rusqlite::Error) -> Error {
    failed("what notices the host's writes cannot be installed", cause)
}
