//! For each check of the store suite a store that is broken in one way, which that check must reject.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sync_core::memory::MemoryStore;
use sync_core::model::{Lane, Partition};
use sync_core::state::{
    Checkpoint, DeadLetter, Entry, FencingToken, Lease, LetterBody, LetterId, LetterQuery, RunQuery, RunRecord,
    RunStatus,
};
use sync_core::{Clock, Error, Result, Scope, StateStore};
use sync_testkit::store;

/// What is broken, and the checks that must see it.
const TWINS: &[(Bug, &[&str])] = &[
    (Bug::GivesALeaseTwice, &["one_owner_holds_a_lease", "an_old_holder_releases_nothing", "a_renewed_lease_lasts"]),
    (Bug::LeasesOneThing, &["names_are_leased_apart"]),
    (Bug::GivesOneToken, &["tokens_grow", "the_same_owner_takes_over_at_once"]),
    (Bug::ForgetsTheFloor, &["a_token_is_not_below_its_floor"]),
    (Bug::LeasesForEver, &["an_expired_lease_may_be_taken"]),
    (Bug::RenewsAnybody, &["an_old_holder_cannot_renew"]),
    (Bug::ReleasesNothing, &["a_released_lease_is_free"]),
    (Bug::BeginsUnrecorded, &["a_run_begins_with_its_lease"]),
    (Bug::RecordsTheRefused, &["a_refused_run_leaves_no_record"]),
    (Bug::LeavesTheDead, &["a_run_that_died_is_closed_by_the_next"]),
    (Bug::ClosesItself, &["the_same_run_begun_twice_is_one"]),
    (Bug::FinishesAndKeeps, &["a_run_that_finishes_is_recorded_and_its_lease_is_free"]),
    (Bug::FinishesForAnybody, &["a_fenced_holder_finishes_nothing"]),
    (Bug::RecordsForAnybody, &["a_fenced_holder_records_nothing"]),
    (Bug::RefusesAfterExpiry, &["an_expired_lease_that_nobody_took_still_records"]),
    (Bug::LosesTheStage, &["a_checkpoint_comes_back_as_it_was"]),
    (Bug::IgnoresSequence, &["a_checkpoint_moves_step_by_step"]),
    (Bug::KnowsOneScope, &["scopes_stand_apart"]),
    (Bug::RecordsHalf, &["all_entries_or_none"]),
    (Bug::NeverLiftsAHold, &["a_hold_is_set_and_lifted"]),
    (Bug::ListsRunsOldestFirst, &["runs_come_newest_first"]),
    (Bug::KeepsTheFirstRunRecord, &["a_later_record_of_a_run_replaces_it"]),
    (Bug::CutsARunInTwo, &["runs_come_page_by_page"]),
    (Bug::LosesBodies, &["a_letter_comes_back_as_it_was"]),
    (Bug::DoublesLetters, &["the_same_letter_twice_is_one"]),
    (
        Bug::KeepsTheFirstLetter,
        &["a_letter_that_comes_again_says_when_it_came_last", "a_resolved_letter_that_comes_again_waits_again"],
    ),
    (Bug::ListsLettersById, &["letters_come_oldest_first"]),
    (Bug::IgnoresQueries, &["letters_are_found_by_pipeline_stream_and_kind"]),
    (Bug::LosesItsPlace, &["letters_come_page_by_page"]),
    (Bug::ResolvesNothing, &["a_resolved_letter_is_gone"]),
    (Bug::ResolvesForEver, &["a_resolved_letter_that_comes_again_waits_again"]),
];

#[tokio::test]
async fn every_broken_store_is_rejected_by_its_check() {
    for (bug, checks) in TWINS {
        let report = store::conformance(async |_, clock| Ok::<_, Error>(Broken::by(*bug, clock))).await;
        for check in *checks {
            assert!(report.broken().contains(check), "{bug:?} was not seen by {check}\n{report}");
        }
    }
}

#[test]
fn every_check_of_the_store_suite_has_a_twin() {
    let twins: BTreeSet<&str> = TWINS.iter().flat_map(|(_, checks)| *checks).copied().collect();
    assert_eq!(twins, store::names().into_iter().collect());
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    GivesALeaseTwice,
    LeasesOneThing,
    GivesOneToken,
    ForgetsTheFloor,
    LeasesForEver,
    RenewsAnybody,
    ReleasesNothing,
    BeginsUnrecorded,
    RecordsTheRefused,
    LeavesTheDead,
    ClosesItself,
    FinishesAndKeeps,
    FinishesForAnybody,
    RecordsForAnybody,
    RefusesAfterExpiry,
    LosesTheStage,
    IgnoresSequence,
    KnowsOneScope,
    RecordsHalf,
    NeverLiftsAHold,
    ListsRunsOldestFirst,
    KeepsTheFirstRunRecord,
    CutsARunInTwo,
    LosesBodies,
    DoublesLetters,
    KeepsTheFirstLetter,
    ListsLettersById,
    IgnoresQueries,
    LosesItsPlace,
    ResolvesNothing,
    ResolvesForEver,
}

