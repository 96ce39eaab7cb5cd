//! What one read has to list: everything once, or slice after slice of dates.

use std::collections::VecDeque;

use sync_core::Result;
use sync_core::model::{RowScope, Timestamp};
use sync_core::source::Reading;

use crate::plan::StreamPlan;
use crate::position::{Position, Slice};

/// One listing, from its first page to its last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Task {
    /// The dates it covers.
    pub(crate) slice: Option<Slice>,
    /// Said before its first page.
    pub(crate) begins: Option<RowScope>,
    /// Said with its last page.
    pub(crate) ends: Option<RowScope>,
    /// Whether it lists all rows of a scope, and so may prove that others are gone.
    pub(crate) lists: bool,
    /// Whether nothing goes on from its end.
    pub(crate) forgets: bool,
    /// Whether it moves the position of changes.
    pub(crate) advances: bool,
    /// The rows that were asked for, where whole days bring more.
    pub(crate) only: Option<RowScope>,
}

/// The listings of a read, the one under way first.
pub(crate) fn tasks(
    plan: &StreamPlan,
    position: &Position,
    reading: &Reading,
    whole: bool,
    replaces: bool,
    now: Timestamp,
) -> Result<VecDeque<Task>> {
    let Some(window) = &plan.window else {
        let scope = whole.then_some(RowScope::All);
        let forgets = *reading != Reading::Changes;
        return Ok([Task { begins: scope.clone(), ends: scope, lists: whole, forgets, ..Task::default() }].into());
    };
    let under_way = position.slice.filter(|_| position.is_inside());
    if !whole {
        let from = under_way.map_or_else(|| window.begins(position.covered), |slice| slice.until);
        let slices = under_way.into_iter().chain(window.slices(from, Timestamp::from_micros(i64::MAX), now));
        let task = |slice| {
            let scope = replaces.then(|| window.scope(slice));
            Task {
                slice: Some(slice),
                begins: scope.clone(),
                ends: scope,
                lists: replaces,
                advances: true,
                ..Task::default()
            }
        };
        return Ok(slices.map(task).collect());
    }
    let asked = match reading {
        Reading::Range(scope) => window.asked(scope, now)?,
        _ => window.asked(&RowScope::All, now)?,
    };
    let all = window.slices(asked.from, asked.until, now);
    let (Some(first), Some(last)) = (all.first(), all.last()) else { return Ok(VecDeque::new()) };
    let (scope, only) = window.covers(asked, Slice { from: first.from, until: last.until });
    let rest = match (under_way, position.covered) {
        (Some(slice), _) => under_way.into_iter().chain(window.slices(slice.until, asked.until, now)).collect(),
        (None, Some(covered)) => window.slices(covered, asked.until, now),
        (None, None) => all.clone(),
    };
    let fresh = under_way.is_none() && position.covered.is_none();
    let mut tasks: VecDeque<Task> = rest
        .into_iter()
        .map(|slice| Task { slice: Some(slice), lists: true, only: only.clone(), ..Task::default() })
        .collect();
    if let Some(task) = tasks.front_mut().filter(|_| fresh) {
        task.begins = Some(scope.clone());
    }
    if let Some(task) = tasks.back_mut() {
        task.ends = Some(scope);
        task.forgets = true;
    }
    Ok(tasks)
}
