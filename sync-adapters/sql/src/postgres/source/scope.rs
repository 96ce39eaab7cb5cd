//! Which rows of a table of somebody else are read, as a condition on it.

use chrono::Datelike;
use sync_core::model::{Kind, RowScope, StreamSpec};
use sync_core::{Error, Result, Value};

use super::table::Table;
use crate::ident::quoted;
use crate::postgres::column::{declared_type, text_of};

/// A condition on rows of a table called `t`, and the values bound in it, as texts, from `$1`.
#[derive(Debug)]
pub(super) struct Condition {
    pub(super) sql: String,
    pub(super) values: Vec<String>,
}

impl Condition {
    pub(super) fn of(stream: &StreamSpec, table: &Table, rows: &RowScope) -> Result<Self> {
        let mut condition = Self { sql: "TRUE".to_owned(), values: Vec::new() };
        condition.narrow(stream, table, rows)?;
        Ok(condition)
    }

    /// One more value, as this type: `$3::text::bigint`.
    pub(super) fn bound(&mut self, value: String, cast: &str) -> String {
        self.values.push(value);
        format!("${}::text::{cast}", self.values.len())
    }

    fn narrow(&mut self, stream: &StreamSpec, table: &Table, rows: &RowScope) -> Result<()> {
        match rows {
            RowScope::All => Ok(()),
            RowScope::Range { column, from, until } => {
                for (bound, comparison) in [(from, ">="), (until, "<")] {
                    if let Some(bound) = bound {
                        self.compare(stream, table, column, comparison, bound)?;
                    }
                }
                Ok(())
            }
            RowScope::Equals { column, value } => self.compare(stream, table, column, "=", value),
            RowScope::Both(one, other) => {
                self.narrow(stream, table, one)?;
                self.narrow(stream, table, other)
            }
            other => Err(Error::config(format!("this source does not know the scope {other:?}"))),
        }
    }

    /// Compares as the declared kind. Texts are in the order of their bytes, whatever the database's language.
    fn compare(
        &mut self,
        stream: &StreamSpec,
        table: &Table,
        column: &str,
        comparison: &str,
        value: &Value,
    ) -> Result<()> {
        let Some((field, there)) = stream.schema().field(column).zip(table.column(column)) else {
            return Err(Error::config(format!("the scope is over column {column:?}, which the stream does not have"))
                .with("stream", stream.name()));
        };
        let what = match field.kind() {
            Kind::Text if there.is_text() => " COLLATE \"C\"",
            Kind::Text => "::text COLLATE \"C\"",
            Kind::Json => {
                return Err(Error::config(format!("the scope is over column {column:?}, which holds JSON"))
                    .with("stream", stream.name()));
            }
            _ => "",
        };
        let bound = match value {
            Value::Timestamp(at) => match at.to_datetime().map(|at| at.year()) {
                Some(1..=9999) => at.to_string(),
                Some(..=0) => "-infinity".to_owned(),
                _ if at.micros() < 0 => "-infinity".to_owned(),
                _ => "infinity".to_owned(),
            },
            value => text_of(value.as_ref(), field)?,
        };
        let bound = self.bound(bound, &declared_type(field.kind()));
        self.sql.push_str(&format!(" AND t.{}{what} {comparison} {bound}", quoted(column)?));
        Ok(())
    }
}
