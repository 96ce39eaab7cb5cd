//! `GET /api/sync/room`: from a request to a member of a room.

use std::sync::Arc;

use axum::extract::FromRequestParts as _;
use axum::extract::ws::WebSocketUpgrade;
use axum::response::Response;
use http::header::ORIGIN;
use http::{HeaderMap, StatusCode};

use super::member::Member;
use super::seats::Seat;
use super::watch::{waiting, watch};
use super::{Inner, Rooms};
use crate::server::Service;
use crate::server::call::Call;
use crate::server::caller::Caller;
use crate::server::fault::Fault;
use crate::wire::{Mark, PROTOCOL};

/// What a connection reads at a time, bytes. Members say little.
const READ: usize = 4096;
/// The most that may wait to be written to one connection, bytes: a few messages, which are written at once.
const WRITE: usize = 16 * 1024;

/// A WebSocket: the caller's room, where it hears that there is something to pull.
#[utoipa::path(
    get,
    path = "/api/sync/room",
    responses(
        (status = 101, description = "Joined: from now on messages of this form come", body = crate::wire::Told),
        (status = 403, description = "`bad_origin`: the page may not join", body = crate::wire::Problem),
        (status = 426, description = "`not_websocket`", body = crate::wire::Problem),
        (status = 429, description = "`too_many_members`", body = crate::wire::Problem),
        (status = 503, description = "`full` or `stopping`", body = crate::wire::Problem),
    ),
    security(("token" = [])),
)]
pub(in crate::server) async fn join(service: Arc<Service>, caller: Caller, call: Call) -> Result<Response, Fault> {
    let Some(Rooms { inner: rooms }) = service.rooms.clone() else {
        return Err(Fault::new(StatusCode::NOT_FOUND, "no_rooms", "this master has no rooms"));
    };
    let Call { mut parts, .. } = call;
    call_from(&parts.headers, &rooms.settings.origins)?;
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await.map_err(|why| {
        let message = "a room is joined by an upgrade to WebSocket";
        Fault::new(StatusCode::UPGRADE_REQUIRED, "not_websocket", message).because(why)
    })?;
    if rooms.stop.is_cancelled() {
        let message = "the master stops: come back later";
        return Err(Fault::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", message).after(rooms.settings.pong));
    }
    let seat = Seat::take(&rooms, &caller)?;
    // The seat first, then where the feed stands: what comes between is told twice rather than not at all.
    let at = standing(&service, &rooms, &caller).await?;
    let member = Member::new(Arc::clone(&service), Arc::clone(&rooms), caller, seat, at);
    let largest = rooms.settings.message_bytes;
    Ok(upgrade
        .protocols([PROTOCOL])
        .read_buffer_size(READ)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE)
        .max_message_size(largest)
        .max_frame_size(largest)
        .on_upgrade(move |socket| rooms.tasks.track_future(member.stay(socket))))
}

/// A browser says where its page is from, whoever wrote the page.
fn call_from(headers: &HeaderMap, allowed: &[String]) -> Result<(), Fault> {
    let mut origins = headers.get_all(ORIGIN).iter();
    match origins.all(|origin| allowed.iter().any(|known| known.as_bytes() == origin.as_bytes())) {
        true => Ok(()),
        false => Err(Fault::new(StatusCode::FORBIDDEN, "bad_origin", "pages of this origin may not join")),
    }
}

/// Where the feed stands, with somebody looking at it from there on, and what waits.
async fn standing(service: &Arc<Service>, rooms: &Arc<Inner>, caller: &Caller) -> Result<Mark, Fault> {
    let head = service.hub.replica().sequence().await?;
    let is_watched = {
        let mut table = rooms.seats.table();
        table.seen.get_or_insert(head);
        std::mem::replace(&mut table.watched, true)
    };
    if !is_watched {
        rooms.tasks.spawn(watch(Arc::clone(service), Arc::clone(rooms)));
    }
    let is_known =
        |rooms: &Inner| rooms.seats.table().rooms.get(&caller.prefix()).is_some_and(|room| room.waiting.is_some());
    if !is_known(rooms) {
        let waiting = waiting(service, caller).await?;
        if let Some(room) = rooms.seats.table().rooms.get_mut(&caller.prefix()) {
            room.waiting.get_or_insert(waiting);
        }
    }
    Ok(head.into())
}
