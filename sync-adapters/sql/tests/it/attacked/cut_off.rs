//! Runs of all kinds, cut off at any call, one after the other, on real servers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sync_core::conflict::FieldMerge;
use sync_core::memory::{Feeding, FirstLoad, MemorySource, MemoryStore};
use sync_core::model::{Outcome, RowScope};
use sync_core::retry::RetryPolicy;
use sync_core::source::Listing;
use sync_core::state::{LetterQuery, RunStatus};
use sync_core::{Engine, ErrorKind, Feed, Key, Pipeline, Report, RunOptions, Sink, StreamSpec, SystemClock};
use sync_test_servers::Database;
use sync_testkit::fault::{At, Call, Fault, FaultPlan, Faulty};

use super::apart::Apart;
use super::dry::There;
use crate::faults::{BOTH, Server};

struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % most
    }
    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize].clone()
    }
}

struct World {
    seed: u64,
    dice: Dice,
    sink: Arc<dyn Sink>,
    store: MemoryStore,
    source: MemorySource,
    streams: Vec<String>,
    versioned: bool,
    merges: bool,
    sorted: bool,
    version: i64,
    wrong: Vec<String>,
    told: Vec<String>,
}

fn range() -> RowScope {
    RowScope::Range { column: "id".into(), from: Some(5.into()), until: Some(30.into()) }
}

