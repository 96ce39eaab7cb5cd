//! Odd values, odd rows, and runs that must leave no trace.

use super::bench::*;

/// P15. A dead letter of a partial change holds the columns that the change named, and its replay writes no others.
#[tokio::test(flavor = "multi_thread")]
async fn replaying_a_partial_change_leaves_the_columns_it_does_not_name_alone() {
    let stream =
        Arc::new(StreamSpec::new("orders").key(["id"]).int("version").version("version").int("n").text("note"));
    let world = World::prepared(
        "CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, version INTEGER, n INTEGER CHECK (n < 10), note TEXT);",
    )
    .await;
    let script = Script::of(&stream);
    let full = vec![Value::from(1), Value::from(1), Value::from(1), Value::from("keep me")];
    let partial = vec![Value::from(1), Value::from(2), Value::from(99), Value::Null];
    let mut mark = Mark::default();
    mark.fields = Some([0, 1, 2].into_iter().collect());
    let changes = Changes::marked(rows(&stream, &[partial]), vec![mark]);
    script.then(vec![page(&stream, &[full], at(1))]);
    script.then(vec![Batch::of(&stream, changes, at(2))]);
    let pipeline = || world.pipeline(script.clone());
    world.run(pipeline(), RunOptions::incremental()).await.completed().unwrap();
    world.run(pipeline(), RunOptions::incremental()).await;
    assert_eq!(world.letters(pipeline()).await.len(), 1);
    // The operator widens the check and replays.
    world.plain().execute_batch("PRAGMA ignore_check_constraints = ON; PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'n < 10', 'n < 1000') WHERE name = 'orders'; PRAGMA writable_schema = RESET;").unwrap();
    let world = World { sink: Sqlite::open(world.folder.path().join("shop.db")).await.unwrap(), ..world };
    let pipeline = || world.pipeline(script.clone());
    let ledger = world.engine(pipeline()).replay("shop", LetterQuery::default()).await.unwrap();
    assert_eq!(world.texts("SELECT coalesce(note, 'lost') || n FROM orders"), ["keep me99"], "{ledger:?}");
}

/// A dry run goes "by the same path" as a run: on a fresh target it must not fail where the run succeeds.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_with_a_merging_policy_works_on_an_empty_target() {
    let (stream, world) = (orders(), World::new().await);
    let script = Script::of(&stream);
    script.then(vec![page(&stream, &[row(1, 1, "a")], at(1))]);
    script.then(vec![page(&stream, &[row(1, 1, "a")], at(1))]);
    let pipeline = || world.pipeline(script.clone()).policy(decide(|_| Resolution::TakeIncoming));
    let plan = world.run(pipeline(), RunOptions::incremental().dry_run()).await;
    let report = world.run(pipeline(), RunOptions::incremental()).await;
    assert_eq!(
        (plan.status, count(&plan, Outcome::Created)),
        (report.status, count(&report, Outcome::Created)),
        "{plan}"
    );
}

/// Hostile values: a copy of a copy is the same.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_values_arrive_as_they_were_or_among_the_dead_letters() {
    let name = "we\"ird 'select' 🍣\nname";
    let world = World::new().await;
    let stream = Arc::new(
        StreamSpec::new(name)
            .key(["key\"1"])
            .text("key\"1")
            .int("group")
            .uint("u")
            .decimal("d", 38, 6)
            .float("f")
            .timestamp("t")
            .date("day")
            .bytes("b")
            .json("j")
            .text("order"),
    );
    let script = Script::of(&stream);
    let at_micros = |micros: i64| Value::Timestamp(sync_core::model::Timestamp::from_micros(micros));
    let big = "12345678901234567890123456789012.345678";
    let long = "x".repeat(3 << 20);
    let values: Vec<Vec<Value>> = vec![
        vec![
            "".into(),
            i64::MIN.into(),
            Value::UInt(u64::MAX),
            Value::Text(big.into()),
            Value::Float(f64::MIN_POSITIVE / 2.0),
            at_micros(-62_135_596_800_000_000),
            Value::Date(chrono::NaiveDate::from_ymd_opt(1, 1, 1).unwrap()),
            Value::Bytes(vec![0_u8, 255].into()),
            Value::Json("{\"a\":\"\\u0000\"}".into()),
            "\0nul\0".into(),
        ],
        vec![
            "\0".into(),
            i64::MAX.into(),
            Value::UInt(1 << 63),
            Value::Text(format!("-{big}").into()),
            Value::Float(-0.0),
            at_micros(253_402_300_799_999_999),
            Value::Date(chrono::NaiveDate::from_ymd_opt(9999, 12, 31).unwrap()),
            Value::Bytes(vec![].into()),
            Value::Json("[]".into()),
            "ä̈🍺'\";--".into(),
        ],
        vec![
            "a".into(),
            0.into(),
            Value::UInt(0),
            Value::Text("0.000001".into()),
            Value::Float(0.1 + 0.2),
            at_micros(1),
            Value::Null,
            Value::Null,
            Value::Null,
            long.into(),
        ],
        vec![
            "A".into(),
            0.into(),
            Value::UInt(0),
            Value::Null,
            Value::Float(1e300),
            at_micros(-1),
            Value::Null,
            Value::Null,
            Value::Null,
            "abc ".into(),
        ],
        vec![
            "a ".into(),
            0.into(),
            Value::UInt(0),
            Value::Null,
            Value::Float(1e300),
            at_micros(-1),
            Value::Null,
            Value::Null,
            Value::Null,
            "abc".into(),
        ],
    ];
    script.then(vec![page(&stream, &values, at(1))]);
    script.then(vec![page(&stream, &values, at(2))]);
    let report = world.run(world.pipeline(script.clone()), RunOptions::incremental()).await;
    assert_eq!((report.status, count(&report, Outcome::Created)), (RunStatus::Completed, 5), "{report}");
    let again = world.run(world.pipeline(script), RunOptions::incremental()).await;
    assert_eq!(count(&again, Outcome::Unchanged), 5, "the same rows again: {again}");
    // Copy the copy.
    let source = SqliteSource::open(world.folder.path().join("shop.db")).await.unwrap().table(Arc::clone(&stream));
    let copy = World::new().await;
    let report = copy.run(copy.pipeline(source.clone()), RunOptions::incremental()).await;
    assert_eq!((report.status, count(&report, Outcome::Created)), (RunStatus::Completed, 5), "{report}");
    let dump = |file: std::path::PathBuf| {
        let plain = Connection::open(file).unwrap();
        let sql = format!(
            "SELECT quote(\"key\"\"1\") || quote(\"group\") || quote(u) || quote(d) || quote(f) || quote(t) || quote(day) || quote(b) || quote(j) || quote(cast(\"order\" AS BLOB)) FROM \"{}\" ORDER BY 1",
            name.replace('"', "\"\"")
        );
        let mut read = plain.prepare(&sql).unwrap();
        read.query_map([], |row| row.get::<_, String>(0)).unwrap().map(std::result::Result::unwrap).collect::<Vec<_>>()
    };
    assert_eq!(dump(world.folder.path().join("shop.db")), dump(copy.folder.path().join("shop.db")));
}

