//! What a sink has changed in tables that were there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sync_core::model::StreamSpec;
use sync_core::sink::Altered;

/// What was changed in each table when it was last prepared.
#[derive(Debug, Clone, Default)]
pub(crate) struct Alterations(Arc<Mutex<HashMap<String, Altered>>>);

impl Alterations {
    pub(crate) fn note(&self, stream: &StreamSpec, altered: Altered) {
        let mut alterations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if altered == Altered::default() {
            alterations.remove(stream.name());
        } else {
            alterations.insert(stream.name().to_owned(), altered);
        }
    }

    pub(crate) fn of(&self, stream: &StreamSpec) -> Altered {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(stream.name()).cloned().unwrap_or_default()
    }
}
