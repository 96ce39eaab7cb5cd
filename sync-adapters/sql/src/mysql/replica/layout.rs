//! The names of what is kept about a table, and the pieces of SQL that statements about it are put together from.

use std::ops::Deref;
use std::sync::Arc;

use sqlx::mysql::MySqlArguments;
use sync_core::model::Kind;
use sync_core::two_way::Table;
use sync_core::{Error, Key, Result, Value};

use crate::mysql::column::{bind, compared, declared_types, of_key, plain_type};
use crate::mysql::query::name;
use crate::replica::{Columns, Names, and, list, literal};

/// A table that takes part. All names are quoted.
#[derive(Debug)]
pub(super) struct Layout {
    of: Columns,
    pub(super) host: String,
    /// The book of rows: the last write of each, and what the feed last said of it.
    pub(super) row: String,
    /// The rows before and after each write, under the number of the write.
    pub(super) log: String,
    /// What our tables hold the columns as, and our procedures take them as.
    pub(super) types: Vec<String>,
    /// The collation under which only equal texts are equal.
    pub(super) exact: &'static str,
}

impl Deref for Layout {
    type Target = Columns;

    fn deref(&self) -> &Columns {
        &self.of
    }
}

impl Layout {
    /// The names of a table.
    ///
    /// # Errors
    /// `Config` when a name is longer than MySQL keeps it, or the key is larger than an index.
    pub(super) fn of(table: &Arc<Table>, exact: &'static str) -> Result<Self> {
        let longest = 64 - "_sync_gone_".len();
        if table.name().chars().count() > longest {
            let what = format!(
                "the table takes part in two-way sync, where its name may have {longest} characters: MySQL takes 64, and ours are longer"
            );
            return Err(Error::config(what).with("table", table.name()));
        }
        let of = Columns::of(table, name)?;
        let declared = declared_types(table.spec(), exact)?;
        let typed = declared.into_iter().zip(of.columns.iter().zip(table.spec().schema().fields()));
        let types = typed.map(|(declared, (names, field))| match field.kind() {
            _ if names.is_key => declared,
            Kind::Text | Kind::Json => format!("longtext CHARACTER SET utf8mb4 COLLATE {exact}"),
            kind => plain_type(kind),
        });
        Ok(Self {
            types: types.collect(),
            host: name(table.name())?,
            row: name(&format!("_sync_row_{}", table.name()))?,
            log: name(&format!("_sync_log_{}", table.name()))?,
            of,
            exact,
        })
    }

    /// The name of a procedure or a trigger about this table.
    pub(super) fn ours(&self, what: &str) -> String {
        format!("\"_sync_{what}_{}\"", self.name().replace('"', "\"\""))
    }

    /// The position of a column that is declared.
    pub(super) fn field(&self, column: &str) -> Option<usize> {
        self.table.spec().schema().index(column)
    }

    /// The positions of those of these columns that are declared.
    pub(super) fn numbers(&self, columns: &[String]) -> Vec<usize> {
        columns.iter().filter_map(|column| self.field(column)).collect()
    }

    /// The host's row `t` is the one that one of our tables names.
    pub(super) fn is_row(&self, other: &str) -> String {
        and(self.key_names(), |names| format!("t.{} = {other}.{}", names.host, names.kept))
    }

    /// Columns of a row, by what they are called here.
    pub(super) fn all(&self, alias: &str, piece: impl Fn(&Names) -> &str) -> String {
        list(self.columns.iter(), |names| format!("{alias}{}", piece(names)))
    }

    /// These columns are the ones of a key that is bound.
    fn is_bound(&self, piece: impl Fn(&Names) -> String) -> String {
        let same = self.key_names().zip(&self.key);
        let same =
            same.map(|(names, &column)| format!("{} = {}", piece(names), compared(self.fields()[column].kind())));
        same.collect::<Vec<_>>().join(" AND ")
    }

    /// The host's row is one of so many whose keys are bound.
    pub(super) fn is_host(&self, alias: &str, keys: usize) -> String {
        either(self.is_bound(|names| format!("{alias}{}", names.host)), keys)
    }

    /// The row of one of our tables is one of so many whose keys are bound.
    pub(super) fn is_ours(&self, alias: &str, keys: usize) -> String {
        either(self.is_bound(|names| format!("{alias}{}", names.kept)), keys)
    }

