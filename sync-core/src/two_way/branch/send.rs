//! Sends what the host has written, and takes the answers.

use std::collections::BTreeMap;

use super::absorb::{Canonical, Force, absorb};
use super::{Branch, Synced, link};
use crate::two_way::{Became, Edit, Entry, Group, Link, Pull, Push, Transaction};
use crate::{Error, ErrorKind, Result};

/// So many entries are looked at at once.
const LOOKED_AT: usize = 1000;

pub(super) async fn send(branch: &Branch, synced: &mut Synced) -> Result<()> {
    let mut lives = 0;
    loop {
        branch.replica.sequence().await?;
        let (link, groups, end) = {
            let mut tx = branch.replica.look().await?;
            let link = link::load(&mut *tx).await?;
            let (groups, end) = next_groups(branch, &mut *tx, &link).await?;
            (link, groups, end)
        };
        if groups.is_empty() {
            return skip(branch, &link, end).await;
        }
        let push =
            Push { peer: link.peer(branch.replica.name()), groups, known_as: link.known_as.clone(), in_parts: false };
        match branch.master.push(&push).await {
            Ok(pushed) => {
                let answered = pushed.results;
                take_answers(branch, &push, &answered, synced).await?;
            }
            Err(error) => match code(&error) {
                Some("forked") if lives == 0 => {
                    lives += 1;
                    find_fork(branch, &push, synced).await?;
                }
                Some("gap") => {
                    let last_op =
                        error.context().find(|(name, _)| *name == "last_op").and_then(|(_, op)| op.parse().ok());
                    if !find_move(branch, &link).await? {
                        synced.resent += rewind(branch, last_op.ok_or(error)?).await?;
                    }
                }
                // Nothing is sent under a name that nobody meant.
                Some("moved") => {
                    if !find_move(branch, &link).await? {
                        return Err(error);
                    }
                }
                Some(_) if is_refusal(&error) => return refused(branch, &push, &error, synced).await,
                _ => return Err(error),
            },
        }
    }
}

pub(super) fn code(error: &Error) -> Option<&str> {
    error.context().find(|(name, _)| *name == "code").map(|(_, code)| code)
}

/// Whether it is said about the edits themselves, so that sending them again is no use.
fn is_refusal(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::Schema | ErrorKind::Data | ErrorKind::Limit)
}

/// The next groups, about as many edits as go into one push; and up to where the feed was looked through.
async fn next_groups(branch: &Branch, tx: &mut dyn Transaction, link: &Link) -> Result<(Vec<Group>, u64)> {
    let (mut groups, mut edits) = (Vec::<Group>::new(), 0);
    let (mut after, mut previous) = (link.answered, link.previous);
    while edits < branch.push_edits {
        let Some(entries) = next_own(tx, &mut after, branch.push_edits).await? else { break };
        for entries in entries.chunk_by(|one, other| one.group == other.group) {
            if edits >= branch.push_edits || entries.iter().all(|entry| entry.upstream) {
                continue;
            }
            let mut group = Group { previous, edits: Vec::new() };
            for entry in entries.iter().filter(|entry| !entry.upstream) {
                group.edits.push(edit(entry));
            }
            edits += group.edits.len();
            previous = group.edits.last().map_or(previous, |edit| edit.op);
            groups.push(group);
        }
    }
    Ok((groups, after))
}

/// The next entries with some that were made here, whole groups, and moves the place behind them. `None`, and behind everything, where
/// there are no more. What came from the upstream alone may be very much, and is passed by.
pub(super) async fn next_own(tx: &mut dyn Transaction, after: &mut u64, limit: usize) -> Result<Option<Vec<Entry>>> {
    loop {
        let outline = tx.outline(*after, LOOKED_AT).await?;
        let Some(last) = outline.last() else { return Ok(None) };
        let Some(first) = outline.iter().position(|entry| !entry.upstream) else {
            *after = last.seq;
            continue;
        };
        let own = outline[first..].iter().take_while(|entry| !entry.upstream).count();
        let entries = tx.feed(outline[first].seq - 1, own.min(limit)).await?;
        let Some(last) = entries.last() else { return Ok(None) };
        *after = last.seq;
        return Ok(Some(entries));
    }
}

/// What is said of an entry.
pub(super) fn edit(entry: &Entry) -> Edit {
    Edit {
        op: entry.seq,
        table: entry.table.clone(),
        key: entry.key.clone(),
        base: entry.stamp.seen,
        hlc: entry.stamp.hlc,
        before: entry.before.clone(),
        after: entry.after.clone(),
    }
}

/// Nothing of ours stands up to there.
async fn skip(branch: &Branch, link: &Link, end: u64) -> Result<()> {
    if end <= link.answered + 1000 {
        return Ok(());
    }
    let mut tx = branch.replica.begin().await?;
    let mut link = link::load(&mut *tx).await?;
    link.answered = end;
    link::save(&mut *tx, &link).await?;
    tx.commit().await
}

async fn take_answers(
    branch: &Branch,
    push: &Push,
    results: &[crate::two_way::EditResult],
    synced: &mut Synced,
) -> Result<()> {
    let mut tx = branch.replica.begin().await?;
    let mut link = link::load(&mut *tx).await?;
    link.refused = None;
    let edits = push.groups.iter().flat_map(|group| &group.edits);
    let by_op: BTreeMap<u64, &crate::two_way::EditResult> = results.iter().map(|result| (result.op, result)).collect();
    let mut canonical = Vec::new();
    for edit in edits {
        let Some(result) = by_op.get(&edit.op) else {
            return Err(Error::malformed("the master did not answer every edit").with("op", edit.op));
        };
        (link.answered, link.previous) = (edit.op, edit.op);
        synced.sent += 1;
        synced.clamped += u64::from(result.clamped);
        match result.became {
            Became::Waits => {
                synced.waiting += 1;
                link.waiting.push((push.peer.life, edit.op));
                continue;
            }
            Became::Prevailed | Became::Merged | Became::Overruled => synced.met += 1,
            Became::Applied => {}
        }
        canonical.push(Canonical::answer(&push.peer, &edit.table, &edit.key, result));
    }
    absorb(branch, &mut *tx, &link, canonical, Force::No).await?;
    link::save(&mut *tx, &link).await?;
    tx.commit().await
}

