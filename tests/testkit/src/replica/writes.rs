//! What comes from elsewhere, and the rules of the database that it may break.

use sync_core::two_way::RowWrite;

use super::{Subject, THEN, held, key, refused, shop, till};
use crate::report::{Finding, holds, same};

pub(super) async fn a_write_keeps_its_stamp(subject: &Subject) -> Finding {
    let write = subject.incoming("shops", "a", Some(shop("a", "one", 1)))?;
    let revs = subject.commit(&[write]).await?;
    let entries = subject.after(0).await?;
    same("entries of one write", entries.len(), 1)?;
    let stamp = &entries[0].stamp;
    let found = (stamp.hlc, &*stamp.origin, stamp.op, stamp.seen, entries[0].upstream);
    same("stamp", found, (THEN, "elsewhere", 70, 700, true))?;
    same("`rev` that `write` returned", &revs[..], [stamp.rev])?;
    same("stamp of the row", subject.held("shops", "a").await?.stamp.as_ref(), Some(stamp))?;
    let ours = subject.incoming("shops", "b", Some(shop("b", "one", 2)))?;
    subject.commit(&[RowWrite { upstream: false, ..ours }]).await?;
    let entries = subject.after(entries[0].seq).await?;
    holds(entries.iter().all(|entry| !entry.upstream), "a write that is not the upstream's counts as such")
}

pub(super) async fn a_row_that_is_there_already_is_not_written(subject: &Subject) -> Finding {
    subject.put("shops", shop("a", "one", 1)).await?;
    subject.put("shops", shop("b", "one", 2)).await?;
    subject.delete("shops", "b").await?;
    let seq = subject.replica.sequence().await?.seq;
    let before = subject.held("shops", "a").await?.stamp.map(|stamp| stamp.rev);
    let row = subject.incoming("shops", "a", Some(shop("a", "one", 1)))?;
    let gone = subject.incoming("shops", "b", None)?;
    let revs = subject.commit(&[row, gone]).await?;
    same("`rev` of a row that was there already", revs.first().copied(), before)?;
    for id in ["a", "b"] {
        same("`seen`", subject.held("shops", id).await?.stamp.map(|stamp| stamp.seen), Some(700))?;
    }
    same("entries of what was there already", subject.after(seq).await?, [])
}

pub(super) async fn a_delete_of_an_unknown_row_is_noted(subject: &Subject) -> Finding {
    subject.commit(&[subject.incoming("shops", "a", None)?]).await?;
    let entries = subject.after(0).await?;
    same("entries of the delete", entries.len(), 1)?;
    same("rows of the entry", (&entries[0].before, &entries[0].after), (&None, &None))?;
    same("origin of the entry", &*entries[0].stamp.origin, "elsewhere")?;
    same("row of the entry", &entries[0].key, &key("a"))?;
    let held = subject.held("shops", "a").await?;
    same("stamp of the row", held.stamp.map(|stamp| (stamp.hlc, stamp.rev)), Some((THEN, entries[0].stamp.rev)))
}

pub(super) async fn writes_are_made_in_order(subject: &Subject) -> Finding {
    let parent = subject.incoming("shops", "a", Some(shop("a", "one", 1)))?;
    let child = subject.incoming("tills", "t", Some(till("t", "a", "n")))?;
    let again = subject.incoming("shops", "a", Some(shop("a", "two", 1)))?;
    let revs = subject.commit(&[parent, child, again]).await?;
    holds(revs.windows(2).all(|pair| pair[0] < pair[1]), format!("`rev` does not grow: {revs:?}"))?;
    let entries = subject.after(0).await?;
    let order: Vec<&str> = entries.iter().map(|entry| &*entry.table).collect();
    same("order of the entries", order, ["shops", "tills", "shops"])?;
    same("the row in the end", subject.held("shops", "a").await?.row, Some(shop("a", "two", 1)))
}

