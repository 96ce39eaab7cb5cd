//! Takes over what the master says a row is, with the branch's own undecided edits on top.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Branch;
use super::send::code;
use crate::model::{Key, Value};
use crate::two_way::Flaw::NoOrigin;
use crate::two_way::{EditResult, Entry, Held, Hlc, Item, Link, Peer, RowWrite, Stamp, Table, Transaction};
use crate::{ErrorKind, Result};

/// A row as the master has it.
#[derive(Debug, Clone)]
pub(super) struct Canonical {
    pub(super) table: String,
    pub(super) key: Key,
    pub(super) rev: u64,
    hlc: Hlc,
    origin: String,
    op: u64,
    row: Option<Vec<Value>>,
    /// Whether it answers an edit of ours.
    answer: bool,
}

impl Canonical {
    pub(super) fn item(item: &Item) -> Self {
        let Item { table, key, rev, hlc, origin, op, row, .. } = item.clone();
        Self { table, key, rev, hlc, origin, op, row, answer: false }
    }

    pub(super) fn answer(peer: &Peer, table: &str, key: &Key, result: &EditResult) -> Self {
        Self {
            table: table.to_owned(),
            key: key.clone(),
            rev: result.rev,
            hlc: result.hlc,
            origin: peer.to_string(),
            op: result.op,
            row: result.row.clone(),
            answer: true,
        }
    }

    /// A row that the master no longer has.
    pub(super) fn gone(table: &str, key: Key, hlc: Hlc) -> Self {
        Self {
            table: table.to_owned(),
            key,
            rev: 0,
            hlc,
            origin: "upstream".to_owned(),
            op: 0,
            row: None,
            answer: false,
        }
    }
}

/// Takes these rows over, in order. `force` takes a row although a later one seems to be known: what was known may have been
/// lost at the master. Returns how many rows were new.
pub(super) async fn absorb(
    branch: &Branch,
    tx: &mut dyn Transaction,
    link: &Link,
    canonical: Vec<Canonical>,
    force: bool,
) -> Result<u64> {
    let known = Known::load(branch, tx, link, &canonical).await?;
    let mut latest: BTreeMap<(String, Key), (usize, Canonical)> = BTreeMap::new();
    for (number, canonical) in canonical.into_iter().enumerate() {
        let place = (canonical.table.clone(), canonical.key.clone());
        let before = latest.get(&place);
        let seen = before.map_or_else(|| known.seen.get(&place).copied().unwrap_or(0), |(_, before)| before.rev);
        // Within one transaction only the last state of a row matters; its first place keeps it behind its parents.
        let number = before.map_or(number, |(number, _)| *number);
        // Of two states that came together the later one stands: pages that were read one after the other may be here as one.
        if force && before.is_none() || canonical.rev >= seen {
            latest.insert(place, (number, canonical));
        }
    }
    let mut writes = Vec::with_capacity(latest.len());
    let own = link.peer(branch.replica.name()).to_string();
    for (place, (number, canonical)) in latest {
        let Some(table) = branch.replica.tables().get(&canonical.table) else { continue };
        // Edits of one row are decided in their order: in what became of a later one, the earlier ones are already, although
        // what was decided about them has not come yet.
        let last = if canonical.origin == own { canonical.op } else { 0 };
        let open = known.open.get(&place).map(Vec::as_slice).unwrap_or_default();
        let open = open.iter().filter(|entry| entry.seq == 0 || entry.seq > last);
        let write = RowWrite {
            table: Arc::clone(table),
            key: canonical.key,
            row: on_top(table, open, canonical.row)?,
            hlc: canonical.hlc,
            origin: canonical.origin.into(),
            op: canonical.op,
            seen: canonical.rev,
            upstream: canonical.answer || !branch.planted.has(NoOrigin),
        };
        writes.push(((branch.replica.tables().place(table.name()), number), write));
    }
    writes.sort_by_key(|(place, _)| *place);
    let writes: Vec<RowWrite> = writes.into_iter().map(|(_, write)| write).collect();
    write(branch, tx, link, &writes, force).await?;
    Ok(writes.len() as u64)
}

