//! The path for policies and detectors that a sink cannot evaluate: read back, decide, compare-and-set.

use std::collections::HashSet;

use super::poison::{body_of, letter, rows_of};
use super::scope_run::ScopeRun;
use super::waiting::watched;
use crate::conflict::{Conflict, Resolution};
use crate::detect::{Difference, Verdict};
use crate::error::RowAt;
use crate::model::{Absent, Change, Changes, Key, Mark, Op, Outcome, Row, Rows, StreamSpec, Tally, Value};
use crate::sink::{Expect, Guard, Step, Write, WriteMode};
use crate::state::{DeadLetter, LetterKind};
use crate::{Error, ErrorKind, Result};

/// Steps in which every row is decided.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// `None` when the sink decides by itself, and the steps are written as they are.
    pub(super) steps: Option<Vec<Step>>,
    /// For each step, where its rows stood before some of them were decided; empty where all still stand there.
    places: Vec<Vec<usize>>,
    /// What became of rows that need no write.
    pub(super) decided: Tally,
    pub(super) parked: Vec<DeadLetter>,
}

impl Resolved {
    /// The error, blaming the row where it stood before.
    pub(super) fn place(&self, error: Error) -> Error {
        error.placed(&|at| match self.places.get(at.step).and_then(|places| places.get(at.row)) {
            Some(&row) => RowAt { row, ..at },
            None => at,
        })
    }
}

/// What is decided about one row.
enum Decision {
    Write(Vec<Value>, Op, Expect),
    Leave(Outcome),
    Park(String),
}

