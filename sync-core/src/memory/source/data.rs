//! The tables behind a source in memory, and the log of their changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Result;
use crate::model::{Batch, Boundary, Changes, Key, Mark, Op, Reject, Rows, Run, StreamSpec, Value};
use crate::source::Receipt;

#[derive(Debug)]
pub(super) struct Data {
    pub(super) streams: BTreeMap<String, Arc<StreamSpec>>,
    pub(super) tables: BTreeMap<String, BTreeMap<Key, Vec<Value>>>,
    pub(super) log: Vec<LogEntry>,
    pub(super) spoiled: BTreeMap<(String, Key), String>,
    pub(super) receipts: Vec<Receipt>,
    pub(super) requests: u64,
    groups: u64,
}

/// One change. Its position in the log is its index + 1, so that position 0 is before all of them.
#[derive(Debug, Clone)]
pub(super) struct LogEntry {
    pub(super) stream: Arc<StreamSpec>,
    pub(super) key: Key,
    pub(super) op: Op,
    pub(super) values: Vec<Value>,
    pub(super) group: Option<u64>,
}

impl Data {
    pub(super) fn new(streams: impl Iterator<Item = Arc<StreamSpec>>) -> Self {
        let streams: BTreeMap<_, _> = streams.map(|stream| (stream.name().to_owned(), stream)).collect();
        let tables = streams.keys().map(|name| (name.clone(), BTreeMap::new())).collect();
        Self {
            streams,
            tables,
            log: Vec::new(),
            spoiled: BTreeMap::new(),
            receipts: Vec::new(),
            requests: 0,
            groups: 0,
        }
    }

    pub(super) fn head(&self) -> u64 {
        self.log.len() as u64
    }

    pub(super) fn new_group(&mut self) -> u64 {
        self.groups += 1;
        self.groups
    }

    /// The tables as they stood at a position of the log.
    pub(super) fn at(&self, head: u64) -> BTreeMap<String, BTreeMap<Key, Vec<Value>>> {
        if head >= self.head() {
            return self.tables.clone();
        }
        let mut tables = BTreeMap::<String, BTreeMap<Key, Vec<Value>>>::new();
        for entry in self.log.iter().take(usize::try_from(head).unwrap_or(usize::MAX)) {
            let table = tables.entry(entry.stream.name().to_owned()).or_default();
            match entry.op {
                Op::Upsert => table.insert(entry.key.clone(), entry.values.clone()),
                Op::Delete => table.remove(&entry.key),
            };
        }
        tables
    }
}

/// Changes by the host, in order.
#[derive(Debug)]
pub struct Transaction<'a> {
    data: &'a mut Data,
    group: Option<u64>,
}

impl<'a> Transaction<'a> {
    pub(super) fn new(data: &'a mut Data, group: Option<u64>) -> Self {
        Self { data, group }
    }

    /// Inserts or replaces a row: values in the order of the stream's schema.
    ///
    /// # Panics
    /// When the source has no such stream, or the values do not fit it.
    pub fn upsert(&mut self, stream: &str, values: impl IntoIterator<Item = Value>) {
        let spec = self.spec(stream);
        let values: Vec<Value> = values.into_iter().collect();
        let mut row = Rows::new(Arc::clone(spec.schema()));
        let fits = row.push(values.iter().map(Value::as_ref));
        assert!(fits.is_ok(), "{fits:?}");
        let key: Vec<Value> = spec.key_indices().into_iter().map(|column| values[column].clone()).collect();
        self.log(key, spec, Op::Upsert, values);
    }

    /// Changes a row in place. The key stays.
    ///
    /// # Panics
    /// When there is no such row, or the change gives it another key.
    pub fn mutate(&mut self, stream: &str, key: &Key, change: impl FnOnce(&mut [Value])) {
        let row = self.data.tables.get(stream).and_then(|table| table.get(key));
        assert!(row.is_some(), "stream {stream:?} has no row {key}");
        let mut values = row.cloned().unwrap_or_default();
        change(&mut values);
        let kept = self.spec(stream).key_indices().iter().map(|&column| &values[column]).eq(key.values());
        assert!(kept, "a row of stream {stream:?} cannot change its key");
        self.upsert(stream, values);
    }

    /// Deletes a row, where there is one; the version is that of the delete.
    ///
    /// # Panics
    /// When the source has no such stream.
    pub fn delete(&mut self, stream: &str, key: &Key, version: Option<Value>) {
        let spec = self.spec(stream);
        if !self.data.tables[stream].contains_key(key) {
            return;
        }
        let mut values = vec![Value::Null; spec.schema().width()];
        for (column, value) in spec.key_indices().into_iter().zip(key.values()) {
            values[column] = value.clone();
        }
        if let (Some(column), Some(version)) = (spec.version_index(), version) {
            values[column] = version;
        }
        self.log(key.values().to_vec(), spec, Op::Delete, values);
    }

    fn log(&mut self, key: impl IntoIterator<Item = Value>, stream: Arc<StreamSpec>, op: Op, values: Vec<Value>) {
        let key = Key::new(key);
        let table = self.data.tables.entry(stream.name().to_owned()).or_default();
        match op {
            Op::Upsert => table.insert(key.clone(), values.clone()),
            Op::Delete => table.remove(&key),
        };
        self.data.log.push(LogEntry { stream, key, op, values, group: self.group });
    }

    fn spec(&self, stream: &str) -> Arc<StreamSpec> {
        let spec = self.data.streams.get(stream).cloned();
        assert!(spec.is_some(), "the source has no stream {stream:?}");
        spec.unwrap_or_else(|| unreachable!())
    }
}

/// A batch of these changes: a run for each stretch of one stream, unreadable rows as rejects.
pub(super) fn page_of(data: &mut Data, entries: &[LogEntry], boundary: Boundary) -> Result<Batch> {
    data.requests += 1;
    let mut batch = Batch { requests: 1, ..Batch::marker(boundary) };
    for entry in entries {
        let spoiled = data.spoiled.get(&(entry.stream.name().to_owned(), entry.key.clone()));
        if let Some(reason) = spoiled.filter(|_| entry.op == Op::Upsert) {
            batch.rejects.push(Reject {
                stream: Arc::clone(&entry.stream),
                key: Some(entry.key.clone()),
                body: serde_json::to_vec(&entry.values).unwrap_or_default().into(),
                reason: reason.clone(),
            });
            continue;
        }
        let mut row = Rows::new(Arc::clone(entry.stream.schema()));
        row.push(entry.values.iter().map(Value::as_ref))?;
        batch.wire_bytes += row.size() as u64;
        let mark = Mark { op: entry.op, group: entry.group, ..Mark::default() };
        let change = if mark == Mark::default() { Changes::upserts(row) } else { Changes::marked(row, vec![mark]) };
        match batch.runs.last_mut() {
            Some(run) if run.stream.name() == entry.stream.name() => run.changes.append(&change),
            _ => batch.runs.push(Run { stream: Arc::clone(&entry.stream), changes: change }),
        }
    }
    Ok(batch)
}
