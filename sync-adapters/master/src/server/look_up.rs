//! `POST /api/sync/rows`: says what stands under some keys.

use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use sync_core::Result;

use super::Service;
use super::call::Call;
use super::caller::Caller;
use super::fault::Fault;
use crate::wire::{FoundBody, FoundRow, LookupBody};

/// What stands under these keys, as far as it is the caller's: for those who write without a database of their own.
#[utoipa::path(
    post,
    path = "/api/sync/rows",
    request_body = LookupBody,
    responses(
        (status = 200, description = "One for each key", body = FoundBody),
        (status = "4XX", description = "The request is at fault", body = crate::wire::Problem),
    ),
    security(("token" = [])),
)]
pub(super) async fn rows(service: Arc<Service>, caller: Caller, call: Call) -> Result<Response, Fault> {
    let body: LookupBody = call.json(&service.limits).await?;
    let most = service.limits.page_rows;
    if body.keys.len() > most {
        return Err(Fault::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_many_keys",
            format!("at most {most} rows are asked for at once"),
        ));
    }
    let mut lookup = body.read(&service.codecs)?;
    lookup.peer = lookup.peer.map(|peer| caller.peer(&peer, 0)).transpose()?.map(|peer| peer.name);
    let found = service.hub.look_up(&lookup, caller.access()).await?;
    let codec = service.codecs.of(&lookup.table)?;
    let rows = found.iter().map(|found| FoundRow::of(found, codec)).collect::<Result<_>>()?;
    Ok(Json(FoundBody { rows }).into_response())
}
