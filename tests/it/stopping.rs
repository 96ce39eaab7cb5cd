//! Runs that are cancelled, killed, fenced or stuck end in time, and the next one continues.

use super::bench::*;

/// P14. Cancelled while another program holds the database: the run is over within its deadline and half a second.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_ends_within_its_deadline_though_the_database_is_locked() {
    let (stream, world) = (orders(), World::new().await);
    let script = Script::of(&stream);
    script.then(vec![page(&stream, &[row(1, 1, "a")], at(1))]);
    script.then(vec![page(&stream, &[row(2, 1, "a")], at(2))]);
    let store = sync_store_sql::SqlStore::open_sqlite(world.folder.path().join("shop.db")).await.unwrap();
    let engine = Engine::builder(store).owner("a").pipeline(world.pipeline(script)).build().unwrap();
    engine.run("shop").await.unwrap().completed().unwrap();
    let other = world.plain();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let token = CancellationToken::new();
    token.cancel();
    let begun = std::time::Instant::now();
    let options = RunOptions::incremental().cancel(token).stop_within(Duration::from_millis(200));
    let ended = tokio::time::timeout(Duration::from_secs(10), engine.run_with("shop", options)).await;
    assert!(ended.is_ok(), "still running after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

/// P14. A run that waits for its turn behind another run of the same engine can be cancelled.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waits_for_its_turn_can_be_cancelled() {
    let (stream, world) = (orders(), World::new().await);
    #[derive(Debug)]
    struct Silent(Arc<StreamSpec>);
    #[async_trait]
    impl Source for Silent {
        fn name(&self) -> &str {
            "silent"
        }
        async fn feeds(&self) -> Result<Vec<Feed>> {
            Ok(vec![Feed::one(Arc::clone(&self.0))])
        }
        fn capabilities(&self) -> SourceCapabilities {
            SourceCapabilities::replayable(CursorKind::Position)
        }
        fn read(&self, _: ReadRequest) -> BatchStream<'_> {
            futures::stream::pending().boxed()
        }
    }
    let engine = world.engine(world.pipeline(Silent(stream)));
    let long = tokio::spawn({
        let engine = engine.clone();
        async move { engine.run("shop").await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let token = CancellationToken::new();
    token.cancel();
    let options = RunOptions::incremental().cancel(token).stop_within(Duration::from_millis(200));
    let ended = tokio::time::timeout(Duration::from_secs(5), engine.run_with("shop", options)).await;
    long.abort();
    assert!(ended.is_ok(), "a cancelled run hangs as long as the other one goes on");
}

/// The README's own setting: store and sink in one file. A transaction longer than half the lease's time
/// locks out renewal, and costs the run nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_publish_that_takes_longer_than_half_the_lease_does_not_fence_its_own_run() {
    let world = World::new().await;
    let source = MemorySource::of([StreamSpec::clone(&versioned())]).page(5000).first_load(FirstLoad::Scattered);
    for id in 1..=150_000 {
        source.upsert("orders", row(id, 1, "quite an ordinary note"));
    }
    // One row stands twice, so that the publish goes row by row.
    let store = sync_store_sql::SqlStore::open_sqlite(world.folder.path().join("shop.db")).await.unwrap();
    let engine = Engine::builder(store)
        .owner("a")
        .lease_ttl(Duration::from_millis(400))
        .pipeline(world.pipeline(source))
        .build()
        .unwrap();
    let report = engine.run("shop").await.unwrap();
    assert_eq!(
        (report.status, count(&report, Outcome::Created)),
        (RunStatus::Completed, 150_000),
        "{report} {:?}",
        report.scopes[0].error
    );
}

/// Dropped at any moment, then run to the end: every row once, every effective write once.
#[tokio::test(flavor = "multi_thread")]
async fn runs_dropped_at_random_moments_lose_and_double_nothing() {
    let world = World::prepared(
        "CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, version INTEGER, note TEXT);
        CREATE TABLE log (id INTEGER, version INTEGER);
        CREATE TRIGGER i AFTER INSERT ON orders BEGIN INSERT INTO log VALUES (NEW.id, NEW.version); END;
        CREATE TRIGGER u AFTER UPDATE ON orders BEGIN INSERT INTO log VALUES (NEW.id, NEW.version); END;",
    )
    .await;
    let file = source_table(&world, "CREATE TABLE orders (id INTEGER PRIMARY KEY, version INTEGER, note TEXT);");
    let plain = Connection::open(&file).unwrap();
    let source = SqliteSource::open(&file).await.unwrap().table(versioned()).page(7);
    let store = sync_store_sql::SqlStore::open_sqlite(world.folder.path().join("shop.db")).await.unwrap();
    let mut version = 0;
    for round in 0..60_u64 {
        for id in 0..20 {
            version += 1;
            plain
                .execute(
                    "INSERT INTO orders VALUES (?1, ?2, 'x') ON CONFLICT (id) DO UPDATE SET version = ?2",
                    [(round as i64 * 13 + id) % 300, version],
                )
                .unwrap();
        }
        let engine = Engine::builder(store.clone())
            .owner("a")
            .unit_rows(10)
            .pipeline(world.pipeline(source.clone()))
            .build()
            .unwrap();
        let micros = (round * 7919) % 9000;
        let _ = tokio::time::timeout(Duration::from_micros(micros), engine.run("shop")).await;
    }
    let engine = Engine::builder(store).owner("a").pipeline(world.pipeline(source)).build().unwrap();
    engine.run("shop").await.unwrap().completed().unwrap();
    let target = world.plain();
    let sum = |connection: &Connection| -> (i64, i64) {
        connection
            .query_row("SELECT count(*), sum(id * version) FROM orders", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
    };
    assert_eq!(sum(&plain), sum(&target));
    let doubled: i64 = target
        .query_row("SELECT count(*) FROM (SELECT 1 FROM log GROUP BY id, version HAVING count(*) > 1)", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(doubled, 0);
}

/// Two engines that know nothing of each other on one pipeline and one file.
#[tokio::test(flavor = "multi_thread")]
async fn two_engines_on_one_pipeline_lose_and_double_nothing() {
    let world = World::new().await;
    let file = source_table(&world, "CREATE TABLE orders (id INTEGER PRIMARY KEY, version INTEGER, note TEXT);");
    let plain = Connection::open(&file).unwrap();
    let source = SqliteSource::open(&file).await.unwrap().table(versioned()).page(7);
    let mut engines = Vec::new();
    for _ in 0..2 {
        let path = world.folder.path().join("shop.db");
        let store = sync_store_sql::SqlStore::open_sqlite(&path).await.unwrap();
        let sink = Sqlite::open(&path).await.unwrap();
        engines.push(Engine::builder(store).pipeline(Pipeline::new("shop", source.clone(), sink)).build().unwrap());
    }
    let mut created = 0;
    for round in 0..30_i64 {
        for id in 0..20 {
            plain.execute("INSERT INTO orders VALUES (?1, ?1, 'x')", [round * 20 + id]).unwrap();
        }
        let (a, b) = tokio::join!(engines[0].run("shop"), engines[1].run("shop"));
        for report in [a.unwrap(), b.unwrap()] {
            created += count(&report, Outcome::Created);
            let said = report.scopes[0].error.as_ref().map(ToString::to_string).unwrap_or_default();
            assert!(report.status == RunStatus::Completed || said.contains("another owner holds the lease"), "{said}");
        }
    }
    let last = engines[0].run("shop").await.unwrap();
    created += count(&last, Outcome::Created);
    assert_eq!((created, world.ids().len()), (600, 600));
}

/// P14. Cancelled while the source is still asked what it has.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_source_does_not_even_say_what_it_has_can_be_cancelled() {
    let world = World::new().await;
    let token = CancellationToken::new();
    token.cancel();
    let options = RunOptions::incremental().cancel(token).stop_within(Duration::from_millis(100));
    let engine = world.engine(world.pipeline(Mute));
    assert!(tokio::time::timeout(Duration::from_secs(3), engine.run_with("shop", options)).await.is_ok());
}

/// What the run log says about a run whose process died, once another run has taken over.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_process_died_does_not_stay_running_in_the_log() {
    use sync_testkit::fault::{At, Call, Fault, FaultPlan, Faulty};
    let (stream, world) = (orders(), World::new().await);
    let script = Script::of(&stream);
    script.then(vec![page(&stream, &[row(1, 1, "a")], at(1))]);
    script.then(vec![page(&stream, &[row(1, 1, "a")], at(1))]);
    let plan = FaultPlan::new(1).on(Call::Apply, At::Nth(1), Fault::CrashBefore);
    let dying = Engine::builder(Faulty::new(world.store.clone(), &plan))
        .owner("test")
        .pipeline(Pipeline::new("shop", script.clone(), Faulty::new(world.sink.clone(), &plan)))
        .build()
        .unwrap();
    let _ = dying.run("shop").await;
    let engine = world.engine(world.pipeline(script));
    engine.run("shop").await.unwrap().completed().unwrap();
    let running: Vec<_> = engine
        .history(&Default::default())
        .await
        .unwrap()
        .into_iter()
        .filter(|run| run.status == RunStatus::Running)
        .collect();
    assert!(running.is_empty(), "{running:?}");
}

/// P10/P14. Renewing the lease hangs: by half of its time the run must have stopped itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_lease_renewal_hangs_stops_by_itself() {
    use sync_testkit::fault::{At, Call, Fault, FaultPlan, Faulty};
    #[derive(Debug)]
    struct Silent(Arc<StreamSpec>);
    #[async_trait]
    impl Source for Silent {
        fn name(&self) -> &str {
            "silent"
        }
        async fn feeds(&self) -> Result<Vec<Feed>> {
            Ok(vec![Feed::one(Arc::clone(&self.0))])
        }
        fn capabilities(&self) -> SourceCapabilities {
            SourceCapabilities::replayable(CursorKind::Position)
        }
        fn read(&self, _: ReadRequest) -> BatchStream<'_> {
            futures::stream::pending().boxed()
        }
    }
    let world = World::new().await;
    let plan = FaultPlan::new(1).on(Call::Renew, At::From(1), Fault::Slow(Duration::from_secs(3600)));
    let store = Faulty::new(world.store.clone(), &plan).clock(Arc::new(SystemClock::new()));
    let engine = Engine::builder(store)
        .owner("a")
        .lease_ttl(Duration::from_millis(300))
        .pipeline(world.pipeline(Silent(orders())))
        .build()
        .unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(5), engine.run("shop")).await;
    assert!(ended.is_ok(), "five seconds later the run goes on, with a lease of 300 ms that was never renewed");
}

