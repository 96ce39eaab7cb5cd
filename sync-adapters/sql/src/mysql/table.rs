//! A table as the server knows it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::Row as _;
use sqlx::mysql::{MySqlConnection, MySqlRow};
use sync_core::model::StreamSpec;
use sync_core::{Error, ErrorKind, Result};

use super::batch::literal;
use super::checkpoint::NO_SUCH_TABLE;
use super::error::{failed, number};
use super::query::name;
use crate::tables::Shape;

/// A column as the table has it.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// The declared type, in lower case and without the width in which integers used to be shown.
    pub(crate) declared: String,
    /// The declared type as the server writes it.
    pub(crate) written: String,
    /// Computed by the table.
    pub(crate) computed: bool,
    /// Not null, and nothing that stands in for it.
    pub(crate) required: bool,
    /// Changed by the table whenever another column of its row is.
    pub(crate) moving: bool,
    pub(crate) charset: Option<String>,
    pub(crate) collation: Option<String>,
}

/// An index: its columns, each with whether the whole column counts.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) unique: bool,
    pub(crate) columns: Vec<String>,
    pub(crate) whole: bool,
}

/// A table, its columns and its indexes.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) engine: Option<String>,
    pub(crate) columns: Vec<Column>,
    pub(crate) indexes: Vec<Index>,
}

/// How tables were written down by the server when their columns were last compared.
#[derive(Debug, Clone, Default)]
pub(crate) struct Definitions(Arc<Mutex<HashMap<String, String>>>);

impl Definitions {
    /// Whether the table is still written down like this.
    pub(crate) fn is(&self, table: &str, definition: &str) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(table).is_some_and(|before| before == definition)
    }

    pub(crate) fn note(&self, table: &str, definition: Option<String>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match definition {
            Some(definition) => drop(all.insert(table.to_owned(), definition)),
            None => drop(all.remove(table)),
        }
    }
}

/// The statement that asks how the server writes a table down, which costs it a tenth of what its catalogue does.
pub(crate) fn show(table: &str) -> Result<String> {
    Ok(format!("SHOW CREATE TABLE {}", name(table)?))
}

/// What [`show`] has brought, up to the options of the whole table: they tell the next automatic number.
pub(crate) fn definition(rows: &[MySqlRow]) -> Option<String> {
    let mut text: String = rows.first()?.try_get_unchecked(1).ok()?;
    if let Some(end) = text.rfind("\n) ") {
        text.truncate(end);
    }
    Some(text)
}

/// The types of the stream's columns as its table has them; none where there is no table.
pub(crate) async fn shape(connection: &mut MySqlConnection, stream: &StreamSpec) -> Result<Shape> {
    let found = look(connection, stream.name()).await?;
    Ok(found.map(|table| table.shape(stream)).unwrap_or_default())
}

/// Whether there is a table of this name.
pub(crate) async fn exists(connection: &mut MySqlConnection, table: &str) -> Result<bool> {
    match super::batch::ask(connection, format!("SELECT 1 FROM {} LIMIT 0", name(table)?)).await {
        Ok(_) => Ok(true),
        Err(cause) if number(&cause) == Some(NO_SUCH_TABLE) => Ok(false),
        Err(cause) => Err(failed("the table cannot be looked for", cause).with("table", table)),
    }
}

