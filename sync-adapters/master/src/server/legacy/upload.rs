//! `POST /api/sync/upload`: rows as a slave has them, as one group of edits.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use serde_json::value::RawValue;
use sync_core::two_way::{Became, Edit, EditResult, Group, Held, Hlc, Peer, Push};
use sync_core::{Error, ErrorKind, Key, Result, Value};

use super::{Part, Record, Upload, Uploaded, UploadedRecord, hold_nothing};
use crate::refusal::{refuse, said};
use crate::server::Service;
use crate::server::call::Call;
use crate::server::caller::Caller;
use crate::server::fault::Fault;
use crate::wire::Codec;

/// A number that no slave has written: the master says in its answer which one it knows.
const UNKNOWN: u64 = 1 << 52;

/// How often a group is numbered anew because another upload of the same slave came between.
const TRIES: usize = 8;

/// The last number of each slave's edits. Slaves do not number theirs, so the master does; what it has forgotten it asks the hub.
#[derive(Debug, Default)]
pub(in crate::server) struct Uploads(Mutex<HashMap<String, Arc<tokio::sync::Mutex<u64>>>>);

impl Uploads {
    fn of(&self, peer: &Peer) -> Arc<tokio::sync::Mutex<u64>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(peer.name.clone()).or_insert_with(|| Arc::new(tokio::sync::Mutex::new(UNKNOWN))))
    }
}

/// Rows that a slave has written: all are taken, or none. Of two writes of a row the later stays, by `updated_at` where the table
/// has it, else by the time of the upload.
#[utoipa::path(
    post,
    path = "/api/sync/upload",
    request_body = Upload,
    responses(
        (status = 200, description = "What became of each row", body = Uploaded),
        (status = "4XX", description = "Nothing was taken", body = crate::wire::Problem),
    ),
    security(("token" = [])),
)]
pub(in crate::server) async fn upload(service: Arc<Service>, caller: Caller, call: Call) -> Result<Response, Fault> {
    let upload: Upload = call.json(&service.limits).await?;
    let peer = Part::Writer.peer(&caller);
    let numbers = service.uploads.of(&peer);
    // One upload of a slave at a time, so that each reads what the one before it has left.
    let mut last = numbers.lock().await;
    let (edits, becomes) = edits(&service, &caller, &upload.records).await?;
    let results = push(&service, &caller, &peer, edits, &mut last).await?;
    let mut results = results.into_iter();
    let became = becomes.into_iter().map(|known| match known {
        Some(became) => became,
        None => results.next().map_or(Became::Waits, |result| result.became),
    });
    let records = upload.records.into_iter().zip(became);
    let results: Vec<_> = records.map(|(record, status)| UploadedRecord { id: record.id, status }).collect();
    Ok(Json(Uploaded { success: true, processed: results.len(), results }).into_response())
}

/// The edits that make the rows what the slave says, and of each record what became of it where it takes none.
async fn edits(service: &Service, caller: &Caller, records: &[Record]) -> Result<(Vec<Edit>, Vec<Option<Became>>)> {
    let mut tx = service.hub.replica().look().await?;
    let mut standing: BTreeMap<(String, Key), Held> = BTreeMap::new();
    let (mut edits, mut becomes) = (Vec::new(), Vec::with_capacity(records.len()));
    for record in records {
        let codec = service.codecs.of(&record.table)?;
        let row = record.data.as_deref().map(|data| codec.named(data)).transpose()?;
        let key = key(codec, record, row.as_ref())?;
        let place = (record.table.clone(), key.clone());
        let held = match standing.get(&place) {
            Some(held) => held.clone(),
            None => tx.rows(codec.table(), std::slice::from_ref(&key)).await?.pop().unwrap_or_default(),
        };
        if held.row.as_ref().is_some_and(|row| !caller.access().holds(codec.table(), row)) {
            return Err(refuse(ErrorKind::Forbidden, "not_yours", "the row belongs to somebody else")
                .with("table", &record.table));
        }
        let (rev, stored_at) = held.stamp.as_ref().map_or((0, Hlc::default()), |stamp| (stamp.rev, stamp.hlc));
        let after = match (record.action.as_str(), row) {
            ("delete", _) => None,
            ("create" | "update", Some(row)) => {
                Some(laid_over(service, caller, codec, &key, row, held.row.as_deref())?)
            }
            ("create" | "update", None) => return Err(bad("a row to write has `data`")),
            _ => return Err(refuse(ErrorKind::Config, "unknown_action", "an action is create, update or delete")),
        };
        let known = match (&held.row, &after) {
            (existing, after) if existing == after => Some(Became::Applied),
            (_, Some(after)) if written_at(codec, after).is_some_and(|at| at < stored_at) => Some(Became::Overruled),
            _ => None,
        };
        becomes.push(known);
        if known.is_none() {
            let now = Hlc::at(Utc::now());
            let hlc = after.as_ref().and_then(|row| written_at(codec, row)).unwrap_or(now);
            let (table, before) = (record.table.clone(), held.row);
            edits.push(Edit { op: 0, table, key, base: rev, hlc, before, after: after.clone() });
            standing.insert(place, Held { stamp: held.stamp, row: after });
        }
    }
    Ok((edits, becomes))
}

