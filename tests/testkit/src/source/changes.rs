//! What happens at the other side comes with the next read.

use std::collections::BTreeSet;

use futures::StreamExt;
use sync_core::model::{Boundary, Op};
use sync_core::source::{CursorKind, Listing};
use sync_core::{Cursor, Source};

use super::listings::listing;
use super::reading::{Part, Seen, all_seen, changes, last_cursor, last_states, needs_cursors, parts, read, seen};
use super::watch::{RowId, Watch};
use super::{Act, Subject};
use crate::report::{Finding, Stop, broken, holds, needs};

/// Where each part stands.
type Positions = Vec<(Part, Option<Cursor>)>;

async fn read_to_the_end(source: &dyn Source, watch: &mut Watch<'_>) -> Result<Positions, Stop> {
    let mut positions = Vec::new();
    for part in parts(source).await? {
        let batches = read(source, changes(&part)).await?;
        watch.note(&part, &all_seen(&batches));
        positions.push((part, last_cursor(&batches)));
    }
    Ok(positions)
}

/// Reads all parts on from where they stand.
async fn read_on(source: &dyn Source, positions: &mut Positions) -> Result<Vec<(Part, Vec<Seen>)>, Stop> {
    let mut found = Vec::new();
    for (part, cursor) in positions {
        let batches = read(source, changes(part).from(cursor.clone())).await?;
        *cursor = last_cursor(&batches).or(cursor.take());
        found.push((part.clone(), all_seen(&batches)));
    }
    Ok(found)
}

fn is_about(change: &Seen, (stream, key): &RowId, op: Op) -> bool {
    change.stream == *stream && change.key == *key && change.op == op
}

fn names(found: &[Seen], row: &RowId, op: Op) -> bool {
    found.iter().any(|change| is_about(change, row, op))
}

/// Three times, because the first one may come for another reason: the end of the read is the end of the first load.
async fn comes_next(subject: &dyn Subject, act: Act, otherwise: &str) -> Finding {
    let source = subject.source();
    let mut watch = Watch::of(subject);
    let mut positions = read_to_the_end(source, &mut watch).await?;
    for _ in 0..3 {
        let row = watch.act(act).await?;
        let found = read_on(source, &mut positions).await?;
        let came = found.iter().find_map(|(part, seen)| {
            let change = seen.iter().rev().find(|change| is_about(change, &row, Op::Upsert))?;
            let version = part.0.stream(&change.stream).and_then(|stream| stream.version_index());
            Some(version.and_then(|version| change.values.get(version)))
        });
        match came {
            Some(version) => watch.is_tied(act, &row, version)?,
            None => {
                watch.explain(act, &row).await?;
                return broken(otherwise);
            }
        }
        found.iter().for_each(|(part, seen)| watch.note(part, seen));
    }
    Ok(())
}

pub(super) async fn an_added_row_comes_next(subject: &dyn Subject) -> Finding {
    comes_next(subject, Act::Add, "a row that was added did not come with the next read").await
}

pub(super) async fn a_changed_row_comes_next(subject: &dyn Subject) -> Finding {
    comes_next(subject, Act::Change, "a row that was changed did not come with the next read").await
}

pub(super) async fn a_row_at_the_same_position_comes_too(subject: &dyn Subject) -> Finding {
    needs_cursors(subject.source())?;
    let lost = "a row with the version of the last one, and a key above it, did not come with the next read: a cursor \
                must name what breaks ties, or be read again inclusively";
    comes_next(subject, Act::TieAbove, lost).await
}

/// The other side decides: where it can do this, only a source that reads the position again keeps its promise.
pub(super) async fn a_row_below_the_cursor_at_its_position_comes_too(subject: &dyn Subject) -> Finding {
    needs_cursors(subject.source())?;
    let lost = "a row with the version of the last one, and a key below it, did not come with the next read: since the \
                other side can do this, read the last position again (`CursorKind::Inclusive`, \
                `sync_core::pages_inclusive`)";
    comes_next(subject, Act::TieBelow, lost).await
}

