//! A sink that is right but for one bug.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sync_core::detect::Difference;
use sync_core::memory::MemorySink;
use sync_core::model::{Absent, Change, Changes, Mark, Op, Outcome, RowScope, Rows, Tally};
use sync_core::sink::{
    Altered, Guard, Intent, MostDeletes, SinkCapabilities, Stage, Step, StepReport, StoredRow, Write, WriteMode,
    WriteReport, WriteUnit,
};
use sync_core::state::{Advance, Checkpoint, FencingToken};
use sync_core::{Error, Key, Result, Scope, Sink, StreamSpec, Value};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    CountsCreatedAsUpdated,
    WritesUnchangedRows,
    KeepsOldRows,
    WritesAllFields,
    CountsByGuess,
    IgnoresDeletes,
    CountsEveryDelete,
    BuriesDeletedRows,
    UpdatesOnInsertOnly,
    AppendsOnce,
    TrimsText,
    FoldsCase,
    AppliesHalfAUnit,
    PausesHalfWay,
    BlamesTheFirstRow,
    GoesBackwards,
    TakesOneAtATime,
    IgnoresGuards,
    ComparesContentAlways,
    IgnoresExpectations,
    InventsACheckpoint,
    LosesTheCheckpoint,
    CheckpointFirst,
    IgnoresTokens,
    IgnoresSequence,
    LetsClaimOnce,
    KnowsOneScope,
    FencesLanesAlone,
    LookingClaims,
    StagesVisibly,
    GuessesWhatItPublished,
    StagesNoDeletes,
    LastStagedWins,
    KeepsAbsentRows,
    DeletesAbsentRows,
    PublishesForAll,
    DeletesWithoutLimit,
    TakesKeysForRows,
    SkipsNothing,
    TakesNoStageForEmpty,
    StagesNoEmptyPage,
    SparesNothing,
    DiscardsNothing,
    RehearsesInEarnest,
    SeesNoTarget,
    PreparesAnew,
    TellsOfNoChange,
    ForeseesInEarnest,
    SortsWhatItStored,
    CountsEverything,
}

/// A sink that is right but for one bug.
#[derive(Debug)]
pub(super) struct Broken {
    bug: Bug,
    inner: Mutex<MemorySink>,
    busy: AtomicBool,
    deleted: Mutex<BTreeSet<Key>>,
    staged: Mutex<BTreeMap<Key, Vec<Value>>>,
}

impl Broken {
    pub(super) fn by(bug: Bug) -> Self {
        let inner = Mutex::new(MemorySink::new());
        let (deleted, staged) = (Mutex::default(), Mutex::default());
        Self { bug, inner, busy: AtomicBool::new(false), deleted, staged }
    }

    fn inner(&self) -> MemorySink {
        self.inner.lock().unwrap().clone()
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == bug
    }

    fn scope(&self, scope: &Scope) -> Scope {
        if self.has(Bug::FencesLanesAlone) {
            return Scope { feed: scope.to_string(), ..scope.live() };
        }
        let scope = scope.clone();
        if self.has(Bug::KnowsOneScope) {
            Scope { feed: "one".into(), lane: Default::default(), ..scope }
        } else {
            scope
        }
    }

    /// The step as the bug sees it.
    fn bent(&self, step: &Step) -> Step {
        let mut step = step.clone();
        match &mut step {
            Step::Write(write) => self.bend_write(write),
            Step::Stage(stage) if self.has(Bug::WritesAllFields) => stage.changes = whole(&stage.changes),
            Step::Stage(stage) if self.has(Bug::LastStagedWins) => {
                let keys = stage.stream.key_indices();
                let mut staged = self.staged.lock().unwrap();
                staged.extend(stage.changes.iter().map(|change| (change.key(&keys), change.to_values())));
                stage.changes = Changes::upserts(page(&stage.stream, staged.values().cloned().collect()));
            }
            Step::Stage(stage) if self.has(Bug::StagesNoDeletes) => {
                let changes = stage.changes.iter().enumerate();
                let upserts: Vec<usize> =
                    changes.filter(|(_, change)| change.op() == Op::Upsert).map(|(row, _)| row).collect();
                stage.changes = stage.changes.select(upserts);
            }
            Step::Publish(publish) => match self.bug {
                Bug::IgnoresGuards => publish.guard = Guard::Always,
                Bug::KeepsAbsentRows => publish.absent = Absent::Keep,
                Bug::DeletesAbsentRows => publish.absent = Absent::Delete,
                Bug::PublishesForAll => publish.rows = RowScope::All,
                Bug::DeletesWithoutLimit => publish.most = MostDeletes::Any,
                Bug::TakesKeysForRows => publish.keys_only = false,
                Bug::SkipsNothing => publish.skip = Vec::new(),
                Bug::SparesNothing => publish.spared = Vec::new(),
                _ => {}
            },
            _ => {}
        }
        step
    }

