//! What a run did, for people and for programs.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::ledger::Ledger;
use crate::model::{Outcome, Scope};
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
    /// Rows that changed before the last run's frontier and were not seen then.
    pub late: u64,
    /// How late the latest of them was, seconds.
    #[serde(rename = "lateness_seconds", serialize_with = "seconds")]
    pub lateness: Duration,
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

    /// `Ok` when the run completed.
    ///
    /// # Errors
    /// The first error of the run, or that it was cancelled or held.
    pub fn completed(self) -> Result<()> {
        if self.status == RunStatus::Completed {
            return Ok(());
        }
        let status = self.status;
        let first = self.scopes.into_iter().find_map(|scope| scope.error);
        Err(first
            .unwrap_or_else(|| Error::new(crate::ErrorKind::Cancelled, format!("the run is {status}")))
            .with("pipeline", self.pipeline))
    }
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

fn text<S: serde::Serializer>(error: &Option<Error>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    error.as_ref().map(ToString::to_string).serialize(serializer)
}

impl fmt::Display for Report {
    /// A table: a line for each scope, a sum, and below it what needs attention.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = self.ledger();
        let always = [Outcome::Created, Outcome::Updated, Outcome::Unchanged];
        let shown: Vec<Outcome> =
            Outcome::ALL.into_iter().filter(|outcome| always.contains(outcome) || sum.count(*outcome) > 0).collect();
        let name = |scope: &ScopeReport| {
            let text = scope.scope.to_string();
            text.strip_prefix(&format!("{}/", self.pipeline)).map_or(text.clone(), str::to_owned)
        };
        let width = self.scopes.iter().map(|scope| name(scope).chars().count()).chain([5]).max().unwrap_or(5);
        write!(f, "{:<width$}  {:>10}", "", "fetched")?;
        for outcome in &shown {
            write!(f, " {:>10}", outcome.name())?;
        }
        writeln!(f, " {:>9}  status", "seconds")?;
        let mut line = |label: &str, ledger: &Ledger, elapsed: Duration, status: RunStatus| {
            write!(f, "{label:<width$}  {:>10}", ledger.fetched)?;
            for outcome in &shown {
                write!(f, " {:>10}", ledger.count(*outcome))?;
            }
            writeln!(f, " {:>9.3}  {status}", elapsed.as_secs_f64())
        };
        for scope in &self.scopes {
            line(&name(scope), &scope.ledger, scope.elapsed, scope.status)?;
        }
        line("total", &sum, self.elapsed, self.status)?;
        if self.dry_run {
            writeln!(f, "dry run: nothing was written")?;
        }
        for scope in &self.scopes {
            if let Some(error) = &scope.error {
                writeln!(f, "{}: {error}; {}", name(scope), error.kind().remedy())?;
            }
            if scope.ledger.count(Outcome::Withheld) > 0 {
                writeln!(
                    f,
                    "{}: {} deletes were withheld; run again with `confirm_deletes` if they are right",
                    name(scope),
                    scope.ledger.count(Outcome::Withheld)
                )?;
            }
            if scope.late > 0 {
                writeln!(
                    f,
                    "{}: {} rows came late, by up to {:.0} s",
                    name(scope),
                    scope.late,
                    scope.lateness.as_secs_f64()
                )?;
            }
        }
        Ok(())
    }
}
