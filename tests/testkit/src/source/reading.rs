//! Reads: how they end, and that they can be had again.

use std::collections::BTreeMap;

use futures::StreamExt;
use sync_core::model::{Boundary, Feed, Op, Partition};
use sync_core::source::{CursorKind, RowOrder};
use sync_core::{Batch, Cursor, Key, ReadRequest, Result, Source, Value};

use super::{Act, Subject};
use crate::report::{Finding, Stop, holds, needs, same};

/// A change as it was read: stream, key, what it does, values, group.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    pub(super) stream: String,
    pub(super) key: Key,
    pub(super) op: Op,
    pub(super) values: Vec<Value>,
    pub(super) group: Option<u64>,
}

/// A feed and one of its partitions.
pub(super) type Part = (Feed, Partition);

/// All feeds in all their partitions.
pub(super) async fn parts(source: &dyn Source) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for feed in source.feeds().await? {
        parts.extend(source.partitions(&feed).await?.into_iter().map(|partition| (feed.clone(), partition)));
    }
    Ok(parts)
}

/// A request for changes of this part.
pub(super) fn changes((feed, partition): &Part) -> ReadRequest {
    ReadRequest::new(feed.clone(), partition.clone())
}

/// Reads to the end.
pub(super) async fn read(source: &dyn Source, request: ReadRequest) -> Result<Vec<Batch>> {
    let mut batches = Vec::new();
    let mut stream = source.read(request);
    while let Some(batch) = stream.next().await {
        batches.push(batch?);
    }
    Ok(batches)
}

/// The changes of a batch. Rejected records count as rows, so that they are not taken for lost.
pub(super) fn seen(batch: &Batch) -> Vec<Seen> {
    let mut seen = Vec::new();
    for run in &batch.runs {
        let keys = run.stream.key_indices();
        seen.extend(run.changes.iter().map(|change| Seen {
            stream: run.stream.name().to_owned(),
            key: change.key(&keys),
            op: change.op(),
            values: change.to_values(),
            group: change.group(),
        }));
    }
    seen.extend(batch.rejects.iter().filter_map(|reject| {
        let (stream, key) = (reject.stream.name().to_owned(), reject.key.clone()?);
        Some(Seen { stream, key, op: Op::Upsert, values: Vec::new(), group: None })
    }));
    seen
}

pub(super) fn all_seen(batches: &[Batch]) -> Vec<Seen> {
    batches.iter().flat_map(seen).collect()
}

/// The state each row ends in, by stream and key; deleted rows are left out.
pub(super) fn last_states<'a>(seen: impl IntoIterator<Item = &'a Seen>) -> BTreeMap<(String, Key), Vec<Value>> {
    let mut states = BTreeMap::new();
    for change in seen {
        let key = (change.stream.clone(), change.key.clone());
        match change.op {
            Op::Upsert => states.insert(key, change.values.clone()),
            Op::Delete => states.remove(&key),
        };
    }
    states
}

/// The last position a read handed out.
pub(super) fn last_cursor(batches: &[Batch]) -> Option<Cursor> {
    batches.iter().rev().find_map(|batch| match &batch.boundary {
        Boundary::Resume(cursor) | Boundary::Ends { resume: Some(cursor), .. } => Some(cursor.clone()),
        _ => None,
    })
}

/// Leaves the check out for a source without cursors.
pub(super) fn needs_cursors(source: &dyn Source) -> Finding {
    needs(source.capabilities().cursor != CursorKind::None, "cursors")
}

pub(super) async fn a_read_ends_where_one_may_stop(subject: &dyn Subject) -> Finding {
    let source = subject.source();
    for part in parts(source).await? {
        let batches = read(source, changes(&part)).await?;
        let mut listing = None;
        for batch in &batches {
            match &batch.boundary {
                Boundary::Begins(scope) => listing = Some(scope.clone()),
                Boundary::Ends { scope, .. } => {
                    same("the listing that ends", Some(scope), listing.as_ref())?;
                    listing = None;
                }
                Boundary::Inside | Boundary::Resume(_) => {}
            }
        }
        holds(listing.is_none(), "a listing began and did not end")?;
        let last = batches.last().map(|batch| &batch.boundary);
        holds(last != Some(&Boundary::Inside), "the last batch of a read ends with `Inside`")?;
    }
    Ok(())
}

pub(super) async fn reading_again_brings_the_same(subject: &dyn Subject) -> Finding {
    let source = subject.source();
    needs(source.capabilities().replayable, "a source that can be read again")?;
    for part in parts(source).await? {
        let first = read(source, changes(&part)).await?;
        let second = read(source, changes(&part)).await?;
        let (first, second) = (all_seen(&first), all_seen(&second));
        same("rows of a second read", last_states(&second).len(), last_states(&first).len())?;
        holds(last_states(&first) == last_states(&second), "a second read brought other rows than the first")?;
    }
    Ok(())
}

pub(super) async fn a_dropped_read_leaves_nothing_behind(subject: &dyn Subject) -> Finding {
    let source = subject.source();
    needs(source.capabilities().replayable, "a source that can be read again")?;
    for part in parts(source).await? {
        let whole = last_states(&all_seen(&read(source, changes(&part)).await?));
        for batches in 0..3 {
            let mut dropped = source.read(changes(&part));
            for _ in 0..batches {
                dropped.next().await.transpose()?;
            }
        }
        let again = last_states(&all_seen(&read(source, changes(&part)).await?));
        holds(whole == again, "a read after dropped ones brought other rows")?;
    }
    Ok(())
}

pub(super) async fn a_first_load_comes_by_key(subject: &dyn Subject) -> Finding {
    let source = subject.source();
    needs(source.capabilities().order == RowOrder::Key, "an order by key")?;
    for part in parts(source).await? {
        let mut request = changes(&part);
        request.first_load = true;
        let seen = all_seen(&read(source, request).await?);
        for stream in part.0.streams() {
            let keys: Vec<&Key> = seen.iter().filter(|row| row.stream == stream.name()).map(|row| &row.key).collect();
            if let Some(place) = keys.windows(2).position(|pair| pair[0] > pair[1]) {
                let lost =
                    format!("row {} of stream {:?} has a lower key than the row before it", place + 2, stream.name());
                return Err(Stop::Broken(lost));
            }
        }
    }
    Ok(())
}

/// Looks at what is there, and at a group that is written between two reads.
pub(super) async fn groups_are_not_torn(subject: &dyn Subject) -> Finding {
    let source = subject.source();
    let (mut groups, mut ends) = (0, Vec::new());
    for part in parts(source).await? {
        let batches = read(source, changes(&part)).await?;
        groups += whole_groups(&batches)?;
        ends.push((part, last_cursor(&batches)));
    }
    subject.act(Act::AddGroup).await?;
    for (part, end) in ends.into_iter().filter(|(_, end)| end.is_some()) {
        groups += whole_groups(&read(source, changes(&part).from(end)).await?)?;
    }
    if groups == 0 { Err(Stop::Skipped("needs a group that is larger than a batch".into())) } else { Ok(()) }
}

/// Counts the groups that go on behind the end of their batch.
fn whole_groups(batches: &[Batch]) -> Result<u32, Stop> {
    let mut groups = 0;
    for pair in batches.windows(2) {
        let before = seen(&pair[0]).last().and_then(|change| change.group);
        let after = seen(&pair[1]).first().and_then(|change| change.group);
        let goes_on = before.is_some() && before == after;
        groups += u32::from(goes_on);
        holds(!goes_on || pair[0].boundary == Boundary::Inside, "one may stop between two changes of one group")?;
    }
    Ok(groups)
}
