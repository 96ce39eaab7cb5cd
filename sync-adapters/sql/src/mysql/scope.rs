//! Which rows of a table a listing covers, as a condition.

use sqlx::mysql::MySqlArguments;
use sync_core::model::{Kind, RowScope, StreamSpec};
use sync_core::{Error, Result, Value};

use super::column::{bind, compared};
use super::connection::Server;
use crate::ident::quoted;

/// A condition on rows of a table called `t`, and the values bound in it.
#[derive(Debug)]
pub(crate) struct Condition<'s> {
    pub(crate) sql: String,
    stream: &'s StreamSpec,
    server: Server,
    /// Columns and what they are compared with.
    values: Vec<(usize, Value)>,
}

impl<'s> Condition<'s> {
    pub(crate) fn of(stream: &'s StreamSpec, server: Server, rows: &RowScope) -> Result<Self> {
        let mut condition = Self { sql: "TRUE".to_owned(), stream, server, values: Vec::new() };
        condition.narrow(rows)?;
        Ok(condition)
    }

    pub(crate) fn arguments(&self) -> Result<MySqlArguments> {
        let mut arguments = MySqlArguments::default();
        let fields = self.stream.schema().fields();
        self.values.iter().try_for_each(|(column, value)| bind(&mut arguments, value.as_ref(), &fields[*column]))?;
        Ok(arguments)
    }

    fn narrow(&mut self, rows: &RowScope) -> Result<()> {
        match rows {
            RowScope::All => Ok(()),
            RowScope::Range { column, from, until } => {
                for (bound, comparison) in [(from, ">="), (until, "<")] {
                    if let Some(bound) = bound {
                        self.compare(column, comparison, bound)?;
                    }
                }
                Ok(())
            }
            RowScope::Equals { column, value } => self.compare(column, "=", value),
            RowScope::Both(one, other) => {
                self.narrow(one)?;
                self.narrow(other)
            }
            other => Err(Error::config(format!("this sink does not know the scope {other:?}"))),
        }
    }

    fn compare(&mut self, column: &str, comparison: &str, value: &Value) -> Result<()> {
        let Some(index) = self.stream.schema().index(column) else {
            let what = format!("the scope is over column {column:?}, which the stream does not have");
            return Err(Error::config(what).with("stream", self.stream.name()));
        };
        let kind = self.stream.schema().fields()[index].kind();
        // Texts are told apart, and ordered, by their bytes, whatever the collation of their column.
        let exact = if matches!(kind, Kind::Text | Kind::Json) {
            format!(" COLLATE {}", self.server.exact)
        } else {
            String::new()
        };
        self.sql.push_str(&format!(" AND t.{}{exact} {comparison} {}", quoted(column)?, compared(kind)));
        self.values.push((index, value.clone()));
        Ok(())
    }
}
