//! What the host writes comes to stand in the feed.

use super::{Act, Subject, key, shop, till};
use crate::report::{Finding, holds, same};

pub(super) async fn every_change_stands_in_the_feed_once(subject: &Subject) -> Finding {
    let (first, second) = (shop("a", "one", 1), shop("a", "two", 1));
    subject.put("shops", first.clone()).await?;
    subject.put("shops", second.clone()).await?;
    subject.delete("shops", "a").await?;
    subject.replica.sequence().await?;
    let entries = subject.after(0).await?;
    let rows: Vec<_> = entries.iter().map(|entry| (entry.before.clone(), entry.after.clone())).collect();
    let wanted = [(None, Some(first.clone())), (Some(first), Some(second.clone())), (Some(second), None)];
    same("rows before and after", rows, wanted)?;
    let rows = entries.iter().all(|entry| entry.table == "shops" && entry.key == key("a"));
    holds(rows, "an entry names another row than the one that was written")
}

pub(super) async fn what_changes_nothing_is_no_change(subject: &Subject) -> Finding {
    subject.put("shops", shop("a", "one", 1)).await?;
    let seq = subject.replica.sequence().await?.seq;
    subject.put("shops", shop("a", "one", 1)).await?;
    subject.delete("shops", "nobody").await?;
    same("entries of what changed nothing", subject.after(seq).await?, [])
}

pub(super) async fn a_transaction_stands_together(subject: &Subject) -> Finding {
    let acts = [Act::Put("shops", shop("a", "one", 1)), Act::Put("tills", till("t", "a", "n"))];
    subject.host.run(&acts).await?;
    let entries = subject.after(0).await?;
    same("entries of two changes", entries.len(), 2)?;
    same("group of the second change", entries[1].group, entries[0].group)?;
    subject.put("tills", till("t", "a", "later")).await?;
    let later = subject.after(entries[1].seq).await?;
    holds(later.iter().all(|entry| entry.group != entries[0].group), "a group that was read has grown")
}

pub(super) async fn a_failed_transaction_leaves_nothing(subject: &Subject) -> Finding {
    let acts = [Act::Put("shops", shop("a", "one", 1)), Act::Put("tills", till("t", "nobody", "n"))];
    holds(subject.host.run(&acts).await.is_err(), "the host could write a till that hangs on no shop")?;
    same("entries of a transaction that failed", subject.after(0).await?, [])?;
    same("row of a transaction that failed", subject.held("shops", "a").await?.row, None)
}

pub(super) async fn changes_of_a_row_stand_in_order(subject: &Subject) -> Finding {
    for name in ["one", "two", "three"] {
        subject.put("shops", shop("a", name, 1)).await?;
        subject.put("shops", shop("b", name, 2)).await?;
    }
    let entries = subject.after(0).await?;
    same("entries of six changes", entries.len(), 6)?;
    for pair in entries.windows(2) {
        holds(pair[0].seq < pair[1].seq, "places in the feed do not grow")?;
        holds(pair[0].stamp.rev < pair[1].stamp.rev, "`rev` does not grow from one write to the next")?;
    }
    for row in ["a", "b"] {
        let of_row: Vec<_> = entries.iter().filter(|entry| entry.key == key(row)).collect();
        let chained =
            of_row.windows(2).all(|pair| pair[1].before == pair[0].after && pair[1].stamp.hlc > pair[0].stamp.hlc);
        holds(chained, "an entry does not go on where the one before it of the same row ended")?;
    }
    let rev = subject.held("shops", "b").await?.stamp.map(|stamp| stamp.rev);
    same("`rev` of the row written last", rev, entries.last().map(|entry| entry.stamp.rev))
}

pub(super) async fn nothing_appears_below_a_reader(subject: &Subject) -> Finding {
    subject.put("shops", shop("a", "one", 1)).await?;
    let read = subject.after(0).await?;
    let place = read.last().map_or(0, |last| last.seq);
    subject.put("shops", shop("b", "one", 2)).await?;
    let all = subject.after(0).await?;
    same("entries up to the place that was read", &all[..read.len().min(all.len())], &read[..])?;
    holds(all[read.len()..].iter().all(|entry| entry.seq > place), "a later change stands below it")
}

pub(super) async fn what_the_host_writes_is_its_own(subject: &Subject) -> Finding {
    subject.put("shops", shop("a", "one", 1)).await?;
    let entries = subject.after(0).await?;
    same("entries of one change", entries.len(), 1)?;
    let entry = &entries[0];
    same("origin", &entry.stamp.origin, subject.replica.name())?;
    same("number of the write", entry.stamp.op, entry.seq)?;
    same("`seen` of a row that no upstream has", entry.stamp.seen, 0)?;
    holds(!entry.upstream, "what the host wrote counts as the upstream's")
}
