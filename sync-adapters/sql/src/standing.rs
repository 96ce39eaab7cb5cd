//! The rows that stand under some keys, for databases that look rows up before they write.

use std::sync::Arc;

use sync_core::model::{Row, Rows, StreamSpec};
use sync_core::{Result, ValueRef};

/// The rows that stand under some keys, and what the table says of each beside its values.
pub(crate) struct Standing<N> {
    rows: Rows,
    notes: Vec<N>,
    /// The row under each key, in the order in which they were asked for.
    under: Vec<Option<usize>>,
}

impl<N> Standing<N> {
    pub(crate) fn new(stream: &StreamSpec, keys: usize) -> Self {
        Self { rows: Rows::new(Arc::clone(stream.schema())), notes: Vec::new(), under: vec![None; keys] }
    }

    /// The row under a key.
    pub(crate) fn at(&self, place: usize) -> Option<(Row<'_>, &N)> {
        let row = (*self.under.get(place)?)?;
        Some((self.rows.row(row), &self.notes[row]))
    }

    /// Adds a row with what each column holds, and says which one it is.
    pub(crate) fn add<'v>(
        &mut self,
        note: N,
        value: impl Fn(usize) -> Result<ValueRef<'v>>,
    ) -> Result<(usize, Row<'_>)> {
        let (row, width) = (self.rows.len(), self.rows.schema().width());
        let mut writer = self.rows.begin();
        for column in 0..width {
            writer.set(column, value(column)?)?;
        }
        writer.finish();
        self.notes.push(note);
        Ok((row, self.rows.row(row)))
    }

    /// Says that a row stands under a key.
    pub(crate) fn put(&mut self, place: usize, row: usize) {
        self.under[place] = Some(row);
    }
}
