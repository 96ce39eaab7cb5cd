//! Finds the rows a sink does not accept, so that the others are written and these go to the dead letters (P15).

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use super::breaker::Strain;
use super::flags::Flags;
use super::scope_run::ScopeRun;
use super::waiting::with_retries;
use crate::event::Event;
use crate::model::{Change, Changes, Key, Op, Outcome, Reject, Rows, Scope, StreamSpec, Tally, Value};
use crate::sink::{Intent, Step, WriteUnit};
use crate::state::{DeadLetter, LetterBody, LetterId, LetterKind};
use crate::{Error, ErrorKind, Result};

/// What looking for refused rows came to.
pub(super) enum Isolated {
    /// What became of the rows that are out of the steps now.
    Out(Tally),
    /// Nothing is refused any more, and nobody is to blame: somebody else was in the way, as this error said.
    Nothing(Error),
}

impl ScopeRun<'_> {
    /// Takes the rows out of the steps that the sink does not accept, and buries them; `error` names or hides the first.
    pub(super) async fn isolate(&mut self, steps: &mut Vec<Step>, error: Error, flags: &mut Flags) -> Result<Isolated> {
        let rehearses = self.pipeline.sink.capabilities().rehearsal;
        let mut letters = Vec::new();
        let mut error = error;
        // So many rows from the first on are known to be accepted.
        let mut good = 0;
        if error.row().is_none() && rehearses {
            // A rehearsal may take the time to name what a commit does not.
            match self.try_out(steps).await {
                Ok(()) => return Ok(Isolated::Nothing(error)),
                Err(next) if next.kind() == ErrorKind::Data && next.row().is_some() => error = next,
                Err(other) if other.kind() != ErrorKind::Data => return Err(other),
                _ => {}
            }
        }
        if error.row().is_none() && row_count(steps) == 0 {
            // A publish holds no rows that could be left out.
            return Err(error.with("scope", &self.scope));
        }
        loop {
            self.inner.tell(&Event::Isolating {
                run: self.run.clone(),
                scope: self.scope.clone(),
                rows: row_count(steps) as u64,
                found: letters.len() as u64,
            });
            if error.staged_row().is_some() {
                letters.extend(self.skip_all_staged(steps, &error)?);
                break;
            }
            let refused = match error.row() {
                Some(_) => refused(&error),
                None if rehearses => match self.find(steps, good).await? {
                    Some(at) => {
                        good = at;
                        vec![(place_of(steps, good).unwrap_or((0, 0)), &error)]
                    }
                    None if letters.is_empty() => return Ok(Isolated::Nothing(error)),
                    None => break,
                },
                None => return self.write_by_halves(std::mem::take(steps), flags).await.map(Isolated::Out),
            };
            letters.extend(self.take_out(steps, &refused, flags)?);
            if !rehearses {
                break;
            }
            match self.try_out(steps).await {
                Ok(()) => break,
                Err(next) if next.kind() == ErrorKind::Data => error = next,
                Err(other) => return Err(other),
            }
        }
        self.spare(&letters);
        let mut tally = Tally::new();
        tally.add(Outcome::Rejected, letters.len() as u64);
        self.bury(letters).await?;
        Ok(Isolated::Out(tally))
    }

    async fn try_out(&mut self, steps: &[Step]) -> Result<()> {
        let resolved = with_retries(self.inner, self.at_sink("write"), || self.resolve(steps)).await?;
        let steps = resolved.steps.as_deref().unwrap_or(steps);
        let unit = WriteUnit { scope: &self.scope, steps, advance: None, intent: Intent::Rehearse };
        let tried = with_retries(self.inner, self.at_sink("write"), || self.pipeline.sink.apply(&unit)).await;
        tried.map(drop).map_err(|error| resolved.place(error))
    }

    /// The position of the first row that is not accepted, by rehearsing ever shorter beginnings: log₂ n rehearsals. So
    /// many rows as `good` says are known to be accepted. `None` when all of them are, after all.
    async fn find(&mut self, steps: &[Step], mut good: usize) -> Result<Option<usize>> {
        let all = row_count(steps);
        let mut bad = all;
        if bad == 0 {
            return Ok(None);
        }
        if good >= bad {
            // They were accepted, and are not any more.
            good = 0;
        }
        while bad - good > 1 {
            let middle = good.midpoint(bad);
            match self.try_out(&beginning(steps, middle)).await {
                Ok(()) => good = middle,
                Err(error) if error.kind() == ErrorKind::Data => bad = middle,
                Err(other) => return Err(other),
            }
        }
        if bad == all {
            // It is the last row, or it was none: whoever was in the way may have gone.
            match self.try_out(&beginning(steps, all)).await {
                Ok(()) => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Data => {}
                Err(other) => return Err(other),
            }
        }
        Ok(Some(bad - 1))
    }

    /// Whether the breaker lets the rejected rows of a unit go, with those before the last of them and with all: once the
    /// others are durable, it is too late to stop.
    fn judge(&self, flags: &Flags) -> Result<()> {
        let breaker = &self.inner.settings.breaker;
        self.strain.clone().note(breaker, flags.up_to_last_rejected())?;
        self.strain.clone().note(breaker, flags.all())
    }

    /// Where a sink can neither name the row nor rehearse: halves are written for good, which is safe by key.
    async fn write_by_halves(&mut self, steps: Vec<Step>, flags: &mut Flags) -> Result<Tally> {
        if !self.pipeline.sink.capabilities().idempotent {
            return Err(Error::data(
                "a row is not accepted, and this sink cannot tell which without doubling the others",
            )
            .with("sink", self.pipeline.sink.name()));
        }
        let mut tally = Tally::new();
        let mut waiting = vec![(0, row_count(&steps))];
        while let Some((from, until)) = waiting.pop() {
            let part = stretch(&steps, from, until);
            let resolved = with_retries(self.inner, self.at_sink("write"), || self.resolve(&part)).await?;
            self.bury(resolved.parked).await?;
            let part = resolved.steps.unwrap_or(part);
            let unit = WriteUnit { scope: &self.scope, steps: &part, advance: None, intent: Intent::Commit };
            match self.apply(&unit).await {
                Ok(report) => {
                    tally += report.tally();
                    tally += resolved.decided;
                }
                Err(error) if error.kind() == ErrorKind::Data && until - from > 1 => {
                    let middle = from.midpoint(until);
                    waiting.extend([(middle, until), (from, middle)]);
                }
                Err(error) if error.kind() == ErrorKind::Data => {
                    let Some(at) = place_of(&steps, from) else { return Err(error) };
                    let letter = self.letter(&steps, at, flags.place(at), &error)?;
                    flags.reject_in_place(at);
                    self.note_rejected(std::slice::from_ref(&letter));
                    self.judge(flags)?;
                    self.spare(std::slice::from_ref(&letter));
                    self.bury(vec![letter]).await?;
                    tally.add(Outcome::Rejected, 1);
                }
                Err(other) => return Err(other),
            }
        }
        Ok(tally)
    }

    /// Keeps for the report what is wrong with the first rejected row, also where the breaker lets none of them go.
    pub(super) fn note_rejected(&mut self, letters: &[DeadLetter]) {
        if let (None, Some(first)) = (&self.books.first_rejected, letters.first()) {
            let stream = Some(first.stream.clone()).filter(|stream| *stream != self.scope.feed);
            let key = first.key.as_ref().map(|key| format!("key {key}"));
            let place: Vec<String> = stream.into_iter().chain(key).collect();
            let reason = first.reason.clone();
            self.books.first_rejected =
                Some(if place.is_empty() { reason } else { format!("{}: {reason}", place.join(", ")) });
        }
    }

    /// Rows of an open listing that cannot be staged are not gone.
    fn spare(&mut self, letters: &[DeadLetter]) {
        if self.checkpoint.stage.is_some() {
            letters.iter().for_each(|letter| self.spared.add(&letter.stream, letter.key.as_ref()));
        }
    }

    /// Takes rows out of the steps, if the breaker lets them go: it judges before anything is buried, since a changed
    /// schema must not drain into the dead letters.
    fn take_out(
        &mut self,
        steps: &mut [Step],
        refused: &[((usize, usize), &Error)],
        flags: &mut Flags,
    ) -> Result<Vec<DeadLetter>> {
        let mut letters = Vec::with_capacity(refused.len());
        for &(at, error) in refused {
            letters.push(self.letter(steps, at, flags.place(at), error)?);
            flags.reject_in_place(at);
        }
        self.note_rejected(&letters);
        self.judge(flags)?;
        for (index, step) in steps.iter_mut().enumerate() {
            let out: HashSet<usize> =
                refused.iter().filter(|(at, _)| at.0 == index).map(|&((_, row), _)| row).collect();
            if !out.is_empty() {
                flags.forget(index, &out);
                remove(step, &out);
            }
        }
        // A dry run stages and publishes in one unit.
        for (&((at, _), _), letter) in refused.iter().zip(&letters) {
            for step in &mut steps[at..] {
                if let Step::Publish(publish) = step
                    && publish.stream.name() == letter.stream
                {
                    publish.spared.extend(letter.key.clone());
                }
            }
        }
        Ok(letters)
    }

    /// Leaves out the staged rows that a publish has named, if the breaker lets them go.
    fn skip_all_staged(&mut self, steps: &mut [Step], error: &Error) -> Result<Vec<DeadLetter>> {
        let mut letters = Vec::with_capacity(1 + error.others().len());
        let staged = self.carried + self.books.staged;
        for error in std::iter::once(error).chain(error.others()) {
            let Some(values) = error.staged_row() else { continue };
            let letter = self.skip_staged(steps, error, values)?;
            self.spared.add(&letter.stream, letter.key.as_ref());
            letters.push(letter);
            self.note_rejected(&letters);
            self.refused_at_publish += 1;
            Strain::judge_staged(&self.inner.settings.breaker, self.refused_at_publish, staged)?;
        }
        Ok(letters)
    }

    fn skip_staged(&self, steps: &mut [Step], error: &Error, values: &[Value]) -> Result<DeadLetter> {
        let step = error.row().and_then(|at| steps.get_mut(at.step));
        let Some(Step::Publish(publish)) = step else {
            return Err(Error::internal("the sink blames a staged row of a step that publishes nothing")
                .with("sink", self.pipeline.sink.name()));
        };
        let key = Key::new(publish.stream.key_indices().into_iter().map(|column| values[column].clone()));
        publish.skip.push(key.clone());
        let body = LetterBody::Row { op: Op::Upsert, values: named(&publish.stream, values) };
        Ok(self.rejected(&publish.stream, Some(key), body, error))
    }

    fn letter(&self, steps: &[Step], at: (usize, usize), place: usize, error: &Error) -> Result<DeadLetter> {
        let (stream, changes) = match steps.get(at.0) {
            Some(Step::Write(write)) => (&write.stream, &write.changes),
            Some(Step::Stage(stage)) => (&stage.stream, &stage.changes),
            _ => {
                return Err(Error::internal(format!(
                    "the sink blames row {} of step {}, which has none: {error}",
                    at.1, at.0
                )));
            }
        };
        if at.1 >= changes.len() {
            return Err(Error::internal(format!("the sink blames row {} of {}: {error}", at.1, changes.len())));
        }
        let change = changes.at(at.1);
        let key = (!stream.key_columns().is_empty()).then(|| change.key(&stream.key_indices()));
        let keyless = key.is_none();
        let mut letter = self.rejected(stream, key, body_of(stream, &change), error);
        if keyless {
            letter.id = letter.id.nth(&self.scope, self.checkpoint.seq, POISON + place);
        }
        Ok(letter)
    }

    fn rejected(&self, stream: &StreamSpec, key: Option<Key>, body: LetterBody, error: &Error) -> DeadLetter {
        letter(&self.scope, stream.name(), key, LetterKind::Rejected, error.to_string(), body, self.inner.clock.now())
    }
}

