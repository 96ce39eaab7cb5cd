//! A delete makes the dead letters of its key obsolete: trying them again would bring the row back (P15).

use std::collections::HashMap;

use super::scope_run::ScopeRun;
use super::waiting::with_retries;
use crate::Result;
use crate::model::{Absent, Feed, Key, Op, RowScope, Value};
use crate::sink::{Guard, Step};
use crate::state::{DeadLetter, Entry, LetterBody, LetterId, LetterKind, LetterQuery};

/// A stream and a key of it.
type Place = (String, Key);

/// Open letters, by stream and key.
pub(super) type LettersByKey = HashMap<Place, Vec<Open>>;

/// An open letter.
#[derive(Debug)]
pub(super) struct Open {
    id: LetterId,
    /// Of its row, where it has one and the row could be read.
    version: Option<Value>,
}

/// How many letters are remembered. Those beyond stay open, and a reconcile removes what their replay brings back.
const MOST: usize = 10_000;

impl ScopeRun<'_> {
    /// The letters that these steps make obsolete: letters of earlier units, of keys that are deleted now. A letter of the
    /// same unit stays, since it may be of a row that came after the delete, and so does one of a version that is later than the
    /// delete, where versions decide: a delete may come twice.
    pub(super) async fn letters_of_deleted(&mut self, steps: &[Step]) -> Result<Vec<(Place, LetterId)>> {
        let mut obsolete = Vec::new();
        for step in steps {
            let Step::Write(write) = step else { continue };
            if write.changes.is_plain() || self.options.dry_run {
                continue;
            }
            let columns = write.stream.key_indices();
            // As the sink decides about a row that is stored.
            let decides = !matches!(self.pipeline.guard(&write.stream), Some(Guard::Always | Guard::Never));
            for change in write.changes.iter().filter(|change| change.op() == Op::Delete) {
                let place = (write.stream.name().to_owned(), change.key(&columns));
                let Some(open) = self.letters().await?.get_mut(&place) else { continue };
                let deleted = write.stream.version_of(change.row());
                let is_later = |version: &Value| {
                    decides && deleted.is_some_and(|deleted| version.as_ref().total_cmp(deleted).is_gt())
                };
                let passed = open.extract_if(.., |letter| !letter.version.as_ref().is_some_and(is_later));
                obsolete.extend(passed.map(|letter| (place.clone(), letter.id)));
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
            letters.iter().for_each(|letter| note(known, &self.feed, letter));
        }
    }

    /// Of the letters that were obsolete before a unit, those that it has not written anew: a row that is made again as it was and
    /// refused as it was has the same letter.
    pub(super) fn not_buried_again(&self, obsolete: Vec<(Place, LetterId)>) -> Vec<LetterId> {
        let open = |place: &Place| self.letters.as_ref().and_then(|letters| letters.get(place));
        let again = |place: &Place, id: &LetterId| open(place).is_some_and(|open| open.iter().any(|it| it.id == *id));
        obsolete.into_iter().filter(|(place, id)| !again(place, id)).map(|(_, id)| id).collect()
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
                page.iter().for_each(|letter| note(&mut known, &self.feed, letter));
                let Some(last) = page.last() else { break };
                query.after = Some(last.id.clone());
            }
            self.letters = Some(known);
        }
        Ok(self.letters.get_or_insert_default())
    }
}

fn note(known: &mut LettersByKey, feed: &Feed, letter: &DeadLetter) {
    let Some(key) = &letter.key else { return };
    let column = feed.stream(&letter.stream).and_then(|stream| stream.version_column());
    let version = match &letter.body {
        LetterBody::Row { values, .. } => values.iter().find(|(name, _)| Some(name.as_str()) == column),
        LetterBody::Record(_) => None,
    };
    let open = Open { id: letter.id.clone(), version: version.map(|(_, version)| version.clone()) };
    known.entry((letter.stream.clone(), key.clone())).or_default().push(open);
}
