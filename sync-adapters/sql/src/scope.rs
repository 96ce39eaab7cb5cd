//! Which rows a scope covers, as comparisons that must all hold.

use sync_core::model::{Field, RowScope, StreamSpec};
use sync_core::{Error, Result, Value};

/// A column of the stream, compared with a value: `=`, `>=` or `<`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Comparison<'s> {
    pub(crate) field: &'s Field,
    pub(crate) operator: &'static str,
    pub(crate) value: &'s Value,
}

impl Comparison<'_> {
    /// The error of a bound that cannot be compared with its column. It is the host's, and no row's.
    pub(crate) fn refused(&self, stream: &StreamSpec, cause: Error) -> Error {
        let (column, operator, bound) = (self.field.name(), self.operator, self.value);
        Error::config(format!("the scope asks for {column:?} {operator} {bound}, with which it cannot be compared"))
            .with("stream", stream.name())
            .caused_by(cause)
    }
}

/// The comparisons that a scope consists of.
///
/// # Errors
/// `Config` when it is over a column that the stream does not have, or of a kind that is not known here.
pub(crate) fn comparisons<'s>(stream: &'s StreamSpec, rows: &'s RowScope) -> Result<Vec<Comparison<'s>>> {
    let mut found = Vec::new();
    collect(stream, rows, &mut found)?;
    Ok(found)
}

fn collect<'s>(stream: &'s StreamSpec, rows: &'s RowScope, found: &mut Vec<Comparison<'s>>) -> Result<()> {
    let mut add = |column: &str, operator, value| {
        let Some(field) = stream.schema().field(column) else {
            let what = format!("the scope is over column {column:?}, which the stream does not have");
            return Err(Error::config(what).with("stream", stream.name()));
        };
        found.push(Comparison { field, operator, value });
        Ok(())
    };
    match rows {
        RowScope::All => Ok(()),
        RowScope::Range { column, from, until } => {
            for (bound, operator) in [(from, ">="), (until, "<")] {
                if let Some(bound) = bound {
                    add(column, operator, bound)?;
                }
            }
            Ok(())
        }
        RowScope::Equals { column, value } => add(column, "=", value),
        RowScope::Both(one, other) => {
            collect(stream, one, found)?;
            collect(stream, other, found)
        }
        other => Err(Error::config(format!("a database does not know the scope {other:?}"))),
    }
}
