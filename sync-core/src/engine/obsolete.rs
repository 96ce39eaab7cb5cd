//! A delete makes the dead letters of its key obsolete: trying them again would bring the row back (P15).

use std::collections::HashMap;

use super::scope_run::ScopeRun;
use super::waiting::with_retries;
use crate::Result;
use crate::model::{Absent, Key, Op, RowScope};
use crate::sink::Step;
use crate::state::{DeadLetter, Entry, LetterId, LetterKind, LetterQuery};

/// Open letters, by stream and key.
pub(super) type LettersByKey = HashMap<(String, Key), Vec<LetterId>>;

/// How many letters are remembered. Those beyond stay open, and a reconcile removes what their replay brings back.
const MOST: usize = 10_000;

impl ScopeRun<'_> {
    /// The letters that these steps make obsolete: letters of earlier units, of keys that are deleted now. A letter of the
    /// same unit stays, since it may be of a row that came after the delete.
    pub(super) async fn letters_of_deleted(&mut self, steps: &[Step]) -> Result<Vec<LetterId>> {
        let mut obsolete = Vec::new();
        for step in steps {
            let Step::Write(write) = step else { continue };
            if write.changes.is_plain() || self.options.dry_run {
                continue;
            }
            let columns = write.stream.key_indices();
            for change in write.changes.iter().filter(|change| change.op() == Op::Delete) {
                let place = (write.stream.name().to_owned(), change.key(&columns));
                obsolete.extend(self.letters().await?.remove(&place).unwrap_or_default());
            }
        }
        Ok(obsolete)
    }

    /// The letters of rows that a complete listing of whole rows did not name, once that is published: neither is their row stored,
    /// nor was it refused just now.
    pub(super) async fn letters_of_absent(&mut self, rows: &RowScope) -> Result<Vec<LetterId>> {
        let sink = &self.pipeline.sink;
        if rows.is_range() || !self.spared.is_known() || !sink.capabilities().read_back {
            return Ok(Vec::new());
        }
        let mut query =
            LetterQuery { pipeline: Some(self.pipeline.name.clone()), limit: 500, ..LetterQuery::default() };
        let (mut obsolete, mut looked) = (Vec::new(), 0);
        while looked < MOST {
            let reading = || self.inner.store.dead_letters(&query);
            let page = with_retries(self.inner, self.at_store("letters"), reading).await?;
            let Some(last) = page.last() else { break };
            query.after = Some(last.id.clone());
            looked += page.len();
            for stream in self.feed.streams().iter().filter(|stream| *stream.when_absent() == Absent::Delete) {
                let spared = self.spared.keys_of(stream.name());
                let of_stream =
                    |letter: &&DeadLetter| letter.stream == stream.name() && letter.scope.live() == self.scope.live();
                let keyed = page.iter().filter(of_stream).filter_map(|letter| Some((letter.key.clone()?, &letter.id)));
                let (keys, ids): (Vec<Key>, Vec<&LetterId>) = keyed.filter(|(key, _)| !spared.contains(key)).unzip();
                if keys.is_empty() {
                    continue;
                }
                let looking = || sink.stored(stream, &keys);
                let stored = with_retries(self.inner, self.at_sink("target"), looking).await?;
                obsolete.extend(ids.into_iter().zip(stored).filter(|(_, row)| row.is_none()).map(|(id, _)| id.clone()));
            }
        }
        Ok(obsolete)
    }

    /// Notes letters that were buried, for deletes that come later.
    pub(super) fn note_letters(&mut self, letters: &[DeadLetter]) {
        if let Some(known) = &mut self.letters {
            letters.iter().for_each(|letter| note(known, letter));
        }
    }

    /// Closes letters whose rows were deleted. A crash before it leaves them open, and a reconcile repairs what they do.
    pub(super) async fn close(&self, obsolete: Vec<LetterId>) -> Result<()> {
        if obsolete.is_empty() {
            return Ok(());
        }
        self.record(&obsolete.into_iter().map(Entry::Resolved).collect::<Vec<_>>()).await
    }

    async fn letters(&mut self) -> Result<&mut LettersByKey> {
        if self.letters.is_none() {
            let mut query = LetterQuery {
                pipeline: Some(self.pipeline.name.clone()),
                kind: Some(LetterKind::Rejected),
                limit: 1000,
                ..LetterQuery::default()
            };
            let mut known = LettersByKey::new();
            while known.len() < MOST {
                let reading = || self.inner.store.dead_letters(&query);
                let page = with_retries(self.inner, self.at_store("letters"), reading).await?;
                page.iter().for_each(|letter| note(&mut known, letter));
                let Some(last) = page.last() else { break };
                query.after = Some(last.id.clone());
            }
            self.letters = Some(known);
        }
        Ok(self.letters.get_or_insert_default())
    }
}

fn note(known: &mut LettersByKey, letter: &DeadLetter) {
    if let Some(key) = &letter.key {
        known.entry((letter.stream.clone(), key.clone())).or_default().push(letter.id.clone());
    }
}
