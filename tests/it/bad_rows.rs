//! Rows that cannot be read or written cost themselves and nobody else, and too many of them stop the run.

use sync_core::event::{Event, Listener};
use sync_testkit::fault::{Call, FaultPlan, Faulty};

use super::bench::*;

/// P15. With a policy the sink cannot evaluate, the sink counts rows of the *resolved* step, which lacks the rows that need
/// no write: the row it blames is the one that stood there before.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_policy_the_poison_row_itself_goes_to_the_dead_letters_and_no_innocent_one() {
    let (stream, world) = (orders(), World::prepared(NO_BAD_NOTES).await);
    let script = Script::of(&stream);
    script.then(vec![page(&stream, &[row(1, 1, "same")], at(1))]);
    script.then(vec![page(
        &stream,
        &[row(1, 1, "same"), row(2, 1, "good"), row(3, 1, "bad"), row(4, 1, "good")],
        at(2),
    )]);
    let pipeline = || world.pipeline(script.clone()).policy(decide(|_| Resolution::TakeIncoming));
    world.run(pipeline(), RunOptions::incremental()).await.completed().unwrap();
    let report = world.run(pipeline(), RunOptions::incremental()).await;
    assert_eq!((world.ids(), world.letters(pipeline()).await), (vec![1, 2, 4], vec!["3".to_owned()]), "{report}");
}

/// P15, more than 5 % or 100 *in a row*: 120 unreadable records, spread over 10,000, are 1.2 % and never stand together.
#[tokio::test(flavor = "multi_thread")]
async fn unreadable_records_that_lie_scattered_do_not_count_as_a_hundred_in_a_row() {
    let (stream, world) = (orders(), World::new().await);
    let script = Script::of(&stream);
    let values: Vec<_> = (0..10_000).map(|id| row(id, 1, "fine")).collect();
    let mut batch = page(&stream, &values, at(1));
    batch.rejects = (0..120).map(|id| reject(&stream, 20_000 + id)).collect();
    script.then(vec![batch]);
    let report = world.run(world.pipeline(script), RunOptions::incremental()).await;
    assert_eq!((report.status, count(&report, Outcome::Rejected)), (RunStatus::Completed, 120), "{report}");
}

/// P15, the other figure: rejected records of a unit are judged together with its good rows.
#[tokio::test(flavor = "multi_thread")]
async fn sixteen_unreadable_records_among_a_thousand_are_not_five_per_cent() {
    let (stream, world) = (orders(), World::new().await);
    let script = Script::of(&stream);
    let values = |from: i64, count: i64| (from..from + count).map(|id| row(id, 1, "fine")).collect::<Vec<_>>();
    let mut second = page(&stream, &values(1000, 1000), at(2));
    second.rejects = (0..16).map(|id| reject(&stream, 20_000 + id)).collect();
    script.then(vec![page(&stream, &values(0, 200), at(1)), second]);
    let engine = Engine::builder(world.store.clone()).unit_rows(1).pipeline(world.pipeline(script)).build().unwrap();
    let report = engine.run("shop").await.unwrap();
    assert_eq!((report.status, count(&report, Outcome::Rejected)), (RunStatus::Completed, 16), "{report}");
}

/// P15. Rows refused while a staged first load is published are judged by the breaker too.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_load_of_nothing_but_poison_opens_the_breaker() {
    let world = World::prepared(
        "CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, version INTEGER, note TEXT CHECK (note <> 'bad'));",
    )
    .await;
    let source = MemorySource::of([StreamSpec::clone(&versioned())]).page(50).first_load(FirstLoad::Scattered);
    for id in 1..=400 {
        source.upsert("orders", row(id, 1, "bad"));
    }
    let report = world.run(world.pipeline(source), RunOptions::incremental()).await;
    assert_eq!(report.status, RunStatus::Failed, "400 of 400 rows were refused, and the run is content: {report}");
}

/// Contract, SQL sink: drift (42703/1054) stops the stream; it does not drain into the dead letters.
#[tokio::test(flavor = "multi_thread")]
async fn a_required_column_that_the_stream_no_longer_has_stops_the_run() {
    let world = World::prepared(
        "CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, n INTEGER, note TEXT, must TEXT NOT NULL);",
    )
    .await;
    let (stream, rows) = (orders(), (1..=60).map(|id| row(id, 1, "fine")).collect::<Vec<_>>());
    let script = Script::of(&stream);
    script.then(vec![page(&stream, &rows, at(1))]);
    let report = world.run(world.pipeline(script.clone()), RunOptions::incremental()).await;
    assert_eq!(report.status, RunStatus::Failed, "all 60 rows are dead letters, and the run is content: {report}");
}

