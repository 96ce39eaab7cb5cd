//! Whose rows somebody may see and write.

use std::collections::BTreeMap;

use super::{Table, refuse};
use crate::model::Value;
use crate::{ErrorKind, Result};

/// The rows that somebody may see and write: in each table those whose scope columns hold these values.
///
/// It comes from whoever proved who is asking, never from what is asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    columns: BTreeMap<String, Value>,
    everything: bool,
}

impl Access {
    /// All rows.
    pub fn everything() -> Self {
        Self { columns: BTreeMap::new(), everything: true }
    }

    /// Rows with this value in this column, of the tables that are scoped by it. A table that is scoped by another column
    /// as well is closed until that one is named, too.
    pub fn rows_with(column: impl Into<String>, value: impl Into<Value>) -> Self {
        Self { columns: BTreeMap::from([(column.into(), value.into())]), everything: false }
    }

    /// Confined to this value in this column, too.
    #[must_use]
    pub fn and(mut self, column: impl Into<String>, value: impl Into<Value>) -> Self {
        self.columns.insert(column.into(), value.into());
        self
    }

    pub(super) fn is_everything(&self) -> bool {
        self.everything
    }

    /// Whether this row is one of them. A table without scope columns is everybody's.
    pub fn holds(&self, table: &Table, row: &[Value]) -> bool {
        self.everything
            || table.scope_columns().iter().all(|name| {
                let column = table.spec().schema().index(name);
                column.is_some_and(|column| self.columns.get(name).is_some_and(|value| *value == row[column]))
            })
    }

    pub(super) fn check(&self, table: &Table, row: &[Value]) -> Result<()> {
        match self.holds(table, row) {
            true => Ok(()),
            false => Err(refuse(ErrorKind::Forbidden, "not_yours", "the row belongs to somebody else")
                .with("table", table.name())),
        }
    }
}
