//! Puts our tables and triggers beside the host's tables, notices when the host's schema has changed, and mends what that broke.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, Row as _};
use sync_core::{Error, ErrorKind, Result};

use super::cascade::Edges;
use super::dialect::Shared;
use super::feed::{self, number};
use super::foreign::foreign_keys;
use super::layout::Layout;
use super::{kept, log, triggers};
use crate::mysql::batch::{ask, literal};
use crate::mysql::checkpoint::NO_SUCH_TABLE;
use crate::mysql::error::{self, failed, told};
use crate::mysql::query::name;
use crate::mysql::schema::{PATIENCE, WAIT, prepare, writable};
use crate::mysql::table::{self, definition, show};
use crate::replica::Connects;

/// Looks whether every declared table is captured, as far as the schema tells.
pub(super) async fn is_whole(connection: &mut MySqlConnection, shared: &Shared) -> Result<bool> {
    let known = match registered(connection).await {
        Ok(known) => known,
        // Nothing is there yet, or somebody has taken our tables out.
        Err(cause) if error::number(&cause) == Some(NO_SUCH_TABLE) => return Ok(false),
        Err(cause) => return Err(unseen(cause)),
    };
    let captured = |layout: &Layout| known.get(layout.name()).is_some_and(|(made, _)| *made == shared.mark(layout));
    if known.len() != shared.layouts.len() || !shared.layouts.values().all(captured) {
        return Ok(false);
    }
    if !missed(connection).await.map_err(unseen)?.is_empty() {
        return Ok(false);
    }
    let now = like(connection, shared, true).await?;
    Ok(known.iter().all(|(name, (_, seen))| now.get(name) == Some(seen)))
}

/// What the tables that are there are like: how they are written down, when, our triggers, and by which rules rows of others hang
/// on them.
async fn like(connection: &mut MySqlConnection, shared: &Shared, kept: bool) -> Result<BTreeMap<String, String>> {
    let mut found = Vec::new();
    for layout in shared.layouts.values() {
        let table = literal(layout.name());
        // A table that somebody has emptied at once fires no trigger.
        let emptied = match kept {
            true => format!(
                "NOT EXISTS (SELECT 1 FROM {}) AND EXISTS (SELECT 1 FROM {} b WHERE NOT b.deleted)",
                layout.host, layout.row
            ),
            false => "0".to_owned(),
        };
        let sql = format!(
            "{}; SELECT GROUP_CONCAT(CONCAT_WS(':', TRIGGER_NAME, CREATED, MD5(ACTION_STATEMENT)) ORDER BY TRIGGER_NAME)
             FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = DATABASE() AND EVENT_OBJECT_TABLE = {table}
               AND TRIGGER_SCHEMA = DATABASE() AND TRIGGER_NAME LIKE '|_sync|_%' ESCAPE '|';
             SELECT CONCAT(CREATE_TIME) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = {table};
             SELECT {emptied}",
            show(layout.name())?
        );
        let answers = match ask(connection, sql).await {
            Err(cause) if error::number(&cause) == Some(NO_SUCH_TABLE) => continue,
            answers => answers.map_err(unseen)?,
        };
        let text = |at: usize| {
            let row = answers.get(at).and_then(|rows| rows.first());
            row.and_then(|row| row.try_get_unchecked::<Option<String>, _>(0).ok().flatten()).unwrap_or_default()
        };
        let emptied = answers.get(3).and_then(|rows| rows.first()).map(|row| number(row, 0)).transpose();
        let written = answers.first().and_then(|rows| definition(rows)).unwrap_or_default();
        found.push((layout.name(), written, [text(1), text(2)], emptied.map_err(unseen)?.unwrap_or_default() != 0));
    }
    let mut all = BTreeMap::new();
    for (name, written, rest, emptied) in &found {
        // The server writes names of tables in backticks.
        let named = format!("REFERENCES `{}` ", name.replace('`', "``"));
        let lines = found.iter().flat_map(|(child, written, ..)| written.lines().map(move |line| (child, line)));
        let rules = lines.filter(|(_, line)| line.contains(&named)).map(|(child, line)| format!("{child}:{line}"));
        let rules = rules.collect::<Vec<_>>().join("\0");
        let text = [written.as_str(), &rest[0], &rest[1], &rules].join("\0");
        let emptied = if *emptied { "emptied " } else { "" };
        all.insert((*name).to_owned(), format!("{emptied}{}", &blake3::hash(text.as_bytes()).to_hex()[..32]));
    }
    Ok(all)
}