    fn bend_write(&self, write: &mut Write) {
        match self.bug {
            Bug::KeepsOldRows => write.mode = WriteMode::InsertOnly,
            Bug::UpdatesOnInsertOnly => write.mode = WriteMode::Upsert,
            Bug::IgnoresGuards => write.guard = Guard::Always,
            Bug::ComparesContentAlways => write.difference = Difference::Content,
            Bug::IgnoresExpectations => write.expect = Vec::new(),
            Bug::WritesAllFields => write.changes = whole(&write.changes),
            Bug::AppendsOnce if write.mode == WriteMode::Append => {
                write.changes = write.changes.select([]);
            }
            Bug::IgnoresDeletes => {
                let upserts = write.changes.iter().enumerate().filter(|(_, change)| change.op() == Op::Upsert);
                let kept: Vec<usize> = upserts.map(|(row, _)| row).collect();
                write.changes = write.changes.select(kept);
            }
            Bug::TrimsText => bend_text(&mut write.changes, str::trim),
            Bug::FoldsCase => bend_text(&mut write.changes, |text| if text == "ABC" { "abc" } else { text }),
            _ => {}
        }
    }

    /// The report as the bug tells it.
    fn told(&self, unit: &WriteUnit<'_>, mut report: WriteReport) -> WriteReport {
        for (told, step) in report.steps.iter_mut().zip(unit.steps) {
            match (told, step) {
                (StepReport::Rows(outcomes), Step::Write(write)) => self.tell_rows(outcomes, write),
                (StepReport::Published { staged, .. }, _) if self.has(Bug::GuessesWhatItPublished) => {
                    let mut guess = Tally::new();
                    guess.add(Outcome::Created, staged.total());
                    *staged = guess;
                }
                _ => {}
            }
        }
        report
    }

    fn tell_rows(&self, outcomes: &mut Vec<Outcome>, write: &Write) {
        let swap = |outcomes: &mut Vec<Outcome>, from, to| {
            outcomes.iter_mut().filter(|outcome| **outcome == from).for_each(|outcome| *outcome = to);
        };
        match self.bug {
            Bug::CountsCreatedAsUpdated => swap(outcomes, Outcome::Created, Outcome::Updated),
            Bug::WritesUnchangedRows => swap(outcomes, Outcome::Unchanged, Outcome::Updated),
            Bug::KeepsOldRows => swap(outcomes, Outcome::Existing, Outcome::Updated),
            Bug::CountsByGuess => outcomes.sort(),
            Bug::IgnoresDeletes => outcomes.resize(write.changes.len(), Outcome::Deleted),
            Bug::AppendsOnce => outcomes.resize(write.changes.len(), Outcome::Unchanged),
            Bug::CountsEveryDelete if write.changes.iter().all(|change| change.op() == Op::Delete) => {
                outcomes.fill(Outcome::Deleted);
            }
            Bug::BuriesDeletedRows => {
                let keys = write.stream.key_indices();
                let mut deleted = self.deleted.lock().unwrap();
                for (outcome, change) in outcomes.iter_mut().zip(write.changes.iter()) {
                    let key = change.key(&keys);
                    if change.op() == Op::Delete {
                        deleted.insert(key);
                    } else if deleted.contains(&key) {
                        *outcome = Outcome::Stale;
                    }
                }
            }
            _ => {}
        }
    }