/// A store that is right but for one bug.
#[derive(Debug)]
struct Broken {
    bug: Bug,
    inner: MemoryStore,
    clock: Arc<dyn Clock>,
    /// The newest lease, as the store within knows it, and when it ends.
    newest: Mutex<Option<(Lease, Duration)>>,
    known: Mutex<BTreeSet<String>>,
}

impl Broken {
    fn by(bug: Bug, clock: Arc<dyn Clock>) -> Self {
        let inner = MemoryStore::new(Arc::clone(&clock));
        Self { bug, inner, clock, newest: Mutex::default(), known: Mutex::default() }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == bug
    }

    /// The lease as the store within knows it.
    fn newest(&self, lease: &Lease) -> Lease {
        self.newest.lock().unwrap().as_ref().map_or_else(|| lease.clone(), |(newest, _)| newest.clone())
    }

    fn scope(&self, scope: &Scope) -> Scope {
        let one = Scope { feed: "one".into(), partition: Partition::default(), lane: Lane::Live, ..scope.clone() };
        if self.has(Bug::KnowsOneScope) { one } else { scope.clone() }
    }

    /// The entry as the bug sees it; `None` where it overlooks it.
    async fn bent(&self, lease: &Lease, entry: &Entry) -> Result<Option<Entry>> {
        let first = |id: String| self.known.lock().unwrap().insert(id);
        let known = |id: &str| self.known.lock().unwrap().contains(id);
        Ok(Some(match (self.bug, entry.clone()) {
            (Bug::ResolvesNothing, Entry::Resolved(_)) | (Bug::NeverLiftsAHold, Entry::Hold { until: None, .. }) => {
                return Ok(None);
            }
            (Bug::KeepsTheFirstRunRecord, Entry::Run(run)) if !first(format!("{}{}", run.run, run.scope)) => {
                return Ok(None);
            }
            (Bug::KeepsTheFirstLetter, Entry::DeadLetter(letter)) if !first(letter.id.as_str().to_owned()) => {
                return Ok(None);
            }
            (Bug::ResolvesForEver, Entry::Resolved(id)) => {
                first(id.as_str().to_owned());
                Entry::Resolved(id)
            }
            (Bug::ResolvesForEver, Entry::DeadLetter(letter)) if known(letter.id.as_str()) => return Ok(None),
            (Bug::DoublesLetters, Entry::DeadLetter(mut letter)) => {
                while !first(letter.id.as_str().to_owned()) {
                    letter.id = LetterId::from_text(format!("{}+", letter.id));
                }
                Entry::DeadLetter(letter)
            }
            (Bug::LosesBodies, Entry::DeadLetter(letter)) => {
                Entry::DeadLetter(DeadLetter { body: LetterBody::Record(Vec::new()), ..letter })
            }
            (_, Entry::Checkpoint { scope, mut advance }) => {
                let scope = self.scope(&scope);
                if self.has(Bug::LosesTheStage) {
                    advance.next.stage = None;
                }
                if self.has(Bug::RecordsForAnybody) {
                    advance.token = lease.token;
                }
                if self.has(Bug::IgnoresSequence) {
                    advance.expected = self.inner.checkpoint(&scope).await?.map_or(0, |checkpoint| checkpoint.seq);
                    advance.next.seq = advance.expected + 1;
                }
                Entry::Checkpoint { scope, advance }
            }
            (_, entry) => entry,
        }))
    }
}

#[async_trait]
impl StateStore for Broken {
    async fn acquire(&self, name: &str, owner: &str, ttl: Duration, floor: FencingToken) -> Result<Lease> {
        let name = if self.has(Bug::LeasesOneThing) { "one" } else { name };
        if self.has(Bug::GivesALeaseTwice)
            && let Some((lease, _)) = &*self.newest.lock().unwrap()
        {
            return Ok(Lease { owner: owner.to_owned(), token: FencingToken(lease.token.0 + 1), ..lease.clone() });
        }
        let floor = if self.has(Bug::ForgetsTheFloor) { FencingToken(0) } else { floor };
        let longer = if self.has(Bug::LeasesForEver) { Duration::from_secs(1 << 30) } else { ttl };
        let lease = self.inner.acquire(name, owner, longer, floor).await?;
        *self.newest.lock().unwrap() = Some((lease.clone(), self.clock.elapsed() + ttl));
        if self.has(Bug::GivesOneToken) {
            return Ok(Lease { token: FencingToken(1), ..lease });
        }
        Ok(lease)
    }

