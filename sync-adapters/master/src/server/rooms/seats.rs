//! Who is in which room: counted on the way in, and out again however they leave.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::StatusCode;
use sync_core::two_way::Head;
use tokio::sync::watch;

use super::RoomSettings;
use crate::server::caller::Caller;
use crate::server::fault::Fault;
use crate::wire::Mark;

/// What a room was told last. A member that is slow finds the latest, not a queue.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Latest {
    /// Up to where there is news.
    pub(super) at: Option<Mark>,
    /// How often something that waited was decided.
    pub(super) decided: u64,
    /// How often the depth of the queue was told.
    pub(super) ticks: u64,
    /// How many groups wait.
    pub(super) waiting: usize,
}

/// One room.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) caller: Caller,
    pub(super) latest: watch::Sender<Latest>,
    /// What waits for a decision, as far as it was looked at.
    pub(super) waiting: Option<BTreeSet<String>>,
    members: usize,
}

/// All rooms that have members.
#[derive(Debug, Default)]
pub(super) struct Seats(Mutex<Table>);

#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) rooms: HashMap<String, Room>,
    clients: HashMap<String, usize>,
    members: usize,
    /// Up to where the feed was looked through.
    pub(super) seen: Option<Head>,
    /// Whether somebody looks at the feed.
    pub(super) watched: bool,
}

impl Seats {
    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn members(&self) -> usize {
        self.table().members
    }
}

/// A place in a room, until it is dropped.
pub(super) struct Seat {
    rooms: Arc<super::Inner>,
    room: String,
    client: String,
    pub(super) latest: watch::Receiver<Latest>,
}

impl Seat {
    /// A place in this caller's room.
    ///
    /// # Errors
    /// 429 where the client's rooms are full, 503 where all are.
    pub(super) fn take(rooms: &Arc<super::Inner>, caller: &Caller) -> Result<Self, Fault> {
        let RoomSettings { members, members_per_client, ping, .. } = rooms.settings;
        let (room, client) = (caller.prefix(), caller.client_prefix());
        let mut table = rooms.seats.table();
        if table.members >= members {
            let full =
                Fault::new(StatusCode::SERVICE_UNAVAILABLE, "full", "the rooms are full: poll, and come back later");
            return Err(full.after(ping));
        }
        if table.clients.get(&client).is_some_and(|count| *count >= members_per_client) {
            let message = "too many members in this client's rooms: poll, and come back later";
            return Err(Fault::new(StatusCode::TOO_MANY_REQUESTS, "too_many_members", message).after(ping));
        }
        table.members += 1;
        *table.clients.entry(client.clone()).or_default() += 1;
        let entry = table.rooms.entry(room.clone()).or_insert_with(|| Room {
            caller: caller.clone(),
            latest: watch::Sender::new(Latest::default()),
            waiting: None,
            members: 0,
        });
        entry.members += 1;
        let mut latest = entry.latest.subscribe();
        latest.mark_unchanged();
        Ok(Self { rooms: Arc::clone(rooms), room, client, latest })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.rooms.seats.table();
        table.members -= 1;
        if let Some(count) = table.clients.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                table.clients.remove(&self.client);
            }
        }
        if let Some(room) = table.rooms.get_mut(&self.room) {
            room.members -= 1;
            if room.members == 0 {
                table.rooms.remove(&self.room);
            }
        }
    }
}
