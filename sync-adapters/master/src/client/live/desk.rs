//! What the two halves of a live branch tell each other: that there is news, and up to where it is known.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use super::LiveState;
use crate::wire::Mark;

#[derive(Debug, Default)]
pub(super) struct Desk {
    pub(super) state: watch::Sender<LiveState>,
    /// Something here has changed.
    pub(super) changed: Notify,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    /// Up to where everything was taken over.
    known: Option<Mark>,
    /// Up to where there is news.
    news: Option<Mark>,
    /// A sync is wanted, whatever is known.
    wanted: bool,
    in_room: bool,
    /// How often the room was joined: who is let in can reach the master.
    joined: u64,
}

impl Desk {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wake(&self) {
        self.notes().wanted = true;
        self.changed.notify_one();
    }

    pub(super) fn news(&self, at: Mark) {
        self.notes().news = Some(at);
        self.changed.notify_one();
    }

    pub(super) fn joined(&self) {
        let mut notes = self.notes();
        (notes.in_room, notes.joined) = (true, notes.joined + 1);
        drop(notes);
        self.state.send_modify(|state| (state.in_room, state.no_room) = (true, None));
        self.changed.notify_one();
    }

    pub(super) fn left(&self, why: Option<String>) {
        self.notes().in_room = false;
        self.state.send_modify(|state| (state.in_room, state.no_room) = (false, why));
        self.changed.notify_one();
    }

    pub(super) fn in_room(&self) -> bool {
        self.notes().in_room
    }

    pub(super) fn joins(&self) -> u64 {
        self.notes().joined
    }

    pub(super) fn known(&self) -> Option<Mark> {
        self.notes().known
    }

    /// Whether a sync would bring something. What was wanted is granted from now on.
    pub(super) fn take_wish(&self) -> bool {
        let mut notes = self.notes();
        let news = match (notes.news, notes.known) {
            (Some(news), Some(known)) => !known.covers(news),
            (news, _) => news.is_some(),
        };
        std::mem::take(&mut notes.wanted) || news
    }

    /// A sync begins: whatever was told before it, it finds.
    pub(super) fn begin(&self) {
        let mut notes = self.notes();
        (notes.wanted, notes.news) = (false, None);
    }

    /// It ended, with everything up to here.
    pub(super) fn synced_up_to(&self, mark: Option<Mark>) {
        self.notes().known = mark;
    }
}
