//! What happened, as data: everything that shows progress listens here.

use std::fmt::Debug;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::ledger::Ledger;
use crate::model::{Scope, Tally};
use crate::source::Estimate;
use crate::state::{RunId, RunStatus};

/// Something that happened in a run. It holds ids and counts, never a value of a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A run began.
    RunStarted {
        /// The run.
        run: RunId,
        /// The pipeline.
        pipeline: String,
    },
    /// Work on one scope began.
    ScopeStarted {
        /// The run.
        run: RunId,
        /// The scope.
        scope: Scope,
        /// Rows the source expects to hand over, where it can tell.
        #[serde(skip)]
        estimate: Option<Estimate>,
    },
    /// A batch came in.
    Fetched {
        /// The run.
        run: RunId,
        /// The scope.
        scope: Scope,
        /// Rows and records in it.
        rows: u64,
        /// Bytes over the wire.
        wire_bytes: u64,
        /// Requests made for it.
        requests: u64,
    },
    /// A unit is durable.
    Applied {
        /// The run.
        run: RunId,
        /// The scope.
        scope: Scope,
        /// The checkpoint's sequence.
        seq: u64,
        /// What became of its rows.
        tally: Tally,
    },
    /// Something failed and is tried again.
    Retrying {
        /// The run.
        run: RunId,
        /// The scope.
        scope: Scope,
        /// What failed: `read`, `write`, `lease`.
        doing: &'static str,
        /// What went wrong.
        error: String,
        /// The pause before the next try.
        #[serde(rename = "wait_seconds", serialize_with = "seconds")]
        wait: Duration,
    },
    /// Rows went to the dead letters.
    DeadLettered {
        /// The run.
        run: RunId,
        /// The scope.
        scope: Scope,
        /// How many.
        rows: u64,
        /// What is wrong with the first of them.
        reason: String,
    },
    /// The mass-delete guard held deletes back; a run that confirms them will do them.
    Withheld {
        /// The run.
        run: RunId,
        /// The scope.
        scope: Scope,
        /// How many.
        rows: u64,
    },
    /// The saved position is no longer valid at the source: everything is read again.
    Resynchronising {
        /// The run.
        run: RunId,
        /// The scope.
        scope: Scope,
    },
    /// The source asked to be left alone for a while.
    Held {
        /// The run.
        run: RunId,
        /// The scope.
        scope: Scope,
        /// Until when.
        until: DateTime<Utc>,
    },
    /// Work on one scope ended.
    ScopeFinished {
        /// The run.
        run: RunId,
        /// The scope.
        scope: Scope,
        /// How it ended.
        status: RunStatus,
        /// Its books.
        ledger: Ledger,
        /// Why it failed.
        error: Option<String>,
    },
    /// A run ended.
    RunFinished {
        /// The run.
        run: RunId,
        /// How it ended.
        status: RunStatus,
        /// The books of all its scopes together.
        ledger: Ledger,
    },
}

fn seconds<S: serde::Serializer>(wait: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(wait.as_secs_f64())
}

/// Somebody who wants to know what happens. Called in line: hand slow work to somebody else.
pub trait Listener: Debug + Send + Sync {
    /// Something happened.
    fn on(&self, event: &Event);
}
