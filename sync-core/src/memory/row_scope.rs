//! Which rows of a stream a scope covers.

use crate::model::{RowScope, StreamSpec, Value};
use crate::{Error, Result};

/// A row scope over one stream, its columns found.
#[derive(Debug)]
pub(super) enum Covered<'a> {
    All,
    Range { column: usize, from: Option<&'a Value>, until: Option<&'a Value> },
    Equals { column: usize, value: &'a Value },
    Both(Box<Covered<'a>>, Box<Covered<'a>>),
}

impl<'a> Covered<'a> {
    /// # Errors
    /// `Config` when the stream has no such column.
    pub(super) fn new(stream: &StreamSpec, scope: &'a RowScope) -> Result<Self> {
        let index = |column: &str| {
            stream.schema().index(column).ok_or_else(|| {
                Error::config(format!("a scope over column {column:?}, which the stream does not declare"))
                    .with("stream", stream.name())
            })
        };
        Ok(match scope {
            RowScope::All => Self::All,
            RowScope::Range { column, from, until } => {
                Self::Range { column: index(column)?, from: from.as_ref(), until: until.as_ref() }
            }
            RowScope::Equals { column, value } => Self::Equals { column: index(column)?, value },
            RowScope::Both(one, other) => {
                Self::Both(Box::new(Self::new(stream, one)?), Box::new(Self::new(stream, other)?))
            }
        })
    }

    /// Whether a row belongs to the scope. As in SQL, an empty value lies in no bounded range and equals nothing.
    pub(super) fn contains(&self, values: &[Value]) -> bool {
        match self {
            Self::All | Self::Range { from: None, until: None, .. } => true,
            Self::Range { column, from, until } => {
                let value = &values[*column];
                !value.is_null() && from.is_none_or(|from| value >= from) && until.is_none_or(|until| value < until)
            }
            Self::Equals { column, value } => !value.is_null() && values[*column] == **value,
            Self::Both(one, other) => one.contains(values) && other.contains(values),
        }
    }
}