impl World {
    async fn new(seed: u64, server: Server, database: &Database, two: bool) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        (0..8).for_each(|_| {
            dice.below(2);
        });
        let versioned = dice.below(2) == 0;
        let apart = dice.below(4) == 0;
        let merges = versioned && dice.below(3) == 0;
        let streams: Vec<String> =
            (0..=if two { dice.below(2) } else { 0 }).map(|number| format!("o{seed}_{number}")).collect();
        let quote = if server == Server::MariaDb { '`' } else { '"' };
        let made = dice.below(2) == 0;
        if made {
            for stream in &streams {
                let sql = format!(
                    "CREATE TABLE {quote}{stream}{quote} (id bigint NOT NULL PRIMARY KEY, n bigint, note varchar(30) {} CHECK (note <> 'bad'))",
                    if server == Server::MariaDb { "CHARACTER SET utf8mb4" } else { "" }
                );
                database.client(&sql).await.unwrap();
            }
        }
        let declare = |name: &String| {
            let stream = StreamSpec::new(name.as_str()).key(["id"]).int("n").text("note");
            Arc::new(if versioned { stream.version("n") } else { stream })
        };
        let feed = Feed::new("all", streams.iter().map(declare));
        let listing = dice.one(&[Listing::Rows, Listing::Rows, Listing::Keys]);
        let source = MemorySource::new([feed])
            .feeding(Feeding::Log)
            .page(1 + dice.below(9) as usize)
            .listing(listing)
            .first_load(dice.one(&[FirstLoad::Scattered, FirstLoad::ByKey]));
        let sink = server.connect(&database.url()).await.unwrap();
        let sink: Arc<dyn Sink> = if apart { Arc::new(Apart(sink)) } else { sink };
        let sorted = dice.below(3) > 0;
        let told = vec![format!(
            "{server:?} versioned {versioned} apart {apart} merges {merges} made {made} sorted {sorted} listing {listing:?} streams {}",
            streams.len()
        )];
        Self {
            seed,
            dice,
            sink,
            store: MemoryStore::new(Arc::new(SystemClock::new())),
            source,
            streams,
            versioned,
            merges,
            sorted,
            version: 1,
            wrong: Vec::new(),
            told,
        }
    }

    fn change(&mut self) {
        for _ in 0..self.dice.below(25) {
            let stream = self.dice.one(&self.streams.clone());
            let id = self.dice.below(40) as i64;
            self.version += 1;
            if self.dice.below(3) == 0 {
                if self.versioned {
                    self.source.delete_at(&stream, &Key::new([id]), self.version);
                } else {
                    self.source.delete(&stream, &Key::new([id]));
                }
            } else {
                let note = if self.dice.below(12) == 0 { "bad" } else { "fine" };
                self.source.upsert(&stream, vec![id.into(), self.version.into(), note.into()]);
            }
        }
    }

    async fn run(&mut self, plan: &FaultPlan, options: RunOptions) -> std::result::Result<Report, String> {
        let name = format!("shop{}", self.seed);
        let quick = RetryPolicy::new().base(Duration::from_micros(100)).cap(Duration::from_millis(1)).attempts(4);
        let mut pipeline = Pipeline::new(
            format!("shop{}", self.seed),
            Faulty::new(self.source.clone(), plan),
            Faulty::new(Arc::clone(&self.sink), plan),
        );
        if self.sorted {
            pipeline = pipeline.first_load(sync_core::engine::FirstLoad::Sorted);
        }
        if self.merges {
            pipeline = pipeline.policy(FieldMerge::new());
        }
        let engine = Engine::builder(Faulty::new(self.store.clone(), plan))
            .owner("a")
            .unit_rows(4)
            .retry(quick)
            .pipeline(pipeline)
            .build()
            .unwrap();
        match tokio::time::timeout(Duration::from_secs(40), engine.run_with(&name, options)).await {
            Err(_) => {
                self.wrong.push("a run hangs".into());
                Err("hangs".into())
            }
            Ok(report) => report.map_err(|error| error.to_string()),
        }
    }

    fn kind(&mut self) -> (&'static str, RunOptions) {
        match self.dice.below(7) {
            0 | 1 => ("incremental", RunOptions::incremental()),
            2 => ("full", RunOptions::full()),
            3 | 4 => ("reconcile", RunOptions::reconcile().confirm_deletes()),
            5 => ("backfill", RunOptions::backfill("b", range())),
            _ => ("reconcile, careful", RunOptions::reconcile()),
        }
    }

    async fn rows(&self, database: &Database, server: Server, stream: &str) -> Vec<String> {
        let quote = if server == Server::MariaDb { '`' } else { '"' };
        let text = database
            .client(&format!("SELECT id, n, note FROM {quote}{stream}{quote} ORDER BY id"))
            .await
            .unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    async fn live(mut self, server: Server, database: &Database) -> (Vec<String>, u64) {
        let mut runs = 0;
        self.change();
        let mut strict = self.dice.below(3) > 0;
        if strict {
            let done = self.run(&FaultPlan::new(1), RunOptions::incremental()).await;
            self.told.push(format!("incremental -> {:?}", done.map(|report| report.ledger().outcomes)));
            self.change();
        }
        for _ in 0..1 + self.dice.below(5) {
            let (kind, options) = self.kind();
            strict &= kind != "full";
            let mut plan = FaultPlan::new(self.seed);
            let mut how = String::new();
            if self.dice.below(4) > 0 {
                let call = self.dice.one(&[
                    Call::Apply,
                    Call::Apply,
                    Call::Apply,
                    Call::Any,
                    Call::Any,
                    Call::Batch,
                    Call::Record,
                    Call::LookUp,
                    Call::State,
                ]);
                let fault = self.dice.one(&[
                    Fault::LostReply,
                    Fault::LostRequest,
                    Fault::CrashBefore,
                    Fault::CrashAfter,
                    Fault::CrashAfter,
                    Fault::Fail,
                    Fault::Refuse(ErrorKind::Forbidden),
                ]);
                let nth = 1 + self.dice.below(if call == Call::Any { 30 } else { 10 });
                how = format!(" {call:?} {nth} {fault:?}");
                plan = plan.on(call, At::Nth(nth), fault);
            }
            let mut foretold = None;
            if how.is_empty() && self.dice.below(2) == 0 {
                let dry = self.run(&FaultPlan::new(1), options.clone().dry_run()).await;
                foretold = dry.ok();
            }
            runs += 1;
            let real = self.run(&plan, options).await;
            let status = match &real {
                Ok(report) => format!("{:?} {:?}", report.status, report.ledger().outcomes),
                Err(error) => error.clone(),
            };
            self.told.push(format!("{kind}{how} -> {status}"));
            if let (Some(dry), Ok(real)) = (&foretold, &real) {
                let why = |report: &Report| {
                    report.scopes.first().and_then(|scope| scope.error.as_ref()).map(|error| error.message().to_owned())
                };
                if why(dry).is_some_and(|why| why == "the stored rows cannot be read") {
                    // Known.
                } else if dry.status != real.status
                    || (kind.starts_with("reconcile") && (dry.ledger().outcomes != real.ledger().outcomes))
                {
                    self.wrong.push(format!(
                        "dry {:?} {:?} {:?}, real {:?} {:?} {:?}",
                        dry.status,
                        dry.ledger().outcomes,
                        why(dry),
                        real.status,
                        real.ledger().outcomes,
                        why(real)
                    ));
                }
            }
            if let Ok(report) = &real {
                for error in report.scopes.iter().filter_map(|scope| scope.error.as_ref()) {
                    if error.kind() == ErrorKind::Internal && !error.to_string().contains("on purpose") {
                        self.wrong.push(format!("internal: {error}"));
                    }
                }
            }
            if self.dice.below(2) == 0 {
                self.change();
            }
        }
        let none = FaultPlan::new(1);
        let last = self.run(&none, RunOptions::incremental()).await;
        if !last.as_ref().is_ok_and(|report| report.status == RunStatus::Completed) {
            self.wrong.push(format!("the last incremental run: {last:?}"));
        }
        let mut expected_bad = Vec::new();
        if !strict {
            let last = self.run(&none, RunOptions::reconcile().confirm_deletes()).await;
            if !last.as_ref().is_ok_and(|report| report.status == RunStatus::Completed) {
                self.wrong.push(format!("the last but one reconcile: {last:?}"));
            }
        }
        for stream in self.streams.clone() {
            let there = self.rows(database, server, &stream).await;
            let mut expected = Vec::new();
            let mut bad = Vec::new();
            for (_, values) in self.source.rows(&stream) {
                let text: Vec<String> = values.iter().map(ToString::to_string).collect();
                if text[2].contains("bad") && self.told[0].contains("made true") {
                    bad.push(text[0].clone());
                } else {
                    expected.push(text.join("\t"));
                }
            }
            expected.sort_by_key(|line| line.split('\t').next().unwrap().parse::<i64>().unwrap());
            let there: Vec<String> =
                there.into_iter().filter(|line| !bad.contains(&line.split('\t').next().unwrap().to_owned())).collect();
            if there != expected {
                self.wrong.push(format!("{stream}: {there:?} instead of {expected:?}"));
            }
            expected_bad.extend(bad.into_iter().map(|id| format!("{stream} {id}")));
        }
        let letters = async |world: &Self| {
            let pipeline = Pipeline::new(format!("shop{}", world.seed), world.source.clone(), Arc::clone(&world.sink));
            let engine = Engine::builder(world.store.clone()).pipeline(pipeline).build().unwrap();
            let all = engine.dead_letters(&LetterQuery::default()).await.unwrap();
            let mut keys: Vec<String> =
                all.iter().map(|letter| format!("{} {}", letter.stream, letter.key.as_ref().unwrap())).collect();
            keys.sort();
            keys.dedup();
            keys
        };
        let open = letters(&self).await;
        let lost: Vec<&String> = expected_bad.iter().filter(|key| !open.contains(key)).collect();
        if !lost.is_empty() {
            self.wrong.push(format!("no letter of {lost:?}, but of {open:?}"));
        }
        for _ in 0..2 {
            let last = self.run(&none, RunOptions::reconcile().confirm_deletes()).await;
            let Ok(report) = &last else {
                self.wrong.push(format!("the last reconcile: {last:?}"));
                break;
            };
            let done = report.ledger();
            if report.status != RunStatus::Completed
                || [Outcome::Created, Outcome::Updated, Outcome::Deleted, Outcome::Withheld, Outcome::Duplicate]
                    .into_iter()
                    .any(|outcome| done.count(outcome) > 0)
                    && expected_bad.is_empty()
            {
                self.wrong.push(format!("the last reconcile: {report}"));
            }
        }
        let open = letters(&self).await;
        expected_bad.sort();
        let gone = open.iter().any(|key| {
            !self
                .streams
                .iter()
                .any(|stream| self.source.rows(stream).iter().any(|(there, _)| format!("{stream} {there}") == *key))
        });
        if gone && !self.told[0].contains("Keys") {
            let of: Vec<String> = self
                .streams
                .iter()
                .flat_map(|stream| {
                    self.source.rows(stream).into_iter().map(move |(key, values)| format!("{stream} {key} {values:?}"))
                })
                .filter(|row| open.iter().any(|key| row.starts_with(&format!("{key} "))))
                .collect();
            self.wrong.push(format!("letters {open:?} instead of {expected_bad:?}; at the source {of:?}"));
        }
        let told = self.told.join("; ");
        let seed = self.seed;
        (self.wrong.into_iter().map(|wrong| format!("seed {seed} [{told}]: {wrong}")).collect(), runs)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scan_of_runs_that_are_cut_off() {
    let number = |name: &str, default: u64| std::env::var(name).ok().map_or(default, |text| text.parse().unwrap());
    let (first, seconds) = (number("FIRST", 1), number("HOWLONG", 8));
    let most = number("MOST", u64::MAX);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut all = Vec::new();
    let (mut cases, mut runs) = (0, 0);
    let only = std::env::var("ONLY").unwrap_or_default();
    let two = std::env::var("STREAMS").is_ok();
    for (place, server) in BOTH.into_iter().enumerate() {
        if !format!("{server:?}").contains(&only) {
            continue;
        }
        let database = server.database().await;
        let until = if place == 0 { until - Duration::from_secs(seconds / 2) } else { until };
        let mut seed = first;
        while Instant::now() < until && seed < first.saturating_add(most) {
            let (wrong, ran) = World::new(seed, server, &database, two).await.live(server, &database).await;
            all.extend(wrong);
            seed += 1;
            cases += 1;
            runs += ran;
        }
        let left = match server {
            Server::MariaDb => database.client("SELECT table_name FROM information_schema.tables WHERE table_schema = database() AND left(table_name, 12) = '_sync_stage_'").await.unwrap(),
            Server::Postgres => database.client("SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE '\\_sync\\_stage\\_%'").await.unwrap(),
        };
        println!("{server:?}: {cases} cases so far, {runs} runs; stages left: {}", left.lines().count());
    }
    let first: Vec<String> = all.iter().take(12).map(|text| text.chars().take(1800).collect()).collect();
    assert!(all.is_empty(), "{} wrong in {cases} cases:\n{}", all.len(), first.join("\n"));
}

/// A policy looks at what is stored between two rehearsals, in which the column is wider.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_with_a_policy_over_a_column_that_is_too_narrow_says_what_the_real_run_says() {
    for server in BOTH {
        let database = server.database().await;
        database.client("CREATE TABLE orders (id bigint PRIMARY KEY, n smallint, note varchar(20)); INSERT INTO orders VALUES (1, 1, 'a'), (5, 5, 'b')").await.ok();
        if server == Server::MariaDb {
            database.client("ALTER TABLE orders CONVERT TO CHARACTER SET utf8mb4").await.unwrap();
        }
        let there = There::Server(server, database);
        let source = MemorySource::of([StreamSpec::new("orders").key(["id"]).int("n").version("n").text("note")])
            .page(7)
            .listing(Listing::Rows);
        (1..=30_i64).for_each(|id| source.upsert("orders", vec![id.into(), 1.into(), "note".into()]));
        let (store, sink) = (MemoryStore::new(Arc::new(SystemClock::new())), there.sink().await);
        let go = async |options: RunOptions| {
            let pipeline = Pipeline::new("shop", source.clone(), Arc::clone(&sink)).policy(FieldMerge::new());
            let quick = super::dry::quick();
            let engine = Engine::builder(store.clone())
                .owner("one")
                .unit_rows(10)
                .retry(quick)
                .pipeline(pipeline)
                .build()
                .unwrap();
            engine.run_with("shop", options).await.unwrap()
        };
        let before = there.catalog().await;
        for _ in 0..2 {
            let dry = go(RunOptions::incremental().dry_run()).await;
            assert_eq!(before, there.catalog().await);
            assert_eq!(dry.status, RunStatus::Completed, "{server:?}: {dry} {:?}", dry.scopes[0].error);
        }
        let real = go(RunOptions::incremental()).await;
        assert_eq!(real.status, RunStatus::Completed, "{server:?}: {real}");
    }
}

/// A policy decides by what is stored, which a table without the column cannot say.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_with_a_policy_over_a_table_that_lacks_a_column_says_so() {
    for there in There::all().await {
        let made = "CREATE TABLE orders (id bigint NOT NULL PRIMARY KEY, n bigint); INSERT INTO orders VALUES (1, 1)";
        there.tell(&made.replace("bigint", "INTEGER"), made, made).await;
        let source = MemorySource::of([StreamSpec::new("orders").key(["id"]).int("n").version("n").text("note")]);
        source.upsert("orders", vec![1.into(), 2.into(), "note".into()]);
        let (store, sink) = (MemoryStore::new(Arc::new(SystemClock::new())), there.sink().await);
        let pipeline = Pipeline::new("shop", source.clone(), sink).policy(FieldMerge::new());
        let engine = Engine::builder(store).retry(super::dry::quick()).pipeline(pipeline).build().unwrap();
        let dry = engine.run_with("shop", RunOptions::incremental().dry_run()).await.unwrap();
        let said = dry.to_string();
        assert!(said.contains("the table lacks a column"), "{}: {said}", there.name());
        engine.run("shop").await.unwrap().completed().unwrap();
    }
}

