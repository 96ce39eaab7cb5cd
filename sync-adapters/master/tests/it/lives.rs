//! Lives of a sink that meet, come late, or share a name; and masters that go back to a backup.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use sync_core::engine::{Engine, Pipeline, Report, RunOptions};
use sync_core::memory::{Backup, Feeding, MemoryReplica, MemorySink, MemorySource, MemoryStore};
use sync_core::model::Outcome;
use sync_core::state::RunStatus;
use sync_core::two_way::{Access, Branch, Found, Hub, Lookup, Master, Page, Pull, Push, Pushed};
use sync_core::{Error, ErrorKind, Key, Result, Value};
use sync_master::{MasterSink, MasterSource};
use sync_testkit::Random;

use crate::as_sink_attacked::{engine, price, prices};
use crate::client::Way;
use crate::support::*;

fn stock(replica: &MemoryReplica, id: &str) -> Value {
    row(replica, "items", id).unwrap()[4].clone()
}

#[tokio::test]
async fn a_branch_that_has_the_name_of_a_sink_still_sends_what_it_writes() {
    let shop = Shop::open().await;
    let way = Way::to(shop.router.clone()).await;
    let till = replica("prices");
    let branch = Branch::new(till.clone(), way.master(SecretString::from(token("A", "1"))), clock());
    branch.sync().await.unwrap();
    put(&till, "items", item("a1", "A", "1", "pear", 9)).await;
    branch.sync().await.unwrap();
    let source = MemorySource::of([prices()]);
    price(&source, "p1", "plum", 5);
    let sink = MasterSink::new("prices", way.master(SecretString::from(token("A", "1"))), &tables(), clock());
    engine(&source, sink).run("prices").await.unwrap().completed().unwrap();
    put(&till, "items", item("a1", "A", "1", "pear", 7)).await;
    for _ in 0..3 {
        let _ = branch.sync().await;
    }
    branch.sync().await.unwrap();
    assert_eq!(stock(&shop.master, "a1"), 7.into());
}

/// A way on which everything takes its time, pushes come after whoever sent them is gone, or twice, and answers are lost.
#[derive(Debug, Clone)]
struct Slow<M> {
    way: M,
    seed: Arc<AtomicU64>,
    /// Of a hundred pushes so many lose their answer, and so many come twice.
    loses: u64,
}

impl<M> Slow<M> {
    fn random(&self) -> Random {
        Random::new(self.seed.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    async fn pause(&self, most: u64) {
        tokio::time::sleep(Duration::from_micros(self.random().below(most))).await;
    }
}

#[async_trait]
impl<M: Master + Clone + 'static> Master for Slow<M> {
    async fn push(&self, push: &Push) -> Result<Pushed> {
        let mut random = self.random();
        let (late, lost) = (random.below(100) < self.loses, random.below(100) < self.loses);
        let (way, push) = (self.clone(), push.clone());
        if late {
            let (way, push) = (way.clone(), push.clone());
            tokio::spawn(async move {
                way.pause(60_000).await;
                way.way.push(&push).await
            });
        }
        // Whoever asked may be gone by then.
        let taken = tokio::spawn(async move {
            way.pause(8_000).await;
            way.way.push(&push).await
        });
        let taken = taken.await.unwrap();
        self.pause(3_000).await;
        if lost { Err(Error::new(ErrorKind::Unavailable, "lost").ambiguous()) } else { taken }
    }

    async fn pull(&self, pull: &Pull) -> Result<Page> {
        let (way, pull) = (self.clone(), pull.clone());
        if self.random().below(100) < self.loses {
            let (way, pull) = (way.clone(), pull.clone());
            tokio::spawn(async move {
                way.pause(60_000).await;
                way.way.pull(&pull).await
            });
        }
        let page = tokio::spawn(async move {
            way.pause(4_000).await;
            way.way.pull(&pull).await
        });
        page.await.unwrap()
    }

    async fn look_up(&self, lookup: &Lookup) -> Result<Vec<Found>> {
        self.pause(3_000).await;
        self.way.look_up(lookup).await
    }
}

const ROWS: i64 = 60;

fn id(n: i64) -> String {
    format!("n{n:03}")
}

/// What stocks the source has had, and nothing that could be a sum of others.
struct Told {
    source: MemorySource,
    random: Random,
    was: Vec<Vec<i64>>,
}

impl Told {
    fn new(seed: u64) -> Self {
        let source = MemorySource::of([prices()]).page(20);
        Self { source, random: Random::new(seed), was: vec![Vec::new(); ROWS as usize] }
    }

    fn change(&mut self) {
        for n in 0..ROWS {
            if self.was[n as usize].is_empty() || self.random.chance(0.5) {
                let stock = (self.random.below(1 << 40)) as i64;
                self.was[n as usize].push(stock);
                price(&self.source, &id(n), "pear", stock);
            }
        }
    }

