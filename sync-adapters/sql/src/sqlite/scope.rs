//! Which rows of a table a listing covers, as a condition.

use rusqlite::types::Value as Owned;
use sync_core::model::{RowScope, StreamSpec};
use sync_core::{Error, Result, Value};

use super::value::{Scratch, stored_form};
use crate::ident::quoted;

/// A condition on rows of a table called `t`, and the values bound in it.
pub(crate) struct Condition {
    pub(crate) sql: String,
    pub(crate) values: Vec<Owned>,
}

pub(crate) fn condition(stream: &StreamSpec, rows: &RowScope) -> Result<Condition> {
    let mut condition = Condition { sql: "TRUE".to_owned(), values: Vec::new() };
    condition.narrow(stream, rows)?;
    Ok(condition)
}

impl Condition {
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
        let mut scratch = Scratch::new();
        self.values.push(
            Owned::try_from(stored_form(value.as_ref(), field, &mut scratch)?)
                .map_err(|_| Error::data("a bound of the scope is no valid text"))?,
        );
        self.sql.push_str(&format!(" AND t.{} {comparison} ?", quoted(column)?));
        Ok(())
    }
}
