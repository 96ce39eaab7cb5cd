//! The names of what is kept about a table, and the pieces of SQL that statements about it are put together from.

use std::ops::Deref;
use std::sync::Arc;

use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::Query;
use sync_core::model::Kind;
use sync_core::two_way::Table;
use sync_core::{Error, Key, Result, Value};

use crate::ident::quoted;
use crate::postgres::column::{Column, asked_as, sent_as};
use crate::postgres::query::name;
use crate::replica::{Columns, Names, list};

/// A table that takes part. All names are quoted; those of ours have their schema.
#[derive(Debug)]
pub(super) struct Layout {
    of: Columns,
    /// The host's table, as the search path finds it.
    pub(super) host: String,
    /// The book of rows: the last write of each, and what the feed last said of it.
    pub(super) row: String,
    /// The rows before and after each write, under the number of the write.
    pub(super) log: String,
    /// The function that records the difference between a row and what the feed last said of it.
    pub(super) put: String,
    /// The function of the triggers.
    pub(super) note: String,
    /// The function that makes many writes, unless the table has more columns than a function has parameters.
    pub(super) make: Option<String>,
    /// By what is known whether all of this is installed as this library makes it.
    pub(super) mark: String,
}

/// The most parameters of a function.
const PARAMETERS: usize = 100;

impl Deref for Layout {
    type Target = Columns;

    fn deref(&self) -> &Columns {
        &self.of
    }
}

impl Layout {
    /// The names of a table, with ours in this schema.
    ///
    /// # Errors
    /// `Config` when a name is longer than PostgreSQL keeps it.
    pub(super) fn of(table: &Arc<Table>, schema: &str, node: &str) -> Result<Self> {
        let ours = |prefix: &str| Ok(format!("{schema}.{}", name(&format!("{prefix}{}", table.name()))?));
        let mut layout = Self {
            of: Columns::of(table, name)?,
            host: name(table.name())?,
            row: ours("_sync_row_")?,
            log: ours("_sync_log_")?,
            put: ours("_sync_put_")?,
            note: ours("_sync_note_")?,
            make: (table.spec().schema().width() + super::batch::STAMP <= PARAMETERS)
                .then(|| ours("_sync_do_"))
                .transpose()?,
            mark: String::new(),
        };
        layout.mark = super::install::mark(&layout, schema, node);
        Ok(layout)
    }

    /// The host's row `t` is the one that one of our tables names. Ours are ordered by their bytes, whatever collation the host
    /// declares; equal is the same in both.
    pub(super) fn is_row(&self, other: &str) -> String {
        let names = self.key_names().zip(&self.key);
        let same = names.map(|(names, &column)| {
            let exact = if self.fields()[column].kind() == Kind::Text { " COLLATE \"C\"" } else { "" };
            format!("t.{}{exact} = {other}.{}", names.host, names.kept)
        });
        same.collect::<Vec<_>>().join(" AND ")
    }

    /// The columns of the host's row, in the form in which they are read.
    pub(super) fn asked(&self, alias: &str, piece: impl Fn(&Names) -> &str) -> String {
        let columns = self.columns.iter().zip(self.fields());
        let asked = columns.map(|(names, field)| format!("{alias}{}{}", piece(names), asked_as(field.kind())));
        asked.collect::<Vec<_>>().join(", ")
    }

    /// The key in one of our tables, in the form in which it is read.
    pub(super) fn asked_key(&self, alias: &str) -> String {
        let kinds = self.key.iter().map(|column| self.fields()[*column].kind());
        let asked = self.key_names().zip(kinds).map(|(names, kind)| format!("{alias}{}{}", names.kept, asked_as(kind)));
        asked.collect::<Vec<_>>().join(", ")
    }

    /// `UNNEST($1::text[], …) WITH ORDINALITY AS u(c0, …, ord)`: some columns of rows that are sent, from this parameter on.
    pub(super) fn unnest(&self, columns: &[usize], first: usize) -> String {
        let kinds = columns.iter().map(|&column| sent_as(self.fields()[column].kind()).0);
        let arrays: Vec<String> =
            kinds.enumerate().map(|(place, kind)| format!("${}::{kind}[]", first + place)).collect();
        let names: Vec<String> = (0..arrays.len()).map(|place| format!("c{place}")).collect();
        format!("UNNEST({}) WITH ORDINALITY AS u({}, ord)", arrays.join(", "), names.join(", "))
    }

    /// The keys that are sent, from this parameter on.
    pub(super) fn unnest_keys(&self, first: usize) -> String {
        self.unnest(&self.key, first)
    }

    /// A key column among those that are sent by [`unnest_keys`](Self::unnest_keys).
    fn sent_key(&self, place: usize) -> String {
        format!("u.c{place}{}", sent_as(self.fields()[self.key[place]].kind()).1)
    }

    pub(super) fn sent_keys(&self) -> String {
        (0..self.key.len()).map(|place| self.sent_key(place)).collect::<Vec<_>>().join(", ")
    }

