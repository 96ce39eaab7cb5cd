//! Puts our tables and triggers beside the host's tables, notices when the host's schema has changed, and mends what that broke.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use sync_core::{Error, ErrorKind, Result};

use super::Shared;
use super::layout::{Layout, typed};
use super::triggers::{self, Host};
use crate::ident::quoted;
use crate::postgres::error::failed;
use crate::postgres::query::name;
use crate::postgres::relation::hides_rows;
use crate::postgres::schema::{WAIT, alone, prepare, run};
use crate::replica::literal;

/// What each table is like: its columns, its parts and its files, our triggers and functions, each with the transaction that
/// changed it last. The names stand in the text: with parameters it would be planned anew each time, which takes longer than the rest.
fn likeness(shared: &Shared) -> String {
    let names: Vec<String> = shared.names().iter().map(|name| literal(name)).collect();
    let (names, schema) = (names.join(", "), literal(&shared.schema));
    format!(
        r"
SELECT u.name, md5(concat_ws('/', c.oid, c.xmin,
  (SELECT string_agg(concat_ws(':', a.attnum, a.attname, a.atttypid, a.xmin), ',' ORDER BY a.attnum)
   FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
  (SELECT string_agg(concat_ws(':', p.oid, pg_relation_filenode(p.oid), (SELECT string_agg(
       concat_ws(':', g.tgname, g.tgenabled, g.xmin), ',' ORDER BY g.tgname) FROM pg_trigger g
       WHERE g.tgrelid = p.oid AND g.tgname IN ('_sync_row', '_sync_truncate'))), ',' ORDER BY p.oid)
   FROM (SELECT c.oid UNION SELECT t.relid FROM pg_partition_tree(c.oid) t) p),
  (SELECT string_agg(concat_ws(':', f.proname, f.xmin), ',' ORDER BY f.proname) FROM pg_proc f
   WHERE f.pronamespace = to_regnamespace({schema}) AND f.proname IN ('_sync_put_' || u.name, '_sync_note_' || u.name, '_sync_do_' || u.name))))
FROM UNNEST(ARRAY[{names}]::text[]) AS u(name) JOIN pg_class c ON c.oid = to_regclass(quote_ident(u.name))"
    )
}

/// How what is installed stands to what is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Installed {
    /// Every declared table is captured, as far as the schema tells.
    Whole,
    /// Something is missing, or has changed.
    Torn,
    /// Nothing is there, and the transaction that asked has failed over it.
    Nothing,
}

/// Looks whether every declared table is captured.
pub(super) async fn look(connection: &mut PgConnection, shared: &Shared) -> Result<Installed> {
    let sql = format!(
        "SELECT k.name, k.made, k.seen = l.seen FROM {}._sync_table k LEFT JOIN ({}) l (name, seen) ON l.name = k.name",
        shared.schema,
        likeness(shared)
    );
    let found = sqlx::query(AssertSqlSafe(sql)).fetch_all(connection).await;
    let found = match found {
        // Somebody has taken our tables out.
        Err(sqlx::Error::Database(gone)) if gone.code().as_deref() == Some("42P01") => return Ok(Installed::Nothing),
        found => found.map_err(unseen)?,
    };
    let mut whole = BTreeMap::new();
    for row in &found {
        let same = row.try_get::<Option<bool>, _>(2).map_err(unseen)? == Some(true);
        whole
            .insert(row.try_get::<String, _>(0).map_err(unseen)?, (row.try_get::<String, _>(1).map_err(unseen)?, same));
    }
    let captured = |layout: &Layout| whole.get(layout.name()).is_some_and(|(made, same)| *same && *made == layout.mark);
    let all = whole.len() == shared.layouts.len() && shared.layouts.values().all(captured);
    Ok(if all { Installed::Whole } else { Installed::Torn })
}

/// By what is known whether the functions are those of this library, this declaration and this replica.
pub(super) fn mark(layout: &Layout, schema: &str, node: &str) -> String {
    let host = Host { oid: 0, name: String::new(), columns: Vec::new() };
    let mut text = triggers::objects(schema, layout, &host, node);
    text.extend(wanted(layout).into_iter().flat_map(|(_, columns, _)| columns));
    blake3::hash(text.join("\0").as_bytes()).to_hex()[..32].to_owned()
}

