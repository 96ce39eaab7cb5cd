//! Connections, each on a thread of its own: a transaction has one for itself until it ends.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use sync_core::Result;

use crate::sqlite::SqliteOptions;
use crate::sqlite::error::failed;
use crate::sqlite::worker::Worker;

/// Connections to one file. Idle ones wait for the next transaction.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    options: SqliteOptions,
    idle: Arc<Mutex<Vec<Worker>>>,
}

/// How many idle connections are kept.
const IDLE: usize = 8;

impl Pool {
    pub(super) fn new(options: SqliteOptions) -> Self {
        Self { options, idle: Arc::default() }
    }

    pub(super) async fn take(&self) -> Result<Lease> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let worker = match idle {
            Some(worker) => worker,
            None => {
                let worker = Worker::start(self.options.clone()).await?;
                let keys = |connection: &mut Connection| {
                    connection
                        .pragma_update(None, "foreign_keys", true)
                        .map_err(|cause| failed("foreign keys cannot be switched on", cause))
                };
                worker.call(keys).await?;
                worker
            }
        };
        Ok(Lease { worker, idle: Arc::clone(&self.idle) })
    }

    /// Closes the connections that nobody uses.
    pub(super) async fn close(&self) {
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for worker in idle {
            worker.close().await;
        }
    }
}

/// A connection for one transaction, which is rolled back with it unless it was committed.
#[derive(Debug)]
pub(super) struct Lease {
    worker: Worker,
    idle: Arc<Mutex<Vec<Worker>>>,
}

impl Lease {
    /// Does the work on the connection.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.worker.call(|connection| work(connection)).await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let end = |connection: &mut Connection| {
            if !connection.is_autocommit() {
                // Where it fails, the transaction has ended already.
                let _ = connection.execute_batch("ROLLBACK");
            }
        };
        // Whoever gets the connection next finds this done before what it asks.
        if self.worker.leave(end) {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE {
                idle.push(self.worker.clone());
            }
        }
    }
}
