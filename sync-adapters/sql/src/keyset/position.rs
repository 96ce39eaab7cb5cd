//! How far a read of a table has come, and the cursor that says so.

use serde::{Deserialize, Serialize};
use sync_core::model::{Disposition, Field, Kind};
use sync_core::{Cursor, Error, ErrorKind, Result, StreamSpec, Value, ValueRef};

/// The version of the cursor's format.
const FORMAT: u32 = 2;

/// The saved position: which columns decide the order, and the last values of them.
///
/// The columns are named because a position says nothing about another order: when the version or the key of a stream
/// is declared anew, reading begins anew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Saved {
    by: Vec<String>,
    after: Option<Vec<Value>>,
}

/// Everything up to these values of the ordering columns has been read; `None` when nothing has. Values are kept as the
/// table holds them, since its own order decides what comes next.
pub(crate) type Place = Option<Vec<Value>>;

/// The cursor of a place.
pub(super) fn cursor(by: &[String], place: &Place) -> Result<Cursor> {
    Cursor::new(FORMAT, &Saved { by: by.to_vec(), after: place.clone() })
}

/// The place of a cursor; nothing is read yet where it was made for other columns.
///
/// # Errors
/// `Gone` when this source did not make it.
pub(super) fn place(cursor: Option<&Cursor>, by: &[String]) -> Result<Place> {
    let Some(saved) = cursor.map(|cursor| cursor.read::<Saved>(FORMAT)).transpose()? else { return Ok(None) };
    Ok(saved.after.filter(|values| saved.by == by && values.len() == by.len()))
}

/// The columns that decide the order of a read: the version, where changes are followed, and the key.
pub(crate) fn order(stream: &StreamSpec, by_version: bool) -> Vec<String> {
    let version = stream.version_column().filter(|_| by_version);
    version.into_iter().map(str::to_owned).chain(stream.key_columns().iter().cloned()).collect()
}

/// The version column of a stream.
pub(crate) fn version(stream: &StreamSpec) -> Option<&Field> {
    stream.version_index().map(|index| &stream.schema().fields()[index])
}

/// Whether the version of a stream is a time.
pub(crate) fn by_time(stream: &StreamSpec) -> bool {
    version(stream).is_some_and(|version| matches!(version.kind(), Kind::Timestamp | Kind::Date))
}

/// Whether rows with a later version come behind this one. None do behind infinity, or NaN where that is the greatest, and one that is
/// empty stands at either end.
pub(crate) fn stands_in_order(version: &ValueRef<'_>) -> bool {
    match version {
        ValueRef::Null => false,
        ValueRef::Float(number) => number.is_finite(),
        _ => true,
    }
}

/// The error of a page without a row that the next one could begin behind.
pub(crate) fn no_place(stream: &StreamSpec) -> Error {
    Error::new(ErrorKind::Schema, "no row of a whole page has a key and a version").with("table", stream.name())
}

/// Whether rows of this stream may come again without harm. A row that is appended would be there twice.
pub(crate) fn may_repeat(stream: &StreamSpec) -> bool {
    stream.version_column().is_some() && stream.writes() != Disposition::Append
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_of_other_columns_says_nothing() {
        let by = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let saved = cursor(&by(&["updated", "id"]), &Some(vec!["2026".into(), 1.into()])).expect("a cursor");
        assert!(place(Some(&saved), &by(&["updated", "id"])).expect("a place").is_some());
        assert_eq!(place(Some(&saved), &by(&["rev", "id"])).expect("a place"), None);
        assert_eq!(place(Some(&saved), &by(&["updated", "code"])).expect("a place"), None);
    }
}
