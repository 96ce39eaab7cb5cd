//! Keeps a lease alive while work goes on, and says so when it is lost.

use std::time::Duration;

use crate::clock::Clock;
use crate::state::{Lease, StateStore};
use crate::{Error, ErrorKind};

/// Renews the lease every third of its time. Returns only when the lease is lost: somebody else has taken it, or no
/// renewal has succeeded for half of its time, judged by the clock that never goes back (P10).
pub(super) async fn keep(store: &dyn StateStore, clock: &dyn Clock, lease: &Lease) -> Error {
    let mut renewed = clock.elapsed();
    let mut pause = lease.ttl / 3;
    loop {
        clock.sleep(pause).await;
        match store.renew(lease).await {
            Ok(()) => {
                renewed = clock.elapsed();
                pause = lease.ttl / 3;
            }
            Err(error) if error.kind() == ErrorKind::Fenced => return error,
            Err(error) => {
                if clock.elapsed().saturating_sub(renewed) >= lease.ttl / 2 {
                    return Error::new(
                        ErrorKind::Fenced,
                        "the lease could not be renewed in time, so this run stops by itself",
                    )
                    .with("lease", &lease.name)
                    .caused_by(error);
                }
                pause = (lease.ttl / 12).max(Duration::from_millis(1));
            }
        }
    }
}
