//! Watches the hand: a hand that does not do what it was asked for must not be mistaken for a broken source.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::model::Op;
use sync_core::{Key, Value};

use super::reading::{Part, Seen, all_seen, changes, parts, read};
use super::{Act, Subject};
use crate::report::{Finding, Stop, broken};

/// A row by its stream and its key.
pub(super) type RowId = (String, Key);

/// A subject, and what is known of its rows.
pub(super) struct Watch<'a> {
    subject: &'a dyn Subject,
    /// The rows that are there, with their versions.
    rows: BTreeMap<RowId, Option<Value>>,
    /// The rows that acts were about, but for [`Act::Change`], which may come back to a row.
    used: BTreeSet<RowId>,
}

impl<'a> Watch<'a> {
    pub(super) fn of(subject: &'a dyn Subject) -> Self {
        Self { subject, rows: BTreeMap::new(), used: BTreeSet::new() }
    }

    /// Takes note of what was read of this part.
    pub(super) fn note(&mut self, part: &Part, seen: &[Seen]) {
        for change in seen {
            let id = (change.stream.clone(), change.key.clone());
            let version = part.0.stream(&change.stream).and_then(|stream| stream.version_index());
            match change.op {
                Op::Upsert => self.rows.insert(id, version.and_then(|version| change.values.get(version).cloned())),
                Op::Delete => self.rows.remove(&id),
            };
        }
    }

    /// Has this done, and checks that it is told about a row that it may be.
    pub(super) async fn act(&mut self, act: Act) -> Result<RowId, Stop> {
        let Some(row) = self.subject.act(act).await? else {
            return Err(Stop::Skipped(format!("needs a hand that does `Act::{act:?}`")));
        };
        if act != Act::Change && !self.used.insert(row.clone()) {
            blame(act, "it names a row that it has named before: let each call be about another row")?;
        }
        if act == Act::Add && self.rows.contains_key(&row) {
            blame(act, "it names a row that was there before: give the new row a key that no row has")?;
        }
        Ok(row)
    }

    /// What a hand may have done wrong when its row did not come: read from the beginning, the row must be there, as it
    /// was asked for.
    pub(super) async fn explain(&self, act: Act, row: &RowId) -> Finding {
        let source = self.subject.source();
        if !source.capabilities().replayable {
            return Ok(());
        }
        let mut now = Watch::of(self.subject);
        for part in parts(source).await? {
            now.note(&part, &all_seen(&read(source, changes(&part)).await?));
        }
        match now.rows.get(row) {
            // A source that cannot bring the row at all is at fault itself, and so may the hand be.
            None => Ok(()),
            Some(version) => self.is_tied(act, row, version.as_ref()),
        }
    }

    /// A tie must stand at the highest position that was there before, on the side of the last row that was asked for.
    pub(super) fn is_tied(&self, act: Act, (stream, key): &RowId, version: Option<&Value>) -> Finding {
        let here = self.rows.iter().filter(|((other, other_key), _)| other == stream && other_key != key);
        let Some((highest, last)) = here.map(|((_, key), version)| (version.as_ref(), key)).max() else {
            return Ok(());
        };
        let on_its_side = match act {
            Act::TieAbove => key > last,
            Act::TieBelow => key < last,
            _ => return Ok(()),
        };
        if version != highest {
            blame(act, "its row does not have the version of the highest row there was")?;
        }
        if !on_its_side {
            let side = if act == Act::TieAbove { "above" } else { "below" };
            blame(act, &format!("the key of its row does not sort {side} that of the last row at that version"))?;
        }
        Ok(())
    }
}

/// Says that it is not the source's fault.
fn blame(act: Act, how: &str) -> Finding {
    broken(format!("the hand is at fault, not the source. Asked for `Act::{act:?}`, {how}"))
}
