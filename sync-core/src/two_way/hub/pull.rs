//! Hands out what happened: first all rows, then the feed, whole groups only.

use std::time::Duration;

use super::Hub;
use super::books::{Answer, LOST, Lost, PeerBook, load, peer, read, result_id, save};
use super::inbox::standing;
use crate::two_way::Flaw::{AckBeyondServed, DropTombstone, NoOrigin, OffByOne, SplitGroup};
use crate::two_way::{
    Access, Became, Book, EditResult, Entry, Head, Item, Page, Peer, Position, Pull, Transaction, refuse,
};
use crate::{Error, ErrorKind, Result};

/// A branch that has read nothing new is noted as alive this often.
const ALIVE: Duration = Duration::from_secs(60);

/// So many lives of a name are looked at at once.
const LIVES: usize = 1000;

pub(super) async fn pull(hub: &Hub, pull: &Pull, access: &Access) -> Result<Page> {
    if pull.alone {
        end_others(hub, &pull.peer).await?;
    }
    hub.replica.sequence().await?;
    let mut tx = hub.replica.look().await?;
    let head = tx.head().await?;
    let standing = match &pull.from {
        Some(Position::Opaque { .. }) => {
            return Err(refuse(ErrorKind::Data, "bad_cursor", "this position was given by another master"));
        }
        Some(position) => position.clone(),
        None => {
            let first = hub.replica.tables().iter().next();
            Position::Load {
                table: first.map(|table| table.name().to_owned()).unwrap_or_default(),
                after: None,
                then: head,
                seen: head,
            }
        }
    };
    let (then, seen) = match &standing {
        Position::Load { then, seen, .. } => (then, seen),
        Position::Meanwhile { at, seen } => (at, seen),
        Position::Feed(at) => (at, at),
        Position::Opaque { .. } => return Err(Error::internal("an opaque position was let through")),
    };
    let mut validity = judge(&mut *tx, &head, then).await?;
    if matches!(validity, Validity::Valid) && seen != then {
        validity = judge(&mut *tx, &head, seen).await?;
    }
    match validity {
        Validity::Valid => {}
        Validity::TooOld => return Err(start_over("changes since this position are no longer kept")),
        Validity::Foreign => {
            drop(tx);
            begin_epoch(hub, &head).await?;
            return Err(start_over("the master was restored from a backup since"));
        }
    }
    let mut page = match &standing {
        _ if pull.limit == 0 => {
            Page { more: true, load: standing.is_loading(), ..Page::empty(standing.clone(), hub.present()) }
        }
        Position::Load { table, after, then, .. } => {
            load_page(hub, &mut *tx, pull, access, table, after.as_ref(), then).await?
        }
        Position::Meanwhile { at: from, .. } | Position::Feed(from) => {
            feed_page(hub, &mut *tx, pull, access, &head, from).await?
        }
        Position::Opaque { .. } => return Err(Error::internal("an opaque position was let through")),
    };
    let book = peer(&mut *tx, &pull.peer).await?;
    page.last_op = book.last_op;
    for &(life, op) in &pull.waiting {
        let then = Peer { life, ..pull.peer.clone() };
        let answer: Option<Answer> = load(&mut *tx, Book::Results, &result_id(&then.to_string(), op)).await?;
        let Some(answer) = answer.filter(|answer| answer.result.became != Became::Waits) else { continue };
        let result = as_it_is_now(hub, &mut *tx, answer).await?;
        page.decided.push(within(hub, result, access));
    }
    // Who asks for everything holds nothing yet: a first question that the network brings again, much later, says nothing about
    // what the branch has read since.
    let asked = if pull.from.is_some() { then.seq } else { 0 };
    let read = if hub.planted.has(AckBeyondServed) { head.seq } else { asked };
    drop(tx);
    page.next = until_seen(hub, page.next, seen).await?;
    if is_news(hub, pull, read, &book) {
        note(hub, pull, read).await?;
    }
    Ok(page)
}

