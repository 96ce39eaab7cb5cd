//! `POST /api/sync/acknowledge`: a slave has taken over what it downloaded.

use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse, Response};
use sync_core::Result;
use sync_core::two_way::Pull;

use super::stamp::{self, Read};
use super::{Acknowledge, Acknowledged, Part};
use crate::server::Service;
use crate::server::call::Call;
use crate::server::caller::Caller;
use crate::server::fault::Fault;

/// A slave has taken over what it downloaded, or says why not. What it has acknowledged need not be kept for it.
#[utoipa::path(
    post,
    path = "/api/sync/acknowledge",
    request_body = Acknowledge,
    responses(
        (status = 200, description = "It was taken", body = Acknowledged),
        (status = 400, description = "`bad_timestamp`", body = crate::wire::Problem),
    ),
    security(("token" = [])),
)]
pub(in crate::server) async fn acknowledge(
    service: Arc<Service>,
    caller: Caller,
    call: Call,
) -> Result<Response, Fault> {
    let said: Acknowledge = call.json(&service.limits).await?;
    let position = match stamp::read(&said.timestamp, &service.cursors, &caller.tenant(), None) {
        Read::Ours(position) => Some(position),
        Read::Foreign => None,
        Read::Bad => return Err(Fault::bad_request("bad_timestamp", "`timestamp` is a time in RFC 3339")),
    };
    if said.status == "success" {
        if let Some(position) = position {
            let peer = Part::Reader.peer(&caller);
            let pull = Pull { peer, from: Some(position), answered: 0, waiting: Vec::new(), limit: 1, alone: false };
            service.hub.pull(&pull, caller.access()).await?;
        }
    } else {
        let short = |text: &str| text.chars().take(200).collect::<String>();
        let (status, message) = (short(&said.status), said.message.as_deref().map(short));
        tracing::warn!(slave = caller.principal(), ?status, ?message, "sync: a slave could not take a download over");
    }
    Ok(Json(Acknowledged { success: true }).into_response())
}
