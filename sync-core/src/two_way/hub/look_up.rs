//! Says what stands under a key: for those who write without a database of their own.

use std::collections::BTreeMap;

use super::Hub;
use super::books::{load, waiting_id};
use super::inbox::Waiting;
use crate::model::Key;
use crate::two_way::{Access, Book, Found, Held, Lookup, Table, Transaction};
use crate::{ErrorKind, Result};

pub(super) async fn look_up(hub: &Hub, lookup: &Lookup, access: &Access) -> Result<Vec<Found>> {
    let table = hub.replica.tables().require(&lookup.table)?;
    let mut keys = lookup.keys.clone();
    keys.sort();
    keys.dedup();
    let mut tx = hub.replica.look().await?;
    let held = match tx.rows(table, &keys).await {
        // One of the keys is none that this database can hold: nothing stands under it.
        Err(error) if error.kind() == ErrorKind::Data => {
            drop(tx);
            keys = that_fit(hub, table, keys).await?;
            tx = hub.replica.look().await?;
            tx.rows(table, &keys).await?
        }
        held => held?,
    };
    let held: BTreeMap<Key, Held> = keys.into_iter().zip(held).collect();
    let mut found: Vec<Found> = lookup.keys.iter().map(|key| seen(hub, table, held.get(key), access)).collect();
    // At the same moment: what is taken out of the inbox in between would be seen neither here nor there.
    if let Some(peer) = &lookup.peer
        && !tx.list(Book::Inbox, "", "", 1).await?.is_empty()
    {
        for (key, found) in lookup.keys.iter().zip(&mut found) {
            with_waiting(&mut *tx, table, key, peer, found).await?;
        }
    }
    Ok(found)
}

/// What waits of this peer, in any of its lives, on top: who writes over it has seen it.
async fn with_waiting(tx: &mut dyn Transaction, table: &Table, key: &Key, peer: &str, found: &mut Found) -> Result<()> {
    let ids: Vec<String> = load(tx, Book::Waiting, &waiting_id(table.name(), key)).await?.unwrap_or_default();
    for id in ids {
        let Some(waiting) = load::<Waiting>(tx, Book::Inbox, &id).await? else { continue };
        let edits = waiting.group.edits.iter().filter(|edit| edit.table == table.name() && edit.key == *key);
        for edit in edits.filter(|_| waiting.peer.name == peer) {
            found.waits = true;
            found.row = match (&edit.after, &found.row) {
                (Some(after), Some(row)) => Some(table.onto(edit.before.as_deref(), after, row)?),
                (after, _) => after.clone(),
            };
        }
    }
    Ok(())
}

/// Those of the keys that this database can hold.
async fn that_fit(hub: &Hub, table: &Table, keys: Vec<Key>) -> Result<Vec<Key>> {
    let mut fit = Vec::with_capacity(keys.len());
    for key in keys {
        match hub.replica.look().await?.rows(table, std::slice::from_ref(&key)).await {
            Err(error) if error.kind() == ErrorKind::Data => {}
            held => {
                held?;
                fit.push(key);
            }
        }
    }
    Ok(fit)
}

/// Of what is not there nobody can tell any more whose it was: no word of it.
fn seen(hub: &Hub, table: &Table, held: Option<&Held>, access: &Access) -> Found {
    let nothing = Found { hlc: hub.present(), ..Found::default() };
    let Some(Held { stamp, row }) = held else { return nothing };
    let (rev, hlc) = stamp.as_ref().map_or((0, nothing.hlc), |stamp| (stamp.rev, stamp.hlc));
    match row {
        Some(row) if access.holds(table, row) => Found { rev, row: Some(row.clone()), hlc, ..nothing },
        // A delete may be of a time that is still to come.
        None if access.is_everything() => Found { hlc: hlc.max(nothing.hlc), ..nothing },
        _ => nothing,
    }
}
