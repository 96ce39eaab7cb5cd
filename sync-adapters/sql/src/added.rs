//! Which columns a sink has added to tables that were there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sync_core::model::StreamSpec;

/// The columns that were added to each table when it was last prepared.
#[derive(Debug, Clone, Default)]
pub(crate) struct Added(Arc<Mutex<HashMap<String, Vec<String>>>>);

impl Added {
    pub(crate) fn note(&self, stream: &StreamSpec, columns: Vec<String>) {
        let mut added = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if columns.is_empty() {
            added.remove(stream.name());
        } else {
            added.insert(stream.name().to_owned(), columns);
        }
    }

    pub(crate) fn to(&self, stream: &StreamSpec) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(stream.name()).cloned().unwrap_or_default()
    }
}
