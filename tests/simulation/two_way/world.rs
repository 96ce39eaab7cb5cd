//! One seed's life: hosts that write, branches that sync, faults; then peace.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use sync_core::two_way::{Access, Branch, Decision, Flaw, Hub, HubSettings, Position, Synced};
use sync_core::{Clock, Value};
use sync_testkit::{ManualClock, Random};

use super::ledger::{self, Ledger, Sale};
use super::oracles;
use super::shop::{Act, MOVEMENTS, NOTES, PRODUCTS, SALES, Site, in_memory};
use super::wire::{Faults, Mortal, Wire};

/// What a broken oracle says.
pub(super) type Oracle = Result<(), (&'static str, String)>;

/// What became of one seed.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) broken: Option<(&'static str, String)>,
    pub(super) trace: Vec<String>,
    pub(super) faults: usize,
    /// What happened in it that does not happen in every life.
    pub(super) saw: BTreeSet<&'static str>,
}

pub(super) fn live(seed: u64, flaw: Option<Flaw>) -> Life {
    live_in(seed, flaw, in_memory)
}

/// The life of a seed in a world of these sites.
pub(super) fn live_in<S: Site>(seed: u64, flaw: Option<Flaw>, make: impl Fn(&str, Arc<dyn Clock>, bool) -> S) -> Life {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed, flaw, make);
        let broken = world.live().await.err();
        Life { broken, faults: world.faults.injected(), trace: world.trace, saw: world.saw }
    })
}

/// What this seed's world is like.
#[derive(Debug, Clone, Copy)]
struct Nature {
    branches: usize,
    /// Sales have numbers that must be unique, and tills give the same ones.
    numbered: bool,
    /// Disks are set back to backups.
    restores: bool,
    /// Branches stay away longer than the master keeps its feed.
    cleans: bool,
    skewed: bool,
    fault_rate: f64,
    push_edits: usize,
    pull_rows: usize,
}

impl Nature {
    fn draw(random: &mut Random) -> Self {
        Self {
            branches: 2 + random.below(3) as usize,
            numbered: random.chance(0.3),
            restores: random.chance(0.3),
            cleans: random.chance(0.3),
            skewed: random.chance(0.5),
            fault_rate: if random.chance(0.8) { 0.02 + random.below(20) as f64 / 100.0 } else { 0.0 },
            push_edits: 1 + random.below(20) as usize,
            pull_rows: 1 + random.below(20) as usize,
        }
    }
}

/// The world of one seed. Site 0 is the master.
pub(super) struct World<S: Site> {
    random: Random,
    nature: Nature,
    pub(super) sites: Vec<S>,
    branches: Vec<Branch>,
    hub: Hub,
    clock: Arc<ManualClock>,
    pub(super) faults: Faults,
    pub(super) ledger: Ledger,
    /// How many rows each host has changed.
    pub(super) changes: Vec<usize>,
    backups: Vec<Option<(S::Backup, Ledger)>>,
    /// Whether a site has loaded everything and was not interrupted while it loaded again.
    whole: Vec<bool>,
    /// Whether a site or its master was set back to a backup since it synced last: it had read more, and said so.
    set_back: Vec<bool>,
    pub(super) trace: Vec<String>,
    saw: BTreeSet<&'static str>,
}

impl<S: Site> World<S> {
    fn new(seed: u64, flaw: Option<Flaw>, make: impl Fn(&str, Arc<dyn Clock>, bool) -> S) -> Self {
        let mut random = Random::new(seed);
        let nature = Nature::draw(&mut random);
        let clock = Arc::new(ManualClock::new(seed));
        let shared: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let faults = Faults::new(seed ^ 0xFA17, nature.fault_rate);
        let sites: Vec<S> = (0..=nature.branches)
            .map(|number| {
                let name = if number == 0 { "master".to_owned() } else { format!("till-{number}") };
                make(&name, Arc::clone(&shared), nature.numbered)
            })
            .collect();
        let mut settings = HubSettings::default();
        (settings.keep, settings.forget) = (Duration::from_secs(3600), Duration::from_secs(20 * 3600));
        let mortal = |site: &S| Mortal { site: site.clone(), faults: faults.clone() };
        let mut hub = Hub::new(mortal(&sites[0]), Arc::clone(&shared)).settings(settings);
        if let Some(flaw) = flaw {
            hub = hub.plant(flaw);
        }
        let branches = sites[1..]
            .iter()
            .map(|site| {
                let wire = Wire { hub: hub.clone(), faults: faults.clone() };
                let branch = Branch::new(mortal(site), wire, Arc::clone(&shared))
                    .push_edits(nature.push_edits)
                    .pull_rows(nature.pull_rows);
                match flaw {
                    Some(flaw) => branch.plant(flaw),
                    None => branch,
                }
            })
            .collect();
        let count = sites.len();
        Self {
            random,
            sites,
            branches,
            hub,
            clock,
            faults,
            ledger: Ledger::default(),
            changes: vec![0; count],
            backups: vec![None; count],
            whole: vec![false; count],
            set_back: vec![false; count],
            trace: vec![format!("{nature:?}")],
            saw: BTreeSet::new(),
            nature,
        }
    }

