//! How many rows a read of a whole table brings: counted where they are few, and by the database's statistics where they are
//! many.

use std::sync::Arc;

use sync_core::source::{Estimate, Reading};
use sync_core::{ReadRequest, Result, StreamSpec};

use super::position::{order, place};

/// The stream whose whole table is read; `None` where only a part is, of which statistics say nothing.
pub(crate) fn whole(request: &ReadRequest) -> Result<Option<&Arc<StreamSpec>>> {
    let Some(stream) = request.feed.streams().first() else { return Ok(None) };
    let by_version = match &request.reading {
        Reading::Changes => stream.version_column().is_some(),
        Reading::Listing => false,
        _ => return Ok(None),
    };
    let from = place(request.from.as_ref(), &order(stream, by_version))?;
    Ok(from.is_none().then_some(stream))
}

/// Counts the rows of a table, given as it stands in SQL, up to one more than so many.
pub(crate) fn count(table: &str, most: u64) -> String {
    format!("SELECT count(*) FROM (SELECT 1 AS one FROM {table} LIMIT {}) few", most + 1)
}

/// The rows that were counted, unless they are more than so many; then those of the statistics, unless these are so old that
/// they say less.
pub(crate) fn rows(counted: u64, most: u64, statistics: Option<u64>) -> Option<Estimate> {
    let rows = if counted <= most { Some(counted) } else { statistics.filter(|rows| *rows > most) };
    rows.map(|rows| Estimate { rows, requests: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_rows_are_as_many_as_were_counted_and_many_are_what_the_statistics_say() {
        let said = |counted, statistics| rows(counted, 100, statistics).map(|estimate| estimate.rows);
        assert_eq!(said(7, Some(9000)), Some(7));
        assert_eq!(said(101, Some(9000)), Some(9000));
        assert_eq!(said(101, Some(9)), None, "statistics from when the table was small");
        assert_eq!(said(101, None), None);
    }
}
