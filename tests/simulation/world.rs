//! One seed's life: work at the source, runs of the engine, crashes, zombies and faults; then peace, and the oracles.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use sync_core::conflict::IncomingWins;
use sync_core::engine::{Bug, Pipeline, Report, RunOptions};
use sync_core::memory::{Feeding, FirstLoad, MemorySink, MemorySource, MemoryStore};
use sync_core::model::{Outcome, Timestamp};
use sync_core::source::Listing;
use sync_core::state::RunStatus;
use sync_core::{Clock, Engine, Key, Result, StreamSpec, Value};
use sync_testkit::fault::{At, Call, Fault, FaultPlan, Faulty};
use sync_testkit::{ManualClock, Random};

use crate::adapters::{BreaksOff, Careless};

/// A bug to plant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plant {
    Nothing,
    Engine(Bug),
    IgnoredToken,
}

/// What became of one seed.
#[derive(Debug)]
pub(crate) struct Life {
    /// The first oracle that was broken, and how.
    pub(crate) broken: Option<(&'static str, String)>,
    pub(crate) trace: Vec<String>,
    /// Equal for equal lives.
    pub(crate) hash: u64,
    pub(crate) faults: usize,
}

/// What a broken oracle says.
type Broken = (&'static str, String);
type Oracle<T> = std::result::Result<T, Broken>;

pub(crate) fn live(seed: u64, plant: Plant) -> Life {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed, plant);
        let broken = world.live().await.err();
        let mut hasher = DefaultHasher::new();
        world.trace.hash(&mut hasher);
        format!("{:?}", world.target.effects()).hash(&mut hasher);
        Life { broken, hash: hasher.finish(), faults: world.plan.injected().len(), trace: world.trace }
    })
}

struct World {
    random: Random,
    plant: Plant,
    shop: MemorySource,
    target: MemorySink,
    state: MemoryStore,
    clock: Arc<dyn Clock>,
    plan: FaultPlan,
    incoming_wins: bool,
    version: i64,
    trace: Vec<String>,
}

