//! A table of somebody else, as the server's catalogue describes it, and the index that its pages are read by.

use std::collections::BTreeMap;

use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{AssertSqlSafe, Row as _};
use sync_core::model::Kind;
use sync_core::source::Estimate;
use sync_core::{Error, ErrorKind, Result, StreamSpec, Value};

use super::column::{Column, Form};
use crate::catalog::NAME_ONE;
use crate::ident::quoted;
use crate::keyset::{MOST_EMPTY, estimate, never_found, version};
use crate::mysql::connection::Server;
use crate::mysql::error::unread;
use crate::mysql::query::name;

/// So many rows are counted.
const COUNTED: u64 = 10_000;

/// A table that is there.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// Its name with its database, ready to stand in SQL text.
    pub(super) sql: String,
    /// Its database and its name.
    place: (String, String),
    pub(super) columns: Vec<Column>,
    /// The columns of its primary key, in order.
    pub(super) key: Vec<String>,
    indexes: Vec<Index>,
    /// Whether rows of an index are in the order of the primary key behind its own columns.
    clustered: bool,
    /// The collation under which only equal texts are equal.
    pub(super) exact: &'static str,
}

/// An index.
#[derive(Debug, Clone)]
struct Index {
    name: String,
    unique: bool,
    columns: Vec<String>,
    /// Whether it has whole columns in ascending order, and the optimizer may use it.
    ordered: bool,
}

/// A column that decides the order, and how its bound is written.
pub(super) struct Ordering<'t> {
    pub(super) column: &'t Column,
    pub(super) sql: String,
    pub(super) bound: String,
    /// What tells the place of a row, where its value does not.
    pub(super) place: Option<String>,
    /// Whether it is the column itself, which an index may hold.
    plain: bool,
}

impl Table {
    /// How many rows it holds: counted where they are few, and otherwise as the server's statistics say.
    pub(super) async fn estimate(&self, connection: &mut MySqlConnection) -> Result<Option<Estimate>> {
        if !self.clustered {
            // It may be a view, which is not for nothing.
            return Ok(None);
        }
        let failed = |cause| unread("the rows cannot be counted", cause).with("table", &self.sql);
        let counted: i64 = sqlx::query_scalar(AssertSqlSafe(estimate::count(&self.sql, COUNTED)))
            .fetch_one(&mut *connection)
            .await
            .map_err(failed)?;
        let counted = counted.cast_unsigned();
        let mut statistics = None;
        if counted > COUNTED {
            let (database, table) = &self.place;
            let rows: Option<Option<u64>> = sqlx::query_scalar(
                "SELECT CAST(TABLE_ROWS AS UNSIGNED) FROM information_schema.TABLES
                 WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?",
            )
            .bind(database)
            .bind(table)
            .fetch_optional(&mut *connection)
            .await
            .map_err(failed)?;
            statistics = rows.flatten();
        }
        Ok(estimate::rows(counted, COUNTED, statistics))
    }

