//! Cursors: nothing is lost behind one.

use std::collections::BTreeSet;

use sync_core::model::Boundary;
use sync_core::source::{CursorKind, Receipt};
use sync_core::{Cursor, ErrorKind, Source};

use super::Subject;
use super::reading::{all_seen, changes, last_cursor, last_states, needs_cursors, parts, read, seen};
use crate::data::scope;
use crate::report::{Finding, Stop, holds, same};

/// Stops at every boundary in turn, continues from its cursor, and looks for what is missing.
pub(super) async fn no_row_is_lost_behind_a_cursor(subject: &dyn Subject) -> Finding {
    let source = subject.source();
    needs_cursors(source)?;
    for part in parts(source).await? {
        let whole = read(source, changes(&part)).await?;
        let wanted = last_states(&all_seen(&whole));
        for (index, batch) in whole.iter().enumerate() {
            let Boundary::Resume(cursor) = &batch.boundary else { continue };
            // A store keeps a cursor as its parts.
            let cursor = Cursor::from_parts(cursor.format(), cursor.body());
            let rest = read(source, changes(&part).from(Some(cursor))).await?;
            let both: Vec<_> = whole[..=index].iter().chain(&rest).flat_map(seen).collect();
            let found = last_states(&both);
            let lost = wanted.keys().filter(|key| !found.contains_key(*key)).count();
            holds(
                lost == 0,
                format!("{lost} rows are lost when one stops after batch {} and continues there", index + 1),
            )?;
            holds(
                found == wanted,
                format!("rows differ when one stops after batch {} and continues there", index + 1),
            )?;
        }
    }
    Ok(())
}

pub(super) async fn every_read_can_be_continued(subject: &dyn Subject) -> Finding {
    let source = subject.source();
    needs_cursors(source)?;
    for part in parts(source).await? {
        let batches = read(source, changes(&part)).await?;
        let read_something = batches.iter().any(|batch| batch.records() > 0);
        holds(!read_something || last_cursor(&batches).is_some(), "a read brought rows and no cursor")?;
    }
    Ok(())
}

/// Of a source that says that it has no cursors.
async fn every_read_begins_again(source: &dyn Source) -> Finding {
    for part in parts(source).await? {
        let whole = read(source, changes(&part)).await?;
        let again = read(source, changes(&part).from(last_cursor(&whole))).await?;
        let (wanted, found) = (last_states(&all_seen(&whole)), last_states(&all_seen(&again)));
        same("rows of the read after one that came to its end", found.len(), wanted.len())?;
        holds(found == wanted, "the read after one that came to its end brought other rows")?;
    }
    Ok(())
}

pub(super) async fn the_last_cursor_has_everything_behind_it(subject: &dyn Subject) -> Finding {
    let source = subject.source();
    if source.capabilities().cursor == CursorKind::None {
        return every_read_begins_again(source).await;
    }
    let inclusive = source.capabilities().cursor == CursorKind::Inclusive;
    for part in parts(source).await? {
        let whole = all_seen(&read(source, changes(&part)).await?);
        let batches = read(source, changes(&part)).await?;
        let again = all_seen(&read(source, changes(&part).from(last_cursor(&batches))).await?);
        if inclusive {
            let known = last_states(&whole);
            let new = last_states(&again).into_iter().filter(|(key, row)| known.get(key) != Some(row)).count();
            same("unknown rows after the end", new, 0)?;
            holds(again.len() < whole.len() || whole.is_empty(), "everything comes again after the end")?;
        } else {
            same("changes after the end, where nothing has happened", again.len(), 0)?;
        }
    }
    Ok(())
}

pub(super) async fn a_foreign_cursor_is_gone(subject: &dyn Subject) -> Finding {
    let source = subject.source();
    needs_cursors(source)?;
    for part in parts(source).await? {
        for foreign in [Cursor::from_parts(u32::MAX, "{}"), Cursor::from_parts(u32::MAX, "no JSON")] {
            match read(source, changes(&part).from(Some(foreign))).await {
                Ok(_) => return Err(Stop::Broken("it reads on from a cursor it never made".into())),
                Err(error) => same("kind of the error", error.kind(), ErrorKind::Gone)?,
            }
        }
    }
    Ok(())
}

pub(super) async fn receipts_may_come_twice(subject: &dyn Subject) -> Finding {
    let source = subject.source();
    needs_cursors(source)?;
    for part in parts(source).await? {
        let batches = read(source, changes(&part)).await?;
        let before: BTreeSet<_> = last_states(&all_seen(&batches)).into_keys().collect();
        let Some(cursor) = last_cursor(&batches) else { continue };
        let receipt = Receipt::new(scope(part.0.name()), cursor);
        source.acknowledge(&receipt).await?;
        source.acknowledge(&receipt).await?;
        if source.capabilities().replayable {
            let after: BTreeSet<_> = last_states(&all_seen(&read(source, changes(&part)).await?)).into_keys().collect();
            holds(before == after, "a source that can be read again forgot rows that were acknowledged")?;
        }
    }
    Ok(())
}
