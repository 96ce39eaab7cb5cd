//! What is to be done about each change of a write, for databases that look rows up before they write.

use std::collections::BTreeMap;
use std::sync::Arc;

use sync_core::model::{Changes, Kind, Op, Outcome, Row, StreamSpec};
use sync_core::sink::{Expect, Rules, Write, WriteMode};
use sync_core::{Error, ErrorKind, Result, Retry, Value, ValueRef};

use crate::number::same_decimal;

/// The changes of one stream, and by which rules they are written.
pub(crate) struct Incoming<'w> {
    pub(crate) stream: &'w StreamSpec,
    pub(crate) changes: &'w Changes,
    pub(crate) rules: Rules,
    pub(crate) expect: &'w [Expect],
    /// The step, for errors about a row.
    pub(crate) step: usize,
}

/// Whether rows that are looked at stay as they are until the transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    Free,
    Locked,
}

/// Rows to write, by their positions among the changes.
#[derive(Debug, Default)]
pub(crate) struct Classified {
    pub(crate) inserts: Vec<usize>,
    /// By the columns that differ and whether a mark goes: one statement for each.
    pub(crate) updates: BTreeMap<(Vec<usize>, bool), Vec<usize>>,
    pub(crate) deletes: Vec<usize>,
}

impl<'w> Incoming<'w> {
    pub(crate) fn of(write: &'w Write, step: usize) -> Self {
        let Write { stream, changes, expect, .. } = write;
        Self { stream, changes, rules: write.rules(), expect, step }
    }
    /// The errors of the changes that no table could hold, each naming its row: nothing need be asked for that.
    pub(crate) fn unfit(&self) -> impl Iterator<Item = Error> + use<'_> {
        let write = self.write(self.changes.clone());
        (0..self.changes.len()).filter_map(move |row| {
            let change = write.changes.at(row);
            // A row that is there has what the change does not name.
            let standing = change.fields().filter(|_| write.mode != WriteMode::Append).map(|_| change.row());
            write.outcome(row, standing).err().map(|error| error.at_row(self.step, row))
        })
    }

    /// The error of a change that does not name all that a new row must have.
    fn unfit_as_new(&self, row: usize) -> Option<Error> {
        self.changes.at(row).fields()?;
        let write = self.write(self.changes.select([row]));
        write.outcome(0, None).err().map(|error| error.at_row(self.step, row))
    }

    fn write(&self, changes: Changes) -> Write {
        Write {
            stream: Arc::new(self.stream.clone()),
            changes,
            mode: self.rules.mode,
            guard: self.rules.guard,
            difference: self.rules.difference,
            expect: Vec::new(),
        }
    }

    /// Decides these changes, given the row that stands under the key of each and whether it is marked as missing, and
    /// notes what becomes of them.
    ///
    /// # Errors
    /// `Conflict` when something else stands there than is expected.
    pub(crate) fn classify<'r>(
        &self,
        open: impl IntoIterator<Item = (usize, Option<(Row<'r>, bool)>)>,
        outcomes: &mut [Option<Outcome>],
    ) -> Result<Classified> {
        let mut classified = Classified::default();
        for (row, standing) in open {
            let change = self.changes.at(row);
            let (existing, marked) = standing.map_or((None, false), |(existing, marked)| (Some(existing), marked));
            self.check(row, existing)?;
            let mut outcome = match self.rules.outcome(self.stream, existing, change) {
                Outcome::Unchanged if marked && change.op() == Op::Upsert => Outcome::Updated,
                outcome => outcome,
            };
            match (outcome, existing) {
                (Outcome::Created, _) => match self.unfit_as_new(row) {
                    None => classified.inserts.push(row),
                    Some(error) => return Err(error),
                },
                (Outcome::Deleted, Some(_)) => classified.deletes.push(row),
                (Outcome::Updated, Some(stored)) => {
                    let differs = |column: &usize| {
                        change.fields().is_none_or(|fields| fields.contains(*column))
                            && !self.same(*column, stored.at(*column), change.row().at(*column))
                    };
                    let columns: Vec<usize> = (0..self.stream.schema().width()).filter(differs).collect();
                    if columns.is_empty() && !marked {
                        outcome = Outcome::Unchanged;
                    } else {
                        classified.updates.entry((columns, marked)).or_default().push(row);
                    }
                }
                _ => {}
            }
            outcomes[row] = Some(outcome);
        }
        Ok(classified)
    }

    /// A long decimal may be written in two ways.
    fn same(&self, column: usize, stored: ValueRef<'_>, incoming: ValueRef<'_>) -> bool {
        stored == incoming
            || match self.stream.schema().fields()[column].kind() {
                Kind::Decimal { scale, .. } => same_decimal(stored, incoming, scale),
                _ => false,
            }
    }

    fn check(&self, row: usize, existing: Option<Row<'_>>) -> Result<()> {
        let as_expected = match (self.expect.get(row), existing) {
            (None, _) | (Some(Expect::Absent), None) => true,
            (Some(Expect::Row(expected)), Some(stored)) => expected.iter().map(Value::as_ref).eq(stored.values()),
            _ => false,
        };
        if as_expected { Ok(()) } else { Err(changed_meanwhile(self.stream)) }
    }
}

/// The error that makes the engine try the whole unit again.
pub(crate) fn changed_meanwhile(stream: &StreamSpec) -> Error {
    Error::new(ErrorKind::Conflict, "somebody else changed a row meanwhile")
        .with_retry(Retry::Backoff)
        .with("table", stream.name())
}
