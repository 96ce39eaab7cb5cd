//! Which rows of a table a listing covers, as a condition.

use rusqlite::types::Value as Owned;
use sync_core::model::{RowScope, StreamSpec};
use sync_core::{Error, Result};

use super::value::{Scratch, stored_form};
use crate::ident::quoted;

/// A condition on rows of a table called `t`, and the values bound in it.
pub(crate) struct Condition {
    pub(crate) sql: String,
    pub(crate) values: Vec<Owned>,
}

pub(crate) fn condition(stream: &StreamSpec, rows: &RowScope) -> Result<Condition> {
    let mut condition = Condition { sql: "TRUE".to_owned(), values: Vec::new() };
    match rows {
        RowScope::All => Ok(condition),
        RowScope::Range { column, from, until } => {
            let field = stream.schema().field(column).ok_or_else(|| {
                Error::config(format!("the range is over column {column:?}, which the stream does not have"))
                    .with("stream", stream.name())
            })?;
            for (bound, comparison) in [(from, ">="), (until, "<")] {
                if let Some(bound) = bound {
                    let mut scratch = Scratch::new();
                    condition.values.push(
                        Owned::try_from(stored_form(bound.as_ref(), field, &mut scratch)?)
                            .map_err(|_| Error::data("a bound of the range is no valid text"))?,
                    );
                    condition.sql.push_str(&format!(" AND t.{} {comparison} ?", quoted(column)?));
                }
            }
            Ok(condition)
        }
        other => Err(Error::config(format!("this sink does not know the scope {other:?}"))),
    }
}