/// Whoever watches a first load with dry runs disturbs nobody and is not disturbed.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_beside_a_real_one_disturbs_nobody_and_says_nothing_untrue() {
    let mut odd = Vec::new();
    for server in BOTH {
        let database = server.database().await;
        let there = There::Server(server, database);
        let until = Instant::now() + Duration::from_secs(4);
        let (mut rounds, mut dries) = (0, 0);
        while Instant::now() < until {
            rounds += 1;
            let name = format!("orders{rounds}");
            let declare = |late: bool| {
                let it = StreamSpec::new(name.as_str()).key(["id"]).int("n").text("note");
                if late { it.text("late") } else { it }
            };
            let source =
                MemorySource::of([declare(true)]).page(40).listing(Listing::Rows).first_load(FirstLoad::Scattered);
            (1..=400_i64).for_each(|id| source.upsert(&name, vec![id.into(), 1.into(), "note".into(), "late".into()]));
            let (store, sink) = (MemoryStore::new(Arc::new(SystemClock::new())), there.sink().await);
            let go = async |sink: Arc<dyn Sink>, options: RunOptions| {
                let pipeline =
                    Pipeline::new("shop", source.clone(), sink).first_load(sync_core::engine::FirstLoad::Sorted);
                let engine = Engine::builder(store.clone())
                    .owner("one")
                    .unit_rows(40)
                    .retry(RetryPolicy::new().base(Duration::from_millis(5)).cap(Duration::from_millis(50)))
                    .pipeline(pipeline)
                    .build()
                    .unwrap();
                engine.run_with("shop", options).await.unwrap()
            };
            if rounds % 2 == 0 {
                there
                    .tell(
                        "",
                        &format!("CREATE TABLE {name} (id bigint PRIMARY KEY, n bigint)"),
                        &format!("CREATE TABLE {name} (id bigint PRIMARY KEY, n bigint)"),
                    )
                    .await;
            }
            let real = async {
                let mut all = Vec::new();
                for options in [RunOptions::incremental(), RunOptions::reconcile(), RunOptions::full()] {
                    all.push(go(Arc::clone(&sink), options).await);
                }
                all
            };
            let done = std::sync::atomic::AtomicBool::new(false);
            // The same process or another one.
            let other = if rounds % 3 == 0 { Arc::clone(&sink) } else { there.sink().await };
            let watching = async {
                let mut all = Vec::new();
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    for options in [RunOptions::incremental(), RunOptions::reconcile()] {
                        let began = Instant::now();
                        all.push((go(Arc::clone(&other), options.dry_run()).await, began.elapsed()));
                    }
                }
                all
            };
            let (reals, watched) = tokio::join!(
                async {
                    let all = real.await;
                    done.store(true, std::sync::atomic::Ordering::Relaxed);
                    all
                },
                watching
            );
            for (place, report) in reals.iter().enumerate() {
                let outcomes = format!("{:?}", report.ledger().outcomes);
                let expected = if place == 0 { "{\"created\": 400}" } else { "{\"unchanged\": 400}" };
                if report.status != RunStatus::Completed || outcomes != expected {
                    odd.push(format!("{server:?} round {rounds} real {place}: {report} {:?}", report.scopes[0].error));
                }
            }
            for (report, took) in &watched {
                dries += 1;
                let error = report.scopes[0].error.as_ref().map(ToString::to_string).unwrap_or_default();
                let is_right = match report.status {
                    RunStatus::Completed => true,
                    _ => error.contains("has not come to its end") || error.contains("another run went on"),
                };
                if !is_right || report.ledger().count(Outcome::Rejected) > 0 || *took > Duration::from_secs(5) {
                    odd.push(format!(
                        "{server:?} round {rounds} dry after {took:?}: {:?} {:?} {:?}",
                        report.status,
                        report.ledger().outcomes,
                        report.scopes[0].error.as_ref().map(|error| format!("{:?} {error:#}", error.kind()))
                    ));
                }
            }
        }
        println!("{server:?}: {rounds} rounds, {dries} dry runs");
    }
    odd.truncate(15);
    assert!(odd.is_empty(), "{}", odd.join("\n"));
}

