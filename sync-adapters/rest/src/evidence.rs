//! What a listing has shown: the highest version, how many rows there are, and whether every one of them was seen.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use sync_core::Key;
use sync_core::json::Page;
use sync_core::model::Partition;

use crate::look::{Look, Verdict};
use crate::paging::Facts;
use crate::plan::StreamPlan;
use crate::position::Position;
use crate::tasks::Task;

/// A listing with more rows than this proves nothing more: its keys would take too much memory.
pub(crate) const MOST_COUNTED: usize = 4_000_000;

/// The keys of a listing that is to be proven, and its pages. Rows that come twice must not make up for rows that never
/// came.
#[derive(Debug)]
pub(crate) struct Evidence {
    /// `None` when the listing began in a read that we know nothing of, or has grown too large.
    keys: Option<HashSet<u64>>,
    /// How many keys came, those that came twice included.
    counted: u64,
    /// The pages as they were at first.
    look: Look,
}

impl Evidence {
    /// Evidence of a listing that begins now.
    pub(crate) fn fresh() -> Self {
        Self { keys: Some(HashSet::new()), counted: 0, look: Look::fresh() }
    }

    /// Evidence of a listing whose beginning we did not see.
    pub(crate) fn lost() -> Self {
        Self { keys: None, counted: 0, look: Look::lost() }
    }

    /// Notes versions, totals and keys of a page.
    pub(crate) fn note(&mut self, plan: &StreamPlan, lists: bool, position: &mut Position, page: &Page, facts: &Facts) {
        if let Some(total) = facts.total {
            let known = *position.total.get_or_insert(total);
            position.doubt |= known != total;
        }
        if lists {
            position.doubt |= page.rejects.iter().any(|reject| reject.key.is_none());
        }
        if position.again {
            return;
        }
        note_versions(plan, position, page);
        if !plan.pager.shifts() {
            return;
        }
        self.look.note(plan, page);
        if let (true, Some(keys)) = (lists, &mut self.keys) {
            let known = plan.spec.key_indices();
            let rows = page.rows.iter().map(|row| Key::of(row, &known).stable_hash());
            let rejects = page.rejects.iter().filter_map(|reject| reject.key.as_ref()).map(Key::stable_hash);
            // Where records are exploded, a total counts those that hold ours.
            let all: Vec<u64> = match plan.endpoint.explode {
                Some(_) => page.exploded.clone(),
                None => rows.chain(rejects).collect(),
            };
            self.counted += all.len() as u64;
            keys.extend(all);
            self.keys.take_if(|keys| keys.len() > MOST_COUNTED);
        }
    }

    /// Notes that the last page had no body.
    pub(crate) fn note_nothing(&mut self) {
        self.look.note_nothing();
    }

    /// Whether a second look can show anything.
    pub(crate) fn can_look(&self) -> bool {
        self.look.is_known()
    }

    /// What a page of the second look shows.
    pub(crate) fn look(&mut self, plan: &StreamPlan, position: &Position, page: &Page, ended: bool) -> Verdict {
        self.look.compare(plan, position.pages, page, ended)
    }

    /// Whether the listing that ends with a page of these facts has shown every row, if no row slipped past us.
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

    /// Whether no key came twice from pages that have no fixed order: another one would have come not at all.
    pub(crate) fn is_distinct(&self, plan: &StreamPlan) -> bool {
        let distinct = |keys: &HashSet<u64>| keys.len() as u64 == self.counted;
        !plan.pager.shifts() || self.keys.as_ref().is_some_and(distinct)
    }
}

fn note_versions(plan: &StreamPlan, position: &mut Position, page: &Page) {
    let Some(column) = plan.spec.version_index() else { return };
    for row in page.rows.iter() {
        let version = row.at(column);
        if !version.is_null() && position.high.as_ref().is_none_or(|high| version.total_cmp(high.as_ref()).is_gt()) {
            position.high = Some(version.to_owned());
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