    /// Looks up the table of this name: in the database of the address, or with its database before a point.
    ///
    /// # Errors
    /// `Schema` when there is none.
    pub(super) async fn find(connection: &mut MySqlConnection, server: Server, table: &str) -> Result<Self> {
        let failed = |cause| unread("the table cannot be looked at", cause).with("table", table);
        let elsewhere = table.split_once('.').filter(|(database, table)| !database.is_empty() && !table.is_empty());
        if elsewhere.is_none() {
            name(table)?;
        }
        let (database, inside) = elsewhere.unwrap_or(("", ""));
        let found = sqlx::query(
            "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, coalesce(ENGINE, '') FROM information_schema.TABLES
             WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ? OR TABLE_SCHEMA = ? AND TABLE_NAME = ?
             ORDER BY TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ? DESC LIMIT 1",
        )
        .bind(table)
        .bind(database)
        .bind(inside)
        .bind(table)
        .fetch_optional(&mut *connection)
        .await
        .map_err(failed)?;
        let wrong = |what: &str| Error::new(ErrorKind::Schema, what.to_owned()).with("table", table);
        let Some(found) = found else {
            return Err(wrong(
                "there is no such table, or this account may not read it: name one of another database as `database.table`",
            )
            .with_remedy(NAME_ONE));
        };
        let text = |at: usize| found.try_get_unchecked::<String, _>(at).map_err(failed);
        if !matches!(text(2)?.as_str(), "BASE TABLE" | "VIEW" | "SYSTEM VERSIONED" | "SYSTEM VIEW") {
            return Err(wrong("this is no table and no view"));
        }
        let (database, inside) = (text(0)?, text(1)?);
        let indexes = indexes(connection, &database, &inside).await.map_err(failed)?;
        let key = indexes.iter().find(|index| index.name == "PRIMARY").map(|index| index.columns.clone());
        Ok(Self {
            sql: format!("{}.{}", quoted(&database)?, quoted(&inside)?),
            columns: columns(connection, server, &database, &inside).await.map_err(failed)?,
            place: (database, inside),
            key: key.unwrap_or_default(),
            indexes,
            clustered: text(3)? == "InnoDB",
            exact: server.exact,
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
            if column.form == Form::Unknown {
                return wrong(format!(
                    "column {:?} is declared {:?}, which this source cannot read: leave it out, or read a view that casts it",
                    column.name, column.declared
                ));
            }
            if field.kind() == Kind::Bytes && column.form != Form::Bytes {
                return wrong(format!(
                    "column {:?} is declared {:?}, which holds no bytes: declare it as text",
                    column.name, column.declared
                ));
            }
        }
        match version(stream).and_then(|field| Some((field, self.column(field.name())?))) {
            Some((field, column)) if !column.form.grows_as(field.kind()) => wrong(format!(
                "the version {:?} is declared {:?}, whose order is not that of a {}: declare its kind as the table has it, another column as the version, or none",
                column.name,
                column.declared,
                field.kind()
            )),
            _ => Ok(()),
        }
    }

    /// Refuses a table in which one of these columns is empty in some rows: they would never be found.
    pub(super) async fn check_filled(
        &self,
        connection: &mut MySqlConnection,
        stream: &StreamSpec,
        order: &[String],
    ) -> Result<()> {
        for name in order.iter().filter(|name| self.column(name).is_some_and(|column| !column.required)) {
            // An index that begins with the column answers this; without one, the read itself is no faster.
            let (table, column) = (&self.sql, quoted(name)?);
            let sql = format!(
                "SELECT count(*) FROM (SELECT 1 FROM {table} t WHERE t.{column} IS NULL LIMIT {MOST_EMPTY}) empty"
            );
            let without: i64 = sqlx::query_scalar(AssertSqlSafe(sql))
                .persistent(false)
                .fetch_one(&mut *connection)
                .await
                .map_err(|cause| unread("the table cannot be read", cause).with("table", stream.name()))?;
            if without > 0 {
                return Err(never_found(stream, name, without));
            }
        }
        Ok(())
    }

    /// The columns that decide the order of a read. The first may be the version.
    ///
    /// A key is in the order of its collation, as its index is. Where no unique index says that no two keys are equal under
    /// it, keys are compared exactly, and so are versions that are texts, as the rest of the library orders texts.
    pub(super) fn ordered(&self, stream: &StreamSpec, order: &[String], by_version: bool) -> Result<Vec<Ordering<'_>>> {
        let of_key = |column: &String| stream.key_columns().contains(column);
        let told_apart = self.indexes.iter().any(|index| index.unique && index.columns.iter().all(of_key));
        let ordering = |(at, name): (usize, &String)| {
            let column = self.column(name).ok_or_else(|| Error::internal("a column that was there is gone"))?;
            let sql = format!("t.{}", quoted(name)?);
            Ok(match &column.form {
                Form::Text { collation, .. } if collation != self.exact && (by_version && at == 0 || !told_apart) => {
                    let exactly = |what: &str| format!("CONVERT({what} USING utf8mb4) COLLATE {}", self.exact);
                    Ordering { column, sql: exactly(&sql), bound: exactly("?"), place: None, plain: false }
                }
                form => {
                    let (bound, place) = (form.bound(), form.asked_place(&sql));
                    Ordering { column, sql, bound, place, plain: true }
                }
            })
        };
        order.iter().enumerate().map(ordering).collect()
    }

