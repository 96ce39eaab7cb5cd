//! The words that `status` in the file may be.

use std::fmt;

use sync_core::state::RunStatus;

/// How the sync stands, as the file's field `status` says it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// `idle`: nothing has run since the file was made, or since it was reset.
    Idle,
    /// `running`: a run is under way. Where `updated_at` does not move any more, its process died.
    Running,
    /// `success`: the last run read all there was, and its ledger balances.
    Success,
    /// `failed`: the last run failed, or another pipeline of the same process is still failing.
    Failed,
    /// `held`: the source asked to be left alone for a while.
    Held,
    /// `cancelled`: somebody stopped the last run; the next one continues.
    Cancelled,
    /// A word that another program wrote.
    Other(String),
}

impl State {
    /// The word in the file.
    pub fn name(&self) -> &str {
        match self {
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Held => "held",
            Self::Cancelled => "cancelled",
            Self::Other(word) => word,
        }
    }

    pub(crate) fn from_name(name: String) -> Self {
        let known = [Self::Idle, Self::Running, Self::Success, Self::Failed, Self::Held, Self::Cancelled];
        known.into_iter().find(|state| state.name() == name).unwrap_or(Self::Other(name))
    }

    /// How bad it is when a run ends so, beside the ends of other pipelines.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Self::Failed => 3,
            Self::Held => 2,
            Self::Cancelled => 1,
            Self::Idle | Self::Running | Self::Success | Self::Other(_) => 0,
        }
    }
}

impl From<RunStatus> for State {
    fn from(status: RunStatus) -> Self {
        match status {
            RunStatus::Running => Self::Running,
            RunStatus::Completed => Self::Success,
            RunStatus::Cancelled => Self::Cancelled,
            RunStatus::Held => Self::Held,
            RunStatus::Failed => Self::Failed,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
