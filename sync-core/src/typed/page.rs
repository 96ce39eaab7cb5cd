//! The rows of one page, and the records of it that are no rows: one bad record does not stop the others.

use std::sync::Arc;

use serde::Serialize;

use super::row;
use crate::model::{Changes, Key, Reject, Rows, Schema, StreamSpec};
use crate::{Error, ErrorKind, Result};

/// What a page of a source has brought: what [`pages`](crate::pages) and [`pages_inclusive`](crate::pages_inclusive) take.
/// Changes alone are such a page, too.
#[derive(Debug, Clone)]
pub struct Page {
    /// The changes, in the order of the source.
    pub changes: Changes,
    /// Records that could not be read as rows: they go to the dead letters.
    pub rejects: Vec<Reject>,
    /// What is wrong with the declaration, as far as the items show.
    misspelt: Option<String>,
}

impl Page {
    /// The page, unless its items show that a column is misspelt: no item names it, and one names something so much like it
    /// that it must be meant (of a map's names, which may come from the data, only another case or separator is). The column
    /// would be empty in every row. [`pages`](crate::pages) and [`pages_inclusive`](crate::pages_inclusive) ask this; a source
    /// that hands pages over by itself should, too.
    ///
    /// # Errors
    /// `Schema`, naming both.
    pub fn checked(self, stream: &StreamSpec) -> Result<Self> {
        match self.misspelt {
            Some(what) => Err(Error::new(ErrorKind::Schema, what).with("stream", stream.name())),
            None => Ok(self),
        }
    }
}

impl From<Changes> for Page {
    fn from(changes: Changes) -> Self {
        Self { changes, rejects: Vec::new(), misspelt: None }
    }
}

/// Rows of a stream from structs or maps as in [`rows`](super::rows()), each as a plain upsert. An item that does not fit the
/// declaration is rejected, with its key where that fits, and its JSON; the others are kept.
///
/// ```
/// use std::collections::BTreeMap;
/// use std::sync::Arc;
/// use sync_core::{StreamSpec, typed};
///
/// let stream = Arc::new(StreamSpec::new("readings").key(["id"]).decimal("value", 12, 3));
/// let items = [("1", "20.5"), ("2", "20.5001")].map(|(id, value)| BTreeMap::from([("id", id), ("value", value)]));
/// let page = typed::changes(&stream, &items);
/// assert_eq!((page.changes.len(), page.rejects.len()), (1, 1));
/// ```
pub fn changes<T: Serialize>(stream: &Arc<StreamSpec>, items: &[T]) -> Page {
    let schema = stream.schema();
    let mut rows = Rows::with_capacity(Arc::clone(schema), items.len(), 0);
    let mut writer = row::Items::new(schema);
    let mut rejects = Vec::new();
    for item in items {
        if let Err(fault) = writer.add(item, &mut rows) {
            let body = serde_json::to_vec(item).unwrap_or_default().into_boxed_slice();
            let key = key_of(stream, item);
            rejects.push(Reject { stream: Arc::clone(stream), key, body, reason: fault.to_string() });
        }
    }
    let misspelt = writer.misspelt().map(|fault| fault.to_string());
    Page { changes: Changes::upserts(rows), rejects, misspelt }
}

/// Reads again a record that [`changes`] has rejected, with the declaration as it is now: what
/// [`Source::revive`](crate::Source::revive) of a source over typed items does.
///
/// # Errors
/// `Malformed` when it is no JSON, `Data` when it still does not fit.
pub fn revive(stream: &StreamSpec, record: &[u8]) -> Result<Rows> {
    let item: serde_json::Value = serde_json::from_slice(record)
        .map_err(|cause| Error::malformed("the rejected record is no JSON").caused_by(cause))?;
    super::rows(stream, &[item])
}

/// The key of an item that is no row: the item read as a row of key columns alone.
fn key_of<T: Serialize>(stream: &StreamSpec, item: &T) -> Option<Key> {
    let columns = stream.key_indices();
    let fields = columns.iter().map(|column| stream.schema().fields()[*column].clone().required());
    let schema = Arc::new(Schema::new(fields));
    let mut rows = Rows::new(Arc::clone(&schema));
    row::Items::new(&schema).add(item, &mut rows).ok()?;
    let all: Vec<usize> = (0..columns.len()).collect();
    (!all.is_empty()).then(|| Key::of(rows.row(0), &all))
}
