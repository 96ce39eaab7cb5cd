//! The rows of one stream, visible and staged.

use std::collections::BTreeMap;

use super::super::row_scope::Covered;
use crate::model::{Field, FieldSet, Key, Op, StreamSpec, Timestamp, Value};
use crate::sink::Altered;
use crate::{Error, ErrorKind, Result};

/// The rows everyone sees.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) stream: StreamSpec,
    pub(super) rows: BTreeMap<Key, Held>,
}

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Held {
    pub(super) values: Vec<Value>,
    /// Since when complete listings do not name it, where the stream wants such rows marked.
    pub(super) missing_since: Option<Timestamp>,
}

/// Rows nobody sees yet.
#[derive(Debug, Default)]
pub(super) struct Staged {
    pub(super) rows: BTreeMap<Key, StagedRow>,
    /// Rows whose key was staged again: publishing counts them as duplicates.
    pub(super) duplicates: u64,
}

/// One staged change.
#[derive(Debug, Clone)]
pub(super) struct StagedRow {
    pub(super) op: Op,
    /// The columns that the change names; `None` when it names all.
    pub(super) fields: Option<FieldSet>,
    pub(super) values: Vec<Value>,
}

/// For each new column, the old one it continues.
pub(super) type ColumnOrder = Vec<Option<usize>>;

impl Table {
    pub(super) fn new(stream: &StreamSpec) -> Self {
        Self { stream: stream.clone(), rows: BTreeMap::new() }
    }

    /// The rows in a scope, without those marked as missing.
    pub(super) fn present(&self, covered: &Covered<'_>) -> impl Iterator<Item = &Key> {
        let present = |row: &Held| row.missing_since.is_none() && covered.contains(&row.values);
        self.rows.iter().filter(move |(_, row)| present(row)).map(|(key, _)| key)
    }

    /// The number of the next appended row.
    pub(super) fn next_row(&self) -> Key {
        next_number(self.rows.keys().next_back())
    }

    /// How the table becomes one of this declaration.
    ///
    /// # Errors
    /// `Schema`, with the difference, when it cannot without losing data.
    pub(super) fn evolution(&self, new: &StreamSpec) -> Result<ColumnOrder> {
        let old = &self.stream;
        let refused = |difference: String| {
            Err(Error::new(ErrorKind::Schema, format!("the target cannot follow the declaration: {difference}"))
                .with("stream", new.name()))
        };
        if old.key_columns() != new.key_columns() {
            return refused(format!("its key is {:?}, declared is {:?}", old.key_columns(), new.key_columns()));
        }
        for field in old.schema().fields() {
            match new.schema().field(field.name()) {
                None => return refused(format!("column {:?} is not declared any more", field.name())),
                Some(now) if now.kind() != field.kind() => {
                    return refused(format!(
                        "column {:?} holds {}, declared is {}",
                        field.name(),
                        field.kind(),
                        now.kind()
                    ));
                }
                Some(_) => {}
            }
        }
        let added = |field: &&Field| old.schema().index(field.name()).is_none();
        if let Some(field) = new.schema().fields().iter().filter(added).find(|field| !field.is_nullable())
            && !self.rows.is_empty()
        {
            return refused(format!("column {:?} is new and may not be empty, but there are rows", field.name()));
        }
        Ok(new.schema().fields().iter().map(|field| old.schema().index(field.name())).collect())
    }

    /// What [`evolve`](Self::evolve) would change.
    ///
    /// # Errors
    /// As those of [`evolution`](Self::evolution).
    pub(super) fn lacking(&self, stream: &StreamSpec) -> Result<Altered> {
        let order = self.evolution(stream)?;
        let fields = stream.schema().fields().iter().zip(&order);
        let added = fields.filter(|(_, before)| before.is_none()).map(|(field, _)| field.name().to_owned()).collect();
        Ok(Altered { added, ..Altered::default() })
    }

    pub(super) fn evolve(&mut self, stream: &StreamSpec, order: &ColumnOrder) {
        self.stream = stream.clone();
        self.rows.values_mut().for_each(|row| row.values = reorder(&row.values, order));
    }
}

impl Staged {
    /// Rows that were staged, duplicates too.
    pub(super) fn count(&self) -> u64 {
        self.rows.len() as u64 + self.duplicates
    }

    /// The number of the next staged row without key.
    pub(super) fn next_row(&self) -> Key {
        next_number(self.rows.keys().next_back())
    }

    pub(super) fn evolve(&mut self, order: &ColumnOrder) {
        self.rows.values_mut().for_each(|row| row.values = reorder(&row.values, order));
    }
}

fn next_number(last: Option<&Key>) -> Key {
    let last = last.and_then(|key| key.values().first()).and_then(|value| value.as_ref().as_i64());
    Key::new([last.map_or(0, |last| last.cast_unsigned() + 1)])
}

fn reorder(values: &[Value], order: &ColumnOrder) -> Vec<Value> {
    order.iter().map(|from| from.map_or(Value::Null, |index| values[index].clone())).collect()
}
