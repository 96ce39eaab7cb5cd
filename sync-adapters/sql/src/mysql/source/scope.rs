//! Which rows of a table of somebody else are read, as a condition on it.

use sync_core::model::{Kind, RowScope, StreamSpec};
use sync_core::{Error, Result, Value};

use super::column::Form;
use super::parse;
use super::table::Table;
use crate::ident::quoted;
use crate::mysql::column::decimal_text;
use crate::mysql::scope::DAYS;
use crate::scope::{Comparison, comparisons};

/// A condition on rows of a table called `t`, and the texts and bytes bound in it.
#[derive(Debug)]
pub(super) struct Condition {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
}

impl Condition {
    /// Compares as the declared kind. Texts are in the order of their bytes, whatever their collation.
    pub(super) fn of(stream: &StreamSpec, table: &Table, rows: &RowScope) -> Result<Self> {
        let mut condition = Self { sql: "TRUE".to_owned(), values: Vec::new() };
        for comparison in comparisons(stream, rows)? {
            condition.compare(stream, table, comparison).map_err(|error| error.with("stream", stream.name()))?;
        }
        Ok(condition)
    }

    fn compare(&mut self, stream: &StreamSpec, table: &Table, compared: Comparison<'_>) -> Result<()> {
        let Comparison { field, operator, value } = compared;
        let column = field.name();
        let wrong = |why: String| Err(Error::config(format!("the scope is over column {column:?}, {why}")));
        let Some(there) = table.column(column) else {
            return wrong("which the table does not have".to_owned());
        };
        let sql = format!("t.{}", quoted(column)?);
        if let Some(beyond) = compared.beyond(DAYS, &sql) {
            self.sql.push_str(&format!(" AND {beyond}"));
            return Ok(());
        }
        let exactly = |what: &str| format!("CONVERT({what} USING utf8mb4) COLLATE {}", table.exact);
        let (what, cast, value) = match (field.kind(), value) {
            (Kind::Bool, Value::Bool(v)) => (sql, "CAST(? AS SIGNED)".to_owned(), text(&u8::from(*v))),
            (Kind::Int, Value::Int(v)) => (sql, "CAST(? AS SIGNED)".to_owned(), text(v)),
            (Kind::UInt, Value::UInt(v)) => (sql, "CAST(? AS UNSIGNED)".to_owned(), text(v)),
            (Kind::Float, Value::Float(v)) => (sql, "CAST(? AS DOUBLE)".to_owned(), text(v)),
            (Kind::Decimal { scale, .. }, value) => (
                sql,
                format!("CAST(? AS DECIMAL(65,{scale}))"),
                text(&decimal_text(value.as_ref(), field).map_err(|cause| compared.refused(stream, cause))?),
            ),
            (Kind::Bytes, Value::Bytes(_)) => (sql, "?".to_owned(), value.clone()),
            (Kind::Date, Value::Date(v)) => (sql, "CAST(? AS DATE)".to_owned(), text(&v.format("%Y-%m-%d"))),
            (Kind::Timestamp, Value::Timestamp(v)) => {
                let at = parse::written(*v).ok_or_else(|| Error::internal("a bound beyond the server's days"))?;
                (sql, "CAST(? AS DATETIME(6))".to_owned(), text(&at))
            }
            (Kind::Text, Value::Text(_)) => {
                let written = match &there.form {
                    Form::Float { .. } => {
                        return wrong(format!("which is declared {:?} and read as text", there.declared));
                    }
                    form => form.asked(&sql),
                };
                (exactly(&written), exactly("?"), value.clone())
            }
            (kind, _) => return wrong(format!("a {kind}, with the bound {value}, which is not comparable with it")),
        };
        self.sql.push_str(&format!(" AND {what} {operator} {cast}"));
        self.values.push(value);
        Ok(())
    }
}

fn text(value: &impl ToString) -> Value {
    Value::from(value.to_string().as_str())
}
