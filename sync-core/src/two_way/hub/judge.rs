//! Judges groups, one after the other: what each edit makes of the row it finds, or why its group must wait.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Hub;
use super::books::{is_lost, read, waiting_id};
use super::inbox::Reason;
use crate::Result;
use crate::conflict::{Conflict, Resolution};
use crate::model::{Changes, FieldSet, Key, Mark, Op, Value};
use crate::two_way::Flaw::{ClientTimeOrder, NoBaseCheck};
use crate::two_way::table::without_time;
use crate::two_way::{Access, Became, Book, Edit, Group, Held, Hlc, Peer, RowWrite, Table, Transaction};

/// What becomes of a group.
#[derive(Debug)]
pub(super) enum Judgement {
    Write(Vec<Verdict>),
    Wait(Reason),
}

/// What becomes of an edit.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) op: u64,
    pub(super) table: String,
    pub(super) became: Became,
    /// The write that gives the row its `rev`; `None` where nothing is written, and the `rev` stays.
    pub(super) write: Option<usize>,
    pub(super) rev: u64,
    pub(super) row: Option<Vec<Value>>,
    pub(super) hlc: Hlc,
    pub(super) clamped: bool,
}

/// Judges the groups of one transaction, each against the rows as those before it leave them.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    hub: &'a Hub,
    who: &'a Peer,
    rows: BTreeMap<(usize, Key), Standing>,
    /// What the groups that need not wait have come to, in order.
    pub(super) writes: Vec<RowWrite>,
    /// Whether some group waits in the inbox: others may have to wait behind it.
    pub(super) waiting: bool,
}

/// A row as it stands after the edits so far.
#[derive(Debug, Clone)]
struct Standing {
    row: Option<Vec<Value>>,
    hlc: Hlc,
    rev: u64,
    /// Nothing is known of it, not even a delete.
    unknown: bool,
    /// The write that made it so.
    write: Option<usize>,
}

impl<'a> Judge<'a> {
    /// Locks the rows of these groups: parents first, then by key, so that two transactions never wait for each other.
    pub(super) async fn begin(hub: &'a Hub, tx: &mut dyn Transaction, who: &'a Peer, groups: &[Group]) -> Result<Self> {
        let rows = lock(hub, tx, groups).await?;
        let waiting = !tx.list(Book::Inbox, "", "", 1).await?.is_empty();
        Ok(Self { hub, who, rows, writes: Vec::new(), waiting })
    }

    /// Judges the next group. `within` is the caller's access, checked against the rows that are there; `inbox` is the group's
    /// own place in the inbox, when it is tried again. One that must wait is the last: it leaves no writes, and rows that are
    /// no longer as they stand.
    pub(super) async fn judge(
        &mut self,
        tx: &mut dyn Transaction,
        group: &Group,
        within: Option<&Access>,
        inbox: Option<&str>,
    ) -> Result<Judgement> {
        let before = self.writes.len();
        let judgement = self.weigh(tx, group, within, inbox).await?;
        if let Judgement::Wait(_) = judgement {
            self.writes.truncate(before);
        }
        Ok(judgement)
    }

