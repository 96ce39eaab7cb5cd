//! The feed as readers see it, and the books.

use sync_core::two_way::{Book, Outline};

use super::{Act, Subject, key, shop, till};
use crate::report::{Finding, holds, same};

pub(super) async fn a_page_ends_behind_a_group(subject: &Subject) -> Finding {
    let acts = [Act::Put("shops", shop("a", "one", 1)), Act::Put("shops", shop("b", "one", 2))];
    subject.host.run(&acts).await?;
    subject.after(0).await?;
    subject.host.run(&[Act::Put("tills", till("t", "a", "n")), Act::Put("tills", till("u", "a", "n"))]).await?;
    let places: Vec<u64> = subject.after(0).await?.iter().map(|entry| entry.seq).collect();
    same("entries of four changes", places.len(), 4)?;
    let mut tx = subject.replica.look().await?;
    for (after, limit, wanted) in [(0, 1, 2), (0, 2, 2), (0, 3, 4), (places[1], 1, 2), (places[3], 5, 0)] {
        let found = tx.feed(after, limit).await?.len();
        same(&format!("entries after {after}, {limit} at most"), found, wanted)?;
    }
    Ok(())
}

pub(super) async fn an_outline_is_the_feed_without_its_rows(subject: &Subject) -> Finding {
    let acts = [Act::Put("shops", shop("a", "one", 1)), Act::Put("shops", shop("b", "one", 2))];
    subject.host.run(&acts).await?;
    subject.commit(&[subject.incoming("shops", "c", Some(shop("c", "theirs", 3)))?]).await?;
    subject.put("shops", shop("a", "mine", 1)).await?;
    let entries: Vec<Outline> = subject.after(0).await?.iter().map(Outline::of).collect();
    same("entries of four changes", entries.len(), 4)?;
    let mut tx = subject.replica.look().await?;
    let (mut outline, mut after) = (Vec::new(), 0);
    loop {
        let page = tx.outline(after, 3).await?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        outline.extend(page);
    }
    same("the outline, page by page", outline, entries)
}

pub(super) async fn a_write_is_a_group_of_its_own(subject: &Subject) -> Finding {
    subject.put("shops", shop("a", "one", 1)).await?;
    let writes = [
        subject.incoming("shops", "b", Some(shop("b", "two", 2)))?,
        subject.incoming("shops", "c", Some(shop("c", "three", 3)))?,
    ];
    subject.commit(&writes).await?;
    subject.put("shops", shop("d", "four", 4)).await?;
    let entries = subject.after(0).await?;
    let groups: Vec<usize> = entries.chunk_by(|one, other| one.group == other.group).map(<[_]>::len).collect();
    same("sizes of the groups", groups, [1, 2, 1])
}

pub(super) async fn pending_names_what_was_written_here(subject: &Subject) -> Finding {
    subject.put("shops", shop("a", "one", 1)).await?;
    subject.put("shops", shop("b", "other", 2)).await?;
    subject.commit(&[subject.incoming("shops", "a", Some(shop("a", "theirs", 1)))?]).await?;
    subject.put("shops", shop("a", "mine", 1)).await?;
    let entries = subject.after(0).await?;
    same("entries of four changes", entries.len(), 4)?;
    let table = subject.table("shops")?;
    let mut tx = subject.replica.look().await?;
    let pending = tx.pending(&table, &[key("a")], 0).await?;
    same("what was written here of a row", &pending[..], [entries[0].clone(), entries[3].clone()])?;
    let pending = tx.pending(&table, &[key("a"), key("b")], entries[0].seq).await?;
    same("what was written here of two rows, above a number", &pending[..], [entries[1].clone(), entries[3].clone()])?;
    same("what was written here of no row", tx.pending(&table, &[], 0).await?, [])
}

pub(super) async fn pending_names_what_the_feed_does_not_hold_yet(subject: &Subject) -> Finding {
    subject.put("shops", shop("a", "one", 1)).await?;
    let table = subject.table("shops")?;
    let mut tx = subject.replica.look().await?;
    let head = tx.head().await?;
    let pending = tx.pending(&table, &[key("a")], 0).await?;
    same("entries that are pending", pending.len(), 1)?;
    same("the row after", &pending[0].after, &Some(shop("a", "one", 1)))?;
    // A replica whose feed holds it at once has nothing to prove.
    let in_feed = head.seq > 0 && pending[0].seq == head.seq;
    holds(in_feed || pending[0].seq == 0, format!("it has the place {}, which the feed does not hold", pending[0].seq))
}

