//! `POST /api/sync/batch-push`: takes what a branch has written.

use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use sync_core::Result;
use sync_core::two_way::{Push, Pushed};

use super::Service;
use super::call::Call;
use super::caller::Caller;
use super::fault::Fault;
use crate::wire::{BatchPush, BatchPushed, Codecs, GroupBody, ResultBody};

/// Brings edits. Each group is applied whole or not at all, in order; a batch without groups is one group. What was brought
/// before gets its first answer again.
#[utoipa::path(
    post,
    path = "/api/sync/batch-push",
    request_body = BatchPush,
    responses(
        (status = 200, description = "What became of each edit", body = BatchPushed),
        (status = "4XX", description = "Nothing of the group at fault was applied", body = crate::wire::Problem),
    ),
    security(("token" = [])),
)]
pub(super) async fn batch_push(service: Arc<Service>, caller: Caller, call: Call) -> Result<Response, Fault> {
    let body: BatchPush = call.json(&service.limits).await?;
    let groups = match (body.groups, body.edits) {
        (Some(groups), None) => groups,
        (None, Some(edits)) => vec![GroupBody { previous: body.previous, edits }],
        _ => return Err(Fault::bad_request("bad_batch", "a batch has `groups`, or `edits` that are one group")),
    };
    let edits: usize = groups.iter().map(|group| group.edits.len()).sum();
    if groups.len() > 1 && edits > service.limits.edits {
        let message = format!("a batch of several groups has at most {} edits", service.limits.edits);
        return Err(Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many_edits", message));
    }
    if body.known_as.is_some_and(|known_as| known_as != caller.known_as()) {
        let message = "the branch was kept in step under another client or branch than the token's: its numbers mean nothing here";
        return Err(Fault::bad_request("moved", message));
    }
    let peer = caller.peer(&body.peer, body.life)?;
    // All of it is read before any of it is applied.
    let groups = groups.into_iter().map(|group| group.read(&service.codecs)).collect::<Result<_>>()?;
    let pushed =
        service.hub.push(&Push { peer, groups, known_as: None, in_parts: body.in_parts }, caller.access()).await?;
    Ok(Json(answered(&pushed, &service.codecs)?).into_response())
}

fn answered(pushed: &Pushed, codecs: &Codecs) -> Result<BatchPushed> {
    let results = pushed.results.iter().map(|result| ResultBody::of(result, codecs)).collect::<Result<_>>()?;
    Ok(BatchPushed { last_op: pushed.last_op, results })
}
