//! What a run did, for people and for programs.

use std::time::Duration;

use serde::Serialize;

use super::unfilled::Unfilled;
use crate::ledger::Ledger;
use crate::model::Scope;
use crate::sink::Altered;
use crate::state::{RunId, RunStatus};
use crate::{Error, Result};

/// What a run did.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The run.
    pub run: RunId,
    /// The pipeline.
    pub pipeline: String,
    /// How it ended: the worst of its scopes.
    pub status: RunStatus,
    /// Whether it only found out what it would do.
    pub dry_run: bool,
    /// What it did in each scope, in the order of the feeds.
    pub scopes: Vec<ScopeReport>,
    /// How long it took, seconds.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub elapsed: Duration,
}

/// What a run did in one scope.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct ScopeReport {
    /// The scope.
    pub scope: Scope,
    /// How it ended.
    pub status: RunStatus,
    /// Its books.
    pub ledger: Ledger,
    /// Bytes over the wire.
    pub wire_bytes: u64,
    /// Requests made, where the source counts them.
    pub requests: u64,
    /// Rows of an incremental run that changed before the last run's frontier and were not seen then.
    pub late: u64,
    /// How late the latest of them was, seconds.
    #[serde(rename = "lateness_seconds", serialize_with = "seconds")]
    pub lateness: Duration,
    /// Rows that a reconcile had to write though the changes up to their version had been followed, at least so many: they
    /// came later than the source had said, or were changed at the target. For versions that are times.
    pub missed: u64,
    /// What was changed in targets that were there, or would be by more than a dry run, each column as `stream.column`. Only the
    /// run that changes it says so: of one that is killed before it ends, at most the log does.
    pub altered: Altered,
    /// Why rows that came before have no value in the columns that were added, where that is so.
    pub hollow: Option<&'static str>,
    /// Why rows that a listing does not name were left as they are, where they were to be dealt with.
    pub unproven: Option<&'static str>,
    /// Columns that no row had a value for, where this scope was read from its beginning to its end. See
    /// [`Report::unfilled`].
    pub unfilled: Vec<Unfilled>,
    /// What is wrong with the first row that was rejected, which most often is wrong with all. It may quote the row: only
    /// who holds the report sees it.
    #[serde(skip)]
    pub first_rejected: Option<String>,
    /// How often a write was tried again.
    pub write_retries: u64,
    /// Why, the last time.
    pub retried_for: Option<String>,
    /// How long it took, seconds.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub elapsed: Duration,
    /// Why it failed, was held or cancelled.
    #[serde(serialize_with = "text")]
    pub error: Option<Error>,
}

impl Report {
    /// The books of all scopes together.
    pub fn ledger(&self) -> Ledger {
        let mut sum = Ledger::default();
        for scope in &self.scopes {
            sum += scope.ledger;
        }
        sum
    }

    /// Requests made in all scopes.
    pub fn requests(&self) -> u64 {
        self.scopes.iter().map(|scope| scope.requests).sum()
    }

    /// Columns that no row had a value for in any scope of their feed, where that was read from its beginning to its end:
    /// they may well be empty at the source, but most often the name or the place of such a column is wrong.
    pub fn unfilled(&self) -> Vec<Unfilled> {
        let mut found: Vec<Unfilled> = Vec::new();
        for scope in self.scopes.iter().filter(|scope| scope.ledger.fetched > 0) {
            let peers =
                || self.scopes.iter().filter(|peer| peer.scope.feed == scope.scope.feed && peer.ledger.fetched > 0);
            for unfilled in &scope.unfilled {
                if found.iter().any(|known| known.stream == unfilled.stream) {
                    continue;
                }
                let same =
                    |peer: &ScopeReport| peer.unfilled.iter().find(|other| other.stream == unfilled.stream).cloned();
                let all: Option<Vec<Unfilled>> = peers().map(same).collect();
                let all = all.unwrap_or_default();
                let mut columns = unfilled.columns.clone();
                columns.retain(|column| !all.is_empty() && all.iter().all(|peer| peer.columns.contains(column)));
                if !columns.is_empty() {
                    let rows = all.iter().map(|peer| peer.rows).sum();
                    found.push(Unfilled { stream: unfilled.stream.clone(), columns, rows });
                }
            }
        }
        found
    }

    /// How many rows were fetched a second, over the whole run.
    pub fn rows_per_second(&self) -> u64 {
        let micros = self.elapsed.as_micros().max(1);
        u64::try_from(u128::from(self.ledger().fetched) * 1_000_000 / micros).unwrap_or(u64::MAX)
    }

    /// `Ok` when the run completed.
    ///
    /// # Errors
    /// The first error of the run, or that it was cancelled or held.
    pub fn completed(self) -> Result<()> {
        if self.status == RunStatus::Completed {
            return Ok(());
        }
        let status = self.status;
        let named = |error: Error, scope: &Scope| {
            let says = error.context().any(|(key, _)| key == "scope");
            if says { error } else { error.with("scope", scope) }
        };
        let first = self.scopes.into_iter().find_map(|scope| Some(named(scope.error?, &scope.scope)));
        Err(first
            .unwrap_or_else(|| Error::new(crate::ErrorKind::Cancelled, format!("the run {}", status.told())))
            .with("pipeline", self.pipeline))
    }
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

fn text<S: serde::Serializer>(error: &Option<Error>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    error.as_ref().map(ToString::to_string).serialize(serializer)
}