/// What the master has taken from us as it stands here is answered; from the first group on that it knows otherwise, another
/// life begins.
async fn find_fork(branch: &Branch, push: &Push, synced: &mut Synced) -> Result<()> {
    for group in &push.groups {
        let alone = Push { groups: vec![group.clone()], ..push.clone() };
        match branch.master.push(&alone).await {
            Ok(pushed) => take_answers(branch, &alone, &pushed.results, synced).await?,
            Err(error) if code(&error) == Some("forked") => return begin_life(branch).await,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Our numbers stand for other edits at the master: this replica was restored from a backup. What follows is told under
/// another name.
pub(super) async fn begin_life(branch: &Branch) -> Result<()> {
    let mut tx = branch.replica.begin().await?;
    let mut link = link::load(&mut *tx).await?;
    link.begin_life(new_life(branch));
    link::save(&mut *tx, &link).await?;
    tx.commit().await
}

/// Random, since a life that was lost with a later backup must not be lived again.
fn new_life(branch: &Branch) -> u64 {
    branch.clock.random() >> 16
}

/// Whether it is not that the master has lost edits, but that it knows this branch by another name than before, under which it has
/// never taken one. A master that tells names is asked, from where this branch stands.
async fn find_move(branch: &Branch, link: &Link) -> Result<bool> {
    if link.known_as.is_none() {
        return Ok(false);
    }
    let peer = link.peer(branch.replica.name());
    let mut pull = Pull {
        peer,
        from: link.position.clone(),
        answered: link.answered,
        waiting: Vec::new(),
        limit: 1,
        alone: false,
    };
    let page = match branch.master.pull(&pull).await {
        Err(error) if code(&error) == Some("start_over") => {
            pull.from = None;
            branch.master.pull(&pull).await?
        }
        page => page?,
    };
    move_to(branch, page.known_as).await
}

/// Goes on under the name that the master knows this branch by now, and loads everything anew. What was answered under the old name
/// is done, what waits there is the old one's, and what is pending is sent under the new one. Returns whether it is another name.
pub(super) async fn move_to(branch: &Branch, known_as: Option<String>) -> Result<bool> {
    let mut tx = branch.replica.begin().await?;
    let mut link = link::load(&mut *tx).await?;
    if !link.is_moved(known_as.as_deref()) {
        return Ok(false);
    }
    link.begin_life(new_life(branch));
    link.start_over();
    (link.refused, link.known_as) = (None, known_as);
    link.waiting.clear();
    link::save(&mut *tx, &link).await?;
    tx.commit().await?;
    Ok(true)
}

/// What the master has lost is sent again. Returns how many edits that are.
pub(super) async fn rewind(branch: &Branch, last_op: u64) -> Result<u64> {
    let mut tx = branch.replica.begin().await?;
    let mut link = link::load(&mut *tx).await?;
    let before = link.answered;
    if !link.rewind(last_op) {
        return Err(Error::malformed("the master asks for edits that were never sent").with("op", last_op));
    }
    let (mut after, mut lost) = (link.answered, 0);
    while after < before {
        let entries = tx.outline(after, LOOKED_AT).await?;
        let Some(last) = entries.last() else { break };
        after = last.seq;
        lost += entries.iter().filter(|entry| !entry.upstream && entry.seq <= before).count() as u64;
    }
    link::save(&mut *tx, &link).await?;
    tx.commit().await?;
    Ok(lost)
}

async fn refused(branch: &Branch, push: &Push, error: &Error, synced: &mut Synced) -> Result<()> {
    let mut tx = branch.replica.begin().await?;
    let mut link = link::load(&mut *tx).await?;
    // Groups before the refused one may have been taken: one by one, the next push finds out which.
    let first = push.groups.first().and_then(|group| group.edits.first()).map_or(0, |edit| edit.op);
    if push.groups.len() > 1 {
        drop(tx);
        return Box::pin(one_by_one(branch, push, synced)).await;
    }
    synced.refused = Some(error.to_string());
    link.refused = Some((first, error.to_string()));
    link::save(&mut *tx, &link).await?;
    tx.commit().await
}

/// Sends the groups of a push that was refused each alone, up to the one at fault.
async fn one_by_one(branch: &Branch, push: &Push, synced: &mut Synced) -> Result<()> {
    for group in &push.groups {
        let alone = Push { groups: vec![group.clone()], ..push.clone() };
        match branch.master.push(&alone).await {
            Ok(pushed) => take_answers(branch, &alone, &pushed.results, synced).await?,
            Err(error) if is_refusal(&error) => return refused(branch, &alone, &error, synced).await,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Gives up the refused group: nothing of it is sent, and its rows are read again.
pub(super) async fn discard(branch: &Branch) -> Result<()> {
    let mut tx = branch.replica.begin().await?;
    let mut link = link::load(&mut *tx).await?;
    let Some((first, _)) = link.refused.take() else { return Ok(()) };
    let entries = tx.feed(first - 1, 1).await?;
    link.answered = entries.last().map_or(first, |last| last.seq);
    // Only the master knows what its rows are: everything is loaded, with what is pending on top.
    link.start_over();
    link::save(&mut *tx, &link).await?;
    tx.commit().await
}
