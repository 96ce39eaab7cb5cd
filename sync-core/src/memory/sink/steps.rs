//! The steps of a unit, one after the other, on a draft.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::row_scope::Covered;
use super::draft::Draft;
use super::table::{Held, StagedRow};
use crate::model::{Absent, Change, Changes, Key, Mark, Op, Outcome, Rows, StreamSpec, Tally, Timestamp, Value};
use crate::sink::{Guard, Publish, Rules, SinkCapabilities, Stage, Step, StepReport, Write, WriteMode, WriteReport};
use crate::state::StageName;
use crate::{Error, Result};

/// Says what a sink with these capabilities cannot do of these steps.
pub(super) fn needs(steps: &[Step], can: SinkCapabilities) -> std::result::Result<(), &'static str> {
    for step in steps {
        match step {
            Step::Write(write) if write.guard != Guard::Always && !can.guards => return Err("evaluates no guards"),
            Step::Write(write) if !write.expect.is_empty() && !can.read_back => {
                return Err("does not compare what it stored");
            }
            Step::Stage(_) | Step::Publish(_) | Step::Discard { .. } if !can.staging => return Err("does not stage"),
            Step::Publish(publish) if publish.guard != Guard::Always && !can.guards => {
                return Err("evaluates no guards");
            }
            _ => {}
        }
    }
    Ok(())
}

#[derive(Debug)]
pub(super) struct Steps<'a, 'd> {
    pub(super) draft: &'a mut Draft<'d>,
    pub(super) now: Timestamp,
    pub(super) rehearsing: bool,
}

impl Steps<'_, '_> {
    pub(super) fn run(&mut self, steps: &[Step]) -> Result<WriteReport> {
        let mut report = WriteReport::default();
        for (index, step) in steps.iter().enumerate() {
            report.steps.push(match step {
                Step::Write(write) => self.write(index, write)?,
                Step::Stage(stage) => self.stage(index, stage)?,
                Step::Publish(publish) => self.publish(index, publish)?,
                Step::Discard { stage, stream } => self.discard(stage, stream),
            });
        }
        Ok(report)
    }

    fn write(&mut self, step: usize, write: &Write) -> Result<StepReport> {
        let Write { stream, changes, mode, expect, .. } = write;
        self.check_shape(stream, changes.rows().schema())?;
        if !expect.is_empty() && expect.len() != changes.len() {
            return Err(Error::internal("a write expects something of some rows only").with("stream", stream.name()));
        }
        let keys = stream.key_indices();
        let mut seen = BTreeSet::new();
        let mut outcomes = Vec::with_capacity(changes.len());
        for (row, change) in changes.iter().enumerate() {
            let key = if *mode == WriteMode::Append {
                self.draft.table(stream, self.rehearsing)?.next_row()
            } else {
                change.key(&keys)
            };
            let held = self.draft.row(stream.name(), &key);
            let marked = held.is_some_and(|held| held.missing_since.is_some());
            let existing = held.map(|held| one_row(stream, &held.values)).transpose()?;
            let existing = existing.as_ref().map(|rows| rows.row(0));
            let outcome = write.outcome(row, existing).map_err(|error| error.at_row(step, row))?;
            if !seen.insert(key.clone()) {
                return Err(Error::internal("a key stands twice in one write").with("stream", stream.name()));
            }
            let outcome = unmarked(outcome, marked);
            self.carry_out(stream, &key, outcome, change.onto(existing));
            outcomes.push(outcome);
        }
        Ok(StepReport::Rows(outcomes))
    }

    fn stage(&mut self, step: usize, stage: &Stage) -> Result<StepReport> {
        let Stage { stage, stream, changes } = stage;
        self.check_shape(stream, changes.rows().schema())?;
        let place = (stage.clone(), stream.name().to_owned());
        let keys = stream.key_indices();
        self.draft.stage(&place);
        for (row, change) in changes.iter().enumerate() {
            let staged = self.draft.stage(&place);
            let key = if keys.is_empty() { staged.next_row() } else { change.key(&keys) };
            let earlier = staged.rows.get(&key);
            if key.values().iter().any(Value::is_null) {
                return Err(empty(stream, "a key column").at_row(step, row));
            }
            let staged = in_turn(stream, earlier, change)?;
            self.draft.set_staged(&place, key, staged);
        }
        Ok(StepReport::Rows(vec![Outcome::Staged; changes.len()]))
    }

    fn publish(&mut self, step: usize, publish: &Publish) -> Result<StepReport> {
        let stream = &publish.stream;
        let covered = Covered::new(stream, &publish.rows)?;
        let place = (publish.stage.clone(), stream.name().to_owned());
        if !self.draft.has_stage(&place) {
            return Ok(StepReport::Published { staged: Tally::new(), absent: Tally::new() });
        }
        let present: Vec<Key> = self.draft.table(stream, self.rehearsing)?.present(&covered).cloned().collect();
        let mut staged = Tally::new();
        staged.add(Outcome::Duplicate, self.draft.duplicates(&place));
        let mut named: BTreeSet<Key> = publish.spared.iter().cloned().collect();
        let rules = publish.rules();
        for (key, row) in self.draft.take_stage(&place) {
            named.insert(key.clone());
            if publish.skip.contains(&key) {
                continue;
            }
            let outcome = if publish.keys_only {
                match self.draft.row(stream.name(), &key).cloned() {
                    None => Outcome::Missing,
                    Some(row) if row.missing_since.is_none() => Outcome::Unchanged,
                    // It is named again: the mark goes.
                    Some(mut row) => {
                        row.missing_since = None;
                        if let Absent::Mark(column) = &publish.absent
                            && let Some(index) = stream.schema().index(column)
                        {
                            row.values[index] = Value::Null;
                        }
                        self.draft.set(stream.name(), &key, Some(row));
                        Outcome::Updated
                    }
                }
            } else {
                self.publish_row(step, stream, rules, key, row)?
            };
            staged.add(outcome, 1);
        }
        let absent = present.iter().filter(|key| !named.contains(key)).collect::<Vec<_>>();
        Ok(StepReport::Published { staged, absent: self.absent(publish, &absent, present.len() as u64) })
    }