/// What the branch holds of some rows.
struct Known {
    seen: BTreeMap<(String, Key), u64>,
    open: BTreeMap<(String, Key), Vec<Entry>>,
}

impl Known {
    async fn load(branch: &Branch, tx: &mut dyn Transaction, link: &Link, canonical: &[Canonical]) -> Result<Self> {
        let mut keys: BTreeMap<usize, BTreeSet<&Key>> = BTreeMap::new();
        for row in canonical {
            keys.entry(branch.replica.tables().place(&row.table)).or_default().insert(&row.key);
        }
        let mut known = Self { seen: BTreeMap::new(), open: BTreeMap::new() };
        for (place, keys) in keys {
            let Some(table) = branch.replica.tables().iter().nth(place) else { continue };
            let keys: Vec<Key> = keys.into_iter().cloned().collect();
            let held = tx.rows(table, &keys).await?;
            for entry in tx.pending(table, &keys, link.floor()).await? {
                if link.is_open(entry.seq) {
                    known.open.entry((entry.table.clone(), entry.key.clone())).or_default().push(entry);
                }
            }
            for (key, Held { stamp, .. }) in keys.into_iter().zip(held) {
                known.seen.insert((table.name().to_owned(), key), stamp.map_or(0, |stamp| stamp.seen));
            }
        }
        Ok(known)
    }
}

/// The row with undecided edits on top, in order.
fn on_top<'e>(
    table: &Table,
    open: impl Iterator<Item = &'e Entry>,
    canonical: Option<Vec<Value>>,
) -> Result<Option<Vec<Value>>> {
    let mut row = canonical;
    for entry in open {
        row = match (&entry.after, row) {
            (None, _) => None,
            (Some(after), None) => Some(after.clone()),
            (Some(after), Some(row)) => match table.onto(entry.before.as_deref(), after, &row) {
                // A counter that does not hold both: the master lets the edit wait, and until that is decided its row stands here.
                Err(error) if error.kind() == ErrorKind::Data => Some(row),
                row => Some(row?),
            },
        };
    }
    Ok(row)
}

/// Writes the rows: parents before children, and deletes the other way round.
///
/// A row that holds a unique value which one of them needs makes room. If that is an edit of ours which is still open, the
/// master will find the same clash, and its answer decides; any other row has given the value away meanwhile, or comes back.
async fn write(
    branch: &Branch,
    tx: &mut dyn Transaction,
    link: &Link,
    writes: &[RowWrite],
    loading: bool,
) -> Result<()> {
    let mut aside = Vec::new();
    for write in writes.iter().filter(|write| write.row.is_some()) {
        for (table, key) in tx.clashing(write).await? {
            let table = branch.replica.tables().require(&table)?;
            let held = tx.rows(table, std::slice::from_ref(&key)).await?.pop().unwrap_or_default();
            let Some(stamp) = held.stamp else { continue };
            let open = tx.pending(table, std::slice::from_ref(&key), link.floor()).await?;
            let is_open = open.iter().any(|entry| link.is_open(entry.seq));
            let Stamp { hlc, origin, op, seen, .. } = stamp;
            let there =
                RowWrite { table: Arc::clone(table), key, row: held.row, hlc, origin, op, seen, upstream: true };
            tx.write(&[RowWrite { row: None, ..there.clone() }]).await?;
            if !is_open {
                aside.push(there);
            }
        }
        tx.write(std::slice::from_ref(write)).await?;
    }
    for back in aside.iter().rev() {
        let rewritten = writes.iter().any(|write| write.table.name() == back.table.name() && write.key == back.key);
        if rewritten {
            continue;
        }
        match tx.write(std::slice::from_ref(back)).await {
            // Everything is loaded: the master has this row otherwise, and it comes yet, or has it no more.
            Err(error) if loading && matches!(code(&error), Some("unique" | "parent")) => {}
            written => drop(written?),
        }
    }
    let deletes: Vec<RowWrite> = writes.iter().rev().filter(|write| write.row.is_none()).cloned().collect();
    tx.write(&deletes).await.map(drop)
}
