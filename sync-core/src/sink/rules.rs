//! What becomes of a row, decided before anything is written: one reading of it for every sink.

use super::{Expect, Guard, Publish, Write, WriteMode};
use crate::detect::Difference;
use crate::model::{Change, Op, Outcome, Row, StreamSpec};
use crate::{Error, ErrorKind, Result};

/// What a write or a publish asks of every row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// What an existing row means.
    pub mode: WriteMode,
    /// When an incoming row may replace an existing one.
    pub guard: Guard,
    /// When an incoming row counts as different from an existing one.
    pub difference: Difference,
}

impl Rules {
    /// What becomes of a change, given the row that is stored under its key. Only `Created`, `Updated` and `Deleted` write.
    ///
    /// A row that is appended has no key: for it, nothing is stored.
    pub fn outcome(self, stream: &StreamSpec, existing: Option<Row<'_>>, change: Change<'_>) -> Outcome {
        match (existing, change.op()) {
            (None, Op::Delete) => Outcome::Unchanged,
            (None, Op::Upsert) => Outcome::Created,
            (Some(_), _) if self.mode == WriteMode::InsertOnly => Outcome::Existing,
            (Some(row), Op::Upsert) if !self.differs(stream, row, change) => Outcome::Unchanged,
            (Some(_), _) if self.guard == Guard::Never => Outcome::Existing,
            (Some(row), _) if !self.guard.admits(stream, row, change) => Outcome::Stale,
            (Some(_), Op::Delete) => Outcome::Deleted,
            (Some(_), Op::Upsert) => Outcome::Updated,
        }
    }

    /// Columns that the change does not name are not compared: they are not written either.
    fn differs(self, stream: &StreamSpec, existing: Row<'_>, change: Change<'_>) -> bool {
        let Some(fields) = change.fields() else { return self.difference.between(stream, existing, change.row()) };
        let version = stream.version_of(change.row());
        if self.difference == Difference::Version && version.is_some() {
            return stream.version_of(existing) != version;
        }
        (0..stream.schema().width())
            .any(|column| fields.contains(column) && existing.at(column) != change.row().at(column))
    }
}

impl Write {
    /// What it asks of every row.
    pub fn rules(&self) -> Rules {
        Rules { mode: self.mode, guard: self.guard, difference: self.difference }
    }

    /// What becomes of the change at this position, given the row that is stored under its key.
    ///
    /// # Errors
    /// `Data` when no table of the stream could hold the change: a column that must not be empty is. A change that names its
    /// columns need not name all of these, unless its row is new. `Conflict` when
    /// something else is stored than [`Write::expect`] says. The caller adds [`Error::at_row`].
    pub fn outcome(&self, position: usize, existing: Option<Row<'_>>) -> Result<Outcome> {
        let (stream, change) = (&self.stream, self.changes.at(position));
        acceptable(stream, change, self.mode, existing.is_none())?;
        let expected = match (self.expect.get(position), existing) {
            (None, _) | (Some(Expect::Absent), None) => true,
            (Some(Expect::Row(values)), Some(row)) => values.iter().map(crate::Value::as_ref).eq(row.values()),
            _ => false,
        };
        if !expected {
            return Err(Error::new(ErrorKind::Conflict, "somebody else changed the row meanwhile")
                .with("stream", stream.name()));
        }
        Ok(self.rules().outcome(stream, existing, change))
    }
}

impl Publish {
    /// What it asks of every row.
    pub fn rules(&self) -> Rules {
        Rules { mode: self.mode, guard: self.guard, difference: self.difference }
    }
}

/// Refuses a change that no table of this stream could hold.
fn acceptable(stream: &StreamSpec, change: Change<'_>, mode: WriteMode, is_new: bool) -> Result<()> {
    if mode == WriteMode::Append && change.op() == Op::Delete {
        return Err(Error::data("a delete cannot be appended").with("stream", stream.name()));
    }
    let is_key =
        |column: &usize| stream.key_columns().iter().any(|key| key == stream.schema().fields()[*column].name());
    let written = |column: &usize| is_new || change.fields().is_none_or(|fields| fields.contains(*column));
    let required = |column: &usize| match change.op() {
        Op::Upsert => !stream.schema().fields()[*column].is_nullable() && (written(column) || is_key(column)),
        Op::Delete => is_key(column),
    };
    match (0..stream.schema().width()).filter(required).find(|&column| change.row().at(column).is_null()) {
        None => Ok(()),
        Some(column) => {
            let name = stream.schema().fields()[column].name();
            Err(Error::data(format!("column {name:?} must not be empty")).with("stream", stream.name()))
        }
    }
}
