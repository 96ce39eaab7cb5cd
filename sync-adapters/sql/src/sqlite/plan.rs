//! The SQL of a stream's table: the only place where statements for rows are put together.

use sync_core::Result;
use sync_core::model::{Absent, Field, StreamSpec};

use crate::ident::{list, quoted};

/// The statements for one stream.
pub(crate) struct Plan<'s> {
    pub(crate) stream: &'s StreamSpec,
    pub(crate) table: String,
    /// The positions of the key columns.
    pub(crate) key: Vec<usize>,
    /// The positions of the columns that must have a value.
    pub(crate) required: Vec<usize>,
    /// The column that says since when a row is missing, where it is not one of the stream's own.
    pub(crate) mark: Option<String>,
    /// Inserts a row unless its key is there.
    pub(crate) insert: String,
    /// Inserts a row.
    pub(crate) append: String,
    /// Reads a row by its key: all columns, then the mark.
    pub(crate) select: String,
    /// Deletes a row by its key.
    pub(crate) delete: String,
    where_key: String,
}

impl<'s> Plan<'s> {
    pub(crate) fn of(stream: &'s StreamSpec) -> Result<Self> {
        let table = quoted(stream.name())?;
        let columns = list(names(stream))?;
        let places = vec!["?"; stream.schema().width()].join(", ");
        let key = list(stream.key_columns().iter().map(String::as_str))?;
        let where_key = stream
            .key_columns()
            .iter()
            .map(|name| Ok(format!("{} = ?", quoted(name)?)))
            .collect::<Result<Vec<_>>>()?
            .join(" AND ");
        let mark = match stream.when_absent() {
            Absent::Mark(column) if stream.schema().index(column).is_none() => Some(quoted(column)?),
            _ => None,
        };
        // With the table before it, a column that is not there is no text in double quotes.
        let read: Vec<String> = names(stream)
            .map(quoted)
            .chain(mark.clone().map(Ok))
            .map(|column| Ok(format!("{table}.{}", column?)))
            .collect::<Result<_>>()?;
        let read = read.join(", ");
        let append = format!("INSERT INTO {table} ({columns}) VALUES ({places})");
        let required = |(column, field): (usize, &Field)| (!field.is_nullable()).then_some(column);
        Ok(Self {
            key: stream.key_indices(),
            required: stream.schema().fields().iter().enumerate().filter_map(required).collect(),
            insert: format!("{append} ON CONFLICT ({key}) DO NOTHING"),
            append,
            select: format!("SELECT {read} FROM {table} WHERE {where_key}"),
            delete: format!("DELETE FROM {table} WHERE {where_key}"),
            stream,
            table,
            mark,
            where_key,
        })
    }

    /// Sets these columns of a row, by its key: first the columns' values, then the key's.
    pub(crate) fn update(&self, columns: impl IntoIterator<Item = usize>, clear_mark: bool) -> Result<String> {
        let mut sets = columns
            .into_iter()
            .map(|column| Ok(format!("{} = ?", quoted(self.field(column).name())?)))
            .collect::<Result<Vec<_>>>()?;
        if let (true, Some(mark)) = (clear_mark, &self.mark) {
            sets.push(format!("{mark} = NULL"));
        }
        Ok(format!("UPDATE {} SET {} WHERE {}", self.table, sets.join(", "), self.where_key))
    }

    pub(crate) fn field(&self, column: usize) -> &'s Field {
        &self.fields()[column]
    }

    pub(crate) fn fields(&self) -> &'s [Field] {
        self.stream.schema().fields()
    }
}

/// The names of a stream's columns.
pub(crate) fn names(stream: &StreamSpec) -> impl Iterator<Item = &str> {
    stream.schema().fields().iter().map(Field::name)
}
