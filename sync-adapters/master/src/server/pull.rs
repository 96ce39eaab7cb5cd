//! `GET /api/sync/pull-changes`: hands out what happened since a cursor.

use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse, Response};
use sync_core::Result;
use sync_core::two_way::{Page, Position, Pull};

use super::Service;
use super::call::Call;
use super::caller::Caller;
use super::fault::Fault;
use crate::wire::{ChangeBody, PageBody, ResultBody};

/// The most edits whose answer may be asked after at once.
const ASKED_AFTER: usize = 1000;

/// The next page of changes: whole groups, in order.
#[utoipa::path(
    get,
    path = "/api/sync/pull-changes",
    params(
        ("peer" = String, Query, description = "The name of the replica"),
        ("life" = Option<u64>, Query, description = "Which life it is in"),
        ("cursor" = Option<String>, Query, description = "Where the last page ended; from the beginning without it"),
        ("answered" = Option<u64>, Query, description = "Its last edit whose answer it holds"),
        ("waiting" = Option<String>, Query, description = "Edits that wait, as life.number, separated by commas"),
        ("limit" = Option<usize>, Query, description = "How many rows, about; with 0 the cursor alone"),
        ("alone" = Option<bool>, Query, description = "Whether this life alone writes under the name from now on"),
    ),
    responses(
        (status = 200, description = "A page", body = PageBody),
        (status = 400, description = "`bad_cursor`: the cursor is not this caller's", body = crate::wire::Problem),
        (status = 409, description = "`ended`: another life writes alone under this name", body = crate::wire::Problem),
        (status = 410, description = "`start_over`: the cursor is too old", body = crate::wire::Problem),
    ),
    security(("token" = [])),
)]
pub(super) async fn pull_changes(service: Arc<Service>, caller: Caller, call: Call) -> Result<Response, Fault> {
    let mut asked = Asked::default();
    for (name, value) in call.query(&["peer", "life", "cursor", "answered", "waiting", "limit", "alone"])? {
        asked.take(&name, value)?;
    }
    let peer = asked.peer.ok_or_else(|| Fault::bad_request("bad_parameter", "the parameter `peer` is missing"))?;
    let from = asked.cursor.map(|cursor| service.cursors.open(&caller.tenant(), &cursor)).transpose()?;
    let pull = Pull {
        peer: caller.peer(&peer, asked.life)?,
        from,
        answered: asked.answered,
        waiting: asked.waiting,
        limit: asked.limit.unwrap_or(500).min(service.limits.page_rows),
        alone: asked.alone,
    };
    let page = service.hub.pull(&pull, caller.access()).await?;
    Ok(Json(told(&service, &caller, &page)?).into_response())
}

#[derive(Default)]
struct Asked {
    peer: Option<String>,
    life: u64,
    cursor: Option<String>,
    answered: u64,
    waiting: Vec<(u64, u64)>,
    limit: Option<usize>,
    alone: bool,
}

impl Asked {
    fn take(&mut self, name: &str, value: String) -> Result<(), Fault> {
        let bad = || Fault::bad_request("bad_parameter", format!("the parameter `{name}` is not what it should be"));
        match name {
            "peer" => self.peer = Some(value),
            "cursor" => self.cursor = Some(value),
            "life" => self.life = value.parse().map_err(|_| bad())?,
            "answered" => self.answered = value.parse().map_err(|_| bad())?,
            "alone" => self.alone = value.parse().map_err(|_| bad())?,
            "limit" => self.limit = Some(value.parse().map_err(|_| bad())?),
            _ => self.waiting = waiting(&value).ok_or_else(bad)?,
        }
        Ok(())
    }
}

fn waiting(list: &str) -> Option<Vec<(u64, u64)>> {
    let one = |pair: &str| {
        let (life, op) = pair.split_once('.')?;
        Some((life.parse().ok()?, op.parse().ok()?))
    };
    let waiting: Vec<_> = list.split(',').filter(|pair| !pair.is_empty()).map(one).collect::<Option<_>>()?;
    (waiting.len() <= ASKED_AFTER).then_some(waiting)
}

fn told(service: &Service, caller: &Caller, page: &Page) -> Result<PageBody> {
    Ok(PageBody {
        changes: page
            .items
            .iter()
            .map(|item| ChangeBody::of(item, caller.outward(&item.origin), &service.codecs))
            .collect::<Result<_>>()?,
        cursor: service.cursors.seal(&caller.tenant(), &page.next)?,
        more: page.more,
        mark: match &page.next {
            Position::Feed(head) | Position::Meanwhile { at: head, .. } => Some((*head).into()),
            _ => None,
        },
        load: page.load,
        loading: page.next.is_loading(),
        last_op: page.last_op,
        decided: page.decided.iter().map(|result| ResultBody::of(result, &service.codecs)).collect::<Result<_>>()?,
        clock: page.clock,
        known_as: Some(caller.known_as()),
    })
}
