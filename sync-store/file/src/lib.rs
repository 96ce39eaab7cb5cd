//! `sync_status.json`: how a sync stands, in a small file that people, scripts and dashboards can read.
//!
//! [`StatusFile`] listens to an engine and keeps the file; [`SyncStatus::read`] reads it, for a `status` command.
//!
//! ```
//! use std::sync::Arc;
//! use sync_core::memory::{MemorySink, MemorySource, MemoryStore};
//! use sync_core::{Engine, Pipeline, StreamSpec, SystemClock};
//! use sync_store_file::{State, StatusFile, SyncStatus};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> sync_core::Result<()> {
//! # let folder = tempfile::tempdir().expect("a folder for the example");
//! # let folder = folder.path();
//! # let source = MemorySource::of([StreamSpec::new("orders").key(["id"])]);
//! # let shop = Pipeline::new("shop", source, MemorySink::new());
//! let clock = Arc::new(SystemClock::new());
//! let file = StatusFile::open(folder, clock.clone())?;
//! let engine = Engine::builder(MemoryStore::new(clock)).listener(file.clone()).pipeline(shop).build()?;
//! engine.run("shop").await?;
//!
//! file.flush()?;
//! let status = SyncStatus::read(file.path())?.expect("the file is there");
//! assert_eq!((&status.status, status.retry_count), (&State::Success, 0));
//!
//! file.reset()?; // as if nothing had run; the engine's positions stay
//! # Ok(())
//! # }
//! ```
//!
//! A host that syncs otherwise, as a two-way branch does, tells the file itself: [`StatusFile::began`], then
//! [`StatusFile::succeeded`] or [`StatusFile::failed`].
//!
//! # The file
//!
//! ```json
//! {
//!   "last_synced_at": "2025-08-30T09:00:00Z",
//!   "status": "success",
//!   "pending_records": 0,
//!   "last_error": null,
//!   "retry_count": 0,
//!   "created_at": "2025-08-30T08:00:00Z",
//!   "updated_at": "2025-08-30T09:00:00Z"
//! }
//! ```
//!
//! It holds no lease and no position: those are in a [`StateStore`](sync_core::state::StateStore), and deleting the file
//! loses nothing. It holds no secret and no value of a row either. Fields that other programs add stay as they are.
//!
//! # How it is written
//!
//! * **Whole or not at all.** A temporary file beside it is written, synced and renamed, and then the folder is synced.
//! * **For its owner alone.** Mode 0600, under any umask, whatever rights the file had before.
//! * **In its folder.** Symbolic links are not followed, neither for the file nor for the folder once it is opened. Who
//!   may rename the folder's parents can still move it: keep it where only the service may write.
//! * **One writer at a time**, across threads and processes, by a lock on `.sync_status.json.lock`.
//!
//! It needs a Unix.

#[cfg(not(unix))]
compile_error!("sync-store-file needs a Unix: it relies on file modes, `openat` and an atomic `rename`");

mod change;
mod file;
mod follow;
mod last_error;
mod place;
mod state;
mod status;

pub use file::StatusFile;
pub use state::State;
pub use status::SyncStatus;