/// 64 MiB in one cell.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_64_mib_arrives() {
    let world = World::new().await;
    let file = source_table(
        &world,
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, n INTEGER, note TEXT); INSERT INTO orders VALUES (1, 1, hex(zeroblob(33554432))), (2, 2, 'small');",
    );
    let source = SqliteSource::open(&file).await.unwrap().table(orders());
    let report = world.run(world.pipeline(source), RunOptions::incremental()).await;
    assert_eq!((report.status, world.ids()), (RunStatus::Completed, vec![1, 2]), "{report}");
}

/// A position of another source under the same name is not taken for one's own.
#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_another_source_under_the_same_name_is_not_followed() {
    let world = World::new().await;
    let file = source_table(
        &world,
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, version INTEGER, note TEXT); INSERT INTO orders VALUES (1, 1, 'a'), (2, 2, 'b')",
    );
    let memory = MemorySource::of([StreamSpec::clone(&versioned())]);
    memory.upsert("orders", row(9, 9, "z"));
    world.run(world.pipeline(memory), RunOptions::incremental()).await.completed().unwrap();
    let source = SqliteSource::open(&file).await.unwrap().table(versioned());
    let report = world.run(world.pipeline(source), RunOptions::incremental()).await;
    assert!(report.status != RunStatus::Completed || world.ids() == [1, 2, 9], "{report}");
}

/// A new-only run does not move the position past updates that it leaves alone: the next ordinary run brings them.
#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_a_new_only_run_left_alone_comes_with_the_next_ordinary_run() {
    let world = World::new().await;
    let source = MemorySource::of([StreamSpec::clone(&versioned())]);
    source.upsert("orders", row(1, 1, "first"));
    world.run(world.pipeline(source.clone()), RunOptions::incremental()).await.completed().unwrap();
    source.upsert("orders", row(1, 2, "second"));
    world.run(world.pipeline(source.clone()), RunOptions::incremental().new_only()).await.completed().unwrap();
    let report = world.run(world.pipeline(source), RunOptions::incremental()).await;
    assert_eq!(world.texts("SELECT note FROM orders"), ["second"], "{report}");
}

