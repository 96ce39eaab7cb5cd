//! Source, sink and state store in memory: for tests, examples and first steps.
//!
//! They keep the whole specification of their traits, and are deterministic: no hash order, no thread, no time of
//! their own. All are cheap to clone, and clones share what they hold, so that an engine that is "restarted" finds it
//! again.

mod replica;
mod row_scope;
mod sink;
mod source;
mod store;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use replica::{Backup, Host, MemoryReplica};
pub use sink::{Effect, MemorySink};
pub use source::{Feeding, FirstLoad, MemorySource, Transaction};
pub use store::{MemoryStore, StoreCalls};

/// Locks; a thread that panicked while it held the lock left nothing half done that a test could mind.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
