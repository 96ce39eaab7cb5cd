//! What happens at the other side comes with the next read.

use std::collections::BTreeSet;

use futures::StreamExt;
use sync_core::model::{Boundary, Op};
use sync_core::source::{CursorKind, Listing};
use sync_core::{Cursor, Key, Source};

use super::listings::listing;
use super::reading::{Part, Seen, all_seen, changes, last_cursor, needs_cursors, parts, read, seen};
use super::{Act, Subject};
use crate::report::{Finding, Stop, holds, needs};

/// Where each part stands.
type Positions = Vec<(Part, Option<Cursor>)>;

async fn read_to_the_end(source: &dyn Source) -> Result<Positions, Stop> {
    let mut positions = Vec::new();
    for part in parts(source).await? {
        let cursor = last_cursor(&read(source, changes(&part)).await?);
        positions.push((part, cursor));
    }
    Ok(positions)
}

/// Reads all parts on from where they stand.
async fn read_on(source: &dyn Source, positions: &mut Positions) -> Result<Vec<Seen>, Stop> {
    let mut found = Vec::new();
    for (part, cursor) in positions {
        let batches = read(source, changes(part).from(cursor.clone())).await?;
        *cursor = last_cursor(&batches).or(cursor.take());
        found.extend(all_seen(&batches));
    }
    Ok(found)
}

async fn act(subject: &dyn Subject, act: Act) -> Result<(String, Key), Stop> {
    let done = subject.act(act).await?;
    done.ok_or_else(|| Stop::Skipped(format!("needs a hand that does `Act::{act:?}`")))
}

fn names(found: &[Seen], (stream, key): &(String, Key), op: Op) -> bool {
    found.iter().any(|change| change.stream == *stream && change.key == *key && change.op == op)
}

async fn comes_next(subject: &dyn Subject, first: Act, what: &str) -> Finding {
    let source = subject.source();
    let mut positions = read_to_the_end(source).await?;
    for _ in 0..3 {
        let row = act(subject, first).await?;
        let found = read_on(source, &mut positions).await?;
        holds(names(&found, &row, Op::Upsert), format!("{what} did not come with the next read"))?;
    }
    Ok(())
}

pub(super) async fn an_added_row_comes_next(subject: &dyn Subject) -> Finding {
    comes_next(subject, Act::Add, "a row that was added").await
}

pub(super) async fn a_changed_row_comes_next(subject: &dyn Subject) -> Finding {
    comes_next(subject, Act::Change, "a row that was changed").await
}

pub(super) async fn a_row_at_the_same_position_comes_too(subject: &dyn Subject) -> Finding {
    needs_cursors(subject.source())?;
    comes_next(subject, Act::AddTie, "a row with the version of the last one").await
}

/// After every batch of a read in turn, a row changes; that read and the next must bring it between them.
pub(super) async fn a_change_during_a_read_is_not_lost(subject: &dyn Subject) -> Finding {
    let source = subject.source();
    needs_cursors(source)?;
    for pause in 0..4 {
        for part in parts(source).await? {
            let mut reading = source.read(changes(&part));
            let (mut cursor, mut changed, mut later) = (None, None, Vec::new());
            let mut number = 0;
            while let Some(batch) = reading.next().await.transpose()? {
                if changed.is_some() {
                    later.extend(seen(&batch));
                }
                if let Boundary::Resume(at) = batch.boundary {
                    cursor = Some(at);
                }
                if number == pause {
                    changed = Some([act(subject, Act::Change).await?, act(subject, Act::Add).await?]);
                }
                number += 1;
            }
            drop(reading);
            let Some(changed) = changed else { continue };
            let here: BTreeSet<&str> = part.0.streams().iter().map(|stream| stream.name()).collect();
            let mine = source.partitions(&part.0).await?.len() == 1;
            later.extend(all_seen(&read(source, changes(&part).from(cursor)).await?));
            for row in changed.iter().filter(|(stream, _)| mine && here.contains(stream.as_str())) {
                let found = names(&later, row, Op::Upsert);
                holds(found, format!("a row that changed after batch {} of a read was never handed over", pause + 1))?;
            }
        }
    }
    Ok(())
}

pub(super) async fn changes_of_one_row_come_in_order(subject: &dyn Subject) -> Finding {
    let source = subject.source();
    needs_cursors(source)?;
    let mut positions = read_to_the_end(source).await?;
    for _ in 0..12 {
        act(subject, Act::Change).await?;
    }
    let found = read_on(source, &mut positions).await?;
    for (part, _) in &positions {
        for stream in part.0.streams() {
            let Some(version) = stream.version_index() else { continue };
            for (place, change) in found.iter().enumerate().filter(|(_, change)| change.stream == stream.name()) {
                let same_row = |later: &&Seen| later.stream == change.stream && later.key == change.key;
                let lower = |later: &Seen| later.op == Op::Upsert && later.values[version] < change.values[version];
                let backwards = found[place + 1..].iter().filter(same_row).any(lower);
                holds(!backwards, "a lower version of a row came after a higher one")?;
            }
        }
    }
    Ok(())
}

pub(super) async fn a_deleted_row_is_reported(subject: &dyn Subject) -> Finding {
    let source = subject.source();
    needs(source.capabilities().deletes, "reported deletes")?;
    holds(
        source.capabilities().cursor != CursorKind::None,
        "deletes are reported, and there is no cursor to ask from",
    )?;
    let mut positions = read_to_the_end(source).await?;
    let row = act(subject, Act::Remove).await?;
    let found = read_on(source, &mut positions).await?;
    holds(names(&found, &row, Op::Delete), "a row that was deleted was not reported")
}

pub(super) async fn a_deleted_row_is_not_listed(subject: &dyn Subject) -> Finding {
    let source = subject.source();
    needs(source.capabilities().listing != Listing::None, "a listing")?;
    let row = act(subject, Act::Remove).await?;
    for part in parts(source).await? {
        let named = names(&all_seen(&listing(source, &part).await?), &row, Op::Upsert);
        holds(!named, "a row that was deleted is still listed")?;
    }
    Ok(())
}
