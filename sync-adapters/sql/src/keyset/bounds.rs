//! Where a read of changes begins, up to where it is complete, and rows that it could never find: for databases whose places
//! are texts.

use sync_core::model::{Frontier, FrontierProof, Timestamp};
use sync_core::{Error, ErrorKind, StreamSpec, Value};

use super::position::{Place, by_time};
use super::settings::Settings;

/// The most empty columns that are counted.
pub(crate) const MOST_EMPTY: i64 = 1000;

/// The error of rows that an ordering column is empty in: the pages would pass them by.
pub(crate) fn never_found(stream: &StreamSpec, column: &str, rows: i64) -> Error {
    let many = match rows {
        1 => "1 row has",
        _ if rows >= MOST_EMPTY => "1000 rows or more have",
        _ => &format!("{rows} rows have"),
    };
    let what = if stream.version_column() == Some(column) { "a version" } else { "it in the key" };
    let what = format!("{many} no {column:?} and would never be found: fill it, or declare the stream without {what}");
    Error::new(ErrorKind::Schema, what).with("table", stream.name())
}

impl Settings {
    /// The version that a read of changes begins with, where rows are read again. `read` reads times of the table, and
    /// `write` writes them.
    pub(crate) fn begin(
        &self,
        stream: &StreamSpec,
        saved: &Place,
        read: impl Fn(&str) -> Option<Timestamp>,
        write: impl Fn(Timestamp) -> Option<String>,
    ) -> Option<Value> {
        let last = saved.as_ref().and_then(|values| values.first()).filter(|_| self.repeats(stream))?;
        if !by_time(stream) || self.lookback.is_zero() {
            return Some(last.clone());
        }
        let Value::Text(last) = last else { return None };
        // A column that is a date takes the day of it, which is earlier still.
        let back = i64::try_from(self.lookback.as_micros()).unwrap_or(i64::MAX);
        let since = read(last)?.micros().saturating_sub(back);
        // The first year that all forms of the text have.
        const FIRST: i64 = -62_135_596_800_000_000;
        write(Timestamp::from_micros(since.max(FIRST))).map(|text| Value::from(text.as_str()))
    }

    /// Up to where changes are complete if rows come no later than the host says, with this position saved.
    pub(crate) fn assumed(
        stream: &StreamSpec,
        saved: &Place,
        read: impl Fn(&str) -> Option<Timestamp>,
    ) -> Option<Frontier> {
        match saved.as_ref().and_then(|values| values.first()) {
            Some(Value::Text(version)) if by_time(stream) => {
                read(version).map(|at| Frontier { at, proof: FrontierProof::Assumed })
            }
            _ => None,
        }
    }
}
