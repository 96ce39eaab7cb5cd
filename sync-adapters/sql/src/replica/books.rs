//! The names under which the books of two-way sync are kept.

use sync_core::two_way::Book;
use sync_core::{Error, Result};

/// Under which name a book is kept: it must not change.
pub(crate) fn name(book: Book) -> Result<&'static str> {
    Ok(match book {
        Book::Peers => "peers",
        Book::Results => "results",
        Book::Taken => "taken",
        Book::Inbox => "inbox",
        Book::Waiting => "waiting",
        Book::Link => "link",
        Book::Lost => "lost",
        Book::Load => "load",
        other => return Err(Error::internal(format!("this replica does not know the book {other:?}"))),
    })
}
