//! The SQL of a stream's table: the only place where statements for rows are put together.

use sync_core::model::{Absent, Changes, Field, StreamSpec};
use sync_core::{Error, Result};

use super::column::{Column, asked_as, sent_as};
use crate::ident::{list, quoted};

/// Names and expressions for one stream.
pub(crate) struct Plan<'s> {
    pub(crate) stream: &'s StreamSpec,
    pub(crate) table: String,
    pub(crate) columns: String,
    /// The key columns, quoted, separated by commas; empty without a key.
    pub(crate) key: String,
    /// The positions of the key columns.
    pub(crate) key_indices: Vec<usize>,
    /// The column that says since when a row is missing, where it is not one of the stream's own.
    pub(crate) mark: Option<String>,
}

impl<'s> Plan<'s> {
    pub(crate) fn of(stream: &'s StreamSpec) -> Result<Self> {
        let mark = match stream.when_absent() {
            Absent::Mark(column) if stream.schema().index(column).is_none() => Some(name(column)?),
            _ => None,
        };
        stream.schema().fields().iter().try_for_each(|field| name(field.name()).map(drop))?;
        Ok(Self {
            table: name(stream.name())?,
            columns: list(stream.schema().fields().iter().map(Field::name))?,
            key: list(stream.key_columns().iter().map(String::as_str))?,
            key_indices: stream.key_indices(),
            stream,
            mark,
        })
    }

    pub(crate) fn field(&self, column: usize) -> &'s Field {
        &self.stream.schema().fields()[column]
    }

    pub(crate) fn all(&self) -> Vec<usize> {
        (0..self.stream.schema().width()).collect()
    }

    /// `t."id"::text, …`: the columns of a table, in the form in which they are read.
    pub(crate) fn asked(&self, columns: &[usize], of: impl Fn(&Field) -> Result<String>) -> Result<String> {
        let asked = columns.iter().map(|&column| {
            let field = self.field(column);
            Ok(format!("{}{}", of(field)?, asked_as(field.kind())))
        });
        Ok(asked.collect::<Result<Vec<_>>>()?.join(", "))
    }

    /// `t."a" = u.c0 AND …`: that a row of the table and a sent one have one key.
    pub(crate) fn same_key(&self, sent: &[usize]) -> Result<String> {
        let parts = self
            .key_indices
            .iter()
            .map(|&column| Ok(format!("t.{} = {}", quoted(self.field(column).name())?, self.sent(sent, column))));
        Ok(parts.collect::<Result<Vec<_>>>()?.join(" AND "))
    }

    /// `t."a", t."b"`: the key columns of the table.
    pub(crate) fn key_of_table(&self) -> Result<String> {
        let names = self.key_indices.iter().map(|&column| Ok(format!("t.{}", quoted(self.field(column).name())?)));
        Ok(names.collect::<Result<Vec<_>>>()?.join(", "))
    }

    /// The value of a column among those that are sent, `u.c3::numeric`.
    pub(crate) fn sent(&self, sent: &[usize], column: usize) -> String {
        let place = sent.iter().position(|&sent| sent == column).unwrap_or_default();
        format!("u.c{place}{}", sent_as(self.field(column).kind()).1)
    }

    /// `UNNEST($1::bigint[], …) WITH ORDINALITY AS u(c0, …, ord)`, beginning with this parameter.
    pub(crate) fn unnest(&self, sent: &[usize], first: usize, more: &[&str]) -> String {
        let kinds = sent.iter().map(|&column| sent_as(self.field(column).kind()).0).chain(more.iter().copied());
        let arrays: Vec<String> =
            kinds.enumerate().map(|(place, kind)| format!("${}::{kind}[]", first + place)).collect();
        let names: Vec<String> = (0..arrays.len()).map(|place| format!("c{place}")).collect();
        format!("UNNEST({}) WITH ORDINALITY AS u({}, ord)", arrays.join(", "), names.join(", "))
    }
}

/// A name that PostgreSQL keeps whole: it cuts longer ones without a word.
pub(crate) fn name(name: &str) -> Result<String> {
    if name.len() > 63 {
        return Err(Error::config(format!(
            "the name {name:?} is longer than 63 bytes, and PostgreSQL would cut it: choose a shorter one"
        )));
    }
    quoted(name)
}

/// These columns of some changes, one array each.
///
/// # Errors
/// `Data` with the row's position when PostgreSQL cannot hold a value exactly.
pub(crate) fn arrays(
    plan: &Plan<'_>,
    changes: &Changes,
    rows: &[usize],
    columns: &[usize],
    step: usize,
) -> Result<Vec<Column>> {
    columns
        .iter()
        .map(|&column| {
            let field = plan.field(column);
            let mut array = Column::new(field.kind(), rows.len());
            for &row in rows {
                array
                    .push(changes.rows().row(row).at(column), field)
                    .map_err(|error| error.with("stream", plan.stream.name()).at_row(step, row))?;
            }
            Ok(array)
        })
        .collect()
}
