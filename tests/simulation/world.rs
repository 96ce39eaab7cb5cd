//! One seed's life: work at the source, runs of the engine, crashes, zombies and faults; then peace.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use chrono::TimeDelta;
use sync_core::conflict::IncomingWins;
use sync_core::engine::{Bug, Pipeline, Report, RunOptions};
use sync_core::memory::{MemorySink, MemorySource, MemoryStore};
use sync_core::model::{RowScope, Timestamp};
use sync_core::state::{LetterQuery, RunStatus};
use sync_core::{Clock, Engine, Key, Result, Value};
use sync_testkit::fault::{FaultPlan, Faulty};
use sync_testkit::{ManualClock, Random};

use crate::adapters::{BreaksOff, Careless};
use crate::nature::Nature;

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
pub(crate) type Oracle<T> = std::result::Result<T, Broken>;

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

/// The world of one seed.
pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) nature: Nature,
    pub(crate) plant: Plant,
    pub(crate) shop: MemorySource,
    pub(crate) target: MemorySink,
    pub(crate) state: MemoryStore,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) plan: FaultPlan,
    /// Transactions of the shop: the rows each of them wrote.
    pub(crate) groups: Vec<Vec<(Key, Vec<Value>)>>,
    /// Rows that the source could not read at some time.
    pub(crate) spoiled: BTreeSet<Key>,
    /// Whether the first load is over: it reads rows without their transactions.
    loaded: bool,
    ran_to_the_end: bool,
    version: i64,
    trace: Vec<String>,
}

impl World {
    fn new(seed: u64, plant: Plant) -> Self {
        let mut random = Random::new(seed);
        let nature = Nature::draw(&mut random);
        let clock = Arc::new(ManualClock::new(seed));
        let shared: Arc<dyn Clock> = Arc::clone(&clock) as _;
        Self {
            shop: nature.shop(&mut random),
            target: nature.target().clock(Arc::clone(&shared)),
            state: MemoryStore::new(shared),
            plan: nature.faults(seed, &mut random),
            groups: Vec::new(),
            spoiled: BTreeSet::new(),
            loaded: false,
            ran_to_the_end: false,
            version: 0,
            trace: vec![format!("{nature:?}")],
            nature,
            plant,
            clock,
            random,
        }
    }

    async fn live(&mut self) -> Oracle<()> {
        for _ in 0..10 {
            self.work();
            match self.random.below(13) {
                // Where incoming rows always win, reading everything again would go through old states; and a full run over
                // a log jumps over deletes, which only a listing finds, and reads rows without their transactions.
                5 if self.nature.incoming_wins || self.nature.partitions > 1 || self.nature.groups => {}
                0..=4 => {
                    self.run(RunOptions::incremental(), None).await?;
                    self.loaded |= self.ran_to_the_end;
                }
                5 => self.run(RunOptions::full(), None).await?,
                6 => self.dry_run().await?,
                7 => self.reconcile().await?,
                8 => self.crash().await,
                9 | 10 if self.nature.is_fenced() => self.zombie().await,
                11 if !self.nature.rows_come_ahead() => self.backfill().await?,
                12 => self.clock.jump(TimeDelta::minutes(self.random.below(40) as i64 - 20)),
                _ => {}
            }
            self.check_effects()?;
            self.check_position().await?;
            self.check_groups()?;
            self.check_letters().await?;
        }
        self.plan.quiet();
        self.make_peace().await?;
        self.check_effects()?;
        self.check_rows()
    }

    /// Nothing fails any more: what was rejected is tried again, and what was not seen is looked for.
    async fn make_peace(&mut self) -> Oracle<()> {
        self.plan.heal();
        self.spoiled.iter().for_each(|key| self.shop.mend("orders", key));
        self.run_in_peace(RunOptions::incremental()).await?;
        if self.nature.rejects() {
            let replayed = self.engine(None).replay("shop", LetterQuery::default()).await;
            let replayed = replayed.map_err(|error| ("lag_reaches_zero", error.to_string()))?;
            if !replayed.balances() {
                return Err(("every_completed_ledger_is_true", format!("{replayed:?}")));
            }
        }
        if self.nature.partitions > 1 {
            return Ok(());
        }
        // A feed by version shows no deletes, and a full run jumps over those in the log: a complete listing finds them.
        self.run_in_peace(RunOptions::reconcile().confirm_deletes()).await
    }

