//! What became of each row, and how many became what.

use std::fmt;
use std::ops::AddAssign;

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What became of one row. Every row that is read ends in exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Outcome {
    /// It was not there, and was written.
    Created,
    /// It was there, differed, and was written.
    Updated,
    /// It was there and equal, or it was to be deleted and not there: nothing was written.
    Unchanged,
    /// It was removed (or marked as removed, where the stream says so).
    Deleted,
    /// The same key came again with a higher version, or comes again because its listing begins anew.
    Duplicate,
    /// The host's filter left it out.
    Filtered,
    /// What is stored has a higher version.
    Stale,
    /// It exists, and existing rows are left alone.
    Existing,
    /// It is a change of our own coming back.
    Echo,
    /// A delete that the mass-delete guard held back until someone confirms it.
    Withheld,
    /// It went to the dead letters.
    Rejected,
    /// It waits for a person to decide.
    Parked,
    /// A key listing names it, and the target does not have it.
    Missing,
    /// It is stored, but not visible yet: a later publish will count it.
    Staged,
}

impl Outcome {
    /// All outcomes, in the order of reports.
    pub const ALL: [Self; 14] = [
        Self::Created,
        Self::Updated,
        Self::Unchanged,
        Self::Deleted,
        Self::Duplicate,
        Self::Filtered,
        Self::Stale,
        Self::Existing,
        Self::Echo,
        Self::Withheld,
        Self::Rejected,
        Self::Parked,
        Self::Missing,
        Self::Staged,
    ];

    /// The lower-case name, as in reports and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
            Self::Deleted => "deleted",
            Self::Duplicate => "duplicate",
            Self::Filtered => "filtered",
            Self::Stale => "stale",
            Self::Existing => "existing",
            Self::Echo => "echo",
            Self::Withheld => "withheld",
            Self::Rejected => "rejected",
            Self::Parked => "parked",
            Self::Missing => "missing",
            Self::Staged => "staged",
        }
    }
}

/// How many rows had each outcome.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally([u64; Outcome::ALL.len()]);

impl Tally {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many rows had this outcome.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize]
    }

    /// Counts rows of one outcome.
    pub fn add(&mut self, outcome: Outcome, rows: u64) {
        self.0[outcome as usize] += rows;
    }

    /// All rows counted.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The outcomes that happened, with their counts, in the order of reports.
    pub fn iter(&self) -> impl Iterator<Item = (Outcome, u64)> {
        Outcome::ALL.into_iter().map(|outcome| (outcome, self.count(outcome))).filter(|(_, rows)| *rows > 0)
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}

impl FromIterator<Outcome> for Tally {
    fn from_iter<I: IntoIterator<Item = Outcome>>(outcomes: I) -> Self {
        let mut tally = Self::new();
        outcomes.into_iter().for_each(|outcome| tally.add(outcome, 1));
        tally
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(outcome, rows)| (outcome.name(), rows))).finish()
    }
}

impl Serialize for Tally {
    /// A map of all outcomes by name, zeros too.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(Outcome::ALL.len()))?;
        for outcome in Outcome::ALL {
            map.serialize_entry(outcome.name(), &self.count(outcome))?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Tally {
    /// Reads a map by name; unknown names are left out, missing ones are zero.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let counts = std::collections::HashMap::<String, u64>::deserialize(deserializer)?;
        let mut tally = Self::new();
        for outcome in Outcome::ALL {
            tally.add(outcome, counts.get(outcome.name()).copied().unwrap_or(0));
        }
        Ok(tally)
    }
}
