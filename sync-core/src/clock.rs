//! Time and randomness come in from outside, so that a simulation can own both.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

/// Where the engine takes time and randomness from.
///
/// *Determinism.* The engine asks nobody else: with a clock that a test owns, the same seed gives the same run (P22).
/// *Two times.* [`Clock::now`] is the wall clock, which may jump; deadlines, leases and pauses use [`Clock::elapsed`],
/// which never goes back.
#[async_trait]
pub trait Clock: Debug + Send + Sync {
    /// The wall clock, UTC. It may jump in both directions.
    fn now(&self) -> DateTime<Utc>;

    /// Time since some fixed moment; it never goes back.
    fn elapsed(&self) -> Duration;

    /// Returns after this much time.
    async fn sleep(&self, pause: Duration);

    /// The next random number, for jitter. It need not be fit for secrets.
    fn random(&self) -> u64;
}

/// The machine's clock, over tokio's timer.
#[derive(Debug)]
pub struct SystemClock {
    start: tokio::time::Instant,
    random: AtomicU64,
}

impl SystemClock {
    /// The machine's clock. Its random numbers start from the present nanosecond.
    pub fn new() -> Self {
        let seed = Utc::now().timestamp_nanos_opt().unwrap_or_default();
        Self { start: tokio::time::Instant::now(), random: AtomicU64::new(seed.cast_unsigned()) }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    async fn sleep(&self, pause: Duration) {
        tokio::time::sleep(pause).await;
    }

    fn random(&self) -> u64 {
        split_mix(self.random.fetch_add(GOLDEN, Ordering::Relaxed))
    }
}

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// SplitMix64 (Steele, Lea and Flood, 2014): one well-mixed number from one counter.
pub(crate) fn split_mix(counter: u64) -> u64 {
    let mut z = counter.wrapping_add(GOLDEN);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
