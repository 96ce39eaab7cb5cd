//! Which table a stream is written into, and which of its columns.

use std::sync::Arc;

use sync_core::model::Disposition;
use sync_core::sink::StoredRow;
use sync_core::two_way::{Found, Table, Tables};
use sync_core::{Error, ErrorKind, Result, StreamSpec, Value};

/// The table of a stream.
#[derive(Debug)]
pub(super) struct Target {
    table: Arc<Table>,
    /// Where each column of the stream stands in the table.
    columns: Vec<usize>,
}

impl Target {
    /// # Errors
    /// `Config`, or `Schema` for a column, naming what the table does not have.
    pub(super) fn of(stream: &StreamSpec, tables: &Tables) -> Result<Self> {
        let Some(table) = tables.get(stream.name()) else {
            return Err(Error::config("the master has no table of this name, as far as this host declares it"));
        };
        if stream.writes() == Disposition::Append {
            return Err(Error::config("a master takes rows by their keys: declare a key instead of appending"));
        }
        if stream.key_columns() != table.spec().key_columns() {
            return Err(Error::config("the stream has another key than the master's table"));
        }
        let (schema, owned) = (table.spec().schema(), table.server_owned_indices());
        let mut columns = Vec::with_capacity(stream.schema().width());
        for field in stream.schema().fields() {
            let schema_error = |what| Error::new(ErrorKind::Schema, what).with("column", field.name());
            let wrong = |what| Err(schema_error(what));
            let Some(column) = schema.index(field.name()) else {
                return wrong(
                    "the master's table does not have this column: add it there first, or leave it out of the stream",
                );
            };
            if schema.fields()[column].kind() != field.kind() {
                return Err(schema_error("the master's table holds another kind of values in this column")
                    .with("table_kind", schema.fields()[column].kind())
                    .with("stream_kind", field.kind()));
            }
            if owned.contains(&column) {
                return wrong("only the master writes this column: leave it out of the stream");
            }
            columns.push(column);
        }
        Ok(Self { table: Arc::clone(table), columns })
    }

    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    /// The row as the stream declares it.
    pub(super) fn stored(&self, found: &Found) -> Option<StoredRow> {
        let row = found.row.as_ref()?;
        Some(StoredRow { values: self.columns.iter().map(|column| row[*column].clone()).collect() })
    }

    /// The whole row that the master gets: what the stream does not have stays as it is, and is empty in a new one.
    ///
    /// # Errors
    /// `Data` where it is none that the table takes.
    pub(super) fn row(&self, row: &StoredRow, existing: Option<&[Value]>) -> Result<Vec<Value>> {
        let width = self.table.spec().schema().width();
        let mut whole = existing.map_or_else(|| vec![Value::Null; width], <[Value]>::to_vec);
        for (column, value) in self.columns.iter().zip(&row.values) {
            whole[*column].clone_from(value);
        }
        self.table.check_row(&whole)?;
        if self.table.key_of(&whole).values().contains(&Value::Null) {
            return Err(Error::data("the row has no key").with("table", self.table.name()));
        }
        Ok(whole)
    }
}
