//! What a target is besides its columns: only where a statement does what it says can it be told what became of a row.

use sqlx::{PgConnection, Row as _};
use sync_core::model::StreamSpec;
use sync_core::{Error, ErrorKind, Result};

use super::error::failed;
use super::query::name;

/// Refuses what takes no rows, or has no key by which they are told apart, and a table whose rules make other statements of
/// ours.
///
/// # Errors
/// `Schema`, with what to do about it.
pub(crate) async fn check(connection: &mut PgConnection, stream: &StreamSpec) -> Result<()> {
    let unread = |cause| failed("the table cannot be looked at", cause).with("table", stream.name());
    // In `ev_type`, 2 is an update, 3 an insert, and 4 a delete.
    let found = sqlx::query(
        "SELECT c.relkind::text,
                (SELECT min(r.rulename::text) FROM pg_rewrite r WHERE c.relhasrules AND r.ev_class = c.oid
                   AND (r.ev_type IN ('2', '3') OR r.ev_type = '4' AND r.is_instead))
         FROM pg_class c WHERE c.oid = to_regclass($1)",
    )
    .bind(name(stream.name())?)
    .fetch_optional(connection)
    .await
    .map_err(unread)?;
    let Some(found) = found else { return Ok(()) };
    let (kind, rule): (String, Option<String>) = (found.try_get(0).map_err(unread)?, found.try_get(1).map_err(unread)?);
    let is_keyed = !stream.key_columns().is_empty();
    let what = match (kind.as_str(), rule) {
        ("r" | "p", None) => return Ok(()),
        // What is only appended needs no key, and a view may know what to do with it.
        ("v" | "f", None) if !is_keyed => return Ok(()),
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
