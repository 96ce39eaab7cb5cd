//! Tries dead letters again, without ever replacing a newer row.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use tokio::select;

use super::claim::{claim, lease_name};
use super::pipeline::Pipeline;
use super::scope_run::Home;
use super::waiting::{Errand, STATE_STORE, watched};
use super::{Inner, lease_keeper};
use crate::ledger::Ledger;
use crate::model::{
    Changes, Cursor, Disposition, Field, FieldSet, Key, Lane, Mark, Op, Outcome, Rows, Scope, StreamSpec, Value,
    ValueRef,
};
use crate::sink::{Altered, Expect, Guard, Intent, Step, Write, WriteMode, WriteUnit};
use crate::state::{Advance, Checkpoint, DeadLetter, Entry, Lease, LetterBody, LetterKind, LetterQuery};
use crate::{Error, ErrorKind, Result};

/// The version of the replay's own position: the letter it wrote last.
const FORMAT: u32 = 1;

/// So many letters are read at once.
const PAGE: u32 = 500;

pub(super) async fn replay(inner: &Inner, pipeline: &Pipeline, query: LetterQuery) -> Result<Ledger> {
    if !pipeline.sink.capabilities().guards {
        return Err(Error::config(
            "this sink cannot tell older rows from newer ones, so a replay might overwrite newer ones",
        )
        .with("sink", pipeline.sink.name())
        .with("pipeline", &pipeline.name));
    }
    let asking = Errand { run: None, scope: None, doing: "list", on: pipeline.source.name() };
    let streams: Vec<Arc<StreamSpec>> = watched(inner, asking, pipeline.source.feeds())
        .await?
        .iter()
        .flat_map(|feed| feed.streams().to_vec())
        .collect();
    let most = if query.limit == 0 { u64::MAX } else { query.limit.into() };
    let kind = query.kind.or(Some(LetterKind::Rejected));
    let query = LetterQuery { pipeline: Some(pipeline.name.clone()), kind, limit: PAGE, ..query };
    let (mut ledger, mut hopeless, mut busy) = (Ledger::default(), None, None);
    for (scope, most) in scopes(inner, &query, most).await? {
        let replay = Replay { inner, pipeline, streams: &streams, query: &query, scope, most };
        match replay.follow(&mut ledger, &mut hopeless).await {
            Ok(()) => {}
            // Letters of other scopes need not wait for one where a run is at work.
            Err(error) if error.kind() == ErrorKind::Fenced => drop(busy.get_or_insert(error)),
            Err(error) => return Err(error),
        }
    }
    match (busy, hopeless) {
        (Some(busy), _) => Err(busy.with_remedy("replay again when the run that holds the lease has ended")),
        // Where none could even be read, that is what the caller must know.
        (None, Some(error)) if ledger.outcomes.count(Outcome::Rejected) == ledger.fetched => Err(error),
        _ => Ok(ledger),
    }
}

/// The scopes that the oldest letters came from, at most so many letters, in the order of their first ones, each in the lane of
/// replays. With each, how many of its letters are among those: whoever goes through all letters page by page misses none.
async fn scopes(inner: &Inner, query: &LetterQuery, most: u64) -> Result<Vec<(Scope, u64)>> {
    let (mut scopes, mut left) = (Vec::<(Scope, u64)>::new(), most);
    let mut query = query.clone();
    let errand = Errand { run: None, scope: None, doing: "letters", on: STATE_STORE };
    loop {
        let page = watched(inner, errand, inner.store.dead_letters(&query)).await?;
        let Some(last) = page.last() else { return Ok(scopes) };
        query.after = Some(last.id.clone());
        for letter in page {
            if left == 0 {
                return Ok(scopes);
            }
            left -= 1;
            let scope = Scope { lane: Lane::Replay, ..letter.scope };
            match scopes.iter_mut().find(|(known, _)| *known == scope) {
                Some((_, letters)) => *letters += 1,
                None => scopes.push((scope, 1)),
            }
        }
    }
}