    async fn one_by_one(&self, unit: &WriteUnit<'_>) -> Result<WriteReport> {
        let mut report = WriteReport::default();
        for (index, step) in unit.steps.iter().enumerate() {
            let last = index + 1 == unit.steps.len();
            let part = WriteUnit { steps: std::slice::from_ref(step), advance: unit.advance.filter(|_| last), ..*unit };
            report.steps.extend(self.inner().apply(&part).await?.steps);
            if self.has(Bug::PausesHalfWay) {
                tokio::task::yield_now().await;
            }
        }
        Ok(report)
    }
}

fn page(stream: &StreamSpec, values: Vec<Vec<Value>>) -> Rows {
    let mut rows = Rows::new(Arc::clone(stream.schema()));
    values.iter().for_each(|row| rows.push(row.iter().map(Value::as_ref)).unwrap());
    rows
}

/// The changes as if they named all fields.
fn whole(changes: &Changes) -> Changes {
    let mark = |change: Change<'_>| {
        let mut mark = change.mark().cloned().unwrap_or_else(Mark::default);
        mark.fields = None;
        mark
    };
    Changes::marked(changes.rows().clone(), changes.iter().map(mark).collect())
}

fn bend_text(changes: &mut Changes, bend: impl Fn(&str) -> &str) {
    let mut rows = Rows::new(Arc::clone(changes.rows().schema()));
    let mut marks = Vec::new();
    for change in changes.iter() {
        let values: Vec<Value> = change
            .to_values()
            .into_iter()
            .map(|value| match value {
                Value::Text(text) => bend(&text).into(),
                other => other,
            })
            .collect();
        rows.push(values.iter().map(Value::as_ref)).unwrap();
        marks.push(change.mark().cloned().unwrap_or_else(Mark::default));
    }
    *changes = Changes::marked(rows, marks);
}

#[async_trait]
impl Sink for Broken {
    fn name(&self) -> &str {
        "broken"
    }

    async fn apply(&self, unit: &WriteUnit<'_>) -> Result<WriteReport> {
        if self.has(Bug::TakesOneAtATime) {
            if self.busy.swap(true, Ordering::Relaxed) {
                return Err(Error::unavailable("busy"));
            }
            tokio::task::yield_now().await;
            self.busy.store(false, Ordering::Relaxed);
        }
        let scope = self.scope(unit.scope);
        let mut steps: Vec<Step> = unit.steps.iter().map(|step| self.bent(step)).collect();
        let mut advance: Option<Advance> = unit.advance.cloned();
        let mut intent = unit.intent;
        match self.bug {
            Bug::RehearsesInEarnest => intent = Intent::Commit,
            Bug::LosesTheCheckpoint => advance = None,
            Bug::GoesBackwards => steps.reverse(),
            Bug::DiscardsNothing if matches!(steps[..], [Step::Discard { .. }]) => {
                return Ok(WriteReport { steps: vec![StepReport::Discarded(2)] });
            }
            _ => {}
        }
        if let Some(advance) = &mut advance {
            if self.has(Bug::IgnoresTokens) {
                advance.token = FencingToken(1);
            }
            if self.has(Bug::IgnoresSequence) {
                advance.expected = self.inner().checkpoint(&scope).await?.map_or(0, |checkpoint| checkpoint.seq);
                advance.next.seq = advance.expected + 1;
            }
        }
        if self.has(Bug::CheckpointFirst) && advance.is_some() {
            let first = WriteUnit { scope: &scope, steps: &[], advance: advance.as_ref(), intent };
            self.inner().apply(&first).await?;
            advance = None;
        }
        if let (Bug::TakesNoStageForEmpty, [Step::Publish(publish)]) = (self.bug, &steps[..]) {
            let changes = Changes::upserts(Rows::new(Arc::clone(publish.stream.schema())));
            let empty =
                [Step::Stage(Stage { stage: publish.stage.clone(), stream: Arc::clone(&publish.stream), changes })];
            self.inner().apply(&WriteUnit { scope: &scope, steps: &empty, advance: None, intent }).await?;
        }
        if let (Bug::StagesNoEmptyPage, [Step::Stage(stage)]) = (self.bug, &steps[..])
            && stage.changes.is_empty()
        {
            return Ok(WriteReport { steps: vec![StepReport::Rows(Vec::new())] });
        }
        if let (Bug::LastStagedWins, [Step::Stage(Stage { stage, stream, .. })]) = (self.bug, &steps[..]) {
            let discard = [Step::Discard { stage: stage.clone(), stream: Arc::clone(stream) }];
            self.inner().apply(&WriteUnit { scope: &scope, steps: &discard, advance: None, intent }).await?;
        }
        let bent = WriteUnit { scope: &scope, steps: &steps, advance: advance.as_ref(), intent };
        let report = match self.bug {
            Bug::AppliesHalfAUnit | Bug::PausesHalfWay => self.one_by_one(&bent).await,
            _ => self.inner().apply(&bent).await,
        };
        let mut report = report.map_err(|error| match self.bug {
            Bug::BlamesTheFirstRow => error.at_row(0, 0),
            _ => error,
        })?;
        if self.has(Bug::GoesBackwards) {
            report.steps.reverse();
        }
        if let (Bug::LastStagedWins, Step::Stage(stage), [StepReport::Rows(outcomes)]) =
            (self.bug, &unit.steps[0], &mut report.steps[..])
        {
            outcomes.truncate(stage.changes.len());
        }
        if let (Bug::StagesVisibly, Step::Stage(stage)) = (self.bug, &unit.steps[0]) {
            let write = Write {
                stream: Arc::clone(&stage.stream),
                changes: stage.changes.clone(),
                mode: WriteMode::Upsert,
                guard: Guard::Always,
                difference: Difference::Content,
                expect: Vec::new(),
            };
            self.inner().apply(&WriteUnit { steps: &[Step::Write(write)], advance: None, ..bent }).await?;
        }
        Ok(self.told(unit, report))
    }