/// The key: of the data, or the `id` where the data does not name it. Where both are given they agree.
fn key(codec: &Codec, record: &Record, row: Option<&Vec<Option<Value>>>) -> Result<Key> {
    let spec = codec.table().spec();
    let of_data = row.and_then(|row| {
        spec.key_indices().into_iter().map(|column| row[column].clone()).collect::<Option<Vec<Value>>>().map(Key::new)
    });
    let of_id = match spec.key_columns() {
        [column] => Some(codec.key(&object(column, &record.id)?)?),
        _ => None,
    };
    match (of_data, of_id) {
        (Some(data), Some(id)) if data != id => Err(bad("the `id` is not the key in `data`")),
        (Some(key), _) | (None, Some(key)) => Ok(key),
        (None, None) => Err(bad("the key has several columns: they stand in `data`")),
    }
}

fn object(column: &str, value: &RawValue) -> Result<Box<RawValue>> {
    let text = format!("{{{}:{}}}", serde_json::Value::from(column), value.get());
    RawValue::from_string(text).map_err(|cause| Error::internal("a key cannot be written").caused_by(cause))
}

/// The row as it is to be: what the slave names, over what is there. Columns that say whose a row is are the caller's own where
/// they are not named, and columns that only the master writes stay as they are.
fn laid_over(
    service: &Service,
    caller: &Caller,
    codec: &Codec,
    key: &Key,
    row: Vec<Option<Value>>,
    existing: Option<&[Value]>,
) -> Result<Vec<Value>> {
    let table = codec.table();
    let owned = table.server_owned_indices();
    let mut merged: Vec<Value> = row
        .into_iter()
        .enumerate()
        .map(|(column, value)| {
            let value = value.filter(|_| !owned.contains(&column));
            value.unwrap_or_else(|| existing.map_or(Value::Null, |row| row[column].clone()))
        })
        .collect();
    for (column, value) in table.spec().key_indices().into_iter().zip(key.values()) {
        merged[column] = value.clone();
    }
    for name in table.scope_columns() {
        let column = table.spec().schema().index(name).filter(|column| merged[*column].is_null());
        if let (Some(column), Some(value)) = (column, caller.scope_value(&service.scope, name)) {
            merged[column] = value;
        }
    }
    table.check_row(&merged).map_err(|error| error.with("code", "wrong_type"))?;
    Ok(merged)
}

/// When the slave says that the row was written.
fn written_at(codec: &Codec, row: &[Value]) -> Option<Hlc> {
    match row[codec.table().spec().schema().index("updated_at")?] {
        Value::Timestamp(at) => at.to_datetime().map(Hlc::at),
        _ => None,
    }
}

fn bad(message: &'static str) -> Error {
    refuse(ErrorKind::Config, "bad_record", message)
}

async fn push(
    service: &Service,
    caller: &Caller,
    peer: &Peer,
    mut edits: Vec<Edit>,
    last: &mut u64,
) -> Result<Vec<EditResult>> {
    if edits.is_empty() {
        return Ok(Vec::new());
    }
    for _ in 0..TRIES {
        for (edit, op) in edits.iter_mut().zip(*last + 1..) {
            edit.op = op;
        }
        let group = Group { previous: *last, edits: edits.clone() };
        let push = Push { peer: peer.clone(), groups: vec![group], known_as: None, in_parts: false };
        match service.hub.push(&push, caller.access()).await {
            Ok(pushed) => {
                *last = pushed.last_op;
                hold_nothing(service, caller, peer, *last).await?;
                return Ok(pushed.results);
            }
            Err(error) => match said(&error, "code") {
                Some("gap") => *last = said(&error, "last_op").and_then(|op| op.parse().ok()).ok_or(error)?,
                Some("forked") => *last = UNKNOWN,
                _ => return Err(error),
            },
        }
    }
    Err(refuse(ErrorKind::Conflict, "busy", "other uploads of this slave are under way"))
}
