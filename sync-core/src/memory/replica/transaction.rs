//! One transaction of a replica in memory: a copy that takes the place of the original when it is committed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::OwnedMutexGuard;

use super::state::State;
use crate::memory::lock;
use crate::model::{Key, Value};
use crate::two_way::{Book, Entry, Head, Held, RowWrite, Stamp, Table, Transaction};
use crate::{Error, Result};

#[derive(Debug)]
pub(super) struct MemoryTransaction {
    /// Shared with the replica until the first write.
    pub(super) state: Arc<State>,
    /// Where it goes; `None` when it only reads.
    pub(super) into: Option<Target>,
}

/// The original, and the right to replace it.
type Target = (Arc<Mutex<Arc<State>>>, OwnedMutexGuard<()>);

#[async_trait]
impl Transaction for MemoryTransaction {
    async fn rows(&mut self, table: &Table, keys: &[Key]) -> Result<Vec<Held>> {
        let held = |key: &Key| Held {
            stamp: self.state.stamps.get(&(table.name().to_owned(), key.clone())).cloned(),
            row: self.state.row(table.name(), key).cloned(),
        };
        Ok(keys.iter().map(held).collect())
    }

    async fn write(&mut self, writes: &[RowWrite]) -> Result<Vec<u64>> {
        // One that is refused changes nothing; of several, those before it are taken back.
        let before = (writes.len() > 1).then(|| Arc::clone(&self.state));
        let state = Arc::make_mut(&mut self.state);
        let write = |(number, write)| state.write_staged(write).map_err(|error: Error| error.at_row(0, number));
        let written = writes.iter().enumerate().map(write).collect();
        if let (Err(_), Some(before)) = (&written, before) {
            self.state = before;
        }
        written
    }

    async fn clashing(&mut self, write: &RowWrite) -> Result<Vec<(String, Key)>> {
        let Some(row) = &write.row else { return Ok(Vec::new()) };
        let mut clashing = Vec::new();
        for key in self.state.clashing(&write.table, &write.key, row) {
            self.state.hanging(write.table.name(), &key, &mut clashing);
        }
        Ok(clashing)
    }

    async fn scan(
        &mut self,
        table: &Table,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Stamp, Vec<Value>)>> {
        let rows = self.state.rows.get(table.name()).into_iter().flat_map(|rows| rows.iter());
        let later = rows.filter(|(key, _)| after.is_none_or(|after| *key > after)).take(limit);
        later
            .map(|(key, row)| {
                let stamp = self.state.stamps.get(&(table.name().to_owned(), key.clone())).cloned();
                let stamp = stamp.ok_or_else(|| Error::internal("a row without a stamp"))?;
                Ok((key.clone(), stamp, row.clone()))
            })
            .collect()
    }

    async fn feed(&mut self, after: u64, limit: usize) -> Result<Vec<Entry>> {
        let mut entries: Vec<Entry> = Vec::new();
        for entry in self.state.feed.range(after + 1..).map(|(_, entry)| entry) {
            if entries.len() >= limit && entries.last().is_some_and(|last| last.group != entry.group) {
                break;
            }
            entries.push(Entry::clone(entry));
        }
        Ok(entries)
    }

    async fn pending(&mut self, table: &Table, keys: &[Key], above: u64) -> Result<Vec<Entry>> {
        let later = self.state.feed.range(above + 1..).map(|(_, entry)| entry).chain(&self.state.captured);
        let keys: BTreeSet<&Key> = keys.iter().collect();
        let ours = |entry: &&Arc<Entry>| !entry.upstream && entry.table == table.name() && keys.contains(&entry.key);
        Ok(later.filter(ours).map(|entry| Entry::clone(entry)).collect())
    }

    async fn head(&mut self) -> Result<Head> {
        Ok(self.state.head())
    }

    async fn nonce(&mut self, seq: u64) -> Result<Option<u64>> {
        Ok(self.state.feed.get(&seq).map(|entry| entry.nonce))
    }

    async fn begin_epoch(&mut self, epoch: u64, rev: u64) -> Result<()> {
        let state = Arc::make_mut(&mut self.state);
        state.epoch = epoch;
        state.rev = state.rev.max(rev);
        Ok(())
    }

    async fn trim(&mut self, up_to: u64) -> Result<u64> {
        Ok(Arc::make_mut(&mut self.state).trim(up_to))
    }

    async fn get(&mut self, book: Book, id: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.state.books.get(&(book, id.to_owned())).map(|body| body.to_vec()))
    }

    async fn put(&mut self, book: Book, id: &str, body: Option<Vec<u8>>) -> Result<()> {
        let books = &mut Arc::make_mut(&mut self.state).books;
        match body {
            Some(body) => books.insert((book, id.to_owned()), body.into()),
            None => books.remove(&(book, id.to_owned())),
        };
        Ok(())
    }

    async fn list(&mut self, book: Book, prefix: &str, after: &str, limit: usize) -> Result<Vec<(String, Vec<u8>)>> {
        let here = self.state.books.range((book, prefix.to_owned())..).take_while(|((other, _), _)| *other == book);
        let wanted = here.filter(|((_, id), _)| id.starts_with(prefix) && id.as_str() > after);
        Ok(wanted.take(limit).map(|((_, id), body)| (id.clone(), body.to_vec())).collect())
    }

    async fn commit(mut self: Box<Self>) -> Result<()> {
        let Some((into, _writer)) = self.into.take() else { return Ok(()) };
        Arc::make_mut(&mut self.state).end_group();
        *lock(&into) = self.state;
        Ok(())
    }
}
