//! When and by whom a row was written last.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::Origin;

/// A hybrid logical clock: milliseconds since 1970 in the upper 48 bits, a counter in the lower 16 (Kulkarni and others,
/// 2014). It follows the wall clock, and never goes back for a row that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The clock at this moment, its counter at zero.
    pub fn at(now: DateTime<Utc>) -> Self {
        Self(u64::try_from(now.timestamp_millis()).unwrap_or_default() << 16)
    }

    /// A time after both the present moment and what was there.
    #[must_use]
    pub fn after(now: DateTime<Utc>, seen: Self) -> Self {
        Self::at(now).max(Self(seen.0.saturating_add(1)))
    }

    /// Milliseconds since 1970.
    pub fn millis(self) -> u64 {
        self.0 >> 16
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.millis(), self.0 & 0xFFFF)
    }
}

/// What is kept about the last write of a row, its deletion included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The replica's own count of writes when this one happened: it grows with every write of a row, and no two writes share it.
    pub rev: u64,
    /// When.
    pub hlc: Hlc,
    /// Who wrote it first.
    pub origin: Origin,
    /// The number of the write at its origin.
    pub op: u64,
    /// The upstream's `rev` of this row that was known here when it was written; 0 is none.
    pub seen: u64,
}