    async fn open(&self, scope: &Scope, token: FencingToken) -> Result<Option<Checkpoint>> {
        let scope = self.scope(scope);
        let token = if self.has(Bug::IgnoresTokens) { FencingToken(1) } else { token };
        if self.has(Bug::LetsClaimOnce) && self.inner().claimed(&scope) == Some(token) {
            return Err(Error::fenced(token, "claimed already"));
        }
        self.inner().open(&scope, token).await.map(|found| self.invented(found))
    }

    async fn checkpoint(&self, scope: &Scope) -> Result<Option<Checkpoint>> {
        let scope = self.scope(scope);
        if let (Bug::LookingClaims, Some(token)) = (self.bug, self.inner().claimed(&scope)) {
            self.inner().open(&scope, FencingToken(token.0 + 1)).await?;
        }
        self.inner().checkpoint(&scope).await.map(|found| self.invented(found))
    }

    async fn prepare(&self, stream: &StreamSpec) -> Result<Altered> {
        if self.has(Bug::PreparesAnew) {
            *self.inner.lock().unwrap() = MemorySink::new();
        }
        let altered = self.inner().prepare(stream).await?;
        Ok(if self.has(Bug::TellsOfNoChange) { Altered::default() } else { altered })
    }

    async fn lacking(&self, stream: &StreamSpec) -> Result<Altered> {
        let sink = self.inner();
        if self.has(Bug::ForeseesInEarnest) { sink.prepare(stream).await } else { sink.lacking(stream).await }
    }

    async fn exists(&self, stream: &StreamSpec) -> Result<bool> {
        Ok(!self.has(Bug::SeesNoTarget) && self.inner().exists(stream).await?)
    }

    async fn stored(&self, stream: &StreamSpec, keys: &[Key]) -> Result<Vec<Option<StoredRow>>> {
        let mut keys = keys.to_vec();
        if self.has(Bug::SortsWhatItStored) {
            keys.sort();
        }
        self.inner().stored(stream, &keys).await
    }

    async fn count(&self, stream: &StreamSpec, rows: &RowScope) -> Result<Option<u64>> {
        let rows = if self.has(Bug::CountsEverything) { &RowScope::All } else { rows };
        self.inner().count(stream, rows).await
    }

    fn capabilities(&self) -> SinkCapabilities {
        SinkCapabilities::all()
    }
}

impl Broken {
    fn invented(&self, found: Option<Checkpoint>) -> Option<Checkpoint> {
        found.or_else(|| self.has(Bug::InventsACheckpoint).then(Checkpoint::default))
    }
}
