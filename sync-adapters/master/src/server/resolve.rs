//! `POST /api/sync/resolve-conflict`: a person's decision about what waits.

use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse, Response};
use sync_core::two_way::{Decision, Waiting};
use sync_core::{ErrorKind, Result};

use super::Service;
use super::call::Call;
use super::caller::Caller;
use super::fault::Fault;
use crate::refusal::refuse;
use crate::wire::{Codecs, DecisionBody, Raw, Resolve, Resolved};

/// Decides what waits. The decision goes to everybody as any write does.
#[utoipa::path(
    post,
    path = "/api/sync/resolve-conflict",
    request_body = Resolve,
    responses(
        (status = 200, description = "It is decided", body = Resolved),
        (status = 404, description = "`not_waiting`: decided already, or not the caller's", body = crate::wire::Problem),
        (status = 422, description = "The rows do not fit", body = crate::wire::Problem),
    ),
    security(("token" = [])),
)]
pub(super) async fn resolve_conflict(service: Arc<Service>, caller: Caller, call: Call) -> Result<Response, Fault> {
    let body: Resolve = call.json(&service.limits).await?;
    let inbox = theirs(&service, &caller).await?;
    let found = inbox.iter().find(|waiting| outward_id(waiting) == body.id);
    let waiting = found.ok_or_else(|| refuse(ErrorKind::Data, "not_waiting", "nothing waits under this id"))?;
    let decision = decision(waiting, body.decision, body.rows, &service.codecs)?;
    service.hub.decide(&waiting.id, decision, caller.access()).await?;
    if let Some(rooms) = &service.rooms {
        rooms.decided(&waiting.peer);
    }
    Ok(Json(Resolved { id: body.id }).into_response())
}

/// What waits and is this caller's to decide, the oldest first.
pub(super) async fn theirs(service: &Service, caller: &Caller) -> Result<Vec<Waiting>> {
    let mut inbox = service.hub.inbox(caller.access()).await?;
    inbox.retain(|waiting| caller.owns(&waiting.peer));
    Ok(inbox)
}

/// The id outside. Inside it names the peer as the hub knows it, which is nobody's business.
pub(super) fn outward_id(waiting: &Waiting) -> String {
    blake3::hash(waiting.id.as_bytes()).to_hex()[..32].to_owned()
}

fn decision(
    waiting: &Waiting,
    decision: DecisionBody,
    rows: Option<Vec<Option<Raw>>>,
    codecs: &Codecs,
) -> Result<Decision> {
    let wrong = |message| refuse(ErrorKind::Data, "wrong_rows", message);
    match (decision, rows) {
        (DecisionBody::TakeIncoming, None) => Ok(Decision::TakeIncoming),
        (DecisionBody::KeepExisting, None) => Ok(Decision::KeepExisting),
        (DecisionBody::Write, Some(rows)) if rows.len() == waiting.group.edits.len() => {
            let rows = waiting.group.edits.iter().zip(rows);
            let rows = rows.map(|(edit, row)| codecs.of(&edit.table)?.maybe_row(row.as_ref()));
            Ok(Decision::Write(rows.collect::<Result<_>>()?))
        }
        _ => Err(wrong("`rows` goes with `write`, and has one row for each edit")),
    }
}