    async fn renew(&self, lease: &Lease) -> Result<()> {
        match self.bug {
            Bug::RenewsAnybody | Bug::GivesOneToken => self.inner.renew(&self.newest(lease)).await,
            _ => self.inner.renew(lease).await,
        }
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        match self.bug {
            Bug::ReleasesNothing => Ok(()),
            Bug::GivesOneToken => self.inner.release(&self.newest(lease)).await,
            _ => self.inner.release(lease).await,
        }
    }

    async fn begin(
        &self,
        name: &str,
        owner: &str,
        ttl: Duration,
        floor: FencingToken,
        first: &RunRecord,
    ) -> Result<Lease> {
        let newest = self.newest.lock().unwrap().clone().filter(|_| self.has(Bug::RecordsTheRefused));
        if let Some((newest, _)) = newest {
            self.inner.record(&newest, &[Entry::Run(first.clone())]).await?;
        }
        let lease = self.acquire(name, owner, ttl, floor).await?;
        let mut entries: Vec<RunRecord> = match self.bug {
            Bug::BeginsUnrecorded => Vec::new(),
            Bug::LeavesTheDead => vec![first.clone()],
            _ => first.with_dead(self.runs(&first.recent()).await?),
        };
        if self.has(Bug::ClosesItself) && self.runs(&first.recent()).await?.iter().any(|run| run.run == first.run) {
            entries.iter_mut().for_each(|run| run.status = RunStatus::Failed);
        }
        self.record(&lease, &entries.into_iter().map(Entry::Run).collect::<Vec<_>>()).await?;
        Ok(lease)
    }

    async fn finish(&self, lease: &Lease, entries: &[Entry]) -> Result<()> {
        let newest = if self.has(Bug::FinishesForAnybody) { self.newest(lease) } else { lease.clone() };
        self.record(&newest, entries).await?;
        if self.has(Bug::FinishesAndKeeps) { Ok(()) } else { self.release(lease).await }
    }

    async fn record(&self, lease: &Lease, entries: &[Entry]) -> Result<()> {
        let late = self.newest.lock().unwrap().as_ref().is_some_and(|(_, until)| *until < self.clock.elapsed());
        if self.has(Bug::RefusesAfterExpiry) && late {
            return Err(Error::fenced(lease.token, "too late"));
        }
        let lease = match self.bug {
            Bug::RecordsForAnybody => self.newest(lease),
            _ => lease.clone(),
        };
        let mut bent = Vec::new();
        for entry in entries {
            bent.extend(self.bent(&lease, entry).await?);
        }
        if self.has(Bug::RecordsHalf) {
            for entry in &bent {
                self.inner.record(&lease, std::slice::from_ref(entry)).await?;
            }
            return Ok(());
        }
        self.inner.record(&lease, &bent).await
    }

    async fn checkpoint(&self, scope: &Scope) -> Result<Option<Checkpoint>> {
        self.inner.checkpoint(&self.scope(scope)).await
    }

    async fn hold(&self, scope: &Scope) -> Result<Option<DateTime<Utc>>> {
        self.inner.hold(scope).await
    }

    async fn dead_letters(&self, query: &LetterQuery) -> Result<Vec<DeadLetter>> {
        let mut query = query.clone();
        if self.has(Bug::IgnoresQueries) {
            (query.pipeline, query.stream, query.kind) = (None, None, None);
        }
        if self.has(Bug::LosesItsPlace) && query.after.is_some() {
            // Skips a letter where the one before it is gone.
            query.limit = query.limit.max(1);
            let mut page = self.inner.dead_letters(&LetterQuery { limit: query.limit + 1, ..query }).await?;
            return Ok(page.split_off(page.len().min(1)));
        }
        let mut letters = self.inner.dead_letters(&query).await?;
        if self.has(Bug::ListsLettersById) {
            letters.sort_by(|a, b| a.id.cmp(&b.id));
        }
        Ok(letters)
    }

    async fn runs(&self, query: &RunQuery) -> Result<Vec<RunRecord>> {
        let mut runs = self.inner.runs(query).await?;
        match self.bug {
            Bug::ListsRunsOldestFirst => runs.reverse(),
            Bug::CutsARunInTwo if query.limit > 0 => {
                let all = self.inner.runs(&RunQuery { limit: 1000, ..query.clone() }).await?;
                runs = all.into_iter().take(query.limit as usize).collect();
            }
            _ => {}
        }
        Ok(runs)
    }
}
