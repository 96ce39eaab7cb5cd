//! What orders the states of one row.

use serde::{Deserialize, Serialize};

use super::Value;

/// The version of a row: a timestamp, a counter or a text of its source, ordered by [`super::ValueRef::total_cmp`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(Value);

impl Version {
    /// A version of this value.
    pub fn new(value: impl Into<Value>) -> Self {
        Self(value.into())
    }

    /// The value.
    pub fn value(&self) -> &Value {
        &self.0
    }
}
