//! The feed, put together from the log and from the rows of each table.

use std::collections::BTreeMap;

use sync_core::two_way::Entry;
use sync_core::{Error, Key, Result, Value};

use super::Dialect;

/// The rows of an entry.
pub(crate) struct Images {
    pub(crate) key: Key,
    pub(crate) before: Option<Vec<Value>>,
    pub(crate) after: Option<Vec<Value>>,
}

impl Images {
    pub(crate) fn into_entry(self, entry: &mut Entry) {
        (entry.key, entry.before, entry.after) = (self.key, self.before, self.after);
    }
}

/// Entries after this place, whole groups only.
pub(super) async fn feed<D: Dialect>(
    dialect: &D,
    to: &mut D::Connection,
    after: u64,
    limit: usize,
) -> Result<Vec<Entry>> {
    let (after, up_to) = dialect.page(to, after, limit).await?;
    if up_to <= after {
        return Ok(Vec::new());
    }
    let mut entries = dialect.entries(to, after, up_to).await?;
    let mut images: BTreeMap<u64, Images> = BTreeMap::new();
    for (table, layout) in &dialect.layouts {
        if entries.iter().any(|entry| entry.table == *table) {
            images.extend(dialect.images(to, layout, after, up_to).await?);
        }
    }
    for entry in &mut entries {
        let images = images.remove(&entry.seq);
        images
            .ok_or_else(|| Error::internal("an entry without its rows").with("table", &entry.table))?
            .into_entry(entry);
    }
    Ok(entries)
}
