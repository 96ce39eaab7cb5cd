//! How often each principal may call: sync has a quota of its own, apart from the host's other routes.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::StatusCode;

use super::fault::Fault;

/// When principals that are no longer limited are forgotten.
const MANY: usize = 10_000;

#[derive(Debug)]
pub(super) struct Quotas {
    limiter: DefaultKeyedRateLimiter<String>,
    clock: DefaultClock,
}

impl Quotas {
    pub(super) fn per_minute(requests: NonZeroU32) -> Self {
        Self { limiter: RateLimiter::keyed(Quota::per_minute(requests)), clock: DefaultClock::default() }
    }

    /// Counts one request.
    pub(super) fn take(&self, principal: String) -> Result<(), Fault> {
        if self.limiter.len() > MANY {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(&principal).map_err(|refused| {
            let wait: Duration = refused.wait_time_from(self.clock.now());
            Fault::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "too many requests: wait").after(wait)
        })
    }
}
