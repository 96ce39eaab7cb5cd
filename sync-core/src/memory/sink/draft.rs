//! A unit in the making: it writes in place, remembers what was there, and puts it back unless it is committed.

use super::table::{Held, Staged, StagedRow, Table};
use super::{Data, Effect};
use crate::model::{Key, StreamSpec};
use crate::state::{FencingToken, StageName};
use crate::{Error, ErrorKind, Result};

#[derive(Debug)]
pub(super) struct Draft<'a> {
    data: &'a mut Data,
    token: Option<FencingToken>,
    effects: Vec<Effect>,
    undo: Vec<Undo>,
}

#[derive(Debug)]
enum Undo {
    Table(String),
    Row { stream: String, key: Key, before: Option<Held> },
    StagedRow { stage: (StageName, String), key: Key, before: Option<StagedRow> },
    NewStage((StageName, String)),
    Stage { stage: (StageName, String), before: Staged },
}

impl<'a> Draft<'a> {
    pub(super) fn new(data: &'a mut Data, token: Option<FencingToken>) -> Self {
        Self { data, token, effects: Vec::new(), undo: Vec::new() }
    }

    /// Keeps everything. Without this, nothing is kept.
    pub(super) fn commit(mut self) {
        self.undo.clear();
        self.data.effects.append(&mut self.effects);
    }

    /// The table of a stream, in the shape the stream declares. A rehearsal may come before there is one.
    pub(super) fn table(&mut self, stream: &StreamSpec, rehearsing: bool) -> Result<&Table> {
        let name = stream.name();
        if rehearsing && !self.data.tables.contains_key(name) {
            self.data.tables.insert(name.to_owned(), Table::new(stream));
            self.undo.push(Undo::Table(name.to_owned()));
        }
        match self.data.tables.get(name) {
            Some(table) if table.stream.schema() == stream.schema() => Ok(table),
            Some(_) => {
                Err(Error::new(ErrorKind::Schema, "the target has other columns than declared: prepare it first")
                    .with("stream", name))
            }
            None => {
                Err(Error::new(ErrorKind::Schema, "the target does not exist: prepare it first").with("stream", name))
            }
        }
    }

    pub(super) fn row(&self, stream: &str, key: &Key) -> Option<&Held> {
        self.data.tables.get(stream)?.rows.get(key)
    }

    /// Puts a row, or removes it.
    pub(super) fn set(&mut self, stream: &str, key: &Key, row: Option<Held>) {
        let Some(table) = self.data.tables.get_mut(stream) else { return };
        let after = row.as_ref().map(|row| row.values.clone());
        let before = match row {
            Some(row) => table.rows.insert(key.clone(), row),
            None => table.rows.remove(key),
        };
        self.effects.push(Effect {
            stream: stream.to_owned(),
            key: key.clone(),
            before: before.as_ref().map(|row| row.values.clone()),
            after,
            token: self.token,
        });
        self.undo.push(Undo::Row { stream: stream.to_owned(), key: key.clone(), before });
    }

    pub(super) fn has_stage(&self, stage: &(StageName, String)) -> bool {
        self.data.stages.contains_key(stage)
    }

    pub(super) fn stage(&mut self, stage: &(StageName, String)) -> &Staged {
        let undo = &mut self.undo;
        self.data.stages.entry(stage.clone()).or_insert_with(|| {
            undo.push(Undo::NewStage(stage.clone()));
            Staged::default()
        })
    }

    /// Stages a row in the place of the one staged earlier under its key, and counts a duplicate if there was one.
    pub(super) fn set_staged(&mut self, stage: &(StageName, String), key: Key, row: StagedRow) {
        let Some(staged) = self.data.stages.get_mut(stage) else { return };
        let before = staged.rows.get(&key).cloned();
        staged.duplicates += u64::from(before.is_some());
        staged.rows.insert(key.clone(), row);
        self.undo.push(Undo::StagedRow { stage: stage.clone(), key, before });
    }

    /// Takes a whole stage away; one that is not there is empty.
    pub(super) fn take_stage(&mut self, stage: &(StageName, String)) -> Vec<(Key, StagedRow)> {
        let Some(before) = self.data.stages.remove(stage) else { return Vec::new() };
        let rows = before.rows.iter().map(|(key, row)| (key.clone(), row.clone())).collect();
        self.undo.push(Undo::Stage { stage: stage.clone(), before });
        rows
    }

    /// How many rows of a stage stand for a key that was staged again.
    pub(super) fn duplicates(&self, stage: &(StageName, String)) -> u64 {
        self.data.stages.get(stage).map_or(0, |staged| staged.duplicates)
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        let Data { tables, stages, .. } = &mut *self.data;
        for step in self.undo.drain(..).rev() {
            match step {
                Undo::Table(stream) => drop(tables.remove(&stream)),
                Undo::Row { stream, key, before } => {
                    if let Some(table) = tables.get_mut(&stream) {
                        match before {
                            Some(row) => table.rows.insert(key, row),
                            None => table.rows.remove(&key),
                        };
                    }
                }
                Undo::StagedRow { stage, key, before } => {
                    if let Some(staged) = stages.get_mut(&stage) {
                        staged.duplicates -= u64::from(before.is_some());
                        match before {
                            Some(row) => staged.rows.insert(key, row),
                            None => staged.rows.remove(&key),
                        };
                    }
                }
                Undo::NewStage(stage) => drop(stages.remove(&stage)),
                Undo::Stage { stage, before } => drop(stages.insert(stage, before)),
            }
        }
    }
}
