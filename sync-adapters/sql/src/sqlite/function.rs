//! SQL functions that read a cell as this library does, so that a condition means the same in SQL as in a row.

use std::cmp::Ordering;

use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::ValueRef as Cell;

use super::value::instant;
use crate::number::compare;

/// The instant of a text, microseconds; null where it is none.
pub(super) const INSTANT: &str = "_sync_instant";

/// How a number compares with another, both exact, as text or not: -1, 0 or 1; null where one is none.
pub(super) const COMPARE: &str = "_sync_compare";

/// Makes the functions known to a connection.
pub(super) fn define(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function(INSTANT, 1, flags, |arguments| {
        Ok(match arguments.get_raw(0) {
            Cell::Text(text) => std::str::from_utf8(text).ok().and_then(instant).map(|at| at.micros()),
            _ => None,
        })
    })?;
    connection.create_scalar_function(COMPARE, 2, flags, |arguments| {
        let order = number(arguments.get_raw(0)).zip(number(arguments.get_raw(1)));
        let order = order.and_then(|(one, other)| compare(&one, &other));
        Ok(order.map(|order| match order {
            Ordering::Less => -1_i64,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }))
    })
}

/// The digits of a cell, as the value of a decimal column is read.
fn number(cell: Cell<'_>) -> Option<String> {
    match cell {
        Cell::Integer(number) => Some(number.to_string()),
        Cell::Real(number) => Some(number.to_string()),
        Cell::Text(text) => std::str::from_utf8(text).ok().map(str::to_owned),
        _ => None,
    }
}
