//! Rooms: where branches hear that there is news, so that they need not ask again and again.

pub(super) mod join;
mod member;
mod seats;
mod settings;
mod watch;

use std::fmt;
use std::sync::Arc;

use sync_core::two_way::Peer;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::seats::Seats;
pub use self::settings::RoomSettings;

/// The rooms of one master, over WebSocket: `GET /api/sync/room`. Clones are the same rooms.
///
/// A room is a client and a branch, as a verified token names them. Its members hear that there is something to pull, and of nothing
/// that is another's. Rows never come this way: a hint that is lost costs time, and nothing else.
///
/// # What is said
///
/// | Message of the master | When |
/// |---|---|
/// | `{"type":"welcome","at":{"feed":…,"up_to":N},"ping_ms":30000}` | first: where the feed stands; what comes after it is told |
/// | `{"type":"news","at":{…},"decided":false}` | there is something to pull, up to N; `decided`: edits that waited were decided |
/// | `{"type":"queue","waiting":0}` | every 5 seconds: how many of the caller's groups wait for a decision |
///
/// A member may say one thing, once: `{"type":"resume","at":{…}}`, with what a page of `pull-changes` had as its `mark`. It is then
/// told whether there is something after that. All else is refused.
///
/// # Who may join
///
/// Whoever has a token, in `Authorization: Bearer`; a page in a browser, which cannot set headers, offers the subprotocols
/// `sync.v1` and `bearer.TOKEN`, from an origin that [`RoomSettings::origins`] names. A token in an address is not looked at: addresses
/// are written to logs. When the token expires or is [revoked](super::Revoked) the member is dropped.
///
/// # Why a connection ends
///
/// | Code | Reason | What to do |
/// |---|---|---|
/// | 1001 | `stopping` | come back, after a random pause |
/// | 1009 | `too_large` | send less |
/// | 1011 | `failed` | come back later |
/// | 4400 | `bad_message` | correct the message |
/// | 4401 | `token_expired` | come back with a new token |
/// | 4401 | `token_revoked` | come back with a new token, if there is one |
/// | 4408 | `no_pong` | answer pings |
/// | 4429 | `too_many_messages` | send fewer |
///
/// Who does not take what it is sent is dropped without a word. Who may not join is told so over HTTP: 401, 403 `bad_origin`, 426
/// `not_websocket`, 429 `too_many_members` for its client, 503 `full` or `stopping`.
///
/// # The end
///
/// A server that stops gracefully does not wait for connections that were upgraded: call [`close`](Self::close) when it stops.
#[derive(Clone)]
pub struct Rooms {
    inner: Arc<Inner>,
}

struct Inner {
    settings: RoomSettings,
    seats: Seats,
    /// Wakes whoever looks at the feed.
    stirred: Notify,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl fmt::Debug for Rooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rooms").field("settings", &self.inner.settings).field("members", &self.members()).finish()
    }
}

impl Default for Rooms {
    fn default() -> Self {
        Self::new(RoomSettings::default())
    }
}

impl Rooms {
    /// Rooms for one master: hand them to its [`Routes`](super::Routes), and to no other's.
    pub fn new(settings: RoomSettings) -> Self {
        let inner = Inner {
            settings,
            seats: Seats::default(),
            stirred: Notify::new(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// How many members there are.
    pub fn members(&self) -> usize {
        self.inner.seats.members()
    }

    /// Looks for news at once, as after every request that brings something. A host that writes into the master's database, or
    /// decides something there, need not wait for the next look.
    pub fn stir(&self) {
        self.inner.stirred.notify_one();
    }

    /// Edits of this replica that waited were decided, which may leave no trace in the feed: it is told at once. A decision that
    /// comes over these routes is told by itself, and one that comes otherwise is found within [`RoomSettings::queue`].
    pub fn decided(&self, peer: &Peer) {
        let table = self.inner.seats.table();
        for room in table.rooms.values().filter(|room| room.caller.owns(peer)) {
            room.latest.send_modify(|latest| latest.decided += 1);
        }
    }

    /// Tells all members to come back later (1001), lets nobody in any more, and waits until they have left, at most as long as
    /// [`RoomSettings::close`] says. Returns whether all have.
    pub async fn close(&self) -> bool {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        tokio::time::timeout(self.inner.settings.close, self.inner.tasks.wait()).await.is_ok()
    }
}
