//! The SQL of a stream's table: the only place where statements for rows are put together.

use sqlx::mysql::MySqlArguments;
use sync_core::model::{Absent, Changes, Field, Kind, Row, StreamSpec};
use sync_core::{Error, Key, Result};

use super::batch::{fits, too_large};
use super::column::{bind, compared, declared_types, of_key, size_of};
use super::connection::Server;
use crate::ident::{list, quoted};

/// Names and expressions for one stream.
pub(crate) struct Plan<'s> {
    pub(crate) stream: &'s StreamSpec,
    pub(crate) server: Server,
    pub(crate) table: String,
    /// All columns, quoted, separated by commas.
    pub(crate) columns: String,
    /// The types the columns are declared with where the sink declares them.
    pub(crate) types: Vec<String>,
    /// The positions of the key columns.
    pub(crate) key: Vec<usize>,
    /// The column that says since when a row is missing, where it is not one of the stream's own.
    pub(crate) mark: Option<String>,
}

impl<'s> Plan<'s> {
    pub(crate) fn of(stream: &'s StreamSpec, server: Server) -> Result<Self> {
        let mark = match stream.when_absent() {
            Absent::Mark(column) if stream.schema().index(column).is_none() => Some(name(column)?),
            _ => None,
        };
        stream.schema().fields().iter().try_for_each(|field| name(field.name()).map(drop))?;
        Ok(Self {
            table: name(stream.name())?,
            columns: list(stream.schema().fields().iter().map(Field::name))?,
            types: declared_types(stream, server.exact)?,
            key: stream.key_indices(),
            stream,
            server,
            mark,
        })
    }

    pub(crate) fn field(&self, column: usize) -> &'s Field {
        &self.stream.schema().fields()[column]
    }

    pub(crate) fn all(&self) -> Vec<usize> {
        (0..self.stream.schema().width()).collect()
    }

    /// `t."a" = ? AND t."b" = ?`: that a row of the table called `t` has the key that is bound.
    pub(crate) fn has_key(&self) -> Result<String> {
        let parts = self.key.iter().map(|&column| {
            let field = self.field(column);
            Ok(format!("t.{} = {}", quoted(field.name())?, compared(field.kind())))
        });
        Ok(parts.collect::<Result<Vec<_>>>()?.join(" AND "))
    }

    /// That a row has one of so many keys.
    pub(crate) fn has_one_key_of(&self, keys: usize) -> Result<String> {
        if let [column] = self.key.as_slice() {
            let field = self.field(*column);
            let places = vec![compared(field.kind()); keys].join(", ");
            return Ok(format!("t.{} IN ({places})", quoted(field.name())?));
        }
        // Neither server finds rows of an index by `(a, b) IN (…)` in all its versions; all of them do so.
        Ok(vec![format!("({})", self.has_key()?); keys].join(" OR "))
    }

    /// The key of a row, for maps.
    pub(crate) fn key_of(&self, row: Row<'_>) -> Key {
        Key::new(self.key.iter().map(|&column| of_key(row.at(column), self.field(column))))
    }

    /// About as many bytes as the key of a change takes on its way.
    pub(crate) fn key_size(&self, changes: &Changes, row: usize) -> usize {
        let values = changes.rows().row(row);
        self.key.iter().map(|&column| size_of(values.at(column))).sum()
    }

    /// Sees that the key of a change can be looked for.
    ///
    /// # Errors
    /// `Data` with the row's position when MySQL cannot hold its key exactly, or does not take it.
    pub(crate) fn key_fits(&self, changes: &Changes, row: usize, step: usize) -> Result<()> {
        if !fits(self.server, self.key.len(), self.key_size(changes, row)) {
            return Err(too_large(self.server).at_row(step, row));
        }
        let may_be_odd = |column: &&usize| !matches!(self.field(**column).kind(), Kind::Int | Kind::UInt | Kind::Text);
        let odd: Vec<usize> = self.key.iter().filter(may_be_odd).copied().collect();
        if odd.is_empty() {
            return Ok(());
        }
        self.bind(&mut MySqlArguments::default(), changes, row, &odd, step)
    }

    /// Binds these columns of a change.
    ///
    /// # Errors
    /// `Data` with the row's position when MySQL cannot hold a value exactly.
    pub(crate) fn bind(
        &self,
        arguments: &mut MySqlArguments,
        changes: &Changes,
        row: usize,
        columns: &[usize],
        step: usize,
    ) -> Result<()> {
        let values = changes.rows().row(row);
        columns.iter().try_for_each(|&column| {
            bind(arguments, values.at(column), self.field(column))
                .map_err(|error| error.with("stream", self.stream.name()).at_row(step, row))
        })
    }
}

/// A name that MySQL takes as it is (<https://dev.mysql.com/doc/refman/8.4/en/identifiers.html>).
pub(crate) fn name(name: &str) -> Result<String> {
    let wrong = |why: &str| Err(Error::config(format!("the name {name:?} {why}: choose another one")));
    if name.chars().count() > 64 {
        return wrong("is longer than the 64 characters that MySQL takes");
    }
    if name.ends_with(' ') {
        return wrong("ends with a space, which MySQL does not take");
    }
    if name.chars().any(|letter| u32::from(letter) > 0xFFFF) {
        return wrong("has a character beyond U+FFFF, which MySQL does not take in names");
    }
    quoted(name)
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn a_name_that_mysql_would_not_take_is_refused() {
        for (given, why) in [("x".repeat(65).as_str(), "64 characters"), ("a ", "space"), ("🍣", "U+FFFF")] {
            assert!(name(given).unwrap_err().to_string().contains(why));
        }
        assert_eq!(name("Zoë's \"x\"").expect("a name"), "\"Zoë's \"\"x\"\"\"");
    }
}
