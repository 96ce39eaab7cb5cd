//! How often and how long to try again.
//!
//! Retrying lives in one place, the engine. A policy says how much of it is allowed; [`Attempts`] keeps the count of one
//! operation and gives a [`Verdict`] after each failure. Time and randomness come in as arguments: the same ones give
//! the same verdict.

use std::fmt;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::{Error, Result, Retry};

/// No demanded wait is honoured beyond this, so that a broken `Retry-After` cannot stop a stream for days.
const LONGEST_DEMAND: Duration = Duration::from_secs(60 * 60);

/// How often and how long to try again: bounded by count *and* by elapsed time.
///
/// Pauses grow from `base` by `factor` up to `cap`, and each is drawn evenly between zero and that ("full jitter",
/// Marc Brooker, *Exponential Backoff And Jitter*, 2015), so that many clients do not come back at the same moment.
/// A wait that the other side demands (`Retry-After`, RFC 9110 section 10.2.3) is a floor, and the jitter comes on top.
///
/// ```
/// use std::time::Duration;
/// use sync_core::retry::RetryPolicy;
/// let policy = RetryPolicy::new().attempts(5).budget(Duration::from_secs(60));
/// assert!(policy.check().is_ok());
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    attempts: u32,
    budget: Duration,
    base: Duration,
    factor: f32,
    cap: Duration,
    max_wait: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::new()
    }
}

impl RetryPolicy {
    /// 8 attempts within 5 minutes; pauses from 200 ms, doubling up to 30 s; demanded waits up to 60 s are slept through.
    pub const fn new() -> Self {
        Self {
            attempts: 8,
            budget: Duration::from_secs(5 * 60),
            base: Duration::from_millis(200),
            factor: 2.0,
            cap: Duration::from_secs(30),
            max_wait: Duration::from_secs(60),
        }
    }

    /// One attempt and no more.
    pub const fn none() -> Self {
        let mut once = Self::new();
        once.attempts = 1;
        once
    }

    /// How often an operation may be attempted, the first time included.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// How long an operation may take with all its attempts and pauses.
    #[must_use]
    pub fn budget(mut self, budget: Duration) -> Self {
        self.budget = budget;
        self
    }

    /// The longest first pause.
    #[must_use]
    pub fn base(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// By what the pauses grow.
    #[must_use]
    pub fn factor(mut self, factor: f32) -> Self {
        self.factor = factor;
        self
    }

    /// What no pause of our own exceeds.
    #[must_use]
    pub fn cap(mut self, cap: Duration) -> Self {
        self.cap = cap;
        self
    }

    /// The longest demanded wait that is slept through. For a longer one the scope is held and the run ends.
    #[must_use]
    pub fn max_wait(mut self, max_wait: Duration) -> Self {
        self.max_wait = max_wait;
        self
    }

    /// Says what is wrong with the policy, if anything.
    ///
    /// # Errors
    /// `Config`, naming the setting and what it must be.
    pub fn check(&self) -> Result<()> {
        let wrong = |text: &'static str| Err(Error::config(text).with("setting", "retry"));
        if self.attempts == 0 {
            return wrong("`attempts` must be 1 or more: the first try counts");
        }
        if !self.factor.is_finite() || self.factor < 1.0 {
            return wrong("`factor` must be a number of 1 or more, or pauses would shrink");
        }
        if self.base > self.cap {
            return wrong("`base` must not be longer than `cap`");
        }
        if self.cap > LONGEST_DEMAND || self.max_wait > LONGEST_DEMAND {
            return wrong("`cap` and `max_wait` must not be longer than one hour");
        }
        Ok(())
    }

    /// Begins the count for one operation; `now` is [`Clock::elapsed`](crate::Clock::elapsed).
    pub fn start(&self, now: Duration) -> Attempts {
        Attempts { policy: *self, pauses: self.pauses(), started: now, failed: 0 }
    }

    fn pauses(&self) -> ExponentialBackoff {
        ExponentialBuilder::new()
            .with_min_delay(self.base)
            .with_factor(self.factor)
            .with_max_delay(self.cap)
            .without_max_times()
            .build()
    }
}

/// The attempts of one operation so far.
pub struct Attempts {
    policy: RetryPolicy,
    pauses: ExponentialBackoff,
    started: Duration,
    failed: u32,
}

impl Attempts {
    /// What to do after a failure.
    ///
    /// `now` is [`Clock::elapsed`](crate::Clock::elapsed), `random` is [`Clock::random`](crate::Clock::random).
    pub fn next(&mut self, error: &Error, now: Duration, random: u64) -> Verdict {
        self.failed = self.failed.saturating_add(1);
        let floor = match error.retry() {
            Retry::Never => return Verdict::GiveUp(Reason::Permanent),
            Retry::Exhausted => return Verdict::GiveUp(Reason::Exhausted),
            Retry::Backoff => None,
            Retry::After(floor) => Some(floor.min(LONGEST_DEMAND)),
        };
        let pause = self.pauses.next().unwrap_or(self.policy.cap).min(self.policy.cap);
        let wait = floor.unwrap_or_default().saturating_add(jitter(pause, random));
        match (self.spent(now, wait), floor) {
            (Some(reason), None) => Verdict::GiveUp(reason),
            (Some(_), Some(_)) => Verdict::Hold(wait),
            (None, Some(floor)) if floor > self.policy.max_wait => Verdict::Hold(wait),
            (None, _) => Verdict::Wait(wait),
        }
    }

