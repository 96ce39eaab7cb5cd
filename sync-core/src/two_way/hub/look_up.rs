//! Says what stands under a key: for those who write without a database of their own.

use std::collections::BTreeMap;

use super::Hub;
use super::inbox::standing;
use crate::model::Key;
use crate::two_way::{Access, Found, Held, Lookup, Table};
use crate::{ErrorKind, Result};

pub(super) async fn look_up(hub: &Hub, lookup: &Lookup, access: &Access) -> Result<Vec<Found>> {
    let table = hub.replica.tables().require(&lookup.table)?;
    let mut keys = lookup.keys.clone();
    keys.sort();
    keys.dedup();
    let mut tx = hub.replica.look().await?;
    let held = match tx.rows(table, &keys).await {
        Err(error) if error.kind() == ErrorKind::Data => {
            drop(tx);
            one_by_one(hub, table, &keys).await?
        }
        held => held?,
    };
    let held: BTreeMap<Key, Held> = keys.into_iter().zip(held).collect();
    Ok(lookup.keys.iter().map(|key| seen(table, held.get(key), access)).collect())
}

/// One of the keys is none that this database can hold: nothing stands under it.
async fn one_by_one(hub: &Hub, table: &Table, keys: &[Key]) -> Result<Vec<Held>> {
    let mut held = Vec::with_capacity(keys.len());
    for key in keys {
        held.push(standing(&mut *hub.replica.look().await?, table, key).await?);
    }
    Ok(held)
}

/// Of what is not there nobody can tell any more whose it was: no word of it.
fn seen(table: &Table, held: Option<&Held>, access: &Access) -> Found {
    let Some(Held { stamp, row: Some(row) }) = held else { return Found::default() };
    if !access.holds(table, row) {
        return Found::default();
    }
    Found { rev: stamp.as_ref().map_or(0, |stamp| stamp.rev), row: Some(row.clone()) }
}
