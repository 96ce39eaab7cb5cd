//! Names that would mean something else than the stream that declares them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sync_core::model::{Absent, StreamSpec};
use sync_core::{Error, Result};

use super::plan::names;

/// Tables of ours, and of SQLite itself, begin so.
const RESERVED: [&str; 2] = ["_sync_", "sqlite_"];

/// How each table is spelled by its stream. SQLite does not tell upper from lower case in names, but only of the letters
/// A to Z (<https://www.sqlite.org/lang_keywords.html>).
#[derive(Debug, Clone, Default)]
pub(crate) struct Names(Arc<Mutex<HashMap<String, String>>>);

impl Names {
    /// Refuses a stream whose table or columns would be taken for others.
    ///
    /// # Errors
    /// `Config`, naming both.
    pub(crate) fn check(&self, stream: &StreamSpec) -> Result<()> {
        let table = stream.name().to_ascii_lowercase();
        if let Some(prefix) = RESERVED.iter().find(|prefix| table.starts_with(*prefix)) {
            return Err(Error::config(format!(
                "names that begin with {prefix:?} are reserved for tables of the sink and of SQLite: rename the stream"
            ))
            .with("stream", stream.name()));
        }
        let mut columns = HashMap::new();
        let mark = match stream.when_absent() {
            Absent::Mark(column) if stream.schema().index(column).is_none() => Some(column.as_str()),
            _ => None,
        };
        for name in names(stream).chain(mark) {
            if let Some(other) = columns.insert(name.to_ascii_lowercase(), name) {
                return Err(one_of("columns", other, name).with("stream", stream.name()));
            }
        }
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match tables.entry(table).or_insert_with(|| stream.name().to_owned()) {
            other if other != stream.name() => Err(one_of("streams", other, stream.name())),
            _ => Ok(()),
        }
    }
}

fn one_of(what: &str, one: &str, other: &str) -> Error {
    Error::config(format!(
        "the {what} {one:?} and {other:?} would be one, since SQLite does not tell upper from lower case: rename one of them"
    ))
}
