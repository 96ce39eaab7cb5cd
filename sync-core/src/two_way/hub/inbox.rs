//! What waits: groups that nobody could decide, or that lack a row they hang on.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Hub;
use super::books::{Answer, hash_of, load, read, result_id, save, waiting_id};
use super::judge::{Judge, Judgement};
use crate::model::{Key, Value};
use crate::two_way::{Access, Became, Book, EditResult, Group, Held, Hlc, Peer, RowWrite, Table, Transaction, refuse};
use crate::{Error, ErrorKind, Result};

/// Why a group waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// Another row holds a value that must be unique.
    Clash(String),
    /// A row that it hangs on is not there (yet).
    Orphan(String),
    /// The policy leaves it to a person.
    Parked(String),
    /// The database does not take it.
    Refused(String),
    /// An earlier group waits for one of its rows.
    Behind(String),
}

impl fmt::Display for Reason {
    /// For people: what kind it is, and what is said of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, what) = match self {
            Self::Clash(what) => ("another row has its unique value", what),
            Self::Orphan(what) => ("a row that it hangs on is not there", what),
            Self::Parked(what) => ("a person decides", what),
            Self::Refused(what) => ("the database does not take it", what),
            Self::Behind(what) => ("it is behind another that waits", what),
        };
        write!(f, "{kind}: {what}")
    }
}

impl Reason {
    pub(super) fn of(error: &Error) -> Self {
        let code = error.context().find(|(name, _)| *name == "code").map(|(_, code)| code);
        match code {
            Some("unique") => Self::Clash(error.message().to_owned()),
            Some("parent") => Self::Orphan(error.message().to_owned()),
            _ => Self::Refused(error.message().to_owned()),
        }
    }

    /// Whether time alone may change it.
    fn may_pass(&self) -> bool {
        !matches!(self, Self::Parked(_))
    }
}

/// A group that waits: what the branch had before it, what it wrote, and what the master has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// Under which it is decided. Older ones sort first.
    pub id: String,
    /// Whose it is.
    pub peer: Peer,
    /// Why.
    pub reason: Reason,
    /// Base and local side: each edit's row before and after.
    pub group: Group,
    /// Remote side: the master's row for each edit, when it came.
    pub rows: Vec<Option<Vec<Value>>>,
    /// Since when, milliseconds since 1970.
    pub since: u64,
}

/// What is decided about a group that waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Decision {
    /// The branch's edits are applied, onto the rows as they are now.
    TakeIncoming,
    /// The rows stay as they are at the master.
    KeepExisting,
    /// These rows are written, one for each edit; `None` deletes.
    Write(Vec<Option<Vec<Value>>>),
}

pub(super) async fn put(
    hub: &Hub,
    tx: &mut dyn Transaction,
    who: &Peer,
    group: &Group,
    reason: Reason,
) -> Result<Vec<EditResult>> {
    let mut since = hub.present().millis();
    for edit in &group.edits {
        let place = waiting_id(&edit.table, &edit.key);
        let waiting: Vec<String> = load(tx, Book::Waiting, &place).await?.unwrap_or_default();
        // Behind all that wait for the same row, wherever the clock stands.
        let latest = waiting.iter().filter_map(|id| id.split('-').next()?.parse().ok()).max();
        since = latest.map_or(since, |latest: u64| since.max(latest + 1));
    }
    let id = format!("{since:015}-{who}-{:020}", group.edits[0].op);
    let (mut rows, mut results) = (Vec::new(), Vec::new());
    for edit in &group.edits {
        let held = held(hub, tx, edit).await?;
        let (rev, hlc) = held.stamp.as_ref().map_or((0, Hlc::default()), |stamp| (stamp.rev, stamp.hlc));
        rows.push(held.row.clone());
        let (op, table, became) = (edit.op, edit.table.clone(), Became::Waits);
        results.push(EditResult { op, table, became, rev, row: held.row, hlc, clamped: false });
        let place = waiting_id(&edit.table, &edit.key);
        let mut waiting: Vec<String> = load(tx, Book::Waiting, &place).await?.unwrap_or_default();
        if !waiting.contains(&id) {
            waiting.push(id.clone());
            save(tx, Book::Waiting, &place, &waiting).await?;
        }
    }
    let waiting = Waiting { id: id.clone(), peer: who.clone(), reason, group: group.clone(), rows, since };
    save(tx, Book::Inbox, &id, &waiting).await?;
    Ok(results)
}

