//! Columns that no row of a whole reading has a value for: most often the name or the place of one is wrong.

use std::sync::Arc;

use serde::Serialize;

use super::scope_run::ScopeRun;
use crate::model::{Changes, Feed, Op, RowScope, StreamSpec};

/// Columns of one stream that no row had a value for, though the source was read from its beginning to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Unfilled {
    /// The stream.
    pub stream: String,
    /// The columns, in the order of the stream.
    pub columns: Vec<String>,
    /// How many rows came.
    pub rows: u64,
}

/// What is without a value so far, for each stream of a feed.
#[derive(Debug)]
pub(super) struct Watch {
    streams: Vec<Seen>,
    /// Whether the reading began at a cursor, and so perhaps in the middle.
    may_go_on: bool,
}

#[derive(Debug)]
struct Seen {
    stream: Arc<StreamSpec>,
    /// Columns without a value so far.
    columns: Vec<usize>,
    rows: u64,
}

impl Watch {
    /// Watches all columns of a feed's streams.
    pub(super) fn over(feed: &Feed, may_go_on: bool) -> Self {
        let seen = |stream: &Arc<StreamSpec>| Seen {
            stream: Arc::clone(stream),
            columns: (0..stream.schema().width()).collect(),
            rows: 0,
        };
        Self { streams: feed.streams().iter().map(seen).collect(), may_go_on }
    }

    /// Notes the values of some rows. Once every column has had one, this costs nothing.
    pub(super) fn note(&mut self, stream: &StreamSpec, changes: &Changes) {
        let Some(seen) = self.streams.iter_mut().find(|seen| seen.stream.name() == stream.name()) else { return };
        // A delete has no values to miss.
        let rows = || changes.iter().filter(|change| change.op() != Op::Delete);
        seen.rows += if changes.is_plain() { changes.len() } else { rows().count() } as u64;
        seen.columns.retain(|column| rows().all(|change| change.row().at(*column).is_null()));
    }

    /// The streams that have such columns. A stream of which no row came shows nothing.
    fn found(&self) -> Vec<Unfilled> {
        let found = |seen: &Seen| Unfilled {
            stream: seen.stream.name().to_owned(),
            columns: seen
                .columns
                .iter()
                .map(|&column| seen.stream.schema().fields()[column].name().to_owned())
                .collect(),
            rows: seen.rows,
        };
        self.streams.iter().filter(|seen| seen.rows > 0 && !seen.columns.is_empty()).map(found).collect()
    }
}

impl ScopeRun<'_> {
    /// What the reading that has come to its end has no value for. One that may have gone on in the middle was whole where it
    /// brought as many rows as the target has.
    pub(super) async fn not_filled(&mut self) -> Vec<Unfilled> {
        let Some(watch) = self.unfilled.take() else { return Vec::new() };
        let mut whole = Vec::new();
        for unfilled in watch.found() {
            let there = match self.feed.stream(&unfilled.stream) {
                Some(stream) if watch.may_go_on => self.pipeline.sink.count(stream, &RowScope::All).await,
                _ => Ok(Some(0)),
            };
            if there.is_ok_and(|there| there.is_some_and(|there| unfilled.rows >= there)) {
                whole.push(unfilled);
            }
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Mark, Rows, Value};

    #[test]
    fn deletes_are_no_rows_without_values() {
        let stream = Arc::new(StreamSpec::new("orders").key(["id"]).int("id").text("note"));
        let feed = Feed::new("orders", [Arc::clone(&stream)]);
        let changes = |mark: Mark, note: Option<&str>| {
            let mut rows = Rows::new(Arc::clone(stream.schema()));
            let note = note.map_or(Value::Null, Value::from);
            rows.push([Value::from(1), note].iter().map(Value::as_ref)).unwrap();
            Changes::marked(rows, vec![mark])
        };
        let mut watch = Watch::over(&feed, false);
        watch.note(&stream, &changes(Mark::delete(), None));
        assert!(watch.found().is_empty(), "only a delete came");
        watch.note(&stream, &changes(Mark::default(), None));
        let [found] = watch.found().try_into().unwrap();
        assert_eq!((found.columns, found.rows), (vec!["note".to_owned()], 1));
    }
}
