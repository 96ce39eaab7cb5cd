//! What a host does in a transaction of its own that is known as one group.

use rusqlite::Connection;
use rusqlite::types::{Value as Cell, ValueRef as Stored};
use sync_core::model::{Field, Kind};
use sync_core::{Result, Value};

use super::rows::cell;
use crate::sqlite::error::failed;

/// The host's own SQL, in one transaction.
#[derive(Debug)]
pub struct SqliteHost<'c> {
    pub(super) connection: &'c Connection,
}

impl SqliteHost<'_> {
    /// Runs a statement with these values in the places of its `?`. Returns how many rows it changed.
    ///
    /// # Errors
    /// `Data` when a rule of the table is broken, `Schema` when a table or column is not there.
    pub fn execute(&self, sql: &str, values: &[Value]) -> Result<u64> {
        let wrong = |cause| failed("the host's statement fails", cause);
        let mut statement = self.connection.prepare_cached(sql).map_err(wrong)?;
        let changed = statement.execute(rusqlite::params_from_iter(cells(values)?)).map_err(wrong)?;
        Ok(changed as u64)
    }

    /// The rows that a query finds, as SQLite holds them: integers, floats, texts and bytes.
    ///
    /// # Errors
    /// `Schema` when a table or column is not there, `Data` for a text that is none.
    pub fn query(&self, sql: &str, values: &[Value]) -> Result<Vec<Vec<Value>>> {
        let wrong = |cause| failed("the host's query fails", cause);
        let mut statement = self.connection.prepare_cached(sql).map_err(wrong)?;
        let width = statement.column_count();
        let mut found = statement.query(rusqlite::params_from_iter(cells(values)?)).map_err(wrong)?;
        let mut rows = Vec::new();
        while let Some(row) = found.next().map_err(wrong)? {
            let value = |column| {
                Ok(match row.get_ref(column).map_err(wrong)? {
                    Stored::Null => Value::Null,
                    Stored::Integer(number) => Value::Int(number),
                    Stored::Real(number) => Value::Float(number),
                    Stored::Blob(bytes) => Value::Bytes(bytes.into()),
                    text @ Stored::Text(_) => {
                        let text = text.as_str().map_err(|_| sync_core::Error::data("a text is not UTF-8"))?;
                        Value::Text(text.into())
                    }
                })
            };
            rows.push((0..width).map(value).collect::<Result<_>>()?);
        }
        Ok(rows)
    }
}

/// Values in the form in which a column of their kind holds them.
fn cells(values: &[Value]) -> Result<Vec<Cell>> {
    let stored = |value: &Value| {
        let kind = match value {
            Value::Decimal(number) => {
                let scale = u8::try_from(number.scale()).unwrap_or(u8::MAX);
                Kind::Decimal { precision: 38, scale }
            }
            _ => Kind::Text,
        };
        cell(value, &Field::new("?", kind))
    };
    values.iter().map(stored).collect()
}
