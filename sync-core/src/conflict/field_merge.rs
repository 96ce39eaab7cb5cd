//! Field merge: edits of different fields both stay.

use std::sync::Arc;

use super::order::{by_version, higher};
use super::{Conflict, ConflictPolicy, LastWriteWins, MISSHAPEN, Resolution};
use crate::model::{Op, StreamSpec, ValueRef};
use crate::{Error, Result};

/// Takes each field from the side that changed it. A field that both sides changed is contested: it comes from the row with
/// the higher version; of equal versions the higher value stays; or another policy decides.
///
/// With a base (a three-way merge), a side has changed a field when it differs from the base. Without one, nothing shows
/// that the existing side did *not* change a field, so every field that differs was changed by both, except:
/// * fields that [`Change::fields`](crate::model::Change::fields) does not name were not changed by the incoming side;
/// * a null in a column of [`FieldMerge::fill`] counts as "not known" and empties nothing, as long as neither a base nor
///   changed fields say that it was meant.
///
/// The key is never merged. The version is the higher of the two.
///
/// *Laws.* Deterministic and idempotent; the same edit coming twice changes nothing the second time. A field changed on one
/// side only is never lost. Neither side is favoured: exchanging the two gives the same row. It is
/// [`Claim::Coordinated`](super::Claim::Coordinated) all the same: with three edits of one base, which version a merged
/// field came from is no longer known. [`FieldLastWriteWins`](super::FieldLastWriteWins) needs no referee.
///
/// *Delete against edit.* A delete of a row that nobody changed since the base is taken. Against any other row
/// [`LastWriteWins`] decides, or the policy for contested fields.
#[derive(Debug, Clone, Default)]
pub struct FieldMerge {
    contested: Option<Arc<dyn ConflictPolicy>>,
    fill: Vec<String>,
}

impl FieldMerge {
    /// Contested fields go to the higher version, then to the higher value.
    pub fn new() -> Self {
        Self::default()
    }

    /// This policy is asked for the contested fields and for deletes against edits. It sees both rows whole; its laws become those of
    /// the merge.
    #[must_use]
    pub fn contested(mut self, policy: impl ConflictPolicy + 'static) -> Self {
        self.contested = Some(Arc::new(policy));
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
        self.contested.as_deref().unwrap_or(&LastWriteWins).resolve(conflict)
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

    /// What becomes of the contested columns.
    fn settle(&self, conflict: &Conflict<'_>, contested: &[usize]) -> Result<Contested, String> {
        let incoming = conflict.incoming.row();
        let Some(policy) = self.contested.as_deref().filter(|_| !contested.is_empty()) else {
            let versions = by_version(conflict.stream, incoming, conflict.existing);
            let higher =
                |column| versions.then_with(|| incoming.at(column).total_cmp(conflict.existing.at(column))).is_gt();
            return Ok(Contested::Incoming(contested.iter().copied().filter(|&column| higher(column)).collect()));
        };
        match policy.resolve(conflict) {
            Resolution::KeepExisting => Ok(Contested::Incoming(Vec::new())),
            Resolution::TakeIncoming => Ok(Contested::Incoming(contested.to_vec())),
            Resolution::Merge(row) if row.len() == incoming.values().len() => Ok(Contested::Merged(row)),
            Resolution::Merge(_) => Err(MISSHAPEN.to_owned()),
            Resolution::Park(reason) => Err(reason),
        }
    }
}

enum ChangedBy {
    Existing,
    Incoming,
    Both,
}

/// Where contested columns come from.
enum Contested {
    /// These from the incoming row, the others from the existing one.
    Incoming(Vec<usize>),
    /// All from this row.
    Merged(Vec<crate::model::Value>),
}

impl ConflictPolicy for FieldMerge {
    fn resolve(&self, conflict: &Conflict<'_>) -> Resolution {
        if conflict.incoming.op() == Op::Delete {
            return self.delete(conflict);
        }
        let incoming = conflict.incoming.row();
        let keys = conflict.stream.key_indices();
        let version = conflict.stream.version_index();
        let mut merged: Vec<ValueRef<'_>> = conflict.existing.values().collect();
        let mut contested = Vec::new();
        for (column, cell) in merged.iter_mut().enumerate() {
            if keys.contains(&column) || *cell == incoming.at(column) {
                continue;
            }
            if version == Some(column) {
                *cell = higher(*cell, incoming.at(column));
                continue;
            }
            match self.changed_by(conflict, column) {
                ChangedBy::Existing => {}
                ChangedBy::Incoming => *cell = incoming.at(column),
                ChangedBy::Both => contested.push(column),
            }
        }
        let settled = match self.settle(conflict, &contested) {
            Ok(settled) => settled,
            Err(reason) => return Resolution::Park(reason),
        };
        match &settled {
            Contested::Incoming(columns) => columns.iter().for_each(|&column| merged[column] = incoming.at(column)),
            Contested::Merged(row) => contested.iter().for_each(|&column| merged[column] = row[column].as_ref()),
        }
        conflict.merged(&merged)
    }

    fn needs_version(&self) -> bool {
        self.contested.as_ref().is_none_or(|policy| policy.needs_version())
    }

    /// `Config`, naming a column to fill that is not declared.
    fn check(&self, stream: &StreamSpec) -> Result<()> {
        if let Some(unknown) = self.fill.iter().find(|name| stream.schema().index(name).is_none()) {
            let fault = format!("field merge: column {unknown:?} is not declared");
            return Err(Error::config(fault).with("stream", stream.name()));
        }
        self.contested.as_ref().map_or(Ok(()), |policy| policy.check(stream))
    }
}