async fn held(hub: &Hub, tx: &mut dyn Transaction, edit: &crate::two_way::Edit) -> Result<Held> {
    let table = hub.replica.tables().require(&edit.table)?;
    standing(tx, table, &edit.key).await
}

/// What stands under a key: nothing where this database cannot hold it.
pub(super) async fn standing(tx: &mut dyn Transaction, table: &Table, key: &Key) -> Result<Held> {
    match tx.rows(table, std::slice::from_ref(key)).await {
        Err(error) if error.kind() == ErrorKind::Data => Ok(Held::default()),
        held => Ok(held?.pop().unwrap_or_default()),
    }
}

pub(super) async fn list(hub: &Hub, access: &Access) -> Result<Vec<Waiting>> {
    let mut tx = hub.replica.look().await?;
    let mut all = waiting(&mut *tx).await?;
    all.retain(|waiting| may_see(hub, waiting, access));
    Ok(all)
}

async fn waiting(tx: &mut dyn Transaction) -> Result<Vec<Waiting>> {
    let (mut all, mut after) = (Vec::<Waiting>::new(), String::new());
    loop {
        let page = tx.list(Book::Inbox, "", &after, 500).await?;
        let Some((last, _)) = page.last() else { return Ok(all) };
        after.clone_from(last);
        for (_, body) in &page {
            all.push(read(body)?);
        }
    }
}

/// Whoever may see all rows may see this group, too, whatever table it is of. Of a row from before its table was declared otherwise
/// nobody can tell whose it is.
fn may_see(hub: &Hub, waiting: &Waiting, access: &Access) -> bool {
    if access.is_everything() {
        return true;
    }
    if !fits(hub, waiting) {
        return false;
    }
    let local = waiting.group.edits.iter().flat_map(|edit| [&edit.before, &edit.after].map(|row| (edit, row)));
    let remote = waiting.group.edits.iter().zip(&waiting.rows);
    local.chain(remote).all(|(edit, row)| match (row, hub.replica.tables().get(&edit.table)) {
        (Some(row), Some(table)) => access.holds(table, row),
        (None, _) => true,
        (Some(_), None) => false,
    })
}

/// Whether its rows have the columns that their tables have by now.
fn fits(hub: &Hub, waiting: &Waiting) -> bool {
    let local = waiting.group.edits.iter().flat_map(|edit| [&edit.before, &edit.after].map(|row| (edit, row)));
    let remote = waiting.group.edits.iter().zip(&waiting.rows);
    local.chain(remote).all(|(edit, row)| {
        let table = hub.replica.tables().get(&edit.table);
        row.as_ref().is_none_or(|row| table.is_some_and(|table| table.spec().schema().width() == row.len()))
    })
}

