//! The master's side: the routes that a host mounts.

mod audit;
mod auth;
mod call;
mod caller;
mod cursor;
mod describe;
mod fault;
mod keys;
mod legacy;
mod look_up;
pub(crate) mod policy;
mod pull;
mod push;
mod quota;
mod resolve;
mod revoked;
mod rooms;
mod scope;
mod stats;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use sync_core::Result;
use sync_core::two_way::Hub;
use tower_http::compression::CompressionLayer;
use tower_http::decompression::RequestDecompressionLayer;

pub use self::audit::{ActedAs, Audit, TracingAudit};
pub use self::cursor::CursorKey;
pub use self::keys::Keys;
use self::legacy::Legacy;
use self::policy::{Policy, Route, guarded, mounted, unguarded};
use self::quota::{Quotas, Strangers};
pub use self::revoked::Revoked;
pub use self::rooms::{RoomSettings, Rooms};
use self::scope::Scope;
use crate::wire::Codecs;

/// The routes of a master over HTTP, and where the host wants them, the older ones of [`with_legacy`](Routes::with_legacy).
///
/// | Route | What for |
/// |---|---|
/// | `POST /api/sync/batch-push` | brings edits; each group is applied whole or not at all |
/// | `GET /api/sync/pull-changes` | the next page of changes |
/// | `POST /api/sync/rows` | rows by their keys, for those who write without a database of their own |
/// | `POST /api/sync/resolve-conflict` | decides what waits |
/// | `GET /api/sync/stats` | what waits, and the limits |
/// | `GET /api/sync/room` | with [`with_rooms`](Self::with_rooms): hints that there is something to pull, over WebSocket |
/// | `GET /api/sync/openapi.json` | all of this as OpenAPI; open, since it holds nothing of anybody |
///
/// Every other one asks for a token (`Authorization: Bearer`), and serves the rows of the client and branch that the token names.
/// A token with the role `super-admin` sees nothing by itself: it acts in the name that `x-act-as-client` and
/// `x-act-as-branch` say, and each such call is told to the [`Audit`].
#[derive(Debug)]
pub struct Routes {
    hub: Hub,
    keys: Keys,
    revoked: Revoked,
    cursors: CursorKey,
    client_column: String,
    branch_column: String,
    limits: Limits,
    per_minute: NonZeroU32,
    strangers_per_minute: NonZeroU32,
    rooms: Option<Rooms>,
    audit: Arc<dyn Audit>,
    legacy: Option<Legacy>,
}

/// How much a caller may bring and ask for.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Limits {
    /// The largest body, bytes after decompression.
    pub body_bytes: usize,
    /// How long a body may take to come.
    pub body_time: Duration,
    /// How many edits go into one batch of several groups. One group alone may be larger: it is never cut.
    pub edits: usize,
    /// The most rows in one page, about: a group is never cut.
    pub page_rows: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body_bytes: 1 << 20, body_time: Duration::from_secs(30), edits: 50, page_rows: 1000 }
    }
}

/// What all handlers share.
#[derive(Debug)]
pub(crate) struct Service {
    hub: Hub,
    keys: Keys,
    revoked: Revoked,
    cursors: CursorKey,
    scope: Scope,
    codecs: Codecs,
    limits: Limits,
    quotas: Quotas,
    strangers: Strangers,
    rooms: Option<Rooms>,
    audit: Arc<dyn Audit>,
    uploads: legacy::Uploads,
    /// What the mounted routes are, as JSON.
    document: String,
}

impl Routes {
    /// Serves this hub to whoever has a token of these keys. Tables are scoped by `client_id` and `branch_id`, as far as they
    /// are; [`scoped_by`](Self::scoped_by) names other columns.
    pub fn new(hub: Hub, keys: Keys, cursors: CursorKey) -> Self {
        Self {
            hub,
            keys,
            revoked: Revoked::new(),
            cursors,
            client_column: "client_id".to_owned(),
            branch_column: "branch_id".to_owned(),
            limits: Limits::default(),
            per_minute: NonZeroU32::new(600).unwrap_or(NonZeroU32::MIN),
            strangers_per_minute: NonZeroU32::new(60).unwrap_or(NonZeroU32::MIN),
            rooms: None,
            audit: Arc::new(TracingAudit),
            legacy: None,
        }
    }

