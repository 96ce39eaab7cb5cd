//! The table by hand: what a careful engineer would write with the fastest driver of each database.

mod mariadb;
mod postgres;
mod sqlite;

use std::path::Path;

use crate::Result;
use crate::page::Page;
use crate::records::Order;

const COLUMNS: [&str; 12] = [
    "id",
    "name",
    "email",
    "city",
    "status",
    "note",
    "amount",
    "quantity",
    "score",
    "active",
    "created_at",
    "updated_at",
];

/// A database that a program written by hand fills.
pub(crate) trait Target: Send {
    /// Up to which instant earlier runs came, and the page to go on with where one did not come to its end.
    fn reached(&mut self) -> Result<Reached>;

    /// Writes pages and the position in one transaction; a newer record replaces an older one. `next` is the page to go on
    /// with; without one, everything up to `newest` has come.
    fn write(&mut self, pages: &[Page], newest: Option<&str>, next: Option<&str>) -> Result<()>;
}

/// An instant, and a page.
pub(crate) type Reached = (Option<String>, Option<String>);

/// Opens the database at a path or an address.
pub(crate) fn open(to: &str, order: Order) -> Result<Box<dyn Target>> {
    Ok(match to.split_once("://") {
        Some(("postgres", _)) => Box::new(postgres::Postgres::open(to)?),
        Some(("mysql", _)) => Box::new(mariadb::MariaDb::open(to)?),
        _ => Box::new(sqlite::Sqlite::open(Path::new(to), order)?),
    })
}

/// The position after some pages: an instant once there is no next page.
fn position<'p>(newest: Option<&'p str>, next: Option<&str>) -> Option<&'p str> {
    if next.is_none() { newest } else { None }
}

/// `name = excluded.name, …` for every column but the key, in the words of the database.
fn assignments(of: impl Fn(&str) -> String) -> String {
    COLUMNS[1..].iter().map(|column| of(column)).collect::<Vec<_>>().join(", ")
}

/// The numbers of `2024-01-01T00:00:00Z`: year, month, day, hour, minute, second.
fn parts(instant: &str) -> Result<[u16; 6]> {
    let number = |from: usize, until: usize| instant[from..until].parse::<u16>();
    Ok([number(0, 4)?, number(5, 7)?, number(8, 10)?, number(11, 13)?, number(14, 16)?, number(17, 19)?])
}
