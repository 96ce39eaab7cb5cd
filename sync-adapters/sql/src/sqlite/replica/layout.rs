//! The names of what is kept about a table, and the pieces of SQL that statements about it are put together from.

use std::ops::Deref;
use std::sync::Arc;

use sync_core::Result;
use sync_core::two_way::Table;

use crate::ident::quoted;
use crate::replica::{Columns, and};
pub(super) use crate::replica::{Names, list, literal};

/// A table that takes part. All names are quoted.
#[derive(Debug)]
pub(super) struct Layout {
    of: Columns,
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
}

impl Deref for Layout {
    type Target = Columns;

    fn deref(&self) -> &Columns {
        &self.of
    }
}

/// The beginnings of the names of our tables about one of the host's. What follows is the host's table.
pub(super) const TABLES: [&str; 4] = ["_sync_row_", "_sync_log_", "_sync_in_", "_sync_gone_"];

impl Layout {
    pub(super) fn of(table: &Arc<Table>) -> Result<Self> {
        let ours = |prefix: &str| quoted(&format!("{prefix}{}", table.name()));
        Ok(Self {
            host: quoted(table.name())?,
            row: ours(TABLES[0])?,
            log: ours(TABLES[1])?,
            staged: ours(TABLES[2])?,
            gone: ours(TABLES[3])?,
            put: ours("_sync_put_")?,
            of: Columns::of(table, quoted)?,
        })
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