    /// The columns that hold a token's client and branch, in the tables that are scoped by them.
    #[must_use]
    pub fn scoped_by(mut self, client: impl Into<String>, branch: impl Into<String>) -> Self {
        (self.client_column, self.branch_column) = (client.into(), branch.into());
        self
    }

    /// Tokens that are taken no more although they have not expired.
    #[must_use]
    pub fn revoked(mut self, revoked: &Revoked) -> Self {
        self.revoked = revoked.clone();
        self
    }

    /// Other limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How many requests each principal has a minute; 600 without this.
    #[must_use]
    pub fn per_minute(mut self, requests: NonZeroU32) -> Self {
        self.per_minute = requests;
        self
    }

    /// How many requests a minute each address has that come without a valid token; 60 without this. It needs to be told addresses:
    /// serve the router with `into_make_service_with_connect_info::<SocketAddr>()`, or put a `ConnectInfo<SocketAddr>` into the request's
    /// extensions behind a proxy, whose own address is everybody's. Without, nobody is counted.
    #[must_use]
    pub fn strangers_per_minute(mut self, requests: NonZeroU32) -> Self {
        self.strangers_per_minute = requests;
        self
    }

    /// `GET /api/sync/room` as well: a WebSocket on which branches hear that there is something to pull.
    #[must_use]
    pub fn with_rooms(mut self, rooms: Rooms) -> Self {
        self.rooms = Some(rooms);
        self
    }

    /// Where calls of a super-admin in a tenant's name are written down; to `tracing` without this.
    #[must_use]
    pub fn audit(mut self, audit: impl Audit + 'static) -> Self {
        self.audit = Arc::new(audit);
        self
    }

    /// The routes of system 003 as well: `upload`, `download`, `acknowledge`, with a token like all others.
    #[must_use]
    pub fn with_legacy(mut self) -> Self {
        self.legacy = Some(Legacy::Guarded);
        self
    }

    /// The routes of system 003, open to everybody who can reach them, who all act as this client and branch. For slaves that
    /// cannot send a token, in a network that keeps others out. The other routes ask for a token all the same.
    #[must_use]
    pub fn with_legacy_open_to_everybody(mut self, client: impl Into<String>, branch: Option<String>) -> Self {
        self.legacy = Some(Legacy::OpenToEverybody { client: client.into(), branch });
        self
    }

    /// The router to mount.
    ///
    /// # Errors
    /// `Config` when a table is scoped by a column that no claim speaks about.
    pub fn router(self) -> Result<Router> {
        let tables = self.hub.replica().tables();
        let scope = Scope::new(tables, &self.client_column, &self.branch_column)?;
        let mut routes = vec![
            Route::post("/api/sync/batch-push", Policy::Token(guarded(push::batch_push))),
            Route::get("/api/sync/pull-changes", Policy::Token(guarded(pull::pull_changes))),
            Route::post("/api/sync/rows", Policy::Token(guarded(look_up::rows))),
            Route::post("/api/sync/resolve-conflict", Policy::Token(guarded(resolve::resolve_conflict))),
            Route::get("/api/sync/stats", Policy::Token(guarded(stats::stats))),
            Route::get(
                "/api/sync/openapi.json",
                Policy::Open {
                    why: "it says what the routes are, and nothing of anybody",
                    handler: unguarded(describe::openapi),
                },
            ),
        ];
        if self.rooms.is_some() {
            routes.push(Route::get("/api/sync/room", Policy::SocketToken(guarded(rooms::join::join))));
        }
        routes.extend(legacy::routes(self.legacy, &scope)?);
        let codecs = Codecs::new(tables)?;
        let service = Arc::new(Service {
            hub: self.hub,
            keys: self.keys,
            revoked: self.revoked,
            cursors: self.cursors,
            scope,
            codecs,
            limits: self.limits,
            quotas: Quotas::per_minute(self.per_minute),
            strangers: Strangers::per_minute(self.strangers_per_minute),
            rooms: self.rooms,
            audit: self.audit,
            uploads: legacy::Uploads::default(),
            document: describe::document(&routes)?,
        });
        let router = mounted(routes, &service);
        Ok(router.layer(RequestDecompressionLayer::new().pass_through_unaccepted(true)).layer(CompressionLayer::new()))
    }
}
