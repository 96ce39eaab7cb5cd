//! Names of tables and columns: checked and quoted here and nowhere else. Values never become SQL text; they are bound.

use sync_core::{Error, Result};

/// A name, ready to stand in SQL text.
///
/// Standard SQL: in double quotes, with double quotes inside doubled (ISO 9075-2, delimited identifiers).
pub(crate) fn quoted(name: &str) -> Result<String> {
    if name.is_empty() {
        return Err(Error::config("a table or column needs a name"));
    }
    if name.contains('\0') {
        return Err(Error::config(format!("the name {name:?} has a NUL character, which no database takes")));
    }
    Ok(format!("\"{}\"", name.replace('"', "\"\"")))
}

/// Names, quoted, separated by commas.
pub(crate) fn list<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<String> {
    Ok(names.into_iter().map(quoted).collect::<Result<Vec<_>>>()?.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_stays_one_name() {
        let quoted = quoted("x\"; DROP TABLE users; --").expect("a name");
        assert_eq!(quoted, "\"x\"\"; DROP TABLE users; --\"");
    }

    #[test]
    fn names_that_no_database_takes_are_refused() {
        assert!(quoted("").is_err());
        assert!(quoted("a\0b").unwrap_err().to_string().contains("NUL"));
    }
}
