//! Numbered pages fetched several at once, and handed over in order.

use std::collections::VecDeque;
use std::sync::Arc;

use sync_core::Error;
use tokio::sync::Semaphore;
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
    pages: VecDeque<UnderWay>,
    /// Whose turn it is to ask: as many at once as declared.
    turns: Option<Arc<Semaphore>>,
    /// The number of the next page to ask for.
    next: u64,
}

/// A page under way.
#[derive(Debug)]
struct UnderWay {
    /// Whether the one before it had not come yet when it was asked for.
    early: bool,
    page: AbortOnDropHandle<Result<Answer, Refusal>>,
}

impl Ahead {
    /// The page after the last one taken, and whether it was asked for before that one had come; `None` when none is under way.
    pub(crate) async fn take(&mut self) -> Option<(Result<Answer, Refusal>, bool)> {
        let UnderWay { early, page } = self.pages.pop_front()?;
        let broken = |cause| Error::internal("fetching a page ahead was broken off").caused_by(cause);
        Some((page.await.unwrap_or_else(|cause| Err(broken(cause).into())), early))
    }

    /// Keeps as many pages under way as declared, from the one at this position to the last one there is. Where a page has said
    /// which one that is, as many again wait for their turn: the next is asked for when one has come, and not only when it is taken.
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
            .map(|last| last - u64::from(position.again && last > 0));
        let most = if last.is_some() { 2 * at_once } else { at_once };
        let turns = self.turns.get_or_insert_with(|| Arc::new(Semaphore::new(at_once)));
        while self.pages.len() < most && last.is_none_or(|last| self.next <= last) {
            let there = Position { page: PageAt::Number(self.next), ..position.clone() };
            let Ok(call) = plan.call(&inner.client.base, partition, &there) else { return };
            let (inner, plan, turns) = (Arc::clone(inner), Arc::clone(plan), Arc::clone(turns));
            let fetch = async move {
                let _turn = turns.acquire().await;
                inner.client.call(&call, &plan.rules).await
            };
            let early = !self.pages.is_empty();
            let page = AbortOnDropHandle::new(tokio::spawn(fetch.in_current_span()));
            self.pages.push_back(UnderWay { early, page });
            self.next += 1;
        }
    }
}
