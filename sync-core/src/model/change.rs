//! What happened to rows: a page of them in flat form, or one alone.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{FieldSet, Key, Row, Rows, Value, Version};

/// What a change does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// The row is there, with these values.
    #[default]
    Upsert,
    /// The row is gone. Only its key (and version, where there is one) matters.
    Delete,
}

/// Who made a change first: the name of a replica or a system.
pub type Origin = Arc<str>;

/// What a source may know about a change beyond its row.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Mark {
    /// What the change does.
    pub op: Op,
    /// The version the writer had seen when it made the change.
    pub base: Option<Version>,
    /// The columns that changed; `None` when all may have. The others are not written, except into a new row.
    pub fields: Option<FieldSet>,
    /// Who made the change first.
    pub origin: Option<Origin>,
    /// The transaction the change belongs to: changes of one group are applied together or not at all.
    pub group: Option<u64>,
}

impl Mark {
    /// The mark of a plain delete.
    pub fn delete() -> Self {
        Self { op: Op::Delete, ..Self::default() }
    }
}

/// The changes of one stream, flat. Without marks, every row is a plain upsert.
///
/// Cheap to clone: clones share their rows until one of them is changed, so a unit can be handed to another thread and
/// kept for another try.
#[derive(Debug, Clone, PartialEq)]
pub struct Changes {
    rows: Arc<Rows>,
    /// Empty, or one for each row.
    marks: Arc<Vec<Mark>>,
}

impl Changes {
    /// Every row as a plain upsert.
    pub fn upserts(rows: Rows) -> Self {
        Self { rows: Arc::new(rows), marks: Arc::default() }
    }

    /// Rows with what is known about each. Missing marks are plain upserts.
    pub fn marked(rows: Rows, mut marks: Vec<Mark>) -> Self {
        marks.resize(rows.len(), Mark::default());
        Self { rows: Arc::new(rows), marks: Arc::new(marks) }
    }

    /// The rows.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// How many changes there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Memory in use, bytes.
    pub fn size(&self) -> usize {
        self.rows.size() + self.marks.len() * size_of::<Mark>()
    }

    /// Whether every change is a plain upsert.
    pub fn is_plain(&self) -> bool {
        self.marks.is_empty()
    }

    /// The change at this position.
    ///
    /// # Panics
    /// When there is no such change.
    #[inline]
    pub fn at(&self, index: usize) -> Change<'_> {
        Change { row: self.rows.row(index), mark: self.marks.get(index) }
    }

    /// All changes in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Change<'_>> + DoubleEndedIterator {
        (0..self.len()).map(|index| self.at(index))
    }

    /// Adds a copy of one change of the same schema.
    pub fn push(&mut self, change: Change<'_>) {
        if change.mark.is_some() || !self.marks.is_empty() {
            let marks = Arc::make_mut(&mut self.marks);
            marks.resize(self.rows.len(), Mark::default());
            marks.push(change.mark.cloned().unwrap_or_default());
        }
        Arc::make_mut(&mut self.rows).push_row(change.row);
    }

    /// Adds all changes of another page of the same schema.
    pub fn append(&mut self, other: &Self) {
        if !other.marks.is_empty() || !self.marks.is_empty() {
            let marks = Arc::make_mut(&mut self.marks);
            marks.resize(self.rows.len(), Mark::default());
            marks.extend_from_slice(&other.marks);
            marks.resize(self.rows.len() + other.rows.len(), Mark::default());
        }
        Arc::make_mut(&mut self.rows).append(&other.rows);
    }

    /// The changes at these positions, in this order.
    #[must_use]
    pub fn select(&self, indices: impl IntoIterator<Item = usize>) -> Self {
        let mut kept = Self::upserts(Rows::new(Arc::clone(self.rows.schema())));
        indices.into_iter().for_each(|index| kept.push(self.at(index)));
        kept
    }
}

/// One change, borrowed from its page.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change<'a> {
    row: Row<'a>,
    mark: Option<&'a Mark>,
}

impl<'a> Change<'a> {
    /// A plain upsert of a row.
    pub fn upsert(row: Row<'a>) -> Self {
        Self { row, mark: None }
    }

    /// The row. A delete has only its key columns (and version) filled.
    #[inline]
    pub fn row(&self) -> Row<'a> {
        self.row
    }

    /// What the change does.
    #[inline]
    pub fn op(&self) -> Op {
        self.mark.map_or(Op::Upsert, |mark| mark.op)
    }

    /// The version the writer had seen.
    pub fn base(&self) -> Option<&'a Version> {
        self.mark.and_then(|mark| mark.base.as_ref())
    }

    /// The columns that changed; `None` when all may have.
    #[inline]
    pub fn fields(&self) -> Option<&'a FieldSet> {
        self.mark.and_then(|mark| mark.fields.as_ref())
    }

    /// Who made the change first.
    pub fn origin(&self) -> Option<&'a Origin> {
        self.mark.and_then(|mark| mark.origin.as_ref())
    }

    /// The transaction the change belongs to.
    pub fn group(&self) -> Option<u64> {
        self.mark.and_then(|mark| mark.group)
    }

    /// What is known beyond the row.
    #[inline]
    pub fn mark(&self) -> Option<&'a Mark> {
        self.mark
    }

    /// The key, by the positions of the key columns.
    pub fn key(&self, columns: &[usize]) -> Key {
        Key::of(self.row, columns)
    }

    /// The row that stands after the change: columns it does not name stay as they exist.
    pub fn onto(&self, existing: Option<Row<'_>>) -> Vec<Value> {
        let mut values = self.to_values();
        if let (Some(fields), Some(existing)) = (self.fields(), existing) {
            for (column, value) in values.iter_mut().enumerate().filter(|(column, _)| !fields.contains(*column)) {
                *value = existing.at(column).to_owned();
            }
        }
        values
    }

    /// All values in schema order, owned.
    pub fn to_values(&self) -> Vec<Value> {
        self.row.to_values()
    }
}
