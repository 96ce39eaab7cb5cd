//! Following tables that we do not own, by keyset: what the sources of this crate have in common, whatever the database.
//!
//! A database is added by a type that implements [`Tables`]: how a read begins, and one page. The walk over the pages, the
//! cursor, and what the position may pass are here.

mod position;
mod settings;
mod walk;

#[cfg(feature = "postgres")]
pub(crate) use position::order;
pub(crate) use position::{Place, by_time, version};
pub(crate) use settings::Settings;
pub(crate) use walk::{Ask, MOST_BYTES, Page, Start, Tables, read};
