//! Last write wins for each field: every field carries its own version.

use super::order::by_value;
use super::{Claim, Conflict, ConflictPolicy, Resolution};
use crate::model::{Op, Row, StreamSpec, ValueRef};
use crate::{Error, Result};

/// Takes each group of fields from the side on which that group's own version is higher.
///
/// A group is some columns and the column that holds their version. All columns outside a group form one group under the
/// version of the row. The key is never merged.
///
/// *Laws.* In each group the higher (version, values) stays, and that order is total; the row is the groups side by side. So
/// it is commutative, associative and idempotent, needs no base and no referee: [`Claim::Convergent`].
///
/// *Delete against edit.* A delete is always taken, and where targets keep tombstones it ends the key for good: a
/// tombstone has no versions of single fields that a later edit could be compared with. Use it where keys are not used
/// again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldLastWriteWins {
    groups: Vec<Group>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    columns: Vec<String>,
    version: String,
}

impl FieldLastWriteWins {
    /// As yet one group: the whole row under its version.
    pub fn new() -> Self {
        Self::default()
    }

    /// These columns change together and have their version in that column.
    #[must_use]
    pub fn group<I: IntoIterator<Item: Into<String>>>(mut self, columns: I, version: impl Into<String>) -> Self {
        self.groups.push(Group { columns: columns.into_iter().map(Into::into).collect(), version: version.into() });
        self
    }

    /// The columns of each group with their version first; those of the row's own version last.
    fn layout(&self, stream: &StreamSpec) -> Result<Vec<Vec<usize>>, String> {
        let mut free: Vec<Option<usize>> = (0..stream.schema().width()).map(Some).collect();
        stream.key_indices().into_iter().for_each(|key| free[key] = None);
        let row_version = stream.version_index().and_then(|version| free[version].take());
        let mut claim = |name: &String| {
            let column = stream.schema().index(name).ok_or_else(|| format!("column {name:?} is not declared"))?;
            free[column]
                .take()
                .ok_or_else(|| format!("column {name:?} is part of the key, of the row's version or of another group"))
        };
        let mut groups = Vec::with_capacity(self.groups.len() + 1);
        for group in &self.groups {
            let columns = std::iter::once(&group.version).chain(&group.columns);
            groups.push(columns.map(&mut claim).collect::<Result<Vec<_>, _>>()?);
        }
        groups.push(row_version.into_iter().chain(free.into_iter().flatten()).collect());
        Ok(groups)
    }
}

fn cells<'a>(row: Row<'a>, columns: &[usize]) -> impl Iterator<Item = ValueRef<'a>> {
    columns.iter().map(move |&column| row.at(column))
}

impl ConflictPolicy for FieldLastWriteWins {
    fn resolve(&self, conflict: &Conflict<'_>) -> Resolution {
        if conflict.incoming.op() == Op::Delete {
            return Resolution::TakeIncoming;
        }
        let groups = match self.layout(conflict.stream) {
            Ok(groups) => groups,
            Err(fault) => return Resolution::Park(fault),
        };
        let (existing, incoming) = (conflict.existing, conflict.incoming.row());
        let mut merged: Vec<ValueRef<'_>> = existing.values().collect();
        for group in groups {
            if by_value(cells(incoming, &group), cells(existing, &group)).is_gt() {
                group.iter().for_each(|&column| merged[column] = incoming.at(column));
            }
        }
        conflict.merged(&merged)
    }

    fn claim(&self) -> Claim {
        Claim::Convergent
    }

    fn needs_version(&self) -> bool {
        true
    }

    /// `Config`, naming a column that is not declared, is part of the key or of the row's version, or stands in two groups.
    fn check(&self, stream: &StreamSpec) -> Result<()> {
        self.layout(stream)
            .map(drop)
            .map_err(|fault| Error::config(format!("last-write-wins by field: {fault}")).with("stream", stream.name()))
    }
}
