//! Which rows of a table a listing covers, as a condition.

use sqlx::mysql::MySqlArguments;
use sync_core::Result;
use sync_core::model::{Kind, RowScope, StreamSpec};

use super::column::{bind, compared};
use super::connection::Server;
use crate::ident::quoted;
use crate::scope::{Comparison, comparisons};

/// A condition on rows of a table called `t`, and the values bound in it.
#[derive(Debug)]
pub(crate) struct Condition<'s> {
    pub(crate) sql: String,
    compared_with: Vec<Comparison<'s>>,
}

impl<'s> Condition<'s> {
    pub(crate) fn of(stream: &'s StreamSpec, server: Server, rows: &'s RowScope) -> Result<Self> {
        let mut sql = "TRUE".to_owned();
        let compared_with = comparisons(stream, rows)?;
        for Comparison { field, operator, .. } in &compared_with {
            // Texts are told apart, and ordered, by their bytes, whatever the collation of their column.
            let exact = match field.kind() {
                Kind::Text | Kind::Json => format!(" COLLATE {}", server.exact),
                _ => String::new(),
            };
            sql.push_str(&format!(" AND t.{}{exact} {operator} {}", quoted(field.name())?, bound(field.kind())));
        }
        Ok(Self { sql, compared_with })
    }

    pub(crate) fn arguments(&self) -> Result<MySqlArguments> {
        let mut arguments = MySqlArguments::default();
        self.compared_with
            .iter()
            .try_for_each(|Comparison { field, value, .. }| bind(&mut arguments, value.as_ref(), field))?;
        Ok(arguments)
    }
}

/// How a bound is written. It may be larger than the column's numbers, and a cast to these would make it the largest.
fn bound(kind: Kind) -> String {
    match kind {
        Kind::Decimal { scale, .. } => compared(Kind::Decimal { precision: 65, scale }),
        kind => compared(kind),
    }
}
