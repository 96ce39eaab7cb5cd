//! What one run is asked to do.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::model::RowScope;
use crate::{Error, Result};

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Mode {
    /// What changed since the last run.
    #[default]
    Incremental,
    /// Everything, from the beginning. The live position starts over with it. Rows that went away at the source since
    /// the last run are not among everything: a reconcile finds them.
    Full,
    /// A complete listing, to find rows that are gone at the source. Never touches the live position.
    Reconcile,
    /// The rows of a range, under a name of its own. Never touches the live position.
    Backfill {
        /// The backfill's name: one that was interrupted continues under it.
        name: String,
        /// Which rows.
        rows: RowScope,
    },
}

/// What one run is asked to do. The default is an incremental run.
///
/// ```
/// use sync_core::engine::RunOptions;
/// let plan = RunOptions::full().dry_run();
/// # let _ = plan;
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RunOptions {
    pub(crate) mode: Mode,
    pub(crate) new_only: bool,
    pub(crate) force: bool,
    pub(crate) dry_run: bool,
    pub(crate) confirm_deletes: bool,
    pub(crate) cancel: CancellationToken,
    pub(crate) stop_within: Duration,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            mode: Mode::Incremental,
            new_only: false,
            force: false,
            dry_run: false,
            confirm_deletes: false,
            cancel: CancellationToken::new(),
            stop_within: Duration::from_secs(30),
        }
    }
}

impl RunOptions {
    /// What changed since the last run.
    pub fn incremental() -> Self {
        Self::default()
    }

    /// Everything, from the beginning, compared by what rows hold also where a detector looks at versions. Rows that went away at
    /// the source since the last run are not found by it: let a reconcile follow.
    pub fn full() -> Self {
        Self { mode: Mode::Full, ..Self::default() }
    }

    /// A complete listing, to find rows that are gone at the source.
    pub fn reconcile() -> Self {
        Self { mode: Mode::Reconcile, ..Self::default() }
    }

    /// The rows of a range, under a name of its own.
    pub fn backfill(name: impl Into<String>, rows: RowScope) -> Self {
        Self { mode: Mode::Backfill { name: name.into(), rows }, ..Self::default() }
    }

    /// Only adds rows; those that exist are left alone and counted as `existing`. The position stays where it is, so that
    /// the next ordinary run sees what was left alone; only a first load into an empty target moves it.
    #[must_use]
    pub fn new_only(mut self) -> Self {
        self.new_only = true;
        self
    }

    /// Runs although the source asked to be left alone until later.
    #[must_use]
    pub fn force(mut self) -> Self {
        self.force = true;
        self
    }

    /// Finds out what a run would do, by the same path, and leaves no row, no position and no letter. What a
    /// database does not take back with a transaction stays: automatic numbers go on, and a trigger may write elsewhere. A
    /// dry run holds no lease; beside a real one of the same scope it says so and ends. Rows that come twice in different pages
    /// are judged each time against what is stored now. A listing keeps its keys in memory meanwhile.
    #[must_use]
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// A person has seen how many deletes were withheld, and wants them done.
    #[must_use]
    pub fn confirm_deletes(mut self) -> Self {
        self.confirm_deletes = true;
        self
    }

    /// Stops at the next boundary when this token is cancelled.
    #[must_use]
    pub fn cancel(mut self, token: CancellationToken) -> Self {
        self.cancel = token;
        self
    }

    /// How long a cancelled run may take to reach a boundary; then it is dropped, and its last unit rolled back.
    #[must_use]
    pub fn stop_within(mut self, deadline: Duration) -> Self {
        self.stop_within = deadline;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        match &self.mode {
            Mode::Reconcile if self.new_only => Err(Error::config(
                "a reconcile looks for rows that are gone and cannot be limited to new rows: leave out `new_only`",
            )),
            Mode::Backfill { name, .. } if name.is_empty() => {
                Err(Error::config("a backfill needs a name, so that it can continue after a restart"))
            }
            _ => Ok(()),
        }
    }
}