/// The letter of a row with a number that JSON does not know.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_with_nan_can_be_read_and_loses_nothing() {
    let stream = Arc::new(StreamSpec::new("orders").key(["id"]).float("price"));
    let (world, script) = (World::new().await, Script::of(&stream));
    script.then(vec![page(
        &stream,
        &[
            vec![1.into(), Value::Float(f64::NAN)],
            vec![2.into(), Value::Float(f64::INFINITY)],
            vec![3.into(), Value::Float(1.0)],
        ],
        at(1),
    )]);
    let store = sync_store_sql::SqlStore::open_sqlite(world.folder.path().join("shop.db")).await.unwrap();
    let engine = Engine::builder(store).owner("a").pipeline(world.pipeline(script)).build().unwrap();
    let report = engine.run("shop").await.unwrap();
    assert_eq!((report.status, count(&report, Outcome::Rejected)), (RunStatus::Completed, 2), "{report}");
    let letters = engine.dead_letters(&LetterQuery::default()).await.unwrap();
    let bodies = format!("{:?}", letters.iter().map(|letter| &letter.body).collect::<Vec<_>>());
    let ledger = engine.replay("shop", LetterQuery::default()).await.unwrap();
    assert_eq!(world.ids(), [3], "the target can hold neither, and nobody mended them: {bodies} {ledger:?}");
    assert!(bodies.contains("NaN") && bodies.contains("inf"), "{bodies}");
}

/// Foreign keys are on in this build of SQLite. One that is checked at COMMIT names no row, and no rehearsal ever commits.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_key_checked_at_commit_costs_only_the_row_that_breaks_it() {
    let world = World::prepared("CREATE TABLE parents (id INTEGER PRIMARY KEY); INSERT INTO parents VALUES (1);
        CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, n INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED, note TEXT);").await;
    let (stream, script) = (orders(), Script::of(&orders()));
    let values: Vec<_> = (1..=20).map(|id| row(id, if id == 3 { 99 } else { 1 }, "x")).collect();
    script.then(vec![page(&stream, &values, at(1))]);
    let report = world.run(world.pipeline(script.clone()), RunOptions::incremental()).await;
    let letters = world.letters(world.pipeline(script)).await;
    assert_eq!((world.ids().len(), letters), (19, vec!["3".to_owned()]), "{report} {:?}", report.scopes[0].error);
}

/// P15: n poisons, exactly n letters. In an appended stream two equal rows are two facts.
#[tokio::test(flavor = "multi_thread")]
async fn two_equal_rows_of_an_appended_stream_that_are_refused_are_two_letters() {
    let stream = Arc::new(StreamSpec::new("log").int("n").text("note").disposition(Disposition::Append));
    let world = World::prepared("CREATE TABLE log (n INTEGER, note TEXT CHECK (note <> 'bad'));").await;
    let script = Script::of(&stream);
    let bad: Vec<Value> = vec![1.into(), "bad".into()];
    script.then(vec![page(&stream, &[bad.clone(), bad, vec![2.into(), "fine".into()]], at(1))]);
    let report = world.run(world.pipeline(script.clone()), RunOptions::incremental()).await;
    assert_eq!(
        (count(&report, Outcome::Rejected), world.letters(world.pipeline(script)).await.len()),
        (2, 2),
        "{report}"
    );
}

/// Two rows exchange a unique value: both changes are valid together, and neither may vanish.
#[tokio::test(flavor = "multi_thread")]
async fn two_rows_that_exchange_a_unique_value_are_nowhere_lost() {
    let world =
        World::prepared("CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, n INTEGER UNIQUE, note TEXT);").await;
    let (stream, script) = (orders(), Script::of(&orders()));
    script.then(vec![page(&stream, &[row(1, 10, "a"), row(2, 20, "b")], at(1))]);
    script.then(vec![page(&stream, &[row(1, 20, "a2"), row(2, 10, "b2")], at(2))]);
    world.run(world.pipeline(script.clone()), RunOptions::incremental()).await.completed().unwrap();
    let report = world.run(world.pipeline(script.clone()), RunOptions::incremental()).await;
    let letters = world.letters(world.pipeline(script)).await.len() as u64;
    assert_eq!(world.ids(), [1, 2], "never delete the other row");
    assert_eq!(letters + count(&report, Outcome::Updated), 2, "{report}");
}

