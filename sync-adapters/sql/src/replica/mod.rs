//! What replicas on SQL databases have in common: how our tables call the host's columns, how books are named, and, on
//! servers, everything about a transaction but the statements themselves.

#[cfg(any(feature = "mysql", feature = "postgres"))]
mod absent;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod batch;
mod books;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod clash;
mod columns;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod dialect;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod feed;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod pool;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod rows;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod transaction;

pub(crate) use books::name as book_name;
#[cfg(any(feature = "mysql", feature = "sqlite"))]
pub(crate) use columns::and;
pub(crate) use columns::{Columns, Names, list, literal};
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) use {
    absent::Absent,
    batch::Step,
    dialect::{Declared, Dialect, Doing, Row, Rule},
    feed::Images,
    pool::{Connects, Lease, Pool},
    rows::{clock, count},
    transaction::SqlTransaction,
};