/// The tables that took part, with how they were made and what they were like.
async fn registered(connection: &mut MySqlConnection) -> sqlx::Result<BTreeMap<String, (String, String)>> {
    let rows = sqlx::raw_sql("SELECT name, made, seen FROM _sync_table").fetch_all(connection).await?;
    let text = |row: &sqlx::mysql::MySqlRow, at: usize| row.try_get_unchecked::<String, _>(at);
    rows.iter().map(|row| Ok((text(row, 0)?, (text(row, 1)?, text(row, 2)?)))).collect()
}

/// The tables of which a trigger has said that it could not see them.
async fn missed(connection: &mut MySqlConnection) -> sqlx::Result<Vec<(i64, String)>> {
    let rows = sqlx::raw_sql("SELECT id, tbl FROM _sync_missed").fetch_all(connection).await?;
    rows.iter().map(|row| Ok((number(row, 0)?, row.try_get_unchecked(1)?))).collect()
}

/// Makes sure that every change of a declared table is captured, and captures what was missed. Nothing may be open on this
/// connection: statements that change the schema commit by themselves.
///
/// # Errors
/// `Schema` or `Config`, naming the table and the remedy, when it cannot be made so; `Forbidden` when the account lacks a right;
/// `Unavailable` when a transaction that writes to the table does not end.
pub(super) async fn ensure(connection: &mut MySqlConnection, shared: &Shared) -> Result<()> {
    writable(connection).await?;
    fit(connection).await?;
    run(connection, WAIT.to_owned()).await?;
    for statement in log::statements(shared.server.exact) {
        run(connection, statement).await?;
    }
    identify(connection, shared).await?;
    feed::resume(connection).await.map_err(uninstalled)?;
    let known = registered(connection).await.map_err(uninstalled)?;
    if let Some(other) = known.keys().find(|name| !shared.layouts.contains_key(*name)) {
        let what = "the table took part in two-way sync before: declare it again, or take everything out with `MySqlReplica::remove` and begin anew";
        return Err(Error::config(what).with("table", other));
    }
    let missed = missed(connection).await.map_err(uninstalled)?;
    let all = known.len() == shared.layouts.len();
    let now = like(connection, shared, all).await?;
    let wrong: Vec<&Layout> = shared
        .in_order()
        .filter(|layout| {
            let right = known.get(layout.name()).is_some_and(|(made, seen)| {
                *made == shared.mark(layout) && now.get(layout.name()).is_some_and(|now| now == seen)
            });
            !right || missed.iter().any(|(_, table)| table == layout.name())
        })
        .collect();
    for layout in &wrong {
        let table = grow(connection, shared, layout, known.contains_key(layout.name())).await;
        table.map_err(|error| waited(error).with("table", layout.name()))?;
    }
    let foreign = foreign_keys(connection).await?;
    let edges = Edges::new(shared, &foreign);
    edges.check(connection).await?;
    for layout in &wrong {
        let made = make(connection, shared, layout, &edges).await;
        made.map_err(|error| waited(error).with("table", layout.name()))?;
    }
    for layout in &wrong {
        let swept = sweep(connection, shared, layout).await;
        swept.map_err(|error| waited(error).with("table", layout.name()))?;
    }
    let now = like(connection, shared, false).await?;
    for layout in shared.in_order() {
        let note = sqlx::query("REPLACE INTO _sync_table (name, made, seen) VALUES (?, ?, ?)");
        let seen = now.get(layout.name()).cloned().unwrap_or_default();
        let note = note.bind(layout.name()).bind(shared.mark(layout)).bind(seen);
        note.execute(&mut *connection).await.map_err(uninstalled)?;
    }
    for (id, _) in missed {
        let done = sqlx::query("DELETE FROM _sync_missed WHERE id = ?").bind(id);
        done.execute(&mut *connection).await.map_err(uninstalled)?;
    }
    run(connection, PATIENCE.to_owned()).await
}

/// Refuses a server on which transactions could not be told apart, or whose writes come from elsewhere.
async fn fit(connection: &mut MySqlConnection) -> Result<()> {
    let sql = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('version', 'wsrep_on', 'log_bin', 'binlog_format')";
    let rows = sqlx::raw_sql(sql).fetch_all(connection).await.map_err(uninstalled)?;
    let set: BTreeMap<String, String> = rows
        .iter()
        .map(|row| Ok((row.try_get_unchecked::<String, _>(0)?, row.try_get_unchecked::<String, _>(1)?)))
        .collect::<sqlx::Result<_>>()
        .map_err(uninstalled)?;
    let is = |name: &str, value: &str| set.get(name).is_some_and(|found| found.eq_ignore_ascii_case(value));
    if is("wsrep_on", "ON") {
        return Err(Error::config(
            "the server is a node of a Galera cluster, where writes to one row at two nodes are told apart at the commit only: a replica needs a server of its own",
        ));
    }
    if is("log_bin", "ON") && is("binlog_format", "STATEMENT") {
        return Err(Error::config(
            "the server writes statements into its binary log, which do not say what triggers do: set binlog_format to ROW or MIXED at the server",
        ));
    }
    Ok(())
}

