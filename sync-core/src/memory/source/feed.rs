//! Reading: which rows and changes come, page by page, and where one may stop between pages.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};

use super::data::{Data, LogEntry, page_of};
use super::position::{Place, Position};
use super::{Feeding, FirstLoad, MemorySource, partition};
use crate::memory::lock;
use crate::memory::row_scope::Covered;
use crate::model::{Batch, Boundary, Key, Op, RowScope, StreamSpec, Value};
use crate::source::{BatchStream, Listing, ReadRequest, Reading};
use crate::{Error, Result};

pub(super) fn read(source: &MemorySource, request: ReadRequest) -> BatchStream<'static> {
    let reader = Reader { source: source.clone(), request, phase: Phase::Start };
    stream::try_unfold(reader, |mut reader| async move { Ok(reader.next()?.map(|batch| (batch, reader))) }).boxed()
}

/// How many rows or changes a read would bring.
pub(super) fn expected(source: &MemorySource, request: &ReadRequest) -> Result<u64> {
    let mut data = lock(&source.data);
    let reader = Reader { source: source.clone(), request: request.clone(), phase: Phase::Start };
    Ok(match reader.begin(&mut data)? {
        Phase::Start | Phase::Done => 0,
        Phase::Rows { rows, .. } => rows.len() as u64,
        Phase::Log { from, until, .. } => reader.log(&data, from, until).len() as u64,
    })
}

#[derive(Debug)]
struct Reader {
    source: MemorySource,
    request: ReadRequest,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Start,
    /// Rows, taken at once and handed over in pages.
    Rows {
        rows: Vec<(Place, LogEntry)>,
        given: usize,
        kind: RowsKind,
    },
    /// Changes of the log between two positions. `silent` when a batch has been handed over already.
    Log {
        from: u64,
        until: u64,
        silent: bool,
    },
    Done,
}

#[derive(Debug)]
enum RowsKind {
    /// A first load of the rows as they stood at `head`.
    Load { then: Position, head: u64, begun: bool },
    /// Rows from a version on.
    Versions { from: Value },
    /// A listing of all rows, or of a range.
    Listing { scope: RowScope, begun: bool },
}

