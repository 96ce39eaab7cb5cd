//! Takes what a branch has written: groups that follow each other in one transaction, as long as nothing is wrong with any.

use std::time::Duration;

use super::Hub;
use super::books::{Answer, PeerBook, body, hash_of, load, peer, result_id, save};
use super::inbox::{self, Reason};
use super::judge::{Judge, Judgement, Verdict};
use crate::two_way::Flaw::NoIdempotency;
use crate::two_way::{
    Access, Became, Book, Edit, EditResult, Group, Hlc, Peer, Push, Pushed, Table, Transaction, refuse,
};
use crate::{ErrorKind, Result};

const FORKED: &str =
    "these numbers stand for other writes of this branch: it was restored from a backup, and begins another life";

/// How often a group is tried again when other writers were in its way.
const TRIES: u32 = 5;

/// So many edits are taken in one transaction, where each group has fewer.
const BATCH: usize = 50;

pub(super) async fn push(hub: &Hub, push: &Push, access: &Access) -> Result<Pushed> {
    let mut pushed = Pushed { last_op: 0, results: Vec::new() };
    let mut waiting = push.groups.is_empty();
    let mut rest = push.groups.as_slice();
    while !rest.is_empty() {
        let (batch, _) = rest.split_at(batch_of(rest));
        // What is wrong with a group is said once those before it are taken.
        let taken = if batch.len() > 1 && batch.iter().all(|group| check(hub, group, access).is_ok()) {
            match take_together(hub, &push.peer, batch, access).await {
                // Others were in the way. Alone, each is tried again; what was taken after all gets its answer once more.
                Err(error) if error.kind() == ErrorKind::Conflict => None,
                done => done?,
            }
        } else {
            None
        };
        let taken = match taken {
            Some(taken) => taken,
            None => {
                let mut results = Vec::new();
                for group in batch {
                    check(hub, group, access)?;
                    results.extend(take_alone(hub, push, group, access).await?);
                }
                Taken { groups: batch.len(), results, waiting: true }
            }
        };
        waiting |= taken.waiting;
        pushed.results.extend(taken.results);
        let last = rest[..taken.groups].last().and_then(|group| group.edits.last());
        pushed.last_op = last.map_or(pushed.last_op, |edit| edit.op);
        rest = &rest[taken.groups..];
    }
    // What was taken is taken, whatever keeps others waiting. Whoever begins to wait later tries again by itself.
    if !waiting {
        return Ok(pushed);
    }
    if let Err(error) = inbox::try_again(hub, access).await {
        tracing::warn!(%error, "what waits cannot be tried again; the next push does");
    }
    Ok(pushed)
}

/// How many groups go into the next transaction: at least one.
fn batch_of(groups: &[Group]) -> usize {
    let mut edits = 0;
    let fits = groups.iter().take_while(|group| {
        edits += group.edits.len();
        edits <= BATCH
    });
    fits.count().max(1)
}

/// What came of groups that were taken.
struct Taken {
    /// How many.
    groups: usize,
    results: Vec<EditResult>,
    /// Whether something waits in the inbox that may not wait any longer.
    waiting: bool,
}

/// Takes groups that follow each other, up to the first that must wait, and returns how many. `None` where one of them is not
/// simply new: then each is taken alone, which says what is wrong with it.
async fn take_together(hub: &Hub, who: &Peer, groups: &[Group], access: &Access) -> Result<Option<Taken>> {
    let mut tx = hub.replica.begin().await?;
    let book = peer(&mut *tx, who).await?;
    let mut last = book.last_op;
    for group in groups {
        if book.ended || group.previous != last || group.edits[0].op <= last {
            return Ok(None);
        }
        last = group.edits[group.edits.len() - 1].op;
    }
    let Ok(mut judge) = Judge::begin(hub, &mut *tx, who, groups).await else { return Ok(None) };
    let mut verdicts = Vec::with_capacity(groups.len());
    for group in groups {
        match judge.judge(&mut *tx, group, Some(access), None).await {
            Ok(Judgement::Write(of_group)) => verdicts.push(of_group),
            Ok(Judgement::Wait(_)) => break,
            Err(_) => return Ok(None),
        }
    }
    // Two are worth it: one alone is taken as ever.
    if verdicts.len() < 2 {
        return Ok(None);
    }
    let Ok(revs) = tx.write(&judge.writes).await else { return Ok(None) };
    let waiting = judge.waiting;
    let taken = &groups[..verdicts.len()];
    let (mut all, mut answers) = (Vec::new(), Vec::new());
    for (group, verdicts) in taken.iter().zip(verdicts) {
        let results: Vec<EditResult> = verdicts.into_iter().map(|verdict| verdict.result(&revs)).collect();
        answers_to(hub, who, group, &results, &mut answers)?;
        all.extend(results);
    }
    tx.put_all(Book::Results, answers).await?;
    heard(hub, &mut *tx, who, taken, &book).await?;
    match tx.commit().await {
        Ok(()) => {}
        // A rule that is looked at when a transaction ends: alone, each tells whether it is the one.
        Err(error) if error.kind() == ErrorKind::Data => return Ok(None),
        Err(error) => return Err(error),
    }
    Ok(Some(Taken { groups: taken.len(), results: all, waiting }))
}