/// After every batch of a read in turn, a row changes; that read and the next must bring it between them.
pub(super) async fn a_change_during_a_read_is_not_lost(subject: &dyn Subject) -> Finding {
    let source = subject.source();
    needs_cursors(source)?;
    let mut watch = Watch::of(subject);
    for pause in 0..4 {
        for part in parts(source).await? {
            let mut reading = source.read(changes(&part));
            let (mut cursor, mut changed, mut later) = (None, None, Vec::new());
            let mut number = 0;
            while let Some(batch) = reading.next().await.transpose()? {
                watch.note(&part, &seen(&batch));
                if changed.is_some() {
                    later.extend(seen(&batch));
                }
                if let Boundary::Resume(at) = batch.boundary {
                    cursor = Some(at);
                }
                if number == pause {
                    changed = Some([watch.act(Act::Change).await?, watch.act(Act::Add).await?]);
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

/// Old rows get the highest version: a source that pages by one order and goes on by another stops at the first of them.
pub(super) async fn a_first_load_brings_every_row_whatever_changed_before(subject: &dyn Subject) -> Finding {
    let source = subject.source();
    needs_cursors(source)?;
    let mut watch = Watch::of(subject);
    let rows = async || -> Result<BTreeSet<RowId>, Stop> {
        let mut rows = BTreeSet::new();
        for part in parts(source).await? {
            rows.extend(last_states(&all_seen(&read(source, changes(&part)).await?)).into_keys());
        }
        Ok(rows)
    };
    let before = rows().await?;
    for _ in 0..3 {
        watch.act(Act::Change).await?;
        let after = rows().await?;
        let lost = before.difference(&after).count();
        let says = "rows are missing from a first load after an old row was changed: it is paged by one order and goes on \
                    behind a position in another";
        holds(lost == 0, format!("{lost} {says}"))?;
    }
    Ok(())
}

pub(super) async fn changes_of_one_row_come_in_order(subject: &dyn Subject) -> Finding {
    let source = subject.source();
    needs_cursors(source)?;
    let mut watch = Watch::of(subject);
    let mut positions = read_to_the_end(source, &mut watch).await?;
    for _ in 0..12 {
        watch.act(Act::Change).await?;
    }
    for (part, found) in &read_on(source, &mut positions).await? {
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
    let mut watch = Watch::of(subject);
    let mut positions = read_to_the_end(source, &mut watch).await?;
    let row = watch.act(Act::Remove).await?;
    let found = read_on(source, &mut positions).await?;
    let reported = found.iter().any(|(_, seen)| names(seen, &row, Op::Delete));
    holds(reported, "a row that was deleted was not reported")
}

/// Pulls a first load up to its first rows, deletes one, and reads again from the position before them: nobody may be left
/// with the row.
pub(super) async fn a_row_deleted_during_a_first_load_is_reported(subject: &dyn Subject) -> Finding {
    let source = subject.source();
    needs(source.capabilities().deletes, "reported deletes")?;
    let mut watch = Watch::of(subject);
    let mut pulled = Vec::new();
    for part in parts(source).await? {
        let (mut reading, mut start, mut first) = (source.read(changes(&part)), None, Vec::new());
        while first.is_empty()
            && let Some(batch) = reading.next().await.transpose()?
        {
            first = seen(&batch);
            match batch.boundary {
                Boundary::Resume(cursor) if first.is_empty() => start = Some(cursor),
                _ => {}
            }
        }
        let without = "a read from the beginning must tell its position before its first rows, since deletes are told from \
                       there on";
        holds(first.is_empty() || start.is_some(), without)?;
        watch.note(&part, &first);
        pulled.push((part, start, first));
    }
    let row = watch.act(Act::Remove).await?;
    for (part, start, mut found) in pulled {
        found.extend(all_seen(&read(source, changes(&part).from(start)).await?));
        let stays = last_states(&found).contains_key(&row);
        holds(!stays, "a row that was deleted during a first load stays with who has read it")?;
    }
    Ok(())
}

pub(super) async fn a_deleted_row_is_not_listed(subject: &dyn Subject) -> Finding {
    let source = subject.source();
    needs(source.capabilities().listing != Listing::None, "a listing")?;
    let row = Watch::of(subject).act(Act::Remove).await?;
    for part in parts(source).await? {
        let named = names(&all_seen(&listing(source, &part).await?), &row, Op::Upsert);
        holds(!named, "a row that was deleted is still listed")?;
    }
    Ok(())
}
