//! What makes a row itself: the values of its key columns.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Row, Value, ValueRef};

/// The values of a row's key columns, in the order the stream declares them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(Vec<Value>);

impl Key {
    /// A key of these values.
    pub fn new(values: impl IntoIterator<Item = impl Into<Value>>) -> Self {
        Self(values.into_iter().map(Into::into).collect())
    }

    /// The key of a row, by the positions of its key columns.
    pub fn of(row: Row<'_>, columns: &[usize]) -> Self {
        Self(columns.iter().map(|&column| row.at(column).to_owned()).collect())
    }

    /// The values in order.
    pub fn values(&self) -> &[Value] {
        &self.0
    }

    /// A number that is equal for equal keys, in every process and release: where lanes, shards and samples come from.
    pub fn stable_hash(&self) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&self.hash_behind(Vec::new())[..8]);
        u64::from_le_bytes(first)
    }

    /// A number by which a row is told from all others of all tables.
    pub(crate) fn hash_in(&self, table: &str) -> u128 {
        let mut bytes = Vec::new();
        super::canonical::encode(ValueRef::Text(table), &mut bytes);
        let mut first = [0; 16];
        first.copy_from_slice(&self.hash_behind(bytes)[..16]);
        u128::from_le_bytes(first)
    }

    fn hash_behind(&self, mut bytes: Vec<u8>) -> [u8; 32] {
        for value in &self.0 {
            super::canonical::encode(value.as_ref(), &mut bytes);
        }
        *blake3::hash(&bytes).as_bytes()
    }
}

impl fmt::Display for Key {
    /// The values, separated by commas: for dead letters and reports.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, value) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{value}")?;
        }
        Ok(())
    }
}