/// Takes one group in a transaction of its own, and again when other writers were in its way.
async fn take_alone(hub: &Hub, push: &Push, group: &Group, access: &Access) -> Result<Vec<EditResult>> {
    let mut tries = 0;
    loop {
        tries += 1;
        match take(hub, push, group, access).await {
            Err(error)
                if error.kind() == ErrorKind::Conflict && tries < TRIES && error.retry() != crate::Retry::Never =>
            {
                hub.clock.sleep(Duration::from_millis(5 + hub.clock.random() % 20) * tries).await;
            }
            done => return done,
        }
    }
}

/// What can be said about a group without looking at any row.
fn check(hub: &Hub, group: &Group, access: &Access) -> Result<()> {
    let malformed = |code, message| Err(refuse(ErrorKind::Data, code, message));
    if group.edits.is_empty() {
        return malformed("empty_group", "a group holds at least one edit");
    }
    if group.edits.len() > hub.settings.group {
        return Err(refuse(ErrorKind::Limit, "group_too_large", "the group has more edits than one transaction takes")
            .with("edits", group.edits.len())
            .with("most", hub.settings.group));
    }
    let mut last = group.previous;
    for edit in &group.edits {
        if edit.op <= last {
            return malformed("bad_numbers", "the numbers of edits grow from one to the next");
        }
        last = edit.op;
        check_edit(hub, edit, access).map_err(|error| error.with("op", edit.op))?;
    }
    Ok(())
}

fn check_edit(hub: &Hub, edit: &Edit, access: &Access) -> Result<()> {
    let table = hub.replica.tables().require(&edit.table)?;
    if edit.before.is_none() && edit.after.is_none() {
        return Err(refuse(ErrorKind::Data, "empty_edit", "an edit names the row before it, after it, or both"));
    }
    for row in [&edit.before, &edit.after].into_iter().flatten() {
        fits(table, edit, row)?;
        access.check(table, row)?;
    }
    let owned = table.server_owned_indices();
    let changed = |column: &usize| {
        let value =
            |row: &Option<Vec<crate::Value>>| row.as_ref().map_or(crate::Value::Null, |row| row[*column].clone());
        edit.after.is_some() && value(&edit.before) != value(&edit.after)
    };
    if let Some(column) = owned.iter().find(|column| changed(column)) {
        return Err(refuse(ErrorKind::Forbidden, "server_owned", "only the master writes this column")
            .with("table", table.name())
            .with("column", table.spec().schema().fields()[*column].name()));
    }
    Ok(())
}

fn fits(table: &Table, edit: &Edit, row: &[crate::Value]) -> Result<()> {
    if row.len() != table.spec().schema().width() {
        return Err(refuse(ErrorKind::Data, "wrong_columns", "the row has not one value for each column")
            .with("table", table.name()));
    }
    table.check_row(row).map_err(|error| error.with("code", "wrong_type"))?;
    if table.key_of(row) != edit.key {
        return Err(refuse(
            ErrorKind::Data,
            "wrong_key",
            "the key is not that of the row: a new key is a delete and a new row",
        )
        .with("table", table.name()));
    }
    Ok(())
}

async fn take(hub: &Hub, push: &Push, group: &Group, access: &Access) -> Result<Vec<EditResult>> {
    let who = &push.peer;
    let mut tx = hub.replica.begin().await?;
    let book = peer(&mut *tx, who).await?;
    let (first, last) = (group.edits[0].op, group.edits[group.edits.len() - 1].op);
    if first <= book.last_op && !hub.planted.has(NoIdempotency) {
        return replay(hub, &mut *tx, (who, access), group, &book, last).await;
    }
    book.still_writes()?;
    if group.previous < book.last_op && !hub.planted.has(NoIdempotency) {
        return Err(refuse(ErrorKind::Conflict, "forked", FORKED).with_retry(crate::Retry::Never));
    }
    if group.previous != book.last_op && !hub.planted.has(NoIdempotency) {
        return Err(refuse(ErrorKind::Conflict, "gap", "writes before this group have not come")
            .with_retry(crate::Retry::Never)
            .with("last_op", book.last_op));
    }
    let mut judge = match Judge::begin(hub, &mut *tx, who, std::slice::from_ref(group)).await {
        // A key that this database cannot hold.
        Err(error) if error.kind() == ErrorKind::Data => {
            drop(tx);
            return wait(hub, push, group, Reason::of(&error)).await;
        }
        judge => judge?,
    };
    let reason = match judge.judge(&mut *tx, group, Some(access), None).await? {
        Judgement::Write(verdicts) => match tx.write(&judge.writes).await {
            Ok(revs) => {
                let results: Vec<EditResult> = verdicts.into_iter().map(|verdict| verdict.result(&revs)).collect();
                answer(hub, &mut *tx, who, group, &book, &results).await?;
                match tx.commit().await {
                    Ok(()) => return Ok(results),
                    Err(error) if error.kind() == ErrorKind::Data => {
                        return wait(hub, push, group, Reason::of(&error)).await;
                    }
                    Err(error) => return Err(error),
                }
            }
            Err(error) if error.kind() == ErrorKind::Data => Reason::of(&error),
            Err(error) => return Err(error),
        },
        Judgement::Wait(reason) => reason,
    };
    drop(tx);
    wait(hub, push, group, reason).await
}

