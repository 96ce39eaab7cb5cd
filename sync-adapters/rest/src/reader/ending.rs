//! The end of a listing: at once, after a second look at pages that may have shifted, or short of what was promised.

use sync_core::json::Page;
use sync_core::model::{Batch, Boundary, Timestamp};
use sync_core::{Error, Result, Retry};

use super::Reader;
use crate::ahead::Ahead;
use crate::client::Answer;
use crate::paging::{Facts, Guard, Step};
use crate::position::Slice;
use crate::tasks::Task;

impl Reader {
    /// The last page has come.
    pub(super) fn finish(&mut self, page: Option<Page>, facts: &Facts, answer: &Answer) -> Result<()> {
        let only = self.tasks.front().and_then(|task| task.only.clone());
        if page.is_none() {
            self.evidence.note_nothing();
        }
        let needed = self.needs_proof();
        let boundary = if needed && self.is_worth_a_look(facts) {
            self.position = self.position.second_look();
            self.ahead = Ahead::default();
            self.guard = Guard::default();
            Boundary::Resume(self.position.cursor()?)
        } else {
            self.end(facts, !needed)?
        };
        let batch = self.batch(page, answer, boundary, only.as_ref());
        self.ready.push_back(batch);
        Ok(())
    }

    /// A page of the second look. What is the same as at first is not handed over again.
    pub(super) fn compare(&mut self, step: Step, page: Page, facts: &Facts, answer: &Answer) -> Result<()> {
        let ended = !matches!(step, Step::More(_));
        let verdict = self.evidence.look(&self.plan, &self.position, &page, ended);
        let page = (!verdict.same).then_some(page);
        match (verdict.sure, step) {
            (None, Step::More(place)) => self.go_on(place, page, facts, answer),
            (sure, _) => {
                let only = self.tasks.front().and_then(|task| task.only.clone());
                if sure != Some(true) {
                    let stream = self.plan.spec.name();
                    tracing::debug!(stream, "rows moved between pages; the next run reads them again");
                }
                let boundary = self.end(facts, sure == Some(true))?;
                let batch = self.batch(page, answer, boundary, only.as_ref());
                self.ready.push_back(batch);
                Ok(())
            }
        }
    }

    /// Whether the pages before this one, the last, are looked at again.
    pub(super) fn will_look(&self) -> bool {
        self.needs_proof() && self.evidence.can_look() && !self.position.again && !self.position.slipped
    }

    /// The last page was asked for before all others had come: it may be older than they are, and a row that moved onto it since
    /// would be seen nowhere. It is asked for once more, alone.
    pub(super) fn ask_again(&mut self, answer: &Answer) -> Result<()> {
        self.ahead = Ahead::default();
        self.spent = (self.spent.0 + answer.requests, self.spent.1 + answer.wire);
        Ok(())
    }

    /// Whether something is to be inferred that a row which slipped between two pages would make wrong: that others are
    /// gone, or that what was read need not be read again.
    fn needs_proof(&self) -> bool {
        let Some(task) = self.tasks.front() else { return false };
        let several = self.plan.pager.may_slip() && self.position.is_inside();
        several && self.counts && (task.lists || self.plan.since.is_some() || self.is_last_read())
    }

    /// Whether the next run begins behind some of the slice of dates at hand. What it reads again needs no proof.
    fn is_last_read(&self) -> bool {
        let window = self.plan.window_of(self.position.pass.as_deref());
        let (Some(window), Some(slice)) = (window, self.position.slice) else { return false };
        let now = self.position.started.unwrap_or_else(|| self.inner.client.clock.now().into());
        let settled = window.settled(Slice { until: Timestamp::from_micros(i64::MAX), ..slice }, now);
        slice.from < window.begins(Some(settled))
    }

    /// Whether the listing that ends with a page of these facts has shown every row, if no row slipped past us.
    pub(super) fn is_complete(&self, task: &Task, facts: &Facts) -> bool {
        let distinct = !self.counts || self.evidence.is_distinct(&self.plan);
        distinct && self.evidence.is_complete(&self.plan, task, &self.position, facts)
    }

    /// Whether a second look may show what is missing: not when a listing proves nothing anyway.
    fn is_worth_a_look(&self, facts: &Facts) -> bool {
        let Some(task) = self.tasks.front() else { return false };
        let hopeless = task.lists && !task.advances && !self.is_complete(task, facts);
        self.evidence.can_look() && !self.position.again && !self.position.slipped && !hopeless
    }

    /// A page, or a listing, shorter than its total: what is there now may be only a part.
    pub(super) fn short(&mut self, facts: &Facts) -> Result<()> {
        let seen = self.position.records + facts.records;
        let error = Error::unavailable(
            "the source sends fewer rows than it says there are; if its total counts rows it does not show, leave out `total`",
        )
        .with("rows", seen)
        .with("total", facts.total.unwrap_or_default());
        let error = match &self.plan.pager.config.at {
            Some(at) if self.plan.pager.misses(facts) => error.with("nothing at", at),
            _ => error,
        };
        let error = self.strike(error);
        if error.retry() == Retry::Never && self.position.is_inside() {
            // The pages before may be what is short: the next run begins this listing again.
            self.ready.push_back(Batch::marker(Boundary::Resume(self.position.restarted().cursor()?)));
        }
        Err(error)
    }

    /// No body at all: 304, 204, or an empty 200. It is the end of numbered pages, and proves nothing elsewhere.
    pub(super) fn nothing(&mut self, answer: &Answer) -> Result<()> {
        let expected = answer.status.as_u16() == 204
            && self.position.is_inside()
            && (self.plan.pager.shifts() || self.plan.is_keyset())
            && self.position.total.is_none();
        self.position.doubt |= !expected;
        self.position.slipped |= !expected;
        // 204 says that there is nothing; an empty 200 says nothing at all, so what it should hold is asked for again.
        self.blank |= answer.status == http::StatusCode::OK;
        self.finish(None, &Facts::default(), answer)
    }

    pub(super) fn strike(&self, error: Error) -> Error {
        self.inner.strikes.count(self.plan.spec.name(), &self.partition, error)
    }
}
