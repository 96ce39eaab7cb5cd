//! How often each principal may call, and each address that proves nothing: sync has quotas of its own, apart from those of the
//! host's other routes.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use axum::extract::ConnectInfo;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::StatusCode;
use http::request::Parts;

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

/// How often an address may call without proving who it is. Who has a valid token is never counted here: one bad neighbour
/// behind the same address holds nobody up.
#[derive(Debug)]
pub(super) struct Strangers(Quotas);

impl Strangers {
    pub(super) fn per_minute(requests: NonZeroU32) -> Self {
        Self(Quotas::per_minute(requests))
    }

    /// Counts one request, where the host tells from which address it comes.
    pub(super) fn take(&self, parts: &Parts) -> Result<(), Fault> {
        match parts.extensions.get::<ConnectInfo<SocketAddr>>() {
            Some(ConnectInfo(address)) => self.0.take(whose(address.ip()).to_string()),
            None => Ok(()),
        }
    }
}

/// What of an address belongs to one subscriber: with IPv6 the first half (RFC 6177).
fn whose(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_subscriber_are_one() {
        let same = |one: &str, other: &str| whose(one.parse().unwrap()) == whose(other.parse().unwrap());
        assert!(same("2001:db8:1:2::1", "2001:db8:1:2:ffff::9") && !same("2001:db8:1:2::1", "2001:db8:1:3::1"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1") && !same("192.0.2.1", "192.0.2.2"));
    }
}
