//! Only the rows that are at fault are blamed: an innocent one is neither buried nor lost with them.

use sync_core::ErrorKind;
use sync_core::sink::{Altered, Intent, SinkCapabilities, Step, StoredRow, WriteReport, WriteUnit};
use sync_core::state::{Checkpoint, FencingToken};
use sync_core::{Error, Scope, Sink};
use sync_testkit::fault::{At, Call, Fault, FaultPlan, Faulty};

use super::bench::*;

/// P15. Another writer was in the way for a moment: the unit is refused once, and nobody finds anything wrong with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_is_refused_once_and_then_accepted_costs_no_row() {
    let (stream, world) = (orders(), World::new().await);
    let script = Script::of(&stream);
    script.then(vec![page(&stream, &(1..=20).map(|id| row(id, 1, "fine")).collect::<Vec<_>>(), at(1))]);
    let plan = FaultPlan::new(1).on(Call::Apply, At::Nth(1), Fault::Refuse(ErrorKind::Data));
    let pipeline = Pipeline::new("shop", script, Faulty::new(world.sink.clone(), &plan));
    let report = world.run(pipeline, RunOptions::incremental()).await;
    assert_eq!(report.status, RunStatus::Completed, "{report}");
    assert_eq!((world.ids().len(), count(&report, Outcome::Rejected)), (20, 0), "{report}");
}

/// The commit refuses what every rehearsal accepts: the run ends, says so, and no row is buried for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_only_its_commit_refuses_stops_the_run_and_buries_nothing() {
    let (stream, world) = (orders(), World::new().await);
    let script = Script::of(&stream);
    script.then(vec![page(&stream, &(1..=20).map(|id| row(id, 1, "fine")).collect::<Vec<_>>(), at(1))]);
    let sink = Odd {
        inner: world.sink.clone(),
        refuses: |unit| unit.intent == Intent::Commit && row_steps(unit) > 0,
        rehearses: true,
    };
    let pipeline = Pipeline::new("shop", script.clone(), sink);
    let report = world.run(pipeline, RunOptions::incremental()).await;
    assert_eq!(report.status, RunStatus::Failed, "{report}");
    assert_eq!(world.letters(world.pipeline(script)).await.len(), 0, "{report}");
}

fn row_steps(unit: &WriteUnit<'_>) -> usize {
    unit.steps.iter().filter(|step| matches!(step, Step::Write(_))).count()
}

/// A sink that refuses units, and does not say why.
#[derive(Debug)]
struct Odd {
    inner: Sqlite,
    refuses: fn(&WriteUnit<'_>) -> bool,
    rehearses: bool,
}

#[async_trait]
impl Sink for Odd {
    fn name(&self) -> &str {
        "odd"
    }
    fn capabilities(&self) -> SinkCapabilities {
        let mut capabilities = self.inner.capabilities();
        capabilities.rehearsal = self.rehearses;
        capabilities
    }
    async fn apply(&self, unit: &WriteUnit<'_>) -> Result<WriteReport> {
        if (self.refuses)(unit) { Err(Error::data("no")) } else { self.inner.apply(unit).await }
    }
    async fn open(&self, scope: &Scope, token: FencingToken) -> Result<Option<Checkpoint>> {
        self.inner.open(scope, token).await
    }
    async fn checkpoint(&self, scope: &Scope) -> Result<Option<Checkpoint>> {
        self.inner.checkpoint(scope).await
    }
    async fn prepare(&self, stream: &StreamSpec) -> Result<Altered> {
        self.inner.prepare(stream).await
    }
    async fn exists(&self, stream: &StreamSpec) -> Result<bool> {
        self.inner.exists(stream).await
    }
    async fn stored(&self, stream: &StreamSpec, keys: &[Key]) -> Result<Vec<Option<StoredRow>>> {
        self.inner.stored(stream, keys).await
    }
    async fn count(&self, stream: &StreamSpec, rows: &RowScope) -> Result<Option<u64>> {
        self.inner.count(stream, rows).await
    }
}

/// P2. A sink that cannot rehearse refuses to publish, and names no row: what is staged must not be passed over.
#[tokio::test(flavor = "multi_thread")]
async fn a_publish_that_is_refused_without_a_row_stops_the_run_and_loses_nothing_that_is_staged() {
    let world = World::new().await;
    let source = MemorySource::of([StreamSpec::clone(&versioned())]).page(50).first_load(FirstLoad::Scattered);
    for id in 1..=100 {
        source.upsert("orders", row(id, 1, "fine"));
    }
    let refuses = |unit: &WriteUnit<'_>| unit.steps.iter().any(|step| matches!(step, Step::Publish(_)));
    let sink = Odd { inner: world.sink.clone(), refuses, rehearses: false };
    let sorted = |pipeline: Pipeline| pipeline.first_load(sync_core::engine::FirstLoad::Sorted);
    let report = world.run(sorted(Pipeline::new("shop", source.clone(), sink)), RunOptions::incremental()).await;
    let again = world.run(sorted(world.pipeline(source)), RunOptions::incremental()).await;
    assert_eq!((report.status, world.ids().len()), (RunStatus::Failed, 100), "{report}, and then {again}");
}

/// P15: 20 of 260 rows are too many, whoever counts them, and when.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_the_breaker_stops_says_of_all_rows_that_it_wrote_that_it_wrote_them() {
    let (stream, world) = (orders(), World::prepared(NO_BAD_NOTES).await);
    let script = Script::of(&stream);
    let values: Vec<_> =
        (1..=260).map(|id| row(id, 1, if id <= 140 && id % 7 == 0 { "bad" } else { "fine" })).collect();
    script.then(vec![page(&stream, &values, at(1))]);
    let report = world.run(world.pipeline(script.clone()), RunOptions::incremental()).await;
    let letters = world.letters(world.pipeline(script)).await.len() as u64;
    assert_eq!(
        (count(&report, Outcome::Created), count(&report, Outcome::Rejected)),
        (world.ids().len() as u64, letters),
        "{report}"
    );
}

