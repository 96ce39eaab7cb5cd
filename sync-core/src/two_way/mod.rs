//! Two-way sync: branches that work offline on their own database, and a master, kept in step.
//!
//! Both are a [`Replica`]: a database whose host goes on writing plain SQL, with every committed change noted in a feed. A
//! [`Branch`] pushes what its host has written to the [`Hub`] of the master, and pulls what others have. What carries the
//! messages is not our business: a [`Master`] is a function call, or HTTP.
//!
//! | Step | What happens |
//! |---|---|
//! | push | groups of [`Edit`]s, each applied whole or not at all; a write that comes again gets its first answer |
//! | decide | an edit of a row that has changed since goes to the table's policy; what nobody can decide waits in the inbox |
//! | pull | a [`Page`] of whole groups; the branch puts its own unanswered writes on top of what comes |
//!
//! The master decides, and everybody takes over what it decided: so all end equal. That alone would not do: equal replicas
//! may have lost the same write. Every acknowledged write is in the row, or overruled by a write that came after it, or in
//! the inbox, and its [`EditResult`] says which.

mod access;
mod branch;
mod entry;
mod hub;
mod message;
mod planted;
mod replica;
mod stamp;
mod table;

pub use access::Access;
pub use branch::{Branch, Link, Loading, Master, Queue, Synced};
pub use entry::{Entry, Head, Outline, Position};
pub use hub::{Cleaned, Decision, Hub, HubSettings, Reason, Waiting};
pub use message::{Became, Edit, EditResult, Found, Group, Item, Lookup, Page, Peer, Pull, Push, Pushed};
pub use planted::Flaw;
pub use replica::{Book, Held, Replica, RowWrite, Transaction};
pub use stamp::{Hlc, Stamp};
pub use table::{Table, Tables};

use crate::{Error, ErrorKind};

/// A refusal, with a code that programs can read (`Error::context`, under `code`).
pub(crate) fn refuse(kind: ErrorKind, code: &'static str, message: &'static str) -> Error {
    Error::new(kind, message).with("code", code)
}
