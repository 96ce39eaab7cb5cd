//! A source that is right but for one bug.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::{StreamExt, stream};
use sync_core::memory::{FirstLoad, MemorySource};
use sync_core::model::{Boundary, Changes, Feed, Mark, Op, Partition, RowScope};
use sync_core::source::{CursorKind, Reading, Receipt, RowOrder, SourceCapabilities};
use sync_core::{Batch, BatchStream, Cursor, Error, ErrorKind, Key, ReadRequest, Result, Source, StreamSpec, Value};
use sync_testkit::source::{Act, Hand, Subject};

use crate::source::{Clerk, shop};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    StopsAfterOneBatch,
    RenamesFeeds,
    BringsStrangers,
    OverlapsPartitions,
    EndsInside,
    ForgetsWhatItGave,
    TripsOverDroppedReads,
    LoadsInAnyOrder,
    TearsGroups,
    CursorBeforeRows,
    GivesNoCursor,
    GoesOnAfterTheEnd,
    StartsOver,
    TakesAnyCursor,
    TakesReceiptsOnce,
    ListsHalf,
    ListsOldValues,
    RangesBringEverything,
    DropsTheLastPage,
    BringsNewRowsOnly,
    SkipsTies,
    SkipsTiesBelow,
    CursorOfTheHead,
    PagesByAnotherOrder,
    GoesBackwards,
    SwallowsDeletes,
    BeginsWithRows,
    ListsTheDead,
}

/// A subject rather than a source, so that it can lie about what its hand has done.
pub(super) struct Broken {
    source: Bent,
    clerk: Clerk,
}

#[derive(Debug)]
struct Bent {
    bug: Bug,
    inner: MemorySource,
    asked: AtomicU32,
    receipts: AtomicU32,
    left_at: Mutex<Option<Cursor>>,
    seen: Mutex<BTreeSet<Key>>,
    newest: Mutex<Value>,
    last: Mutex<(Value, Key)>,
}

impl Broken {
    pub(super) fn by(bug: Bug) -> Self {
        let inner = if bug == Bug::LoadsInAnyOrder { shop().first_load(FirstLoad::Scattered) } else { shop() };
        let clerk = Clerk::of(&inner);
        let (asked, receipts) = (AtomicU32::new(0), AtomicU32::new(0));
        let (left_at, seen, newest) = (Mutex::default(), Mutex::default(), Mutex::default());
        let last = Mutex::new(start());
        Self { source: Bent { bug, inner, asked, receipts, left_at, seen, newest, last }, clerk }
    }
}

/// Before every row, by version and key.
fn start() -> (Value, Key) {
    (Value::Null, Key::new([Value::Null]))
}

#[async_trait]
impl Subject for Broken {
    fn source(&self) -> &dyn Source {
        &self.source
    }

    async fn act(&self, act: Act) -> Result<Option<(String, Key)>> {
        if self.source.bug == Bug::ListsTheDead && act == Act::Remove {
            return Ok(Some(("orders".to_owned(), Key::new([20i64]))));
        }
        self.clerk.act(act).await
    }
}

/// A read that looks one batch ahead.
struct Walk<'a> {
    batches: BatchStream<'a>,
    ahead: Option<Result<Batch>>,
    number: usize,
    listing: bool,
    scope: RowScope,
    newest_before: Value,
    last_before: (Value, Key),
    newest_at_start: Value,
    last: Option<Cursor>,
    seen_before: BTreeSet<Key>,
    /// The highest version of the batches before.
    reached: Value,
}

impl Bent {
    fn has(&self, bug: Bug) -> bool {
        self.bug == bug
    }

    fn newest(&self) -> Value {
        self.inner.rows("orders").into_iter().map(|(_, row)| row[1].clone()).max().unwrap_or_default()
    }

    fn bent(&self, mut request: ReadRequest) -> ReadRequest {
        match self.bug {
            Bug::StartsOver => request.from = None,
            Bug::TakesAnyCursor if request.from.as_ref().is_some_and(|cursor| cursor.format() > 9) => {
                request.from = None;
            }
            Bug::TripsOverDroppedReads if request.from.is_none() => {
                request.from = self.left_at.lock().unwrap().take();
            }
            Bug::RangesBringEverything if matches!(request.reading, Reading::Range(_)) => {
                request.reading = Reading::Listing;
            }
            _ => {}
        }
        request.partition = Partition::default();
        request
    }

    async fn next(&self, walk: &mut Walk<'_>) -> Option<Result<Batch>> {
        if walk.number == 0 {
            walk.ahead = walk.batches.next().await;
        }
        walk.number += 1;
        let mut batch = match walk.ahead.take()? {
            Ok(batch) => batch,
            Err(error) => return Some(Err(error)),
        };
        // The change log is read as it stands when a batch is asked for, so only bugs that must look ahead do so.
        walk.ahead = walk.batches.next().await;
        self.bend_boundary(walk, &mut batch);
        for run in &mut batch.runs {
            run.changes = self.bent_changes(walk, &run.stream, &run.changes);
            if self.has(Bug::BringsStrangers) {
                run.stream = Arc::new(StreamSpec::new("strangers").key(["id"]));
            }
        }
        if let Boundary::Resume(cursor) = &batch.boundary {
            walk.last = Some(cursor.clone());
            *self.left_at.lock().unwrap() = walk.ahead.is_some().then(|| cursor.clone());
        }
        let forget = match self.bug {
            Bug::DropsTheLastPage => walk.ahead.is_none() && !walk.listing,
            Bug::ForgetsWhatItGave => self.asked.load(Ordering::Relaxed) > 1,
            Bug::ListsHalf => walk.listing && walk.number == 2,
            Bug::StopsAfterOneBatch => walk.number > 1,
            _ => false,
        };
        if forget {
            batch.runs.clear();
        }
        Some(Ok(batch))
    }

