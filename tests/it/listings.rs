//! What a listing may remove, and what a backfill reads: nothing that is there is ever taken for gone.

use sync_core::memory::MemorySink;
use sync_core::retry::RetryPolicy;
use sync_core::sink::SinkCapabilities;
use sync_testkit::fault::{At, Call, Fault, FaultPlan, Faulty};

use super::bench::*;

/// P19. A record of a complete listing that cannot be read is *there*: its row must not be taken for deleted.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_whose_record_in_a_complete_listing_cannot_be_read_is_not_deleted() {
    let (stream, world) = (orders(), World::new().await);
    let script = Script::of(&stream);
    script.then(vec![page(&stream, &[row(1, 1, "a"), row(2, 1, "b"), row(3, 1, "c")], at(1))]);
    let mut listed = page(&stream, &[row(1, 1, "a"), row(3, 1, "c")], at(2));
    listed.rejects.push(reject(&stream, 2));
    script.then(vec![
        Batch::marker(Boundary::Begins(RowScope::All)),
        listed,
        Batch::marker(Boundary::Ends { scope: RowScope::All, complete: true, resume: None }),
    ]);
    world.run(world.pipeline(script.clone()), RunOptions::incremental()).await.completed().unwrap();
    let report = world.run(world.pipeline(script.clone()), RunOptions::reconcile()).await;
    assert_eq!(world.ids(), [1, 2, 3], "row 2 is at the source, unreadable: {report}");
}

/// P19, the same when the *sink* refuses the row while it is staged (here: a float that SQLite cannot hold).
#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_a_complete_listing_that_cannot_be_staged_is_not_deleted() {
    let stream = Arc::new(StreamSpec::new("orders").key(["id"]).float("price"));
    let (world, script) = (World::new().await, Script::of(&stream));
    let price = |id: i64, price: f64| vec![Value::from(id), Value::Float(price)];
    script.then(vec![page(&stream, &[price(1, 1.0), price(2, 2.0), price(3, 3.0)], at(1))]);
    script.then(vec![
        Batch::marker(Boundary::Begins(RowScope::All)),
        page(&stream, &[price(1, 1.0), price(2, f64::NAN), price(3, 3.0)], at(2)),
        Batch::marker(Boundary::Ends { scope: RowScope::All, complete: true, resume: None }),
    ]);
    world.run(world.pipeline(script.clone()), RunOptions::incremental()).await.completed().unwrap();
    let report = world.run(world.pipeline(script.clone()), RunOptions::reconcile()).await;
    assert_eq!(world.ids(), [1, 2, 3], "row 2 is at the source: {report}");
}

/// A policy that the sink cannot evaluate is not asked about what a listing holds: rows that exist stay as they are.
#[tokio::test(flavor = "multi_thread")]
async fn a_reconcile_overwrites_no_row_that_a_policy_of_the_engine_would_have_kept() {
    let (stream, world) = (versioned(), World::new().await);
    let script = Script::of(&stream);
    let listing = |values: &[Vec<Value>]| {
        vec![
            Batch::marker(Boundary::Begins(RowScope::All)),
            page(&stream, values, at(2)),
            Batch::marker(Boundary::Ends { scope: RowScope::All, complete: true, resume: None }),
        ]
    };
    script.then(vec![page(&stream, &[row(1, 1, "first")], at(1))]);
    script.then(listing(&[row(1, 1, "theirs")]));
    let pipeline = || world.pipeline(script.clone()).policy(Park::new("a person decides"));
    world.run(pipeline(), RunOptions::incremental()).await.completed().unwrap();
    world.plain().execute("UPDATE orders SET note = 'ours', version = 2", []).unwrap();
    let report = world.run(pipeline(), RunOptions::reconcile()).await;
    assert_eq!(
        world.texts("SELECT note FROM orders"),
        ["ours"],
        "until a person decides, what is stored stays: {report}"
    );
}