    /// The key of one of our rows comes behind one that is bound, once for each of its beginnings.
    pub(super) fn is_later(&self, alias: &str) -> String {
        let names: Vec<&Names> = self.key_names().collect();
        let later = (0..names.len()).map(|last| {
            let piece = |place: usize, sign: &str| {
                let kind = self.fields()[self.key[place]].kind();
                format!("{alias}{} {sign} {}", names[place].kept, compared(kind))
            };
            let mut all: Vec<String> = (0..last).map(|place| piece(place, "=")).collect();
            all.push(piece(last, ">"));
            format!("({})", all.join(" AND "))
        });
        later.collect::<Vec<_>>().join(" OR ")
    }

    /// The name of a row, by which a stamp finds its write. `piece` is how the key's column is called.
    pub(super) fn row_name(&self, piece: impl Fn(usize) -> String) -> String {
        let keys = self.key.iter().enumerate().map(|(place, &column)| match self.fields()[column].kind() {
            Kind::Text | Kind::Json | Kind::Bytes => format!("HEX({})", piece(place)),
            _ => format!("CAST({} AS CHAR)", piece(place)),
        });
        format!("CONCAT_WS('/', {}, {})", literal(self.name()), keys.collect::<Vec<_>>().join(", "))
    }

    /// The name of the row whose key is bound.
    pub(super) fn bound_row_name(&self) -> String {
        self.row_name(|place| self.named(place))
    }

    /// The name of the row whose key is written out. `piece` is the key's value in a place.
    ///
    /// # Errors
    /// What `piece` returns.
    pub(super) fn row_name_of(&self, piece: impl Fn(usize) -> Result<String>) -> Result<String> {
        let pieces = (0..self.key.len()).map(piece).collect::<Result<Vec<_>>>()?;
        Ok(self.row_name(|place| self.named(place).replacen('?', &pieces[place], 1)))
    }

    /// How a value of the key stands in the name of a row: as the column's type has it.
    fn named(&self, place: usize) -> String {
        match self.fields()[self.key[place]].kind() {
            Kind::Bool | Kind::Int => "CAST(? AS SIGNED)".to_owned(),
            Kind::UInt => "CAST(? AS UNSIGNED)".to_owned(),
            Kind::Float => "CAST(? AS DOUBLE)".to_owned(),
            Kind::Timestamp => "CAST(? AS DATETIME(6))".to_owned(),
            Kind::Date => "CAST(? AS DATE)".to_owned(),
            kind => compared(kind),
        }
    }

    /// Binds the values of a key.
    ///
    /// # Errors
    /// `Data` when it has not one value for each column, or one that MySQL cannot hold.
    pub(super) fn bind_key(&self, arguments: &mut MySqlArguments, key: &Key) -> Result<()> {
        self.bind_keys(arguments, key, self.key.len())
    }

    /// Binds the first values of a key.
    fn bind_keys(&self, arguments: &mut MySqlArguments, key: &Key, first: usize) -> Result<()> {
        if key.values().len() != self.key.len() {
            return Err(Error::data("the key has not one value for each key column").with("table", self.name()));
        }
        let fields = self.key.iter().map(|&column| &self.fields()[column]);
        key.values().iter().zip(fields).take(first).try_for_each(|(value, field)| {
            bind(arguments, value.as_ref(), field).map_err(|error| error.with("table", self.name()))
        })
    }

    /// Binds what [`is_later`](Self::is_later) compares with.
    pub(super) fn bind_later(&self, arguments: &mut MySqlArguments, key: &Key) -> Result<()> {
        (1..=self.key.len()).try_for_each(|first| self.bind_keys(arguments, key, first))
    }

    /// Binds the values of a row, as far as they are wanted.
    pub(super) fn bind_row(
        &self,
        arguments: &mut MySqlArguments,
        row: &[Value],
        wanted: impl Fn(&Names) -> bool,
    ) -> Result<()> {
        let columns = self.columns.iter().zip(self.fields()).zip(row);
        columns.filter(|((names, _), _)| wanted(names)).try_for_each(|((_, field), value)| {
            bind(arguments, value.as_ref(), field).map_err(|error| error.with("table", self.name()))
        })
    }

    /// A key in the one form in which equal keys are equal.
    pub(super) fn canonical(&self, key: &Key) -> Key {
        let values = key.values().iter().zip(&self.key);
        Key::new(values.map(|(value, &column)| of_key(value.as_ref(), &self.fields()[column])).collect::<Vec<_>>())
    }
}

/// One of so many.
fn either(is: String, keys: usize) -> String {
    if keys == 1 { is } else { format!("(({}))", vec![is; keys.max(1)].join(") OR (")) }
}