    async fn weigh(
        &mut self,
        tx: &mut dyn Transaction,
        group: &Group,
        within: Option<&Access>,
        inbox: Option<&str>,
    ) -> Result<Judgement> {
        let hub = self.hub;
        for edit in &group.edits {
            let table = hub.replica.tables().require(&edit.table)?;
            let standing = self.rows.get(&(hub.replica.tables().place(&edit.table), edit.key.clone()));
            let Some(row) = standing.and_then(|standing| standing.row.as_ref()) else { continue };
            match within {
                // Before anything else: a group that waits is answered with the rows as they are.
                Some(access) => access.check(table, row).map_err(|error| error.with("op", edit.op))?,
                None if !is_of_its_scope(table, group, &edit.key, row) => {
                    return Ok(Judgement::Wait(Reason::Refused("the row belongs to somebody else".to_owned())));
                }
                None => {}
            }
        }
        if self.waiting
            && let Some(reason) = waits_behind(tx, group, inbox).await?
        {
            return Ok(Judgement::Wait(reason));
        }
        let mut verdicts = Vec::with_capacity(group.edits.len());
        let latest = Hlc::at(hub.clock.now() + hub.settings.ahead);
        for edit in &group.edits {
            let table = hub.replica.tables().require(&edit.table)?;
            let place = (hub.replica.tables().place(&edit.table), edit.key.clone());
            let Some(standing) = self.rows.get_mut(&place) else { continue };
            let clamped = edit.hlc > latest;
            let hlc = if clamped { hub.present() } else { edit.hlc };
            // The branch had this very row before its eyes: in this write of it, or in an equal one.
            let clean = hub.planted.has(NoBaseCheck)
                || standing.rev == edit.base && standing.write.is_none() && takes_its_place(table, edit, standing)
                || standing.row.is_some() && standing.row == edit.before
                // Or had deleted it itself a moment ago: set back to the present, both are of one time.
                || standing.write.is_some() && standing.row.is_none() && edit.before.is_none();
            let late = hub.planted.has(ClientTimeOrder) && hlc < standing.hlc;
            let gone = standing.unknown && edit.before.is_some();
            // A row that this master has lost with its disk begins anew with what the branch has of it.
            let clean = clean || gone && edit.base > 0 && is_lost(tx, edit.base).await?;
            let outcome = if late { Outcome::Keep } else { outcome(table, edit, standing, hlc, clean)? };
            let (became, row) = match outcome {
                Outcome::Keep => (Became::Overruled, None),
                Outcome::Nothing => (Became::Applied, None),
                Outcome::Write(became, row) => (became, Some(row)),
                Outcome::Park(reason) => return Ok(Judgement::Wait(Reason::Parked(reason))),
            };
            if let Some(mut row) = row {
                if let (Some(row), Some(existing)) = (&mut row, &standing.row) {
                    table.keep_owned(row, existing);
                }
                // What was written with the row before its eyes is later than it, whatever the branch's clock says.
                standing.hlc = if clean { hlc.max(Hlc(standing.hlc.0 + 1)) } else { hlc.max(standing.hlc) };
                standing.row.clone_from(&row);
                standing.write = Some(self.writes.len());
                standing.unknown = false;
                self.writes.push(RowWrite {
                    table: Arc::clone(table),
                    key: edit.key.clone(),
                    row,
                    hlc: standing.hlc,
                    origin: self.who.to_string().into(),
                    op: edit.op,
                    seen: 0,
                    upstream: false,
                });
            }
            verdicts.push(Verdict {
                op: edit.op,
                table: edit.table.clone(),
                became,
                write: standing.write,
                rev: standing.rev,
                row: standing.row.clone(),
                hlc: standing.hlc,
                clamped,
            });
        }
        Ok(Judgement::Write(verdicts))
    }
}

/// Whether what the edit takes the place of is what stands. A master that was restored from a backup may have given the `rev`
/// that the branch saw to another write since.
fn takes_its_place(table: &Table, edit: &Edit, standing: &Standing) -> bool {
    match (&edit.before, &standing.row) {
        (Some(before), Some(row)) => {
            let replaced = edit.after.as_ref().map_or_else(|| row.as_slice(), Vec::as_slice);
            let (replaces, counters) = (Table::differing(before, replaced), table.counter_indices());
            replaces.iter().all(|column| counters.contains(&column) || before[column] == row[column])
        }
        (before, row) => before.is_none() && row.is_none(),
    }
}

/// Whether this row belongs to whom the group's own rows belong to: while it waited, another may have come under its key.
fn is_of_its_scope(table: &Table, group: &Group, key: &Key, row: &[Value]) -> bool {
    let mut own = group
        .edits
        .iter()
        .filter(|edit| edit.table == table.name() && edit.key == *key)
        .flat_map(|edit| [&edit.before, &edit.after])
        .flatten();
    own.any(|own| table.same_scope(own, row))
}

/// Whether an earlier group waits for a row of this one.
async fn waits_behind(tx: &mut dyn Transaction, group: &Group, inbox: Option<&str>) -> Result<Option<Reason>> {
    for edit in &group.edits {
        let Some(body) = tx.get(Book::Waiting, &waiting_id(&edit.table, &edit.key)).await? else { continue };
        let waiting: Vec<String> = read(&body)?;
        if let Some(earlier) = waiting.iter().find(|id| inbox.is_none_or(|own| id.as_str() < own)) {
            return Ok(Some(Reason::Behind(earlier.clone())));
        }
    }
    Ok(None)
}