pub(super) async fn decide(hub: &Hub, id: &str, decision: Decision, access: &Access) -> Result<()> {
    let mut tx = hub.replica.begin().await?;
    let known = load::<Waiting>(&mut *tx, Book::Inbox, id).await?.filter(|waiting| may_see(hub, waiting, access));
    let waiting = known.ok_or_else(|| {
        refuse(ErrorKind::Data, "not_waiting", "nothing waits under this id: it may be decided already")
            .with_remedy("look into the inbox again, and name an id that stands there")
    })?;
    let edits = &waiting.group.edits;
    if let Decision::Write(rows) = &decision {
        if rows.len() != edits.len() {
            return Err(refuse(ErrorKind::Data, "wrong_rows", "a decision has one row for each edit"));
        }
        for (edit, row) in edits.iter().zip(rows) {
            let (Some(row), table) = (row, hub.replica.tables().require(&edit.table)?) else { continue };
            if row.len() != table.spec().schema().width() || table.key_of(row) != edit.key {
                return Err(refuse(ErrorKind::Data, "wrong_rows", "the row is not one of this table, under this key")
                    .with("table", table.name()));
            }
            access.check(table, row)?;
        }
    }
    let mut results = Vec::with_capacity(edits.len());
    for (number, edit) in edits.iter().enumerate() {
        let table = hub.replica.tables().require(&edit.table)?;
        let held = held(hub, &mut *tx, edit).await?;
        if let Some(row) = &held.row {
            // Another row may have come under this key since.
            access.check(table, row)?;
        }
        let (rev, stored_at) = held.stamp.as_ref().map_or((0, Hlc::default()), |stamp| (stamp.rev, stamp.hlc));
        let mut wanted = match &decision {
            Decision::KeepExisting => held.row.clone(),
            Decision::Write(rows) => rows[number].clone(),
            Decision::TakeIncoming => match (&edit.after, &held.row) {
                (None, _) => None,
                (Some(after), None) => Some(after.clone()),
                (Some(after), Some(row)) => Some(table.onto(edit.before.as_deref(), after, row)?),
            },
        };
        if let Some(row) = wanted.as_mut().filter(|_| !access.is_everything()) {
            match &held.row {
                Some(existing) => table.keep_owned(row, existing),
                None => owns_nothing(table, row)?,
            }
        }
        let hlc = Hlc::after(hub.clock.now(), stored_at);
        let mut result = EditResult {
            op: edit.op,
            table: edit.table.clone(),
            became: Became::Overruled,
            rev,
            row: wanted.clone(),
            hlc: stored_at,
            clamped: false,
        };
        if wanted != held.row {
            let origin = waiting.peer.to_string().into();
            let write = RowWrite {
                table: Arc::clone(table),
                key: edit.key.clone(),
                row: wanted,
                hlc,
                origin,
                op: edit.op,
                seen: 0,
                upstream: false,
            };
            result.rev = tx.write(&[write]).await?.first().copied().unwrap_or(rev);
            (result.hlc, result.became) = (hlc, Became::Merged);
        }
        if decision == Decision::TakeIncoming {
            result.became = Became::Applied;
        }
        results.push(result);
    }
    settle(hub, &mut *tx, &waiting, &results).await?;
    tx.commit().await?;
    try_again(hub, access).await
}

/// A row that is made anew has nothing yet in the columns that only the master writes.
fn owns_nothing(table: &Table, row: &[Value]) -> Result<()> {
    match table.server_owned_indices().into_iter().find(|column| !row[*column].is_null()) {
        None => Ok(()),
        Some(column) => Err(refuse(ErrorKind::Forbidden, "server_owned", "only the master writes this column")
            .with("table", table.name())
            .with("column", table.spec().schema().fields()[column].name())),
    }
}

/// It waits no longer: the answers take the place of the first ones.
async fn settle(hub: &Hub, tx: &mut dyn Transaction, waiting: &Waiting, results: &[EditResult]) -> Result<()> {
    let (hash, at) = (hash_of(&waiting.group)?, hub.present().millis());
    for result in results {
        let waited = waiting.group.edits.iter().find(|edit| edit.op == result.op).map(|edit| edit.key.clone());
        let answer = Answer { hash: hash.clone(), result: result.clone(), at, waited };
        save(tx, Book::Results, &result_id(&waiting.peer.to_string(), result.op), &answer).await?;
    }
    for edit in &waiting.group.edits {
        let place = waiting_id(&edit.table, &edit.key);
        let mut others: Vec<String> = load(tx, Book::Waiting, &place).await?.unwrap_or_default();
        others.retain(|id| *id != waiting.id);
        if others.is_empty() {
            tx.put(Book::Waiting, &place, None).await?;
        } else {
            save(tx, Book::Waiting, &place, &others).await?;
        }
    }
    tx.put(Book::Inbox, &waiting.id, None).await
}