/// Rows that a program without foreign keys has left behind break them already, and no row of ours is to blame for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_key_that_was_broken_before_costs_no_row_that_comes_now() {
    let world = World::prepared(
        "PRAGMA foreign_keys = OFF; CREATE TABLE parents (id INTEGER PRIMARY KEY); INSERT INTO parents VALUES (1);
         CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, n INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED,
                              note TEXT CHECK (note <> 'bad'));
         INSERT INTO orders VALUES (1000, 77, 'theirs');",
    )
    .await;
    let (stream, script) = (orders(), Script::of(&orders()));
    let values: Vec<_> =
        (1..=20).map(|id| row(id, if id == 5 { 99 } else { 1 }, if id == 3 { "bad" } else { "x" })).collect();
    script.then(vec![page(&stream, &values, at(1))]);
    let report = world.run(world.pipeline(script.clone()), RunOptions::incremental()).await;
    let mut letters = world.letters(world.pipeline(script)).await;
    letters.sort();
    assert_eq!(
        (world.ids().len(), letters),
        (19, vec!["3".to_owned(), "5".to_owned()]),
        "{report} {:?}",
        report.scopes[0].error
    );
}

/// A child that comes before its parent is in order where the key is checked at the commit, whoever else is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_comes_before_its_parent_is_not_blamed_for_an_orphan_behind_it() {
    let world = World::prepared(
        "CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, n INTEGER REFERENCES orders (id) DEFERRABLE INITIALLY DEFERRED, note TEXT);",
    )
    .await;
    let (stream, script) = (orders(), Script::of(&orders()));
    let parent = |id: i64| match id {
        2 => 12,
        15 => 99,
        _ => id,
    };
    let values: Vec<_> = (1..=20).map(|id| row(id, parent(id), "x")).collect();
    script.then(vec![page(&stream, &values, at(1))]);
    let report = world.run(world.pipeline(script.clone()), RunOptions::incremental()).await;
    let letters = world.letters(world.pipeline(script)).await;
    assert_eq!((world.ids().len(), letters), (19, vec!["15".to_owned()]), "{report} {:?}", report.scopes[0].error);
}

/// A row to which another table of the host refers cannot be deleted, and a key that is checked at the commit says so late.
#[tokio::test(flavor = "multi_thread")]
async fn a_delete_that_leaves_an_orphan_elsewhere_costs_only_itself() {
    let world = World::prepared(
        "CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, n INTEGER, note TEXT);
         CREATE TABLE lines (id INTEGER PRIMARY KEY, order_id INTEGER REFERENCES orders (id) DEFERRABLE INITIALLY DEFERRED);",
    )
    .await;
    let (stream, script) = (orders(), Script::of(&orders()));
    let all = |n: i64| (1..=20).map(|id| row(id, n, "x")).collect::<Vec<_>>();
    script.then(vec![page(&stream, &all(1), at(1))]);
    world.run(world.pipeline(script.clone()), RunOptions::incremental()).await.completed().unwrap();
    world.plain().execute_batch("INSERT INTO lines VALUES (1, 3)").unwrap();
    let marks = (1..=20).map(|id| if id <= 4 { Mark::delete() } else { Mark::default() }).collect();
    script.then(vec![Batch::of(&stream, Changes::marked(rows(&stream, &all(2)), marks), at(2))]);
    let report = world.run(world.pipeline(script.clone()), RunOptions::incremental()).await;
    let letters = world.letters(world.pipeline(script)).await;
    assert_eq!(letters, ["3"], "{report} {:?}", report.scopes[0].error);
    assert_eq!(
        world.texts("SELECT n || ':' || count(*) FROM orders GROUP BY n ORDER BY n"),
        ["1:1", "2:16"],
        "{report}"
    );
}

/// A first load is staged, and published with one statement: whatever a trigger does about a row of it, the others are
/// written, and it does not vanish.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_a_first_load_that_a_trigger_keeps_out_is_a_dead_letter() {
    for raise in ["IGNORE", "ABORT, 'no'", "FAIL, 'no'", "ROLLBACK, 'no'"] {
        let world = World::prepared(&format!(
            "CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, version INTEGER, note TEXT);
             CREATE TRIGGER no BEFORE INSERT ON orders WHEN NEW.note = 'bad' BEGIN SELECT RAISE({raise}); END;"
        ))
        .await;
        let source = MemorySource::of([StreamSpec::clone(&versioned())]).page(50).first_load(FirstLoad::Scattered);
        for id in 1..=200 {
            source.upsert("orders", row(id, 1, if id == 77 { "bad" } else { "fine" }));
        }
        let report = world.run(world.pipeline(source.clone()), RunOptions::incremental()).await;
        let letters = world.letters(world.pipeline(source)).await;
        let found = (report.status, count(&report, Outcome::Created), world.ids().len(), letters);
        assert_eq!(found, (RunStatus::Completed, 199, 199, vec!["77".to_owned()]), "{raise}: {report}");
    }
}
