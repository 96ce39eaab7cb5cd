//! Following tables that we do not own, by keyset: what the sources of this crate have in common, whatever the database.
//!
//! A database is added by a type that implements [`Tables`]: how a read begins, and one page. The walk over the pages, the
//! cursor, and what the position may pass are here.

mod cell;
mod position;
mod settings;
mod walk;

pub(crate) use cell::{Cell, Gathering, decimal, no_such_value, settles_by_clock};
pub(crate) use position::{MOST_EMPTY, Place, by_time, never_found, order, version};
pub(crate) use settings::Settings;
pub(crate) use walk::{Ask, Page, Start, Tables, read};