/// Somebody widens a column by hand while the process lives on.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_somebody_widens_between_two_runs_stops_no_run() {
    let mut wrong = Vec::new();
    for server in BOTH {
        for merges in [false, true] {
            let database = server.database().await;
            database
                .client("CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, price numeric(12,2), theirs int)")
                .await
                .unwrap();
            let there = There::Server(server, database);
            let source =
                MemorySource::of([StreamSpec::new("orders").key(["id"]).int("n").version("n").decimal("price", 12, 2)])
                    .page(7)
                    .feeding(Feeding::Log)
                    .listing(Listing::Rows);
            let put = |n: i64| {
                (1..=30_i64).for_each(|id| source.upsert("orders", vec![id.into(), n.into(), sync_core::Value::Null]))
            };
            let (store, sink) = (MemoryStore::new(Arc::new(SystemClock::new())), there.sink().await);
            let go = async |options: RunOptions| {
                let mut pipeline = Pipeline::new("shop", source.clone(), Arc::clone(&sink));
                if merges {
                    pipeline = pipeline.policy(FieldMerge::new());
                }
                let engine = Engine::builder(store.clone())
                    .owner("one")
                    .unit_rows(10)
                    .retry(super::dry::quick())
                    .pipeline(pipeline)
                    .build()
                    .unwrap();
                engine.run_with("shop", options).await.unwrap()
            };
            for n in 1..4 {
                put(n);
                go(RunOptions::incremental()).await.completed().unwrap();
            }
            let wider = ["numeric(14,2)", "numeric(16,2)", "numeric(18,2)"];
            for (n, wider) in (4..).zip(wider) {
                there
                    .tell(
                        "",
                        &format!("ALTER TABLE orders ALTER price TYPE {wider}"),
                        &format!("ALTER TABLE orders MODIFY price {wider}"),
                    )
                    .await;
                put(n);
                for (what, options) in
                    [("incremental", RunOptions::incremental()), ("reconcile", RunOptions::reconcile())]
                {
                    let report = go(options).await;
                    if report.status != RunStatus::Completed {
                        wrong.push(format!(
                            "{server:?} merges {merges} {wider} {what}: {:?}",
                            report.scopes[0].error.as_ref().map(ToString::to_string)
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
