//! Which rows of a table a listing covers, as a condition.

use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sync_core::model::{Kind, RowScope, StreamSpec};
use sync_core::{Error, Result, Value};

use super::column::{declared_type, text_of};
use crate::ident::quoted;

/// A condition on rows of a table called `t`, and the values bound in it, from `$1`.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    pub(crate) sql: String,
    values: Vec<String>,
}

impl Condition {
    pub(crate) fn of(stream: &StreamSpec, rows: &RowScope) -> Result<Self> {
        let mut condition = Self { sql: "TRUE".to_owned(), values: Vec::new() };
        condition.narrow(stream, rows)?;
        Ok(condition)
    }

    pub(crate) fn bind<'q>(
        &self,
        query: Query<'q, sqlx::Postgres, PgArguments>,
    ) -> Query<'q, sqlx::Postgres, PgArguments> {
        self.values.iter().fold(query, |query, value| query.bind(value.clone()))
    }

    fn narrow(&mut self, stream: &StreamSpec, rows: &RowScope) -> Result<()> {
        match rows {
            RowScope::All => Ok(()),
            RowScope::Range { column, from, until } => {
                for (bound, comparison) in [(from, ">="), (until, "<")] {
                    if let Some(bound) = bound {
                        self.compare(stream, column, comparison, bound)?;
                    }
                }
                Ok(())
            }
            RowScope::Equals { column, value } => self.compare(stream, column, "=", value),
            RowScope::Both(one, other) => {
                self.narrow(stream, one)?;
                self.narrow(stream, other)
            }
            other => Err(Error::config(format!("this sink does not know the scope {other:?}"))),
        }
    }

    fn compare(&mut self, stream: &StreamSpec, column: &str, comparison: &str, value: &Value) -> Result<()> {
        let field = stream.schema().field(column).ok_or_else(|| {
            Error::config(format!("the scope is over column {column:?}, which the stream does not have"))
                .with("stream", stream.name())
        })?;
        self.values.push(text_of(value.as_ref(), field)?);
        // Texts are in the order of their bytes, whatever the database's language.
        let order = if field.kind() == Kind::Text { " COLLATE \"C\"" } else { "" };
        self.sql.push_str(&format!(
            " AND t.{}{order} {comparison} ${}::text::{}",
            quoted(column)?,
            self.values.len(),
            declared_type(field.kind())
        ));
        Ok(())
    }
}
