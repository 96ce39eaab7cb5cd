//! Dead letters that are tried again never undo what came after them.

use super::bench::*;

/// Replay into a stream that only ever inserts: what exists must stay.
#[tokio::test(flavor = "multi_thread")]
async fn replaying_into_an_insert_only_stream_leaves_existing_rows_alone() {
    let stream = Arc::new(
        StreamSpec::new("orders")
            .key(["id"])
            .int("version")
            .version("version")
            .text("note")
            .disposition(Disposition::InsertOnly),
    );
    let world = World::prepared(&NO_BAD_NOTES.replace(" n ", " version ")).await;
    let script = Script::of(&stream);
    script.then(vec![page(&stream, &[row(1, 5, "bad")], at(1))]);
    script.then(vec![page(&stream, &[row(1, 1, "first")], at(2))]);
    for _ in 0..2 {
        world.run(world.pipeline(script.clone()), RunOptions::incremental()).await.completed().unwrap();
    }
    let plain = world.plain();
    plain.execute_batch("ALTER TABLE orders RENAME TO o; CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, version INTEGER, note TEXT); INSERT INTO orders SELECT * FROM o; DROP TABLE o").unwrap();
    let ledger = world.engine(world.pipeline(script)).replay("shop", LetterQuery::default()).await.unwrap();
    assert_eq!(world.texts("SELECT note FROM orders"), ["first"], "{ledger:?}");
}

/// P15: "replay never overwrites newer"; a row deleted by a newer change must not come back from a dead letter.
#[tokio::test(flavor = "multi_thread")]
async fn replaying_an_old_dead_letter_does_not_bring_a_deleted_row_back() {
    let stream = versioned();
    let world = World::prepared(&NO_BAD_NOTES.replace(" n ", " version ")).await;
    let script = Script::of(&stream);
    script.then(vec![page(&stream, &[row(1, 1, "fine")], at(1))]);
    script.then(vec![page(&stream, &[row(1, 2, "bad")], at(2))]);
    let gone = Changes::marked(rows(&stream, &[row(1, 3, "fine")]), vec![Mark::delete()]);
    script.then(vec![Batch::of(&stream, gone, at(3))]);
    for _ in 0..3 {
        world.run(world.pipeline(script.clone()), RunOptions::incremental()).await.completed().unwrap();
    }
    assert!(world.ids().is_empty());
    world
        .plain()
        .execute_batch(
            "DROP TABLE orders; CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, version INTEGER, note TEXT)",
        )
        .unwrap();
    let ledger = world.engine(world.pipeline(script)).replay("shop", LetterQuery::default()).await.unwrap();
    assert_eq!(world.ids(), Vec::<i64>::new(), "version 3 deleted it, version 2 brought it back: {ledger:?}");
}

/// P1/P15: "so replays are harmless": the process dies between writing a letter's row and marking the letter.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_dies_before_it_marks_the_letter_does_not_double_an_appended_row() {
    use sync_testkit::fault::{At, Call, Fault, FaultPlan, Faulty};
    let stream = Arc::new(StreamSpec::new("log").int("n").text("note").disposition(Disposition::Append));
    let world = World::prepared("CREATE TABLE log (n INTEGER, note TEXT CHECK (note <> 'bad'));").await;
    let script = Script::of(&stream);
    script.then(vec![page(&stream, &[vec![1.into(), "bad".into()]], at(1))]);
    world.run(world.pipeline(script.clone()), RunOptions::incremental()).await.completed().unwrap();
    world.plain().execute_batch("DROP TABLE log; CREATE TABLE log (n INTEGER, note TEXT)").unwrap();
    let plan = FaultPlan::new(1).on(Call::Record, At::Nth(1), Fault::CrashBefore);
    let dying = Engine::builder(Faulty::new(world.store.clone(), &plan))
        .owner("test")
        .pipeline(world.pipeline(script.clone()))
        .build()
        .unwrap();
    let died = dying.replay("shop", LetterQuery::default()).await;
    assert!(died.is_err(), "{died:?}");
    let again = world.engine(world.pipeline(script)).replay("shop", LetterQuery::default()).await;
    assert_eq!(world.texts("SELECT note FROM log"), ["bad"], "{again:?}");
}

