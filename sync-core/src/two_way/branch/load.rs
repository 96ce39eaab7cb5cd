//! A load of everything: kept beside the tables until it is whole, and then published in one transaction, so that no reader sees a
//! part of it.
//!
//! Pages of rows, and of what happened meanwhile, are staged as they come, table by table, and a load that is interrupted goes on
//! where it was. Once the master has no more, tables are written parents first; of a row's states the latest stands. What no page
//! has named is gone.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::absorb::{Canonical, Force, absorb};
use super::link::Loading;
use super::receive::decided;
use super::{Branch, Link, Synced, link};
use crate::model::Key;
use crate::two_way::{Book, Hlc, Item, Page, Transaction};
use crate::{Error, Result};

/// How many rows are kept, and written, together; and how many bytes of them, about: what is larger is alone.
const TOGETHER: (usize, usize) = (500, 1 << 20);

/// So many parts are thrown away at once.
const PARTS: usize = 8;

/// Takes the next page of a load, and publishes all of it where it was the last.
pub(super) async fn load(branch: &Branch, page: &Page, synced: &mut Synced) -> Result<()> {
    let mut tx = branch.replica.begin().await?;
    let mut link = link::load(&mut *tx).await?;
    link.known_as = page.known_as.clone().or(link.known_as);
    let before = match link.loading.take() {
        Some(loading) => loading.parts,
        None => {
            clear(&mut *tx).await?;
            0
        }
    };
    let parts = stage(branch, &mut *tx, &page.items, before).await?;
    if page.more {
        link.loading = Some(Loading { position: page.next.clone(), parts });
    } else {
        link.position = Some(page.next.clone());
        publish(branch, &mut *tx, &mut link, page, synced).await?;
    }
    link::save(&mut *tx, &link).await?;
    tx.commit().await
}

/// Keeps these rows, by table in the order in which tables are written, and behind what came before. Returns how many parts there are
/// then.
async fn stage(branch: &Branch, tx: &mut dyn Transaction, items: &[Item], parts: u64) -> Result<u64> {
    let mut of_tables: BTreeMap<usize, Vec<&Item>> = BTreeMap::new();
    for item in items.iter().filter(|item| branch.replica.tables().get(&item.table).is_some()) {
        of_tables.entry(branch.replica.tables().place(&item.table)).or_default().push(item);
    }
    let (mut parts, mut bodies) = (parts, Vec::new());
    for (place, items) in of_tables {
        let (mut body, mut rows) = (Vec::new(), 0);
        let mut end = |body: &mut Vec<u8>| {
            if !body.is_empty() {
                bodies.push((format!("{place:05}/{parts:010}"), std::mem::take(body)));
                parts += 1;
            }
        };
        for item in items {
            let line = serde_json::to_vec(item)
                .map_err(|cause| Error::internal("a row of a load cannot be kept").caused_by(cause))?;
            if rows == TOGETHER.0 || body.len() + line.len() > TOGETHER.1 {
                end(&mut body);
                rows = 0;
            }
            body.extend(line);
            body.push(b'\n');
            rows += 1;
        }
        end(&mut body);
    }
    tx.put_all(Book::Load, bodies).await?;
    Ok(parts)
}

/// The next part that is kept, which is kept no longer.
async fn next_part(tx: &mut dyn Transaction, after: &mut String) -> Result<Option<Vec<Item>>> {
    let Some((id, body)) = tx.list(Book::Load, "", after, 1).await?.pop() else { return Ok(None) };
    tx.put(Book::Load, &id, None).await?;
    *after = id;
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let items = lines.map(serde_json::from_slice).collect::<serde_json::Result<_>>();
    items.map(Some).map_err(|cause| Error::internal("a row of a load cannot be read again").caused_by(cause))
}

/// Throws away what is kept of a load that was given up.
async fn clear(tx: &mut dyn Transaction) -> Result<()> {
    let mut after = String::new();
    loop {
        let parts = tx.list(Book::Load, "", &after, PARTS).await?;
        let Some((last, _)) = parts.last() else { return Ok(()) };
        after.clone_from(last);
        for (id, _) in &parts {
            tx.put(Book::Load, id, None).await?;
        }
    }
}

/// Makes the tables what was loaded, with what is pending on top.
async fn publish(
    branch: &Branch,
    tx: &mut dyn Transaction,
    link: &mut Link,
    last: &Page,
    synced: &mut Synced,
) -> Result<()> {
    // What is decided is no longer on top of what was loaded.
    let answers = decided(branch, tx, link, last).await?;
    let (mut named, mut orphans, mut after) = (Named::default(), Vec::new(), String::new());
    while let Some(items) = next_part(tx, &mut after).await? {
        let mut rows = std::mem::take(&mut orphans);
        rows.extend(items.iter().map(Canonical::item));
        let absorbed = absorb(branch, tx, link, rows, Force::First(&mut named)).await?;
        synced.received += absorbed.rows;
        orphans = absorbed.orphans;
    }
    synced.received += absorb(branch, tx, link, answers, Force::No).await?.rows;
    if let Some(orphan) = orphans.into_iter().next() {
        let missing = Error::data("the row it hangs on is missing").with("code", "parent").with("table", &orphan.table);
        return Err(missing.with_remedy("let the master give this branch the rows that others of its rows hang on"));
    }
    synced.swept += sweep(branch, tx, link, &named, last.clock).await?;
    Ok(())
}

/// The rows that a load has named: what is not among them is gone. Kept as hashes, since there may be very many.
#[derive(Debug, Default)]
pub(super) struct Named(HashSet<u128>);

impl Named {
    fn of(table: &str, key: &Key) -> u128 {
        key.hash_in(table)
    }

    pub(super) fn has(&self, table: &str, key: &Key) -> bool {
        self.0.contains(&Self::of(table, key))
    }

    pub(super) fn add(&mut self, table: &str, key: &Key) {
        self.0.insert(Self::of(table, key));
    }

    pub(super) fn remove(&mut self, table: &str, key: &Key) {
        self.0.remove(&Self::of(table, key));
    }
}

/// What a load did not name is gone at the master, children first.
async fn sweep(branch: &Branch, tx: &mut dyn Transaction, link: &Link, named: &Named, clock: Hlc) -> Result<u64> {
    let mut swept = 0;
    for table in branch.replica.tables().iter().rev() {
        let mut after: Option<Key> = None;
        loop {
            let rows = tx.scan(table, after.as_ref(), 1000).await?;
            let Some((last, ..)) = rows.last() else { break };
            after = Some(last.clone());
            let keys = rows.into_iter().map(|(key, ..)| key);
            let unnamed: Vec<Key> = keys.filter(|key| !named.has(table.name(), key)).collect();
            let pending = tx.pending(table, &unnamed, link.floor()).await?;
            let open: BTreeSet<&Key> =
                pending.iter().filter(|entry| link.is_open(entry.seq)).map(|entry| &entry.key).collect();
            let gone: Vec<Canonical> = unnamed
                .iter()
                .filter(|key| !open.contains(key))
                .map(|key| Canonical::gone(table.name(), key.clone(), clock))
                .collect();
            swept += absorb(branch, tx, link, gone, Force::Always).await?.rows;
        }
    }
    Ok(swept)
}
