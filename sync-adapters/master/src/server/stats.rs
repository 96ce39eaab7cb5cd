//! `GET /api/sync/stats`: what waits for the caller, and the limits.

use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use sync_core::Result;
use sync_core::two_way::{Hlc, Reason, Waiting};

use super::Service;
use super::call::Call;
use super::caller::Caller;
use super::fault::Fault;
use super::resolve::{outward_id, theirs};
use crate::wire::{ConflictBody, Stats, WaitingEdit};

/// How many conflicts are listed: those that have waited longest.
const LISTED: usize = 100;

/// How things stand for the caller: what waits for a decision, and the limits.
#[utoipa::path(
    get,
    path = "/api/sync/stats",
    responses((status = 200, description = "How things stand", body = Stats)),
    security(("token" = [])),
)]
pub(super) async fn stats(service: Arc<Service>, caller: Caller, call: Call) -> Result<Response, Fault> {
    call.query(&[])?;
    let inbox = theirs(&service, &caller).await?;
    let conflict = |waiting: &Waiting| conflict(&service, &caller, waiting);
    let stats = Stats {
        waiting: inbox.len(),
        conflicts: inbox.iter().take(LISTED).map(conflict).collect::<Result<_>>()?,
        tables: service.codecs.names().map(str::to_owned).collect(),
        edits_per_batch: service.limits.edits,
        body_bytes: service.limits.body_bytes,
        clock: Hlc::at(Utc::now()),
    };
    Ok(Json(stats).into_response())
}

fn conflict(service: &Service, caller: &Caller, waiting: &Waiting) -> Result<ConflictBody> {
    // The hub's own words may be a database's, and name other rows.
    let (reason, message) = match &waiting.reason {
        Reason::Clash(_) => ("clash", "another row holds a value that must be unique"),
        Reason::Orphan(_) => ("orphan", "a row that it hangs on is not there"),
        Reason::Parked(why) => ("parked", why.as_str()),
        Reason::Behind(_) => ("behind", "an earlier group waits for one of its rows"),
        _ => ("refused", "the database does not take it"),
    };
    let name = &waiting.peer.name;
    Ok(ConflictBody {
        id: outward_id(waiting),
        peer: name.strip_prefix(&caller.prefix()).map_or_else(|| caller.outward(name), str::to_owned),
        reason: reason.to_owned(),
        message: message.to_owned(),
        since: waiting.since,
        edits: WaitingEdit::all(waiting, &service.codecs)?,
    })
}