/// A backfill's position belongs to its name and its range: another range under the same name begins at its beginning.
#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_of_another_range_under_an_interrupted_ones_name_reads_its_whole_range() {
    let world = World::new().await;
    let file = world.folder.path().join("source.db");
    let plain = Connection::open(&file).unwrap();
    plain
        .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE orders (id INTEGER PRIMARY KEY, n INTEGER, note TEXT);")
        .unwrap();
    for id in 1..=100 {
        plain.execute("INSERT INTO orders VALUES (?, ?, 'x')", [id, 100 - id]).unwrap();
    }
    let source = SqliteSource::open(&file).await.unwrap().table(orders()).page(10);
    let range = |from: i64, until: i64| RowScope::Range {
        column: "n".into(),
        from: Some(from.into()),
        until: Some(until.into()),
    };
    // Interrupted after some pages: the source table disappears in the middle.
    let token = CancellationToken::new();
    let engine = Engine::builder(world.store.clone())
        .owner("test")
        .unit_rows(10)
        .listener(StopAfter(token.clone(), Mutex::new(3)))
        .pipeline(world.pipeline(source.clone()))
        .build()
        .unwrap();
    let first = engine.run_with("shop", RunOptions::backfill("b", range(0, 50)).cancel(token)).await.unwrap();
    assert_eq!(first.status, RunStatus::Cancelled, "{first}");
    let before = world.ids().len();
    let second = world.run(world.pipeline(source), RunOptions::backfill("b", range(50, 100))).await;
    let there: i64 =
        world.plain().query_row("SELECT count(*) FROM orders WHERE n >= 50", [], |row| row.get(0)).unwrap();
    assert!(second.status != RunStatus::Completed || there == 50, "{there} of 50 rows came, {before} before: {second}");
}

/// README and RunOptions: "one that was interrupted continues under it".
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_backfill_continues_under_its_name() {
    let world = World::new().await;
    let file = source_table(&world, "CREATE TABLE orders (id INTEGER PRIMARY KEY, n INTEGER, note TEXT);
        WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 100) INSERT INTO orders SELECT x, x, 'x' FROM c;");
    let source = SqliteSource::open(&file).await.unwrap().table(orders()).page(10);
    let range = RowScope::Range { column: "n".into(), from: Some(0.into()), until: Some(1000.into()) };
    let token = CancellationToken::new();
    let engine = Engine::builder(world.store.clone())
        .owner("test")
        .unit_rows(10)
        .listener(StopAfter(token.clone(), Mutex::new(3)))
        .pipeline(world.pipeline(source.clone()))
        .build()
        .unwrap();
    let first = engine.run_with("shop", RunOptions::backfill("b", range.clone()).cancel(token)).await.unwrap();
    assert_eq!(first.status, RunStatus::Cancelled, "{first}");
    assert!(world.ids().len() < 100, "interrupted");
    let second = world.run(world.pipeline(source.clone()), RunOptions::backfill("b", range.clone())).await;
    let third = world.run(world.pipeline(source), RunOptions::backfill("b", range)).await;
    assert_eq!(
        (second.status, world.ids().len()),
        (RunStatus::Completed, 100),
        "{second}\n{:?}\nthen {third}",
        second.scopes[0].error
    );
}

/// P19: "an empty list needs confirmation".
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_listing_does_not_empty_a_small_target() {
    let world = World::new().await;
    let file = source_table(&world, "CREATE TABLE orders (id INTEGER PRIMARY KEY, n INTEGER, note TEXT);
        WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 10) INSERT INTO orders SELECT x, x, 'x' FROM c;");
    let source = SqliteSource::open(&file).await.unwrap().table(orders());
    world.run(world.pipeline(source.clone()), RunOptions::incremental()).await.completed().unwrap();
    Connection::open(&file).unwrap().execute_batch("DELETE FROM orders").unwrap();
    let report = world.run(world.pipeline(source), RunOptions::reconcile()).await;
    assert_eq!(world.ids().len(), 10, "the listing was empty, and nobody confirmed: {report}");
}

/// A filter wants whole rows, so it is not asked about a listing of keys: or every row here would be taken for gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_filter_over_a_listing_of_keys_deletes_nothing() {
    let world = World::new().await;
    let source = MemorySource::of([StreamSpec::clone(&versioned())])
        .feeding(sync_core::memory::Feeding::Version)
        .listing(Listing::Keys);
    for id in 1..=8 {
        source.upsert("orders", row(id, 1, "active"));
    }
    let pipeline = || {
        world.pipeline(source.clone()).filter(|_, change| {
            change.row().named("note").is_some_and(|note| note == sync_core::ValueRef::Text("active"))
        })
    };
    world.run(pipeline(), RunOptions::incremental()).await.completed().unwrap();
    assert_eq!(world.ids().len(), 8);
    let report = world.run(pipeline(), RunOptions::reconcile()).await;
    assert_eq!(world.ids().len(), 8, "every row is still at the source: {report}");
}

/// P19. Partitions of one stream share its table: a listing of one says nothing about the rows of another.
#[tokio::test(flavor = "multi_thread")]
async fn a_reconcile_partition_by_partition_deletes_nothing_that_is_there() {
    let world = World::new().await;
    let source = MemorySource::of([StreamSpec::clone(&versioned())])
        .feeding(sync_core::memory::Feeding::Version)
        .partitioned(2)
        .listing(Listing::Rows);
    for id in 1..=16 {
        source.upsert("orders", row(id, 1, "x"));
    }
    world.run(world.pipeline(source.clone()), RunOptions::incremental()).await.completed().unwrap();
    assert_eq!(world.ids().len(), 16);
    let report = world.run(world.pipeline(source), RunOptions::reconcile()).await;
    assert_eq!(world.ids().len(), 16, "nothing is gone at the source: {report}");
}