impl ScopeRun<'_> {
    fn must_resolve(&self, stream: &StreamSpec, mode: WriteMode) -> bool {
        mode == WriteMode::Upsert && (self.pipeline.guard(stream).is_none() || self.pipeline.difference().is_none())
    }

    /// Cuts the steps where a key comes a second time: what is stored must be read again in between.
    pub(super) fn split_for_resolution(&self, steps: Vec<Step>) -> Vec<Vec<Step>> {
        let mut parts = vec![Vec::new()];
        let mut seen: HashSet<(String, Key)> = HashSet::new();
        for step in steps {
            if let Step::Write(write) = &step
                && self.must_resolve(&write.stream, write.mode)
            {
                let columns = write.stream.key_indices();
                let keys: Vec<_> =
                    write.changes.iter().map(|change| (write.stream.name().to_owned(), change.key(&columns))).collect();
                if keys.iter().any(|key| seen.contains(key)) {
                    parts.push(Vec::new());
                    seen.clear();
                }
                seen.extend(keys);
            }
            if let Some(part) = parts.last_mut() {
                part.push(step);
            }
        }
        parts
    }

    /// Decides every row that the sink cannot decide by itself.
    pub(super) async fn resolve(&self, steps: &[Step]) -> Result<Resolved> {
        let undecided =
            |step: &Step| matches!(step, Step::Write(write) if self.must_resolve(&write.stream, write.mode));
        if !steps.iter().any(undecided) {
            return Ok(Resolved::default());
        }
        let mut resolved = Resolved::default();
        let mut decided_steps = Vec::with_capacity(steps.len());
        for (index, step) in steps.iter().enumerate() {
            match step {
                Step::Write(write) if undecided(step) => {
                    let decided = self.resolve_write(write, &mut resolved).await;
                    // Who looks rows up by their keys knows nothing of steps.
                    let here = |error: Error| error.placed(&|at| RowAt { step: index, ..at });
                    decided_steps.push(Step::Write(decided.map_err(here)?));
                }
                other => {
                    decided_steps.push(other.clone());
                    resolved.places.push(Vec::new());
                }
            }
        }
        resolved.steps = Some(decided_steps);
        Ok(resolved)
    }

    async fn resolve_write(&self, write: &Write, resolved: &mut Resolved) -> Result<Write> {
        let stream = &write.stream;
        let columns = stream.key_indices();
        let keys: Vec<Key> = write.changes.iter().map(|change| change.key(&columns)).collect();
        let looking = self.pipeline.sink.stored(stream, &keys);
        let stored = match watched(self.inner, self.at_sink("write"), looking).await {
            Err(error) if self.options.dry_run && error.kind() == ErrorKind::Schema => {
                if self.pipeline.sink.exists(stream).await? {
                    return Err(error.with_remedy("a policy looks at the rows that are stored, and the table lacks a column: run in earnest, which adds it and says so, or add it by hand"));
                }
                // A rehearsal may come before there is a table.
                vec![None; keys.len()]
            }
            stored => stored?,
        };
        if stored.len() != keys.len() {
            return Err(Error::internal(format!("asked for {} stored rows, got {}", keys.len(), stored.len()))
                .with("sink", self.pipeline.sink.name()));
        }
        let mut rows = Vec::new();
        let mut marks = Vec::new();
        let mut expect = Vec::new();
        let mut places = Vec::new();
        for (place, ((change, key), stored)) in write.changes.iter().zip(&keys).zip(stored).enumerate() {
            match self.decide(stream, key, &change, stored.map(|row| row.values))? {
                Decision::Write(values, op, expected) => {
                    rows.push(values);
                    places.push(place);
                    marks.push(Mark { op, ..Mark::default() });
                    expect.push(expected);
                }
                Decision::Leave(outcome) => resolved.decided.add(outcome, 1),
                Decision::Park(reason) => {
                    resolved.decided.add(Outcome::Parked, 1);
                    let body = body_of(stream, &change);
                    resolved.parked.push(letter(
                        &self.scope,
                        stream.name(),
                        Some(key.clone()),
                        LetterKind::Parked,
                        reason,
                        body,
                        self.inner.clock.now(),
                    ));
                }
            }
        }
        let changes = Changes::marked(rows_of(stream, &rows)?, marks);
        resolved.places.push(places);
        Ok(Write {
            stream: std::sync::Arc::clone(stream),
            changes,
            mode: WriteMode::Upsert,
            guard: Guard::Always,
            difference: Difference::Content,
            expect,
        })
    }

    fn decide(
        &self,
        stream: &StreamSpec,
        key: &Key,
        change: &Change<'_>,
        stored: Option<Vec<Value>>,
    ) -> Result<Decision> {
        let Some(stored) = stored else {
            return Ok(match change.op() {
                Op::Delete => Decision::Leave(Outcome::Unchanged),
                Op::Upsert => Decision::Write(change.to_values(), Op::Upsert, Expect::Absent),
            });
        };
        let existing_rows = rows_of(stream, std::slice::from_ref(&stored))?;
        let existing = existing_rows.row(0);
        let incoming_rows = self.fill_in(change, existing)?;
        let filled_mark = Mark { op: change.op(), ..change.mark().cloned().unwrap_or_default() };
        let filled = Changes::marked(incoming_rows, vec![filled_mark]);
        let incoming = filled.at(0);
        if let Some(outcome) = self.is_unchanged(stream, existing, &incoming) {
            return Ok(Decision::Leave(outcome));
        }
        let take = || Decision::Write(incoming.to_values(), incoming.op(), Expect::Row(stored.clone()));
        if let Some(guard) =
            self.pipeline.policy.as_ref().map_or_else(|| self.pipeline.guard(stream), |policy| policy.guard())
        {
            return Ok(match guard.admits(stream, existing, incoming) {
                true => take(),
                false if guard == Guard::Never => Decision::Leave(Outcome::Existing),
                false => Decision::Leave(Outcome::Stale),
            });
        }
        let Some(policy) = &self.pipeline.policy else { return Ok(take()) };
        Ok(match policy.resolve(&Conflict::new(stream, key, existing, incoming)) {
            Resolution::TakeIncoming => take(),
            Resolution::KeepExisting => Decision::Leave(Outcome::Existing),
            Resolution::Merge(values) if values == stored => Decision::Leave(Outcome::Unchanged),
            Resolution::Merge(values) => Decision::Write(values, Op::Upsert, Expect::Row(stored)),
            Resolution::Park(reason) => Decision::Park(reason),
        })
    }

    /// A change that names its fields leaves the others as they are stored.
    fn fill_in(&self, change: &Change<'_>, existing: Row<'_>) -> Result<Rows> {
        let mut rows = Rows::new(std::sync::Arc::clone(existing.schema()));
        let fields = change.fields().filter(|_| change.op() == Op::Upsert);
        let value = |column: usize| {
            if fields.is_none_or(|fields| fields.contains(column)) {
                change.row().at(column)
            } else {
                existing.at(column)
            }
        };
        rows.push((0..existing.schema().width()).map(value))?;
        Ok(rows)
    }

    fn is_unchanged(&self, stream: &StreamSpec, existing: Row<'_>, incoming: &Change<'_>) -> Option<Outcome> {
        if let Some(detector) = &self.pipeline.detector {
            let known = detector.fingerprint(stream, &Change::upsert(existing));
            return match detector.detect(stream, incoming, Some(&known)) {
                Verdict::Unchanged if self.repairs() && incoming.row() != existing => None,
                Verdict::Unchanged => Some(Outcome::Unchanged),
                Verdict::Echo => Some(Outcome::Echo),
                _ => None,
            };
        }
        // Only the sink can see whether the row is marked as missing: then it is not unchanged.
        let may_be_marked = matches!(stream.when_absent(), Absent::Mark(_));
        (incoming.op() == Op::Upsert && incoming.row() == existing && !may_be_marked).then_some(Outcome::Unchanged)
    }
}
