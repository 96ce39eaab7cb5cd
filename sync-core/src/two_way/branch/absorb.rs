//! Takes over what the master says a row is, with the branch's own undecided edits on top.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Branch;
use super::load::Named;
use super::room::{Written, write};
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

    /// A row that was taken over before, and had to make room.
    fn put_aside(RowWrite { table, key, row, hlc, origin, op, seen, .. }: RowWrite) -> Self {
        Self { table: table.name().to_owned(), key, rev: seen, hlc, origin: origin.to_string(), op, row, answer: false }
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

/// Which rows are taken although later ones seem to be known: what was known may have been lost at the master.
pub(super) enum Force<'n> {
    No,
    /// Those that a load has not named yet. They are named from then on, unless they are gone: then nothing is written, since what
    /// a load has not named is swept.
    First(&'n mut Named),
    Always,
}

impl Force<'_> {
    fn takes(&self, table: &str, key: &Key) -> bool {
        match self {
            Self::No => false,
            Self::First(named) => !named.has(table, key),
            Self::Always => true,
        }
    }
}

/// What came of taking rows over.
pub(super) struct Absorbed {
    /// How many rows were new.
    pub(super) rows: u64,
    /// Rows of a load that hang on rows which are not there yet.
    pub(super) orphans: Vec<Canonical>,
}

/// Takes these rows over, in order.
pub(super) async fn absorb(
    branch: &Branch,
    tx: &mut dyn Transaction,
    link: &Link,
    canonical: Vec<Canonical>,
    mut force: Force<'_>,
) -> Result<Absorbed> {
    let known = Known::load(branch, tx, link, &canonical).await?;
    let mut latest: BTreeMap<(String, Key), (usize, Canonical)> = BTreeMap::new();
    for (number, canonical) in canonical.into_iter().enumerate() {
        let place = (canonical.table.clone(), canonical.key.clone());
        let before = latest.get(&place);
        let seen = before.map_or_else(|| known.seen(&place), |(_, before)| before.rev);
        // Within one transaction only the last state of a row matters; its first place keeps it behind its parents.
        let number = before.map_or(number, |(number, _)| *number);
        // Of two states that came together the later one stands: pages that were read one after the other may be here as one.
        if before.is_none() && force.takes(&place.0, &place.1) || canonical.rev >= seen {
            latest.insert(place, (number, canonical));
        }
    }
    if let Force::First(named) = &mut force {
        for ((table, key), (_, canonical)) in &latest {
            match &canonical.row {
                Some(_) => named.add(table, key),
                None => named.remove(table, key),
            }
        }
        latest.retain(|_, (_, canonical)| canonical.row.is_some());
    }
    let mut writes = Vec::with_capacity(latest.len());
    let own = link.peer(branch.replica.name()).to_string();
    for (place, (number, canonical)) in &latest {
        let Some(table) = branch.replica.tables().get(&canonical.table) else { continue };
        // Edits of one row are decided in their order: in what became of a later one, the earlier ones are already, although
        // what was decided about them has not come yet.
        let last = if canonical.origin == own { canonical.op } else { 0 };
        let open = known.open.get(place).map(Vec::as_slice).unwrap_or_default();
        let open = open.iter().filter(|entry| entry.seq == 0 || entry.seq > last);
        let write = RowWrite {
            table: Arc::clone(table),
            key: canonical.key.clone(),
            row: on_top(table, open, canonical.row.clone())?,
            hlc: canonical.hlc,
            origin: canonical.origin.clone().into(),
            op: canonical.op,
            seen: canonical.rev,
            upstream: canonical.answer || !branch.planted.has(NoOrigin),
        };
        if !known.is_so(place, &write) {
            writes.push(((branch.replica.tables().place(table.name()), *number), write));
        }
    }
    writes.sort_by_key(|(place, _)| *place);
    let writes: Vec<RowWrite> = writes.into_iter().map(|(_, write)| write).collect();
    let loading = !matches!(force, Force::No);
    let Written { orphaned, lost } = write(branch, tx, link, &writes, loading).await?;
    let (rows, mut orphans) = (latest.len(), Vec::new());
    for (write, missing) in orphaned {
        let Force::First(named) = &mut force else { return Err(missing) };
        named.remove(write.table.name(), &write.key);
        let orphan = latest.remove(&(write.table.name().to_owned(), write.key.clone()));
        orphans.extend(orphan.map(|(_, canonical)| canonical));
    }
    let rows = rows - orphans.len();
    if let Force::First(named) = &mut force {
        for lost in lost.into_iter().filter(|lost| named.has(lost.table.name(), &lost.key)).collect::<Vec<_>>() {
            named.remove(lost.table.name(), &lost.key);
            orphans.push(Canonical::put_aside(lost));
        }
    }
    Ok(Absorbed { rows: rows as u64, orphans })
}

/// What the branch holds of some rows.
struct Known {
    held: BTreeMap<(String, Key), Held>,
    open: BTreeMap<(String, Key), Vec<Entry>>,
}

impl Known {
    async fn load(branch: &Branch, tx: &mut dyn Transaction, link: &Link, canonical: &[Canonical]) -> Result<Self> {
        let mut keys: BTreeMap<usize, BTreeSet<&Key>> = BTreeMap::new();
        for row in canonical {
            keys.entry(branch.replica.tables().place(&row.table)).or_default().insert(&row.key);
        }
        let mut known = Self { held: BTreeMap::new(), open: BTreeMap::new() };
        for (place, keys) in keys {
            let Some(table) = branch.replica.tables().iter().nth(place) else { continue };
            let keys: Vec<Key> = keys.into_iter().cloned().collect();
            let held = tx.rows(table, &keys).await?;
            for entry in tx.pending(table, &keys, link.floor()).await? {
                if link.is_open(entry.seq) {
                    known.open.entry((entry.table.clone(), entry.key.clone())).or_default().push(entry);
                }
            }
            let places = keys.into_iter().map(|key| (table.name().to_owned(), key));
            known.held.extend(places.zip(held));
        }
        Ok(known)
    }

    /// The master's `rev` that was seen of the row last.
    fn seen(&self, place: &(String, Key)) -> u64 {
        self.held.get(place).and_then(|held| held.stamp.as_ref()).map_or(0, |stamp| stamp.seen)
    }

    /// Whether nothing of this write is new: most of what is loaded again.
    fn is_so(&self, place: &(String, Key), write: &RowWrite) -> bool {
        let known = |stamp: &Stamp| write.seen > 0 && stamp.seen == write.seen && stamp.hlc >= write.hlc;
        self.held.get(place).is_some_and(|held| held.row == write.row && held.stamp.as_ref().is_some_and(known))
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
