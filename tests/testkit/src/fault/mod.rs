//! Faults on purpose: wrappers around source, sink and store that fail by a script.
//!
//! One [`FaultPlan`] may stand behind all three, so that a crash stops them together. The same plan with the same seed
//! injects the same faults at the same calls.
//!
//! ```
//! use sync_core::memory::{MemorySink, MemorySource};
//! use sync_core::StreamSpec;
//! use sync_testkit::fault::{At, Call, Fault, FaultPlan, Faulty};
//!
//! let plan = FaultPlan::new(42)
//!     .on(Call::Apply, At::Nth(3), Fault::LostReply)
//!     .on(Call::Batch, At::Chance(0.05), Fault::Fail)
//!     .on(Call::Any, At::Nth(100), Fault::CrashBefore);
//! let source = Faulty::new(MemorySource::of([StreamSpec::new("orders").key(["id"])]), &plan);
//! let sink = Faulty::new(MemorySink::new(), &plan);
//! # let _ = (source, sink);
//! ```

mod plan;
mod sink;
mod source;
mod store;

use std::fmt;
use std::time::Duration;

pub use plan::{FaultPlan, Injected};

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Call {
    /// Any of the others.
    Any,
    /// `Source::feeds` and `Source::partitions`.
    Feeds,
    /// `Source::read`: the first pull of a read.
    Read,
    /// One batch of a read.
    Batch,
    /// `Source::acknowledge`.
    Acknowledge,
    /// `Sink::prepare`.
    Prepare,
    /// `Sink::open`.
    Open,
    /// `Sink::apply`.
    Apply,
    /// `Sink::stored` and `Sink::count`.
    LookUp,
    /// `StateStore::acquire`.
    Acquire,
    /// `StateStore::renew`.
    Renew,
    /// `StateStore::release`.
    Release,
    /// `StateStore::record`.
    Record,
    /// Reading state: checkpoints (also of a sink), holds, dead letters, runs.
    State,
    /// `check` of a source or a sink.
    Check,
}

/// At which calls a fault is injected. Calls are counted from 1, each kind for itself; [`Call::Any`] counts all.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum At {
    /// At the n-th call, once.
    Nth(u64),
    /// At the n-th call and every later one.
    From(u64),
    /// At every n-th call.
    Every(u64),
    /// At each call with this probability, from 0 to 1, drawn from the plan's seed.
    Chance(f64),
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// The call fails before it does anything; trying again may help.
    Fail,
    /// The call is refused with this kind of error before it does anything; trying again does not help.
    Refuse(sync_core::ErrorKind),
    /// The other side asks to be left alone for so long.
    Throttle(Duration),
    /// The call does its work, and the reply is lost: an ambiguous error after the effect.
    LostReply,
    /// The request is lost: the same ambiguous error, and no effect.
    LostRequest,
    /// The call takes this long, by the clock of the wrapper; then it does its work.
    Slow(Duration),
    /// Only for [`Call::Batch`]: the read ends here, without an error and without what it still had to say.
    Cut,
    /// Only for [`Call::Batch`]: every change of the batch comes twice.
    Duplicate,
    /// The process dies before the call does anything: it and every later call of the plan fail.
    CrashBefore,
    /// The process dies after the call has done its work: its reply is lost, and every later call of the plan fails.
    CrashAfter,
}

/// An adapter whose calls go wrong as the plan says. Wrap sources, sinks and stores alike.
///
/// Time for [`Fault::Slow`] comes from the clock given with [`Faulty::clock`]; without one, slow calls are not slow.
pub struct Faulty<T> {
    inner: T,
    plan: FaultPlan,
    clock: Option<std::sync::Arc<dyn sync_core::Clock>>,
}

impl<T> Faulty<T> {
    /// The adapter, going wrong by this plan. Clones of the plan share their counters.
    pub fn new(inner: T, plan: &FaultPlan) -> Self {
        Self { inner, plan: plan.clone(), clock: None }
    }

    /// The same, with a clock for slow calls.
    #[must_use]
    pub fn clock(mut self, clock: std::sync::Arc<dyn sync_core::Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The adapter itself, without faults.
    pub fn inner(&self) -> &T {
        &self.inner
    }

    /// Runs a call through the plan.
    async fn through<R>(&self, call: Call, work: impl Future<Output = sync_core::Result<R>>) -> sync_core::Result<R> {
        let fault = self.plan.strike(call)?;
        match fault {
            None | Some(Fault::Cut | Fault::Duplicate) => work.await,
            Some(Fault::Slow(pause)) => {
                self.pause(pause).await;
                work.await
            }
            Some(fault @ (Fault::LostReply | Fault::CrashAfter)) => {
                // The caller sees the same error whether the work succeeded or not: it saw no reply.
                let _ = work.await;
                Err(self.plan.error(call, fault))
            }
            Some(fault) => Err(self.plan.error(call, fault)),
        }
    }

    async fn pause(&self, pause: Duration) {
        if let Some(clock) = &self.clock {
            clock.sleep(pause).await;
        }
    }
}

impl<T: Clone> Clone for Faulty<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), plan: self.plan.clone(), clock: self.clock.clone() }
    }
}

impl<T: fmt::Debug> fmt::Debug for Faulty<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty").field("inner", &self.inner).finish_non_exhaustive()
    }
}
