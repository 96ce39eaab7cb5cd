//! Following tables that we do not own, by keyset: what the sources of this crate have in common, whatever the database.
//!
//! A database is added by a type that implements [`Tables`]: how a read begins, and one page. The walk over the pages, the
//! cursor, and what the position may pass are here. So is what servers have in common, which send values as texts.

#[cfg(any(feature = "mysql", feature = "postgres"))]
mod bounds;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod cell;
pub(crate) mod estimate;
mod position;
mod settings;
mod walk;

#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) use bounds::{MOST_EMPTY, never_found};
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) use cell::{Cell, Gathering, decimal, no_such_value, settles_by_clock};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) use position::by_time;
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) use position::order;
pub(crate) use position::{Place, version};
#[cfg(feature = "sqlite")]
pub(crate) use position::{no_place, stands_in_order};
pub(crate) use settings::{Settings, told_by_host};
#[cfg(feature = "sqlite")]
pub(crate) use walk::MOST_BYTES;
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) use walk::check;
pub(crate) use walk::{Ask, Page, Start, Tables, read};