/// Of the lives of this name that write alone, from now on only this one writes. A question that comes again once another life has
/// asked ends nothing, and a branch that happens to have the name is left alone.
async fn end_others(hub: &Hub, who: &Peer) -> Result<()> {
    let mut tx = hub.replica.begin().await?;
    let own = peer(&mut *tx, who).await?;
    own.still_writes()?;
    let mut after = String::new();
    loop {
        let lives = tx.list(Book::Peers, &format!("{}#", who.name), &after, LIVES).await?;
        let Some((last, _)) = lives.last() else { break };
        after.clone_from(last);
        for (id, body) in &lives {
            let book: PeerBook = read(body)?;
            // A name may have the sign in it that stands between a name and its life.
            let is_other = id.rsplit_once('#').is_some_and(|(name, _)| name == who.name) && *id != who.to_string();
            if is_other && book.alone && !book.ended {
                save(&mut *tx, Book::Peers, id, &PeerBook { ended: true, ..book }).await?;
            }
        }
    }
    save(&mut *tx, Book::Peers, &who.to_string(), &PeerBook { alone: true, heard: hub.present().millis(), ..own })
        .await?;
    tx.commit().await
}

/// A position of a load that is known to be lost where the master is restored from a backup that is older than a row of the load:
/// such a row need not have had its place in the feed when it was read, so that the feed is looked at once more behind it.
async fn until_seen(hub: &Hub, next: Position, before: &Head) -> Result<Position> {
    Ok(match next {
        Position::Load { table, after, then, .. } => Position::Load { table, after, then, seen: sequenced(hub).await? },
        Position::Meanwhile { at, .. } => Position::Meanwhile { at, seen: sequenced(hub).await? },
        Position::Feed(at) if at.seq < before.seq => Position::Meanwhile { at, seen: *before },
        other => other,
    })
}

/// Where the feed stands with all that was committed so far.
async fn sequenced(hub: &Hub) -> Result<Head> {
    hub.replica.sequence().await?;
    let mut tx = hub.replica.look().await?;
    Ok(Head { trimmed: 0, rev: 0, ..tx.head().await? })
}

enum Validity {
    Valid,
    TooOld,
    /// It names an entry that this feed does not hold.
    Foreign,
}

async fn judge(tx: &mut dyn Transaction, head: &Head, at: &Head) -> Result<Validity> {
    if at.epoch != head.epoch || at.seq < head.trimmed {
        return Ok(Validity::TooOld);
    }
    // The last entry that was cleaned up is known by its place alone.
    if at.seq == head.trimmed {
        return Ok(Validity::Valid);
    }
    Ok(if tx.nonce(at.seq).await? == Some(at.nonce) { Validity::Valid } else { Validity::Foreign })
}

fn start_over(why: &'static str) -> Error {
    refuse(ErrorKind::Gone, "start_over", why)
}

/// From now on no position of the life before is taken, and every `rev` is higher than any that was given in it.
async fn begin_epoch(hub: &Hub, known: &Head) -> Result<()> {
    let mut tx = hub.replica.begin().await?;
    if tx.head().await?.epoch == known.epoch {
        let rev = u64::try_from(hub.clock.now().timestamp_micros()).unwrap_or_default();
        let mut lost: Vec<Lost> = load(&mut *tx, Book::Lost, LOST).await?.unwrap_or_default();
        lost.push(Lost { above: tx.head().await?.rev, below: rev });
        save(&mut *tx, Book::Lost, LOST, &lost).await?;
        tx.begin_epoch(hub.clock.random(), rev).await?;
        tx.commit().await?;
    }
    Ok(())
}

async fn load_page(
    hub: &Hub,
    tx: &mut dyn Transaction,
    pull: &Pull,
    access: &Access,
    table: &str,
    after: Option<&crate::Key>,
    then: &Head,
) -> Result<Page> {
    let mut page = Page::empty(Position::Meanwhile { at: *then, seen: *then }, hub.present());
    (page.load, page.more) = (true, true);
    let Some(table) = hub.replica.tables().get(table) else { return Ok(page) };
    let limit = pull.limit;
    let rows = tx.scan(table, after, limit).await?;
    let last = rows.last().map(|(key, ..)| key.clone());
    let full = rows.len() >= limit;
    page.items = rows
        .into_iter()
        .filter(|(_, _, row)| access.holds(table, row))
        .map(|(key, stamp, row)| Item {
            group: 0,
            table: table.name().to_owned(),
            key,
            rev: stamp.rev,
            hlc: stamp.hlc,
            origin: stamp.origin.to_string(),
            op: stamp.op,
            row: Some(row),
        })
        .collect();
    let next = hub.replica.tables().iter().skip_while(|other| other.name() != table.name()).nth(1);
    let load = |table: &str, after| Position::Load { table: table.to_owned(), after, then: *then, seen: *then };
    match (full, next) {
        (true, _) => page.next = load(table.name(), last),
        (false, Some(next)) => page.next = load(next.name(), None),
        (false, None) => {}
    }
    Ok(page)
}

