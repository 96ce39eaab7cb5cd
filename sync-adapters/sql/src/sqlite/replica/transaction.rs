//! One transaction of a replica, on a connection of its own.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, ffi};
use sync_core::two_way::{Book, Entry, Head, Held, Outline, RowWrite, Stamp, Table, Transaction};
use sync_core::{Error, Key, Result, Value};
use tokio::sync::OwnedMutexGuard;

use super::pool::Lease;
use super::{Shared, books, clash, feed, rows};
use crate::sqlite::error::failed;

pub(super) struct SqliteTransaction {
    /// Dropped first: what was not committed is rolled back before the next writer begins.
    pub(super) lease: Lease,
    pub(super) shared: Arc<Shared>,
    /// The right to write, among those of this process; `None` when it only reads.
    pub(super) writer: Option<OwnedMutexGuard<()>>,
    /// Whether something was written that stands in the feed as a group of its own.
    pub(super) wrote: bool,
}

impl fmt::Debug for SqliteTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteTransaction").field("writes", &self.writer.is_some()).finish_non_exhaustive()
    }
}

impl SqliteTransaction {
    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, &Shared) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(&self.shared);
        let work = move |connection: &Connection| {
            if connection.is_autocommit() {
                return Err(Error::data("a trigger of the database has taken the transaction back"));
            }
            work(connection, &shared)
        };
        self.lease.call(work).await
    }

    async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, &Shared) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if self.writer.is_none() {
            return Err(Error::internal("a transaction that only reads was asked to write"));
        }
        self.call(work).await
    }
}

/// What triggers notice from here on happens by the replica's clock.
pub(super) fn set_clock(connection: &Connection, shared: &Shared) -> Result<()> {
    let now = shared.clock.now().timestamp_millis();
    let set = || connection.prepare_cached("UPDATE _sync_ctx SET now = ?")?.execute([now]);
    set().map(drop).map_err(|cause| failed("the clock cannot be set", cause))
}

/// Everything that was captured in this transaction is one group; afterwards the machine's clock counts again.
pub(super) fn finish(connection: &Connection) -> Result<()> {
    let reset = || connection.prepare_cached("UPDATE _sync_ctx SET now = NULL")?.execute([]);
    reset().map_err(|cause| failed("the clock cannot be reset", cause))?;
    feed::end_group(connection)
}

pub(super) fn execute(connection: &Connection, sql: &'static str) -> Result<()> {
    connection.execute_batch(sql).map_err(|cause| failed("a transaction cannot begin or end", cause))
}

#[async_trait]
impl Transaction for SqliteTransaction {
    async fn rows(&mut self, table: &Table, keys: &[Key]) -> Result<Vec<Held>> {
        let (table, keys) = (table.name().to_owned(), keys.to_vec());
        self.call(move |connection, shared| {
            let layout = shared.layout(&table)?;
            keys.iter().map(|key| rows::held(connection, layout, key)).collect()
        })
        .await
    }

    /// What fails leaves nothing of this call, a stamp that is laid out neither: it would be taken for that of the host's next write.
    async fn write(&mut self, writes: &[RowWrite]) -> Result<Vec<u64>> {
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        let (writes, first) = (writes.to_vec(), !std::mem::replace(&mut self.wrote, true));
        self.change(move |connection, shared| {
            if first {
                set_clock(connection, shared)?;
            }
            execute(connection, "SAVEPOINT sync_write")?;
            let write = |(number, write)| {
                rows::write(connection, shared, write).map_err(|error: Error| error.at_row(0, number))
            };
            let written: Result<Vec<u64>> = writes.iter().enumerate().map(write).collect();
            // A trigger of the host may have taken everything back.
            if written.is_err() && !connection.is_autocommit() {
                execute(connection, "ROLLBACK TO sync_write")?;
            }
            if !connection.is_autocommit() {
                execute(connection, "RELEASE sync_write")?;
            }
            written
        })
        .await
    }

    async fn clashing(&mut self, write: &RowWrite) -> Result<Vec<(String, Key)>> {
        let write = write.clone();
        self.call(move |connection, shared| clash::clashing(connection, shared, &write)).await
    }

    async fn scan(
        &mut self,
        table: &Table,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Stamp, Vec<Value>)>> {
        let (table, after) = (table.name().to_owned(), after.cloned());
        self.call(move |connection, shared| rows::scan(connection, shared.layout(&table)?, after.as_ref(), limit)).await
    }

    async fn feed(&mut self, after: u64, limit: usize) -> Result<Vec<Entry>> {
        self.call(move |connection, shared| feed::feed(connection, shared, after, limit)).await
    }

    async fn outline(&mut self, after: u64, limit: usize) -> Result<Vec<Outline>> {
        self.call(move |connection, _| feed::outline(connection, after, limit)).await
    }

    async fn pending(&mut self, table: &Table, keys: &[Key], above: u64) -> Result<Vec<Entry>> {
        let (table, keys) = (table.name().to_owned(), keys.to_vec());
        self.call(move |connection, shared| feed::pending(connection, shared.layout(&table)?, &keys, above)).await
    }

    async fn head(&mut self) -> Result<Head> {
        self.call(|connection, _| feed::head(connection)).await
    }

    async fn nonce(&mut self, seq: u64) -> Result<Option<u64>> {
        self.call(move |connection, _| feed::nonce(connection, seq)).await
    }

    async fn begin_epoch(&mut self, epoch: u64, rev: u64) -> Result<()> {
        self.change(move |connection, _| feed::begin_epoch(connection, epoch, rev)).await
    }

    async fn trim(&mut self, up_to: u64) -> Result<u64> {
        self.change(move |connection, shared| feed::trim(connection, shared, up_to)).await
    }

    async fn get(&mut self, book: Book, id: &str) -> Result<Option<Vec<u8>>> {
        let id = id.to_owned();
        self.call(move |connection, _| books::get(connection, book, &id)).await
    }

    async fn put(&mut self, book: Book, id: &str, body: Option<Vec<u8>>) -> Result<()> {
        let id = id.to_owned();
        self.change(move |connection, _| books::put(connection, book, &id, body.as_deref())).await
    }

    async fn put_all(&mut self, book: Book, bodies: Vec<(String, Vec<u8>)>) -> Result<()> {
        self.change(move |connection, _| {
            bodies.iter().try_for_each(|(id, body)| books::put(connection, book, id, Some(body)))
        })
        .await
    }

    async fn list(&mut self, book: Book, prefix: &str, after: &str, limit: usize) -> Result<Vec<(String, Vec<u8>)>> {
        let (prefix, after) = (prefix.to_owned(), after.to_owned());
        self.call(move |connection, _| books::list(connection, book, &prefix, &after, limit)).await
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        let wrote = self.wrote;
        self.call(move |connection, _| {
            if wrote {
                finish(connection)?;
            }
            connection.execute_batch("COMMIT").map_err(uncommitted)
        })
        .await
    }
}

/// A foreign key that the host has declared `DEFERRED` is looked at here: until then a child may stand before its parent.
fn uncommitted(cause: rusqlite::Error) -> Error {
    match cause.sqlite_error().map(|error| error.extended_code) {
        Some(ffi::SQLITE_CONSTRAINT_FOREIGNKEY) => {
            failed("a row hangs on one that is missing", cause).with("code", "parent")
        }
        _ => failed("a transaction cannot begin or end", cause),
    }
}
