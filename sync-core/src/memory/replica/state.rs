//! Rows, stamps, feed and books of a replica in memory, and the rules that every write keeps.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{Key, Origin, Value};
use crate::two_way::{Book, Entry, Head, Hlc, RowWrite, Stamp, Table};
use crate::{Error, Result};

#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) rows: BTreeMap<String, Arc<BTreeMap<Key, Vec<Value>>>>,
    pub(super) stamps: Arc<BTreeMap<(String, Key), Stamp>>,
    /// Committed, and not yet in the feed.
    pub(super) captured: Vec<Arc<Entry>>,
    pub(super) feed: BTreeMap<u64, Arc<Entry>>,
    pub(super) books: BTreeMap<(Book, String), Arc<[u8]>>,
    pub(super) unique: Vec<(String, Vec<usize>)>,
    pub(super) parents: Vec<(String, usize, String)>,
    pub(super) epoch: u64,
    pub(super) rev: u64,
    seq: u64,
    group: u64,
    trimmed: u64,
}

impl State {
    pub(super) fn new(epoch: u64) -> Self {
        Self { epoch, group: 1, ..Self::default() }
    }

    /// What follows belongs to another transaction.
    pub(super) fn end_group(&mut self) {
        self.group += 1;
    }

    pub(super) fn head(&self) -> Head {
        let nonce = self.feed.get(&self.seq).map_or(0, |entry| entry.nonce);
        Head { epoch: self.epoch, seq: self.seq, nonce, trimmed: self.trimmed, rev: self.rev }
    }

    pub(super) fn sequence(&mut self, mut random: impl FnMut() -> u64) {
        for entry in std::mem::take(&mut self.captured) {
            let mut entry = Arc::unwrap_or_clone(entry);
            self.seq += 1;
            (entry.seq, entry.nonce) = (self.seq, random());
            if entry.stamp.op == 0 {
                entry.stamp.op = entry.seq;
                let stamp = Arc::make_mut(&mut self.stamps).get_mut(&(entry.table.clone(), entry.key.clone()));
                if let Some(stamp) = stamp.filter(|stamp| stamp.rev == entry.stamp.rev) {
                    stamp.op = entry.seq;
                }
            }
            self.feed.insert(entry.seq, Arc::new(entry));
        }
    }

    pub(super) fn trim(&mut self, up_to: u64) -> u64 {
        let kept = self.feed.split_off(&(up_to + 1));
        let dropped = std::mem::replace(&mut self.feed, kept);
        for entry in dropped.values().filter(|entry| entry.after.is_none()) {
            let place = (entry.table.clone(), entry.key.clone());
            let still_gone = self.row(&entry.table, &entry.key).is_none();
            if still_gone && self.stamps.get(&place).is_some_and(|stamp| stamp.rev == entry.stamp.rev) {
                Arc::make_mut(&mut self.stamps).remove(&place);
            }
        }
        self.trimmed = self.trimmed.max(up_to);
        dropped.len() as u64
    }

    pub(super) fn row(&self, table: &str, key: &Key) -> Option<&Vec<Value>> {
        self.rows.get(table).and_then(|rows| rows.get(key))
    }

    pub(super) fn write_local(
        &mut self,
        table: &Table,
        key: &Key,
        row: Option<Vec<Value>>,
        name: &Origin,
        now: Hlc,
    ) -> Result<()> {
        let place = (table.name().to_owned(), key.clone());
        let before = self.stamps.get(&place).cloned();
        let hlc = before.as_ref().map_or(now, |stamp| now.max(Hlc(stamp.hlc.0 + 1)));
        let seen = before.map_or(0, |stamp| stamp.seen);
        let stamp = Stamp { rev: 0, hlc, origin: Origin::clone(name), op: 0, seen };
        self.write(table, key, row, stamp, false).map(drop)
    }

    pub(super) fn write_staged(&mut self, write: &RowWrite) -> Result<u64> {
        let stamp =
            Stamp { rev: 0, hlc: write.hlc, origin: Origin::clone(&write.origin), op: write.op, seen: write.seen };
        self.write(&write.table, &write.key, write.row.clone(), stamp, write.upstream)
    }