/// Positions of rejected rows begin here, beyond those of records that could not be read.
const POISON: usize = 1 << 24;

/// The dead letters of records that could not be read, in the unit after this sequence.
pub(super) fn letters_of_rejects(scope: &Scope, rejects: &[Reject], seq: u64, at: DateTime<Utc>) -> Vec<DeadLetter> {
    let letter = |(position, reject): (usize, &Reject)| {
        let body = LetterBody::Record(reject.body.to_vec());
        let (stream, key) = (reject.stream.name(), reject.key.clone());
        let mut letter = letter(scope, stream, key, LetterKind::Rejected, reject.reason.clone(), body, at);
        if reject.stream.key_columns().is_empty() {
            letter.id = letter.id.nth(scope, seq, position);
        }
        letter
    };
    rejects.iter().enumerate().map(letter).collect()
}

pub(super) fn letter(
    scope: &Scope,
    stream: &str,
    key: Option<Key>,
    kind: LetterKind,
    reason: String,
    body: LetterBody,
    at: DateTime<Utc>,
) -> DeadLetter {
    let id = LetterId::of(scope, stream, key.as_ref(), &body);
    DeadLetter { id, scope: scope.clone(), stream: stream.to_owned(), key, kind, reason, body, at }
}

pub(super) fn body_of(stream: &StreamSpec, change: &Change<'_>) -> LetterBody {
    let mut values = named(stream, &change.to_values());
    if let (Some(fields), Op::Upsert) = (change.fields(), change.op()) {
        // Only what the change was to write, and the key: a replay writes no more than that.
        let mut column = 0..;
        let key = stream.key_indices();
        values.retain(|_| column.next().is_some_and(|column| fields.contains(column) || key.contains(&column)));
    }
    LetterBody::Row { op: change.op(), values }
}

