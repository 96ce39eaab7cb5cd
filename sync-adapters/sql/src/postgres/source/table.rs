//! A table of somebody else, as the catalogue of PostgreSQL describes it.

use sqlx::postgres::{PgPool, PgRow};
use sqlx::{AssertSqlSafe, Row as _};
use sync_core::model::Kind;
use sync_core::source::Estimate;
use sync_core::{Error, ErrorKind, Result, StreamSpec};

use crate::catalog::NAME_ONE;
use crate::ident::quoted;
use crate::keyset::{MOST_EMPTY, estimate, never_found, version};
use crate::postgres::error::unread;
use crate::postgres::query::name;

/// So many rows are counted.
const COUNTED: u64 = 10_000;

/// A table that is there.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// Its name with its schema, ready to stand in SQL text.
    pub(super) sql: String,
    pub(super) columns: Vec<Column>,
    /// The columns of its primary key, in order.
    pub(super) key: Vec<String>,
    /// Whether a subscription writes into it, with versions that another server stamped.
    pub(super) replicated: bool,
}

/// A column. Types are those under a domain.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    /// The type without its digits, as a cast names it.
    pub(super) cast: String,
    /// The type with its digits, as a person reads it.
    pub(super) declared: String,
    /// The type's short name, such as `int4`; empty when it is not one of PostgreSQL's own.
    pub(super) base: String,
    /// The letter of the type's category: <https://www.postgresql.org/docs/current/catalog-pg-type.html>, table 53.65.
    pub(super) category: String,
    pub(super) required: bool,
    pub(super) computed: bool,
    /// Whether its collation tells all different texts apart.
    exact: bool,
}

impl Table {
    /// How many rows it holds: counted where they are few, and otherwise as the server's statistics say, `pg_class.reltuples`,
    /// which is -1 where it has none.
    pub(super) async fn estimate(&self, pool: &PgPool) -> Result<Option<Estimate>> {
        let failed = |cause| unread("the rows cannot be counted", cause).with("table", &self.sql);
        let known: Option<i64> = sqlx::query_scalar(
            "SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass($1) AND relkind IN ('r', 'p', 'm')",
        )
        .bind(&self.sql)
        .fetch_optional(pool)
        .await
        .map_err(failed)?;
        // A view is not counted for nothing.
        let Some(known) = known else { return Ok(None) };
        let counted: i64 = sqlx::query_scalar(AssertSqlSafe(estimate::count(&self.sql, COUNTED)))
            .fetch_one(pool)
            .await
            .map_err(failed)?;
        let (counted, statistics) = (counted.cast_unsigned(), u64::try_from(known).ok());
        Ok(estimate::rows(counted, COUNTED, statistics))
    }