/// Makes sure, within the transaction that is open, that every change of a declared table is captured, and captures what was
/// missed.
///
/// # Errors
/// `Schema` or `Config`, naming the table and the remedy, when it cannot be made so; `Unavailable` when a transaction that
/// writes to the table does not end.
pub(super) async fn ensure(connection: &mut PgConnection, shared: &Shared) -> Result<()> {
    alone(connection).await?;
    run(connection, WAIT.to_owned(), UNINSTALLED).await?;
    for statement in triggers::shared(&shared.schema) {
        run(connection, statement, UNINSTALLED).await?;
    }
    identify(connection, shared).await?;
    let known = registered(connection, shared).await?;
    if let Some(other) = known.keys().find(|name| !shared.layouts.contains_key(*name)) {
        let what = "the table took part in two-way sync before: declare it again, or take everything out with `PostgresReplica::remove` and begin anew";
        return Err(Error::config(what).with("table", other));
    }
    let now = like(connection, shared).await?;
    for layout in shared.in_order() {
        let right = known
            .get(layout.name())
            .is_some_and(|(made, seen)| *made == layout.mark && now.get(layout.name()).is_some_and(|now| now == seen));
        if !right {
            let made = make(connection, shared, layout, known.contains_key(layout.name())).await;
            made.map_err(|error| waited(error).with("table", layout.name()))?;
        }
    }
    let now = like(connection, shared).await?;
    for layout in shared.in_order() {
        let sql = format!(
            "INSERT INTO {}._sync_table (name, made, seen) VALUES ($1, $2, $3)
             ON CONFLICT (name) DO UPDATE SET made = excluded.made, seen = excluded.seen
             WHERE _sync_table.made <> excluded.made OR _sync_table.seen <> excluded.seen",
            shared.schema
        );
        let seen = now.get(layout.name()).cloned().unwrap_or_default();
        let note = sqlx::query(AssertSqlSafe(sql)).bind(layout.name()).bind(&layout.mark).bind(seen);
        note.execute(&mut *connection).await.map_err(uninstalled)?;
    }
    Ok(())
}

const OPEN: &str = "a transaction that is open on this table must end before what it writes can be captured: see pg_stat_activity for the oldest xact_start";

/// A lock that was waited for in vain.
fn waited(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Unavailable => error.with_remedy(OPEN),
        _ => error,
    }
}

async fn make(connection: &mut PgConnection, shared: &Shared, layout: &Layout, took_part: bool) -> Result<()> {
    if took_part {
        still_there(connection, shared, layout).await?;
    }
    prepare(connection, layout.table.spec()).await?;
    let host = host(connection, layout).await?;
    // Nobody writes from here to the end: what is compared below is all there is.
    run(connection, format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", host.name), UNINSTALLED).await?;
    books(connection, shared, layout).await?;
    for statement in triggers::objects(&shared.schema, layout, &host, &shared.name) {
        run(connection, statement, UNINSTALLED).await?;
    }
    sweep(connection, layout).await
}

/// A column that is gone was renamed or dropped: an empty one in its place would look like a change of every row.
async fn still_there(connection: &mut PgConnection, shared: &Shared, layout: &Layout) -> Result<()> {
    let gone = |what: &'static str| Error::new(ErrorKind::Schema, what);
    let there = columns(connection, &layout.host).await?;
    if there.is_empty() {
        return Err(gone(
            "the table takes part in two-way sync and is gone: if it was renamed, rename it back; if it was dropped, create it again, empty or not",
        ));
    }
    let kept = columns(connection, &layout.row).await?;
    for (names, field) in layout.columns.iter().zip(layout.fields()) {
        let took_part = kept.iter().any(|(kept, _)| quoted(kept).is_ok_and(|kept| kept == names.kept));
        if took_part && !there.iter().any(|(name, _)| name == field.name()) {
            let error = gone(
                "the column takes part in two-way sync and is gone: if it was renamed, rename it back, or declare the new name; if it was dropped, leave it out of the declaration",
            );
            return Err(error.with("column", field.name()).with("replica", &shared.name));
        }
    }
    Ok(())
}

/// The columns of a table and the numbers of their types; none where there is no table.
async fn columns(connection: &mut PgConnection, table: &str) -> Result<Vec<(String, i64)>> {
    let sql = "SELECT a.attname::text, a.atttypid::bigint FROM pg_attribute a
               WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";
    sqlx::query_as(sql).bind(table).fetch_all(connection).await.map_err(uninstalled)
}

/// The host's table, where it can be watched.
async fn host(connection: &mut PgConnection, layout: &Layout) -> Result<Host> {
    let sql = "SELECT c.oid::bigint, quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.relkind::text, c.relispartition,
                      EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid),
                      ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attnotnull)
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)";
    let found = sqlx::query(sql).bind(&layout.host).fetch_one(&mut *connection).await.map_err(uninstalled)?;
    let kind: String = found.try_get(2).map_err(uninstalled)?;
    let (is_part, has_children): (bool, bool) =
        (found.try_get(3).map_err(uninstalled)?, found.try_get(4).map_err(uninstalled)?);
    let refused = |what: &'static str| Err(Error::new(ErrorKind::Schema, what));
    match kind.as_str() {
        "r" if is_part => return refused("this is a part of a partitioned table: declare the whole table"),
        "r" if has_children => {
            return refused(
                "other tables inherit from this one, and their rows cannot be watched: use partitions instead",
            );
        }
        "r" | "p" => {}
        _ => return refused("this is no table, and what is written to it cannot be watched"),
    }
    let optional: Vec<String> = found.try_get(5).map_err(uninstalled)?;
    if let Some(key) = layout.table.spec().key_columns().iter().find(|key| optional.contains(key)) {
        let what = "a key column may be empty: a row without key cannot be named; declare the column NOT NULL";
        return Err(Error::new(ErrorKind::Schema, what).with("column", key));
    }
    let there = columns(connection, &layout.host).await?;
    let declared = layout.fields().iter().filter_map(|field| there.iter().find(|(name, _)| name == field.name()));
    Ok(Host {
        oid: found.try_get(0).map_err(uninstalled)?,
        name: found.try_get(1).map_err(uninstalled)?,
        columns: declared.map(|(name, kind)| format!("{name}:{kind}")).collect(),
    })
}

