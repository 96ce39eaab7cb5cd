//! What one read has to list: everything once, or slice after slice of dates, pass after pass.

use std::collections::VecDeque;

use sync_core::Result;
use sync_core::model::{RowScope, Timestamp};
use sync_core::source::Reading;

use crate::plan::StreamPlan;
use crate::position::{Position, Slice};
use crate::window::Window;

/// One listing, from its first page to its last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Task {
    /// The dates it covers.
    pub(crate) slice: Option<Slice>,
    /// The further pass it belongs to.
    pub(crate) pass: Option<String>,
    /// The window it is a part of, where that is replaced as one.
    pub(crate) part_of: Option<Slice>,
    /// Whether it came of halving another one in this read.
    pub(crate) is_half: bool,
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

impl Task {
    /// The same in two halves, once it has begun: what is said at its end is said with the second one.
    pub(crate) fn halved(self, first: Slice, second: Slice) -> (Self, Self) {
        let whole = self.part_of.or(self.slice).filter(|_| self.advances && self.lists);
        let half = |slice| Self { slice: Some(slice), part_of: whole, is_half: true, begins: None, ..self.clone() };
        (Self { ends: None, forgets: false, ..half(first) }, half(second))
    }
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
    if !whole {
        return Ok(changes(plan, window, position, replaces, now));
    }
    let under_way = position.slice.filter(|_| position.is_inside());
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

/// The slices of every pass from the one under way to the last one.
fn changes(plan: &StreamPlan, window: &Window, position: &Position, replaces: bool, now: Timestamp) -> VecDeque<Task> {
    let further = plan.passes.iter().map(|pass| (Some(pass.name.as_str()), &pass.window));
    let passes = std::iter::once((None, window)).chain(further);
    let current = passes.skip_while(|(name, _)| *name != position.pass.as_deref());
    let mut tasks = VecDeque::new();
    for (name, window) in current {
        let is_current = name == position.pass.as_deref();
        let under_way = position.slice.filter(|_| is_current);
        let whole = position.part_of.or(under_way).filter(|_| under_way.is_some());
        let from = whole.map_or_else(|| window.begins(position.covered(name)), |whole| whole.until);
        let fresh = window.slices(from, Timestamp::from_micros(i64::MAX), now);
        let windows = whole.into_iter().chain(fresh);
        for (index, slice) in windows.enumerate() {
            let scope = replaces.then(|| window.scope(slice));
            let task = Task {
                slice: Some(slice),
                pass: name.map(str::to_owned),
                begins: scope.clone(),
                ends: scope,
                lists: replaces,
                advances: true,
                ..Task::default()
            };
            match under_way.filter(|part| index == 0 && *part != slice) {
                None => tasks.push_back(task),
                Some(part) if part.until < slice.until => {
                    let (first, second) = task.halved(part, Slice { from: part.until, until: slice.until });
                    tasks.extend([first, second]);
                }
                Some(part) => tasks.push_back(Task { slice: Some(part), part_of: Some(slice), is_half: true, ..task }),
            }
        }
    }
    tasks
}
