//! What happened, as data: everything that shows progress listens here.

use std::fmt::Debug;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::ErrorKind;
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
        /// Whether it only says what it would do.
        dry_run: bool,
    },
    /// Reading one scope began. A scope that is held back, or that somebody else holds, finishes without it.
    ScopeStarted {
        /// The run.
        run: RunId,
        /// The scope.
        scope: Scope,
        /// Rows the source expects to hand over in this run, where it can tell.
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
    /// A unit is durable, or was rehearsed.
    Applied {
        /// The run.
        run: RunId,
        /// The scope.
        scope: Scope,
        /// Whether the unit was only rehearsed, and nothing of it was kept.
        dry_run: bool,
        /// The checkpoint's sequence.
        seq: u64,
        /// What became of its rows.
        tally: Tally,
    },
    /// Something failed and is tried again.
    Retrying {
        /// The run; `None` where dead letters are replayed or dropped.
        run: Option<RunId>,
        /// The scope; `None` for what is asked before there is one, such as the feeds of the source.
        scope: Option<Scope>,
        /// What failed: `list` (feeds and partitions), `lease`, `position`, `target` (making it ready, or looking at it),
        /// `read`, `write`, `letters`, or `record` (positions, dead letters and the run log).
        doing: &'static str,
        /// Who was asked: the name of the source or the sink, or `state store`.
        on: String,
        /// What went wrong.
        error: String,
        /// The pause before the next try.
        #[serde(rename = "wait_seconds", serialize_with = "seconds")]
        wait: Duration,
    },
    /// A call takes long: this is told after a few seconds, and again from time to time until the call ends.
    Waiting {
        /// The run; `None` where dead letters are replayed or dropped.
        run: Option<RunId>,
        /// The scope; `None` for what is asked before there is one.
        scope: Option<Scope>,
        /// What is being done, in the words of [`Event::Retrying`].
        doing: &'static str,
        /// Who is waited for: the name of the source or the sink, or `state store`.
        on: String,
        /// For how long already.
        #[serde(rename = "waited_seconds", serialize_with = "seconds")]
        waited: Duration,
    },
    /// Rows of a unit are not accepted, and are being told from the others. It is told once more whenever some are found,
    /// since that may take as long as writing the unit again.
    Isolating {
        /// The run.
        run: RunId,
        /// The scope.
        scope: Scope,
        /// Rows of the unit that are still in it.
        rows: u64,
        /// Rows found so far.
        found: u64,
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
    /// The saved position is no longer valid at the source: everything is read again. Rows that went away since that
    /// position are not among everything: let a reconcile follow.
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
        /// Why it did not complete.
        error: Option<String>,
        /// What kind of error that is.
        #[serde(serialize_with = "kind_name")]
        kind: Option<ErrorKind>,
    },
    /// The source was read from its beginning to its end, and no row had a value for these columns: see
    /// [`Report::unfilled`](crate::Report::unfilled).
    Unfilled {
        /// The run.
        run: RunId,
        /// The stream.
        stream: String,
        /// The columns.
        columns: Vec<String>,
        /// How many rows came.
        rows: u64,
    },
    /// A run ended. Every run that began ends with this, unless it is dropped on the way.
    RunFinished {
        /// The run.
        run: RunId,
        /// The pipeline.
        pipeline: String,
        /// Whether it only said what it would do.
        dry_run: bool,
        /// How it ended.
        status: RunStatus,
        /// The books of all its scopes together.
        ledger: Ledger,
        /// Why it did not complete: the first error of the scope that ended worst.
        error: Option<String>,
        /// What kind of error that is.
        #[serde(serialize_with = "kind_name")]
        kind: Option<ErrorKind>,
    },
}

fn seconds<S: serde::Serializer>(wait: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(wait.as_secs_f64())
}

fn kind_name<S: serde::Serializer>(kind: &Option<ErrorKind>, serializer: S) -> Result<S::Ok, S::Error> {
    kind.map(ErrorKind::name).serialize(serializer)
}

/// Somebody who wants to know what happens. Called in line: hand slow work to somebody else.
pub trait Listener: Debug + Send + Sync {
    /// Something happened.
    fn on(&self, event: &Event);
}
