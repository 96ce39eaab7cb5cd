//! Which rows of a table a listing covers, as a condition.

use chrono::NaiveDate;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sync_core::Result;
use sync_core::model::{Kind, RowScope, StreamSpec};

use super::column::{declared_type, text_of};
use crate::days::Days;
use crate::ident::quoted;
use crate::scope::{Comparison, comparisons};

/// A condition on rows of a table called `t`, and the values bound in it, from `$1`.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    pub(crate) sql: String,
    values: Vec<String>,
}

impl Condition {
    /// # Errors
    /// `Config` when a bound cannot be compared with its column.
    pub(crate) fn of(stream: &StreamSpec, rows: &RowScope) -> Result<Self> {
        let mut condition = Self { sql: "TRUE".to_owned(), values: Vec::new() };
        for comparison in comparisons(stream, rows)? {
            let Comparison { field, operator, value } = comparison;
            let column = format!("t.{}", quoted(field.name())?);
            if let Some(beyond) = comparison.beyond(DAYS, &column) {
                condition.sql.push_str(&format!(" AND {beyond}"));
                continue;
            }
            let text = text_of(value.as_ref(), field).map_err(|cause| comparison.refused(stream, cause))?;
            condition.values.push(text);
            let (order, bound) = match field.kind() {
                // Texts are in the order of their bytes, whatever the database's language.
                Kind::Text => (" COLLATE \"C\"", "text".to_owned()),
                // The type `json` cannot be compared.
                Kind::Json => ("::text COLLATE \"C\"", "text".to_owned()),
                // A bound may be larger than the column's numbers.
                Kind::UInt | Kind::Decimal { .. } => ("", "numeric".to_owned()),
                kind => ("", declared_type(kind)),
            };
            let place = condition.values.len();
            condition.sql.push_str(&format!(" AND {column}{order} {operator} ${place}::text::{bound}"));
        }
        Ok(condition)
    }

    pub(crate) fn bind<'q>(
        &self,
        query: Query<'q, sqlx::Postgres, PgArguments>,
    ) -> Query<'q, sqlx::Postgres, PgArguments> {
        self.values.iter().fold(query, |query, value| query.bind(value.clone()))
    }
}

/// The days that a column can hold: from 4714-11-24 BC on, and for longer than a stream can. The last that a stream has stands
/// for all that lie behind it.
pub(crate) const DAYS: Days = match (NaiveDate::from_ymd_opt(-4713, 11, 24), NaiveDate::MAX.pred_opt()) {
    (Some(first), Some(last)) => (first, last),
    _ => (NaiveDate::MIN, NaiveDate::MAX),
};
