//! Calls that are made again because somebody else was faster.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use sync_core::Result;

use crate::error::is_collision;

/// How often a call is made at most. Each time at least one of those who collide gets through.
const TRIES: u32 = 12;
/// And for how long: each try may have waited for a lock.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes a call until it does not collide with another: deadlocks, locks, keys that another has inserted meanwhile. The
/// database has undone the whole call each time. What else goes wrong is for the engine to try again.
pub(crate) async fn until_it_is_alone<T, F: Future<Output = Result<T>>>(mut call: impl FnMut() -> F) -> Result<T> {
    let (began, mut tried) = (Instant::now(), 1);
    loop {
        match call().await {
            Err(error) if is_collision(&error) && tried < TRIES && began.elapsed() < PATIENCE => {
                tokio::time::sleep(pause(tried)).await;
                tried += 1;
            }
            done => return done,
        }
    }
}

/// Up to a millisecond, two, four …, so that those who have collided do not meet again.
fn pause(tried: u32) -> Duration {
    let most = 1000 << tried.min(8);
    Duration::from_micros(RandomState::new().hash_one(tried) % most)
}
