//! Which rows of a stream a scope covers.

use crate::model::{RowScope, StreamSpec, Value};
use crate::{Error, Result};

/// A row scope over one stream, its column found.
#[derive(Debug)]
pub(super) enum Covered<'a> {
    All,
    Range { column: usize, from: Option<&'a Value>, until: Option<&'a Value> },
}

impl<'a> Covered<'a> {
    /// # Errors
    /// `Config` when the stream has no such column.
    pub(super) fn new(stream: &StreamSpec, scope: &'a RowScope) -> Result<Self> {
        match scope {
            RowScope::All => Ok(Self::All),
            RowScope::Range { column, from, until } => {
                let Some(index) = stream.schema().index(column) else {
                    return Err(Error::config(format!(
                        "a range over column {column:?}, which the stream does not declare"
                    ))
                    .with("stream", stream.name()));
                };
                Ok(Self::Range { column: index, from: from.as_ref(), until: until.as_ref() })
            }
        }
    }

    /// Whether a row belongs to the scope. As in SQL, an empty value lies in no bounded range.
    pub(super) fn contains(&self, values: &[Value]) -> bool {
        match self {
            Self::All | Self::Range { from: None, until: None, .. } => true,
            Self::Range { column, from, until } => {
                let value = &values[*column];
                !value.is_null() && from.is_none_or(|from| value >= from) && until.is_none_or(|until| value < until)
            }
        }
    }
}
