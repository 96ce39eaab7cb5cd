//! What must hold, whatever happens: each oracle says what it saw broken.

use std::collections::BTreeSet;

use futures::StreamExt;
use sync_core::engine::Report;
use sync_core::model::{Lane, Outcome};
use sync_core::state::{LetterQuery, StateStore};
use sync_core::{Key, ReadRequest, Scope, Sink, Source, Value};

use crate::world::{Oracle, World};

impl World {
    /// What the ledger says, the effects say too.
    pub(crate) fn check_ledger(&self, report: &Report, before: usize) -> Oracle<()> {
        let ledger = report.ledger();
        let effects = &self.target.effects()[before..];
        let count = |created: bool, left: bool| {
            effects.iter().filter(|effect| effect.before.is_none() == created && effect.after.is_some() == left).count()
                as u64
        };
        let done = [count(true, true), count(false, true), count(false, false)];
        let said = [Outcome::Created, Outcome::Updated, Outcome::Deleted].map(|outcome| ledger.count(outcome));
        // Without a position beside the rows, a reply that was lost takes its counts along: the rows are unchanged then.
        let true_to_life = said == done || !self.nature.atomic;
        if !true_to_life || !ledger.balances() {
            return Err((
                "every_completed_ledger_is_true",
                format!("the ledger says {said:?}, the target saw {done:?}: {ledger:?}"),
            ));
        }
        Ok(())
    }

    pub(crate) fn check_effects(&self) -> Oracle<()> {
        let mut seen = BTreeSet::new();
        for effect in self.target.effects() {
            if effect.before == effect.after {
                return Err(("every_change_has_one_effect", format!("a write of {} changed nothing", effect.key)));
            }
            if let (Some(before), Some(after)) = (&effect.before, &effect.after)
                && after[1] < before[1]
            {
                return Err((
                    "versions_never_go_back_per_key",
                    format!("{}: {} after {}", effect.key, after[1], before[1]),
                ));
            }
            // Every note is another one: a state that is written twice is an effect that happened twice. Without a position
            // beside the rows, a crash may take a deleted row through its old states once more; and so does a replay.
            if let Some(after) = effect.after
                && self.nature.atomic
                && !self.spoiled.contains(&effect.key)
                && !seen.insert(after)
            {
                return Err(("every_change_has_one_effect", format!("a change of {} was applied twice", effect.key)));
            }
        }
        Ok(())
    }

    pub(crate) fn check_rows(&self) -> Oracle<()> {
        let (mut wanted, mut found) = (self.shop.rows("orders"), self.target.rows("orders"));
        wanted.sort();
        found.sort();
        if wanted == found {
            return Ok(());
        }
        let only = |ours: &[(Key, Vec<Value>)], theirs: &[(Key, Vec<Value>)]| -> Vec<String> {
            ours.iter().filter(|row| !theirs.contains(row)).map(|(key, row)| format!("{key} at {}", row[1])).collect()
        };
        let what =
            format!("only at the source: {:?}; only in the target: {:?}", only(&wanted, &found), only(&found, &wanted));
        Err(("every_source_row_is_in_the_target", what))
    }

    /// Whatever lies before the saved position is in the target, or among the dead letters (P2). Asked after every step,
    /// with whatever the last crash left.
    pub(crate) async fn check_position(&self) -> Oracle<()> {
        let held: BTreeSet<(Key, Vec<Value>)> = self.target.rows("orders").into_iter().collect();
        for feed in self.shop.feeds().await.unwrap() {
            for partition in self.shop.partitions(&feed).await.unwrap() {
                let scope = Scope {
                    pipeline: "shop".to_owned(),
                    feed: feed.name().to_owned(),
                    partition: partition.clone(),
                    lane: Lane::Live,
                };
                let saved = match self.nature.atomic {
                    true => self.target.checkpoint(&scope).await.unwrap(),
                    false => self.state.checkpoint(&scope).await.unwrap(),
                };
                let Some(saved) = saved.filter(|saved| saved.stage.is_none() && saved.cursor.is_some()) else {
                    continue;
                };
                let request = ReadRequest::new(feed.clone(), partition.clone()).from(saved.cursor);
                let to_come: Vec<_> = self.shop.read(request).collect().await;
                let to_come: BTreeSet<Key> = to_come
                    .into_iter()
                    .flat_map(|batch| batch.unwrap().runs)
                    .flat_map(|run| run.changes.iter().map(|change| change.key(&[0])).collect::<Vec<_>>())
                    .collect();
                let lost = self.shop.rows("orders").into_iter().find(|(key, row)| {
                    self.shop.partition_of(key) == partition
                        && !self.may_be_rejected(key)
                        && !to_come.contains(key)
                        && !held.contains(&(key.clone(), row.clone()))
                });
                if let Some((key, _)) = lost {
                    return Err(("the_position_is_never_ahead", format!("{key} lies before {scope} and is nowhere")));
                }
            }
        }
        Ok(())
    }

    /// Rows of one transaction are all there or none, as long as none of them has changed since (P18).
    pub(crate) fn check_groups(&self) -> Oracle<()> {
        if !self.nature.groups {
            return Ok(());
        }
        let held: BTreeSet<(Key, Vec<Value>)> = self.target.rows("orders").into_iter().collect();
        let there: BTreeSet<(Key, Vec<Value>)> = self.shop.rows("orders").into_iter().collect();
        for group in &self.groups {
            let untouched = group.iter().all(|row| there.contains(row) && !self.may_be_rejected(&row.0));
            let seen = group.iter().filter(|row| held.contains(*row)).count();
            if untouched && seen != 0 && seen != group.len() {
                let what = format!("{seen} of the {} rows of a transaction are there", group.len());
                return Err(("transactions_are_seen_whole", what));
            }
        }
        Ok(())
    }

    /// Only rows that cannot be read or written are among the dead letters (P15).
    pub(crate) async fn check_letters(&self) -> Oracle<()> {
        let letters = self.state.dead_letters(&LetterQuery { limit: 1000, ..LetterQuery::default() }).await.unwrap();
        let innocent = letters.iter().find(|letter| letter.key.as_ref().is_some_and(|key| !self.may_be_rejected(key)));
        match innocent {
            None => Ok(()),
            Some(letter) => Err(("only_bad_rows_are_rejected", format!("{:?}: {}", letter.key, letter.reason))),
        }
    }

    fn may_be_rejected(&self, key: &Key) -> bool {
        self.plan.is_poison("orders", key) || self.spoiled.contains(key)
    }
}
