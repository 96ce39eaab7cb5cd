//! A clock that a test moves.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use sync_core::Clock;

use crate::random::Random;

/// A clock that stands still until somebody moves it. Who sleeps on it moves it and returns at once.
///
/// It begins at 2030-01-01T00:00:00Z, so that nothing written by it can be taken for the time of the machine.
#[derive(Debug)]
pub struct ManualClock {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    elapsed: Duration,
    /// How far the wall clock stands off: it may jump, `elapsed` never does.
    jumped: TimeDelta,
    asked: bool,
    random: Random,
}

impl ManualClock {
    /// A clock whose random numbers follow from the seed.
    pub fn new(seed: u64) -> Self {
        let state =
            State { elapsed: Duration::ZERO, jumped: TimeDelta::zero(), asked: false, random: Random::new(seed) };
        Self { state: Mutex::new(state) }
    }

    /// Lets time pass.
    pub fn advance(&self, time: Duration) {
        self.lock().elapsed += time;
    }

    /// Moves the wall clock alone, forth or back.
    pub fn jump(&self, by: TimeDelta) {
        self.lock().jumped += by;
    }

    /// Whether anybody has asked it for the time.
    pub(crate) fn was_asked(&self) -> bool {
        self.lock().asked
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> DateTime<Utc> {
        const START: DateTime<Utc> = match DateTime::from_timestamp(1_893_456_000, 0) {
            Some(start) => start,
            None => DateTime::<Utc>::MIN_UTC,
        };
        let mut state = self.lock();
        state.asked = true;
        START + TimeDelta::from_std(state.elapsed).unwrap_or_default() + state.jumped
    }

    fn elapsed(&self) -> Duration {
        let mut state = self.lock();
        state.asked = true;
        state.elapsed
    }

    async fn sleep(&self, pause: Duration) {
        self.advance(pause);
        tokio::task::yield_now().await;
    }

    fn random(&self) -> u64 {
        self.lock().random.next()
    }
}
