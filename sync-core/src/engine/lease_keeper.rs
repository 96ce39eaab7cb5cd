//! Keeps a lease alive while work goes on, and says so when it is lost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::select;

use crate::clock::Clock;
use crate::state::{Lease, StateStore};
use crate::{Error, ErrorKind};

/// Renews the lease every third of its time. Returns only when the lease is lost: somebody else has taken it, or no
/// renewal has succeeded for half of its time, judged by the clock that never goes back (P10).
///
/// A renewal may wait behind a unit of our own, where sink and store share a database. A sink that keeps the position
/// refuses units of a lost lease by itself, so as long as units go there and come back (`at_the_sink` counts both ways)
/// nobody gives up.
pub(super) async fn keep(store: &dyn StateStore, clock: &dyn Clock, lease: &Lease, at_the_sink: &AtomicU64) -> Error {
    let mut renewed = clock.elapsed();
    let mut pause = lease.ttl / 3;
    loop {
        clock.sleep(pause).await;
        let rest = (lease.ttl / 2).saturating_sub(clock.elapsed().saturating_sub(renewed));
        let overdue = async {
            clock.sleep(rest).await;
            loop {
                let before = at_the_sink.load(Ordering::Relaxed);
                clock.sleep((lease.ttl / 4).max(Duration::from_millis(1))).await;
                if before.is_multiple_of(2) && before == at_the_sink.load(Ordering::Relaxed) {
                    return;
                }
            }
        };
        let answered = select! {
            biased;
            answered = store.renew(lease) => answered,
            () = overdue => Err(Error::unavailable("the state store does not answer")),
        };
        match answered {
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