    /// Changes some rows of the shop, some of them together.
    fn work(&mut self) {
        for _ in 0..self.random.below(30) {
            // Of two letters with one version, either may stay.
            self.version += i64::from(self.nature.rejects() || self.random.chance(0.7));
            let key = Key::new([self.random.below(60)]);
            let at = Timestamp::from_micros(self.version);
            if self.nature.spoils && self.random.chance(0.02) && self.shop.rows("orders").iter().any(|row| row.0 == key)
            {
                self.shop.spoil("orders", &key, "unreadable");
                self.spoiled.insert(key);
            } else if self.random.chance(0.1) {
                self.shop.delete_at("orders", &key, at);
            } else if self.nature.groups && self.random.chance(0.2) {
                self.sell_together(at);
            } else {
                let row = self.order(&key, at);
                self.shop.upsert("orders", row);
            }
        }
    }

    /// Every note is another one: so every state can be told from every other.
    fn order(&mut self, key: &Key, at: Timestamp) -> Vec<Value> {
        vec![key.values()[0].clone(), Value::Timestamp(at), format!("note {}", self.random.next()).into()]
    }

    /// Some orders in one transaction.
    fn sell_together(&mut self, at: Timestamp) {
        let keys: BTreeSet<u64> = (0..2 + self.random.below(4)).map(|_| self.random.below(60)).collect();
        let rows: Vec<(Key, Vec<Value>)> = keys
            .into_iter()
            .map(|id| {
                let key = Key::new([id]);
                let row = self.order(&key, at);
                (key, row)
            })
            .collect();
        self.shop.transaction(|shop| rows.iter().for_each(|(_, row)| shop.upsert("orders", row.clone())));
        if self.loaded {
            self.groups.push(rows);
        }
    }

    /// A process of its own: nothing survives from the one before but the target and the store.
    fn engine(&self, breaks_off: Option<usize>) -> Engine {
        self.plan.restart();
        let source = BreaksOff { inner: self.shop.clone(), after: breaks_off };
        let sink = Careless { inner: self.target.clone(), careless: self.plant == Plant::IgnoredToken };
        let mut pipeline = Pipeline::new("shop", Faulty::new(source, &self.plan), Faulty::new(sink, &self.plan));
        if self.nature.incoming_wins {
            pipeline = pipeline.policy(IncomingWins);
        }
        let store = Faulty::new(self.state.clone(), &self.plan).clock(self.shared_clock());
        let builder = Engine::builder(store).clock(self.shared_clock()).owner("the only one").pipeline(pipeline);
        let builder = match self.plant {
            Plant::Engine(bug) => builder.plant(bug),
            Plant::Nothing | Plant::IgnoredToken => builder,
        };
        builder.build().unwrap()
    }

    fn shared_clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock) as _
    }

    async fn run(&mut self, options: RunOptions, breaks_off: Option<usize>) -> Oracle<()> {
        let before = self.target.effects().len();
        self.ran_to_the_end = false;
        let ran = self.engine(breaks_off).run_with("shop", options).await;
        self.note(&ran);
        match ran {
            Ok(report) if report.status == RunStatus::Completed => {
                self.ran_to_the_end = true;
                self.check_ledger(&report, before)
            }
            Ok(report) if !report.ledger().balances() => {
                Err(("every_ledger_balances", format!("of a run that did not complete: {report}")))
            }
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

    /// A part of the rows again, beside the live position.
    async fn backfill(&mut self) -> Oracle<()> {
        let from = self.random.below(60);
        let rows = RowScope::Range { column: "id".into(), from: Some(from.into()), until: Some((from + 20).into()) };
        self.run(RunOptions::backfill("again", rows), None).await
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
        // Early, with its first rows in its hands, or at any time.
        let most = if self.random.chance(0.7) { 25 } else { 60 };
        let (engine, polls) = (self.engine(None), self.random.below(most));
        let mut asleep = Box::pin(engine.run("shop"));
        for _ in 0..polls {
            if futures::poll!(asleep.as_mut()).is_ready() {
                self.trace.push("no zombie".to_owned());
                return;
            }
            tokio::task::yield_now().await;
        }
        // Enough that some of it is about rows that the sleeper has in its hands.
        for _ in 0..4 {
            self.work();
        }
        if !self.nature.rejects() && self.random.chance(0.5) {
            // The store has lost its memory: now the tokens that the sink knows are all that stops the sleeper.
            self.state = MemoryStore::new(self.shared_clock());
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
}
