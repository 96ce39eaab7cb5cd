//! A delete makes the dead letters of its key obsolete: trying them again would bring the row back (P15).

use std::collections::HashMap;

use super::scope_run::ScopeRun;
use super::waiting::watched;
use crate::Result;
use crate::model::{Key, Op};
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
                let reading = self.inner.store.dead_letters(&query);
                let page = watched(self.inner, self.at_store("letters"), reading).await?;
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
