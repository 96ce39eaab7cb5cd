//! What a listing has shown: the highest version, how many rows there are, and whether every one of them was seen.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use sync_core::json::Page;
use sync_core::model::{Partition, Timestamp};
use sync_core::{Key, ValueRef};

use crate::client::Answer;
use crate::paging::Facts;
use crate::plan::StreamPlan;
use crate::position::Position;
use crate::tasks::Task;

/// A listing with more rows than this proves its total no more: its keys would take too much memory.
const MOST_COUNTED: usize = 4_000_000;
/// How far ahead of the other side's clock a version still counts as made while we read, microseconds.
const AHEAD: i64 = 60 * 1_000_000;

/// The keys of a listing whose total is to be proven. Rows that come twice must not make up for rows that never came.
#[derive(Debug)]
pub(crate) struct Evidence {
    /// `None` when the listing began in a read that we know nothing of, or has grown too large.
    keys: Option<HashSet<u64>>,
}

impl Evidence {
    /// Evidence of a listing that begins now.
    pub(crate) fn fresh() -> Self {
        Self { keys: Some(HashSet::new()) }
    }

    /// Evidence of a listing whose beginning we did not see.
    pub(crate) fn lost() -> Self {
        Self { keys: None }
    }

    /// Notes versions, totals and keys of a page.
    pub(crate) fn note(
        &mut self,
        plan: &StreamPlan,
        lists: bool,
        position: &mut Position,
        page: &Page,
        facts: &Facts,
        answer: &Answer,
    ) {
        if let Some(total) = facts.total {
            let known = *position.total.get_or_insert(total);
            position.doubt |= known != total;
            // Rows that were added behind all others move nobody.
            let moved = if plan.endpoint.ordered_by_key { total < known } else { total != known };
            position.slipped |= moved && plan.pager.shifts();
        }
        note_versions(plan, position, page, answer);
        if !lists {
            return;
        }
        position.doubt |= page.rejects.iter().any(|reject| reject.key.is_none());
        if let (Some(_), true, Some(keys)) = (facts.total, plan.pager.shifts(), &mut self.keys) {
            if plan.endpoint.explode.is_some() {
                // The total counts the records that hold ours.
                keys.extend(&page.exploded);
                self.limit();
                return;
            }
            let columns = plan.spec.key_indices();
            keys.extend(page.rows.iter().map(|row| Key::of(row, &columns).stable_hash()));
            keys.extend(page.rejects.iter().filter_map(|reject| reject.key.as_ref()).map(Key::stable_hash));
            self.limit();
        }
    }

    fn limit(&mut self) {
        self.keys.take_if(|keys| keys.len() > MOST_COUNTED);
    }

    /// Whether the listing that ends with a page of these facts has shown every row.
    pub(crate) fn is_complete(&self, plan: &StreamPlan, task: &Task, position: &Position, facts: &Facts) -> bool {
        let proven = match facts.total.or(position.total) {
            // Where the other side keeps our place, no row comes twice instead of another.
            Some(total) if !plan.pager.shifts() => position.records + facts.records >= total,
            Some(total) => self.keys.as_ref().is_some_and(|keys| keys.len() as u64 >= total),
            // Nothing at all is no proof of nothing, but some days have no rows.
            None => position.records + facts.records > 0 || task.slice.is_some(),
        };
        proven && !position.doubt
    }
}

fn note_versions(plan: &StreamPlan, position: &mut Position, page: &Page, answer: &Answer) {
    let Some(column) = plan.spec.version_index() else { return };
    // In a listing ordered by change, a row that changes while we read moves all behind it up one place, and one of
    // them past us. Where rows keep their place, or the other side keeps ours, nothing is lost.
    let slips = plan.pager.shifts() && !plan.endpoint.ordered_by_key && position.is_inside();
    let started = position.started.map_or(i64::MAX, Timestamp::micros);
    let until = answer.sent_at.timestamp_micros().saturating_add(AHEAD);
    for row in page.rows.iter() {
        let version = row.at(column);
        if version.is_null() {
            continue;
        }
        if position.high.as_ref().is_none_or(|high| version.total_cmp(high.as_ref()).is_gt()) {
            position.high = Some(version.to_owned());
        }
        if let (true, ValueRef::Timestamp(at)) = (slips, version) {
            let meanwhile = (started..=until).contains(&at.micros());
            position.doubt |= meanwhile;
            position.slipped |= meanwhile;
        }
    }
}

/// Evidence of listings that an error interrupted, until they are taken up again.
#[derive(Debug, Default)]
pub(crate) struct Interrupted(Mutex<HashMap<(String, Partition), (Position, Evidence)>>);

impl Interrupted {
    /// Puts evidence aside.
    pub(crate) fn keep(&self, stream: &str, partition: &Partition, position: Position, evidence: Evidence) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert((stream.to_owned(), partition.clone()), (position, evidence));
    }

    /// The evidence for a listing that goes on at this position.
    pub(crate) fn take(&self, stream: &str, partition: &Partition, position: &Position) -> Evidence {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.remove(&(stream.to_owned(), partition.clone())) {
            Some((left, evidence)) if left == *position => evidence,
            _ => Evidence::lost(),
        }
    }
}
