//! Takes over what the master has.

use super::absorb::{Canonical, Force, absorb};
use super::load::load;
use super::send::{begin_life, code, move_to, rewind};
use super::{Branch, Link, Synced, link};
use crate::two_way::Flaw::CursorFirst;
use crate::two_way::{Became, Page, Pull, Transaction};
use crate::{ErrorKind, Result};

/// How many pages are taken over at once where a row hangs on one that comes later.
const MOST_HELD: usize = 100;

/// Reads until the master has no more. Returns whether there is something to send again: what the master has lost, or what is
/// pending under another name.
pub(super) async fn receive(branch: &Branch, synced: &mut Synced) -> Result<bool> {
    let (mut restarts, mut lost) = (0, false);
    let mut held: Option<(Page, usize)> = None;
    loop {
        let link = branch.link().await?;
        let pull = Pull {
            peer: link.peer(branch.replica.name()),
            from: held.as_ref().map(|(page, _)| page.next.clone()).or_else(|| link.reads_from().cloned()),
            // What was sent since a load began is in it as it was then: it must come back with the rest.
            answered: if link.loading.is_some() { 0 } else { link.answered },
            waiting: link.waiting.clone(),
            limit: branch.pull_rows,
            alone: false,
        };
        let page = match branch.master.pull(&pull).await {
            Ok(page) => page,
            Err(error) if error.kind() == ErrorKind::Gone && code(&error) == Some("start_over") && restarts < 2 => {
                restarts += 1;
                held = None;
                branch.start_over().await?;
                continue;
            }
            Err(error) => return Err(error),
        };
        if move_to(branch, page.known_as.clone()).await? {
            lost = true;
            held = None;
            continue;
        }
        if page.last_op < link.previous {
            // Before anything is taken for gone: what was lost is ours alone now.
            synced.resent += rewind(branch, page.last_op).await?;
            lost = true;
            held = None;
            continue;
        }
        // Not while a group is refused: it may have been taken before that, and its answer lost. Then its number is known here.
        if page.last_op > link.previous && link.refused.is_none() {
            // Nobody here knows of its last edits of this life: the database is a new one, or an older copy. The old ones are
            // another's from now on, so that what becomes of those that wait comes back like any other news.
            begin_life(branch).await?;
            continue;
        }
        let more = page.more;
        if page.load || link.loading.is_some() {
            synced.loaded = true;
            load(branch, &page, synced).await?;
        } else {
            let (page, pages) = match held.take() {
                Some((before, pages)) => (joined(before, page), pages + 1),
                None => (page, 1),
            };
            match take(branch, &page, synced).await {
                Ok(()) => {}
                // Where rules are looked at when a transaction ends, a child may stand before its parent; and a row that had a unique
                // value of ours for a while gives it away in a later page.
                Err(error) if matches!(code(&error), Some("parent" | "unique")) && more && pages < MOST_HELD => {
                    held = Some((page, pages));
                }
                Err(error) => return Err(error),
            }
        }
        if !more {
            return Ok(lost);
        }
    }
}

/// Two pages that follow each other, as one.
fn joined(Page { mut items, mut decided, .. }: Page, next: Page) -> Page {
    items.extend(next.items);
    decided.extend(next.decided);
    Page { items, decided, ..next }
}

/// One page, its decided edits and its position: all or nothing.
async fn take(branch: &Branch, page: &Page, synced: &mut Synced) -> Result<()> {
    let mut tx = branch.replica.begin().await?;
    let mut link = link::load(&mut *tx).await?;
    link.known_as = page.known_as.clone().or(link.known_as);
    let mut canonical: Vec<Canonical> = page.items.iter().map(Canonical::item).collect();
    canonical.extend(decided(branch, &mut *tx, &mut link, page).await?);
    link.position = Some(page.next.clone());
    if branch.planted.has(CursorFirst) {
        link::save(&mut *tx, &link).await?;
        tx.commit().await?;
        tx = branch.replica.begin().await?;
    }
    synced.received += absorb(branch, &mut *tx, &link, canonical, Force::No).await?.rows;
    link::save(&mut *tx, &link).await?;
    tx.commit().await
}

/// What the page says of edits that waited: they wait no longer.
pub(super) async fn decided(
    branch: &Branch,
    tx: &mut dyn Transaction,
    link: &mut Link,
    page: &Page,
) -> Result<Vec<Canonical>> {
    let peer = link.peer(branch.replica.name());
    let mut answers = Vec::new();
    for result in page.decided.iter().filter(|result| result.became != Became::Waits) {
        if !link.waiting.iter().any(|(_, op)| *op == result.op) {
            continue;
        }
        link.waiting.retain(|(_, op)| *op != result.op);
        if let Some(entry) = tx.feed(result.op - 1, 1).await?.into_iter().find(|entry| entry.seq == result.op) {
            answers.push(Canonical::answer(&peer, &entry.table, &entry.key, result));
        }
    }
    Ok(answers)
}
