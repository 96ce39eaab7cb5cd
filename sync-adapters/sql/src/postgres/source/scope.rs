//! Which rows of a table of somebody else are read, as a condition on it.

use sync_core::model::{Kind, RowScope, StreamSpec};
use sync_core::{Error, Result};

use super::table::Table;
use crate::ident::quoted;
use crate::postgres::column::{declared_type, text_of};
use crate::postgres::scope::DAYS;
use crate::scope::{Comparison, comparisons};

/// A condition on rows of a table called `t`, and the values bound in it, as texts, from `$1`.
#[derive(Debug)]
pub(super) struct Condition {
    pub(super) sql: String,
    pub(super) values: Vec<String>,
}

impl Condition {
    pub(super) fn of(stream: &StreamSpec, table: &Table, rows: &RowScope) -> Result<Self> {
        let mut condition = Self { sql: "TRUE".to_owned(), values: Vec::new() };
        for comparison in comparisons(stream, rows)? {
            condition.compare(stream, table, comparison)?;
        }
        Ok(condition)
    }

    /// One more value, as this type: `$3::text::bigint`.
    pub(super) fn bound(&mut self, value: String, cast: &str) -> String {
        self.values.push(value);
        format!("${}::text::{cast}", self.values.len())
    }

    /// Compares as the declared kind. Texts are in the order of their bytes, whatever the database's language.
    fn compare(&mut self, stream: &StreamSpec, table: &Table, comparison: Comparison<'_>) -> Result<()> {
        let Comparison { field, operator, value } = comparison;
        let Some(there) = table.column(field.name()) else {
            let what = format!("the scope is over column {:?}, which the table does not have", field.name());
            return Err(Error::config(what).with("stream", stream.name()));
        };
        let collated = match field.kind() {
            Kind::Text if there.is_text() => " COLLATE \"C\"",
            Kind::Text => "::text COLLATE \"C\"",
            Kind::Json => {
                let what = format!("the scope is over column {:?}, which holds JSON", field.name());
                return Err(Error::config(what).with("stream", stream.name()));
            }
            _ => "",
        };
        let column = format!("t.{}", quoted(field.name())?);
        let holds = match comparison.beyond(DAYS, &column) {
            Some(beyond) => beyond,
            None => {
                let text = text_of(value.as_ref(), field).map_err(|cause| comparison.refused(stream, cause))?;
                // A bound may be larger than the column's numbers.
                let cast = match field.kind() {
                    Kind::UInt | Kind::Decimal { .. } => "numeric".to_owned(),
                    kind => declared_type(kind),
                };
                format!("{column}{collated} {operator} {}", self.bound(text, &cast))
            }
        };
        self.sql.push_str(&format!(" AND {holds}"));
        Ok(())
    }
}