/// The letters of one scope, tried while its lease is held: a run that came in between might delete a row, and the letter
/// would bring it back.
struct Replay<'a> {
    inner: &'a Inner,
    pipeline: &'a Pipeline,
    streams: &'a [Arc<StreamSpec>],
    query: &'a LetterQuery,
    scope: Scope,
    /// How many letters are tried.
    most: u64,
}

impl Replay<'_> {
    async fn follow(&self, ledger: &mut Ledger, hopeless: &mut Option<Error>) -> Result<()> {
        let turn = self.inner.turn(&lease_name(&self.scope));
        let _turn = turn.lock().await;
        let home = if self.pipeline.sink.capabilities().atomic_checkpoint { Home::Sink } else { Home::Store };
        let (lease, checkpoint) = claim(self.inner, self.pipeline, None, &self.scope, home, None, &mut None).await?;
        let at_the_sink = AtomicU64::new(0);
        let outcome = select! {
            biased;
            error = lease_keeper::keep(&*self.inner.store, &*self.inner.clock, &lease, &at_the_sink) => return Err(error),
            done = self.try_all(&lease, checkpoint, home, &at_the_sink, ledger, hopeless) => done,
        };
        let released = watched(self.inner, self.at_store("lease"), self.inner.store.release(&lease)).await;
        outcome.and(released)
    }

    async fn try_all(
        &self,
        lease: &Lease,
        mut checkpoint: Checkpoint,
        home: Home,
        at_the_sink: &AtomicU64,
        ledger: &mut Ledger,
        hopeless: &mut Option<Error>,
    ) -> Result<()> {
        // A letter that was written by a replay which died before it could say so.
        let written: Option<String> = checkpoint.cursor.as_ref().and_then(|cursor| cursor.read(FORMAT).ok());
        let newest = self.newest().await?;
        let (mut query, mut left) = (self.query.clone(), self.most);
        loop {
            let letters = self.page(&mut query).await?;
            let Some(letters) = letters else { return Ok(()) };
            for letter in &letters {
                if left == 0 {
                    return Ok(());
                }
                left -= 1;
                ledger.fetched += 1;
                let keyed = self.streams.iter().any(|it| it.name() == letter.stream && !it.key_columns().is_empty());
                // By key, what was written may be written again, and its row may have been refused again since.
                let was_written = !keyed && written.as_deref() == Some(letter.id.as_str());
                if was_written || newest.is_passed(letter) {
                    ledger.outcomes.add(if was_written { Outcome::Unchanged } else { Outcome::Stale }, 1);
                    self.resolved(lease, letter).await?;
                    continue;
                }
                let next = Checkpoint {
                    seq: checkpoint.seq + 1,
                    cursor: Some(Cursor::new(FORMAT, &letter.id.as_str())?),
                    ..Checkpoint::default()
                };
                let advance =
                    (home == Home::Sink).then_some(Advance { token: lease.token, expected: checkpoint.seq, next });
                at_the_sink.fetch_add(1, Ordering::Relaxed);
                let errand = Errand { on: self.pipeline.sink.name(), ..self.at_store("write") };
                let tried = watched(self.inner, errand, self.write(letter, advance.as_ref())).await;
                at_the_sink.fetch_add(1, Ordering::Relaxed);
                match tried {
                    Ok(tried) => {
                        ledger.outcomes.add(tried.outcome, 1);
                        self.resolved(lease, letter).await?;
                        checkpoint.seq += u64::from(tried.written);
                    }
                    Err(error)
                        if matches!(error.kind(), ErrorKind::Data | ErrorKind::Malformed | ErrorKind::Config) =>
                    {
                        ledger.outcomes.add(Outcome::Rejected, 1);
                        if error.kind() == ErrorKind::Config {
                            hopeless.get_or_insert(error);
                        }
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// The next letters of this scope, as they stand under its lease.
    async fn page(&self, query: &mut LetterQuery) -> Result<Option<Vec<DeadLetter>>> {
        let letters = self.page_of_all(query).await?;
        let is_ours = |letter: &DeadLetter| lease_name(&letter.scope) == lease_name(&self.scope);
        Ok(letters.map(|letters| letters.into_iter().filter(is_ours).collect()))
    }

    async fn page_of_all(&self, query: &mut LetterQuery) -> Result<Option<Vec<DeadLetter>>> {
        let letters = watched(self.inner, self.at_store("letters"), self.inner.store.dead_letters(query)).await?;
        let Some(last) = letters.last() else { return Ok(None) };
        query.after = Some(last.id.clone());
        Ok(Some(letters))
    }

    /// In whichever scope: a row may have moved from one partition to another.
    async fn newest(&self) -> Result<Newest> {
        let mut newest = Newest::default();
        let unversioned = |stream: &&Arc<StreamSpec>| {
            stream.version_column().is_none()
                && stream.writes() != Disposition::InsertOnly
                && !stream.key_columns().is_empty()
        };
        let open: HashMap<&str, usize> =
            self.streams.iter().filter(unversioned).map(|stream| (stream.name(), stream.schema().width())).collect();
        let mut query = self.query.clone();
        while !open.is_empty() {
            let Some(page) = self.page_of_all(&mut query).await? else { break };
            for letter in page {
                let Some((key, width)) = letter.key.zip(open.get(letter.stream.as_str())) else { continue };
                if !matches!(&letter.body, LetterBody::Row { op: Op::Upsert, values } if values.len() < *width) {
                    let known = newest.0.entry((letter.stream, key)).or_insert(letter.at);
                    *known = letter.at.max(*known);
                }
            }
        }
        Ok(newest)
    }

    /// Says that a letter was dealt with.
    async fn resolved(&self, lease: &Lease, letter: &DeadLetter) -> Result<()> {
        let entries = [Entry::Resolved(letter.id.clone())];
        watched(self.inner, self.at_store("record"), self.inner.store.record(lease, &entries)).await
    }

    /// Writes one letter, and says what became of it.
    async fn write(&self, letter: &DeadLetter, advance: Option<&Advance>) -> Result<Tried> {
        let pipeline = self.pipeline;
        let stream = self.streams.iter().find(|stream| stream.name() == letter.stream).ok_or_else(|| {
            Error::config("the source no longer offers the stream of this dead letter").with("stream", &letter.stream)
        })?;
        let lacking = pipeline.sink.lacking(stream).await?;
        if lacking != Altered::default() {
            return Err(unready(lacking).with("stream", stream.name()).with("target", pipeline.sink.name()));
        }
        pipeline.sink.prepare(stream).await?;
        let changes = changes(pipeline, stream, letter)?;
        let mut expect = Vec::new();
        if pipeline.sink.capabilities().read_back && !stream.key_columns().is_empty() {
            let key = changes.at(0).key(&stream.key_indices());
            let stored = pipeline.sink.stored(stream, &[key]).await?.pop().flatten();
            if let Some(passed) = stored.as_ref().and_then(|stored| passed(stream, &stored.values, &changes)) {
                return Ok(Tried { outcome: passed, written: false });
            }
            // There was a row when it was parked: it was deleted since.
            if stored.is_none() && letter.kind == LetterKind::Parked {
                return Ok(Tried { outcome: Outcome::Stale, written: false });
            }
            expect.push(stored.map_or(Expect::Absent, |stored| Expect::Row(stored.values)));
        }
        let write = Write {
            stream: Arc::clone(stream),
            changes,
            mode: match stream.writes() {
                Disposition::InsertOnly => WriteMode::InsertOnly,
                _ if stream.key_columns().is_empty() => WriteMode::Append,
                _ => WriteMode::Upsert,
            },
            // Without versions nobody can tell which is newer: what is there stays.
            guard: if stream.version_column().is_some() { Guard::NotOlder } else { Guard::Never },
            difference: crate::detect::Difference::Content,
            expect,
        };
        let steps = [Step::Write(write)];
        let report = pipeline
            .sink
            .apply(&WriteUnit { scope: &self.scope, steps: &steps, advance, intent: Intent::Commit })
            .await?;
        let outcome = report.tally().iter().next().map(|(outcome, _)| outcome);
        outcome.map(|outcome| Tried { outcome, written: true }).ok_or_else(|| {
            Error::internal("the sink reports nothing about a row it was given").with("sink", pipeline.sink.name())
        })
    }

    fn at_store(&self, doing: &'static str) -> Errand<'_> {
        Errand { run: None, scope: Some(&self.scope), doing, on: STATE_STORE }
    }
}

/// A run tells which columns it changes, and which rows lack a value then; a replay has nobody to tell.
fn unready(lacking: Altered) -> Error {
    let named = |columns: Vec<String>, what| (!columns.is_empty()).then(|| format!("{} {what}", columns.join(", ")));
    let lacking = [named(lacking.added, "not there"), named(lacking.widened, "too narrow")];
    let columns = lacking.into_iter().flatten().collect::<Vec<_>>().join("; ");
    Error::new(ErrorKind::Schema, format!("a replay changes no columns, and the target is not ready: {columns}"))
        .with_remedy("run the pipeline once, which makes the target ready and says what it changed; then replay")
}

/// When the last letter came that holds the whole row of a key, where no version tells which of two is newer.
#[derive(Default)]
struct Newest(HashMap<(String, Key), DateTime<Utc>>);

impl Newest {
    /// Whether a later letter holds what became of this row.
    fn is_passed(&self, letter: &DeadLetter) -> bool {
        let last = letter.key.as_ref().and_then(|key| self.0.get(&(letter.stream.clone(), key.clone())));
        last.is_some_and(|last| letter.at < *last)
    }
}

/// What became of a letter, and whether the sink was asked to write it.
struct Tried {
    outcome: Outcome,
    written: bool,
}

/// What becomes of a letter whose row has been written since: of two states with one version, the stored one came later.
fn passed(stream: &StreamSpec, stored: &[Value], letter: &Changes) -> Option<Outcome> {
    let version = stream.version_index()?;
    let letter = letter.at(0).to_values();
    if stored == letter || stream.writes() == Disposition::InsertOnly {
        let same = if stored == letter { Outcome::Unchanged } else { Outcome::Existing };
        return Some(same);
    }
    (stored[version] >= letter[version]).then_some(Outcome::Stale)
}

fn changes(pipeline: &Pipeline, stream: &StreamSpec, letter: &DeadLetter) -> Result<Changes> {
    match &letter.body {
        LetterBody::Record(record) => pipeline.source.revive(stream, record).map(Changes::upserts),
        LetterBody::Row { op, values } => {
            let mut rows = Rows::new(Arc::clone(stream.schema()));
            let value_of = |name: &str| {
                values.iter().find(|(column, _)| column == name).map_or(ValueRef::Null, |(_, value)| value.as_ref())
            };
            rows.push(stream.schema().fields().iter().map(|field| value_of(field.name())))?;
            // A change of some fields is replayed as one, and so is a letter from before the stream had all its columns.
            let names = stream.schema().fields().iter().map(Field::name).enumerate();
            let known = |name: &str| values.iter().any(|(column, _)| column == name);
            let fields: FieldSet = names.filter(|(_, name)| known(name)).map(|(column, _)| column).collect();
            let fields = (*op == Op::Upsert && fields.len() < stream.schema().width()).then_some(fields);
            Ok(Changes::marked(rows, vec![Mark { op: *op, fields, ..Mark::default() }]))
        }
    }
}
