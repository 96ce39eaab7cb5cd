//! What replicas on SQL databases have in common: how our tables call the host's columns, and how books are named.

mod books;
mod columns;

pub(crate) use books::name as book_name;
#[cfg(feature = "sqlite")]
pub(crate) use columns::and;
pub(crate) use columns::{Columns, Names, list, literal};