    /// Every stock that the master ever had was told by the source, and in the end it is the last.
    fn assert_true(&self, master: &MemoryReplica, what: &str) {
        for entry in master.entries() {
            let Some(after) = &entry.after else { continue };
            let Some(n) =
                after[0].to_string().trim_matches('"').strip_prefix('n').and_then(|n| n.parse::<usize>().ok())
            else {
                continue;
            };
            let stock = match after[4] {
                Value::Int(stock) => stock,
                _ => panic!("no stock"),
            };
            assert!(self.was[n].contains(&stock), "{what}: {stock} of {n}, of which {:?} were told", self.was[n]);
        }
        for n in 0..ROWS {
            assert_eq!(stock(master, &id(n)), (*self.was[n as usize].last().unwrap()).into(), "{what}: {n}");
        }
    }
}

fn told(report: &Report) -> String {
    format!("{report} {:?}", report.scopes.iter().map(|scope| &scope.error).collect::<Vec<_>>())
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_are_killed_again_and_again_on_a_way_that_delays_and_doubles_add_nothing_twice() {
    for seed in 1..=12 {
        let master = replica("master");
        let way = (Hub::new(master.clone(), clock()), Access::everything());
        let slow = Slow { way, seed: Arc::new(AtomicU64::new(seed * 1_000_000)), loses: 15 };
        let (mut told_by, mut random) = (Told::new(seed), Random::new(seed));
        for _ in 0..25 {
            told_by.change();
            let engine =
                engine(&told_by.source, MasterSink::new("prices", slow.clone(), &tables(), clock()).group_rows(7));
            let run = tokio::spawn(async move { engine.run_with("prices", RunOptions::full()).await });
            tokio::time::sleep(Duration::from_millis(random.below(60))).await;
            run.abort();
        }
        let last = engine(&told_by.source, MasterSink::new("prices", slow.clone(), &tables(), clock()).group_rows(7));
        let report = last.run_with("prices", RunOptions::full()).await.unwrap();
        assert_eq!(report.status, RunStatus::Completed, "seed {seed}: {}", told(&report));
        tokio::time::sleep(Duration::from_millis(100)).await;
        told_by.assert_true(&master, &format!("seed {seed}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_live_processes_of_one_sink_come_to_rest_and_lose_and_double_nothing() {
    let (mut failed, mut named) = (Vec::new(), 0);
    for seed in 1..=6 {
        let master = replica("master");
        let way = (Hub::new(master.clone(), clock()), Access::everything());
        let slow = Slow { way, seed: Arc::new(AtomicU64::new(seed * 1_000_000)), loses: 5 };
        let mut told_by = Told::new(seed);
        let process =
            || engine(&told_by.source, MasterSink::new("prices", slow.clone(), &tables(), clock()).group_rows(7));
        let (one, other) = (process(), process());
        for round in 0..4 {
            told_by.change();
            let runs = [&one, &other].map(|engine| engine.run_with("prices", RunOptions::full()));
            for report in futures::future::join_all(runs).await {
                let report = report.unwrap();
                named += usize::from(report.to_string().contains("another process writes to the master"));
                if report.status != RunStatus::Completed {
                    failed.push(format!("seed {seed}, round {round}: {}", told(&report)));
                }
            }
            if failed.is_empty() {
                tokio::time::sleep(Duration::from_millis(80)).await;
                told_by.assert_true(&master, &format!("seed {seed}, round {round}"));
            }
        }
    }
    assert!(failed.is_empty(), "{} of 48 runs failed: {:#?}", failed.len(), failed);
    assert!(named > 0, "no report names the other process");
}

#[tokio::test]
async fn what_a_master_has_lost_that_was_restored_is_said_and_comes_again_with_a_full_run() {
    let master = replica("master");
    let way = (Hub::new(master.clone(), clock()), Access::everything());
    let source = MemorySource::of([prices()]).feeding(Feeding::Log);
    let engine = engine(&source, MasterSink::new("prices", way, &tables(), clock()));
    (0..10).for_each(|n| price(&source, &id(n), "pear", n));
    engine.run("prices").await.unwrap().completed().unwrap();
    let backup = master.backup();
    (10..20).for_each(|n| price(&source, &id(n), "pear", n));
    engine.run("prices").await.unwrap().completed().unwrap();
    master.restore(&backup).await;
    price(&source, &id(20), "pear", 20);
    let error = engine.run("prices").await.unwrap().completed().unwrap_err();
    assert!(error.to_string().contains("restored from a backup"), "{error}");
    engine.run_with("prices", RunOptions::full()).await.unwrap().completed().unwrap();
    assert_eq!(master.rows("items").len(), 21);
}

/// A way on which a push is lost, and the master has gone back to its backup when it comes again.
#[derive(Debug)]
struct Restoring {
    way: (Hub, Access),
    master: MemoryReplica,
    backup: Arc<Mutex<Option<Backup>>>,
}

#[async_trait]
impl Master for Restoring {
    async fn push(&self, push: &Push) -> Result<Pushed> {
        let backup = self.backup.lock().unwrap().take();
        if let Some(backup) = backup {
            self.master.restore(&backup).await;
            return Err(Error::unavailable("the push is lost").ambiguous());
        }
        self.way.push(push).await
    }

    async fn pull(&self, pull: &Pull) -> Result<Page> {
        self.way.pull(pull).await
    }

    async fn look_up(&self, lookup: &Lookup) -> Result<Vec<Found>> {
        self.way.look_up(lookup).await
    }
}

#[tokio::test]
async fn a_sink_whose_push_is_unanswered_while_the_master_is_restored_says_what_was_lost() {
    let master = replica("master");
    let backup = Arc::new(Mutex::new(None));
    let way = (Hub::new(master.clone(), clock()), Access::everything());
    let way = Restoring { way, master: master.clone(), backup: Arc::clone(&backup) };
    let source = MemorySource::of([prices()]).feeding(Feeding::Log);
    let engine = engine(&source, MasterSink::new("prices", way, &tables(), clock()));
    let before = master.backup();
    (0..10).for_each(|n| price(&source, &id(n), "pear", n));
    engine.run("prices").await.unwrap().completed().unwrap();
    *backup.lock().unwrap() = Some(before);
    price(&source, &id(20), "pear", 20);
    let error = engine.run("prices").await.unwrap().completed().unwrap_err();
    assert!(error.to_string().contains("restored from a backup"), "{error}");
    engine.run_with("prices", RunOptions::full()).await.unwrap().completed().unwrap();
    assert_eq!(master.rows("items").len(), 11);
}

#[tokio::test]
async fn what_reads_a_master_that_was_restored_has_its_rows_again() {
    for (lost, since) in [(5, 0), (5, 3), (5, 5), (5, 9), (0, 4)] {
        let master = replica("master");
        let hub = Hub::new(master.clone(), clock());
        let sink = MemorySink::new();
        let source = MasterSource::new("reports", (hub, Access::everything()), &tables()).page_rows(3);
        let engine = Engine::builder(MemoryStore::new(clock()))
            .pipeline(Pipeline::new("reports", source, sink.clone()))
            .build()
            .unwrap();
        for n in 0..10 {
            put(&master, "items", item(&id(n), "A", "1", "pear", n)).await;
        }
        engine.run("reports").await.unwrap().completed().unwrap();
        let backup = master.backup();
        for n in 0..lost {
            put(&master, "items", item(&id(n + 8), "A", "1", "lost", n)).await;
        }
        engine.run("reports").await.unwrap().completed().unwrap();
        master.restore(&backup).await;
        for n in 0..since {
            put(&master, "items", item(&id(20 + n), "A", "1", "since", n)).await;
        }
        engine.run("reports").await.unwrap().completed().unwrap();
        let (there, here) = (master.rows("items"), sink.rows("items"));
        assert!(there.iter().all(|row| here.contains(row)), "lost {lost}, since {since}: {there:?} {here:?}");
        engine.run_with("reports", RunOptions::reconcile()).await.unwrap().completed().unwrap();
        assert_eq!(sink.rows("items"), there, "lost {lost}, since {since}");
    }
}

/// A master at which somebody works between any two pages.
#[derive(Debug, Clone)]
struct Busy {
    way: (Hub, Access),
    master: MemoryReplica,
    seed: Arc<AtomicU64>,
    rests: Arc<AtomicBool>,
}

#[async_trait]
impl Master for Busy {
    async fn push(&self, push: &Push) -> Result<Pushed> {
        self.way.push(push).await
    }

    async fn pull(&self, pull: &Pull) -> Result<Page> {
        let page = self.way.pull(pull).await;
        if self.rests.load(Ordering::SeqCst) {
            return page;
        }
        let mut random = Random::new(self.seed.fetch_add(1, Ordering::SeqCst));
        for _ in 0..random.below(4) {
            let id = id(random.below(40) as i64);
            let stock = random.below(1000) as i64;
            let deletes = random.chance(0.3) && row(&self.master, "items", &id).is_some();
            let rows =
                [item(&id, "A", "1", "busy", stock), item(&format!("m{}", random.below(40)), "A", "1", "busy", stock)];
            self.master
                .transaction(|host| {
                    if deletes {
                        return host.delete("items", &Key::new([id.as_str()]));
                    }
                    rows.iter().try_for_each(|row| host.put("items", row.clone()))
                })
                .await
                .unwrap();
        }
        page
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconcile_beside_writers_deletes_nothing_that_is_there() {
    for seed in 1..=30 {
        let master = replica("master");
        for n in 0..40 {
            put(&master, "items", item(&id(n), "A", "1", "pear", n)).await;
        }
        for n in 0..10 {
            put(&master, "items", item(&format!("still{n}"), "A", "1", "pear", n)).await;
        }
        let way = (Hub::new(master.clone(), clock()), Access::everything());
        let (seeds, rests) = (Arc::new(AtomicU64::new(seed * 100_000)), Arc::new(AtomicBool::new(false)));
        let busy = Busy { way, master: master.clone(), seed: seeds, rests: Arc::clone(&rests) };
        let sink = MemorySink::new();
        let pipeline =
            Pipeline::new("reports", MasterSource::new("reports", busy, &tables()).page_rows(5), sink.clone());
        let engine = Engine::builder(MemoryStore::new(clock())).pipeline(pipeline).build().unwrap();
        let until = Duration::from_millis(150);
        let limited = |options: RunOptions| {
            let token = tokio_util::sync::CancellationToken::new();
            let stop = token.clone();
            let options = options.cancel(token);
            async move {
                tokio::spawn(async move {
                    tokio::time::sleep(until).await;
                    stop.cancel();
                });
                options
            }
        };
        // Incremental runs never reach the end of a master that always has more: they are cancelled.
        engine.run_with("reports", limited(RunOptions::default()).await).await.unwrap();
        for _ in 0..3 {
            let (reconcile, live) = (engine.clone(), engine.clone());
            let (one, other) = tokio::join!(
                reconcile.run_with("reports", RunOptions::reconcile().confirm_deletes()),
                live.run_with("reports", limited(RunOptions::default()).await)
            );
            one.unwrap();
            other.unwrap();
            for n in 0..10 {
                assert!(
                    sink.rows("items").iter().any(|(key, _)| *key == Key::new([format!("still{n}").as_str()])),
                    "seed {seed}: {n}"
                );
            }
        }
        rests.store(true, Ordering::SeqCst);
        engine.run("reports").await.unwrap().completed().unwrap();
        assert_eq!(sink.rows("items"), master.rows("items"), "seed {seed}");
    }
}

/// The key may be the last of a page: then it stands in the cursor.
async fn loads_with_keys_of(bytes: usize) -> std::result::Result<(), String> {
    let shop = Shop::open().await;
    let way = Way::to(shop.router.clone()).await;
    let key = "k".repeat(bytes);
    for n in 0..3 {
        put(&shop.master, "items", item(&format!("{key}{n}"), "A", "1", "pear", n)).await;
    }
    let till = replica("till");
    let branch = Branch::new(till.clone(), way.master(SecretString::from(token("A", "1"))), clock()).pull_rows(2);
    let synced = branch.sync().await;
    let sink = MemorySink::new();
    let source = MasterSource::new("reports", way.master(SecretString::from(token("A", "1"))), &tables()).page_rows(2);
    let engine = Engine::builder(MemoryStore::new(clock()))
        .pipeline(Pipeline::new("reports", source, sink.clone()))
        .build()
        .unwrap();
    let report = engine.run("reports").await.unwrap();
    let rows = (till.rows("items").len(), sink.rows("items").len());
    if rows == (4, 4) { Ok(()) } else { Err(format!("{bytes} bytes: {rows:?} {synced:?} {}", told(&report))) }
}

#[tokio::test]
async fn rows_with_keys_of_40_kib_are_loaded_over_http_and_of_longer_ones_it_is_said() {
    let loads = futures::future::join_all([5_000, 16 << 10, 40 << 10].map(loads_with_keys_of)).await;
    let wrong: Vec<String> = loads.into_iter().filter_map(std::result::Result::err).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let told = loads_with_keys_of(64 << 10).await.unwrap_err();
    assert!(told.contains("too long for an address"), "{told:.2000}");
}

#[tokio::test]
async fn rows_with_keys_of_64_kib_come_in_through_a_sink_over_http() {
    let shop = Shop::open().await;
    let way = Way::to(shop.router.clone()).await;
    let source = MemorySource::of([prices()]).page(100);
    for n in 0..30 {
        price(&source, &format!("{}{n}", "k".repeat(64 << 10)), "pear", n);
    }
    let sink = MasterSink::new("prices", way.master(SecretString::from(token("A", "1"))), &tables(), clock());
    let engine = engine(&source, sink);
    for created in [30, 0] {
        let report = engine.run_with("prices", RunOptions::full()).await.unwrap();
        assert_eq!(
            (report.status, report.ledger().outcomes.count(Outcome::Created)),
            (RunStatus::Completed, created),
            "{}",
            told(&report)
        );
    }
}
