//! What a target is besides its columns: only where a statement does what it says can it be told what became of a row.

use sqlx::{PgConnection, Row as _};
use sync_core::model::StreamSpec;
use sync_core::{Error, ErrorKind, Result};

use super::error::failed;
use super::query::name;

/// The columns of each of its unique keys, in the order of their names. Refuses what takes no rows, or has no key by which they
/// are told apart, and a table whose rules make other statements of ours.
///
/// # Errors
/// `Schema`, with what to do about it.
pub(crate) async fn keys(connection: &mut PgConnection, stream: &StreamSpec) -> Result<Vec<Vec<String>>> {
    let unread = |cause| failed("the table cannot be looked at", cause).with("table", stream.name());
    // In `ev_type`, 2 is an update, 3 an insert, and 4 a delete.
    let found = sqlx::query(
        "SELECT c.relkind::text,
                (SELECT min(r.rulename::text) FROM pg_rewrite r WHERE c.relhasrules AND r.ev_class = c.oid
                   AND (r.ev_type IN ('2', '3') OR r.ev_type = '4' AND r.is_instead)),
                (SELECT array_agg(a.attname::text ORDER BY a.attname::text COLLATE \"C\") FROM pg_attribute a
                 WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey))
         FROM pg_class c LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisunique AND i.indisvalid
           AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indimmediate
         WHERE c.oid = to_regclass($1)",
    )
    .bind(name(stream.name())?)
    .fetch_all(connection)
    .await
    .map_err(unread)?;
    let Some(first) = found.first() else { return Ok(Vec::new()) };
    let (kind, rule): (String, Option<String>) = (first.try_get(0).map_err(unread)?, first.try_get(1).map_err(unread)?);
    let keys = found.iter().filter_map(|row| row.try_get::<Option<Vec<String>>, _>(2).transpose());
    let keys = keys.collect::<sqlx::Result<Vec<_>>>().map_err(unread)?;
    let is_keyed = !stream.key_columns().is_empty();
    let what = match (kind.as_str(), rule) {
        ("r" | "p", None) => return Ok(keys),
        // What is only appended needs no key, and a view may know what to do with it.
        ("v" | "f", None) if !is_keyed => return Ok(keys),
        ("r" | "p" | "v" | "f", Some(rule)) => format!(
            "the target has the rule {rule:?}, which makes other statements of ours, so that nobody can tell what became of a row: DROP RULE it, and use a trigger instead"
        ),
        ("v" | "f", None) => format!(
            "the target is a {}, and only a table has a key by which rows are told apart: name the table behind it",
            if kind == "v" { "view" } else { "foreign table" }
        ),
        _ => "the target is no table: rename the stream, or drop what has its name".to_owned(),
    };
    Err(Error::new(ErrorKind::Schema, what).with("table", stream.name()))
}

/// Whether the table hides rows from this account.
pub(crate) async fn hides_rows(connection: &mut PgConnection, stream: &StreamSpec) -> Result<bool> {
    let active: Option<bool> = sqlx::query_scalar("SELECT row_security_active(to_regclass($1))")
        .bind(name(stream.name())?)
        .fetch_one(connection)
        .await
        .map_err(|cause| failed("the table cannot be looked at", cause).with("table", stream.name()))?;
    Ok(active.unwrap_or_default())
}