/// SqliteSource, end to end: a row that cannot be read is there, and a reconcile must not delete its copy.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_became_unreadable_in_a_sqlite_table_is_not_deleted_by_a_reconcile() {
    let world = World::new().await;
    let file = source_table(
        &world,
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, n, note TEXT); INSERT INTO orders VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c')",
    );
    let source = SqliteSource::open(&file).await.unwrap().table(orders());
    world.run(world.pipeline(source.clone()), RunOptions::incremental()).await.completed().unwrap();
    Connection::open(&file).unwrap().execute_batch("UPDATE orders SET n = 'two' WHERE id = 2").unwrap();
    let report = world.run(world.pipeline(source), RunOptions::reconcile()).await;
    assert_eq!(world.ids(), [1, 2, 3], "{report}");
}

/// A row that was marked as missing comes again as it was: with a policy the engine decides without seeing the mark, and the mark goes all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_comes_again_as_it_was_is_no_longer_marked_as_missing() {
    for policy in [false, true] {
        let (stream, world) = (marked(&orders()), World::new().await);
        let script = Script::of(&stream);
        let listing = |values: &[Vec<Value>]| {
            vec![
                Batch::marker(Boundary::Begins(RowScope::All)),
                page(&stream, values, at(2)),
                Batch::marker(Boundary::Ends { scope: RowScope::All, complete: true, resume: None }),
            ]
        };
        script.then(vec![page(&stream, &[row(1, 1, "a"), row(2, 1, "b")], at(1))]);
        script.then(listing(&[row(1, 1, "a")]));
        script.then(vec![page(&stream, &[row(2, 1, "b")], at(3))]);
        let pipeline = || {
            let pipeline = world.pipeline(script.clone());
            if policy { pipeline.policy(decide(|_| Resolution::TakeIncoming)) } else { pipeline }
        };
        world.run(pipeline(), RunOptions::incremental()).await.completed().unwrap();
        world.run(pipeline(), RunOptions::reconcile()).await.completed().unwrap();
        assert_eq!(world.texts("SELECT CAST(id AS TEXT) FROM orders WHERE gone_at IS NOT NULL"), ["2"]);
        let report = world.run(pipeline(), RunOptions::incremental()).await;
        assert!(
            world.texts("SELECT gone_at FROM orders WHERE gone_at IS NOT NULL").is_empty(),
            "policy {policy}: {report}"
        );
    }
}

