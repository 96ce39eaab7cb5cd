//! Numbered pages fetched several at once, and handed over in order.

use std::collections::VecDeque;
use std::sync::Arc;

use sync_core::Error;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use crate::client::{Answer, Refusal};
use crate::paging::Facts;
use crate::plan::StreamPlan;
use crate::position::{PageAt, Position};
use crate::source::Inner;
use crate::template::Variables;

/// The pages under way, in order. Each is a task of its own, so that it runs to its end within its time limits while
/// whoever reads is busy writing; dropping this stops them.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    pages: VecDeque<AbortOnDropHandle<Result<Answer, Refusal>>>,
    /// The number of the next page to ask for.
    next: u64,
}

impl Ahead {
    /// The page after the last one taken; `None` when none is under way.
    pub(crate) async fn take(&mut self) -> Option<Result<Answer, Refusal>> {
        let page = self.pages.pop_front()?;
        let broken = |cause| Error::internal("fetching a page ahead was broken off").caused_by(cause);
        Some(page.await.unwrap_or_else(|cause| Err(broken(cause).into())))
    }

    /// Keeps as many pages under way as declared, from the one at this position to the last one there is, as far as a page has
    /// said which one that is.
    pub(crate) fn fill(
        &mut self,
        inner: &Arc<Inner>,
        plan: &Arc<StreamPlan>,
        partition: &Variables,
        position: &Position,
        facts: Option<&Facts>,
    ) {
        let at_once = plan.pager.config.concurrency.unwrap_or(1);
        if at_once < 2 || !matches!(position.page, PageAt::Start | PageAt::Number(_)) {
            return;
        }
        if self.pages.is_empty() {
            self.next = plan.pager.number(&position.page);
        }
        // The last page is not looked at twice.
        let last = facts
            .and_then(|facts| plan.pager.last_number(position, facts))
            .map_or(u64::MAX, |last| last - u64::from(position.again && last > 0));
        while self.pages.len() < at_once && self.next <= last {
            let there = Position { page: PageAt::Number(self.next), ..position.clone() };
            let Ok(call) = plan.call(&inner.client.base, partition, &there) else { return };
            let (inner, plan) = (Arc::clone(inner), Arc::clone(plan));
            let fetch = async move { inner.client.call(&call, &plan.rules).await }.in_current_span();
            self.pages.push_back(AbortOnDropHandle::new(tokio::spawn(fetch)));
            self.next += 1;
        }
    }
}
