//! The columns of a table that takes part, as the host's table and each of ours call them.

use std::sync::Arc;

use sync_core::Result;
use sync_core::model::Field;
use sync_core::two_way::Table;

/// One column: what it is called in the host's table and in each of ours. All quoted.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) host: String,
    /// In the book of rows.
    pub(crate) kept: String,
    /// In the log: the value before.
    pub(crate) before: String,
    /// In the log: the value after.
    pub(crate) after: String,
    pub(crate) is_key: bool,
}

/// A table that takes part, with its columns.
#[derive(Debug)]
pub(crate) struct Columns {
    pub(crate) table: Arc<Table>,
    /// The host's columns, in the order of the declaration.
    pub(crate) columns: Vec<Names>,
    /// The positions of the key columns, in the order of the key.
    pub(crate) key: Vec<usize>,
}

impl Columns {
    /// The columns of this table, their names quoted as the database wants it.
    ///
    /// # Errors
    /// What `quoted` says of a name that the database does not take.
    pub(crate) fn of(table: &Arc<Table>, quoted: impl Fn(&str) -> Result<String>) -> Result<Self> {
        let spec = table.spec();
        let key = spec.key_indices();
        let columns = spec.schema().fields().iter().enumerate().map(|(column, field)| {
            let is_key = key.contains(&column);
            let named = |prefix| quoted(&format!("{}{}", if is_key { "k_" } else { prefix }, field.name()));
            Ok(Names {
                host: quoted(field.name())?,
                kept: named("v_")?,
                before: named("o_")?,
                after: named("n_")?,
                is_key,
            })
        });
        Ok(Self { columns: columns.collect::<Result<_>>()?, key, table: Arc::clone(table) })
    }

    pub(crate) fn name(&self) -> &str {
        self.table.name()
    }

    pub(crate) fn fields(&self) -> &[Field] {
        self.table.spec().schema().fields()
    }

    /// The key's columns.
    pub(crate) fn key_names(&self) -> impl Iterator<Item = &Names> {
        self.key.iter().map(|column| &self.columns[*column])
    }

    /// Columns that are not in the key.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Names> {
        self.columns.iter().filter(|names| !names.is_key)
    }

    /// The key in one of our tables: `alias."k_a", alias."k_b"`.
    pub(crate) fn keys(&self, alias: &str) -> String {
        list(self.key_names(), |names| format!("{alias}{}", names.kept))
    }

    /// The key in the host's table.
    pub(crate) fn host_keys(&self, alias: &str) -> String {
        list(self.key_names(), |names| format!("{alias}{}", names.host))
    }

    /// Two of our tables name the same row.
    pub(crate) fn same(&self, one: &str, other: &str) -> String {
        and(self.key_names(), |names| format!("{one}.{0} = {other}.{0}", names.kept))
    }
}

/// Pieces, separated by commas.
pub(crate) fn list<'n>(names: impl Iterator<Item = &'n Names>, piece: impl FnMut(&'n Names) -> String) -> String {
    names.map(piece).collect::<Vec<_>>().join(", ")
}

/// Pieces that must all hold.
pub(crate) fn and<'n>(names: impl Iterator<Item = &'n Names>, piece: impl FnMut(&'n Names) -> String) -> String {
    names.map(piece).collect::<Vec<_>>().join(" AND ")
}

/// A text as it stands in SQL.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
