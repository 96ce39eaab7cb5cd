//! What the host's schema says about the tables that take part: which values are unique, and which rows hang on which.

use std::collections::BTreeMap;

use rusqlite::Connection;
use sync_core::{Error, ErrorKind, Result};

use super::layout::Layout;
use crate::catalog::ForeignKey;
use crate::sqlite::discover::foreign_keys;
use crate::sqlite::error::failed;
use crate::sqlite::schema::{columns, index_columns, unique_indexes};

/// A value of one or several columns that no two rows share, besides the key.
#[derive(Debug, Clone)]
pub(super) struct Unique {
    /// Each column and its collation.
    pub(super) columns: Vec<(String, String)>,
}

/// The schema as it was when it was last looked at.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    /// SQLite's count of changes of the schema; -1 before the first look.
    pub(super) version: i64,
    pub(super) unique: BTreeMap<String, Vec<Unique>>,
    pub(super) foreign: Vec<ForeignKey>,
}

impl Catalog {
    pub(super) fn none() -> Self {
        Self { version: -1, ..Self::default() }
    }

    pub(super) fn of<'l>(connection: &Connection, layouts: impl Iterator<Item = &'l Layout>) -> Result<Self> {
        let unique = layouts.map(|layout| Ok((layout.name().to_owned(), unique(connection, layout)?)));
        Ok(Self {
            unique: unique.collect::<Result<_>>()?,
            foreign: foreign_keys(connection)?,
            version: version(connection)?,
        })
    }
}

/// It grows with every change of the schema (<https://www.sqlite.org/pragma.html#pragma_schema_version>).
pub(super) fn version(connection: &Connection) -> Result<i64> {
    let read = || connection.prepare_cached("PRAGMA schema_version")?.query_row([], |row| row.get(0));
    read().map_err(|cause| failed("the schema cannot be looked at", cause))
}

fn unique(connection: &Connection, layout: &Layout) -> Result<Vec<Unique>> {
    let key: Vec<String> = layout.table.spec().key_columns().iter().map(|name| name.to_ascii_lowercase()).collect();
    let is_key = |columns: &[(String, String)]| {
        columns.len() == key.len()
            && columns.iter().all(|(name, collation)| {
                key.contains(&name.to_ascii_lowercase()) && collation.eq_ignore_ascii_case("BINARY")
            })
    };
    let mut unique = Vec::new();
    for (index, _) in unique_indexes(connection, layout.name())? {
        let columns = index_columns(connection, &index)?;
        if columns.iter().any(|(name, _)| name.is_empty()) {
            let what = "a unique index over an expression cannot be watched: make it one over columns, which may be generated ones";
            return Err(Error::new(ErrorKind::Schema, what).with("table", layout.name()).with("index", index));
        }
        unique.push(Unique { columns });
    }
    // A number that is the row's place in the file has no index.
    let primary: Vec<_> =
        columns(connection, layout.name())?.into_iter().filter(|column| column.key_place > 0).collect();
    if let [column] = primary.as_slice()
        && column.declared.eq_ignore_ascii_case("INTEGER")
    {
        unique.push(Unique { columns: vec![(column.name.clone(), "BINARY".to_owned())] });
    }
    unique.retain(|index| !is_key(&index.columns));
    Ok(unique)
}