/// Dry runs of every kind, at every stage, with the store in the same file: not a byte differs.
#[tokio::test(flavor = "multi_thread")]
async fn dry_runs_of_every_kind_leave_no_trace() {
    let world = World::new().await;
    let source = MemorySource::of([StreamSpec::clone(&versioned())])
        .page(10)
        .first_load(FirstLoad::Scattered)
        .listing(Listing::Rows);
    for id in 1..=100 {
        source.upsert("orders", row(id, 1, "first"));
    }
    source.spoil("orders", &Key::new([5]), "spoilt");
    let store = sync_store_sql::SqlStore::open_sqlite(world.folder.path().join("shop.db")).await.unwrap();
    let token = CancellationToken::new();
    let engine = |stop: Option<u32>, token: &tokio_util::sync::CancellationToken| {
        let builder = Engine::builder(store.clone()).owner("a").unit_rows(10).pipeline(world.pipeline(source.clone()));
        match stop {
            Some(after) => builder.listener(StopAfter(token.clone(), Mutex::new(after))).build().unwrap(),
            None => builder.build().unwrap(),
        }
    };
    let range = || RowScope::Range { column: "version".into(), from: Some(1.into()), until: Some(3.into()) };
    let kinds = || {
        [
            RunOptions::incremental(),
            RunOptions::full(),
            RunOptions::reconcile().confirm_deletes(),
            RunOptions::incremental().new_only(),
            RunOptions::backfill("b", range()),
        ]
    };
    for stage in 0..4 {
        match stage {
            // An interrupted first load.
            1 => {
                engine(Some(3), &token)
                    .run_with("shop", RunOptions::incremental().cancel(token.clone()))
                    .await
                    .unwrap();
            }
            2 => engine(None, &token).run("shop").await.unwrap().completed().unwrap(),
            3 => {
                for id in 1..=50 {
                    source.delete("orders", &Key::new([id]));
                    source.upsert("orders", row(id + 200, 2, "more"));
                }
            }
            _ => {}
        }
        for (kind, options) in kinds().into_iter().enumerate() {
            let before = dump(&world);
            let plan = engine(None, &token).run_with("shop", options.dry_run()).await.unwrap();
            assert_eq!(dump(&world), before, "stage {stage} kind {kind}: {plan}");
            // A reconcile must not overtake a first load.
            let expected = if (stage, kind) == (1, 2) { RunStatus::Failed } else { RunStatus::Completed };
            assert_eq!(plan.status, expected, "stage {stage} kind {kind}: {plan} {:?}", plan.scopes[0].error);
        }
    }
    engine(None, &token).run("shop").await.unwrap().completed().unwrap();
    assert_eq!(
        source.rows("orders").len(),
        world.ids().len() + usize::from(world.ids().len() < source.rows("orders").len())
    );
}

/// Of two changes of one key in a batch the later is kept, and the columns it does not name come from the earlier.
#[tokio::test(flavor = "multi_thread")]
async fn a_partial_change_in_the_same_batch_as_the_whole_row_keeps_the_other_columns() {
    let (stream, world) = (orders(), World::new().await);
    let script = Script::of(&stream);
    let mut mark = Mark::default();
    mark.fields = Some([0, 1].into_iter().collect());
    let both = Changes::marked(
        rows(&stream, &[row(1, 1, "keep me"), vec![1.into(), 5.into(), Value::Null]]),
        vec![Mark::default(), mark],
    );
    script.then(vec![Batch::of(&stream, both, at(1))]);
    let report = world.run(world.pipeline(script), RunOptions::incremental()).await;
    assert_eq!(world.texts("SELECT coalesce(note, 'lost') || n FROM orders WHERE id = 1"), ["keep me5"], "{report}");
}

/// With a policy the engine compares by itself: the same rows again are unchanged, whatever they hold.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_values_that_come_again_are_unchanged_with_a_policy_too() {
    let stream = Arc::new(
        StreamSpec::new("orders")
            .key(["id"])
            .uint("u")
            .decimal("d", 38, 6)
            .float("f")
            .timestamp("t")
            .date("day")
            .json("j"),
    );
    let (world, script) = (World::new().await, Script::of(&stream));
    let at_micros = |micros: i64| Value::Timestamp(sync_core::model::Timestamp::from_micros(micros));
    let values = vec![
        vec![
            1.into(),
            Value::UInt(u64::MAX),
            Value::Text("12345678901234567890123456789012.34".into()),
            Value::Float(-0.0),
            at_micros(1),
            Value::Null,
            Value::Json("{\"a\": 1}".into()),
        ],
        vec![
            2.into(),
            Value::UInt(5),
            Value::Text("1.5".into()),
            Value::Float(0.1 + 0.2),
            at_micros(-62_135_596_800_000_000),
            Value::Null,
            Value::Null,
        ],
        vec![
            3.into(),
            Value::UInt(5),
            Value::Decimal("1.50".parse().unwrap()),
            Value::Float(5.0),
            Value::Null,
            Value::Null,
            Value::Null,
        ],
        vec![
            4.into(),
            Value::UInt(5),
            Value::Decimal("-0.0".parse().unwrap()),
            Value::Float(5.0),
            Value::Null,
            Value::Null,
            Value::Null,
        ],
        vec![
            5.into(),
            Value::UInt(5),
            Value::Text("0012.500".into()),
            Value::Float(5.0),
            Value::Null,
            Value::Null,
            Value::Null,
        ],
    ];
    for position in 1..=2 {
        script.then(vec![page(&stream, &values, at(position))]);
    }
    let pipeline = || world.pipeline(script.clone()).policy(decide(|_| Resolution::TakeIncoming));
    let first = world.run(pipeline(), RunOptions::incremental()).await;
    assert_eq!(count(&first, Outcome::Created), 5, "{first}");
    let again = world.run(pipeline(), RunOptions::incremental()).await;
    assert_eq!(count(&again, Outcome::Unchanged), 5, "{again}");
}
