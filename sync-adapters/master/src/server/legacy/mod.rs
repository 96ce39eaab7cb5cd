//! System 003: a slave without numbers and cursors, which knows rows and one timestamp. The same hub, the same rules.

pub(super) mod acknowledge;
pub(super) mod download;
mod stamp;
pub(super) mod upload;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sync_core::two_way::{Peer, Pull};
use sync_core::{Error, Result};
use utoipa::ToSchema;

pub(super) use self::upload::Uploads;
use super::caller::{Caller, is_id};
use super::policy::{Guarded, Known, Policy, Route, guarded};
use super::scope::Scope;
use crate::server::Service;

/// Who may call these routes.
#[derive(Debug)]
pub(super) enum Legacy {
    Guarded,
    OpenToEverybody { client: String, branch: Option<String> },
}

/// What a slave uploads.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Upload {
    /// The rows: all are taken, or none.
    pub(super) records: Vec<Record>,
}

/// One row.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// The table.
    pub(super) table: String,
    /// The row by column; in an upload, columns that it does not name stay as they are.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub(super) data: Option<Box<RawValue>>,
    /// `create`, `update` or `delete`. A row to create that is there is updated, and the other way round.
    pub(super) action: String,
    /// The row's key, where it has one column.
    #[schema(value_type = String)]
    pub(super) id: Box<RawValue>,
}

/// What became of an upload.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Uploaded {
    /// All rows were taken.
    success: bool,
    /// How many.
    processed: usize,
    /// What became of each.
    results: Vec<UploadedRecord>,
}

/// What became of one row.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UploadedRecord {
    /// The `id` that was sent.
    #[schema(value_type = String)]
    id: Box<RawValue>,
    /// `applied`, `prevailed`, `merged`, `overruled` (a later write stands), or `waits` (for a decision).
    #[schema(value_type = String)]
    status: sync_core::two_way::Became,
}

/// What a slave downloads.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Downloaded {
    /// The rows that changed.
    records: Vec<Record>,
    /// To be sent as `last_synced_at` the next time, digit by digit.
    timestamp: String,
    /// Whether more is there already.
    has_more: bool,
    /// Whether these are rows of a whole load, which says nothing of what was deleted.
    full: bool,
}

/// What a slave says when it has taken a download over.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Acknowledge {
    /// The `timestamp` of the download.
    timestamp: String,
    /// `success`, or what went wrong.
    status: String,
    /// In words.
    #[serde(default)]
    message: Option<String>,
}

/// The answer to an acknowledgement.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Acknowledged {
    /// It was taken.
    success: bool,
}

/// What the hub knows a slave as: with a blank, which no peer of the other routes can have in its name.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// It reads, and holds back what it has not acknowledged.
    Reader,
    /// It only writes, or only looks ahead: it holds nothing back.
    Writer,
    Ahead,
}

impl Part {
    fn peer(self, caller: &Caller) -> Peer {
        let part = match self {
            Self::Reader => "reads",
            Self::Writer => "writes",
            Self::Ahead => "looks",
        };
        Peer { name: format!("{}slave {part}", caller.prefix()), life: 0 }
    }
}

/// The feed is not kept for this peer, nor are the answers that it was given: it stands at the end. The first question says where
/// that is, the second that the peer has read up to there.
async fn hold_nothing(service: &Service, caller: &Caller, peer: &Peer, answered: u64) -> Result<()> {
    let mut pull = Pull { peer: peer.clone(), from: None, answered, waiting: Vec::new(), limit: 1, alone: false };
    pull.from = Some(service.hub.pull(&pull, caller.access()).await?.next);
    service.hub.pull(&pull, caller.access()).await.map(drop)
}

/// The routes, under the policy that the host chose; none where it wants none.
pub(super) fn routes(legacy: Option<Legacy>, scope: &Scope) -> Result<Vec<Route>> {
    let caller = match legacy {
        None => return Ok(Vec::new()),
        Some(Legacy::Guarded) => None,
        Some(Legacy::OpenToEverybody { client, branch }) => {
            if !is_id(&client) || branch.as_deref().is_some_and(|branch| !is_id(branch)) {
                return Err(Error::config("the client and the branch of open routes are ids"));
            }
            let access = scope.access(&client, branch.as_deref());
            let access = access.ok_or_else(|| Error::config("an id of open routes does not fit its scope column"))?;
            Some(Caller::new("everybody".to_owned(), client, branch, access))
        }
    };
    let policy = |handler: Guarded| match caller.clone().map(Known) {
        None => Policy::Token(handler),
        Some(caller) => Policy::As { why: "the host has opened these routes by name", caller, handler },
    };
    Ok(vec![
        Route::post("/api/sync/upload", policy(guarded(upload::upload))),
        Route::get("/api/sync/download", policy(guarded(download::download))),
        Route::post("/api/sync/acknowledge", policy(guarded(acknowledge::acknowledge))),
    ])
}
