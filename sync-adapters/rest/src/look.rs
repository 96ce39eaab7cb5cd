//! The second look at numbered pages and offsets: whether rows may have slipped past the first one.
//!
//! A row that is deleted, or moves, moves those behind it to pages that were read already. Where every page before the
//! last one is the same when the last one has been read, there was a moment at which all of them were as they were seen.

use std::collections::HashSet;

use sync_core::Key;
use sync_core::json::Page;

use crate::evidence::MOST_COUNTED;
use crate::plan::{StreamPlan, is_temporal};

/// What the first look saw.
#[derive(Debug)]
pub(crate) struct Look {
    /// Whether it was seen from its first page on.
    known: bool,
    /// Each page, by its rows in their order.
    pages: Vec<u64>,
    /// The rows of all pages but the last, where rows come in the order of their key: none of them may be gone.
    before: HashSet<u64>,
    last: Vec<u64>,
}

/// What a page of the second look shows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Whether the page is the same as at first.
    pub(crate) same: bool,
    /// Whether rows may have slipped (`Some(false)`) or cannot have (`Some(true)`); `None` while it is open.
    pub(crate) sure: Option<bool>,
}

impl Look {
    pub(crate) fn fresh() -> Self {
        Self { known: true, pages: Vec::new(), before: HashSet::new(), last: Vec::new() }
    }

    pub(crate) fn lost() -> Self {
        Self { known: false, ..Self::fresh() }
    }

    pub(crate) fn is_known(&self) -> bool {
        self.known
    }

    /// Notes that the last page had no body.
    pub(crate) fn note_nothing(&mut self) {
        self.pages.push(0);
        self.before.extend(std::mem::take(&mut self.last));
    }

    /// Notes a page of the first look.
    pub(crate) fn note(&mut self, plan: &StreamPlan, page: &Page) {
        if !self.known {
            return;
        }
        let rows = rows(plan, page);
        self.pages.push(digest(&rows, page));
        if keeps_order(plan) {
            self.before.extend(std::mem::replace(&mut self.last, rows));
        }
        if self.before.len() > MOST_COUNTED {
            *self = Self::lost();
        }
    }

    /// Compares a page of the second look, of which so many came before it.
    pub(crate) fn compare(&mut self, plan: &StreamPlan, at: u64, page: &Page, ended: bool) -> Verdict {
        let rows = rows(plan, page);
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let same = self.known && self.pages.get(at) == Some(&digest(&rows, page));
        let sure = if !self.known {
            Some(false)
        } else if keeps_order(plan) {
            // Rows that are added only push the others behind, where they come twice.
            for row in rows {
                self.before.remove(&row);
            }
            if self.before.is_empty() { Some(true) } else { ended.then_some(false) }
        } else if !same {
            Some(false)
        } else if at.saturating_add(2) >= self.pages.len() {
            Some(true)
        } else {
            ended.then_some(false)
        };
        Verdict { same, sure }
    }
}

/// Whether rows keep their places among each other. A number for a version says nothing of when it was given: there the
/// rows must not have changed either.
///
/// Of pages that are asked for together, a later one may be the older: a row that others push onto it is seen nowhere then.
fn keeps_order(plan: &StreamPlan) -> bool {
    let in_turn = plan.pager.config.concurrency.is_none_or(|at_once| at_once < 2);
    plan.endpoint.ordered_by_key && !counts(plan) && in_turn
}

/// Whether changes are asked for by a version that is no time.
fn counts(plan: &StreamPlan) -> bool {
    let version = plan.spec.version_column().and_then(|column| plan.spec.schema().field(column));
    plan.since.is_some() && version.is_some_and(|field| !is_temporal(field))
}

/// A number for each row, made of its key, and of its version where that is no time.
fn rows(plan: &StreamPlan, page: &Page) -> Vec<u64> {
    let mut columns = plan.spec.key_indices();
    columns.extend(plan.spec.version_index().filter(|_| counts(plan)));
    let rows = page.rows.iter().map(|row| Key::of(row, &columns).stable_hash());
    let rejects = page.rejects.iter().map(|reject| match &reject.key {
        Some(key) => key.stable_hash(),
        None => number(blake3::hash(&reject.body)),
    });
    rows.chain(rejects).collect()
}

/// A number for a page: its rows in their order, and how many records it has.
fn digest(rows: &[u64], page: &Page) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for number in rows.iter().chain(&page.exploded).chain(&[page.records as u64, page.dropped as u64]) {
        hasher.update(&number.to_le_bytes());
    }
    number(hasher.finalize())
}

fn number(hash: blake3::Hash) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(first)
}