    /// Forgets earlier failures: the operation got further than before.
    pub fn reset(&mut self, now: Duration) {
        *self = self.policy.start(now);
    }

    /// How many attempts have failed since the start or the last [`Attempts::reset`].
    pub fn failed(&self) -> u32 {
        self.failed
    }

    fn spent(&self, now: Duration, wait: Duration) -> Option<Reason> {
        if self.failed >= self.policy.attempts {
            return Some(Reason::Attempts(self.failed));
        }
        let elapsed = now.saturating_sub(self.started);
        (elapsed.saturating_add(wait) > self.policy.budget).then_some(Reason::Budget(elapsed))
    }
}

impl fmt::Debug for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempts")
            .field("policy", &self.policy)
            .field("started", &self.started)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Sleep this long, then try again.
    Wait(Duration),
    /// The other side demands a wait that this run does not sit through: end it, and let nobody try again before this
    /// much time has passed.
    Hold(Duration),
    /// Do not try again.
    GiveUp(Reason),
}

/// Why there is no further attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The error says that it would fail again in the same way.
    Permanent,
    /// A layer below has tried as often as it may.
    Exhausted,
    /// It was attempted as often as the policy allows: this many times.
    Attempts(u32),
    /// The next attempt would begin after the elapsed budget; this much time has passed already.
    Budget(Duration),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Permanent => f.write_str("trying again would fail in the same way"),
            Self::Exhausted => f.write_str("it was tried as often as allowed already"),
            Self::Attempts(1) => f.write_str("the one attempt the retry policy allows has failed"),
            Self::Attempts(count) => write!(f, "all {count} attempts the retry policy allows have failed"),
            Self::Budget(elapsed) => write!(f, "the time the retry policy allows is used up after {elapsed:.1?}"),
        }
    }
}

/// An even draw from zero to `most`, both included.
fn jitter(most: Duration, random: u64) -> Duration {
    let most = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
    let drawn = (u128::from(random) * (u128::from(most) + 1)) >> 64;
    Duration::from_nanos(u64::try_from(drawn).unwrap_or(most))
}

#[cfg(feature = "backoff")]
impl From<backoff::ExponentialBackoff> for RetryPolicy {
    /// Takes over the intervals, the multiplier and the elapsed time. `backoff` counts no attempts and may try for ever:
    /// the bound of 8 stays until [`RetryPolicy::attempts`] says otherwise, as does the budget where none is set.
    /// Its randomization factor gives way to full jitter.
    fn from(host: backoff::ExponentialBackoff) -> Self {
        let default = Self::new();
        let cap = host.max_interval.min(LONGEST_DEMAND);
        #[expect(clippy::cast_possible_truncation, reason = "a growth factor needs no more than 24 bits")]
        let factor = host.multiplier as f32;
        Self {
            base: host.initial_interval.min(cap),
            factor,
            cap,
            budget: host.max_elapsed_time.unwrap_or(default.budget),
            ..default
        }
    }
}

#[cfg(test)]
mod tests;
