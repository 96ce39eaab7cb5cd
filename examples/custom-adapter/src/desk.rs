//! The other side: a help desk. In earnest this would be somebody else's server.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// A ticket, as the desk's API hands it out.
#[derive(Debug, Clone, Serialize)]
pub struct Ticket {
    /// Its number.
    pub id: i64,
    /// When it was last changed: the minute, on the desk's clock. Tickets may share it.
    pub changed_at: i64,
    /// What it is about.
    pub title: String,
    /// Whether it is dealt with.
    pub closed: bool,
}

/// A help desk. Clones are the same desk.
#[derive(Debug, Clone, Default)]
pub struct Desk {
    books: Arc<Mutex<Books>>,
}

#[derive(Debug, Default)]
struct Books {
    minute: i64,
    tickets: BTreeMap<i64, Ticket>,
}

impl Desk {
    /// A minute passes.
    pub fn wait(&self) {
        self.books().minute += 1;
    }

    /// A ticket comes in. Returns its number.
    pub fn open(&self, title: impl Into<String>) -> i64 {
        let mut books = self.books();
        let (id, changed_at) = (books.tickets.len() as i64 + 1, books.minute);
        books.tickets.insert(id, Ticket { id, changed_at, title: title.into(), closed: false });
        id
    }

    /// A ticket is dealt with.
    pub fn close(&self, id: i64) {
        let mut books = self.books();
        let minute = books.minute;
        if let Some(ticket) = books.tickets.get_mut(&id) {
            (ticket.closed, ticket.changed_at) = (true, minute);
        }
    }

    /// The API: tickets changed in this minute or later, ten at a time, in the order of minute and number. With a number
    /// they begin after the ticket of that minute and number.
    pub fn changed(&self, since: i64, after: Option<i64>) -> Vec<Ticket> {
        let place = |ticket: &Ticket| (ticket.changed_at, ticket.id);
        let follows = |ticket: &&Ticket| match after {
            Some(id) => place(ticket) > (since, id),
            None => ticket.changed_at >= since,
        };
        let mut changed: Vec<_> = self.books().tickets.values().filter(follows).cloned().collect();
        changed.sort_by_key(place);
        changed.truncate(10);
        changed
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