    /// `FORCE INDEX ("by_version")`, where an index has exactly this order.
    ///
    /// Left alone, both servers would rather sort the whole table for every page, as long as much of it is to come.
    pub(super) fn index_for(&self, order: &[Ordering<'_>]) -> Result<String> {
        if !order.iter().all(|ordering| ordering.plain) {
            return Ok(String::new());
        }
        let names: Vec<&String> = order.iter().map(|ordering| &ordering.column.name).collect();
        let fits = |index: &&Index| {
            let behind = self.key.iter().filter(|column| self.clustered && !index.columns.contains(column));
            index.ordered && index.columns.iter().chain(behind).collect::<Vec<_>>().starts_with(&names)
        };
        match self.indexes.iter().find(fits) {
            Some(index) => Ok(format!(" FORCE INDEX ({})", quoted(&index.name)?)),
            None => Ok(String::new()),
        }
    }

    /// Whether a saved place can be one of these columns.
    pub(super) fn takes(&self, order: &[String], place: &[Value]) -> bool {
        order.iter().zip(place).all(|(name, value)| self.column(name).is_some_and(|column| column.form.takes(value)))
    }
}

async fn columns(
    connection: &mut MySqlConnection,
    server: Server,
    database: &str,
    table: &str,
) -> sqlx::Result<Vec<Column>> {
    let rows = sqlx::query(
        "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, CHARACTER_SET_NAME, COLLATION_NAME, IS_NULLABLE,
                coalesce(GENERATION_EXPRESSION, '')
         FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION",
    )
    .bind(database)
    .bind(table)
    .fetch_all(&mut *connection)
    .await?;
    // In MariaDB, JSON is a text with a check of this name.
    let json: Vec<String> = if server.is_mariadb() {
        let rows = sqlx::query(
            "SELECT CONSTRAINT_NAME FROM information_schema.CHECK_CONSTRAINTS
             WHERE CONSTRAINT_SCHEMA = ? AND TABLE_NAME = ? AND LEVEL = 'Column' AND CHECK_CLAUSE LIKE 'json_valid(%'",
        )
        .bind(database)
        .bind(table)
        .fetch_all(&mut *connection)
        .await?;
        rows.iter().map(|row| row.try_get_unchecked(0)).collect::<sqlx::Result<_>>()?
    } else {
        Vec::new()
    };
    let column = |row: &MySqlRow| {
        let name: String = row.try_get_unchecked(0)?;
        let (kind, declared): (String, String) = (row.try_get_unchecked(1)?, row.try_get_unchecked(2)?);
        let declared = declared.to_lowercase();
        let mut form = Form::of(&kind.to_lowercase(), &declared, row.try_get_unchecked(3)?, row.try_get_unchecked(4)?);
        if json.contains(&name) && matches!(form, Form::Text { .. }) {
            form = Form::Json;
        }
        Ok(Column {
            name,
            declared,
            form,
            required: row.try_get_unchecked::<String, _>(5)? == "NO",
            computed: !row.try_get_unchecked::<String, _>(6)?.is_empty(),
        })
    };
    rows.iter().map(column).collect()
}

async fn indexes(connection: &mut MySqlConnection, database: &str, table: &str) -> sqlx::Result<Vec<Index>> {
    // Each server has a column of its own that says whether the optimizer may use an index.
    let parts = sqlx::query(
        "SELECT * FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?
         ORDER BY INDEX_NAME, SEQ_IN_INDEX",
    )
    .bind(database)
    .bind(table)
    .fetch_all(connection)
    .await?;
    let mut indexes: BTreeMap<String, Index> = BTreeMap::new();
    for part in parts {
        let text = |column: &str| part.try_get_unchecked::<Option<String>, _>(column).map(Option::unwrap_or_default);
        let has = |column: &str, value: &str| text(column).is_ok_and(|text| text == value);
        let whole = part.try_get_unchecked::<Option<i64>, _>("SUB_PART")?.is_none();
        let name = text("INDEX_NAME")?;
        let unique = part.try_get_unchecked::<i64, _>("NON_UNIQUE")? == 0;
        let new = Index { name: name.clone(), unique, columns: Vec::new(), ordered: true };
        let index = indexes.entry(name).or_insert(new);
        index.columns.push(text("COLUMN_NAME")?);
        index.ordered &= whole
            && has("COLLATION", "A")
            && has("INDEX_TYPE", "BTREE")
            && !has("IS_VISIBLE", "NO")
            && !has("IGNORED", "YES");
    }
    Ok(indexes.into_values().collect())
}
