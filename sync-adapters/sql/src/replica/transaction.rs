//! One transaction of a replica, on a connection of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sync_core::two_way::{Book, Entry, Head, Held, Outline, RowWrite, Stamp, Table, Transaction};
use sync_core::{Error, ErrorKind, Key, Result, Value};
use tokio::sync::OwnedMutexGuard;

use super::{Absent, Dialect, Lease, batch, clash, feed, rows};

pub(crate) struct SqlTransaction<D: Dialect> {
    pub(crate) lease: Lease<D>,
    pub(crate) dialect: Arc<D>,
    /// The right to write, among those of this process; `None` when it only reads.
    pub(crate) writer: Option<OwnedMutexGuard<()>>,
    /// What was looked for and not there.
    pub(crate) absent: Absent,
}

impl<D: Dialect> fmt::Debug for SqlTransaction<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlTransaction").field("writes", &self.writer.is_some()).finish_non_exhaustive()
    }
}

impl<D: Dialect> SqlTransaction<D> {
    fn writes(&self) -> Result<()> {
        match self.writer {
            Some(_) => Ok(()),
            None => Err(Error::internal("a transaction that only reads was asked to write")),
        }
    }

    async fn run(&mut self, sql: &'static str) -> Result<()> {
        let done = D::run(self.lease.work(), sql.to_owned()).await;
        done.map_err(|cause| D::failed("a part of a transaction cannot begin or end", cause))?;
        self.lease.rest(());
        Ok(())
    }

    /// All of it in few statements. `None` where it is to be made row by row: it was taken back.
    async fn write_together(&mut self, writes: &[RowWrite]) -> Result<Option<Vec<u64>>> {
        let refused = match batch::write(&*self.dialect, self.lease.work(), &self.absent, writes).await {
            Ok(Some(revs)) => return Ok(Some(self.lease.rest(revs))),
            Ok(None) => None,
            // Row by row it is known which one is meant.
            Err(error) if error.kind() == ErrorKind::Data => None,
            Err(error) => Some(error),
        };
        // Where this fails, the connection is closed, and the transaction ends with it.
        let back = self.run("ROLLBACK TO SAVEPOINT sync_write").await;
        match refused {
            Some(error) => Err(error),
            None => back.map(|()| None),
        }
    }
}

#[async_trait]
impl<D: Dialect> Transaction for SqlTransaction<D> {
    async fn rows(&mut self, table: &Table, keys: &[Key]) -> Result<Vec<Held>> {
        let layout = self.dialect.layout(table.name())?;
        if self.writer.is_some() {
            self.dialect.lock(self.lease.work(), layout, keys).await?;
        }
        let held = self.dialect.held(self.lease.work(), layout, keys).await?;
        if self.writer.is_some() {
            self.absent.note(table, keys, &held);
        }
        Ok(self.lease.rest(held))
    }

    /// What fails leaves nothing of this call, and everything before it.
    async fn write(&mut self, writes: &[RowWrite]) -> Result<Vec<u64>> {
        self.writes()?;
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        self.run("SAVEPOINT sync_write").await?;
        if D::MAKES_ALL
            && writes.len() > 1
            && let Some(revs) = self.write_together(writes).await?
        {
            self.run("RELEASE SAVEPOINT sync_write").await?;
            self.absent.forget(writes);
            return Ok(revs);
        }
        let mut revs = Vec::with_capacity(writes.len());
        for (number, write) in writes.iter().enumerate() {
            match rows::write(&*self.dialect, self.lease.work(), &self.absent, write).await {
                Ok(rev) => revs.push(rev),
                Err(refused) => {
                    // Where this fails as well, the connection is closed, and the transaction ends with it.
                    if self.run("ROLLBACK TO SAVEPOINT sync_write; RELEASE SAVEPOINT sync_write").await.is_err() {
                        return Err(refused.error);
                    }
                    // A row that an earlier write of this call has deleted is there again.
                    let error = match number == 0 || self.absent.has(write) {
                        true => rows::explained(&*self.dialect, self.lease.work(), write, refused).await,
                        false => refused.error,
                    };
                    self.lease.rest(());
                    return Err(error.at_row(0, number));
                }
            }
        }
        self.run("RELEASE SAVEPOINT sync_write").await?;
        self.absent.forget(writes);
        Ok(revs)
    }

    async fn clashing(&mut self, write: &RowWrite) -> Result<Vec<(String, Key)>> {
        let clashing = clash::clashing(&*self.dialect, self.lease.work(), write).await?;
        Ok(self.lease.rest(clashing))
    }

    async fn scan(
        &mut self,
        table: &Table,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Stamp, Vec<Value>)>> {
        let layout = self.dialect.layout(table.name())?;
        let rows = rows::scan(&*self.dialect, self.lease.work(), layout, after, limit).await?;
        Ok(self.lease.rest(rows))
    }

    async fn feed(&mut self, after: u64, limit: usize) -> Result<Vec<Entry>> {
        let entries = feed::feed(&*self.dialect, self.lease.work(), after, limit).await?;
        Ok(self.lease.rest(entries))
    }

    async fn outline(&mut self, after: u64, limit: usize) -> Result<Vec<Outline>> {
        let outline = self.dialect.outline(self.lease.work(), after, limit).await?;
        Ok(self.lease.rest(outline))
    }

    async fn pending(&mut self, table: &Table, keys: &[Key], above: u64) -> Result<Vec<Entry>> {
        let layout = self.dialect.layout(table.name())?;
        let pending = self.dialect.pending(self.lease.work(), layout, keys, above).await?;
        Ok(self.lease.rest(pending))
    }

    async fn head(&mut self) -> Result<Head> {
        let head = self.dialect.head(self.lease.work()).await?;
        Ok(self.lease.rest(head))
    }

    async fn nonce(&mut self, seq: u64) -> Result<Option<u64>> {
        let nonce = self.dialect.nonce(self.lease.work(), seq).await?;
        Ok(self.lease.rest(nonce))
    }

    async fn begin_epoch(&mut self, epoch: u64, rev: u64) -> Result<()> {
        self.writes()?;
        self.dialect.begin_epoch(self.lease.work(), epoch, rev).await?;
        self.lease.rest(());
        Ok(())
    }

    async fn trim(&mut self, up_to: u64) -> Result<u64> {
        self.writes()?;
        let forgotten = self.dialect.trim(self.lease.work(), up_to).await?;
        Ok(self.lease.rest(forgotten))
    }

    async fn get(&mut self, book: Book, id: &str) -> Result<Option<Vec<u8>>> {
        let body = self.dialect.get(self.lease.work(), book, id).await?;
        Ok(self.lease.rest(body))
    }

    async fn put(&mut self, book: Book, id: &str, body: Option<Vec<u8>>) -> Result<()> {
        self.writes()?;
        self.dialect.put(self.lease.work(), book, id, body).await?;
        self.lease.rest(());
        Ok(())
    }

    async fn put_all(&mut self, book: Book, bodies: Vec<(String, Vec<u8>)>) -> Result<()> {
        self.writes()?;
        // What is put under an id again takes the place of what was put there before.
        let bodies: BTreeMap<String, Vec<u8>> = bodies.into_iter().collect();
        self.dialect.put_all(self.lease.work(), book, bodies.into_iter().collect()).await?;
        self.lease.rest(());
        Ok(())
    }

    async fn list(&mut self, book: Book, prefix: &str, after: &str, limit: usize) -> Result<Vec<(String, Vec<u8>)>> {
        let found = self.dialect.list(self.lease.work(), book, (prefix, after), limit).await?;
        Ok(self.lease.rest(found))
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        self.lease.commit().await
    }
}