/// Cancelled at random moments, staged or not, with a policy or not: all books together count every row once.
#[tokio::test(flavor = "multi_thread")]
async fn runs_cancelled_at_random_moments_count_every_row_once() {
    for (staged, policy) in [(true, false), (false, false), (false, true)] {
        let world = World::new().await;
        let mut source = MemorySource::of([StreamSpec::clone(&versioned())]).page(20);
        if staged {
            source = source.first_load(FirstLoad::Scattered);
        }
        for id in 1..=1500 {
            source.upsert("orders", row(id, 1, "x"));
        }
        let store = sync_store_sql::SqlStore::open_sqlite(world.folder.path().join("shop.db")).await.unwrap();
        let (mut created, mut runs) = (0, 0_u64);
        loop {
            runs += 1;
            let mut pipeline = world.pipeline(source.clone());
            if policy {
                pipeline = pipeline.policy(decide(|_| Resolution::TakeIncoming));
            }
            let engine = Engine::builder(store.clone()).owner("a").unit_rows(20).pipeline(pipeline).build().unwrap();
            let token = CancellationToken::new();
            let cancel = token.clone();
            let wait = Duration::from_micros((runs * 6131) % 40_000);
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                cancel.cancel();
            });
            let within = if runs % 3 == 0 { Duration::ZERO } else { Duration::from_secs(5) };
            let report =
                engine.run_with("shop", RunOptions::incremental().cancel(token).stop_within(within)).await.unwrap();
            assert!(report.ledger().balances(), "{report}");
            created += count(&report, Outcome::Created);
            if report.status == RunStatus::Completed {
                break;
            }
            assert!(runs < 500, "no progress: {report}");
        }
        assert_eq!(world.ids().len(), 1500, "staged {staged} policy {policy}");
        assert!(created <= 1500, "staged {staged} policy {policy}: {created} created in {runs} runs");
    }
}