    fn publish_row(
        &mut self,
        step: usize,
        stream: &StreamSpec,
        rules: Rules,
        key: Key,
        row: StagedRow,
    ) -> Result<Outcome> {
        let empty_column = |(field, value): (&crate::model::Field, &Value)| !field.is_nullable() && value.is_null();
        if row.op == Op::Upsert && stream.schema().fields().iter().zip(&row.values).any(empty_column) {
            return Err(empty(stream, "a required column").with_staged_row(step, row.values));
        }
        let key =
            if rules.mode == WriteMode::Append { self.draft.table(stream, self.rehearsing)?.next_row() } else { key };
        let held = self.draft.row(stream.name(), &key);
        let marked = held.is_some_and(|held| held.missing_since.is_some());
        let existing = held.map(|held| one_row(stream, &held.values)).transpose()?;
        let mark = Mark { op: row.op, fields: row.fields, ..Mark::default() };
        let staged = Changes::marked(one_row(stream, &row.values)?, vec![mark]);
        let outcome = rules.outcome(stream, existing.as_ref().map(|rows| rows.row(0)), staged.at(0));
        let outcome = unmarked(outcome, marked);
        let values = staged.at(0).onto(existing.as_ref().map(|rows| rows.row(0)));
        self.carry_out(stream, &key, outcome, values);
        Ok(outcome)
    }

    /// Deals with rows of the scope that the stage did not name.
    fn absent(&mut self, publish: &Publish, absent: &[&Key], present: u64) -> Tally {
        let mut tally = Tally::new();
        if publish.absent == Absent::Keep {
            return tally;
        }
        if !publish.most.allows(absent.len() as u64, present) {
            tally.add(Outcome::Withheld, absent.len() as u64);
            return tally;
        }
        for key in absent {
            let marked = match &publish.absent {
                Absent::Mark(column) => self.marked(&publish.stream, key, column),
                _ => None,
            };
            self.draft.set(publish.stream.name(), key, marked);
            tally.add(Outcome::Deleted, 1);
        }
        tally
    }

    fn marked(&self, stream: &StreamSpec, key: &Key, column: &str) -> Option<Held> {
        let mut row = self.draft.row(stream.name(), key)?.clone();
        row.missing_since = Some(self.now);
        if let Some(index) = stream.schema().index(column) {
            row.values[index] = Value::Timestamp(self.now);
        }
        Some(row)
    }

    fn discard(&mut self, stage: &StageName, stream: &StreamSpec) -> StepReport {
        let place = (stage.clone(), stream.name().to_owned());
        let duplicates = self.draft.duplicates(&place);
        StepReport::Discarded(self.draft.take_stage(&place).len() as u64 + duplicates)
    }

    fn carry_out(&mut self, stream: &StreamSpec, key: &Key, outcome: Outcome, values: Vec<Value>) {
        match outcome {
            Outcome::Created | Outcome::Updated => {
                self.draft.set(stream.name(), key, Some(Held { values, missing_since: None }));
            }
            Outcome::Deleted => self.draft.set(stream.name(), key, None),
            _ => {}
        }
    }

    fn check_shape(&mut self, stream: &StreamSpec, rows: &crate::Schema) -> Result<()> {
        self.draft.table(stream, self.rehearsing)?;
        if rows == stream.schema().as_ref() {
            return Ok(());
        }
        Err(Error::internal("rows of another schema than their stream").with("stream", stream.name()))
    }
}

/// A row that was marked as missing and is named again is written even if it is the same: the mark goes.
fn unmarked(outcome: Outcome, marked: bool) -> Outcome {
    if marked && outcome == Outcome::Unchanged { Outcome::Updated } else { outcome }
}

/// What is staged under a key after one more change of it.
fn in_turn(stream: &StreamSpec, earlier: Option<&StagedRow>, change: Change<'_>) -> Result<StagedRow> {
    let staged = |change: Change<'_>| StagedRow {
        op: change.op(),
        fields: change.fields().cloned(),
        values: change.to_values(),
    };
    let Some(earlier) = earlier else { return Ok(staged(change)) };
    let mark = Mark { op: earlier.op, fields: earlier.fields.clone(), ..Mark::default() };
    let earlier = Changes::marked(one_row(stream, &earlier.values)?, vec![mark]);
    Ok(staged(Guard::NotOlder.in_turn(stream, earlier.at(0), change)?.at(0)))
}

fn one_row(stream: &StreamSpec, values: &[Value]) -> Result<Rows> {
    let mut rows = Rows::new(Arc::clone(stream.schema()));
    rows.push(values.iter().map(Value::as_ref))?;
    Ok(rows)
}

fn empty(stream: &StreamSpec, what: &str) -> Error {
    Error::data(format!("{what} may not be empty")).with("stream", stream.name())
}