async fn lock(hub: &Hub, tx: &mut dyn Transaction, groups: &[Group]) -> Result<BTreeMap<(usize, Key), Standing>> {
    let tables = hub.replica.tables();
    let mut keys: BTreeMap<usize, Vec<Key>> = BTreeMap::new();
    for edit in groups.iter().flat_map(|group| &group.edits) {
        tables.require(&edit.table)?;
        keys.entry(tables.place(&edit.table)).or_default().push(edit.key.clone());
    }
    let mut rows = BTreeMap::new();
    for (place, mut keys) in keys {
        keys.sort();
        keys.dedup();
        let Some(table) = tables.iter().nth(place) else { continue };
        let held = tx.rows(table, &keys).await?;
        for (key, Held { stamp, row }) in keys.into_iter().zip(held) {
            let unknown = stamp.is_none() && row.is_none();
            let (rev, hlc) = stamp.map_or((0, Hlc::default()), |stamp| (stamp.rev, stamp.hlc));
            rows.insert((place, key), Standing { row, hlc, rev, unknown, write: None });
        }
    }
    Ok(rows)
}

enum Outcome {
    /// The row stays as it is, although the edit wanted otherwise.
    Keep,
    /// It is so already.
    Nothing,
    Write(Became, Option<Vec<Value>>),
    Park(String),
}

/// `clean` says that the branch had seen the row as it stands.
fn outcome(table: &Table, edit: &Edit, standing: &Standing, hlc: Hlc, clean: bool) -> Result<Outcome> {
    let Some(existing) = &standing.row else {
        return Ok(match (&edit.before, &edit.after) {
            // A write that comes later, and was made before, must find that the row was deleted.
            (_, None) if standing.unknown => Outcome::Write(Became::Applied, None),
            (_, None) => Outcome::Nothing,
            // A new row under a key that was deleted: only where it is later than the delete (P6).
            (None, Some(row)) if standing.unknown || clean || hlc > standing.hlc => {
                Outcome::Write(Became::Applied, Some(row.clone()))
            }
            (Some(_), Some(row)) if clean => Outcome::Write(Became::Applied, Some(row.clone())),
            // An edit of a row that was deleted meanwhile: the delete stands.
            _ => Outcome::Keep,
        });
    };
    match &edit.after {
        None if clean => return Ok(Outcome::Write(Became::Applied, None)),
        Some(after) if clean => {
            let row = table.onto(edit.before.as_deref(), after, existing)?;
            return Ok(Outcome::Write(Became::Applied, Some(row)));
        }
        _ => {}
    }
    meet(table, edit, existing, standing.hlc, hlc)
}

/// The row has changed since the branch saw it: the table's policy decides.
fn meet(table: &Table, edit: &Edit, existing: &[Value], stored_at: Hlc, hlc: Hlc) -> Result<Outcome> {
    let stored = table.timed_row(existing, stored_at.0)?;
    let base = edit.before.as_ref().map(|before| table.timed_row(before, 0)).transpose()?;
    let (values, mark) = match (&edit.before, &edit.after) {
        (Some(before), Some(after)) => (after, Mark { fields: Some(named(table, before, after)), ..Mark::default() }),
        (None, Some(after)) => (after, Mark::default()),
        (Some(before), None) => (before, Mark::delete()),
        (None, None) => return Ok(Outcome::Nothing),
    };
    let incoming = Changes::marked(table.timed_row(values, hlc.0)?, vec![mark]);
    let mut conflict = Conflict::new(table.timed(), &edit.key, stored.row(0), incoming.at(0));
    if let Some(base) = &base {
        conflict = conflict.with_base(base.row(0));
    }
    Ok(match table.decides().resolve(&conflict) {
        Resolution::KeepExisting => Outcome::Keep,
        Resolution::TakeIncoming if incoming.at(0).op() == Op::Delete => Outcome::Write(Became::Prevailed, None),
        Resolution::TakeIncoming => {
            let whole = incoming.at(0).onto(Some(stored.row(0)));
            let row = whole[..existing.len()].to_vec();
            let became = if Some(&row) == edit.after.as_ref() { Became::Prevailed } else { Became::Merged };
            Outcome::Write(became, Some(row))
        }
        Resolution::Merge(row) if row.len() == table.timed().schema().width() => {
            let merged = table.timed_row(&row[..existing.len()], 0)?;
            Outcome::Write(Became::Merged, Some(without_time(merged.row(0))))
        }
        Resolution::Merge(_) => {
            Outcome::Park("the policy gave a row that has not one value for each column".to_owned())
        }
        Resolution::Park(reason) => Outcome::Park(reason),
    })
}

/// The columns that changed, and the time of the write.
fn named(table: &Table, before: &[Value], after: &[Value]) -> FieldSet {
    let mut fields = Table::differing(before, after);
    fields.insert(table.spec().schema().width());
    fields
}