    pub(super) fn is_whole(&self, site: usize) -> bool {
        site == 0 || self.whole[site]
    }

    pub(super) fn restores(&self) -> bool {
        self.nature.restores
    }

    async fn live(&mut self) -> Oracle {
        for number in 0..3 {
            let (id, stock) = (format!("p{number}"), 1000);
            let row = vec![id.clone().into(), "new".into(), 0.into(), stock.into()];
            self.sites[0].run(&[Act::Put(PRODUCTS, row)]).await.unwrap();
            self.ledger.stock.insert(id, stock);
        }
        for _ in 0..40 {
            let site = self.random.below(self.sites.len() as u64) as usize;
            match self.random.below(20) {
                0..=4 => self.sell(site).await,
                5..=6 => self.set(site).await,
                7 if self.random.chance(0.5) => self.set(site).await,
                8 => self.write_note(site).await,
                9 => self.delete_note(site).await,
                10..=15 if site > 0 => self.sync(site).await?,
                16 => self.clock.advance(Duration::from_secs(self.random.below(5000))),
                17 => self.faults.bring_an_old_one(&self.hub).await,
                7 | 19 if self.nature.restores => self.backup_or_restore(site).await,
                18 if self.nature.cleans => self.clean(site).await?,
                _ if self.nature.skewed => {
                    let minutes = self.random.below(48 * 60) as i64 - 24 * 60;
                    self.sites[site].skew(TimeDelta::minutes(minutes));
                }
                _ => {}
            }
            oracles::groups_are_whole(self).await?;
        }
        self.faults.quiet();
        self.make_peace().await?;
        oracles::groups_are_whole(self).await?;
        oracles::all_end_equal(self).await?;
        oracles::every_sale_is_there(self).await?;
        oracles::stock_is_what_was_not_sold(self).await?;
        oracles::no_write_is_lost_unseen(self).await?;
        oracles::what_met_a_change_says_so(self).await?;
        oracles::no_change_goes_round(self)?;
        oracles::deletes_stay_and_notes_stay(self).await
    }

    fn see(&mut self, site: usize, synced: &Synced) {
        let mut saw = |happened: bool, what| happened.then(|| self.saw.insert(what));
        saw(synced.met > 0, "an edit met a change");
        saw(synced.waiting > 0, "an edit waits");
        saw(synced.clamped > 0, "a time lay in the future");
        saw(synced.resent > 0, "the master had lost edits");
        saw(synced.loaded && self.whole[site], "a branch started over");
        saw(synced.swept > 0, "a row was found gone");
    }

    fn note(&mut self, what: String) {
        self.trace.push(what);
    }

    async fn products(&self, site: usize) -> Vec<Vec<Value>> {
        self.sites[site].rows(PRODUCTS).await.into_iter().map(|(_, row)| row).collect()
    }

    async fn a_product(&mut self, site: usize) -> Option<Vec<Value>> {
        let products = self.products(site).await;
        let which = self.random.below(products.len().max(1) as u64) as usize;
        products.get(which).cloned()
    }

    /// A sale, its movement and the stock, in one transaction.
    async fn sell(&mut self, site: usize) {
        let Some(product) = self.a_product(site).await else { return };
        let (number, quantity) = (self.ledger.fresh(), 1 + self.random.below(5) as i64);
        let (id, product) = (format!("s{number}"), product[0].to_string());
        // Two tills that count for themselves give the same number sooner or later.
        let given = if self.nature.numbered { self.random.below(40) } else { number };
        let sale = vec![id.clone().into(), product.clone().into(), quantity.into(), (given as i64).into()];
        let movement = vec![format!("m{number}").into(), id.clone().into(), quantity.into()];
        let acts = [Act::Put(SALES, sale), Act::Put(MOVEMENTS, movement), Act::Take(product.clone(), quantity)];
        if self.sites[site].run(&acts).await.is_ok() {
            self.changes[site] += acts.len();
            self.note(format!("site {site} sells {quantity} of {product} as {id}, number {given}"));
            self.ledger.sales.insert(id, Sale { site, product, quantity });
        }
    }

    /// A new name or a new price.
    async fn set(&mut self, site: usize) {
        let Some(product) = self.a_product(site).await else { return };
        let (column, fresh, id) = (1 + self.random.below(2) as usize, self.ledger.fresh(), product[0].to_string());
        let value: Value = if column == 1 { format!("n{fresh}").into() } else { (fresh as i64).into() };
        let replaced = product[column].to_string();
        self.changes[site] += 1;
        self.sites[site].run(&[Act::Set(id.clone(), column, value.clone())]).await.unwrap();
        self.note(format!("site {site} sets column {column} of {id} from {replaced} to {value}"));
        self.ledger.values.insert((id, column, value.to_string()), ledger::Value { site, replaced });
    }