const OPEN: &str = "a transaction that is open on this table must end before what it writes can be captured: see information_schema.INNODB_TRX for the oldest trx_started";

/// A lock that was waited for in vain.
fn waited(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Unavailable => error.with_remedy(OPEN),
        _ => error,
    }
}

/// The host's table, created or grown as it is declared, and our tables about it.
async fn grow(connection: &mut MySqlConnection, shared: &Shared, layout: &Layout, took_part: bool) -> Result<()> {
    if took_part {
        still_there(connection, shared, layout).await?;
    }
    // Triggers that know other columns would be asked for them.
    for statement in triggers::drop_triggers(layout) {
        run(connection, statement).await?;
    }
    prepare(connection, layout.table.spec(), shared.server, drop).await?;
    run(connection, WAIT.to_owned()).await?;
    let sql = "SELECT COLUMN_NAME FROM information_schema.COLUMNS
               WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ? AND IS_NULLABLE = 'YES'";
    let rows = sqlx::query(sql).bind(layout.name()).fetch_all(&mut *connection).await.map_err(uninstalled)?;
    let optional = rows.iter().map(|row| row.try_get_unchecked::<String, _>(0));
    let optional = optional.collect::<sqlx::Result<Vec<_>>>().map_err(uninstalled)?;
    if let Some(key) = layout.table.spec().key_columns().iter().find(|key| optional.contains(key)) {
        let what = "a key column may be empty: a row without key cannot be named; declare the column NOT NULL";
        return Err(Error::new(ErrorKind::Schema, what).with("column", key));
    }
    kept::grow(connection, layout).await
}

/// A column that is gone was renamed or dropped: an empty one in its place would look like a change of every row.
async fn still_there(connection: &mut MySqlConnection, shared: &Shared, layout: &Layout) -> Result<()> {
    let gone = |what: &'static str| Error::new(ErrorKind::Schema, what);
    let Some(there) = table::look(connection, layout.name()).await? else {
        return Err(gone(
            "the table takes part in two-way sync and is gone: if it was renamed, rename it back; if it was dropped, create it again, empty or not",
        ));
    };
    let kept = kept::columns(connection, &format!("_sync_row_{}", layout.name())).await?;
    for (names, field) in layout.columns.iter().zip(layout.fields()) {
        let took_part = kept.iter().any(|kept| name(kept).is_ok_and(|kept| kept == names.kept));
        if took_part && !there.columns.iter().any(|column| column.name == field.name()) {
            let error = gone(
                "the column takes part in two-way sync and is gone: if it was renamed, rename it back, or declare the new name; if it was dropped, leave it out of the declaration",
            );
            return Err(error.with("column", field.name()).with("replica", &shared.name));
        }
    }
    Ok(())
}

/// What runs in the host's transactions.
async fn make(connection: &mut MySqlConnection, shared: &Shared, layout: &Layout, edges: &Edges<'_>) -> Result<()> {
    for statement in edges.indexes(layout) {
        run(connection, statement).await?;
    }
    for statement in triggers::drops(layout).into_iter().chain(triggers::objects(layout, &shared.name, edges)) {
        run(connection, statement).await?;
    }
    Ok(())
}

/// Captures what was written while nobody noticed: every difference between the table and what the feed last said of it. Nobody
/// writes to the table meanwhile: another connection sees to that.
async fn sweep(connection: &mut MySqlConnection, shared: &Shared, layout: &Layout) -> Result<u64> {
    let mut gate = shared.connect().await?;
    run(&mut gate, WAIT.to_owned()).await?;
    let lock = format!("LOCK TABLES {} READ", layout.host);
    Shared::run(&mut gate, lock).await.map_err(|cause| rights("the table cannot be locked", cause))?;
    let found = count(connection, layout).await?;
    if found > 0 {
        let done = async {
            Shared::run(connection, "START TRANSACTION".to_owned()).await?;
            Shared::run(connection, shared.mark_now()).await?;
            Shared::run(connection, format!("CALL {}()", layout.ours("redo"))).await?;
            Shared::run(connection, super::dialect::UNMARK.to_owned()).await?;
            Shared::run(connection, "COMMIT".to_owned()).await
        };
        done.await.map_err(|cause| failed("the table cannot be compared with what was captured", cause))?;
    }
    // The lock ends with its connection, however that ends.
    let _ = gate.close().await;
    Ok(found)
}

