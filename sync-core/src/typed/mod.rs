//! Rows from and to a host's own types: anything that `serde` knows, without JSON in between.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use sync_core::{StreamSpec, typed};
//!
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! struct Ticket {
//!     id: i64,
//!     title: String,
//!     closed: Option<bool>,
//! }
//!
//! let stream = StreamSpec::new("tickets").key(["id"]).text("title").bool("closed");
//! let ticket = Ticket { id: 1, title: "The door is stuck".to_owned(), closed: None };
//! let rows = typed::rows(&stream, std::slice::from_ref(&ticket))?;
//! assert_eq!(rows.row(0).to::<Ticket>()?, ticket);
//! # Ok::<(), sync_core::Error>(())
//! ```
//!
//! | Column | From | To |
//! |---|---|---|
//! | integer, unsigned integer | any integer that fits; text of one | any integer type |
//! | bool | a bool | a bool |
//! | float | a float, an integer that it holds exactly, text of a number | a float |
//! | decimal | a decimal type, an integer, text; never a float | a decimal type, text; `f64` where asked for |
//! | text | text, a character, a unit variant; numbers and bools as text | text, a unit variant |
//! | bytes | bytes, a sequence of `u8`, base64 text | bytes, a sequence of `u8` |
//! | timestamp | RFC 3339 text, such as `chrono`'s; an integer of microseconds, such as [`Timestamp`](crate::model::Timestamp)'s | the same |
//! | date | `YYYY-MM-DD` text, such as `chrono`'s | the same |
//! | JSON | anything | the same type again |

mod cell;
mod fault;
mod misspelt;
mod page;
mod pages;
mod read;
mod row;

use std::sync::Arc;

use serde::Serialize;

use crate::model::{Rows, StreamSpec};
use crate::{Error, ErrorKind, Result};

pub use page::{Page, changes, revive};
pub use pages::{pages, pages_inclusive};

/// Rows of a stream from structs or maps. Columns an item does not have are empty; what is no column is left out.
///
/// # Errors
/// `Data` where an item does not fit the declaration; the message names the column, never the value. `Schema` where no item
/// names a column, and one names something so much like it that one of the two is misspelt. The names of maps and flattened
/// fields may come from the data: there, only what differs in case or separators alone counts as misspelt.
pub fn rows<T: Serialize>(stream: &StreamSpec, items: &[T]) -> Result<Rows> {
    let schema = Arc::clone(stream.schema());
    let mut rows = Rows::with_capacity(Arc::clone(&schema), items.len(), 0);
    let mut writer = row::Items::new(&schema);
    for (at, item) in items.iter().enumerate() {
        writer
            .add(item, &mut rows)
            .map_err(|fault| Error::data(fault.to_string()).with("stream", stream.name()).with("item", at))?;
    }
    match writer.misspelt() {
        Some(fault) => Err(Error::new(ErrorKind::Schema, fault.to_string()).with("stream", stream.name())),
        None => Ok(rows),
    }
}

#[cfg(test)]
mod tests;