pub(super) async fn many_writes_are_as_each_alone(subject: &Subject) -> Finding {
    for (id, code) in [("a", 1), ("b", 2), ("c", 3)] {
        subject.put("shops", shop(id, "old", code)).await?;
    }
    let seq = subject.replica.sequence().await?.seq;
    let there = subject.held("shops", "c").await?.stamp.map_or(0, |stamp| stamp.rev);
    let rows = [
        ("shops", "d", Some(shop("d", "new", 4))),
        ("tills", "t", Some(till("t", "d", "n"))),
        ("tills", "u", Some(till("u", "a", "n"))),
        ("shops", "a", Some(shop("a", "changed", 1))),
        ("shops", "b", None),
        ("shops", "c", Some(shop("c", "old", 3))),
        ("shops", "nobody", None),
        ("shops", "e", Some(shop("e", "takes the value of b", 2))),
    ];
    let mut writes = Vec::new();
    for ((table, id, row), number) in rows.into_iter().zip(0..) {
        let write = subject.incoming(table, id, row)?;
        writes.push(RowWrite { op: 70 + number, seen: 700 + number, origin: format!("of {id}").into(), ..write });
    }
    let revs = subject.commit(&writes).await?;
    let entries = subject.after(seq).await?;
    let found: Vec<(&str, String, &str, u64, u64)> = entries
        .iter()
        .map(|entry| (&*entry.table, entry.key.to_string(), &*entry.stamp.origin, entry.stamp.op, entry.stamp.seen))
        .collect();
    let wanted = [("shops", "d", 0), ("tills", "t", 1), ("tills", "u", 2), ("shops", "a", 3), ("shops", "b", 4)];
    let wanted = wanted.into_iter().chain([("shops", "nobody", 6), ("shops", "e", 7)]);
    let origins: Vec<(&str, &str, String, u64)> =
        wanted.map(|(table, id, number)| (table, id, format!("of {id}"), number)).collect();
    let wanted: Vec<(&str, String, &str, u64, u64)> = origins
        .iter()
        .map(|(table, id, origin, number)| (*table, key(id).to_string(), &**origin, 70 + number, 700 + number))
        .collect();
    same("entries: table, row, origin, number, `seen`", found, wanted)?;
    let mut each: Vec<u64> = entries.iter().map(|entry| entry.stamp.rev).collect();
    each.insert(5, there);
    same("`rev` of each", revs, each)?;
    same("`seen` of what was there", subject.held("shops", "c").await?.stamp.map(|stamp| stamp.seen), Some(705))
}

pub(super) async fn a_refused_row_takes_all_with_it(subject: &Subject) -> Finding {
    subject.put("shops", shop("a", "one", 1)).await?;
    let seq = subject.replica.sequence().await?.seq;
    let before = subject.incoming("shops", "b", Some(shop("b", "two", 2)))?;
    let orphan = subject.incoming("tills", "t", Some(till("t", "nobody", "n")))?;
    let after = subject.incoming("tills", "u", Some(till("u", "b", "n")))?;
    let mut tx = subject.replica.begin().await?;
    let done = tx.write(&[before.clone(), after.clone(), orphan, after.clone()]).await;
    refused("a row that hangs on none", done, "parent", 2)?;
    drop(tx);
    same("entries of what was refused", subject.after(seq).await?, [])?;
    // Without it, they are taken.
    subject.commit(&[before, after]).await?;
    same("entries of the rest", subject.after(seq).await?.len(), 2)
}

pub(super) async fn a_dropped_transaction_is_rolled_back(subject: &Subject) -> Finding {
    let mut tx = subject.replica.begin().await?;
    tx.write(&[subject.incoming("shops", "a", Some(shop("a", "one", 1)))?]).await?;
    let table = subject.table("shops")?;
    same("the row before the end", held(&mut *tx, &table, "a").await?.row, Some(shop("a", "one", 1)))?;
    drop(tx);
    same("row of a transaction that was dropped", subject.held("shops", "a").await?.row, None)?;
    same("stamp of a row that was not written", subject.held("shops", "a").await?.stamp, None)?;
    same("entries of a transaction that was dropped", subject.after(0).await?, [])?;
    // The next one is not held up by it.
    subject.put("shops", shop("a", "two", 1)).await?;
    same("entries of the next transaction", subject.after(0).await?.len(), 1)
}

pub(super) async fn what_comes_after_a_write_is_the_hosts(subject: &Subject) -> Finding {
    subject.commit(&[subject.incoming("shops", "a", Some(shop("a", "one", 1)))?]).await?;
    let seq = subject.replica.sequence().await?.seq;
    subject.put("shops", shop("a", "mine", 1)).await?;
    let entries = subject.after(seq).await?;
    same("entries of one change", entries.len(), 1)?;
    same("origin", &entries[0].stamp.origin, subject.replica.name())?;
    holds(!entries[0].upstream, "what the host wrote counts as the upstream's")?;
    same("what it had seen of the upstream", entries[0].stamp.seen, 700)?;
    holds(entries[0].stamp.hlc > THEN, "the time of the row went back")
}