/// The group goes into the inbox, whole: what comes after it on the same rows waits behind it.
async fn wait(hub: &Hub, push: &Push, group: &Group, reason: Reason) -> Result<Vec<EditResult>> {
    let who = &push.peer;
    if push.in_parts && group.edits.len() > 1 {
        return Err(refuse(
            ErrorKind::Data,
            "would_wait",
            "the group would have to wait: it was to come again in parts",
        ));
    }
    let mut tx = hub.replica.begin().await?;
    let book = peer(&mut *tx, who).await?;
    book.still_writes()?;
    if book.last_op != group.previous && !hub.planted.has(NoIdempotency) {
        return Err(refuse(ErrorKind::Conflict, "busy", "another push of this branch is under way")
            .with_retry(crate::Retry::Backoff));
    }
    let results = inbox::put(hub, &mut *tx, who, group, reason).await?;
    answer(hub, &mut *tx, who, group, &book, &results).await?;
    tx.commit().await?;
    Ok(results)
}

/// Keeps the answer to a group, and that it was taken.
async fn answer(
    hub: &Hub,
    tx: &mut dyn Transaction,
    who: &Peer,
    group: &Group,
    book: &PeerBook,
    results: &[EditResult],
) -> Result<()> {
    let mut answers = Vec::with_capacity(results.len());
    answers_to(hub, who, group, results, &mut answers)?;
    tx.put_all(Book::Results, answers).await?;
    heard(hub, tx, who, std::slice::from_ref(group), book).await
}

/// What is kept of the answer to a group.
fn answers_to(
    hub: &Hub,
    who: &Peer,
    group: &Group,
    results: &[EditResult],
    answers: &mut Vec<(String, Vec<u8>)>,
) -> Result<()> {
    let (hash, at, who) = (hash_of(group)?, hub.present().millis(), who.to_string());
    for result in results {
        let answer = Answer { hash: hash.clone(), result: result.clone(), at, waited: None };
        answers.push((result_id(&who, result.op), body(&answer)?));
    }
    Ok(())
}

async fn heard(hub: &Hub, tx: &mut dyn Transaction, who: &Peer, taken: &[Group], book: &PeerBook) -> Result<()> {
    let last = taken.last().and_then(|group| group.edits.last());
    let last_op = last.map_or(book.last_op, |edit| edit.op);
    save(tx, Book::Peers, &who.to_string(), &PeerBook { last_op, heard: hub.present().millis(), ..book.clone() }).await
}

/// The first answer once more.
async fn replay(
    hub: &Hub,
    tx: &mut dyn Transaction,
    (who, access): (&Peer, &Access),
    group: &Group,
    book: &PeerBook,
    last: u64,
) -> Result<Vec<EditResult>> {
    let forked = || refuse(ErrorKind::Conflict, "forked", FORKED).with_retry(crate::Retry::Never);
    if last > book.last_op {
        return Err(forked());
    }
    let hash = hash_of(group)?;
    let mut results = Vec::with_capacity(group.edits.len());
    for edit in &group.edits {
        let id = result_id(&who.to_string(), edit.op);
        match load::<Answer>(tx, Book::Results, &id).await? {
            Some(answer) if answer.hash == hash => results.push(answer.result),
            Some(_) => return Err(forked()),
            None if tx.get(Book::Taken, &id).await?.is_some_and(|taken| taken == hash.as_bytes()) => {
                results.push(as_it_is_now(hub, tx, edit, access).await?);
            }
            None => return Err(forked()),
        }
    }
    Ok(results)
}

/// The answer is forgotten: the row as it is now is all there is to say.
async fn as_it_is_now(hub: &Hub, tx: &mut dyn Transaction, edit: &Edit, access: &Access) -> Result<EditResult> {
    let table = hub.replica.tables().require(&edit.table)?;
    let mut held = tx.rows(table, std::slice::from_ref(&edit.key)).await?.pop().unwrap_or_default();
    // It may belong to somebody else by now.
    held.row = held.row.filter(|row| access.holds(table, row));
    let (rev, hlc) = held.stamp.as_ref().map_or((0, Hlc::default()), |stamp| (stamp.rev, stamp.hlc));
    let became = if held.row == edit.after { Became::Applied } else { Became::Merged };
    Ok(EditResult { op: edit.op, table: edit.table.clone(), became, rev, row: held.row, hlc, clamped: false })
}

impl Verdict {
    /// The answer, once the writes have their numbers.
    pub(super) fn result(self, revs: &[u64]) -> EditResult {
        let rev = self.write.and_then(|write| revs.get(write)).copied().unwrap_or(self.rev);
        let Self { op, table, became, row, hlc, clamped, .. } = self;
        EditResult { op, table, became, rev, row, hlc, clamped }
    }
}
