//! Which rows of a table a listing covers, as a condition.

use chrono::{Datelike, TimeDelta};
use rusqlite::Connection;
use rusqlite::types::Value as Owned;
use sync_core::model::{Kind, RowScope, StreamSpec, Timestamp};
use sync_core::{Error, Result, Value};

use super::function::{COMPARE, INSTANT};
use super::schema::{Column, columns};
use super::value::{Scratch, declared_type, stored_form};
use crate::ident::quoted;
use crate::scope::{Comparison, comparisons};

/// A condition on rows of a table called `t`, and the values bound in it.
pub(crate) struct Condition {
    pub(crate) sql: String,
    pub(crate) values: Vec<Owned>,
}

pub(crate) fn condition(connection: &Connection, stream: &StreamSpec, rows: &RowScope) -> Result<Condition> {
    let mut condition = Condition { sql: "TRUE".to_owned(), values: Vec::new() };
    if *rows != RowScope::All {
        let table = columns(connection, stream.name())?;
        comparisons(stream, rows)?.into_iter().try_for_each(|comparison| {
            condition.compare(&table, comparison).map_err(|cause| comparison.refused(stream, cause))
        })?;
    }
    Ok(condition)
}

impl Condition {
    /// Compares as the declared kind, not as SQLite compares what is stored: `9.00` is less than `10.00`, and a time is
    /// the same in every form. Text is told apart byte by byte, whatever the collation of its column.
    fn compare(&mut self, table: &[Column], compared: Comparison<'_>) -> Result<()> {
        let Comparison { field, operator: comparison, value } = compared;
        let of_our_form = table.iter().any(|in_table| {
            in_table.name.eq_ignore_ascii_case(field.name()) && in_table.declared == declared_type(field.kind())
        });
        let column = format!("t.{}", quoted(field.name())?);
        match (field.kind(), value) {
            (Kind::Decimal { .. }, _) if !value.is_null() => {
                self.sql.push_str(&format!(" AND {COMPARE}({column}, ?) {comparison} 0"));
                self.values.push(Owned::Text(value.to_string()));
            }
            (Kind::Timestamp, Value::Timestamp(at)) if !of_our_form || !has_form(*at) => {
                self.compare_time(&column, comparison, *at)
            }
            _ => {
                let mut scratch = Scratch::new();
                self.values.push(
                    Owned::try_from(stored_form(value.as_ref(), field, &mut scratch)?)
                        .map_err(|_| Error::data("a bound of the scope is no valid text"))?,
                );
                self.sql.push_str(&format!(" AND {column} {comparison} ? COLLATE BINARY"));
            }
        }
        Ok(())
    }

    /// Compares times that another program wrote in forms of its own. An index helps to find the days in question:
    /// the date in the text is the one in UTC, or its neighbour, since offsets are less than a day.
    fn compare_time(&mut self, column: &str, comparison: &str, at: Timestamp) {
        let day = |days: i64| {
            let day = at.to_datetime()?.checked_add_signed(TimeDelta::days(days))?;
            (0..=9999).contains(&day.year()).then(|| Owned::Text(day.format("%Y-%m-%d").to_string()))
        };
        if let (true, Some(day)) = (comparison != "<", day(-1)) {
            self.sql.push_str(&format!(" AND {column} >= ? COLLATE BINARY"));
            self.values.push(day);
        }
        if let (true, Some(day)) = (comparison != ">=", day(2)) {
            self.sql.push_str(&format!(" AND {column} < ? COLLATE BINARY"));
            self.values.push(day);
        }
        self.sql.push_str(&format!(" AND {INSTANT}({column}) {comparison} ?"));
        self.values.push(Owned::Integer(at.micros()));
    }
}

/// Whether a time can be written as the times that are stored, whose years have four digits.
fn has_form(at: Timestamp) -> bool {
    at.to_datetime().is_some_and(|at| (0..=9999).contains(&at.year()))
}