/// P15, "replay never overwrites newer": the row was mended at the source without a new version, and has arrived.
#[tokio::test(flavor = "multi_thread")]
async fn replaying_a_letter_does_not_undo_a_correction_of_the_same_version() {
    let stream = versioned();
    let world = World::prepared(&NO_BAD_NOTES.replace(" n ", " version ")).await;
    let script = Script::of(&stream);
    script.then(vec![page(&stream, &[row(1, 1, "bad")], at(1))]);
    script.then(vec![page(&stream, &[row(1, 1, "mended")], at(2))]);
    for _ in 0..2 {
        world.run(world.pipeline(script.clone()), RunOptions::incremental()).await.completed().unwrap();
    }
    world.plain().execute_batch("ALTER TABLE orders RENAME TO o; CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, version INTEGER, note TEXT); INSERT INTO orders SELECT * FROM o; DROP TABLE o").unwrap();
    let ledger = world.engine(world.pipeline(script)).replay("shop", LetterQuery::default()).await.unwrap();
    assert_eq!(world.texts("SELECT note FROM orders"), ["mended"], "{ledger:?}");
}

/// "At most so many": a person tries one letter before all others.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_with_a_limit_tries_no_more_letters_than_that() {
    let (stream, world) = (orders(), World::prepared(NO_BAD_NOTES).await);
    let script = Script::of(&stream);
    script.then(vec![page(&stream, &[row(1, 1, "bad"), row(2, 1, "bad"), row(3, 1, "bad")], at(1))]);
    world.run(world.pipeline(script.clone()), RunOptions::incremental()).await.completed().unwrap();
    let ledger = world
        .engine(world.pipeline(script))
        .replay("shop", LetterQuery { limit: 1, ..LetterQuery::default() })
        .await
        .unwrap();
    assert_eq!(ledger.fetched, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_letter_is_gone_the_others_wait_and_its_row_may_be_refused_anew() {
    let (stream, world) = (orders(), World::prepared(NO_BAD_NOTES).await);
    let script = Script::of(&stream);
    for position in 1..=2 {
        let rows = [row(1, 1, "bad"), row(2, 1, "bad"), row(3, 1, "fine")];
        script.then(vec![page(&stream, &rows, at(position))]);
    }
    let file = world.folder.path().join("state.db");
    let store = sync_store_sql::SqlStore::open_sqlite(file).await.unwrap();
    let other = Pipeline::new("other", Script::of(&stream), world.sink.clone());
    let engine = Engine::builder(store).pipeline(world.pipeline(script)).pipeline(other).build().unwrap();
    let waiting = async || engine.dead_letters(&LetterQuery::default()).await.unwrap();
    engine.run("shop").await.unwrap().completed().unwrap();
    let first = waiting().await.remove(0);
    assert_eq!(
        engine.discard("other", std::slice::from_ref(&first.id)).await.unwrap(),
        0,
        "it belongs to another pipeline"
    );
    assert_eq!(engine.discard("shop", &[first.id.clone(), first.id.clone()]).await.unwrap(), 1);
    let keys: Vec<_> = waiting().await.into_iter().map(|letter| letter.key.unwrap().to_string()).collect();
    assert_eq!(keys, ["2"]);
    assert_eq!(engine.discard("shop", std::slice::from_ref(&first.id)).await.unwrap(), 0, "it is gone already");
    assert_eq!(engine.replay("shop", LetterQuery::default()).await.unwrap().fetched, 1);
    engine.run("shop").await.unwrap().completed().unwrap();
    assert_eq!(waiting().await.len(), 2, "its row came again and was refused again");
}

const ANY_NOTES: &str =
    "ALTER TABLE orders RENAME TO o; CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, n INTEGER, note TEXT);
    INSERT INTO orders SELECT * FROM o; DROP TABLE o";

/// Two states of one row were refused: the later one is the truth, although the earlier letter is read first.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_letters_of_one_row_without_a_version_the_later_one_stays() {
    let (stream, world) = (orders(), World::prepared(NO_BAD_NOTES).await);
    let script = Script::of(&stream);
    for position in 1..=2_i64 {
        let rows: Vec<_> = (1..=10).map(|id| row(id, position, "bad")).collect();
        script.then(vec![page(&stream, &rows, at(position as u64))]);
        world.run(world.pipeline(script.clone()), RunOptions::incremental()).await.completed().unwrap();
    }
    world.plain().execute_batch(ANY_NOTES).unwrap();
    let ledger = world.engine(world.pipeline(script.clone())).replay("shop", LetterQuery::default()).await.unwrap();
    assert_eq!(world.texts("SELECT DISTINCT n || '' FROM orders"), ["2"], "{ledger:?}");
    assert_eq!((world.ids().len(), world.letters(world.pipeline(script)).await.len()), (10, 0), "{ledger:?}");
}

/// The same row is refused once more after its letter was replayed: the letter has the same name, and is another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_was_replayed_before_and_came_again_is_written_again() {
    let (stream, world) = (orders(), World::prepared(NO_BAD_NOTES).await);
    let script = Script::of(&stream);
    let engine = world.engine(world.pipeline(script.clone()));
    for position in 1..=2 {
        world.plain().execute_batch(&format!("DROP TABLE orders; {NO_BAD_NOTES}")).unwrap();
        script.then(vec![page(&stream, &[row(1, 1, "bad"), row(2, 1, "fine")], at(position))]);
        engine.run("shop").await.unwrap().completed().unwrap();
        world.plain().execute_batch(ANY_NOTES).unwrap();
        let ledger = engine.replay("shop", LetterQuery::default()).await.unwrap();
        assert_eq!((world.ids(), ledger.fetched), (vec![1, 2], 1), "turn {position}: {ledger:?}");
    }
}

