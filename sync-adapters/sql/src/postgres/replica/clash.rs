//! Which rows hold a value that no two rows share, and which hang on others, as the catalogue tells.

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection};
use sync_core::{Error, Key, Result, Value};

use super::Shared;
use super::feed::key;
use super::layout::{Layout, bind_all};
use crate::ident::quoted;
use crate::postgres::column::{asked_as, sent_as};
use crate::postgres::error::failed;
use crate::replica::Row;

/// A rule that no two rows share these values: what is compared, as SQL about a row, and which rows it is about.
type Unique = (Vec<String>, Option<String>);

/// Rows of a table that hang on rows of another: its name, its columns, and the columns there that they name.
type Foreign = (String, Vec<String>, Vec<String>);

/// Rows that hold a unique value which this row wants, each once.
pub(super) async fn holders(connection: &mut PgConnection, layout: &Layout, row: &[Value]) -> Result<Vec<Key>> {
    let unique: Vec<Unique> = sqlx::query_as(
        "SELECT ARRAY(SELECT pg_get_indexdef(i.indexrelid, k, true) FROM generate_series(1, i.indnkeyatts) k ORDER BY k) AS values,
                pg_get_expr(i.indpred, i.indrelid) AS only
         FROM pg_index i WHERE i.indrelid = to_regclass($1) AND i.indisunique AND i.indislive
         ORDER BY i.indexrelid",
    )
    .bind(&layout.host)
    .fetch_all(&mut *connection)
    .await
    .map_err(unread)?;
    let coming = coming(connection, layout).await?;
    let mut way = Vec::new();
    for (values, only) in &unique {
        let both = only.as_ref().map_or_else(String::new, |only| format!(" AND ({only})"));
        let only = only.as_ref().map_or_else(String::new, |only| format!(" WHERE {only}"));
        let values = values.join(", ");
        // The rule speaks of columns without saying whose: of the row that comes in one place, of those that are there in the other.
        let sql = format!(
            "SELECT {} FROM (SELECT * FROM {} t WHERE ({values}) = (SELECT {values} FROM ({coming}) n{only}){both}) t ORDER BY {}",
            host_key(layout),
            layout.host,
            layout.host_keys("t."),
        );
        let select = bind_all(sqlx::query(AssertSqlSafe(sql)), layout.row_arrays(row)?);
        for found in select.fetch_all(&mut *connection).await.map_err(unread)? {
            let other = key(&found, 0, layout)?;
            if !way.contains(&other) {
                way.push(other);
            }
        }
    }
    Ok(way)
}

/// The row that comes, with all columns of the host's table: those that are not declared are empty.
async fn coming(connection: &mut PgConnection, layout: &Layout) -> Result<String> {
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
         WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
    )
    .bind(&layout.host)
    .fetch_all(connection)
    .await
    .map_err(unread)?;
    let piece = |(name, declared): &(String, String)| {
        let place = layout.fields().iter().position(|field| field.name() == name);
        let value = place.map_or_else(
            || "NULL".to_owned(),
            |place| format!("u.c{place}{}", sent_as(layout.fields()[place].kind()).1),
        );
        Ok(format!("{value}::{declared} AS {}", quoted(name)?))
    };
    let pieces = columns.iter().map(piece).collect::<Result<Vec<_>>>()?;
    let every: Vec<usize> = (0..layout.columns.len()).collect();
    Ok(format!("SELECT {} FROM {}", pieces.join(", "), layout.unnest(&every, 1)))
}

/// Rows of declared tables that hang on this one.
pub(super) async fn children(connection: &mut PgConnection, shared: &Shared, row: &Row) -> Result<Vec<Row>> {
    let layout = shared.layout(&row.0)?;
    let foreign: Vec<Foreign> = sqlx::query_as(
        "SELECT d.name AS child,
                ARRAY(SELECT a.attname::text FROM unnest(f.conkey) WITH ORDINALITY k(n, place) JOIN pg_attribute a
                      ON a.attrelid = f.conrelid AND a.attnum = k.n ORDER BY k.place) AS columns,
                ARRAY(SELECT a.attname::text FROM unnest(f.confkey) WITH ORDINALITY k(n, place) JOIN pg_attribute a
                      ON a.attrelid = f.confrelid AND a.attnum = k.n ORDER BY k.place) AS parent
         FROM pg_constraint f JOIN unnest($2::text[]) d(name) ON to_regclass(quote_ident(d.name)) = f.conrelid
         WHERE f.contype = 'f' AND f.confrelid = to_regclass($1) AND f.conparentid = 0 ORDER BY f.oid",
    )
    .bind(&layout.host)
    // Rows of other tables are the host's own business: its foreign keys say what becomes of them.
    .bind(shared.names())
    .fetch_all(&mut *connection)
    .await
    .map_err(unread)?;
    let mut below = Vec::new();
    for (child, columns, parent) in foreign {
        let child = shared.layout(&child)?;
        let joined = columns.iter().zip(&parent);
        let joined = joined.map(|(column, parent)| Ok(format!("t.{} = p.{}", quoted(column)?, quoted(parent)?)));
        let sql = format!(
            "SELECT {} FROM {} t WHERE EXISTS (SELECT FROM {} JOIN {} p ON {} WHERE {}) ORDER BY {}",
            host_key(child),
            child.host,
            layout.unnest_keys(1),
            layout.host,
            layout.is_sent("p."),
            joined.collect::<Result<Vec<_>>>()?.join(" AND "),
            child.host_keys("t."),
        );
        let select = bind_all(sqlx::query(AssertSqlSafe(sql)), layout.key_arrays([&row.1])?);
        for hangs in select.fetch_all(&mut *connection).await.map_err(unread)? {
            below.push((child.name().to_owned(), of(&hangs, child)?));
        }
    }
    Ok(below)
}

fn of(row: &PgRow, layout: &Layout) -> Result<Key> {
    key(row, 0, layout)
}

/// The key of the host's row `t`, in the form in which it is read.
fn host_key(layout: &Layout) -> String {
    let kinds = layout.key.iter().map(|&column| layout.fields()[column].kind());
    let asked = layout.key_names().zip(kinds).map(|(names, kind)| format!("t.{}{}", names.host, asked_as(kind)));
    asked.collect::<Vec<_>>().join(", ")
}

fn unread(cause: sqlx::Error) -> Error {
    failed("rows in the way cannot be looked for", cause)
}