    async fn write_note(&mut self, site: usize) {
        let id = format!("t{}", self.ledger.fresh());
        self.sites[site].run(&[Act::Put(NOTES, vec![id.clone().into(), "note".into()])]).await.unwrap();
        self.changes[site] += 1;
        self.note(format!("site {site} writes note {id}"));
        self.ledger.notes.insert(id, site);
    }

    async fn delete_note(&mut self, site: usize) {
        let notes = self.sites[site].rows(NOTES).await;
        let which = self.random.below(notes.len().max(1) as u64) as usize;
        let Some((_, row)) = notes.get(which) else { return };
        let id = row[0].to_string();
        self.sites[site].run(&[Act::Delete(NOTES, id.clone())]).await.unwrap();
        self.changes[site] += 1;
        self.note(format!("site {site} deletes note {id}"));
        self.ledger.deleted.insert(id, site);
    }

    async fn sync(&mut self, site: usize) -> Oracle {
        let synced = self.branches[site - 1].sync().await;
        self.note(format!("site {site} syncs: {synced:?}"));
        if let Ok(synced) = &synced {
            self.see(site, synced);
        }
        match &synced {
            Ok(_) => (self.whole[site], self.set_back[site]) = (true, false),
            // It may have been interrupted while it loaded everything again.
            Err(_) if self.nature.restores || self.nature.cleans => self.whole[site] = false,
            Err(_) => {}
        }
        Ok(())
    }

    async fn clean(&mut self, site: usize) -> Oracle {
        if site > 0 {
            let _ = self.branches[site - 1].clean_up().await;
            return Ok(());
        }
        // Time passes, so that there is something to forget; not so much that a branch counts as lost.
        self.clock.advance(Duration::from_secs(2 * 3600));
        let cleaned = self.hub.clean_up().await;
        self.note(format!("the master cleans up: {cleaned:?}"));
        for (branch, set_back) in self.branches.iter().zip(&self.set_back[1..]) {
            let Some(Position::Feed(read)) = branch.link().await.unwrap().position else { continue };
            let trimmed = self.sites[0].look().await.unwrap().head().await.unwrap().trimmed;
            let lost = cleaned.as_ref().is_ok_and(|cleaned| cleaned.peers > 0);
            if trimmed > read.seq && !lost && !set_back {
                let what = format!("entries up to {trimmed} are forgotten, and a branch has read up to {}", read.seq);
                return Err(("nothing_is_forgotten_that_somebody_needs", what));
            }
        }
        Ok(())
    }

    async fn backup_or_restore(&mut self, site: usize) {
        let kept = (0..self.sites.len()).find(|site| self.backups[*site].is_some());
        let Some((site, (backup, ledger))) = kept.and_then(|site| Some((site, self.backups[site].take()?))) else {
            self.backups[site] = Some((self.sites[site].backup().await, self.ledger.clone()));
            return self.note(format!("site {site} takes a backup"));
        };
        self.sites[site].restore(&backup).await;
        self.note(format!("site {site} is set back to its backup"));
        self.ledger.set_back(site, &ledger);
        match site {
            0 => self.set_back.fill(true),
            branch => self.set_back[branch] = true,
        }
        self.whole[site] = false;
    }

    /// Nothing fails any more: after some rounds nobody has anything to say.
    async fn make_peace(&mut self) -> Oracle {
        for _ in 0..3 {
            self.sync_all().await?;
        }
        let everything = Access::everything();
        for waiting in self.hub.inbox(&everything).await.unwrap() {
            self.note(format!("a person turns down {}: {:?}", waiting.id, waiting.reason));
            // What waited behind another group may have passed meanwhile.
            if self.hub.decide(&waiting.id, Decision::KeepExisting, &everything).await.is_ok() {
                self.ledger.turn_down(&waiting.group.edits);
            }
        }
        for _ in 0..4 {
            self.sync_all().await?;
        }
        self.faults.busy();
        self.sync_all().await?;
        match self.faults.busy() {
            0 => Ok(()),
            busy => Err(("silence_at_rest", format!("{busy} messages still carry something"))),
        }
    }

    async fn sync_all(&mut self) -> Oracle {
        for number in 1..self.sites.len() {
            let synced = self.branches[number - 1].sync().await;
            self.note(format!("site {number} syncs in peace: {synced:?}"));
            if std::env::var("SIM_MORE").is_ok() {
                let link = self.branches[number - 1].link().await.unwrap();
                self.note(format!(
                    "  {link:?}\n  here {:?}\n  there {:?}",
                    self.products(number).await,
                    self.products(0).await
                ));
            }
            if let Ok(synced) = &synced {
                self.see(number, synced);
            }
            if self.branches[number - 1].link().await.unwrap().life > 0 {
                self.saw.insert("a branch began another life");
            }
            match synced {
                Ok(_) => self.whole[number] = true,
                Err(error) => return Err(("lag_reaches_zero", format!("site {number}: {error}"))),
            }
        }
        Ok(())
    }
}