/// How many rows are not what the feed last said of them. One statement sees a row and what was captured of it at one moment.
async fn count(connection: &mut MySqlConnection, layout: &Layout) -> Result<u64> {
    let uncompared = |cause| failed("the table cannot be compared with what was captured", cause);
    let sql = format!("SELECT COUNT(*) FROM ({}) missed", triggers::missed(layout));
    let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(connection).await.map_err(uncompared)?;
    number(&row, 0).map(i64::unsigned_abs).map_err(uncompared)
}

/// Captures what was missed although the schema tells nothing. Hosts are held up only where something was.
///
/// # Errors
/// `Data` when a table holds a value of another kind than is declared.
pub(super) async fn audit(connection: &mut MySqlConnection, shared: &Shared) -> Result<u64> {
    let mut found = 0;
    for layout in shared.in_order() {
        if count(connection, layout).await? > 0 {
            let swept = sweep(connection, shared, layout).await;
            found += swept.map_err(|error| waited(error).with("table", layout.name()))?;
        }
    }
    Ok(found)
}

/// Whose database it is.
async fn identify(connection: &mut MySqlConnection, shared: &Shared) -> Result<()> {
    let new = "INSERT IGNORE INTO _sync_ctx (id, node, epoch, seq, rev, trimmed) VALUES (1, ?, ?, 0, 0, 0)";
    let epoch = (shared.clock.random() >> 1).cast_signed();
    sqlx::query(new).bind(&*shared.name).bind(epoch).execute(&mut *connection).await.map_err(uninstalled)?;
    let row = sqlx::raw_sql("SELECT node FROM _sync_ctx").fetch_one(connection).await.map_err(uninstalled)?;
    let node: String = row.try_get_unchecked(0).map_err(uninstalled)?;
    if *node == *shared.name {
        return Ok(());
    }
    let what =
        "the database is that of another replica: open it under its name; a copy of it cannot be a replica of its own";
    Err(Error::config(what).with("replica", node).with("name", &shared.name))
}

/// Takes everything of ours out of this database. The host's tables stay as they are.
pub(super) async fn remove(connection: &mut MySqlConnection) -> Result<()> {
    let tables = match registered(connection).await {
        Err(cause) if error::number(&cause) == Some(NO_SUCH_TABLE) => return Ok(()),
        tables => tables.map_err(uninstalled)?,
    };
    run(connection, WAIT.to_owned()).await?;
    let doubled = |table: &String| table.replace('"', "\"\"");
    for (what, kind) in triggers::all() {
        for table in tables.keys().map(doubled) {
            run(connection, format!("DROP {kind} IF EXISTS \"_sync_{what}_{table}\"")).await?;
        }
    }
    run(connection, "DROP PROCEDURE IF EXISTS _sync_sequence".to_owned()).await?;
    for table in tables.keys().map(doubled) {
        run(connection, format!("DROP TABLE IF EXISTS \"_sync_row_{table}\", \"_sync_log_{table}\"")).await?;
    }
    let ours = "DROP TABLE IF EXISTS _sync_book, _sync_in, _sync_trx, _sync_log, _sync_missed, _sync_table, _sync_ctx";
    run(connection, ours.to_owned()).await
}

const UNINSTALLED: &str = "what notices the host's writes cannot be installed";

pub(super) async fn run(connection: &mut MySqlConnection, sql: String) -> Result<()> {
    Shared::run(connection, sql).await.map_err(uninstalled)
}

fn uninstalled(cause: sqlx::Error) -> Error {
    rights(UNINSTALLED, cause)
}

const GRANT: &str = "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP, TRIGGER, CREATE ROUTINE, ALTER ROUTINE, EXECUTE, LOCK TABLES on the database to the account";

/// What an account needs that installs a replica.
fn rights(what: &'static str, cause: sqlx::Error) -> Error {
    match error::number(&cause) {
        Some(1044 | 1142 | 1143 | 1227 | 1370) => told(what, cause).with_remedy(GRANT),
        Some(1418 | 1419) => told(what, cause).with_remedy("set log_bin_trust_function_creators = 1 at the server"),
        _ => failed(what, cause),
    }
}

fn unseen(cause: sqlx::Error) -> Error {
    failed("the schema cannot be looked at", cause)
}