fn named(stream: &StreamSpec, values: &[Value]) -> Vec<(String, Value)> {
    stream.schema().fields().iter().map(|field| field.name().to_owned()).zip(values.iter().cloned()).collect()
}

/// How many rows the steps hold themselves.
pub(super) fn row_count(steps: &[Step]) -> usize {
    steps.iter().map(|step| changes_of(step).map_or(0, Changes::len)).sum()
}

pub(super) fn changes_of(step: &Step) -> Option<&Changes> {
    match step {
        Step::Write(write) => Some(&write.changes),
        Step::Stage(stage) => Some(&stage.changes),
        Step::Publish(_) | Step::Discard { .. } => None,
    }
}

/// The step and row at a position, counted over all steps.
fn place_of(steps: &[Step], position: usize) -> Option<(usize, usize)> {
    let mut before = 0;
    for (index, step) in steps.iter().enumerate() {
        let rows = changes_of(step).map_or(0, Changes::len);
        if position < before + rows {
            return Some((index, position - before));
        }
        before += rows;
    }
    None
}

/// The rows that an error names, each once and in the order of the unit.
fn refused(error: &Error) -> Vec<((usize, usize), &Error)> {
    let named = std::iter::once(error).chain(error.others()).filter(|error| error.staged_row().is_none());
    let mut rows: Vec<_> = named.filter_map(|error| error.row().map(|at| ((at.step, at.row), error))).collect();
    rows.sort_by_key(|&(at, _)| at);
    rows.dedup_by_key(|&mut (at, _)| at);
    rows
}

