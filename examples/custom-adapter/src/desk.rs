//! The other side: a help desk. In earnest this would be somebody else's server.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// A ticket, as the desk's API hands it out.
#[derive(Debug, Clone, Serialize)]
pub struct Ticket {
    /// Its number.
    pub id: i64,
    /// Grows with every change at the desk, so no two tickets share it.
    pub revision: i64,
    /// What it is about.
    pub title: String,
    /// Whether it is dealt with.
    pub closed: bool,
}

/// A help desk. Clones are the same desk.
#[derive(Debug, Clone, Default)]
pub struct Desk {
    tickets: Arc<Mutex<BTreeMap<i64, Ticket>>>,
}

impl Desk {
    /// A ticket comes in. Returns its number.
    pub fn open(&self, title: impl Into<String>) -> i64 {
        let mut tickets = self.tickets();
        let id = tickets.len() as i64 + 1;
        let ticket = Ticket { id, revision: next_revision(&tickets), title: title.into(), closed: false };
        tickets.insert(id, ticket);
        id
    }

    /// A ticket is dealt with.
    pub fn close(&self, id: i64) {
        let mut tickets = self.tickets();
        let revision = next_revision(&tickets);
        if let Some(ticket) = tickets.get_mut(&id) {
            (ticket.closed, ticket.revision) = (true, revision);
        }
    }

    /// The API: tickets changed after a revision, in the order of their changes, a page of ten at a time.
    pub fn changed_after(&self, revision: i64) -> Vec<Ticket> {
        let mut changed: Vec<_> =
            self.tickets().values().filter(|ticket| ticket.revision > revision).cloned().collect();
        changed.sort_by_key(|ticket| ticket.revision);
        changed.truncate(10);
        changed
    }

    fn tickets(&self) -> MutexGuard<'_, BTreeMap<i64, Ticket>> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn next_revision(tickets: &BTreeMap<i64, Ticket>) -> i64 {
    tickets.values().map(|ticket| ticket.revision).max().unwrap_or(0) + 1
}