/// The table of this name in the database of the connection, if there is one.
pub(crate) async fn look(connection: &mut MySqlConnection, table: &str) -> Result<Option<Table>> {
    let unread = |cause| failed("the table cannot be looked at", cause).with("table", table);
    // A name that is written out lets the server open this table alone; all three go in one packet.
    let called = format!("TABLE_SCHEMA = DATABASE() AND TABLE_NAME = {}", literal(table));
    let sql = format!(
        "SELECT ENGINE FROM information_schema.TABLES WHERE {called};
         SELECT COLUMN_NAME, COLUMN_TYPE, coalesce(GENERATION_EXPRESSION, '') <> '',
                IS_NULLABLE = 'NO' AND COLUMN_DEFAULT IS NULL AND EXTRA NOT LIKE '%auto_increment%',
                lower(EXTRA) LIKE '%on update%', CHARACTER_SET_NAME, COLLATION_NAME
         FROM information_schema.COLUMNS WHERE {called} ORDER BY ORDINAL_POSITION;
         SELECT INDEX_NAME, COLUMN_NAME, NON_UNIQUE = 0, SUB_PART IS NULL AND COLUMN_NAME IS NOT NULL
         FROM information_schema.STATISTICS WHERE {called} ORDER BY INDEX_NAME, SEQ_IN_INDEX"
    );
    let answers = super::batch::ask(connection, sql).await.map_err(unread)?;
    let [found, columns, parts] = answers.as_slice() else {
        return Err(Error::internal("the server did not answer all questions about a table").with("table", table));
    };
    let Some(row) = found.first() else { return Ok(None) };
    let engine = row.try_get_unchecked(0).map_err(unread)?;
    let columns = columns.iter().map(column).collect::<sqlx::Result<Vec<_>>>().map_err(unread)?;
    let mut indexes: BTreeMap<String, Index> = BTreeMap::new();
    for part in parts {
        let name: String = part.try_get_unchecked(0).map_err(unread)?;
        let index = indexes.entry(name).or_insert_with(|| Index { unique: false, columns: Vec::new(), whole: true });
        index.columns.push(part.try_get_unchecked::<Option<String>, _>(1).map_err(unread)?.unwrap_or_default());
        index.unique = flag(part, 2).map_err(unread)?;
        index.whole &= flag(part, 3).map_err(unread)?;
    }
    Ok(Some(Table { engine, columns, indexes: indexes.into_values().collect() }))
}

impl Table {
    /// The types of the stream's columns.
    pub(crate) fn shape(&self, stream: &StreamSpec) -> Shape {
        let declared = self.columns.iter().filter(|column| stream.schema().index(&column.name).is_some());
        declared.map(|column| (column.name.clone(), column.written.clone())).collect()
    }
}

fn column(row: &MySqlRow) -> sqlx::Result<Column> {
    let written: String = row.try_get_unchecked(1)?;
    Ok(Column {
        name: row.try_get_unchecked(0)?,
        declared: without_width(&written),
        written,
        computed: flag(row, 2)?,
        required: flag(row, 3)?,
        moving: flag(row, 4)?,
        charset: row.try_get_unchecked(5)?,
        collation: row.try_get_unchecked(6)?,
    })
}

fn flag(row: &MySqlRow, at: usize) -> sqlx::Result<bool> {
    row.try_get_unchecked::<Option<i64>, _>(at).map(|flag| flag.unwrap_or_default() != 0)
}

/// `bigint(20) unsigned` is `bigint unsigned`; `tinyint(1)` is what both servers call a boolean.
fn without_width(declared: &str) -> String {
    let declared = declared.to_lowercase();
    match declared.split_once('(') {
        Some((kind, rest)) if kind.ends_with("int") && declared != "tinyint(1)" => {
            format!("{kind}{}", rest.split_once(')').map_or("", |(_, rest)| rest))
        }
        _ => declared,
    }
}

impl Column {
    /// What stands behind the type in the column's definition: whether it may be null, its default, its comment. A change
    /// of the type must say all of it again.
    pub(crate) async fn rest_of_definition(
        &self,
        connection: &mut MySqlConnection,
        table: &str,
        quoted_table: &str,
    ) -> Result<String> {
        let unread = |cause| failed("the table cannot be looked at", cause).with("table", table);
        let row = sqlx::raw_sql(sqlx::AssertSqlSafe(format!("SHOW CREATE TABLE {quoted_table}")))
            .fetch_one(connection)
            .await
            .map_err(unread)?;
        let create: String = row.try_get_unchecked(1).map_err(unread)?;
        let begin = format!("  {} {}", crate::ident::quoted(&self.name)?, self.written);
        let rest = create.lines().find_map(|line| line.strip_prefix(begin.as_str()));
        rest.map(|rest| rest.trim_end_matches(',').to_owned()).ok_or_else(|| {
            let what = format!("the definition of column {:?} cannot be read: change its type by hand", self.name);
            Error::new(ErrorKind::Schema, what).with("table", table)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::without_width;

    #[test]
    fn the_width_of_integers_says_nothing() {
        let given = ["bigint(20) unsigned", "int(11)", "bigint", "tinyint(1)", "tinyint(4)", "decimal(12,2)"];
        let expected = ["bigint unsigned", "int", "bigint", "tinyint(1)", "tinyint", "decimal(12,2)"];
        assert_eq!(given.map(without_width), expected);
    }
}
