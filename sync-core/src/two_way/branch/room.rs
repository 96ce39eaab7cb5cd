//! Writes rows that may stand in each other's way: a unique value moves from row to row, and rows hang on others.

use std::sync::Arc;

use super::send::code;
use super::{Branch, Link};
use crate::model::{Key, Value};
use crate::two_way::{Entry, RowWrite, Stamp, Table, Transaction};
use crate::{Error, Result};

/// What became of writes.
#[derive(Default)]
pub(super) struct Written<'w> {
    /// Those that hang on rows which are not there, and why they were refused.
    pub(super) orphaned: Vec<(&'w RowWrite, Error)>,
    /// Rows of a load that made room and found none for themselves.
    pub(super) lost: Vec<RowWrite>,
}

/// Writes the rows: parents before children, and deletes the other way round.
pub(super) async fn write<'w>(
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