    fn bend_boundary(&self, walk: &Walk<'_>, batch: &mut Batch) {
        match (self.bug, &mut batch.boundary) {
            (Bug::EndsInside, boundary) if walk.ahead.is_none() => *boundary = Boundary::Inside,
            (Bug::BeginsWithRows, Boundary::Resume(_)) if walk.number == 1 => batch.boundary = Boundary::Inside,
            (Bug::GivesNoCursor, Boundary::Resume(_)) => batch.boundary = Boundary::Inside,
            (Bug::TearsGroups, boundary @ Boundary::Inside) => {
                if let Some(last) = &walk.last {
                    *boundary = Boundary::Resume(last.clone());
                }
            }
            (Bug::CursorBeforeRows, Boundary::Resume(cursor)) => {
                if let Some(Ok(Batch { boundary: Boundary::Resume(next), .. })) = &walk.ahead {
                    *cursor = next.clone();
                }
            }
            (Bug::RangesBringEverything, Boundary::Begins(scope) | Boundary::Ends { scope, .. }) => {
                *scope = walk.scope.clone();
            }
            _ => {}
        }
    }

    fn bent_changes(&self, walk: &mut Walk<'_>, stream: &StreamSpec, changes: &Changes) -> Changes {
        let keys = stream.key_indices();
        let version = |row: usize| changes.at(row).row().at(1).to_owned();
        let mut rows: Vec<usize> = (0..changes.len()).collect();
        match self.bug {
            Bug::SwallowsDeletes => rows.retain(|row| changes.at(*row).op() == Op::Upsert),
            Bug::GoesBackwards => rows.reverse(),
            Bug::PagesByAnotherOrder if !walk.listing => {
                let reached = walk.reached.clone();
                rows.retain(|row| version(*row) >= reached);
                walk.reached = rows.iter().map(|row| version(*row)).max().unwrap_or(reached);
            }
            Bug::SkipsTiesBelow => rows.retain(|row| (version(*row), changes.at(*row).key(&keys)) > walk.last_before),
            Bug::SkipsTies => rows.retain(|row| version(*row) > walk.newest_before),
            Bug::CursorOfTheHead => rows.retain(|row| version(*row) <= walk.newest_at_start),
            Bug::BringsNewRowsOnly => rows.retain(|row| !walk.seen_before.contains(&changes.at(*row).key(&keys))),
            _ => {}
        }
        self.seen.lock().unwrap().extend(rows.iter().map(|row| changes.at(*row).key(&keys)));
        if let Some(newest) = rows.iter().map(|row| version(*row)).max() {
            let mut known = self.newest.lock().unwrap();
            *known = newest.max(known.clone());
        }
        if let Some(last) = rows.iter().map(|row| (version(*row), changes.at(*row).key(&keys))).max() {
            let mut known = self.last.lock().unwrap();
            *known = last.max(known.clone());
        }
        let kept = changes.select(rows);
        if !(self.has(Bug::ListsOldValues) && walk.listing) {
            return kept;
        }
        let mut old = sync_core::Rows::new(Arc::clone(stream.schema()));
        for change in kept.iter() {
            let mut values = change.to_values();
            values[2] = "as it never was".into();
            old.push(values.iter().map(Value::as_ref)).unwrap();
        }
        Changes::marked(old, vec![Mark::default(); kept.len()])
    }
}

#[async_trait]
impl Source for Bent {
    fn name(&self) -> &str {
        "broken"
    }

    async fn feeds(&self) -> Result<Vec<Feed>> {
        let feeds = self.inner.feeds().await?;
        if !self.has(Bug::RenamesFeeds) {
            return Ok(feeds);
        }
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        Ok(feeds.into_iter().map(|feed| Feed::new(format!("feed{number}"), feed.streams().to_vec())).collect())
    }

    fn read(&self, request: ReadRequest) -> BatchStream<'_> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let scope = match &request.reading {
            Reading::Range(scope) => scope.clone(),
            _ => RowScope::All,
        };
        let from_start = request.from.is_none();
        let last = request.from.clone();
        let walk = Walk {
            listing: request.reading == Reading::Listing,
            batches: self.inner.read(self.bent(request)),
            ahead: None,
            number: 0,
            scope,
            newest_before: if from_start { Value::Null } else { self.newest.lock().unwrap().clone() },
            last_before: if from_start { start() } else { self.last.lock().unwrap().clone() },
            newest_at_start: self.newest(),
            reached: Value::Null,
            last,
            seen_before: if from_start { BTreeSet::new() } else { self.seen.lock().unwrap().clone() },
        };
        stream::unfold(walk, move |mut walk| async move { self.next(&mut walk).await.map(|batch| (batch, walk)) })
            .boxed()
    }

    fn capabilities(&self) -> SourceCapabilities {
        let mut capabilities = self.inner.capabilities().order(RowOrder::Key);
        if self.has(Bug::GoesOnAfterTheEnd) {
            capabilities.cursor = CursorKind::None;
        }
        capabilities
    }

    async fn partitions(&self, feed: &Feed) -> Result<Vec<Partition>> {
        if self.has(Bug::OverlapsPartitions) {
            return Ok(["a", "b"].map(Partition::new).to_vec());
        }
        self.inner.partitions(feed).await
    }

    async fn acknowledge(&self, receipt: &Receipt) -> Result<()> {
        if self.has(Bug::TakesReceiptsOnce) && self.receipts.fetch_add(1, Ordering::Relaxed) > 0 {
            return Err(Error::new(ErrorKind::Conflict, "acknowledged already").with("scope", &receipt.scope));
        }
        self.inner.acknowledge(receipt).await
    }
}