pub(super) async fn a_look_sees_one_moment(subject: &Subject) -> Finding {
    subject.put("shops", shop("a", "one", 1)).await?;
    subject.replica.sequence().await?;
    let table = subject.table("shops")?;
    let mut look = subject.replica.look().await?;
    let before = (look.head().await?, look.feed(0, 100).await?);
    subject.put("shops", shop("b", "two", 2)).await?;
    subject.replica.sequence().await?;
    same("head and feed of a look", (look.head().await?, look.feed(0, 100).await?), before)?;
    same("rows of a look", look.scan(&table, None, 10).await?.len(), 1)?;
    drop(look);
    same("rows of the next look", subject.replica.look().await?.scan(&table, None, 10).await?.len(), 2)
}

pub(super) async fn a_scan_goes_by_key(subject: &Subject) -> Finding {
    for (code, id) in (1..).zip(["c", "a", "d", "b"]) {
        subject.put("shops", shop(id, "name", code)).await?;
    }
    subject.delete("shops", "d").await?;
    let table = subject.table("shops")?;
    let mut tx = subject.replica.look().await?;
    let rows = tx.scan(&table, None, 2).await?;
    let keys: Vec<_> = rows.iter().map(|(key, ..)| key.clone()).collect();
    same("the first two", &keys[..], [key("a"), key("b")])?;
    same("values of the first", &rows[0].2[..], shop("a", "name", 2))?;
    same("stamp of the first", Some(&rows[0].1), subject.held("shops", "a").await?.stamp.as_ref())?;
    let rest = tx.scan(&table, Some(&keys[1]), 2).await?;
    same("the rest", rest.iter().map(|(key, ..)| key.clone()).collect::<Vec<_>>(), [key("c")])
}

pub(super) async fn the_head_names_the_last_entry(subject: &Subject) -> Finding {
    same("place before the first entry", subject.replica.sequence().await?.seq, 0)?;
    subject.put("shops", shop("a", "one", 1)).await?;
    subject.put("shops", shop("b", "one", 2)).await?;
    let head = subject.replica.sequence().await?;
    let entries = subject.after(0).await?;
    same("entries of two changes", entries.len(), 2)?;
    same("place of the head", head.seq, entries[1].seq)?;
    same("nonce of the head", head.nonce, entries[1].nonce)?;
    same("count of writes", head.rev, entries[1].stamp.rev)?;
    holds(entries[0].nonce != entries[1].nonce, "two entries have the same nonce")?;
    let mut tx = subject.replica.look().await?;
    same("head of a look", tx.head().await?, head)?;
    same("nonce of a place", tx.nonce(entries[0].seq).await?, Some(entries[0].nonce))?;
    same("nonce of a place that was not given yet", tx.nonce(head.seq + 1).await?, None)
}

pub(super) async fn what_is_trimmed_is_forgotten(subject: &Subject) -> Finding {
    subject.put("shops", shop("a", "one", 1)).await?;
    subject.put("shops", shop("b", "one", 2)).await?;
    subject.delete("shops", "a").await?;
    subject.put("shops", shop("c", "one", 3)).await?;
    subject.delete("shops", "c").await?;
    let entries = subject.after(0).await?;
    same("entries of five changes", entries.len(), 5)?;
    let mut tx = subject.replica.begin().await?;
    same("entries that are forgotten", tx.trim(entries[3].seq).await?, 4)?;
    tx.commit().await?;
    same("entries that are left", subject.after(0).await?, [entries[4].clone()])?;
    same("stamp of a row whose delete is forgotten", subject.held("shops", "a").await?.stamp, None)?;
    let live = subject.held("shops", "b").await?.stamp;
    same("stamp of a row that is there", live.as_ref(), Some(&entries[1].stamp))?;
    let kept = subject.held("shops", "c").await?.stamp;
    same("stamp of a row whose delete is kept", kept.as_ref(), Some(&entries[4].stamp))?;
    let head = subject.replica.sequence().await?;
    same("place up to which it is cleaned up", head.trimmed, entries[3].seq)?;
    same("place of the head", head.seq, entries[4].seq)
}

