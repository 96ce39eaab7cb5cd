//! Forgets what nobody needs any more.

use std::collections::BTreeMap;

use super::Hub;
use super::books::{Answer, PeerBook, read};
use crate::Result;
use crate::two_way::Flaw::CleanTooEarly;
use crate::two_way::{Book, Outline, Transaction};

/// What a clean-up has forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cleaned {
    /// Entries of the feed.
    pub entries: u64,
    /// Answers to writes.
    pub answers: u64,
    /// Branches that have not been heard for too long.
    pub peers: u64,
    /// The place up to which the slowest live branch has read: nothing above it is forgotten.
    pub slowest: u64,
}

/// How much is looked at in one transaction.
const AT_ONCE: usize = 1000;

pub(super) async fn clean_up(hub: &Hub) -> Result<Cleaned> {
    hub.replica.sequence().await?;
    let now = hub.present().millis();
    let before = |span: std::time::Duration| now.saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
    let mut tx = hub.replica.begin().await?;
    let head = tx.head().await?;
    let mut cleaned = Cleaned { slowest: head.seq, ..Cleaned::default() };
    let (mut after, mut answered) = (String::new(), BTreeMap::new());
    loop {
        let page = tx.list(Book::Peers, "", &after, AT_ONCE).await?;
        let Some((last, _)) = page.last() else { break };
        after.clone_from(last);
        for (id, body) in &page {
            let book: PeerBook = read(body)?;
            let reads = book.reads || book.read > 0;
            // Who never asks says of no answer that it has come: what it was answered is kept as long as anything is.
            let held = if reads { book.answered } else { book.last_op };
            answered.insert(id.clone(), held);
            if book.heard < before(hub.settings.forget) {
                // What it has written stays known: were it forgotten, a push that comes again would be applied again.
                cleaned.peers += 1;
            } else if reads {
                cleaned.slowest = cleaned.slowest.min(book.read);
            }
        }
    }
    let most = if hub.planted.has(CleanTooEarly) { head.seq } else { cleaned.slowest };
    let up_to = old_enough(&mut *tx, head.trimmed, most, before(hub.settings.keep)).await?;
    if up_to > head.trimmed {
        cleaned.entries = tx.trim(up_to).await?;
    }
    let mut after = String::new();
    loop {
        let page = tx.list(Book::Results, "", &after, AT_ONCE).await?;
        let Some((last, _)) = page.last() else { break };
        after.clone_from(last);
        for (id, body) in &page {
            let answer: Answer = read(body)?;
            let waits = answer.result.became == crate::two_way::Became::Waits;
            let held =
                id.rsplit_once('/').and_then(|(peer, _)| answered.get(peer)).is_some_and(|op| answer.result.op <= *op);
            // What came after a wait was not in the answer that the branch holds: it asks for it when it comes back.
            let keep =
                if answer.waited.is_some() { hub.settings.forget.max(hub.settings.keep) } else { hub.settings.keep };
            if answer.at < before(keep) && held && !waits {
                // A branch that was restored from an old backup sends it again: it must be known, whenever that is.
                tx.put(Book::Taken, id, Some(answer.hash.into_bytes())).await?;
                tx.put(Book::Results, id, None).await?;
                cleaned.answers += 1;
            }
        }
    }
    tx.commit().await?;
    Ok(cleaned)
}

/// The last entry, up to `most`, before the first that is younger.
pub(crate) async fn old_enough(tx: &mut dyn Transaction, from: u64, most: u64, before: u64) -> Result<u64> {
    // A group stays whole: its end is known by what follows.
    let (mut whole, mut last) = (from, None::<Outline>);
    loop {
        let entries = tx.outline(last.map_or(from, |last| last.seq), AT_ONCE).await?;
        for entry in &entries {
            if let Some(last) = last.filter(|last| last.group != entry.group) {
                whole = last.seq;
            }
            if entry.seq > most || entry.hlc.millis() >= before {
                return Ok(whole);
            }
            last = Some(*entry);
        }
        if entries.is_empty() {
            return Ok(last.map_or(from, |last| last.seq));
        }
    }
}