async fn feed_page(
    hub: &Hub,
    tx: &mut dyn Transaction,
    pull: &Pull,
    access: &Access,
    head: &Head,
    from: &Head,
) -> Result<Page> {
    let after = if hub.planted.has(OffByOne) { from.seq + 1 } else { from.seq };
    let mut entries = tx.feed(after, pull.limit).await?;
    if hub.planted.has(SplitGroup) {
        entries.truncate(entries.len().div_ceil(2));
    }
    let last = entries.last().map_or(*from, |last| Head { seq: last.seq, nonce: last.nonce, ..*head });
    let mut page = Page::empty(Position::Feed(Head { trimmed: 0, rev: 0, ..last }), hub.present());
    page.more = last.seq < head.seq && last.seq > from.seq;
    let own = pull.peer.to_string();
    let is_known = |entry: &Entry| {
        *entry.stamp.origin == *own
            && entry.stamp.op <= pull.answered
            && !pull.waiting.contains(&(pull.peer.life, entry.stamp.op))
            && !hub.planted.has(NoOrigin)
    };
    page.items = entries.iter().filter(|entry| !is_known(entry)).filter_map(|entry| item(hub, entry, access)).collect();
    Ok(page)
}

/// What became of a write that waited, with the row as it is now: the branch may have seen more of it since the decision, with its
/// own edit on top, and takes nothing older for what the row is without that edit.
async fn as_it_is_now(hub: &Hub, tx: &mut dyn Transaction, answer: Answer) -> Result<EditResult> {
    let (Some(key), Some(table)) = (answer.waited, hub.replica.tables().get(&answer.result.table)) else {
        return Ok(answer.result);
    };
    let held = standing(tx, table, &key).await?;
    let Some(stamp) = held.stamp else { return Ok(answer.result) };
    Ok(EditResult { rev: stamp.rev, hlc: stamp.hlc, row: held.row, ..answer.result })
}

/// A person may have given the row to somebody else.
fn within(hub: &Hub, mut result: EditResult, access: &Access) -> EditResult {
    let table = hub.replica.tables().get(&result.table);
    result.row = result.row.filter(|row| table.is_some_and(|table| access.holds(table, row)));
    result
}

/// What the branch sees of it: a row that leaves its scope is gone for it.
fn item(hub: &Hub, entry: &Entry, access: &Access) -> Option<Item> {
    let table = hub.replica.tables().get(&entry.table)?;
    let holds = |row: &Option<Vec<crate::Value>>| row.as_ref().is_some_and(|row| access.holds(table, row));
    let row = match (holds(&entry.before), holds(&entry.after)) {
        (_, true) => entry.after.clone(),
        (true, false) if !hub.planted.has(DropTombstone) => None,
        _ => return None,
    };
    Some(Item {
        group: entry.group,
        table: entry.table.clone(),
        key: entry.key.clone(),
        rev: entry.stamp.rev,
        hlc: entry.stamp.hlc,
        origin: entry.stamp.origin.to_string(),
        op: entry.stamp.op,
        row,
    })
}

/// Whether the branch says something of itself that is not written down: only then is a transaction begun that writes.
fn is_news(hub: &Hub, pull: &Pull, read: u64, book: &PeerBook) -> bool {
    let since = hub.present().millis().saturating_sub(book.heard);
    let alive = since < u64::try_from(ALIVE.as_millis()).unwrap_or(u64::MAX);
    read > book.read || pull.answered > book.answered || !alive || pull.from.is_some() && !book.reads
}

/// The branch has durable what came before its position: nobody keeps that for it any more.
async fn note(hub: &Hub, pull: &Pull, read: u64) -> Result<()> {
    let now = hub.present().millis();
    let mut tx = hub.replica.begin().await?;
    let mut book = peer(&mut *tx, &pull.peer).await?;
    (book.read, book.heard) = (book.read.max(read), now.max(book.heard));
    book.reads |= pull.from.is_some();
    book.answered = book.answered.max(pull.answered);
    save(&mut *tx, Book::Peers, &pull.peer.to_string(), &book).await?;
    tx.commit().await
}

impl Page {
    fn empty(next: Position, clock: crate::two_way::Hlc) -> Self {
        Self {
            items: Vec::new(),
            next,
            more: false,
            load: false,
            last_op: 0,
            decided: Vec::new(),
            clock,
            known_as: None,
        }
    }
}
