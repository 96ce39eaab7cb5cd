//! Numbered pages fetched several at once, and handed over in order.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use sync_core::Result;

use crate::client::Answer;
use crate::paging::Facts;
use crate::plan::StreamPlan;
use crate::position::{PageAt, Position};
use crate::source::Inner;
use crate::template::Variables;

/// The pages under way, in order.
#[derive(Default)]
pub(crate) struct Ahead {
    pages: FuturesOrdered<BoxFuture<'static, Result<Answer>>>,
    /// The number of the next page to ask for.
    next: u64,
}

impl Ahead {
    /// The page after the last one taken; `None` when none is under way.
    pub(crate) async fn take(&mut self) -> Option<Result<Answer>> {
        self.pages.next().await
    }

    /// Keeps as many pages under way as declared, from the one at this position to the last one there is.
    pub(crate) fn fill(
        &mut self,
        inner: &Arc<Inner>,
        plan: &Arc<StreamPlan>,
        partition: &Variables,
        position: &Position,
        facts: &Facts,
    ) {
        let at_once = plan.pager.config.concurrency.unwrap_or(1);
        let PageAt::Number(here) = position.page else { return };
        if at_once < 2 {
            return;
        }
        if self.pages.is_empty() {
            self.next = here;
        }
        let last = plan.pager.last_number(position, facts).unwrap_or(u64::MAX);
        while self.pages.len() < at_once && self.next <= last {
            let there = Position { page: PageAt::Number(self.next), ..position.clone() };
            let Ok(call) = plan.call(&inner.client.base, partition, &there) else { return };
            let (inner, plan) = (Arc::clone(inner), Arc::clone(plan));
            self.pages.push_back(Box::pin(async move { inner.client.call(&call, &plan.rules).await }));
            self.next += 1;
        }
    }
}
