//! One read: page after page, with a boundary after each, until the listing has ended or a limit is reached.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use sync_core::json::Page;
use sync_core::model::{Batch, Boundary, Disposition, Feed, Partition, RowScope};
use sync_core::source::Reading;
use sync_core::{Error, ReadRequest, Result};

use crate::ahead::Ahead;
use crate::client::{Answer, Refusal};
use crate::evidence::Evidence;
use crate::paging::{Facts, Guard, Step, limit};
use crate::plan::StreamPlan;
use crate::position::{PageAt, Position, foreign};
use crate::source::Inner;
use crate::suspect;
use crate::tasks::{Task, tasks};
use crate::template::Variables;
use crate::unseen::Unseen;

mod batch;
mod ending;
mod halving;
mod part;

pub(crate) struct Reader {
    inner: Arc<Inner>,
    plan: Arc<StreamPlan>,
    partition: Partition,
    /// `None` until the list of partitions has been asked.
    variables: Option<Variables>,
    tasks: VecDeque<Task>,
    position: Position,
    guard: Guard,
    evidence: Evidence,
    ahead: Ahead,
    ready: VecDeque<Batch>,
    /// What to say once the ready batches have been handed over.
    failure: Option<Error>,
    begun: Option<Duration>,
    /// Whether there is more than one page, most likely, so that the first ones are asked for together: everything is read for the
    /// first time. Parts of it, by date or by parent, may be small.
    many: bool,
    /// Whether the beginning of the listing at hand has been said.
    announced: bool,
    /// An answer without a body came for some dates: what comes after them counts as read only when they are.
    blank: bool,
    unseen: Unseen,
    /// Whether something is inferred from what does not come.
    counts: bool,
    /// Requests and bytes that were spent on answers of no use, not yet told.
    spent: (u64, u64),
}

impl Reader {
    pub(crate) fn new(inner: Arc<Inner>, request: &ReadRequest) -> Result<Self> {
        let plan = inner.plan(request.feed.name())?;
        let variables = match &plan.parent {
            Some(_) => None,
            None => Some(plan.variables(request.partition.name())?),
        };
        Self::of(inner, plan, variables, request)
    }

    /// A listing of a stream that is not among those of the source.
    pub(crate) fn listing(inner: Arc<Inner>, plan: Arc<StreamPlan>) -> Result<Self> {
        let feed = Feed::one(Arc::clone(&plan.spec));
        let request = ReadRequest::new(feed, Partition::default()).reading(Reading::Listing);
        Ok(Self { counts: false, ..Self::of(inner, plan, Some(Variables::new()), &request)? })
    }

    fn of(
        inner: Arc<Inner>,
        plan: Arc<StreamPlan>,
        variables: Option<Variables>,
        request: &ReadRequest,
    ) -> Result<Self> {
        let mut position = request.from.as_ref().map(Position::read).transpose()?.unwrap_or_default();
        if position.pass.is_some() && plan.window_of(position.pass.as_deref()).is_none() {
            // The pass was declared when the cursor was saved, and is no more: begin with the first one.
            position = Position { pass: None, ..position.between() };
        }
        let replaces = matches!(plan.spec.writes(), Disposition::Snapshot | Disposition::ReplaceWindow);
        let now = inner.client.clock.now().into();
        let whole = match &request.reading {
            Reading::Changes => replaces && plan.window.is_none(),
            Reading::Listing | Reading::Range(_) => true,
            other => return Err(Error::config(format!("this source cannot read {other:?}"))),
        };
        if let (Reading::Range(RowScope::Range { .. }), None) = (&request.reading, &plan.window) {
            return Err(Error::config("this stream reads no ranges; declare `window`").with("stream", plan.spec.name()));
        }
        if whole {
            // A listing reads everything, whatever was seen before.
            position.since = None;
            if plan.is_keyset() && !position.is_inside() {
                position.page = PageAt::Start;
            }
        }
        let tasks = tasks(&plan, &position, &request.reading, whole, replaces, now)?;
        let many = request.first_load && plan.parent.is_none();
        let unseen = Unseen::new(&plan, position == Position::default());
        let evidence = match position.is_inside() {
            true => inner.interrupted.take(plan.spec.name(), &request.partition, &position),
            false => Evidence::fresh(),
        };
        Ok(Self {
            partition: request.partition.clone(),
            inner,
            plan,
            variables,
            tasks,
            position,
            guard: Guard::default(),
            evidence,
            ahead: Ahead::default(),
            ready: VecDeque::new(),
            failure: None,
            begun: None,
            many,
            announced: false,
            blank: false,
            counts: true,
            unseen,
            spent: (0, 0),
        })
    }

    /// Whether a place that should hold records held nothing at all, not even an empty list.
    pub(crate) fn is_blank(&self) -> bool {
        self.blank
    }