pub(super) async fn a_new_life_goes_on_counting(subject: &Subject) -> Finding {
    subject.put("shops", shop("a", "one", 1)).await?;
    let before = subject.replica.sequence().await?;
    let mut tx = subject.replica.begin().await?;
    tx.begin_epoch(before.epoch ^ u64::MAX, 5000).await?;
    tx.commit().await?;
    subject.put("shops", shop("a", "two", 1)).await?;
    let head = subject.replica.sequence().await?;
    same("epoch", head.epoch, before.epoch ^ u64::MAX)?;
    holds(head.seq > before.seq, "places are given again")?;
    same("count of writes", head.rev, 5001)?;
    let mut tx = subject.replica.begin().await?;
    tx.begin_epoch(7, 3).await?;
    tx.commit().await?;
    same("count of writes, which never goes back", subject.replica.sequence().await?.rev, 5001)
}

pub(super) async fn books_hold_what_was_put(subject: &Subject) -> Finding {
    let mut tx = subject.replica.begin().await?;
    for id in ["p/1", "p/3", "p/2", "q/1", "p", "p\u{e9}"] {
        tx.put(Book::Results, id, Some(id.as_bytes().to_vec())).await?;
    }
    tx.put(Book::Results, "p/3", Some(vec![0, 255])).await?;
    tx.put(Book::Results, "p/2", None).await?;
    tx.put(Book::Inbox, "p/1", Some(b"another book".to_vec())).await?;
    tx.commit().await?;
    let mut tx = subject.replica.look().await?;
    same("what was put", tx.get(Book::Results, "p/1").await?, Some(b"p/1".to_vec()))?;
    same("what was put later", tx.get(Book::Results, "p/3").await?, Some(vec![0, 255]))?;
    same("what was taken out", tx.get(Book::Results, "p/2").await?, None)?;
    let mut ids = async |prefix: &str, after: &str, limit| {
        let found = tx.list(Book::Results, prefix, after, limit).await?;
        Ok::<_, sync_core::Error>(found.into_iter().map(|(id, _)| id).collect::<Vec<_>>())
    };
    same("ids by prefix", ids("p/", "", 9).await?, ["p/1", "p/3"])?;
    same("ids after one", ids("p/", "p/1", 9).await?, ["p/3"])?;
    same("as many as fit", ids("", "", 2).await?, ["p", "p/1"])?;
    same("all ids", ids("p", "", 9).await?, ["p", "p/1", "p/3", "p\u{e9}"])
}

pub(super) async fn many_things_are_put_into_a_book(subject: &Subject) -> Finding {
    let mut tx = subject.replica.begin().await?;
    tx.put(Book::Results, "b", Some(b"before".to_vec())).await?;
    tx.put(Book::Inbox, "a", Some(b"another book".to_vec())).await?;
    let bodies = [("a", "one"), ("b", "two"), ("c", "three"), ("a", "last")];
    tx.put_all(Book::Results, bodies.map(|(id, body)| (id.to_owned(), body.as_bytes().to_vec())).to_vec()).await?;
    tx.put_all(Book::Results, Vec::new()).await?;
    tx.commit().await?;
    let mut tx = subject.replica.look().await?;
    let found = tx.list(Book::Results, "", "", 9).await?;
    let wanted = [("a", "last"), ("b", "two"), ("c", "three")];
    same("what was put", found, wanted.map(|(id, body)| (id.to_owned(), body.as_bytes().to_vec())).to_vec())?;
    same("what another book holds", tx.get(Book::Inbox, "a").await?, Some(b"another book".to_vec()))
}

pub(super) async fn books_are_rolled_back(subject: &Subject) -> Finding {
    let mut tx = subject.replica.begin().await?;
    tx.put(Book::Link, "id", Some(vec![1])).await?;
    same("what was put, before the end", tx.get(Book::Link, "id").await?, Some(vec![1]))?;
    drop(tx);
    same(
        "what was put by a transaction that was dropped",
        subject.replica.look().await?.get(Book::Link, "id").await?,
        None,
    )
}