/// Every call of a reconcile fails once in every way: nothing that is at the source is ever deleted, and in the end all is right.
#[tokio::test(flavor = "multi_thread")]
async fn every_call_of_a_reconcile_failing_once_deletes_nothing_wrong() {
    use sync_testkit::fault::{At, Call, Fault, FaultPlan, Faulty};
    let ways = [
        Fault::Fail,
        Fault::LostReply,
        Fault::LostRequest,
        Fault::CrashBefore,
        Fault::CrashAfter,
        Fault::Cut,
        Fault::Duplicate,
    ];
    let calls = [
        Call::Read,
        Call::Batch,
        Call::Prepare,
        Call::Open,
        Call::Apply,
        Call::LookUp,
        Call::Acquire,
        Call::Release,
        Call::Record,
        Call::State,
    ];
    let mut wrong = Vec::new();
    for listing in [Listing::Rows, Listing::Keys] {
        for call in calls {
            for fault in ways {
                if matches!(fault, Fault::Cut | Fault::Duplicate) && call != Call::Batch {
                    continue;
                }
                for nth in 1..=30 {
                    let world = World::new().await;
                    let source = MemorySource::of([StreamSpec::clone(&versioned())])
                        .page(3)
                        .feeding(sync_core::memory::Feeding::Version)
                        .listing(listing);
                    for id in 1..=12 {
                        source.upsert("orders", row(id, id, "x"));
                    }
                    world.run(world.pipeline(source.clone()), RunOptions::incremental()).await.completed().unwrap();
                    source.delete("orders", &Key::new([4]));
                    source.delete("orders", &Key::new([11]));
                    let plan = FaultPlan::new(7).on(call, At::Nth(nth), fault);
                    let engine = |plan: &FaultPlan| {
                        let pipeline = Pipeline::new(
                            "shop",
                            Faulty::new(source.clone(), plan),
                            Faulty::new(world.sink.clone(), plan),
                        );
                        Engine::builder(Faulty::new(world.store.clone(), plan))
                            .owner("a")
                            .unit_rows(3)
                            .retry(
                                sync_core::retry::RetryPolicy::new()
                                    .base(Duration::from_micros(100))
                                    .cap(Duration::from_millis(1)),
                            )
                            .pipeline(pipeline)
                            .build()
                            .unwrap()
                    };
                    let _ = engine(&plan).run_with("shop", RunOptions::reconcile()).await;
                    let there: Vec<i64> = (1..=12).filter(|id| *id != 4 && *id != 11).collect();
                    if there.iter().any(|id| !world.ids().contains(id)) {
                        wrong
                            .push(format!("{listing:?} {call:?} {nth} {fault:?}: deleted too much: {:?}", world.ids()));
                    }
                    match engine(&FaultPlan::new(7)).run_with("shop", RunOptions::reconcile()).await {
                        Ok(report) if report.status == RunStatus::Completed && world.ids() == there => {}
                        other => wrong.push(format!(
                            "{listing:?} {call:?} {nth} {fault:?}: afterwards {:?} {other:?}",
                            world.ids()
                        )),
                    }
                    let left = world.texts("SELECT name FROM sqlite_schema WHERE name LIKE '_sync_stage%'");
                    if !left.is_empty() {
                        wrong.push(format!("{listing:?} {call:?} {nth} {fault:?}: left behind {left:?}"));
                    }
                    if plan.injected().is_empty() {
                        break;
                    }
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} cases:\n{}",
        wrong.len(),
        wrong.iter().take(40).map(|text| text.chars().take(300).collect::<String>()).collect::<Vec<_>>().join("\n")
    );
}

/// P19. Where rows and position are not one transaction, a listing may be published although its position says that it is open.
#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_goes_on_after_it_was_published_removes_none_of_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("there.db");
    let rows = "CREATE TABLE orders (id INTEGER PRIMARY KEY, n INTEGER);
        INSERT INTO orders VALUES (1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1), (7, 1), (8, 1)";
    Connection::open(&file).unwrap().execute_batch(rows).unwrap();
    let stream = StreamSpec::new("orders").key(["id"]).int("n").disposition(Disposition::ReplaceWindow);
    let mut capabilities = SinkCapabilities::all();
    capabilities.atomic_checkpoint = false;
    let (target, store) = (MemorySink::with_capabilities(capabilities), MemoryStore::new(Arc::new(SystemClock::new())));
    let run = async |plan: &FaultPlan| {
        let source = SqliteSource::open(&file).await.unwrap().table(stream.clone()).page(3);
        let pipeline = Pipeline::new("shop", source, Faulty::new(target.clone(), plan));
        // Each page is a unit, and nothing is tried again.
        let (quick, engine) =
            (RetryPolicy::new().attempts(1), Engine::builder(store.clone()).owner("one").unit_rows(1));
        let engine = engine.retry(quick).pipeline(pipeline).build().unwrap();
        engine.run_with("shop", RunOptions::backfill("window", RowScope::All)).await.unwrap()
    };
    let mut cut = 0;
    for unit in 1..=12 {
        let report = run(&FaultPlan::new(1).on(Call::Apply, At::Nth(unit), Fault::CrashAfter)).await;
        cut += u32::from(report.status != RunStatus::Completed);
        let report = run(&FaultPlan::new(1)).await;
        assert_eq!(
            (report.status, target.rows("orders").len()),
            (RunStatus::Completed, 8),
            "after unit {unit}: {report}"
        );
    }
    assert!(cut >= 5, "{cut} runs were cut");
}

/// A server that dies between two calls costs a run nothing but the time until it is back.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_listing_is_compared_with_is_asked_for_again_where_the_answer_fails() {
    let (stream, folder) = (orders(), tempfile::tempdir().unwrap());
    for asked in 1..=4 {
        let store = MemoryStore::new(Arc::new(SystemClock::new()));
        let source = MemorySource::of([Arc::clone(&stream)]).listing(Listing::Rows);
        source.upsert("orders", row(1, 1, "first"));
        let run = async |plan: &FaultPlan, options: RunOptions| {
            let sink = Faulty::new(Sqlite::open(folder.path().join(format!("{asked}.db"))).await.unwrap(), plan);
            let pipeline = Pipeline::new("shop", source.clone(), sink);
            let quick = RetryPolicy::new().base(Duration::from_millis(1)).attempts(3);
            let engine = Engine::builder(store.clone()).owner("one").retry(quick).pipeline(pipeline).build().unwrap();
            engine.run_with("shop", options).await.unwrap()
        };
        run(&FaultPlan::new(1), RunOptions::incremental()).await.completed().unwrap();
        let plan = FaultPlan::new(1).on(Call::State, At::Nth(asked), Fault::Fail);
        let report = run(&plan, RunOptions::reconcile()).await;
        assert_eq!(report.status, RunStatus::Completed, "answer {asked}: {report}");
    }
}