/// P15: a run that deletes the row while a replay is about to write it. One of them waits for the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_beside_a_run_does_not_bring_back_the_row_that_the_run_deletes() {
    use sync_testkit::fault::{At, Call, Fault, FaultPlan, Faulty};
    let (stream, world) = (orders(), World::prepared(NO_BAD_NOTES).await);
    let script = Script::of(&stream);
    script.then(vec![page(&stream, &[row(1, 1, "bad")], at(1))]);
    world.run(world.pipeline(script.clone()), RunOptions::incremental()).await.completed().unwrap();
    let gone = Changes::marked(rows(&stream, &[row(1, 2, "fine")]), vec![Mark::delete()]);
    script.then(vec![Batch::of(&stream, gone, at(2))]);
    world.plain().execute_batch(ANY_NOTES).unwrap();
    let plan = FaultPlan::new(1).on(Call::Prepare, At::Nth(1), Fault::Slow(Duration::from_secs(1)));
    let sink = Faulty::new(world.sink.clone(), &plan).clock(Arc::new(SystemClock::new()));
    let engine = Arc::new(world.engine(Pipeline::new("shop", script.clone(), sink)));
    let replaying = Arc::clone(&engine);
    let replay = tokio::spawn(async move { replaying.replay("shop", LetterQuery::default()).await });
    while plan.calls(Call::Prepare) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    engine.run("shop").await.unwrap().completed().unwrap();
    let ledger = replay.await.unwrap().unwrap();
    assert_eq!(world.ids(), Vec::<i64>::new(), "{ledger:?}");
    assert_eq!(world.letters(world.pipeline(script)).await, Vec::<String>::new());
}

/// Two processes: while one runs, the letters of what it runs wait, and the other is told whom for.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_leaves_letters_alone_whose_scope_another_process_is_at_work_on() {
    use sync_core::state::StateStore;
    let (stream, world) = (orders(), World::prepared(NO_BAD_NOTES).await);
    let script = Script::of(&stream);
    script.then(vec![page(&stream, &[row(1, 1, "bad")], at(1))]);
    world.run(world.pipeline(script.clone()), RunOptions::incremental()).await.completed().unwrap();
    world.plain().execute_batch(ANY_NOTES).unwrap();
    let (store, none) = (&world.store, sync_core::state::FencingToken::default());
    let lease = store.acquire("shop/orders", "another", Duration::from_secs(60), none).await.unwrap();
    let engine = world.engine(world.pipeline(script));
    let refused = engine.replay("shop", LetterQuery::default()).await.unwrap_err();
    assert!(refused.to_string().contains("owner: another"), "{refused}");
    assert!(refused.remedy().contains("replay again"), "{}", refused.remedy());
    assert_eq!(world.ids(), Vec::<i64>::new());
    store.release(&lease).await.unwrap();
    assert_eq!(engine.replay("shop", LetterQuery::default()).await.unwrap().fetched, 1);
    assert_eq!(world.ids(), [1]);
}

/// A reconcile finds that the row is gone: the letter of its last version is no reason to bring it back.
#[tokio::test(flavor = "multi_thread")]
async fn a_letter_does_not_bring_back_a_row_that_a_reconcile_found_gone() {
    let (stream, world) = (versioned(), World::prepared(&NO_BAD_NOTES.replace(" n ", " version ")).await);
    let script = Script::of(&stream);
    script.then(vec![page(&stream, &[row(1, 1, "fine"), row(2, 1, "fine"), row(3, 1, "fine")], at(1))]);
    script.then(vec![page(&stream, &[row(1, 2, "bad"), row(2, 2, "bad"), row(4, 1, "bad")], at(2))]);
    let listed = [row(2, 2, "bad"), row(3, 1, "fine"), row(4, 1, "bad")];
    script.then(vec![
        Batch::marker(Boundary::Begins(RowScope::All)),
        page(&stream, &listed, at(3)),
        Batch::marker(Boundary::Ends { scope: RowScope::All, complete: true, resume: None }),
    ]);
    for _ in 0..2 {
        world.run(world.pipeline(script.clone()), RunOptions::incremental()).await.completed().unwrap();
    }
    assert_eq!(world.letters(world.pipeline(script.clone())).await, ["1", "2", "4"]);
    world.run(world.pipeline(script.clone()), RunOptions::reconcile()).await.completed().unwrap();
    assert_eq!(world.ids(), [2, 3]);
    world.plain().execute_batch(&ANY_NOTES.replace(" n ", " version ")).unwrap();
    let ledger = world.engine(world.pipeline(script)).replay("shop", LetterQuery::default()).await.unwrap();
    assert_eq!(world.ids(), [2, 3, 4], "row 1 is gone at the source: {ledger:?}");
    assert_eq!(world.texts("SELECT DISTINCT note FROM orders WHERE id <> 3"), ["bad"]);
}