impl World {
    fn new(seed: u64, plant: Plant) -> Self {
        let mut random = Random::new(seed);
        let feeding = if random.chance(0.5) { Feeding::Log } else { Feeding::Version };
        let first_load = if random.chance(0.5) { FirstLoad::ByKey } else { FirstLoad::Scattered };
        let incoming_wins = random.chance(0.5);
        // A listing of rows is ahead of the log, which would then bring states back that it passed already.
        let ahead = incoming_wins || feeding == Feeding::Log;
        let listing = if ahead || random.chance(0.5) { Listing::Keys } else { Listing::Rows };
        let spec = StreamSpec::new("orders").key(["id"]).uint("id").version("changed_at").text("note");
        let page = 1 + random.below(9) as usize;
        let shop = MemorySource::of([spec]).feeding(feeding).first_load(first_load).listing(listing).page(page);
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(seed));
        let rate = |random: &mut Random, most: u64| At::Chance(random.below(most + 1) as f64 / 100.0);
        let plan = FaultPlan::new(seed)
            .on(Call::Apply, rate(&mut random, 15), Fault::LostReply)
            .on(Call::Apply, rate(&mut random, 15), Fault::LostRequest)
            .on(Call::Batch, rate(&mut random, 15), Fault::Fail)
            .on(Call::Batch, rate(&mut random, 15), Fault::Duplicate)
            .on(Call::Record, rate(&mut random, 8), Fault::LostReply)
            .on(Call::Any, rate(&mut random, 2), Fault::CrashBefore)
            .on(Call::Any, rate(&mut random, 2), Fault::CrashAfter)
            .on(Call::Any, rate(&mut random, 8), Fault::Slow(Duration::from_secs(3)));
        Self {
            plant,
            shop,
            target: MemorySink::new().clock(Arc::clone(&clock)),
            state: MemoryStore::new(Arc::clone(&clock)),
            clock,
            plan,
            incoming_wins,
            version: 0,
            trace: Vec::new(),
            random,
        }
    }

    async fn live(&mut self) -> Oracle<()> {
        for _ in 0..10 {
            self.work();
            match self.random.below(10) {
                // Where incoming rows always win, reading everything again would go through old states.
                5 if self.incoming_wins => {}
                0..=4 => self.run(RunOptions::incremental(), None).await?,
                5 => self.run(RunOptions::full(), None).await?,
                6 => self.dry_run().await?,
                7 => self.reconcile().await?,
                8 => self.crash().await,
                _ => self.zombie().await,
            }
            self.check_effects()?;
        }
        self.plan.quiet();
        self.run_in_peace(RunOptions::incremental()).await?;
        // A feed by version shows no deletes, and a full run jumps over those in the log: a complete listing finds them.
        self.run_in_peace(RunOptions::reconcile().confirm_deletes()).await?;
        self.check_effects()?;
        self.check_rows()
    }

    /// Changes some rows of the shop.
    fn work(&mut self) {
        for _ in 0..self.random.below(30) {
            self.version += i64::from(self.random.chance(0.7));
            let id = self.random.below(60);
            let at = Timestamp::from_micros(self.version);
            if self.random.chance(0.1) {
                self.shop.delete_at("orders", &Key::new([id]), at);
            } else {
                let note = format!("note {}", self.random.next());
                self.shop.upsert("orders", [id.into(), Value::Timestamp(at), note.into()]);
            }
        }
    }

    /// A process of its own: nothing survives from the one before but the target and the store.
    fn engine(&self, breaks_off: Option<usize>) -> Engine {
        self.plan.restart();
        let source = BreaksOff { inner: self.shop.clone(), after: breaks_off };
        let sink = Careless { inner: self.target.clone(), careless: self.plant == Plant::IgnoredToken };
        let mut pipeline = Pipeline::new("shop", Faulty::new(source, &self.plan), Faulty::new(sink, &self.plan));
        if self.incoming_wins {
            pipeline = pipeline.policy(IncomingWins);
        }
        let store = Faulty::new(self.state.clone(), &self.plan).clock(Arc::clone(&self.clock));
        let builder = Engine::builder(store).clock(Arc::clone(&self.clock)).owner("the only one").pipeline(pipeline);
        let builder = match self.plant {
            Plant::Engine(bug) => builder.plant(bug),
            Plant::Nothing | Plant::IgnoredToken => builder,
        };
        builder.build().unwrap()
    }

    async fn run(&mut self, options: RunOptions, breaks_off: Option<usize>) -> Oracle<()> {
        let before = self.target.effects().len();
        let ran = self.engine(breaks_off).run_with("shop", options).await;
        self.note(&ran);
        match ran {
            Ok(report) if report.status == RunStatus::Completed => self.check_ledger(&report, before),
            _ => Ok(()),
        }
    }

    async fn run_in_peace(&mut self, options: RunOptions) -> Oracle<()> {
        let before = self.target.effects().len();
        let ran = self.engine(None).run_with("shop", options).await;
        self.note(&ran);
        let report = ran.map_err(|error| ("lag_reaches_zero", error.to_string()))?;
        if report.status != RunStatus::Completed {
            return Err(("lag_reaches_zero", report.to_string()));
        }
        self.check_ledger(&report, before)
    }

    async fn dry_run(&mut self) -> Oracle<()> {
        let before = (self.target.effects().len(), self.target.staged());
        let ran = self.engine(None).run_with("shop", RunOptions::incremental().dry_run()).await;
        self.note(&ran);
        let after = (self.target.effects().len(), self.target.staged());
        if before == after {
            Ok(())
        } else {
            Err(("a_dry_run_leaves_no_trace", format!("{before:?} became {after:?}")))
        }
    }

    /// A listing that may break off. It may remove nothing that the source has.
    async fn reconcile(&mut self) -> Oracle<()> {
        let before = self.target.effects().len();
        let breaks_off = self.random.chance(0.5).then(|| self.random.below(4) as usize);
        let held = self.target.rows("orders").len();
        self.run(RunOptions::reconcile(), breaks_off).await?;
        let present: BTreeSet<Key> = self.shop.rows("orders").into_iter().map(|(key, _)| key).collect();
        let removed: Vec<Key> = self.target.effects()[before..]
            .iter()
            .filter(|effect| effect.after.is_none())
            .map(|effect| effect.key.clone())
            .collect();
        if let Some(wrong) = removed.iter().find(|key| present.contains(key)) {
            return Err((
                "nothing_is_deleted_from_a_partial_listing",
                format!("{wrong} is at the source and was removed"),
            ));
        }
        if removed.len() > 10 && removed.len() * 10 > held {
            return Err(("mass_deletes_wait_for_a_person", format!("{} of {held} rows were removed", removed.len())));
        }
        Ok(())
    }

    /// A process that dies at some await: its future is dropped.
    async fn crash(&mut self) {
        let engine = self.engine(None);
        let mut run = Box::pin(engine.run("shop"));
        for _ in 0..self.random.below(60) {
            if futures::poll!(run.as_mut()).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        self.trace.push("crash".to_owned());
    }

    /// A process that sleeps in the middle of a run while another takes over, and then goes on.
    async fn zombie(&mut self) {
        let (engine, polls) = (self.engine(None), self.random.below(60));
        let mut asleep = Box::pin(engine.run("shop"));
        for _ in 0..polls {
            if futures::poll!(asleep.as_mut()).is_ready() {
                self.trace.push("no zombie".to_owned());
                return;
            }
            tokio::task::yield_now().await;
        }
        self.work();
        if self.random.chance(0.5) {
            // The store has lost its memory: now the tokens that the sink knows are all that stops the sleeper.
            self.state = MemoryStore::new(Arc::clone(&self.clock));
        }
        let second = self.engine(None).run("shop").await;
        self.note(&second);
        self.plan.restart();
        let woken = asleep.await;
        self.note(&woken);
    }

    fn note(&mut self, ran: &Result<Report>) {
        self.trace.push(match ran {
            Ok(report) => format!("{:?} {:?}", report.status, report.ledger()),
            Err(error) => error.to_string(),
        });
    }

    /// What the ledger says, the effects say too.
    fn check_ledger(&self, report: &Report, before: usize) -> Oracle<()> {
        let ledger = report.ledger();
        let effects = &self.target.effects()[before..];
        let count = |created: bool, left: bool| {
            effects.iter().filter(|effect| effect.before.is_none() == created && effect.after.is_some() == left).count()
                as u64
        };
        let done = [count(true, true), count(false, true), count(false, false)];
        let said = [Outcome::Created, Outcome::Updated, Outcome::Deleted].map(|outcome| ledger.count(outcome));
        // A run that began after a lost reply of an earlier one may count what that one had written.
        if said != done || !ledger.balances() {
            return Err((
                "every_completed_ledger_is_true",
                format!("the ledger says {said:?}, the target saw {done:?}: {ledger:?}"),
            ));
        }
        Ok(())
    }

    fn check_effects(&self) -> Oracle<()> {
        let mut seen = BTreeSet::new();
        for effect in self.target.effects() {
            if effect.before == effect.after {
                return Err(("every_change_has_one_effect", format!("a write of {} changed nothing", effect.key)));
            }
            if let (Some(before), Some(after)) = (&effect.before, &effect.after)
                && after[1] < before[1]
            {
                return Err((
                    "versions_never_go_back_per_key",
                    format!("{}: {} after {}", effect.key, after[1], before[1]),
                ));
            }
            // Every note is another one: a state that is written twice is an effect that happened twice.
            if let Some(after) = effect.after
                && !seen.insert(after)
            {
                return Err(("every_change_has_one_effect", format!("a change of {} was applied twice", effect.key)));
            }
        }
        Ok(())
    }

    fn check_rows(&self) -> Oracle<()> {
        let (mut wanted, mut found) = (self.shop.rows("orders"), self.target.rows("orders"));
        wanted.sort();
        found.sort();
        if wanted == found {
            return Ok(());
        }
        let only = |ours: &[(Key, Vec<Value>)], theirs: &[(Key, Vec<Value>)]| -> Vec<String> {
            ours.iter().filter(|row| !theirs.contains(row)).map(|(key, row)| format!("{key} at {}", row[1])).collect()
        };
        let what =
            format!("only at the source: {:?}; only in the target: {:?}", only(&wanted, &found), only(&found, &wanted));
        Err(("every_source_row_is_in_the_target", what))
    }
}
