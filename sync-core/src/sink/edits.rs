//! What a write comes to, row by row, for sinks that keep each row under its key: a file, a key-value store, an API.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Step, Write, WriteMode, WriteUnit};
use crate::model::{Key, Outcome, Rows, StreamSpec, Value};
use crate::{Error, Result};

/// A row as the target holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRow {
    /// The values in the order of the stream's schema.
    pub values: Vec<Value>,
}

/// What is to be done under one key.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    /// The key. Empty for a row that is appended: it has none.
    pub key: Key,
    /// The whole row that stands there afterwards; `None` when it is gone.
    pub row: Option<StoredRow>,
}

/// What a write comes to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Decided {
    /// One outcome for each change, in order: the [`StepReport::Rows`](super::StepReport::Rows) of the step.
    pub outcomes: Vec<Outcome>,
    /// What is to be done, in the order of the changes. Unchanged rows and those that are left alone are not here.
    pub edits: Vec<Edit>,
}

impl WriteUnit<'_> {
    /// The steps of this unit, for a sink that does not claim [`staging`](super::SinkCapabilities::staging): it is only
    /// ever given writes. A write's place in the list is the number of its step.
    ///
    /// # Errors
    /// `Config` when a step stages, publishes or discards.
    pub fn writes(&self) -> Result<Vec<&Write>> {
        let writes = self.steps.iter().map(|step| match step {
            Step::Write(write) => Ok(write),
            _ => Err(Error::config("the sink was asked to stage rows, and does not claim that it can")),
        });
        writes.collect()
    }
}

impl Write {
    /// The keys of the changes, in order: what to look up for [`Write::decide`].
    pub fn keys(&self) -> Vec<Key> {
        let columns = self.stream.key_indices();
        self.changes.iter().map(|change| change.key(&columns)).collect()
    }

    /// Decides all changes of this write, the `step`th of its unit, given what is stored under their
    /// [keys](Write::keys), in order. Nothing is written yet: the sink carries out the edits, all or none.
    ///
    /// ```
    /// # use std::collections::BTreeMap;
    /// # use sync_core::sink::{Edit, StepReport, StoredRow, WriteReport, WriteUnit};
    /// # use sync_core::{Key, Result};
    /// fn apply(unit: &WriteUnit<'_>, table: &mut BTreeMap<Key, StoredRow>) -> Result<WriteReport> {
    ///     let mut report = WriteReport::default();
    ///     for (step, write) in unit.writes()?.into_iter().enumerate() {
    ///         let stored = write.keys().iter().map(|key| table.get(key).cloned()).collect();
    ///         let decided = write.decide(step, stored)?;
    ///         for Edit { key, row } in decided.edits {
    ///             match row {
    ///                 Some(row) => drop(table.insert(key, row)),
    ///                 None => drop(table.remove(&key)),
    ///             }
    ///         }
    ///         report.steps.push(StepReport::Rows(decided.outcomes));
    ///     }
    ///     Ok(report)
    /// }
    /// ```
    ///
    /// # Errors
    /// Those of [`Write::outcome`], naming the row. `Data` when a stored row does not fit the stream, `Internal` when
    /// there are more or fewer of them than keys.
    pub fn decide(&self, step: usize, stored: Vec<Option<StoredRow>>) -> Result<Decided> {
        if stored.len() != self.changes.len() {
            return Err(Error::internal("a write is decided by one stored row, or none, for each of its keys")
                .with("stream", self.stream.name())
                .with("keys", self.changes.len())
                .with("stored", stored.len()));
        }
        let mut decided = Decided::default();
        for (row, ((change, key), stored)) in self.changes.iter().zip(self.keys()).zip(stored).enumerate() {
            let stored = stored.filter(|_| self.mode != WriteMode::Append);
            let stored = stored.map(|stored| stored.as_rows(&self.stream)).transpose();
            let stored = stored.map_err(|error| error.at_row(step, row))?;
            let existing = stored.as_ref().map(|rows| rows.row(0));
            let outcome = self.outcome(row, existing).map_err(|error| error.at_row(step, row))?;
            let edit = match outcome {
                Outcome::Created | Outcome::Updated => Some(Some(StoredRow { values: change.onto(existing) })),
                Outcome::Deleted => Some(None),
                _ => None,
            };
            decided.outcomes.push(outcome);
            decided.edits.extend(edit.map(|row| Edit { key, row }));
        }
        Ok(decided)
    }
}

impl StoredRow {
    /// The row of these values by the names of their columns, as the stream declares it now: a column that it has
    /// gained since is empty, and one that it no longer has is left out.
    pub fn from_names(stream: &StreamSpec, values: &BTreeMap<String, Value>) -> Self {
        let value = |name: &str| values.get(name).cloned().unwrap_or(Value::Null);
        Self { values: stream.schema().fields().iter().map(|field| value(field.name())).collect() }
    }

