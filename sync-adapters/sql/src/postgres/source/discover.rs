//! What there is to read: tables, the stream that each makes, and how they refer to each other.

use sqlx::Row as _;
use sqlx::postgres::{PgPool, PgRow};
use sync_core::model::{Field, Kind};
use sync_core::{Error, ErrorKind, Result, StreamSpec};

use super::table::{Column, Table};
use crate::catalog::ForeignKey;
use crate::postgres::error::failed;

/// A table's name as a person writes it: with its schema only where it is needed. The table is called `c`, or this.
const NAME: &str = "CASE WHEN pg_table_is_visible({c}.oid) THEN {c}.relname::text ELSE {c}.relnamespace::regnamespace::text || '.' || {c}.relname END";

/// The digits of the longest decimal, which a target must be able to hold.
const MOST_DIGITS: u8 = 38;

/// The stream that a table makes.
pub(super) async fn stream(pool: &PgPool, name: &str) -> Result<StreamSpec> {
    let table = Table::find(pool, name).await?;
    let wrong = |what: String| Error::new(ErrorKind::Schema, what).with("table", name);
    if table.key.is_empty() {
        return Err(wrong(
            "the table has no primary key: declare the stream by hand, with a key that is unique".to_owned(),
        ));
    }
    let mut stream = StreamSpec::new(name);
    for column in table.columns.iter().filter(|column| !column.computed) {
        let kind = kind(column).ok_or_else(|| {
            wrong(format!(
                "column {:?} is declared {:?}, which names no kind: declare the stream by hand, and the column as text, which reads it as the server writes it, or not at all",
                column.name, column.declared
            ))
        })?;
        let field = Field::new(column.name.as_str(), kind);
        stream = stream.field(if column.required { field.required() } else { field });
    }
    Ok(stream.key(table.key))
}

/// The kind that a type names.
fn kind(column: &Column) -> Option<Kind> {
    Some(match (column.base.as_str(), column.category.as_str()) {
        ("bool", _) => Kind::Bool,
        ("int2" | "int4" | "int8", _) => Kind::Int,
        ("oid" | "xid8", _) => Kind::UInt,
        ("float4" | "float8", _) => Kind::Float,
        // Without digits, or with more than a decimal may have, only text holds every value exactly.
        ("numeric", _) => digits(&column.declared).unwrap_or(Kind::Text),
        ("bytea", _) => Kind::Bytes,
        ("timestamptz" | "timestamp", _) => Kind::Timestamp,
        ("date", _) => Kind::Date,
        ("json" | "jsonb", _) => Kind::Json,
        // Its text changes with the language of the server.
        ("money", _) => return None,
        ("uuid" | "xml" | "time" | "timetz" | "tsvector" | "jsonpath" | "pg_lsn", _) => Kind::Text,
        // Texts, enums, arrays, network addresses, intervals, bits and ranges: as the server writes them.
        (_, "S" | "E" | "A" | "I" | "T" | "V" | "R") => Kind::Text,
        _ => return None,
    })
}

/// `numeric(12,2)`.
fn digits(declared: &str) -> Option<Kind> {
    let (precision, scale) = declared.strip_prefix("numeric(")?.strip_suffix(')')?.split_once(',')?;
    let (precision, scale) = (precision.parse().ok()?, scale.parse().ok()?);
    (precision <= MOST_DIGITS && scale <= precision).then_some(Kind::Decimal { precision, scale })
}

/// The tables that this account may read, by name. Parts of a table, views and the server's own are left out.
pub(super) async fn tables(pool: &PgPool) -> Result<Vec<String>> {
    let name = NAME.replace("{c}", "c");
    let sql = format!(
        "SELECT {name} FROM pg_class c WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND {OURS}
           AND (has_table_privilege(c.oid, 'SELECT') OR has_any_column_privilege(c.oid, 'SELECT')) ORDER BY 1"
    );
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .fetch_all(pool)
        .await
        .map_err(|cause| failed("the tables cannot be listed", cause))
}

/// The tables `c` that are not the server's own, nor temporary ones.
const OURS: &str =
    "c.relpersistence <> 't' AND c.relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')";

/// The foreign keys of those tables.
pub(super) async fn foreign_keys(pool: &PgPool) -> Result<Vec<ForeignKey>> {
    let unread = |cause| failed("the foreign keys cannot be listed", cause);
    let columns = |numbers: &str, table: &str| {
        format!(
            "ARRAY(SELECT a.attname::text FROM unnest(k.{numbers}) WITH ORDINALITY n(attnum, place)
                   JOIN pg_attribute a ON a.attrelid = k.{table} AND a.attnum = n.attnum ORDER BY n.place)"
        )
    };
    let sql = format!(
        "SELECT {}, {}, {}, {} FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_class r ON r.oid = k.confrelid
         WHERE k.contype = 'f' AND k.conparentid = 0 AND NOT c.relispartition AND {OURS} ORDER BY 1, 2",
        NAME.replace("{c}", "c"),
        columns("conkey", "conrelid"),
        NAME.replace("{c}", "r"),
        columns("confkey", "confrelid"),
    );
    let found = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(pool).await.map_err(unread)?;
    let foreign_key = |row: &PgRow| {
        Ok(ForeignKey {
            table: row.try_get(0)?,
            columns: row.try_get(1)?,
            references: row.try_get(2)?,
            referenced: row.try_get(3)?,
        })
    };
    found.iter().map(foreign_key).collect::<std::result::Result<_, sqlx::Error>>().map_err(unread)
}