/// How many groups of the caller's are tried at once, and how many of others: whoever fills the inbox holds up nobody else.
const OWN: usize = 200;
const OTHERS: usize = 10;

/// Tries what may pass by itself, oldest first, until nothing does any more. Where much waits, a part is tried that chance chooses.
pub(super) async fn try_again(hub: &Hub, access: &Access) -> Result<()> {
    let all = {
        let mut tx = hub.replica.look().await?;
        waiting(&mut *tx).await?
    };
    if all.is_empty() {
        return Ok(());
    }
    let mut open: HashSet<String> = all.iter().map(|waiting| waiting.id.clone()).collect();
    let all = all.into_iter().filter(|waiting| waiting.reason.may_pass());
    let (own, others): (Vec<_>, Vec<_>) = all.partition(|waiting| may_see(hub, waiting, access));
    let mut left = some_of(own, OWN, hub.clock.random());
    left.extend(some_of(others, OTHERS, hub.clock.random()));
    left.sort_by(|one, other| one.id.cmp(&other.id));
    loop {
        let before = left.len();
        let mut still = Vec::new();
        for waiting in left {
            // Nothing passes what it waits behind.
            let is_behind = matches!(&waiting.reason, Reason::Behind(earlier) if open.contains(earlier));
            if is_behind || !passes(hub, &waiting).await? {
                still.push(waiting);
            } else {
                open.remove(&waiting.id);
            }
        }
        if still.is_empty() || still.len() == before {
            return Ok(());
        }
        left = still;
    }
}

fn some_of(mut waiting: Vec<Waiting>, most: usize, random: u64) -> Vec<Waiting> {
    if waiting.len() > most {
        let first = usize::try_from(random % waiting.len() as u64).unwrap_or_default();
        waiting.rotate_left(first);
        waiting.truncate(most);
    }
    waiting
}

/// What cannot even be judged waits for somebody to decide.
async fn passes(hub: &Hub, waiting: &Waiting) -> Result<bool> {
    if !fits(hub, waiting) {
        return Ok(false);
    }
    let mut tx = hub.replica.begin().await?;
    if tx.get(Book::Inbox, &waiting.id).await?.is_none() {
        return Ok(true);
    }
    let judged = async {
        let mut judge = Judge::begin(hub, &mut *tx, &waiting.peer, std::slice::from_ref(&waiting.group)).await?;
        let judgement = judge.judge(&mut *tx, &waiting.group, None, Some(&waiting.id)).await?;
        Ok::<_, Error>((judgement, judge.writes))
    };
    let (verdicts, writes) = match judged.await {
        Err(error) if matches!(error.kind(), ErrorKind::Data | ErrorKind::Schema) => return Ok(false),
        Err(error) => return Err(error),
        Ok((Judgement::Wait(_), _)) => return Ok(false),
        Ok((Judgement::Write(verdicts), writes)) => (verdicts, writes),
    };
    let revs = match tx.write(&writes).await {
        Ok(revs) => revs,
        Err(error) if error.kind() == ErrorKind::Data => return Ok(false),
        Err(error) => return Err(error),
    };
    let results: Vec<EditResult> = verdicts.into_iter().map(|verdict| verdict.result(&revs)).collect();
    settle(hub, &mut *tx, waiting, &results).await?;
    match tx.commit().await {
        Ok(()) => Ok(true),
        // A rule that is looked at when a transaction ends.
        Err(error) if error.kind() == ErrorKind::Data => Ok(false),
        Err(error) => Err(error),
    }
}
