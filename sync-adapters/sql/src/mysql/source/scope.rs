//! Which rows of a table of somebody else are read, as a condition on it.

use sync_core::model::{Kind, RowScope, StreamSpec};
use sync_core::{Error, Result, Value};

use super::column::Form;
use super::parse;
use super::table::Table;
use crate::ident::quoted;
use crate::mysql::column::decimal_text;

/// A condition on rows of a table called `t`, and the texts and bytes bound in it.
#[derive(Debug)]
pub(super) struct Condition {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
}

impl Condition {
    pub(super) fn of(stream: &StreamSpec, table: &Table, rows: &RowScope) -> Result<Self> {
        let mut condition = Self { sql: "TRUE".to_owned(), values: Vec::new() };
        condition.narrow(stream, table, rows)?;
        Ok(condition)
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

    /// Compares as the declared kind. Texts are in the order of their bytes, whatever their collation.
    fn compare(
        &mut self,
        stream: &StreamSpec,
        table: &Table,
        column: &str,
        comparison: &str,
        value: &Value,
    ) -> Result<()> {
        let wrong = |what: String| Err(Error::config(what).with("stream", stream.name()));
        let Some((field, there)) = stream.schema().field(column).zip(table.column(column)) else {
            return wrong(format!("the scope is over column {column:?}, which the stream does not have"));
        };
        let sql = format!("t.{}", quoted(column)?);
        let exactly = |what: &str| format!("CONVERT({what} USING utf8mb4) COLLATE {}", table.exact);
        let (what, cast, value) = match (field.kind(), value) {
            (Kind::Bool, Value::Bool(v)) => (sql, "CAST(? AS SIGNED)".to_owned(), text(&u8::from(*v))),
            (Kind::Int, Value::Int(v)) => (sql, "CAST(? AS SIGNED)".to_owned(), text(v)),
            (Kind::UInt, Value::UInt(v)) => (sql, "CAST(? AS UNSIGNED)".to_owned(), text(v)),
            (Kind::Float, Value::Float(v)) => (sql, "CAST(? AS DOUBLE)".to_owned(), text(v)),
            (Kind::Decimal { scale, .. }, value) => {
                (sql, format!("CAST(? AS DECIMAL(65,{scale}))"), text(&decimal_text(value.as_ref(), field)?))
            }
            (Kind::Bytes, Value::Bytes(_)) => (sql, "?".to_owned(), value.clone()),
            (Kind::Date, Value::Date(v)) => (sql, "CAST(? AS DATE)".to_owned(), text(&v.format("%Y-%m-%d"))),
            (Kind::Timestamp, Value::Timestamp(v)) => match parse::written(*v) {
                Some(at) => (sql, "CAST(? AS DATETIME(6))".to_owned(), text(&at)),
                // No row lies outside of the years that the server has.
                None => {
                    let holds = comparison == if v.micros() < 0 { ">=" } else { "<" };
                    self.sql.push_str(&if holds { format!(" AND {sql} IS NOT NULL") } else { " AND FALSE".to_owned() });
                    return Ok(());
                }
            },
            (Kind::Text, Value::Text(_)) => {
                let written = match &there.form {
                    Form::Float { .. } => {
                        return wrong(format!(
                            "the scope is over column {column:?}, which is declared {:?} and read as text",
                            there.declared
                        ));
                    }
                    form => form.asked(&sql),
                };
                (exactly(&written), exactly("?"), value.clone())
            }
            (kind, _) => {
                return wrong(format!(
                    "the scope is over column {column:?}, a {kind}, with a value that is not comparable with it"
                ));
            }
        };
        self.sql.push_str(&format!(" AND {what} {comparison} {cast}"));
        self.values.push(value);
        Ok(())
    }
}

fn text(value: &impl ToString) -> Value {
    Value::from(value.to_string().as_str())
}
