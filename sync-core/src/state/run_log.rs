//! What every run did.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ledger::Ledger;
use crate::model::Scope;

/// The id of a run; later runs have greater ids.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    /// An id from the instant a run began and a random number.
    pub fn new(at: DateTime<Utc>, random: u64) -> Self {
        Self(format!("{:013x}{:08x}", at.timestamp_micros().max(0), random & 0xFFFF_FFFF))
    }

    /// An id a store has kept.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// It is under way, or its process died.
    Running,
    /// It read all there was, and its ledger balances.
    Completed,
    /// It stopped at a boundary because the host asked; the next run continues.
    Cancelled,
    /// The source asked us to come back later.
    Held,
    /// It failed; the error says why.
    Failed,
}

impl RunStatus {
    /// The lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Held => "held",
            Self::Failed => "failed",
        }
    }

    /// What is said of "the run".
    pub(crate) const fn told(self) -> &'static str {
        match self {
            Self::Running => "is under way",
            Self::Completed => "completed",
            Self::Cancelled => "was cancelled",
            Self::Held => "is held: the source asked to be left alone",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a run did in one scope.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The run.
    pub run: RunId,
    /// The scope.
    pub scope: Scope,
    /// How it stands.
    pub status: RunStatus,
    /// When it began here.
    pub started: DateTime<Utc>,
    /// When it ended here.
    pub finished: Option<DateTime<Utc>>,
    /// What became of the rows.
    pub ledger: Ledger,
    /// Why it failed, was held or cancelled.
    pub error: Option<String>,
}

/// So many of a pipeline's newest records are looked at for runs that have died.
const RECENT: u32 = 20;

impl RunRecord {
    /// Which records to look at for runs of the same scope that have died.
    #[must_use]
    pub fn recent(&self) -> RunQuery {
        RunQuery { pipeline: Some(self.scope.pipeline.clone()), limit: RECENT, ..RunQuery::default() }
    }

    /// Those of these records that say of an earlier run of the same scope that it runs, as failed; and this one. Whoever
    /// holds the lease of the scope knows that they have died.
    #[must_use]
    pub fn with_dead(&self, recent: Vec<Self>) -> Vec<Self> {
        let dead = |one: &Self| one.status == RunStatus::Running && one.scope == self.scope && one.run != self.run;
        let error = || Some("the process ended before the run did".to_owned());
        let closed =
            |one: Self| Self { status: RunStatus::Failed, finished: Some(self.started), error: error(), ..one };
        recent.into_iter().filter(dead).map(closed).chain([self.clone()]).collect()
    }
}

/// Which run records to read.
#[derive(Debug, Clone, Default)]
pub struct RunQuery {
    /// Only of this pipeline.
    pub pipeline: Option<String>,
    /// Only of runs before this one, for the next page.
    pub before: Option<RunId>,
    /// At most so many; 0 means 100. A run is never divided between two pages: one with more scopes comes whole.
    pub limit: u32,
}
