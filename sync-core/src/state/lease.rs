//! Who may work on a scope: one owner at a time, with a token that tells old holders from new ones.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A number that grows with every new holder of a lease. Whoever writes shows it; lower ones are refused.
///
/// A lease alone cannot stop a holder that slept through its expiry (Kleppmann, "How to do distributed locking", 2016):
/// the place that is written must compare tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FencingToken(pub u64);

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The right to work on something, for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What it is for.
    pub name: String,
    /// Who holds it.
    pub owner: String,
    /// Tells this holder from earlier ones.
    pub token: FencingToken,
    /// For how long after each renewal.
    pub ttl: Duration,
}