    /// Writes a row that differs, and notes it. Returns its `rev` afterwards.
    fn write(
        &mut self,
        table: &Table,
        key: &Key,
        row: Option<Vec<Value>>,
        mut stamp: Stamp,
        upstream: bool,
    ) -> Result<u64> {
        let place = (table.name().to_owned(), key.clone());
        let before = self.row(table.name(), key).cloned();
        let unknown = !self.stamps.contains_key(&place);
        if before == row && (row.is_some() || !unknown || stamp.op == 0) {
            let known = Arc::make_mut(&mut self.stamps).entry(place).or_insert(stamp.clone());
            known.seen = known.seen.max(stamp.seen);
            if stamp.seen > 0 {
                known.seen = stamp.seen;
            }
            known.hlc = known.hlc.max(stamp.hlc);
            return Ok(known.rev);
        }
        self.keeps_rules(table, key, row.as_deref())?;
        self.rev += 1;
        stamp.rev = self.rev;
        let rows = Arc::make_mut(self.rows.entry(table.name().to_owned()).or_default());
        match &row {
            Some(row) => rows.insert(key.clone(), row.clone()),
            None => rows.remove(key),
        };
        Arc::make_mut(&mut self.stamps).insert(place, stamp.clone());
        self.captured.push(Arc::new(Entry {
            seq: 0,
            nonce: 0,
            group: self.group,
            table: table.name().to_owned(),
            key: key.clone(),
            stamp,
            upstream,
            before,
            after: row,
        }));
        Ok(self.rev)
    }

    fn keeps_rules(&self, table: &Table, key: &Key, row: Option<&[Value]>) -> Result<()> {
        let Some(row) = row else {
            for (child, column, _) in self.parents.iter().filter(|(_, _, parent)| parent == table.name()) {
                let hangs = |child: &Vec<Value>| Key::new([child[*column].clone()]) == *key;
                if self.rows.get(child).is_some_and(|rows| rows.values().any(hangs)) {
                    return Err(Error::data("other rows hang on this one")
                        .with("code", "child")
                        .with("table", table.name()));
                }
            }
            return Ok(());
        };
        if !self.clashing(table, key, row).is_empty() {
            return Err(Error::data("another row holds this unique value")
                .with("code", "unique")
                .with("table", table.name()));
        }
        for (_, column, parent) in self.parents.iter().filter(|(child, ..)| child == table.name()) {
            let there = row[*column].is_null() || self.row(parent, &Key::new([row[*column].clone()])).is_some();
            if !there {
                return Err(Error::data("the row it hangs on is missing")
                    .with("code", "parent")
                    .with("table", table.name()));
            }
        }
        Ok(())
    }

    /// The row, behind all rows that hang on it.
    pub(super) fn hanging(&self, table: &str, key: &Key, into: &mut Vec<(String, Key)>) {
        for (child, column, _) in self.parents.iter().filter(|(_, _, parent)| parent == table) {
            let rows = self.rows.get(child).into_iter().flat_map(|rows| rows.iter());
            let hangs = rows.filter(|(_, row)| Key::new([row[*column].clone()]) == *key);
            hangs.for_each(|(key, _)| self.hanging(child, key, into));
        }
        into.push((table.to_owned(), key.clone()));
    }

    pub(super) fn clashing(&self, table: &Table, key: &Key, row: &[Value]) -> Vec<Key> {
        let mut clashing = Vec::new();
        for (_, columns) in self.unique.iter().filter(|(of, _)| of == table.name()) {
            let same = |other: &Vec<Value>| {
                columns.iter().all(|&column| !row[column].is_null() && other[column] == row[column])
            };
            let others = self.rows.get(table.name()).into_iter().flat_map(|rows| rows.iter());
            clashing.extend(others.filter(|(other, row)| *other != key && same(row)).map(|(key, _)| key.clone()));
        }
        clashing
    }
}
