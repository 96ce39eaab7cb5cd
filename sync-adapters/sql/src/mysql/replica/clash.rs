//! Which rows hold a value that no two rows share, and which hang on others, as the catalogue tells.

use sqlx::mysql::MySqlArguments;
use sqlx::{AssertSqlSafe, MySqlConnection, Row as _};
use sync_core::model::Kind;
use sync_core::{Error, Key, Result, Value};

use super::dialect::Shared;
use super::feed::key;
use super::foreign::foreign_keys;
use super::layout::Layout;
use crate::ident::quoted;
use crate::mysql::batch::{ask, literal};
use crate::mysql::column::{bind, plain_type};
use crate::mysql::error::failed;
use crate::replica::Row;

/// A column of the host's table.
struct Column {
    name: String,
    /// How it is computed from others.
    computed: Option<String>,
    charset: Option<String>,
    collation: Option<String>,
}

/// A column of a rule that no two rows share these values, and how much of it counts.
type Part = (String, Option<i64>);

/// Rows that hold a unique value which this row wants, each once.
pub(super) async fn holders(connection: &mut MySqlConnection, layout: &Layout, row: &[Value]) -> Result<Vec<Key>> {
    let (columns, unique) = rules(connection, layout).await?;
    let (coming, bound) = coming(layout, &columns)?;
    let computed = |name: &str| columns.iter().find(|column| column.name == name)?.computed.as_deref();
    let mut way = Vec::new();
    for parts in &unique {
        let same = parts.iter().map(|(name, length)| {
            let host = format!("t.{}", quoted(name)?);
            // The server writes down how a column is computed without saying of which table: of the row that comes.
            let wanted = computed(name).map_or_else(|| quoted(name), |computed| Ok(format!("({computed})")))?;
            Ok(match length {
                Some(length) => format!("LEFT({host}, {length}) = (SELECT LEFT({wanted}, {length}) FROM ({coming}) n)"),
                None => format!("{host} = (SELECT {wanted} FROM ({coming}) n)"),
            })
        });
        let same = same.collect::<Result<Vec<_>>>()?.join(" AND ");
        let keys = layout.host_keys("t.");
        let sql = format!("SELECT {keys} FROM {} t WHERE {same} ORDER BY {keys}", layout.host);
        let mut arguments = MySqlArguments::default();
        for _ in parts {
            for &column in &bound {
                bind(&mut arguments, row[column].as_ref(), &layout.fields()[column])
                    .map_err(|error| error.with("table", layout.name()))?;
            }
        }
        let select = sqlx::query_with(AssertSqlSafe(sql), arguments);
        for found in select.fetch_all(&mut *connection).await.map_err(unread)? {
            let other = key(&found, 0, layout)?;
            if !way.contains(&other) {
                way.push(other);
            }
        }
    }
    Ok(way)
}

/// The columns of the host's table, and its rules that no two rows share some values.
async fn rules(connection: &mut MySqlConnection, layout: &Layout) -> Result<(Vec<Column>, Vec<Vec<Part>>)> {
    let called = format!("TABLE_SCHEMA = DATABASE() AND TABLE_NAME = {}", literal(layout.name()));
    let sql = format!(
        "SELECT COLUMN_NAME, NULLIF(GENERATION_EXPRESSION, ''), CHARACTER_SET_NAME, COLLATION_NAME
         FROM information_schema.COLUMNS WHERE {called} ORDER BY ORDINAL_POSITION;
         SELECT INDEX_NAME, COLUMN_NAME, SUB_PART FROM information_schema.STATISTICS
         WHERE {called} AND NON_UNIQUE = 0 ORDER BY INDEX_NAME, SEQ_IN_INDEX"
    );
    let answers = ask(connection, sql).await.map_err(unread)?;
    let [columns, parts] = answers.as_slice() else {
        return Err(
            Error::internal("the server did not answer all questions about a table").with("table", layout.name())
        );
    };
    let column = |row: &sqlx::mysql::MySqlRow| {
        Ok(Column {
            name: row.try_get_unchecked(0)?,
            computed: row.try_get_unchecked(1)?,
            charset: row.try_get_unchecked(2)?,
            collation: row.try_get_unchecked(3)?,
        })
    };
    let columns = columns.iter().map(column).collect::<sqlx::Result<Vec<_>>>().map_err(unread)?;
    let mut unique: Vec<(String, Vec<Part>)> = Vec::new();
    for row in parts {
        let index: String = row.try_get_unchecked(0).map_err(unread)?;
        let part = (row.try_get_unchecked(1).map_err(unread)?, row.try_get_unchecked(2).map_err(unread)?);
        match unique.last_mut().filter(|(name, _)| *name == index) {
            Some((_, parts)) => parts.push(part),
            None => unique.push((index, vec![part])),
        }
    }
    Ok((columns, unique.into_iter().map(|(_, parts)| parts).collect()))
}

/// The row that comes, with all plain columns of the host's table, each in its type: those that are not declared are empty.
/// Which columns are bound, in their order.
fn coming(layout: &Layout, columns: &[Column]) -> Result<(String, Vec<usize>)> {
    let mut bound = Vec::new();
    let mut pieces = Vec::new();
    for column in columns.iter().filter(|column| column.computed.is_none()) {
        let value = match layout.field(&column.name) {
            None => "NULL".to_owned(),
            Some(at) => {
                bound.push(at);
                match (layout.fields()[at].kind(), &column.charset, &column.collation) {
                    (_, Some(charset), Some(collation)) => format!("CONVERT(? USING {charset}) COLLATE {collation}"),
                    (Kind::Bytes, ..) => "CAST(? AS BINARY)".to_owned(),
                    (Kind::Bool | Kind::Int, ..) => "CAST(? AS SIGNED)".to_owned(),
                    (Kind::UInt, ..) => "CAST(? AS UNSIGNED)".to_owned(),
                    (kind, ..) => format!("CAST(? AS {})", plain_type(kind)),
                }
            }
        };
        pieces.push(format!("{value} AS {}", quoted(&column.name)?));
    }
    Ok((format!("SELECT {}", pieces.join(", ")), bound))
}

/// Rows of declared tables that hang on this one.
pub(super) async fn children(connection: &mut MySqlConnection, shared: &Shared, row: &Row) -> Result<Vec<Row>> {
    let layout = shared.layout(&row.0)?;
    let mut below = Vec::new();
    for rule in foreign_keys(connection).await? {
        // Rows of other tables are the host's own business: its foreign keys say what becomes of them.
        let (true, Ok(child)) = (rule.parent.as_ref() == Some(&row.0), shared.layout(&rule.child)) else { continue };
        let joined = rule.columns.iter().zip(&rule.referenced);
        let joined = joined.map(|(column, parent)| Ok(format!("t.{} = p.{}", quoted(column)?, quoted(parent)?)));
        let keys = child.host_keys("t.");
        let sql = format!(
            "SELECT {keys} FROM {} t JOIN {} p ON {} WHERE {} ORDER BY {keys}",
            child.host,
            layout.host,
            joined.collect::<Result<Vec<_>>>()?.join(" AND "),
            layout.is_host("p.", 1),
        );
        let mut arguments = MySqlArguments::default();
        layout.bind_key(&mut arguments, &row.1)?;
        let select = sqlx::query_with(AssertSqlSafe(sql), arguments).fetch_all(&mut *connection).await;
        for hangs in select.map_err(unread)? {
            below.push((child.name().to_owned(), key(&hangs, 0, child)?));
        }
    }
    Ok(below)
}

fn unread(cause: sqlx::Error) -> Error {
    failed("rows in the way cannot be looked for", cause)
}