/// Our tables about one of the host's: what they are called, their columns, and what stands behind those.
fn wanted(layout: &Layout) -> Vec<(&str, Vec<String>, String)> {
    let keys = typed(layout, |names| names.is_key, |names| vec![&*names.kept]);
    let with = |more: Vec<String>| keys.iter().cloned().chain(more).collect::<Vec<_>>();
    let kept = typed(layout, |names| !names.is_key, |names| vec![&*names.kept]);
    let images = typed(layout, |names| !names.is_key, |names| vec![&*names.before, &*names.after]);
    let (key, stamp) = (layout.keys(""), "hlc bigint NOT NULL, origin text NOT NULL, op bigint, seen bigint NOT NULL");
    vec![
        (
            &*layout.row,
            with(kept),
            // Room for the next version of a row beside the last one.
            format!(
                "rev bigint NOT NULL, {stamp}, deleted boolean NOT NULL, PRIMARY KEY ({key})) WITH (fillfactor = 80"
            ),
        ),
        (&*layout.log, with(images), "had boolean NOT NULL, has boolean NOT NULL, id bigint PRIMARY KEY".to_owned()),
    ]
}

/// Our tables about one of the host's: created, or grown with it.
async fn books(connection: &mut PgConnection, shared: &Shared, layout: &Layout) -> Result<()> {
    for (table, wanted, rest) in wanted(layout) {
        let there = columns(connection, table).await?;
        if there.is_empty() {
            let create = format!("CREATE TABLE {table} ({}, {rest})", wanted.join(", "));
            run(connection, create, UNINSTALLED).await?;
            continue;
        }
        for column in wanted {
            let is_there =
                there.iter().any(|(name, _)| quoted(name).is_ok_and(|name| column.starts_with(&format!("{name} "))));
            if !is_there {
                run(connection, format!("ALTER TABLE {table} ADD COLUMN {column}"), UNINSTALLED).await?;
            }
        }
    }
    let index = format!(
        "CREATE INDEX IF NOT EXISTS {} ON {} ({}, id)",
        name(&layout.plain("_sync_key_"))?,
        layout.log,
        layout.keys("")
    );
    run(connection, index, UNINSTALLED).await.map_err(|error| error.with("schema", &shared.schema))
}

/// Captures what was written while nobody noticed: every difference between the table and what the feed last said of it.
async fn sweep(connection: &mut PgConnection, layout: &Layout) -> Result<()> {
    if hides_rows(connection, layout.table.spec()).await? {
        return Err(Error::new(
            ErrorKind::Schema,
            "policies hide rows of this table from our account, and they would be taken for deleted: give it BYPASSRLS, or ALTER TABLE … NO FORCE ROW LEVEL SECURITY",
        ));
    }
    run(connection, triggers::sweep(layout), "the table cannot be compared with what was captured").await
}