/// 40 of 4,000 rows in one unit, so far apart that the breaker stays shut; and how often the sink was called for a unit.
async fn forty_of_four_thousand(target: &str, first_load: FirstLoad) -> (World, Report, u64) {
    let world = World::prepared(target).await;
    let source = MemorySource::of([StreamSpec::clone(&versioned())]).page(4000).first_load(first_load);
    for id in 1..=4000 {
        source.upsert("orders", row(id, 1, if id % 100 == 50 { "bad" } else { "fine" }));
    }
    let plan = FaultPlan::new(1);
    let pipeline = Pipeline::new("shop", source, Faulty::new(world.sink.clone(), &plan));
    let told = Isolated::default();
    let engine = Engine::builder(world.store.clone()).listener(told.clone()).pipeline(pipeline).build().unwrap();
    let report = engine.run("shop").await.unwrap();
    assert!(!told.0.lock().unwrap().is_empty(), "nobody is told why it takes so long");
    (world, report, plan.calls(Call::Apply))
}

#[derive(Debug, Clone, Default)]
struct Isolated(Arc<Mutex<Vec<u64>>>);

impl Listener for Isolated {
    fn on(&self, event: &Event) {
        if let Event::Isolating { found, .. } = event {
            self.0.lock().unwrap().push(*found);
        }
    }
}

const NO_BAD_VERSIONS: &str =
    "CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, version INTEGER, note TEXT CHECK (note <> 'bad'));";

#[tokio::test(flavor = "multi_thread")]
async fn forty_refused_rows_of_a_unit_cost_the_sink_no_more_calls_than_one() {
    let (world, report, calls) = forty_of_four_thousand(NO_BAD_VERSIONS, FirstLoad::ByKey).await;
    assert_eq!((report.status, count(&report, Outcome::Rejected)), (RunStatus::Completed, 40), "{report}");
    assert_eq!(world.ids().len(), 3960);
    // The unit, a rehearsal of what is left, and the unit again; and the end of the first load.
    assert!(calls <= 4, "{calls} calls of the sink for one unit");
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_staged_rows_that_a_publish_refuses_cost_it_no_more_calls_than_one() {
    let (world, report, calls) = forty_of_four_thousand(NO_BAD_VERSIONS, FirstLoad::Scattered).await;
    assert_eq!((report.status, count(&report, Outcome::Rejected)), (RunStatus::Completed, 40), "{report}");
    assert_eq!(world.ids().len(), 3960);
    assert!(calls <= 4, "{calls} calls of the sink for one stage");
}

/// `RAISE(FAIL)` keeps what the trigger did before it, which no row that is written afterwards may meet.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_trigger_leaves_behind_a_refused_row_costs_no_other_row() {
    let target = format!(
        "{} CREATE TABLE seen (n INTEGER UNIQUE);
         CREATE TRIGGER watch BEFORE INSERT ON orders BEGIN
             INSERT INTO seen VALUES (NEW.id / 2);
             SELECT RAISE(FAIL, 'odd') WHERE NEW.id % 2 = 0 AND NEW.id % 100 = 50;
             DELETE FROM seen;
         END;",
        NO_BAD_VERSIONS.replace("<> 'bad'", "<> 'none'")
    );
    for first_load in [FirstLoad::ByKey, FirstLoad::Scattered] {
        let (world, report, calls) = forty_of_four_thousand(&target, first_load).await;
        assert_eq!(count(&report, Outcome::Rejected), 40, "{first_load:?}: {report}");
        assert_eq!(world.ids().len(), 3960, "{first_load:?}");
        assert!(calls <= 6, "{first_load:?}: {calls} calls");
    }
}

/// A bad row that is met by the changes and then by a listing, in two lanes, is one letter; so is a record that cannot be read.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_row_that_changes_and_a_reconcile_both_meet_is_one_letter() {
    let world = World::prepared(NO_BAD_VERSIONS).await;
    let source = MemorySource::of([StreamSpec::clone(&versioned())]);
    (1..=60).for_each(|id| source.upsert("orders", row(id, 1, if id == 7 { "bad" } else { "fine" })));
    source.spoil("orders", &Key::new([9_i64]), "unreadable");
    let pipeline = || world.pipeline(source.clone());
    let first = world.run(pipeline(), RunOptions::incremental()).await;
    assert_eq!((first.status, count(&first, Outcome::Rejected)), (RunStatus::Completed, 2), "{first}");
    let second = world.run(pipeline(), RunOptions::reconcile()).await;
    assert_eq!((second.status, count(&second, Outcome::Rejected)), (RunStatus::Completed, 2), "{second}");
    let mut letters = world.letters(pipeline()).await;
    letters.sort();
    assert_eq!(letters, ["7", "9"]);
}