    /// The values by the names of their columns: a form that outlives a stream's gaining columns.
    pub fn into_names(self, stream: &StreamSpec) -> BTreeMap<String, Value> {
        let names = stream.schema().fields().iter().map(|field| field.name().to_owned());
        names.zip(self.values).collect()
    }

    fn as_rows(&self, stream: &StreamSpec) -> Result<Rows> {
        let mut rows = Rows::new(Arc::clone(stream.schema()));
        rows.push(self.values.iter().map(Value::as_ref)).map_err(|error| error.with("stream", stream.name()))?;
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Expect, Guard, Intent};
    use super::*;
    use crate::ErrorKind;
    use crate::detect::Difference;
    use crate::model::{Changes, Lane, Mark, Partition, Scope};
    use crate::state::StageName;

    fn pears() -> Arc<StreamSpec> {
        Arc::new(StreamSpec::new("pears").key(["id"]).text("kind").int("price"))
    }

    fn row(id: i64, kind: &str, price: i64) -> StoredRow {
        StoredRow { values: vec![id.into(), kind.into(), price.into()] }
    }

    fn write(rows: &[StoredRow], marks: Vec<Mark>) -> Write {
        let mut page = Rows::new(Arc::clone(pears().schema()));
        rows.iter().for_each(|row| page.push(row.values.iter().map(Value::as_ref)).unwrap());
        Write {
            stream: pears(),
            changes: Changes::marked(page, marks),
            mode: WriteMode::Upsert,
            guard: Guard::Always,
            difference: Difference::default(),
            expect: Vec::new(),
        }
    }

    #[test]
    fn only_what_is_new_different_or_gone_is_to_be_written() {
        let partial = Mark { fields: Some([0, 2].into_iter().collect()), ..Mark::default() };
        let marks = vec![Mark::default(), Mark::default(), partial, Mark::delete(), Mark::delete()];
        let rows = [row(1, "a", 1), row(2, "b", 2), row(3, "ignored", 30), row(4, "d", 4), row(5, "e", 5)];
        let write = write(&rows, marks);
        assert_eq!(write.keys(), [1, 2, 3, 4, 5].map(|id| Key::new([id])));
        let stored = vec![None, Some(row(2, "b", 2)), Some(row(3, "c", 3)), Some(row(4, "d", 4)), None];
        let decided = write.decide(0, stored).unwrap();
        use Outcome::{Created, Deleted, Unchanged, Updated};
        assert_eq!(decided.outcomes, [Created, Unchanged, Updated, Deleted, Unchanged]);
        let edit = |id: i64, row| Edit { key: Key::new([id]), row };
        let kept = Some(row(3, "c", 30));
        assert_eq!(decided.edits, [edit(1, Some(row(1, "a", 1))), edit(3, kept), edit(4, None)]);
    }

    #[test]
    fn what_is_wrong_with_one_row_names_its_step_and_its_place() {
        let mut write = write(&[row(1, "a", 1), row(2, "b", 2)], Vec::new());
        write.expect = vec![Expect::Absent, Expect::Absent];
        let error = write.decide(3, vec![None, Some(row(2, "b", 2))]).unwrap_err();
        let at = error.row().unwrap();
        assert_eq!((error.kind(), at.step, at.row), (ErrorKind::Conflict, 3, 1));
        let short = StoredRow { values: vec![1_i64.into()] };
        assert_eq!(write.decide(0, vec![Some(short), None]).unwrap_err().kind(), ErrorKind::Data);
        assert_eq!(write.decide(0, vec![None]).unwrap_err().kind(), ErrorKind::Internal);
    }

    #[test]
    fn a_row_by_names_takes_the_columns_that_the_stream_has_now() {
        let mut names = row(1, "a", 7).into_names(&pears());
        names.remove("price");
        names.insert("gone".to_owned(), true.into());
        let read = StoredRow::from_names(&pears(), &names);
        assert_eq!(read.values, [1_i64.into(), "a".into(), Value::Null]);
    }

    #[test]
    fn a_unit_that_stages_is_refused() {
        let scope = Scope {
            pipeline: "shop".to_owned(),
            feed: "pears".to_owned(),
            partition: Partition::default(),
            lane: Lane::Live,
        };
        let stage = Step::Discard { stage: StageName::new("s"), stream: pears() };
        let steps = [Step::Write(write(&[row(1, "a", 1)], Vec::new())), stage];
        let unit = |steps| WriteUnit { scope: &scope, steps, advance: None, intent: Intent::Commit };
        assert_eq!(unit(&steps[..1]).writes().unwrap().len(), 1);
        assert_eq!(unit(&steps).writes().unwrap_err().kind(), ErrorKind::Config);
    }
}