    /// The next batch; `None` when the read has come to its end.
    pub(crate) async fn next(&mut self) -> Result<Option<Batch>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(Some(batch));
            }
            if let Some(error) = self.failure.take() {
                let evidence = std::mem::replace(&mut self.evidence, Evidence::lost());
                let position = self.position.clone();
                self.inner.interrupted.keep(self.plan.spec.name(), &self.partition, position, evidence);
                let named = error.context().any(|(name, _)| name == "stream");
                return Err(if named { error } else { error.with("stream", self.plan.spec.name()) });
            }
            let Some(task) = self.tasks.front() else { return Ok(None) };
            if !self.position.goes_on() {
                (self.position.slice, self.position.part_of) = (task.slice, task.part_of);
                self.position.pass.clone_from(&task.pass);
            }
            if let (Some(scope), false) = (task.begins.clone(), self.position.goes_on() || self.announced) {
                match self.begins(scope).await {
                    Ok(begins) => return Ok(Some(Batch::marker(begins))),
                    Err(error) => self.failure = Some(error),
                }
                continue;
            }
            if let Err(error) = self.page().await {
                self.failure = Some(error);
            }
        }
    }

    /// Fetches one page and makes its batch ready.
    async fn page(&mut self) -> Result<()> {
        self.inner.client.transport.ready(&self.inner.client.base).await?;
        let now = self.inner.client.clock.elapsed();
        self.begun.get_or_insert(now);
        let (answer, early) = match self.fetch().await {
            (Ok(answer), early) => (answer, early),
            (Err(refusal), _) => return self.refused(refusal),
        };
        // Of pages that are asked for together, a later one may be answered first.
        let sent_at = answer.sent_at.into();
        self.position.started = Some(self.position.started.map_or(sent_at, |started| started.min(sent_at)));
        if is_empty(&answer) {
            return if early && self.will_look() { self.ask_again(&answer) } else { self.nothing(&answer) };
        }
        let page = match self.parse(&answer) {
            Ok(page) => page,
            Err(error) if suspect::is_suspect(&error) => {
                return Err(self.inner.client.show(self.strike(error), &answer, &self.plan.bodies));
            }
            Err(error) => return Err(self.unreadable(error)),
        };
        let facts = self.plan.pager.facts(&page, &answer.headers);
        let step = self.plan.pager.step(&self.position, &facts);
        if early && step == Step::End && self.will_look() {
            return self.ask_again(&answer);
        }
        if facts.came() > 0 {
            self.guard.hold(&answer.body)?;
        }
        if self.plan.pager.is_lost(&self.position, &facts) {
            let error = self.plan.pager.lost();
            return Err(self.inner.client.show(error, &answer, &self.plan.bodies));
        }
        if step == Step::Short && !self.position.again {
            return self.short(&facts);
        }
        self.inner.strikes.clear(self.plan.spec.name(), &self.partition);
        self.inner.slowness.clear(self.plan.spec.name(), &self.partition);
        let lists = self.is_listing();
        self.evidence.note(&self.plan, lists, &mut self.position, &page, &facts);
        if !self.position.again {
            self.unseen.note(&page);
        }
        match step {
            step if self.position.again => self.compare(step, page, &facts, &answer),
            Step::More(place) => self.go_on(place, Some(page), &facts, &answer),
            Step::End | Step::Short => self.finish(Some(page), &facts, &answer),
        }
    }

    /// The page stays, and the next one is named.
    fn go_on(&mut self, place: PageAt, page: Option<Page>, facts: &Facts, answer: &Answer) -> Result<()> {
        let here = self.position.clone();
        let only = self.tasks.front().and_then(|task| task.only.clone());
        let followed = self.follow(place, answer);
        self.position.pages += 1;
        self.position.records += facts.records;
        if self.position.first_page == 0 {
            self.position.first_page = facts.records;
        }
        match followed {
            Ok(place) => self.position.page = place,
            Err(error) => {
                // The rows are good; where they lead to is not. The next run asks for this page again.
                let batch = self.batch(page, answer, Boundary::Resume(here.cursor()?), only.as_ref());
                self.ready.push_back(batch);
                return Err(error);
            }
        }
        let batch = self.batch(page, answer, Boundary::Resume(self.position.cursor()?), only.as_ref());
        self.ready.push_back(batch);
        if let Some(variables) = &self.variables {
            self.ahead.fill(&self.inner, &self.plan, variables, &self.position, Some(facts));
        }
        self.within_limits()
    }

    /// Makes the address of the next page fit to be saved, and notes the place.
    fn follow(&mut self, place: PageAt, answer: &Answer) -> Result<PageAt> {
        let place = match place {
            PageAt::Address(text) => {
                let url = answer
                    .url
                    .join(&text)
                    .map_err(|_| Error::malformed("the address of the next page cannot be read"))?;
                self.inner.client.check_address(&url)?;
                PageAt::Address(self.inner.client.without_secret(&url)?.into())
            }
            other => other,
        };
        if place == self.position.page {
            return Err(limit("the source names the same page as the next one"));
        }
        if self.position.page == PageAt::Start
            && let PageAt::Address(_) = &place
        {
            self.guard.visit(&PageAt::Address(self.inner.client.without_secret(&answer.url)?.into()))?;
        }
        self.guard.visit(&place)?;
        Ok(place)
    }

    fn within_limits(&self) -> Result<()> {
        let limits = &self.inner.limits;
        let spent = self.inner.client.clock.elapsed().saturating_sub(self.begun.unwrap_or_default());
        if self.position.pages >= limits.pages {
            return Err(limit("the listing has more pages than allowed").with("limit", limits.pages));
        }
        if self.position.records >= limits.rows {
            return Err(limit("the listing has more rows than allowed").with("limit", limits.rows));
        }
        if spent.as_secs_f64() >= limits.read_seconds {
            return Err(limit("the read takes longer than allowed; the next run goes on here")
                .with("limit", format!("{} s", limits.read_seconds)));
        }
        Ok(())
    }

    fn parse(&self, answer: &Answer) -> Result<Page> {
        suspect::check(answer, &self.plan.bodies, &self.inner.client.accept_types)?;
        let body = self.plan.bodies.json(&answer.body, self.inner.limits.body_bytes)?;
        let given = self.variables.as_ref().unwrap_or(const { &Variables::new() });
        let page = self.plan.reader.read_with(&body, &self.plan.envelope, given)?;
        let facts = self.plan.pager.facts(&page, &answer.headers);
        if !page.found && facts.total != Some(0) {
            return Err(suspect::no_records());
        }
        Ok(page)
    }

    /// The reader shows names around a fault, never values; a source may have used one of our secrets as a name.
    fn unreadable(&self, error: Error) -> Error {
        match self.inner.client.redactor.finds(&error.to_string()) {
            true => Error::new(error.kind(), "the source's answer cannot be read").with_retry(error.retry()),
            false => error,
        }
    }

    fn is_listing(&self) -> bool {
        self.tasks.front().is_some_and(|task| task.lists)
    }

    /// The boundary behind the last page of the task at hand, and the position after it.
    ///
    /// `sure` says that no row can have slipped from one page to another unseen.
    fn end(&mut self, facts: &Facts, sure: bool) -> Result<Boundary> {
        let Some(task) = self.tasks.pop_front() else { return Err(Error::internal("a listing ended twice")) };
        let complete = sure && self.is_complete(&task, facts);
        self.position.slipped |= !sure;
        // The dates it covers are read again, and so is what comes after them.
        self.blank |= !sure && task.advances;
        if let (true, Some(key)) = (self.plan.is_keyset(), facts.last_key.clone()) {
            self.position.page = PageAt::After(key);
        }
        let next = self.after(&task);
        if self.tasks.is_empty() {
            self.unseen.tell(&self.plan, &self.partition);
        }
        self.ahead = Ahead::default();
        self.guard = Guard::default();
        self.announced = false;
        self.position = next;
        self.evidence = Evidence::fresh();
        // What was unsure in one slice stays unsure for a listing of several.
        self.position.doubt = !complete && task.lists && task.ends.is_none();
        match task.ends {
            Some(scope) => {
                let scope = self.own(scope)?;
                let resume = (!task.forgets).then(|| self.position.cursor()).transpose()?;
                Ok(Boundary::Ends { scope, complete, resume })
            }
            None => Ok(Boundary::Resume(self.position.cursor()?)),
        }
    }

    /// Where the next read begins.
    fn after(&mut self, task: &Task) -> Position {
        let position = &self.position;
        if let (Some(window), Some(slice)) = (self.plan.window_of(task.pass.as_deref()), task.slice) {
            let now = position.started.unwrap_or_else(|| self.inner.client.clock.now().into());
            let covered = if task.advances { window.settled(slice, now) } else { slice.until };
            return self.after_slice(task, covered);
        }
        if task.lists {
            return Position::default();
        }
        if let Some(since) = &self.plan.since {
            let next = if position.slipped {
                position.since.clone()
            } else {
                since.next(position).or_else(|| position.since.clone())
            };
            return Position { since: next, ..Position::default() };
        }
        if self.plan.is_keyset() {
            return Position { page: position.page.clone(), ..Position::default() };
        }
        Position::default()
    }

    /// The next page, from those under way or by a request of its own, and whether it was asked for before the one in front of it
    /// had come.
    async fn fetch(&mut self) -> (Result<Answer, Refusal>, bool) {
        match self.ahead.take().await {
            Some(taken) => taken,
            None => (self.ask().await, false),
        }
    }

    async fn ask(&mut self) -> Result<Answer, Refusal> {
        let variables = self.known().await?;
        let variables = self.variables.insert(variables);
        if self.many && self.position.page == PageAt::Start && self.position.slice.is_none() && !self.position.again {
            self.ahead.fill(&self.inner, &self.plan, variables, &self.position, None);
            if let Some((answer, _)) = self.ahead.take().await {
                return answer;
            }
        }
        let call = self.plan.call(&self.inner.client.base, variables, &self.position)?;
        if let PageAt::Address(_) = &self.position.page {
            // It comes from a saved cursor: what is allowed may have changed since.
            self.inner.client.check_address(&call.url).map_err(|_| foreign())?;
        }
        self.inner.client.call(&call, &self.plan.rules).await
    }
}

fn is_empty(answer: &Answer) -> bool {
    matches!(answer.status.as_u16(), 204 | 304) || answer.body.iter().all(u8::is_ascii_whitespace)
}