/// Hands over a page, and the next one when it is told to.
#[derive(Debug)]
struct Paused(Script, Arc<tokio::sync::Notify>);

#[async_trait]
impl Source for Paused {
    fn name(&self) -> &str {
        "paused"
    }

    async fn feeds(&self) -> Result<Vec<Feed>> {
        self.0.feeds().await
    }

    fn capabilities(&self) -> SourceCapabilities {
        self.0.capabilities()
    }

    fn read(&self, request: ReadRequest) -> BatchStream<'_> {
        let later = futures::stream::once(async {
            self.1.notified().await;
            Ok(page(&self.0.stream, &[row(2, 1, "b")], at(2)))
        });
        self.0.read(request).chain(later).boxed()
    }
}

/// A program that closes what it had opened ends, and does not wait for a run which can no longer go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_sink_or_store_is_closed_under_it_ends_soon() {
    for closes_store in [false, true] {
        let (stream, world) = (orders(), World::new().await);
        let state = world.folder.path().join("state.db");
        let (script, go) = (Script::of(&stream), Arc::new(tokio::sync::Notify::new()));
        script.then(vec![page(&stream, &[row(1, 1, "a")], at(1))]);
        let store = sync_store_sql::SqlStore::open_sqlite(&state).await.unwrap();
        let pipeline = world.pipeline(Paused(script, Arc::clone(&go)));
        let engine = Engine::builder(store.clone()).owner("a").pipeline(pipeline).build().unwrap();
        let run = tokio::spawn(async move { engine.run("shop").await });
        let written = || world.plain().query_row("SELECT count(*) FROM orders", [], |row| row.get::<_, i64>(0));
        while written().unwrap_or_default() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let closing = async { if closes_store { store.close().await } else { world.sink.close().await } };
        tokio::time::timeout(Duration::from_secs(5), closing).await.expect("closing waits for nobody");
        go.notify_one();
        let began = std::time::Instant::now();
        let report = tokio::time::timeout(Duration::from_secs(60), run).await.expect("the run ends").unwrap().unwrap();
        assert!(began.elapsed() < Duration::from_secs(5), "{closes_store}: the run goes on for {:?}", began.elapsed());
        // What is left to do without a store is to say that the run is over.
        assert!(closes_store || report.status == RunStatus::Failed, "{report}");
        let ids = world.ids();
        assert_eq!(ids, if report.status == RunStatus::Completed { vec![1, 2] } else { vec![1] }, "{report}");
    }
}
