//! `GET /api/sync/download`: what changed since a timestamp that was given here, or everything.

use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use serde_json::value::to_raw_value;
use sync_core::two_way::{Item, Position, Pull};
use sync_core::{Error, Result};

use super::stamp::{self, Read};
use super::{Downloaded, Part, Record, hold_nothing};
use crate::server::Service;
use crate::server::call::Call;
use crate::server::caller::Caller;
use crate::server::fault::Fault;

/// When a download ends although more is there: rows.
const ENOUGH: usize = 5000;

/// What changed since `last_synced_at`; everything where it was not given here. The next `last_synced_at` is in the answer.
#[utoipa::path(
    get,
    path = "/api/sync/download",
    params(
        ("last_synced_at" = Option<String>, Query, description = "The `timestamp` of the last download, digit by digit"),
        ("tables[]" = Option<Vec<String>>, Query, description = "These tables alone"),
    ),
    responses(
        (status = 200, description = "The rows that changed", body = Downloaded),
        (status = 410, description = "`start_over`: the timestamp is too old", body = crate::wire::Problem),
    ),
    security(("token" = [])),
)]
pub(in crate::server) async fn download(service: Arc<Service>, caller: Caller, call: Call) -> Result<Response, Fault> {
    let (mut since, mut tables) = (None, Vec::new());
    for (name, value) in call.query(&["last_synced_at", "tables[]", "tables"])? {
        if name == "last_synced_at" {
            since = Some(value).filter(|value| !value.is_empty());
        } else {
            service.codecs.of(&value)?;
            tables.push(value);
        }
    }
    // Before anything is read: what is written from now on is later than this.
    let (at, choice, tenant) = (Utc::now(), stamp::choice(&tables), caller.tenant());
    let mut position = match since.map(|since| stamp::read(&since, &service.cursors, &tenant, Some(choice))) {
        None | Some(Read::Foreign) => None,
        Some(Read::Ours(position)) => Some(position),
        Some(Read::Bad) => return Err(Fault::bad_request("bad_timestamp", "`last_synced_at` is a time in RFC 3339")),
    };
    let full = position.as_ref().is_none_or(Position::is_loading);
    let (mut records, mut part, mut has_more) = (Vec::new(), Part::Reader, true);
    while has_more && records.len() < ENOUGH {
        let peer = part.peer(&caller);
        let limit = service.limits.page_rows;
        let pull = Pull { peer, from: position.take(), answered: 0, waiting: Vec::new(), limit, alone: false };
        let page = service.hub.pull(&pull, caller.access()).await?;
        let wanted = |item: &&Item| tables.is_empty() || tables.contains(&item.table);
        for item in page.items.iter().filter(wanted) {
            records.push(record(&service, item, page.load)?);
        }
        (has_more, position) = (page.more, Some(page.next));
        // The slave does not have these rows yet: that they were read is not noted under its name.
        part = Part::Ahead;
    }
    hold_nothing(&service, &caller, &Part::Ahead.peer(&caller), 0).await?;
    let position = position.ok_or_else(|| Error::internal("a download ended nowhere"))?;
    let timestamp = stamp::write(at, &service.cursors, &tenant, choice, &position)?;
    Ok(Json(Downloaded { records, timestamp, has_more, full }).into_response())
}

fn record(service: &Service, item: &Item, load: bool) -> Result<Record> {
    let codec = service.codecs.of(&item.table)?;
    let (action, data) = match &item.row {
        Some(row) => (if load { "create" } else { "update" }, codec.row_json(row)?),
        None => ("delete", codec.key_json(&item.key)?),
    };
    let id = to_raw_value(&item.key.to_string())
        .map_err(|cause| Error::internal("a key cannot be written").caused_by(cause))?;
    Ok(Record { table: item.table.clone(), data: Some(data), action: action.to_owned(), id })
}