    /// Looks up the table of this name: on the search path, or with its schema before a point.
    ///
    /// # Errors
    /// `Schema` when there is none.
    pub(super) async fn find(pool: &PgPool, table: &str) -> Result<Self> {
        let unread = |cause| unread("the table cannot be looked at", cause).with("table", table);
        let alone = name(table).ok();
        let in_schema = match table.split_once('.') {
            Some((schema, table)) if !schema.is_empty() && !table.is_empty() => {
                Some(format!("{}.{}", name(schema)?, name(table)?))
            }
            _ => None,
        };
        if alone.is_none() && in_schema.is_none() {
            name(table)?;
        }
        let found = sqlx::query(
            "SELECT c.oid::bigint, n.nspname::text, c.relname::text, c.relkind::text,
                    EXISTS (SELECT FROM pg_subscription_rel s WHERE s.srrelid = c.oid),
                    ARRAY(SELECT a.attname::text FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, place)
                          JOIN pg_attribute a ON a.attnum = k.attnum
                          WHERE i.indrelid = c.oid AND i.indisprimary AND a.attrelid = c.oid
                            AND k.place <= i.indnkeyatts ORDER BY k.place)
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.oid = coalesce(to_regclass($1), to_regclass($2))",
        )
        .bind(alone)
        .bind(in_schema)
        .fetch_optional(pool)
        .await
        .map_err(unread)?;
        let wrong = |what: &str| Error::new(ErrorKind::Schema, what.to_owned()).with("table", table);
        let Some(found) = found else {
            return Err(wrong(
                "there is no such table, or it is on no search path of this account: name it with its schema, `schema.table`",
            )
            .with_remedy(NAME_ONE));
        };
        let text = |at: usize| found.try_get::<String, _>(at).map_err(unread);
        if !matches!(text(3)?.as_str(), "r" | "p" | "v" | "m" | "f") {
            return Err(wrong("this is no table and no view"));
        }
        Ok(Self {
            sql: format!("{}.{}", quoted(&text(1)?)?, quoted(&text(2)?)?),
            columns: columns(pool, found.try_get(0).map_err(unread)?).await.map_err(unread)?,
            key: found.try_get(5).map_err(unread)?,
            replicated: found.try_get(4).map_err(unread)?,
        })
    }

    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Refuses a stream that this table cannot be read as.
    pub(super) fn check(&self, stream: &StreamSpec) -> Result<()> {
        let wrong = |what: String| Err(Error::new(ErrorKind::Schema, what).with("table", stream.name()));
        for field in stream.schema().fields() {
            let Some(column) = self.column(field.name()) else {
                let there: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
                return wrong(format!(
                    "the table has no column {:?}, which the stream declares; it has {}",
                    field.name(),
                    there.join(", ")
                ));
            };
            if field.kind() == Kind::Bytes && column.base != "bytea" {
                return wrong(format!(
                    "column {:?} is declared {:?}, which holds no bytes: declare it as text",
                    column.name, column.declared
                ));
            }
        }
        for column in stream.key_columns().iter().filter_map(|column| self.column(column)) {
            if !column.exact {
                return wrong(format!(
                    "key column {:?} has a collation that takes different keys for the same: declare another key, or read a view that gives it the collation \"C\"",
                    column.name
                ));
            }
        }
        match version(stream).and_then(|field| Some((field, self.column(field.name())?))) {
            Some((field, column)) if !column.grows_as(field.kind()) => wrong(format!(
                "the version {:?} is declared {:?}, whose order is not that of a {}: declare its kind as the table has it, another column as the version, or none",
                column.name,
                column.declared,
                field.kind()
            )),
            _ => Ok(()),
        }
    }

    /// Refuses a table in which one of these columns is empty in some rows: they would never be found.
    pub(super) async fn check_filled(&self, pool: &PgPool, stream: &StreamSpec, order: &[String]) -> Result<()> {
        for name in order.iter().filter(|name| self.column(name).is_some_and(|column| !column.required)) {
            // An index that begins with the column answers this; without one, the read itself is no faster.
            let (table, column) = (&self.sql, quoted(name)?);
            let sql = format!(
                "SELECT count(*) FROM (SELECT FROM {table} t WHERE t.{column} IS NULL LIMIT {MOST_EMPTY}) empty"
            );
            let without: i64 = sqlx::query_scalar(AssertSqlSafe(sql))
                .persistent(false)
                .fetch_one(pool)
                .await
                .map_err(|cause| unread("the table cannot be read", cause).with("table", stream.name()))?;
            if without > 0 {
                return Err(never_found(stream, name, without));
            }
        }
        Ok(())
    }
}

impl Column {
    /// Whether the order of this column is the one of values of this kind.
    fn grows_as(&self, kind: Kind) -> bool {
        let integer = matches!(self.base.as_str(), "int2" | "int4" | "int8" | "oid" | "xid8");
        match kind {
            Kind::Bool => self.base == "bool",
            Kind::Int | Kind::UInt => integer || self.base == "numeric",
            Kind::Float => integer || matches!(self.base.as_str(), "float4" | "float8" | "numeric"),
            Kind::Decimal { .. } => integer || self.base == "numeric",
            Kind::Text => self.is_text() || self.base == "uuid",
            Kind::Bytes => self.base == "bytea",
            Kind::Timestamp => matches!(self.base.as_str(), "timestamptz" | "timestamp" | "date"),
            Kind::Date => self.base == "date",
            _ => false,
        }
    }

    /// Whether it holds text that has a collation.
    pub(super) fn is_text(&self) -> bool {
        matches!(self.base.as_str(), "text" | "varchar" | "bpchar" | "name")
    }
}

async fn columns(pool: &PgPool, table: i64) -> std::result::Result<Vec<Column>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT a.attname::text, format_type(b.oid, -1), format_type(b.oid, CASE WHEN b.oid = t.oid THEN a.atttypmod ELSE t.typtypmod END),
                CASE WHEN b.typnamespace = 'pg_catalog'::regnamespace THEN b.typname::text ELSE '' END, b.typcategory::text,
                a.attnotnull, a.attgenerated <> '', coalesce(c.collisdeterministic, true)
         FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
              JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
              LEFT JOIN pg_collation c ON c.oid = a.attcollation
         WHERE a.attrelid::bigint = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
    )
    .bind(table)
    .fetch_all(pool)
    .await?;
    let column = |row: &PgRow| {
        Ok(Column {
            name: row.try_get(0)?,
            cast: row.try_get(1)?,
            declared: row.try_get(2)?,
            base: row.try_get(3)?,
            category: row.try_get(4)?,
            required: row.try_get(5)?,
            computed: row.try_get(6)?,
            exact: row.try_get(7)?,
        })
    };
    rows.iter().map(column).collect()
}