pub(super) async fn a_deleted_row_is_held(subject: &Subject) -> Finding {
    subject.put("shops", shop("a", "one", 1)).await?;
    subject.delete("shops", "a").await?;
    let last = subject.after(0).await?.pop();
    let held = subject.held("shops", "a").await?;
    same("the row", held.row, None)?;
    same("its stamp", held.stamp, last.map(|entry| entry.stamp))?;
    let nobody = subject.held("shops", "nobody").await?;
    same("what is held of a row that never was", (nobody.stamp, nobody.row), (None, None))
}

pub(super) async fn a_unique_value_is_refused_at_its_row(subject: &Subject) -> Finding {
    subject.put("shops", shop("a", "one", 1)).await?;
    let fine = subject.incoming("shops", "b", Some(shop("b", "two", 2)))?;
    let clash = subject.incoming("shops", "c", Some(shop("c", "three", 1)))?;
    let mut tx = subject.replica.begin().await?;
    refused("a value that another row holds", tx.write(&[fine, clash]).await, "unique", 1)?;
    drop(tx);
    same("a row of a transaction that was refused", subject.held("shops", "b").await?.row, None)?;
    let nulls = [("d", "four"), ("e", "five")].map(|(id, name)| shop(id, name, sync_core::Value::Null));
    for row in nulls {
        let id = row[0].to_string();
        subject.commit(&[subject.incoming("shops", &id, Some(row))?]).await?;
    }
    Ok(())
}

pub(super) async fn what_is_refused_leaves_nothing(subject: &Subject) -> Finding {
    subject.put("shops", shop("a", "one", 1)).await?;
    let kept = subject.incoming("shops", "k", Some(shop("k", "kept", 9)))?;
    let fine = subject.incoming("shops", "b", Some(shop("b", "two", 2)))?;
    let clash = subject.incoming("shops", "c", Some(shop("c", "three", 1)))?;
    let mut tx = subject.replica.begin().await?;
    tx.write(&[kept]).await?;
    refused("a value that another row holds", tx.write(&[fine, clash.clone()]).await, "unique", 1)?;
    refused("the same alone", tx.write(&[clash]).await, "unique", 0)?;
    tx.commit().await?;
    same("a row from before the refusal", subject.held("shops", "k").await?.row, Some(shop("k", "kept", 9)))?;
    same("a row of the call that was refused", subject.held("shops", "b").await?.row, None)?;
    let seq = subject.replica.sequence().await?.seq;
    subject.put("shops", shop("c", "mine", 3)).await?;
    let entries = subject.after(seq).await?;
    same("entries of one change", entries.len(), 1)?;
    holds(
        !entries[0].upstream,
        "what the host wrote counts as the upstream's, since its row was refused to that before",
    )
}

pub(super) async fn a_missing_parent_is_refused_at_its_row(subject: &Subject) -> Finding {
    let mut tx = subject.replica.begin().await?;
    let orphan = subject.incoming("tills", "t", Some(till("t", "nobody", "n")))?;
    refused("a row that hangs on none", tx.write(&[orphan]).await, "parent", 0)
}

pub(super) async fn a_parent_that_is_needed_is_not_deleted(subject: &Subject) -> Finding {
    subject.put("shops", shop("a", "one", 1)).await?;
    subject.put("tills", till("t", "a", "n")).await?;
    let mut tx = subject.replica.begin().await?;
    let delete = subject.incoming("shops", "a", None)?;
    refused("the delete of a row that others hang on", tx.write(&[delete]).await, "child", 0)
}

pub(super) async fn rows_in_the_way_come_behind_what_hangs_on_them(subject: &Subject) -> Finding {
    subject.put("shops", shop("a", "one", 1)).await?;
    subject.put("tills", till("t", "a", "n")).await?;
    let wanted = subject.incoming("shops", "b", Some(shop("b", "two", 1)))?;
    let mut tx = subject.replica.begin().await?;
    let clashing = tx.clashing(&wanted).await?;
    same("rows in the way", &clashing[..], [("tills".to_owned(), key("t")), ("shops".to_owned(), key("a"))])?;
    for (table, id) in &clashing {
        tx.write(&[subject.incoming(table, &id.to_string(), None)?]).await?;
    }
    tx.write(std::slice::from_ref(&wanted)).await?;
    let itself = tx.clashing(&wanted).await?;
    same("rows in the way of a row that is there already", itself, [])?;
    let free = subject.incoming("shops", "c", Some(shop("c", "three", sync_core::Value::Null)))?;
    same("rows in the way of a row without that value", tx.clashing(&free).await?, [])
}
