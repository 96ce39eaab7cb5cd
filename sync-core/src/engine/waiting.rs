//! Tells what is waited for: calls that take long, and pauses before a call is tried again.

use std::pin::pin;
use std::time::Duration;

use tokio::select;

use super::Inner;
use super::scope_run::ScopeRun;
use crate::event::Event;
use crate::model::Scope;
use crate::retry::Verdict;
use crate::state::RunId;
use crate::{Error, Result};

/// How long a call may take before it is told that somebody waits for it.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long it is then silent about the same call.
const AGAIN: Duration = Duration::from_secs(5);

/// Whoever keeps the state, as operators know it.
pub(super) const STATE_STORE: &str = "state store";

/// What a call is for, and who is called: what an operator is told who waits for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Errand<'a> {
    pub(super) run: Option<&'a RunId>,
    pub(super) scope: Option<&'a Scope>,
    /// One of the words that [`Event::Retrying`] lists.
    pub(super) doing: &'static str,
    /// The name of the source or the sink, or [`STATE_STORE`].
    pub(super) on: &'a str,
}

impl Errand<'_> {
    /// The call has failed and is made again after a pause.
    pub(super) fn retrying(&self, error: &Error, wait: Duration) -> Event {
        Event::Retrying {
            run: self.run.cloned(),
            scope: self.scope.cloned(),
            doing: self.doing,
            on: self.on.to_owned(),
            error: error.to_string(),
            wait,
        }
    }

    fn waiting(&self, waited: Duration) -> Event {
        Event::Waiting {
            run: self.run.cloned(),
            scope: self.scope.cloned(),
            doing: self.doing,
            on: self.on.to_owned(),
            waited,
        }
    }
}

/// Calls until it succeeds, or the policy says no.
pub(super) async fn with_retries<T, F: Future<Output = Result<T>>>(
    inner: &Inner,
    errand: Errand<'_>,
    mut call: impl FnMut() -> F,
) -> Result<T> {
    let mut attempts = inner.settings.retry.start(inner.clock.elapsed());
    loop {
        let error = match watched(inner, errand, call()).await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        match attempts.next(&error, inner.clock.elapsed(), inner.clock.random()) {
            Verdict::Wait(wait) => {
                inner.tell(&errand.retrying(&error, wait));
                inner.clock.sleep(wait).await;
            }
            Verdict::Hold(_) | Verdict::GiveUp(_) => return Err(error),
        }
    }
}

/// Makes one call, and tells that it is waited for if it takes long. A call that is ready at once never asks the clock to
/// sleep.
pub(super) async fn watched<T>(inner: &Inner, errand: Errand<'_>, call: impl Future<Output = T>) -> T {
    let mut call = pin!(call);
    let (mut waited, mut pause) = (Duration::ZERO, PATIENCE);
    loop {
        select! {
            biased;
            done = &mut call => return done,
            () = async { inner.clock.sleep(pause).await } => {}
        }
        waited += pause;
        pause = AGAIN;
        inner.tell(&errand.waiting(waited));
    }
}

impl ScopeRun<'_> {
    /// Something that is asked of the sink in this run.
    pub(super) fn at_sink(&self, doing: &'static str) -> Errand<'_> {
        self.errand(doing, self.pipeline.sink.name())
    }

    /// Something that is asked of the state store in this run.
    pub(super) fn at_store(&self, doing: &'static str) -> Errand<'_> {
        self.errand(doing, STATE_STORE)
    }

    fn errand<'s>(&'s self, doing: &'static str, on: &'s str) -> Errand<'s> {
        Errand { run: Some(self.run), scope: Some(&self.scope), doing, on }
    }
}
