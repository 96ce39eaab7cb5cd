//! Field merge: edits of different fields both stay.

use std::sync::Arc;

use super::order::higher_version;
use super::{Conflict, ConflictPolicy, LastWriteWins, MISSHAPEN, Resolution};
use crate::model::{Op, ValueRef};

/// Takes each field from the side that changed it. Fields that both sides changed go to another policy.
///
/// With a base (a three-way merge), a side has changed a field when it differs from the base. Without one, nothing shows
/// that the existing side did *not* change a field, so every field that differs was changed by both, except:
/// * fields that [`Change::fields`](crate::model::Change::fields) does not name were not changed by the incoming side;
/// * a null in a column of [`FieldMerge::fill`] counts as "not known" and empties nothing, as long as neither a base nor
///   changed fields say that it was meant.
///
/// The key is never merged. The version is the higher of the two.
///
/// *Laws.* Deterministic and idempotent. A field changed on one side only is never lost. With the default for contested
/// fields, neither side is favoured: exchanging the two gives the same row. It is
/// [`Claim::Coordinated`](super::Claim::Coordinated) all the same: with three edits of one base, which one a
/// merged field came from is no longer known. [`FieldLastWriteWins`](super::FieldLastWriteWins) needs no referee.
///
/// *Delete against edit.* A delete of a row that nobody changed since the base is taken. Any other goes whole to the
/// policy for contested fields.
#[derive(Debug, Clone)]
pub struct FieldMerge {
    contested: Arc<dyn ConflictPolicy>,
    fill: Vec<String>,
}

impl Default for FieldMerge {
    fn default() -> Self {
        Self::new()
    }
}

impl FieldMerge {
    /// Fields that both sides changed go to the last write.
    pub fn new() -> Self {
        Self { contested: Arc::new(LastWriteWins), fill: Vec::new() }
    }

    /// Fields that both sides changed, and deletes against edits, go to this policy.
    #[must_use]
    pub fn contested(mut self, policy: impl ConflictPolicy + 'static) -> Self {
        self.contested = Arc::new(policy);
        self
    }

    /// Columns in which an incoming null means "not known": it fills, but never empties, unless it was clearly meant.
    #[must_use]
    pub fn fill<I: IntoIterator<Item: Into<String>>>(mut self, columns: I) -> Self {
        self.fill.extend(columns.into_iter().map(Into::into));
        self
    }

    fn delete(&self, conflict: &Conflict<'_>) -> Resolution {
        if conflict.base.is_some_and(|base| base == conflict.existing) {
            return Resolution::TakeIncoming;
        }
        self.contested.resolve(conflict)
    }

    /// Who changed a column in which the two sides differ.
    fn changed_by(&self, conflict: &Conflict<'_>, column: usize) -> ChangedBy {
        let incoming = conflict.incoming.row().at(column);
        let named = conflict.incoming.fields();
        let incoming_changed = named.is_none_or(|fields| fields.contains(column))
            && conflict.base.is_none_or(|base| base.at(column) != incoming);
        if !incoming_changed {
            return ChangedBy::Existing;
        }
        match conflict.base {
            Some(base) if base.at(column) == conflict.existing.at(column) => ChangedBy::Incoming,
            None if named.is_none() && incoming.is_null() && self.fills(conflict, column) => ChangedBy::Existing,
            _ => ChangedBy::Both,
        }
    }

    fn fills(&self, conflict: &Conflict<'_>, column: usize) -> bool {
        let name = conflict.stream.schema().fields()[column].name();
        self.fill.iter().any(|fill| fill == name)
    }
}

enum ChangedBy {
    Existing,
    Incoming,
    Both,
}

impl ConflictPolicy for FieldMerge {
    fn resolve(&self, conflict: &Conflict<'_>) -> Resolution {
        if conflict.incoming.op() == Op::Delete {
            return self.delete(conflict);
        }
        let (existing, incoming) = (conflict.existing, conflict.incoming.row());
        let keys = conflict.stream.key_indices();
        let version = conflict.stream.version_index();
        let mut merged: Vec<ValueRef<'_>> = existing.values().collect();
        let mut both = Vec::new();
        for (column, cell) in merged.iter_mut().enumerate() {
            if keys.contains(&column) || *cell == incoming.at(column) {
                continue;
            }
            if version == Some(column) {
                *cell = higher_version(*cell, incoming.at(column));
                continue;
            }
            match self.changed_by(conflict, column) {
                ChangedBy::Existing => {}
                ChangedBy::Incoming => *cell = incoming.at(column),
                ChangedBy::Both => both.push(column),
            }
        }
        if both.is_empty() {
            return conflict.merged(&merged);
        }
        let third;
        match self.contested.resolve(conflict) {
            Resolution::KeepExisting => {}
            Resolution::TakeIncoming => both.iter().for_each(|&column| merged[column] = incoming.at(column)),
            Resolution::Merge(row) if row.len() != merged.len() => return Resolution::Park(MISSHAPEN.to_owned()),
            Resolution::Merge(row) => {
                third = row;
                both.iter().for_each(|&column| merged[column] = third[column].as_ref());
            }
            Resolution::Park(reason) => return Resolution::Park(reason),
        }
        conflict.merged(&merged)
    }

    fn needs_version(&self) -> bool {
        self.contested.needs_version()
    }
}
