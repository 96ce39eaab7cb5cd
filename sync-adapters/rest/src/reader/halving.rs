//! Ranges of dates that hold too much for one request: halved, and the halves read in order.

use sync_core::Result;
use sync_core::model::Timestamp;

use super::Reader;
use crate::ahead::Ahead;
use crate::client::Refusal;
use crate::evidence::Evidence;
use crate::paging::Guard;
use crate::position::{Position, Slice};
use crate::rules::Excess;
use crate::tasks::Task;

impl Reader {
    /// There is no good answer: a shorter range of dates is asked for where that may help.
    pub(super) fn refused(&mut self, refusal: Refusal) -> Result<()> {
        let Some(excess) = refusal.excess else { return Err(refusal.error) };
        let task = self.tasks.front();
        let window = self.plan.window_of(self.position.pass.as_deref());
        let (Some(task), Some(window), Some(slice)) = (task, window, self.position.slice) else {
            return Err(refusal.error);
        };
        let (from, to) = window.bounds(slice);
        let mut error = refusal.error.with("from", &from).with("to", &to);
        if let Some(pass) = &task.pass {
            error = error.with("pass", pass);
        }
        let Some(halve) = &window.config.halve else { return Err(error) };
        if excess == Excess::Time && !task.is_half {
            let (stream, slowness) = (self.plan.spec.name(), &self.inner.slowness);
            let times = slowness.count(stream, &self.partition, task.pass.as_deref(), slice);
            if times < halve.after {
                return Err(error);
            }
        }
        let Some(halves) = window.halves(slice) else { return Err(error) };
        tracing::debug!(stream = self.plan.spec.name(), from, to, "the range holds too much and is halved");
        self.spent = (self.spent.0 + refusal.requests, self.spent.1 + refusal.wire);
        self.halve(halves);
        Ok(())
    }

    /// Begins the range under way again, in two halves. Rows that came of it already come again.
    fn halve(&mut self, (first, second): (Slice, Slice)) {
        let Some(task) = self.tasks.pop_front() else { return };
        let (first, second) = task.halved(first, second);
        self.position = Position {
            slice: first.slice,
            part_of: first.part_of,
            doubt: self.position.doubt,
            ..self.position.restarted()
        };
        self.tasks.push_front(second);
        self.tasks.push_front(first);
        self.ahead = Ahead::default();
        self.guard = Guard::default();
        self.evidence = Evidence::fresh();
    }

    /// Where the next read begins after a slice that was read up to here.
    pub(super) fn after_slice(&mut self, task: &Task, covered: Timestamp) -> Position {
        let mut next = self.position.between();
        let following = self.tasks.front();
        // A window that is replaced counts when all of it has been read.
        let is_whole = task.part_of.is_none() || task.ends.is_some();
        if is_whole && !self.blank {
            next.cover(task.pass.as_deref(), covered);
        }
        if let (Some(following), true, false) = (following, task.advances, self.blank) {
            // Whoever reads on after an error begins there, and not the lookback before it: that would never end.
            (next.slice, next.part_of) = (following.slice, following.part_of);
        }
        next.pass = following.and_then(|task| task.pass.clone());
        if next.pass != task.pass {
            self.blank = false;
        }
        next
    }
}
