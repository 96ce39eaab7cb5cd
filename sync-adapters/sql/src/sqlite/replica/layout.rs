//! The names of what is kept about a table, and the pieces of SQL that statements about it are put together from.

use std::sync::Arc;

use sync_core::Result;
use sync_core::model::Field;
use sync_core::two_way::Table;

use crate::ident::quoted;

/// One column: what it is called in the host's table and in each of ours. All quoted.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) host: String,
    /// In the book of rows.
    pub(super) kept: String,
    /// In the log: the value before.
    pub(super) before: String,
    /// In the log: the value after.
    pub(super) after: String,
    pub(super) is_key: bool,
}

/// A table that takes part. All names are quoted.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) table: Arc<Table>,
    /// The host's table.
    pub(super) host: String,
    /// The book of rows: the last write of each, and what the feed last said of it.
    pub(super) row: String,
    /// The rows before and after each write, under its place in the feed.
    pub(super) log: String,
    /// The stamps of writes from elsewhere that are about to be made.
    pub(super) staged: String,
    /// Rows that a `REPLACE` may be about to displace.
    pub(super) gone: String,
    /// Where triggers put what they find: a view.
    pub(super) put: String,
    /// The host's columns, in the order of the declaration.
    pub(super) columns: Vec<Names>,
    /// The positions of the key columns, in the order of the key.
    pub(super) key: Vec<usize>,
}

/// The beginnings of the names of our tables about one of the host's. What follows is the host's table.
pub(super) const TABLES: [&str; 4] = ["_sync_row_", "_sync_log_", "_sync_in_", "_sync_gone_"];

impl Layout {
    pub(super) fn of(table: &Arc<Table>) -> Result<Self> {
        let ours = |prefix: &str| quoted(&format!("{prefix}{}", table.name()));
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
        Ok(Self {
            host: quoted(table.name())?,
            row: ours(TABLES[0])?,
            log: ours(TABLES[1])?,
            staged: ours(TABLES[2])?,
            gone: ours(TABLES[3])?,
            put: ours("_sync_put_")?,
            columns: columns.collect::<Result<_>>()?,
            key,
            table: Arc::clone(table),
        })
    }

    pub(super) fn name(&self) -> &str {
        self.table.name()
    }

    pub(super) fn fields(&self) -> &[Field] {
        self.table.spec().schema().fields()
    }

    /// The key's columns.
    pub(super) fn key_names(&self) -> impl Iterator<Item = &Names> {
        self.key.iter().map(|column| &self.columns[*column])
    }

    /// Columns that are not in the key.
    pub(super) fn values(&self) -> impl Iterator<Item = &Names> {
        self.columns.iter().filter(|names| !names.is_key)
    }

    /// The key in one of our tables: `alias."k_a", alias."k_b"`.
    pub(super) fn keys(&self, alias: &str) -> String {
        list(self.key_names(), |names| format!("{alias}{}", names.kept))
    }

    /// The key in the host's table.
    pub(super) fn host_keys(&self, alias: &str) -> String {
        list(self.key_names(), |names| format!("{alias}{}", names.host))
    }

    /// Two of our tables name the same row.
    pub(super) fn same(&self, one: &str, other: &str) -> String {
        and(self.key_names(), |names| format!("{one}.{0} = {other}.{0}", names.kept))
    }

    /// The host's row `t` is the one that one of our tables names. Whatever collation the host declares, keys are compared by
    /// their bytes.
    pub(super) fn is_row(&self, other: &str) -> String {
        and(self.key_names(), |names| format!("t.{} COLLATE BINARY = {other}.{}", names.host, names.kept))
    }

    /// The host's row `t` is the one that a trigger names as `OLD` or `NEW`.
    pub(super) fn is_host_row(&self, other: &str) -> String {
        and(self.key_names(), |names| format!("t.{0} COLLATE BINARY = {other}.{0}", names.host))
    }

    /// A row by its key, bound in the order of the key.
    pub(super) fn by_key(&self, alias: &str) -> String {
        and(self.key_names(), |names| format!("{alias}{} = ?", names.kept))
    }

    /// The host's row by its key.
    pub(super) fn by_host_key(&self) -> String {
        and(self.key_names(), |names| format!("{} COLLATE BINARY = ?", names.host))
    }

    /// The host's row `t` is not what the book of rows says of it in `b`: `one` is how a column of it is called.
    pub(super) fn differs(&self, one: impl Fn(&Names) -> String) -> String {
        let differ = self.values().map(|names| {
            let (one, other) = (one(names), format!("b.{}", names.kept));
            // NOCASE takes different texts for the same, and 1 and 1.0 are equal numbers.
            format!("{one} COLLATE BINARY IS NOT {other} COLLATE BINARY OR typeof({one}) <> typeof({other})")
        });
        let differ: Vec<String> = differ.collect();
        if differ.is_empty() { "0".to_owned() } else { differ.join(" OR ") }
    }
}

/// Pieces, separated by commas.
pub(super) fn list<'n>(names: impl Iterator<Item = &'n Names>, piece: impl FnMut(&'n Names) -> String) -> String {
    names.map(piece).collect::<Vec<_>>().join(", ")
}

fn and<'n>(names: impl Iterator<Item = &'n Names>, piece: impl FnMut(&'n Names) -> String) -> String {
    names.map(piece).collect::<Vec<_>>().join(" AND ")
}

/// A text as it stands in SQL.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