/// Captures what was missed although the schema tells nothing. Hosts are held up only where something was.
///
/// # Errors
/// `Data` when a table holds a value of another kind than is declared.
pub(super) async fn audit(connection: &mut PgConnection, shared: &Shared) -> Result<u64> {
    run(connection, WAIT.to_owned(), UNINSTALLED).await?;
    let mut found = 0;
    for layout in shared.in_order() {
        let missed = async |connection: &mut PgConnection| {
            let sql = format!("SELECT count(*) FROM ({}) missed", triggers::missed(layout));
            let count = sqlx::query_scalar::<_, i64>(AssertSqlSafe(sql)).fetch_one(connection).await;
            count.map_err(|cause| failed("the table cannot be compared with what was captured", cause))
        };
        // One statement sees a row and what was captured of it at one moment.
        if missed(connection).await? == 0 {
            continue;
        }
        let lock = format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", layout.host);
        run(connection, lock, "the table cannot be locked")
            .await
            .map_err(|error| waited(error).with("table", layout.name()))?;
        found += missed(connection).await?.unsigned_abs();
        sweep(connection, layout).await.map_err(|error| error.with("table", layout.name()))?;
    }
    Ok(found)
}

/// Whose database it is.
async fn identify(connection: &mut PgConnection, shared: &Shared) -> Result<()> {
    let new = format!(
        "INSERT INTO {}._sync_ctx (id, node, epoch, seq, rev, trimmed) VALUES (1, $1, $2, 0, 0, 0) ON CONFLICT DO NOTHING",
        shared.schema
    );
    let epoch = (shared.clock.random() >> 1).cast_signed();
    let new = sqlx::query(AssertSqlSafe(new)).bind(&*shared.name).bind(epoch);
    new.execute(&mut *connection).await.map_err(uninstalled)?;
    let node = format!("SELECT node FROM {}._sync_ctx", shared.schema);
    let node: String = sqlx::query_scalar(AssertSqlSafe(node)).fetch_one(connection).await.map_err(uninstalled)?;
    if *node == *shared.name {
        return Ok(());
    }
    let what =
        "the database is that of another replica: open it under its name; a copy of it cannot be a replica of its own";
    Err(Error::config(what).with("replica", node).with("name", &shared.name))
}

/// The tables that took part, with how they were made and what they were like.
async fn registered(connection: &mut PgConnection, shared: &Shared) -> Result<BTreeMap<String, (String, String)>> {
    let sql = format!("SELECT name, made, seen FROM {}._sync_table", shared.schema);
    let rows: Vec<(String, String, String)> =
        sqlx::query_as(AssertSqlSafe(sql)).fetch_all(connection).await.map_err(uninstalled)?;
    Ok(rows.into_iter().map(|(name, made, seen)| (name, (made, seen))).collect())
}

async fn like(connection: &mut PgConnection, shared: &Shared) -> Result<BTreeMap<String, String>> {
    let rows: Vec<(String, String)> =
        sqlx::query_as(AssertSqlSafe(likeness(shared))).fetch_all(connection).await.map_err(uninstalled)?;
    Ok(rows.into_iter().collect())
}

/// Takes everything of ours out of this schema. The host's tables stay as they are.
pub(super) async fn remove(connection: &mut PgConnection, schema: &str) -> Result<()> {
    let there: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(format!("{schema}._sync_table"))
        .fetch_one(&mut *connection)
        .await
        .map_err(uninstalled)?;
    if !there {
        return Ok(());
    }
    alone(connection).await?;
    // The key's types are part of the function's name, and known to nobody but the catalogue.
    let functions: Vec<String> = sqlx::query_scalar(
        "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = to_regnamespace($1)
           AND (p.proname LIKE '\\_sync\\_put\\_%' OR p.proname LIKE '\\_sync\\_note\\_%' OR p.proname LIKE '\\_sync\\_do\\_%' OR p.proname = '_sync_sequence')",
    )
    .bind(schema)
    .fetch_all(&mut *connection)
    .await
    .map_err(uninstalled)?;
    for function in functions {
        run(connection, format!("DROP FUNCTION {function} CASCADE"), UNINSTALLED).await?;
    }
    let sql = format!("SELECT name FROM {schema}._sync_table");
    let tables: Vec<String> =
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut *connection).await.map_err(uninstalled)?;
    for table in tables {
        for prefix in ["_sync_row_", "_sync_log_"] {
            let ours = name(&format!("{prefix}{table}"))?;
            run(connection, format!("DROP TABLE IF EXISTS {schema}.{ours}"), UNINSTALLED).await?;
        }
    }
    for table in ["_sync_book", "_sync_log", "_sync_table", "_sync_ctx"] {
        run(connection, format!("DROP TABLE IF EXISTS {schema}.{table}"), UNINSTALLED).await?;
    }
    run(connection, format!("DROP SEQUENCE IF EXISTS {schema}._sync_rev"), UNINSTALLED).await
}

const UNINSTALLED: &str = "what notices the host's writes cannot be installed";

fn uninstalled(cause: sqlx::Error) -> Error {
    failed(UNINSTALLED, cause)
}

fn unseen(cause: sqlx::Error) -> Error {
    failed("the schema cannot be looked at", cause)
}
