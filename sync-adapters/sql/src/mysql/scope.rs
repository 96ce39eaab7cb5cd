//! Which rows of a table a listing covers, as a condition.

use chrono::NaiveDate;
use sqlx::mysql::MySqlArguments;
use sync_core::Result;
use sync_core::model::{Kind, RowScope, StreamSpec};

use super::column::{bind, compared};
use super::connection::Server;
use crate::days::Days;
use crate::ident::quoted;
use crate::scope::{Comparison, comparisons};

/// A condition on rows of a table called `t`, and the values bound in it.
#[derive(Debug)]
pub(crate) struct Condition<'s> {
    pub(crate) sql: String,
    compared_with: Vec<Comparison<'s>>,
}

impl<'s> Condition<'s> {
    /// # Errors
    /// `Config` when a bound cannot be compared with its column.
    pub(crate) fn of(stream: &'s StreamSpec, server: Server, rows: &'s RowScope) -> Result<Self> {
        let mut condition = Self { sql: "TRUE".to_owned(), compared_with: Vec::new() };
        for comparison in comparisons(stream, rows)? {
            let Comparison { field, operator, value } = comparison;
            let column = format!("t.{}", quoted(field.name())?);
            if let Some(beyond) = comparison.beyond(DAYS, &column) {
                condition.sql.push_str(&format!(" AND {beyond}"));
                continue;
            }
            bind(&mut MySqlArguments::default(), value.as_ref(), field)
                .map_err(|cause| comparison.refused(stream, cause))?;
            // Texts are told apart, and ordered, by their bytes, whatever the collation of their column.
            let exact = match field.kind() {
                Kind::Text | Kind::Json => format!(" COLLATE {}", server.exact),
                _ => String::new(),
            };
            condition.sql.push_str(&format!(" AND {column}{exact} {operator} {}", bound(field.kind())));
            condition.compared_with.push(comparison);
        }
        Ok(condition)
    }

    pub(crate) fn arguments(&self) -> Result<MySqlArguments> {
        let mut arguments = MySqlArguments::default();
        self.compared_with
            .iter()
            .try_for_each(|Comparison { field, value, .. }| bind(&mut arguments, value.as_ref(), field))?;
        Ok(arguments)
    }
}

/// The days that a column can hold: those of the years 1 to 9999.
pub(crate) const DAYS: Days = match (NaiveDate::from_yo_opt(1, 1), NaiveDate::from_yo_opt(9999, 365)) {
    (Some(first), Some(last)) => (first, last),
    _ => (NaiveDate::MIN, NaiveDate::MAX),
};

/// How a bound is written. It may be larger than the column's numbers, and a cast to these would make it the largest.
fn bound(kind: Kind) -> String {
    match kind {
        Kind::Decimal { scale, .. } => compared(Kind::Decimal { precision: 65, scale }),
        kind => compared(kind),
    }
}
