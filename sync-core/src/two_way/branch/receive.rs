//! Takes over what the master has.

use std::collections::BTreeSet;

use super::absorb::{Canonical, absorb};
use super::send::{begin_life, code, move_to, rewind};
use super::{Branch, Synced, link};
use crate::model::Key;
use crate::two_way::Flaw::CursorFirst;
use crate::two_way::{Became, Hlc, Page, Pull, Transaction};
use crate::{ErrorKind, Result};

/// How many pages are taken over at once where a row hangs on one that comes later.
const MOST_HELD: usize = 100;

/// Reads until the master has no more. Returns whether there is something to send again: what the master has lost, or what is
/// pending under another name.
pub(super) async fn receive(branch: &Branch, synced: &mut Synced) -> Result<bool> {
    let mut position = branch.link().await?.position;
    let mut named = (position.is_none()).then(BTreeSet::new);
    let (mut restarts, mut lost) = (0, false);
    let mut page_by_page = false;
    let mut held: Option<(Page, usize)> = None;
    loop {
        let link = branch.link().await?;
        let pull = Pull {
            peer: link.peer(branch.replica.name()),
            from: position.clone(),
            answered: link.answered,
            waiting: link.waiting.clone(),
            limit: branch.pull_rows,
            alone: false,
        };
        let page = match branch.master.pull(&pull).await {
            Ok(page) => page,
            Err(error) if error.kind() == ErrorKind::Gone && code(&error) == Some("start_over") && restarts < 2 => {
                restarts += 1;
                held = None;
                (position, named) = (None, Some(BTreeSet::new()));
                continue;
            }
            Err(error) => return Err(error),
        };
        if move_to(branch, page.known_as.clone()).await? {
            lost = true;
            held = None;
            (position, named) = (None, Some(BTreeSet::new()));
            continue;
        }
        if page.last_op < link.previous {
            // Before anything is taken for gone: what was lost is ours alone now.
            synced.resent += rewind(branch, page.last_op).await?;
            lost = true;
            held = None;
            (position, named) = (None, Some(BTreeSet::new()));
            continue;
        }
        // Not while a group is refused: it may have been taken before that, and its answer lost. Then its number is known here.
        if page.last_op > link.previous && link.refused.is_none() {
            // Nobody here knows of its last edits of this life: the database is a new one, or an older copy. The old ones are
            // another's from now on, so that what becomes of those that wait comes back like any other news.
            begin_life(branch).await?;
            continue;
        }
        synced.loaded |= page.load;
        let (page, pages) = match held.take() {
            Some((before, pages)) => (joined(before, page), pages + 1),
            None => (page, 1),
        };
        if page.load && page.more && !page_by_page {
            if page.items.len() <= branch.load_at_once {
                position = Some(page.next.clone());
                held = Some((page, pages));
                continue;
            }
            page_by_page = true;
        }
        match take(branch, &page, named.as_mut(), synced).await {
            Ok(()) => {}
            // Where rules are looked at when a transaction ends, a child may stand before its parent; and so may one of a load, whose
            // parent was made when its table had been read.
            Err(error) if code(&error) == Some("parent") && page.more && pages < MOST_HELD => {
                position = Some(page.next.clone());
                held = Some((page, pages));
                continue;
            }
            Err(error) => return Err(error),
        }
        if page.load && !page.next.is_loading() {
            named = None;
        }
        position = Some(page.next);
        if !page.more {
            return Ok(lost);
        }
    }
}

/// Two pages that follow each other, as one. What happened while everything was loaded is a part of the load.
fn joined(Page { mut items, mut decided, load, .. }: Page, next: Page) -> Page {
    items.extend(next.items);
    decided.extend(next.decided);
    Page { items, decided, load: load || next.load, ..next }
}

/// One page, its decided edits and its position: all or nothing.
async fn take(
    branch: &Branch,
    page: &Page,
    mut named: Option<&mut BTreeSet<(String, Key)>>,
    synced: &mut Synced,
) -> Result<()> {
    let mut tx = branch.replica.begin().await?;
    let mut link = link::load(&mut *tx).await?;
    link.known_as = page.known_as.clone().or(link.known_as);
    let mut canonical: Vec<Canonical> = page.items.iter().map(Canonical::item).collect();
    if let Some(named) = named.as_deref_mut() {
        named.extend(page.items.iter().map(|item| (item.table.clone(), item.key.clone())));
    }
    let peer = link.peer(branch.replica.name());
    for result in page.decided.iter().filter(|result| result.became != Became::Waits) {
        if !link.waiting.iter().any(|(_, op)| *op == result.op) {
            continue;
        }
        link.waiting.retain(|(_, op)| *op != result.op);
        if let Some(entry) = tx.feed(result.op - 1, 1).await?.into_iter().find(|entry| entry.seq == result.op) {
            canonical.push(Canonical::answer(&peer, &entry.table, &entry.key, result));
        }
    }
    let loaded = page.load && !page.next.is_loading();
    if !page.load || loaded {
        link.position = Some(page.next.clone());
    }
    if branch.planted.has(CursorFirst) {
        link::save(&mut *tx, &link).await?;
        tx.commit().await?;
        tx = branch.replica.begin().await?;
    }
    synced.received += absorb(branch, &mut *tx, &link, canonical, page.load).await?;
    if let (true, Some(named)) = (loaded, named) {
        synced.swept += sweep(branch, &mut *tx, &link, named, page.clock).await?;
    }
    link::save(&mut *tx, &link).await?;
    tx.commit().await
}

/// What the first load did not name is gone at the master, children first.
async fn sweep(
    branch: &Branch,
    tx: &mut dyn Transaction,
    link: &link::Link,
    named: &BTreeSet<(String, Key)>,
    clock: Hlc,
) -> Result<u64> {
    let mut swept = 0;
    for table in branch.replica.tables().iter().rev() {
        let mut after: Option<Key> = None;
        loop {
            let rows = tx.scan(table, after.as_ref(), 1000).await?;
            let Some((last, ..)) = rows.last() else { break };
            after = Some(last.clone());
            let keys = rows.into_iter().map(|(key, ..)| key);
            let unnamed: Vec<Key> =
                keys.filter(|key| !named.contains(&(table.name().to_owned(), key.clone()))).collect();
            let pending = tx.pending(table, &unnamed, link.floor()).await?;
            let open: BTreeSet<&Key> =
                pending.iter().filter(|entry| link.is_open(entry.seq)).map(|entry| &entry.key).collect();
            let gone: Vec<Canonical> = unnamed
                .iter()
                .filter(|key| !open.contains(key))
                .map(|key| Canonical::gone(table.name(), key.clone(), clock))
                .collect();
            swept += absorb(branch, tx, link, gone, true).await?;
        }
    }
    Ok(swept)
}