fn remove(step: &mut Step, out: &HashSet<usize>) {
    let kept = |changes: &Changes| changes.select((0..changes.len()).filter(|row| !out.contains(row)));
    match step {
        Step::Write(write) => {
            write.changes = kept(&write.changes);
            let mut row = 0..;
            write.expect.retain(|_| row.next().is_some_and(|row| !out.contains(&row)));
        }
        Step::Stage(stage) => stage.changes = kept(&stage.changes),
        Step::Publish(_) | Step::Discard { .. } => {}
    }
}

fn beginning(steps: &[Step], rows: usize) -> Vec<Step> {
    stretch(steps, 0, rows)
}

/// The rows from one position until another, in steps of their own.
fn stretch(steps: &[Step], from: usize, until: usize) -> Vec<Step> {
    let mut before = 0;
    let mut part = Vec::new();
    for step in steps {
        let rows = changes_of(step).map_or(0, Changes::len);
        let inside = from.max(before)..until.min(before + rows);
        if !inside.is_empty() {
            let wanted = inside.start - before..inside.end - before;
            let mut step = step.clone();
            match &mut step {
                Step::Write(write) => {
                    write.changes = write.changes.select(wanted.clone());
                    if !write.expect.is_empty() {
                        write.expect = write.expect[wanted].to_vec();
                    }
                }
                Step::Stage(stage) => stage.changes = stage.changes.select(wanted),
                Step::Publish(_) | Step::Discard { .. } => {}
            }
            part.push(step);
        }
        before += rows;
    }
    part
}

/// Rows of one stream from owned values, for places that take rows.
pub(super) fn rows_of(stream: &StreamSpec, values: &[Vec<Value>]) -> Result<Rows> {
    let mut rows = Rows::with_capacity(std::sync::Arc::clone(stream.schema()), values.len(), 0);
    for row in values {
        rows.push(row.iter().map(Value::as_ref))?;
    }
    Ok(rows)
}
