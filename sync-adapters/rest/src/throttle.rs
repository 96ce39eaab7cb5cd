//! Token buckets by key: how many requests may go out, and how many at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sync_core::{Clock, Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A limit the other side sets, such as 600 requests a minute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate {
    /// The mean distance between two requests.
    pub(crate) every: Duration,
    /// How many may go out at once after a pause.
    pub(crate) burst: u32,
}

/// Buckets that several sources may share, since a limit belongs to a key, a host or an application, not to a source.
///
/// Made with the clock that refills them; hand the same one to each source with [`Rest::throttle`](crate::Rest::throttle).
#[derive(Debug, Clone)]
pub struct Throttle {
    clock: Arc<dyn Clock>,
    buckets: Arc<Mutex<HashMap<String, Arc<Bucket>>>>,
}

#[derive(Debug)]
struct Bucket {
    permits: Arc<Semaphore>,
    /// When the bucket would be full again, on the clock's scale (GCRA: the theoretical arrival time).
    full_at: Mutex<Duration>,
}

impl Throttle {
    /// Empty buckets on this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, buckets: Arc::default() }
    }

    /// Waits until a request may go out. It counts as under way until the permit is dropped.
    pub(crate) async fn enter(&self, key: &str, rate: Option<Rate>, at_once: usize) -> Result<OwnedSemaphorePermit> {
        let bucket = self.bucket(key, at_once);
        let permit = Arc::clone(&bucket.permits)
            .acquire_owned()
            .await
            .map_err(|_| Error::internal("a bucket was closed while requests wait for it"))?;
        if let Some(rate) = rate {
            let pause = bucket.take(self.clock.elapsed(), rate);
            if !pause.is_zero() {
                tracing::debug!(bucket = key, pause_ms = pause.as_millis() as u64, "waiting for the rate limit");
                self.clock.sleep(pause).await;
            }
        }
        Ok(permit)
    }

    /// The first who asks for a bucket decides how many may be under way in it.
    fn bucket(&self, key: &str, at_once: usize) -> Arc<Bucket> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get(key) {
            return Arc::clone(bucket);
        }
        let permits = Arc::new(Semaphore::new(at_once.max(1)));
        let bucket = Arc::new(Bucket { permits, full_at: Mutex::new(Duration::ZERO) });
        buckets.insert(key.to_owned(), Arc::clone(&bucket));
        bucket
    }
}

impl Bucket {
    /// Takes one token and says how long to wait for it.
    fn take(&self, now: Duration, rate: Rate) -> Duration {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let after = (*full_at).max(now) + rate.every;
        *full_at = after;
        after.saturating_sub(now).saturating_sub(rate.every * rate.burst.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_out_at_once_and_the_rest_at_the_rate() {
        let bucket = Bucket { permits: Arc::new(Semaphore::new(1)), full_at: Mutex::default() };
        let rate = Rate { every: Duration::from_secs(2), burst: 3 };
        let waits: Vec<u64> = (0..5).map(|_| bucket.take(Duration::from_secs(100), rate).as_secs()).collect();
        assert_eq!(waits, [0, 0, 0, 2, 4]);
        assert_eq!(bucket.take(Duration::from_secs(200), rate).as_secs(), 0, "a pause fills the bucket");
    }
}
