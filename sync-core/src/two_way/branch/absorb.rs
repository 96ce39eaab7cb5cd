//! Takes over what the master says a row is, with the branch's own undecided edits on top.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Branch;
use super::load::Named;
use super::send::code;
use crate::model::{Key, Value};
use crate::two_way::Flaw::NoOrigin;
use crate::two_way::{EditResult, Entry, Held, Hlc, Item, Link, Peer, RowWrite, Stamp, Table, Transaction};
use crate::{Error, ErrorKind, Result};

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

/// What became of writes.
#[derive(Default)]
struct Written<'w> {
    /// Those that hang on rows which are not there, and why they were refused.
    orphaned: Vec<(&'w RowWrite, Error)>,
    /// Rows of a load that made room and found none for themselves.
    lost: Vec<RowWrite>,
}

/// Writes the rows: parents before children, and deletes the other way round.
async fn write<'w>(
    branch: &Branch,
    tx: &mut dyn Transaction,
    link: &Link,
    writes: &'w [RowWrite],
    loading: bool,
) -> Result<Written<'w>> {
    let (kept, deletes): (Vec<&RowWrite>, Vec<&RowWrite>) = writes.iter().partition(|write| write.row.is_some());
    let together: Vec<RowWrite> = kept.iter().copied().cloned().collect();
    let written = match tx.write(&together).await {
        Ok(_) => Written::default(),
        Err(error) if matches!(code(&error), Some("unique" | "parent")) => {
            make_room(branch, tx, link, kept, &deletes, loading).await?
        }
        Err(error) => return Err(error),
    };
    let deletes: Vec<RowWrite> = deletes.into_iter().rev().cloned().collect();
    tx.write(&deletes).await?;
    Ok(written)
}

/// Writes rows one by one, some of which meet others.
///
/// A row that holds a unique value which one of them needs makes room. If that is an edit of ours which is still open, the
/// master will find the same clash, and its answer decides; any other row has given the value away meanwhile, or comes back.
async fn make_room<'w>(
    branch: &Branch,
    tx: &mut dyn Transaction,
    link: &Link,
    writes: Vec<&'w RowWrite>,
    deletes: &[&RowWrite],
    loading: bool,
) -> Result<Written<'w>> {
    let same = |one: &RowWrite, other: &RowWrite| one.table.name() == other.table.name() && one.key == other.key;
    let (mut aside, mut left, mut orphans) = (Vec::<RowWrite>::new(), writes, Vec::new());
    while !left.is_empty() {
        let before = left.len();
        for write in std::mem::take(&mut left) {
            for there in clear_way(branch, tx, link, write).await? {
                aside.push(there);
            }
            match tx.write(std::slice::from_ref(write)).await {
                // What was put aside of it before is older; what makes room from now on is this.
                Ok(_) => aside.retain(|there| !same(there, write)),
                Err(error) if code(&error) == Some("parent") => orphans.push((write, error)),
                Err(error) => return Err(error),
            }
        }
        if orphans.len() == before {
            break;
        }
        // Where a row hangs on the next, and that on the one behind it, the way back finds all of them.
        left = orphans.drain(..).rev().map(|(write, _)| write).collect();
    }
    let mut lost = Vec::new();
    for back in aside.iter().rev().filter(|back| !deletes.iter().any(|gone| same(back, gone))) {
        let mut written = tx.write(std::slice::from_ref(back)).await;
        let in_the_way =
            |written: &Result<Vec<u64>>| written.as_ref().is_err_and(|error| code(error) == Some("unique"));
        if in_the_way(&written) {
            give_back(branch, tx, link, back).await?;
            written = tx.write(std::slice::from_ref(back)).await;
        }
        if in_the_way(&written) && in_the_way_are_edits_of_ours(branch, tx, link, back).await? {
            clear_way(branch, tx, link, back).await?;
            written = tx.write(std::slice::from_ref(back)).await;
        }
        match written {
            // Everything is loaded: the master has this row otherwise, and it comes yet, or has it no more.
            Err(error) if loading && matches!(code(&error), Some("unique" | "parent")) => lost.push(back.clone()),
            written => drop(written?),
        }
    }
    Ok(Written { orphaned: orphans, lost })
}

/// Takes away what holds a unique value that this row needs. Returns what comes back if there is room for it afterwards.
async fn clear_way(branch: &Branch, tx: &mut dyn Transaction, link: &Link, write: &RowWrite) -> Result<Vec<RowWrite>> {
    give_back(branch, tx, link, write).await?;
    let mut aside = Vec::new();
    for (table, key) in tx.clashing(write).await? {
        let table = branch.replica.tables().require(&table)?;
        let Some((there, open)) = standing(tx, link, table, key).await? else { continue };
        tx.write(&[RowWrite { row: None, ..there.clone() }]).await?;
        if open.is_empty() {
            aside.push(there);
        }
    }
    Ok(aside)
}

/// Lets rows that hold a unique value which this row needs, by edits of ours that are still open, go on without those edits: what hangs
/// on them stays.
async fn give_back(branch: &Branch, tx: &mut dyn Transaction, link: &Link, write: &RowWrite) -> Result<()> {
    for (table, key) in tx.clashing(write).await?.into_iter().filter(|(table, _)| table == write.table.name()) {
        let table = branch.replica.tables().require(&table)?;
        let Some((there, open)) = standing(tx, link, table, key).await? else { continue };
        let Some(row) = without(table, &open, there.row.as_ref()) else { continue };
        match tx.write(&[RowWrite { row: Some(row), ..there }]).await {
            // What it held before is another's, too: then it has to go.
            Err(error) if matches!(code(&error), Some("unique" | "parent")) => {}
            written => drop(written?),
        }
    }
    Ok(())
}

/// A row as it stands here, and the edits of ours in it that are still open.
async fn standing(
    tx: &mut dyn Transaction,
    link: &Link,
    table: &Arc<Table>,
    key: Key,
) -> Result<Option<(RowWrite, Vec<Entry>)>> {
    let held = tx.rows(table, std::slice::from_ref(&key)).await?.pop().unwrap_or_default();
    let Some(Stamp { hlc, origin, op, seen, .. }) = held.stamp else { return Ok(None) };
    let mut open = tx.pending(table, std::slice::from_ref(&key), link.floor()).await?;
    open.retain(|entry| link.is_open(entry.seq));
    Ok(Some((RowWrite { table: Arc::clone(table), key, row: held.row, hlc, origin, op, seen, upstream: true }, open)))
}

/// What a row would be without these edits; `None` where it would not be there, or where they are none.
fn without(table: &Table, edits: &[Entry], row: Option<&Vec<Value>>) -> Option<Vec<Value>> {
    let (first, mut row) = (edits.first()?, row?.clone());
    first.before.as_ref()?;
    for edit in edits.iter().rev() {
        row = table.onto(edit.after.as_deref(), edit.before.as_ref()?, &row).ok()?;
    }
    Some(row)
}

/// Whether nothing but edits of ours that are still open holds a unique value of this row: the master gave it to this row.
async fn in_the_way_are_edits_of_ours(
    branch: &Branch,
    tx: &mut dyn Transaction,
    link: &Link,
    write: &RowWrite,
) -> Result<bool> {
    for (table, key) in tx.clashing(write).await? {
        let table = branch.replica.tables().require(&table)?;
        let pending = tx.pending(table, std::slice::from_ref(&key), link.floor()).await?;
        if !pending.iter().any(|entry| link.is_open(entry.seq)) {
            return Ok(false);
        }
    }
    Ok(true)
}