impl Reader {
    fn next(&mut self) -> Result<Option<Batch>> {
        let shared = std::sync::Arc::clone(&self.source.data);
        let mut data = lock(&shared);
        if matches!(self.phase, Phase::Start) {
            self.phase = self.begin(&mut data)?;
        }
        match std::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Start | Phase::Done => Ok(None),
            Phase::Rows { rows, given, kind } => self.rows(&mut data, rows, given, kind).map(Some),
            Phase::Log { from, until, silent } if from == until && silent => Ok(None),
            Phase::Log { from, until, .. } => self.changes(&mut data, from, until).map(Some),
        }
    }

    /// What a read begins with.
    fn begin(&self, data: &mut Data) -> Result<Phase> {
        for stream in self.request.feed.streams() {
            if !data.streams.contains_key(stream.name()) {
                return Err(Error::config("the source has no such stream").with("stream", stream.name()));
            }
        }
        let shape = self.source.shape;
        let from = self.request.from.as_ref().map(Position::read).transpose()?;
        match &self.request.reading {
            Reading::Listing if shape.listing == Listing::None => {
                Err(Error::config("this source cannot list its rows"))
            }
            Reading::Range(_) if !shape.ranges => Err(Error::config("this source cannot read ranges")),
            Reading::Listing => self.listing(data, RowScope::All, from, shape.listing == Listing::Keys),
            Reading::Range(scope) => self.listing(data, scope.clone(), from, false),
            Reading::Changes if shape.feeding == Feeding::Whole => self.listing(data, RowScope::All, from, false),
            Reading::Changes => self.begin_changes(data, from),
        }
    }

    fn begin_changes(&self, data: &Data, from: Option<Position>) -> Result<Phase> {
        let is_log = self.source.shape.feeding == Feeding::Log;
        match from {
            None if is_log => self.load(data, None, Position::Log { head: data.head() }, data.head()),
            None => {
                let rows = self.in_order(&data.tables);
                let newest = rows.iter().map(|(_, row)| row_version(row)).max().unwrap_or_default();
                self.load(data, None, Position::Version { from: newest }, data.head())
            }
            Some(Position::Load { after, then }) => match *then {
                Position::Log { head } if is_log && head <= data.head() => self.load(data, after, *then, head),
                Position::Version { .. } if !is_log => self.load(data, after, *then, 0),
                other => Err(other.foreign()),
            },
            Some(Position::Log { head }) if is_log && head <= data.head() => {
                Ok(Phase::Log { from: head, until: data.head(), silent: false })
            }
            Some(Position::Version { from }) if !is_log => Ok(self.versions(data, from)),
            Some(other) => Err(other.foreign()),
        }
    }

    fn load(&self, data: &Data, after: Option<Place>, then: Position, head: u64) -> Result<Phase> {
        let mut rows = match then {
            Position::Log { head } => self.in_order(&data.at(head)),
            _ => self.in_order(&data.tables),
        };
        rows.retain(|(place, _)| after.as_ref().is_none_or(|after| place > after));
        // Deletes are told from where the load begins, so that place is told before any row.
        let begun = after.is_some() || self.request.from.is_some() || !matches!(then, Position::Log { .. });
        Ok(Phase::Rows { rows, given: 0, kind: RowsKind::Load { then, head, begun } })
    }

    fn versions(&self, data: &Data, from: Value) -> Phase {
        let mut rows = self.in_order(&data.tables);
        rows.retain(|(_, row)| row_version(row) >= from);
        rows.sort_by(|(place, row), (other, than)| (row_version(row), place).cmp(&(row_version(than), other)));
        Phase::Rows { rows, given: 0, kind: RowsKind::Versions { from } }
    }

    fn listing(&self, data: &Data, scope: RowScope, from: Option<Position>, keys: bool) -> Result<Phase> {
        let after = match from {
            None => None,
            Some(Position::Listing { after }) if self.source.shape.feeding != Feeding::Whole => after,
            Some(other) => return Err(other.foreign()),
        };
        let begun = self.request.from.is_some();
        let mut rows = self.in_order(&data.tables);
        for stream in self.request.feed.streams() {
            let covered = Covered::new(stream, &scope)?;
            rows.retain(|(_, row)| row.stream.name() != stream.name() || covered.contains(&row.values));
        }
        rows.retain(|(place, _)| after.as_ref().is_none_or(|after| place > after));
        if keys {
            rows.iter_mut().for_each(|(_, row)| keep_key(row));
        }
        Ok(Phase::Rows { rows, given: 0, kind: RowsKind::Listing { scope, begun } })
    }

    /// The next page of rows, and what comes after it.
    fn rows(&mut self, data: &mut Data, rows: Vec<(Place, LogEntry)>, given: usize, kind: RowsKind) -> Result<Batch> {
        if let RowsKind::Listing { scope, begun: false } = kind {
            let batch = Batch::marker(Boundary::Begins(scope.clone()));
            self.phase = Phase::Rows { rows, given, kind: RowsKind::Listing { scope, begun: true } };
            return Ok(batch);
        }
        if let RowsKind::Load { then, head, begun: false } = kind {
            let start = Position::Load { after: None, then: Box::new(then.clone()) }.cursor()?;
            self.phase = Phase::Rows { rows, given, kind: RowsKind::Load { then, head, begun: true } };
            return Ok(Batch::marker(Boundary::Resume(start)));
        }
        let end = rows.len().min(given + self.source.shape.page);
        let page: Vec<LogEntry> = rows[given..end].iter().map(|(_, row)| row.clone()).collect();
        let after = end.checked_sub(1).map(|last| rows[last].0.clone());
        let is_last = end == rows.len();
        let boundary = match &kind {
            RowsKind::Load { then, .. } if is_last => Boundary::Resume(then.cursor()?),
            RowsKind::Load { then, .. } => {
                Boundary::Resume(Position::Load { after, then: Box::new(then.clone()) }.cursor()?)
            }
            RowsKind::Versions { from } => {
                let from = page.last().map_or_else(|| from.clone(), row_version);
                Boundary::Resume(Position::Version { from }.cursor()?)
            }
            RowsKind::Listing { scope, .. } if is_last => {
                Boundary::Ends { scope: scope.clone(), complete: true, resume: None }
            }
            RowsKind::Listing { .. } if self.source.shape.feeding == Feeding::Whole => Boundary::Inside,
            RowsKind::Listing { .. } => Boundary::Resume(Position::Listing { after }.cursor()?),
        };
        self.phase = match kind {
            RowsKind::Load { then, head, .. } if is_last => self.after_load(data, then, head),
            _ if is_last => Phase::Done,
            kind => Phase::Rows { rows, given: end, kind },
        };
        page_of(data, &page, boundary)
    }

    /// Changes that were made while the load was under way.
    fn after_load(&self, data: &Data, then: Position, head: u64) -> Phase {
        match then {
            _ if data.head() == head => Phase::Done,
            Position::Log { head } => Phase::Log { from: head, until: data.head(), silent: true },
            Position::Version { from } => self.versions(data, from),
            _ => Phase::Done,
        }
    }

    /// The next page of changes, and what comes after it.
    fn changes(&mut self, data: &mut Data, from: u64, until: u64) -> Result<Batch> {
        let mut ahead = self.log(data, from, until);
        let rest = ahead.split_off(ahead.len().min(self.source.shape.page));
        let at = if rest.is_empty() { until } else { ahead.last().map_or(until, |(position, _)| *position) };
        let page: Vec<LogEntry> = ahead.into_iter().map(|(_, entry)| entry).collect();
        let cut_group = matches!((page.last(), rest.first()), (Some(last), Some((_, next))) if last.group.is_some() && last.group == next.group);
        let boundary =
            if cut_group { Boundary::Inside } else { Boundary::Resume(Position::Log { head: at }.cursor()?) };
        self.phase = Phase::Log { from: at, until, silent: true };
        page_of(data, &page, boundary)
    }

    /// This reader's share of the log between two positions, each change with the position behind it.
    fn log(&self, data: &Data, from: u64, until: u64) -> Vec<(u64, LogEntry)> {
        let numbered = (1..).zip(&data.log);
        let between = numbered.filter(|(position, _)| *position > from && *position <= until);
        between
            .filter(|(_, entry)| self.wants(&entry.stream, &entry.key))
            .map(|(at, entry)| (at, entry.clone()))
            .collect()
    }

    fn wants(&self, stream: &StreamSpec, key: &Key) -> bool {
        self.request.feed.stream(stream.name()).is_some()
            && partition(self.source.shape.partitions, key) == self.request.partition
    }

    /// This reader's rows in the order of loads and listings.
    fn in_order(&self, tables: &BTreeMap<String, BTreeMap<Key, Vec<Value>>>) -> Vec<(Place, LogEntry)> {
        let mut rows = Vec::new();
        for (number, stream) in self.request.feed.streams().iter().enumerate() {
            for (key, values) in tables.get(stream.name()).into_iter().flatten() {
                if !self.wants(stream, key) {
                    continue;
                }
                let rank = match self.source.shape.first_load {
                    FirstLoad::ByKey => 0,
                    FirstLoad::Scattered => key.stable_hash(),
                };
                let place = Place { stream: number, rank, key: key.clone() };
                let (stream, key, values) = (std::sync::Arc::clone(stream), key.clone(), values.clone());
                rows.push((place, LogEntry { stream, key, op: Op::Upsert, values, group: None }));
            }
        }
        rows.sort_by(|(place, _), (other, _)| place.cmp(other));
        rows
    }
}

fn row_version(row: &LogEntry) -> Value {
    row.stream.version_index().map_or(Value::Null, |column| row.values[column].clone())
}

fn keep_key(row: &mut LogEntry) {
    let keys = row.stream.key_indices();
    for (column, value) in row.values.iter_mut().enumerate() {
        if !keys.contains(&column) {
            *value = Value::Null;
        }
    }
}
