//! Which rows of a table a listing covers, as a condition.

use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sync_core::Result;
use sync_core::model::{Kind, RowScope, StreamSpec};

use super::column::{declared_type, text_of};
use crate::ident::quoted;
use crate::scope::{Comparison, comparisons};

/// A condition on rows of a table called `t`, and the values bound in it, from `$1`.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    pub(crate) sql: String,
    values: Vec<String>,
}

impl Condition {
    pub(crate) fn of(stream: &StreamSpec, rows: &RowScope) -> Result<Self> {
        let mut condition = Self { sql: "TRUE".to_owned(), values: Vec::new() };
        for Comparison { field, operator, value } in comparisons(stream, rows)? {
            condition.values.push(text_of(value.as_ref(), field)?);
            let (order, bound) = match field.kind() {
                // Texts are in the order of their bytes, whatever the database's language.
                Kind::Text => (" COLLATE \"C\"", "text".to_owned()),
                // The type `json` cannot be compared.
                Kind::Json => ("::text COLLATE \"C\"", "text".to_owned()),
                // A bound may be larger than the column's numbers.
                Kind::UInt | Kind::Decimal { .. } => ("", "numeric".to_owned()),
                kind => ("", declared_type(kind)),
            };
            let (column, place) = (quoted(field.name())?, condition.values.len());
            condition.sql.push_str(&format!(" AND t.{column}{order} {operator} ${place}::text::{bound}"));
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