/// What a person was to decide about a row is settled when the row is deleted.
#[tokio::test(flavor = "multi_thread")]
async fn a_parked_letter_does_not_bring_a_deleted_row_back() {
    use sync_core::state::LetterKind;
    let (stream, world) = (versioned(), World::new().await);
    let script = Script::of(&stream);
    script.then(vec![page(&stream, &[row(1, 1, "first")], at(1))]);
    script.then(vec![page(&stream, &[row(1, 2, "second")], at(2))]);
    let gone = Changes::marked(rows(&stream, &[row(1, 3, "second")]), vec![Mark::delete()]);
    script.then(vec![Batch::of(&stream, gone, at(3))]);
    let policy = decide(|conflict| match conflict.incoming.op() {
        sync_core::model::Op::Delete => Resolution::TakeIncoming,
        sync_core::model::Op::Upsert => Resolution::Park("a person decides".into()),
    });
    let pipeline = world.pipeline(script).policy(policy);
    let engine = world.engine(pipeline);
    for _ in 0..3 {
        engine.run("shop").await.unwrap().completed().unwrap();
    }
    assert_eq!(world.ids(), Vec::<i64>::new());
    let query = LetterQuery { kind: Some(LetterKind::Parked), ..LetterQuery::default() };
    let ledger = engine.replay("shop", query).await.unwrap();
    assert_eq!(world.ids(), Vec::<i64>::new(), "{ledger:?}");
}

/// Pages of letters as a person reads them: whoever replays them page by page reaches each.
#[tokio::test(flavor = "multi_thread")]
async fn letters_of_several_partitions_are_all_reached_page_by_page() {
    let world = World::prepared(&NO_BAD_NOTES.replace(" n ", " version ")).await;
    let source =
        MemorySource::of([StreamSpec::clone(&versioned())]).feeding(sync_core::memory::Feeding::Version).partitioned(3);
    let engine = world.engine(world.pipeline(source.clone()));
    for id in 1..=9 {
        source.upsert("orders", row(id, 1, "bad"));
        engine.run("shop").await.unwrap().completed().unwrap();
    }
    world.plain().execute_batch(&ANY_NOTES.replace(" n ", " version ")).unwrap();
    let mut page = LetterQuery { limit: 3, ..LetterQuery::default() };
    loop {
        let letters = engine.dead_letters(&page).await.unwrap();
        let Some(last) = letters.last() else { break };
        let ledger = engine.replay("shop", page.clone()).await.unwrap();
        assert_eq!(ledger.fetched, letters.len() as u64);
        page.after = Some(last.id.clone());
    }
    assert_eq!(world.ids(), (1..=9).collect::<Vec<_>>());
}

/// Whoever changes a table says so, and a replay has no report to say it in.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_leaves_a_table_that_lacks_a_column_to_a_run_and_loses_no_letter() {
    let world = World::prepared(
        "CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, version INTEGER, note TEXT CHECK (note <> 'bad'));",
    )
    .await;
    let script = Script::of(&versioned());
    script.then(vec![page(&versioned(), &[row(1, 1, "bad"), row(2, 1, "fine")], at(1))]);
    world.run(world.pipeline(script), RunOptions::incremental()).await.completed().unwrap();
    world
        .plain()
        .execute_batch(
            "DROP TABLE orders; CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, version INTEGER, note TEXT)",
        )
        .unwrap();

    let grown = Arc::new(StreamSpec::clone(&versioned()).text("colour"));
    let script = Script::of(&grown);
    let engine = world.engine(world.pipeline(script.clone()));
    let refused = engine.replay("shop", LetterQuery::default()).await.unwrap_err();
    assert!(refused.to_string().contains("colour not there"), "{refused}");
    assert_eq!(world.texts("SELECT name FROM pragma_table_info('orders')"), ["id", "version", "note"]);

    script.then(vec![page(&grown, &[], at(2))]);
    let told = world.run(world.pipeline(script), RunOptions::incremental()).await;
    assert_eq!(told.scopes[0].altered.added, ["orders.colour"], "{told}");
    let ledger = engine.replay("shop", LetterQuery::default()).await.unwrap();
    assert_eq!(world.ids(), [1], "{ledger:?}");
}