    /// The host's row is the one whose key is sent.
    pub(super) fn is_sent(&self, alias: &str) -> String {
        let names = self.key_names().enumerate();
        let same = names.map(|(place, names)| format!("{alias}{} = {}", names.host, self.sent_key(place)));
        same.collect::<Vec<_>>().join(" AND ")
    }

    /// The row of one of our tables is the one whose key is sent.
    pub(super) fn is_sent_ours(&self, alias: &str) -> String {
        let names = self.key_names().enumerate();
        let same = names.map(|(place, names)| format!("{alias}{} = {}", names.kept, self.sent_key(place)));
        same.collect::<Vec<_>>().join(" AND ")
    }

    /// A row's name in this session, by which a stamp finds its write. `piece` is how the key's column is called.
    pub(super) fn row_name(&self, piece: impl Fn(usize) -> String) -> String {
        let keys = self.key.iter().enumerate().map(|(place, &column)| match self.fields()[column].kind() {
            // 1.5 and 1.50 are one key.
            Kind::UInt | Kind::Decimal { .. } => format!("trim_scale({})", piece(place)),
            _ => piece(place),
        });
        let table = crate::replica::literal(&format!("{} ", self.name()));
        format!("({table} || ROW({})::text)", keys.collect::<Vec<_>>().join(", "))
    }

    pub(super) fn sent_row_name(&self) -> String {
        self.row_name(|place| self.sent_key(place))
    }

    /// The keys, one array for each column.
    ///
    /// # Errors
    /// `Data` when a key has not one value for each column, or one that PostgreSQL cannot hold.
    pub(super) fn key_arrays<'k>(&self, keys: impl IntoIterator<Item = &'k Key>) -> Result<Vec<Column>> {
        let fields: Vec<_> = self.key.iter().map(|&column| &self.fields()[column]).collect();
        let mut arrays: Vec<Column> = fields.iter().map(|field| Column::new(field.kind(), 1)).collect();
        for key in keys {
            if key.values().len() != fields.len() {
                return Err(Error::data("the key has not one value for each key column").with("table", self.name()));
            }
            for ((array, field), value) in arrays.iter_mut().zip(&fields).zip(key.values()) {
                array.push(value.as_ref(), field).map_err(|error| error.with("table", self.name()))?;
            }
        }
        Ok(arrays)
    }

    /// One row, as arrays of one value.
    ///
    /// # Errors
    /// `Data` when PostgreSQL cannot hold a value.
    pub(super) fn row_arrays(&self, row: &[Value]) -> Result<Vec<Column>> {
        let fields = self.fields().iter().zip(row);
        let array = fields.map(|(field, value)| {
            let mut array = Column::new(field.kind(), 1);
            array.push(value.as_ref(), field).map_err(|error| error.with("table", self.name()))?;
            Ok(array)
        });
        array.collect()
    }

    /// Ours, without their schema, and the names of the host's columns: what the catalogue knows them by.
    pub(super) fn plain(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.name())
    }
}

/// Binds arrays one after the other.
pub(super) fn bind_all<'q>(
    query: Query<'q, Postgres, PgArguments>,
    arrays: Vec<Column>,
) -> Query<'q, Postgres, PgArguments> {
    arrays.into_iter().fold(query, |query, array| array.bind(query))
}

/// What our tables hold a value of this kind as: wide enough for every type that the host's column may have.
pub(super) fn kept_as(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "boolean",
        Kind::Int => "bigint",
        Kind::UInt | Kind::Decimal { .. } => "numeric",
        Kind::Float => "double precision",
        Kind::Text => "text COLLATE \"C\"",
        Kind::Bytes => "bytea",
        Kind::Timestamp => "timestamp with time zone",
        Kind::Date => "date",
        _ => "json",
    }
}

/// The type alone.
pub(super) fn type_of(kind: Kind) -> &'static str {
    match kept_as(kind) {
        "text COLLATE \"C\"" => "text",
        other => other,
    }
}

/// Columns of one of our tables, each with its type.
pub(super) fn typed<'n>(
    layout: &'n Layout,
    takes: impl Fn(&Names) -> bool,
    piece: impl Fn(&'n Names) -> Vec<&'n str>,
) -> Vec<String> {
    let columns = layout.columns.iter().zip(layout.fields()).filter(|(names, _)| takes(names));
    columns
        .flat_map(|(names, field)| piece(names).into_iter().map(|name| format!("{name} {}", kept_as(field.kind()))))
        .collect()
}

/// A schema's name, ready to stand in SQL text.
///
/// # Errors
/// `Config` when it is no name.
pub(super) fn schema(name: &str) -> Result<String> {
    quoted(name)
}

/// The columns of a row, by what they are called here.
pub(super) fn all(layout: &Layout, piece: impl Fn(&Names) -> &str) -> String {
    list(layout.columns.iter(), |names| piece(names).to_owned())
}
