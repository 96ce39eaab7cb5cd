//! Foreign keys that are checked at the commit, which a rehearsal never reaches.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, OptionalExtension};
use sync_core::model::StreamSpec;
use sync_core::sink::Step;
use sync_core::{Error, Key, Result};

use super::error::failed;
use super::value::value_of;
use crate::ident::{list, quoted};
use crate::refused::Refused;

/// A row that refers to one that is not there: its table, its `rowid` where it has one, and by which of the table's keys.
type Orphan = (String, Option<i64>, i64);

/// The rows of and around a table that break a key which is checked at the commit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Orphans(HashSet<Orphan>);

impl Orphans {
    /// Those there are now. Some may have been there before: whoever wrote them had foreign keys switched off.
    pub(crate) fn of(connection: &Connection, stream: &StreamSpec) -> Result<Self> {
        let read = || {
            let mut select = connection.prepare_cached(
                "SELECT c.\"table\", c.\"rowid\", c.fkid FROM sqlite_schema m, pragma_foreign_key_check(m.name) c
                 WHERE m.type = 'table' AND m.sql LIKE '%DEFERRED%' AND (m.name = ?1 COLLATE NOCASE OR EXISTS
                     (SELECT 1 FROM pragma_foreign_key_list(m.name) f WHERE f.\"table\" = ?1 COLLATE NOCASE))",
            )?;
            select.query_map([stream.name()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
        };
        let found: rusqlite::Result<HashSet<Orphan>> = read();
        found.map(Self).map_err(|cause| unchecked(cause, stream))
    }

    /// # Errors
    /// `Data` when there are others than before, naming those that the steps have written.
    pub(crate) fn check(self, connection: &Connection, stream: &StreamSpec, steps: &[Step]) -> Result<()> {
        let now = Self::of(connection, stream)?;
        if now.0.is_subset(&self.0) {
            return Ok(());
        }
        let orphaned = || Error::data("a row refers to one that is not there").with("table", stream.name());
        let (mut places, columns) = (HashMap::new(), stream.key_indices());
        for (index, step) in steps.iter().enumerate() {
            if let Step::Write(write) = step
                && write.stream.name() == stream.name()
            {
                places.extend(write.changes.iter().enumerate().map(|(row, it)| (it.key(&columns), (index, row))));
            }
        }
        let mut refused = Refused::default();
        let mut rows: Vec<(usize, usize)> = Vec::new();
        for (_, rowid, _) in now.0.difference(&self.0).filter(|it| it.0.eq_ignore_ascii_case(stream.name())) {
            rows.extend(key(connection, stream, *rowid)?.and_then(|key| places.get(&key)));
        }
        rows.sort_unstable();
        rows.dedup();
        rows.into_iter().for_each(|(step, row)| refused.add(orphaned().at_row(step, row)));
        refused.finish().and_then(|()| Err(orphaned()))
    }
}

/// The key of a row.
fn key(connection: &Connection, stream: &StreamSpec, rowid: Option<i64>) -> Result<Option<Key>> {
    if rowid.is_none() || stream.key_columns().is_empty() {
        return Ok(None);
    }
    let (columns, fields) = (stream.key_indices(), stream.schema().fields());
    let names = list(stream.key_columns().iter().map(String::as_str))?;
    let sql = format!("SELECT {names} FROM {} WHERE rowid = ?", quoted(stream.name())?);
    let read = |row: &rusqlite::Row<'_>| {
        let value = |(place, &column): (usize, &usize)| Ok(value_of(row.get_ref(place)?, &fields[column]));
        columns.iter().enumerate().map(value).collect::<rusqlite::Result<Vec<_>>>()
    };
    let found = connection.query_row(&sql, [rowid], read).optional().map_err(|cause| unchecked(cause, stream))?;
    found.map(|values| values.into_iter().collect::<Result<Vec<_>>>().map(Key::new)).transpose()
}

fn unchecked(cause: rusqlite::Error, stream: &StreamSpec) -> Error {
    failed("the foreign keys cannot be checked", cause).with("table", stream.name())
}
