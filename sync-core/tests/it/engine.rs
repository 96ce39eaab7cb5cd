//! The run loop over in-memory adapters: what each kind of run does, and what it counts.

use std::sync::Arc;
use std::time::Duration;

use sync_core::conflict::{Counters, FieldMerge, IncomingWins, decide};
use sync_core::engine::{Breaker, Guarantee, Pipeline, Report, RunOptions};
use sync_core::memory::{Feeding, FirstLoad, MemorySink, MemorySource, MemoryStore};
use sync_core::model::{Disposition, Outcome, RowScope, Scope};
use sync_core::sink::{Sink, SinkCapabilities, WriteReport, WriteUnit};
use sync_core::source::Listing;
use sync_core::state::{Checkpoint, FencingToken, LetterQuery, RunQuery, RunStatus, StateStore as _};
use sync_core::{Engine, ErrorKind, Feed, Key, Result, StreamSpec, SystemClock, Value};

fn orders() -> StreamSpec {
    StreamSpec::new("orders").key(["id"]).int("version").version("version").text("note")
}

fn row(id: i64, version: i64, note: &str) -> Vec<Value> {
    vec![id.into(), version.into(), note.into()]
}

struct World {
    source: MemorySource,
    sink: MemorySink,
    store: MemoryStore,
}

impl World {
    fn new() -> Self {
        Self::with(MemorySource::of([orders()]).page(10), MemorySink::new())
    }

    fn with(source: MemorySource, sink: MemorySink) -> Self {
        Self { source, sink, store: MemoryStore::new(Arc::new(SystemClock::new())) }
    }

    fn fill(&self, rows: i64) {
        for id in 1..=rows {
            self.source.upsert("orders", row(id, 1, "first"));
        }
    }

    fn pipeline(&self) -> Pipeline {
        Pipeline::new("shop", self.source.clone(), self.sink.clone())
    }

    fn engine(&self) -> Engine {
        self.engine_of(self.pipeline())
    }

    fn engine_of(&self, pipeline: Pipeline) -> Engine {
        Engine::builder(self.store.clone()).owner("test").pipeline(pipeline).build().unwrap()
    }

    async fn run(&self) -> Report {
        self.engine().run("shop").await.unwrap()
    }

    fn assert_in_step(&self) {
        assert_eq!(self.source.rows("orders"), self.sink.rows("orders"));
    }
}

fn count(report: &Report, outcome: Outcome) -> u64 {
    report.ledger().count(outcome)
}

#[tokio::test]
async fn a_first_run_creates_every_row_and_a_second_one_finds_nothing() {
    let world = World::new();
    world.fill(95);
    let first = world.run().await;
    assert_eq!((first.status, count(&first, Outcome::Created)), (RunStatus::Completed, 95), "{first}");
    world.assert_in_step();
    let effects = world.sink.effects().len();
    let second = world.run().await;
    assert_eq!((second.status, second.ledger().fetched), (RunStatus::Completed, 0), "{second}");
    assert_eq!(world.sink.effects().len(), effects);
}

#[tokio::test]
async fn exactly_the_changed_rows_arrive() {
    let world = World::new();
    world.fill(50);
    world.run().await;
    for id in [3, 17, 44] {
        world.source.upsert("orders", row(id, 2, "second"));
    }
    world.source.delete("orders", &Key::new([8]));
    let report = world.run().await;
    assert_eq!((count(&report, Outcome::Updated), count(&report, Outcome::Deleted)), (3, 1), "{report}");
    world.assert_in_step();
}

#[tokio::test]
async fn a_full_run_finds_every_row_unchanged() {
    let world = World::new();
    world.fill(30);
    world.run().await;
    let effects = world.sink.effects().len();
    let report = world.engine().run_with("shop", RunOptions::full()).await.unwrap();
    assert_eq!((report.ledger().fetched, count(&report, Outcome::Unchanged)), (30, 30), "{report}");
    assert_eq!(world.sink.effects().len(), effects, "unchanged rows cause no write");
}

#[tokio::test]
async fn new_only_leaves_existing_rows_alone() {
    let world = World::new();
    world.fill(5);
    world.run().await;
    world.source.upsert("orders", row(2, 2, "changed"));
    world.source.upsert("orders", row(6, 1, "new"));
    let report = world.engine().run_with("shop", RunOptions::incremental().new_only()).await.unwrap();
    assert_eq!((count(&report, Outcome::Created), count(&report, Outcome::Existing)), (1, 1), "{report}");
    assert_eq!(world.sink.rows("orders")[1].1, row(2, 1, "first"));
}

#[tokio::test]
async fn a_dry_run_tells_what_a_run_would_do_and_leaves_no_trace() {
    let world = World::new();
    world.fill(20);
    let plan = world.engine().run_with("shop", RunOptions::incremental().dry_run()).await.unwrap();
    assert_eq!((plan.status, count(&plan, Outcome::Created)), (RunStatus::Completed, 20), "{plan}");
    assert!(world.sink.rows("orders").is_empty());
    assert!(world.engine().history(&RunQuery::default()).await.unwrap().is_empty());
    let report = world.run().await;
    assert_eq!(count(&report, Outcome::Created), 20, "the position had not moved");
}

#[tokio::test]
async fn unordered_rows_of_a_first_load_are_staged_and_published_at_once() {
    let world = World::with(MemorySource::of([orders()]).page(7).first_load(FirstLoad::Scattered), MemorySink::new());
    world.fill(100);
    let report = world.run().await;
    assert_eq!((report.status, count(&report, Outcome::Created)), (RunStatus::Completed, 100), "{report}");
    assert_eq!(world.sink.staged(), 0);
    world.assert_in_step();
}

#[tokio::test]
async fn a_reconcile_deletes_what_a_complete_listing_does_not_name() {
    for listing in [Listing::Keys, Listing::Rows] {
        let world = World::with(
            MemorySource::of([orders()]).page(10).feeding(Feeding::Version).listing(listing),
            MemorySink::new(),
        );
        world.fill(60);
        world.run().await;
        for id in 1..=5 {
            world.source.delete("orders", &Key::new([id]));
        }
        let missed = world.run().await;
        assert_eq!(count(&missed, Outcome::Deleted), 0, "a feed by version shows no deletes");
        let report = world.engine().run_with("shop", RunOptions::reconcile()).await.unwrap();
        assert_eq!(
            (report.status, count(&report, Outcome::Deleted)),
            (RunStatus::Completed, 5),
            "{listing:?} {report}"
        );
        assert_eq!(report.ledger().absent, 5);
        world.assert_in_step();
    }
}

#[tokio::test]
async fn the_listing_of_one_partition_removes_nothing_of_another() {
    let world = World::with(MemorySource::of([orders()]).page(10).partitioned(3), MemorySink::new());
    world.fill(30);
    world.run().await;
    let refused = world.engine().run_with("shop", RunOptions::reconcile().confirm_deletes()).await.unwrap();
    assert_eq!(refused.status, RunStatus::Failed, "{refused}");
    assert!(refused.to_string().contains("name the column that tells their rows apart"), "{refused}");
    world.assert_in_step();
}

#[tokio::test]
async fn a_mass_delete_is_withheld_until_it_is_confirmed() {
    let world = World::with(
        MemorySource::of([orders()]).page(10).feeding(Feeding::Version).listing(Listing::Keys),
        MemorySink::new(),
    );
    world.fill(60);
    world.run().await;
    for id in 1..=11 {
        world.source.delete("orders", &Key::new([id]));
    }
    let report = world.engine().run_with("shop", RunOptions::reconcile()).await.unwrap();
    assert_eq!((count(&report, Outcome::Withheld), count(&report, Outcome::Deleted)), (11, 0), "{report}");
    assert_eq!(world.sink.rows("orders").len(), 60);
    let plan = world.engine().run_with("shop", RunOptions::reconcile().confirm_deletes().dry_run()).await.unwrap();
    assert_eq!((plan.status, count(&plan, Outcome::Deleted)), (RunStatus::Completed, 11), "{plan}");
    assert_eq!(world.sink.rows("orders").len(), 60);
    let confirmed = world.engine().run_with("shop", RunOptions::reconcile().confirm_deletes()).await.unwrap();
    assert_eq!(count(&confirmed, Outcome::Deleted), 11, "{confirmed}");
    world.assert_in_step();
}

#[tokio::test]
async fn an_empty_listing_does_not_empty_the_target() {
    let world =
        World::with(MemorySource::of([orders()]).feeding(Feeding::Version).listing(Listing::Rows), MemorySink::new());
    world.fill(40);
    world.run().await;
    for id in 1..=40 {
        world.source.delete("orders", &Key::new([id]));
    }
    let report = world.engine().run_with("shop", RunOptions::reconcile()).await.unwrap();
    assert_eq!(count(&report, Outcome::Withheld), 40, "{report}");
    assert_eq!(world.sink.rows("orders").len(), 40);
}

#[tokio::test]
async fn a_backfill_never_touches_the_live_position() {
    let world = World::new();
    world.fill(30);
    world.run().await;
    world.source.upsert("orders", row(31, 1, "after"));
    let rows = RowScope::Range { column: "id".into(), from: Some(5.into()), until: Some(10.into()) };
    let report = world.engine().run_with("shop", RunOptions::backfill("again", rows)).await.unwrap();
    assert_eq!((report.ledger().fetched, count(&report, Outcome::Unchanged)), (5, 5), "{report}");
    let live = world.run().await;
    assert_eq!(count(&live, Outcome::Created), 1, "{live}");
    world.assert_in_step();
}

#[tokio::test]
async fn rejected_records_go_to_the_dead_letters_and_come_back_by_replay() {
    let world = World::new();
    world.fill(100);
    world.source.spoil("orders", &Key::new([42]), "a broken date");
    let report = world.run().await;
    assert_eq!((report.status, count(&report, Outcome::Rejected)), (RunStatus::Completed, 1), "{report}");
    assert_eq!(world.sink.rows("orders").len(), 99);
    let engine = world.engine();
    let letters = engine.dead_letters(&LetterQuery::default()).await.unwrap();
    assert_eq!(letters.len(), 1);
    assert!(letters[0].reason.contains("a broken date"));
    world.source.mend("orders", &Key::new([42]));
    let replayed = engine.replay("shop", LetterQuery::default()).await.unwrap();
    assert_eq!(replayed.count(Outcome::Created), 1, "{replayed:?}");
    assert!(engine.dead_letters(&LetterQuery::default()).await.unwrap().is_empty());
    world.assert_in_step();
}

#[tokio::test]
async fn a_replay_does_not_bring_back_a_row_that_was_deleted_meanwhile() {
    let world = World::with(MemorySource::of([orders()]).page(50), MemorySink::new());
    world.fill(99);
    world.run().await;
    world.source.upsert("orders", row(42, 2, "unreadable"));
    world.source.spoil("orders", &Key::new([42]), "a broken date");
    world.run().await;
    assert_eq!(world.engine().dead_letters(&LetterQuery::default()).await.unwrap().len(), 1);
    world.source.delete("orders", &Key::new([42]));
    world.run().await;
    let engine = world.engine();
    assert!(engine.dead_letters(&LetterQuery::default()).await.unwrap().is_empty());
    engine.replay("shop", LetterQuery::default()).await.unwrap();
    world.assert_in_step();
}

#[tokio::test]
async fn too_many_rejected_rows_stop_the_run() {
    let world = World::with(MemorySource::of([orders()]).page(50), MemorySink::new());
    world.fill(1000);
    for id in 1..=300 {
        world.source.spoil("orders", &Key::new([id]), "no longer a number");
    }
    let engine = Engine::builder(world.store.clone())
        .owner("test")
        .breaker(Breaker::default())
        .pipeline(world.pipeline())
        .build()
        .unwrap();
    let report = engine.run("shop").await.unwrap();
    assert_eq!(report.status, RunStatus::Failed, "{report}");
    assert!(report.to_string().contains("were rejected: the source or the target has probably changed"), "{report}");
    let drained = engine.dead_letters(&LetterQuery { limit: 1000, ..LetterQuery::default() }).await.unwrap().len();
    assert!(drained <= 100, "{drained} rows drained into the dead letters");
    assert!(report.ledger().balances(), "{report}");
    assert!(
        report.to_string().contains("orders: the first row that was rejected: key 1: no longer a number"),
        "{report}"
    );
    let error = report.completed().unwrap_err().to_string();
    assert!(error.contains("scope: shop/orders"), "it names what failed: {error}");
    assert!(!error.contains("no longer a number"), "what is said of a row may quote it: {error}");
}

#[tokio::test]
async fn a_breaker_that_would_never_stop_a_run_or_stop_every_one_is_refused() {
    for (breaker, says) in [
        (Breaker { share: 5.0, ..Breaker::default() }, "share is 5: it is a part of all rows"),
        (Breaker { share: f64::NAN, ..Breaker::default() }, "share is NaN"),
        (Breaker { in_a_row: 0, ..Breaker::default() }, "0 rejected rows in a row"),
    ] {
        let world = World::with(MemorySource::of([orders()]), MemorySink::new());
        let built = Engine::builder(world.store.clone()).breaker(breaker).pipeline(world.pipeline()).build();
        let error = built.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[tokio::test]
async fn a_source_that_offers_nothing_is_an_error_and_no_success() {
    let world = World::with(MemorySource::new([]), MemorySink::new());
    let error = Engine::builder(world.store.clone())
        .pipeline(Pipeline::new("shop", world.source.clone(), world.sink.clone()))
        .build()
        .unwrap()
        .run("shop")
        .await
        .unwrap_err();
    assert!(error.kind() == ErrorKind::Config && error.to_string().contains("offers no feeds"), "{error}");
}

#[tokio::test]
async fn a_source_that_offers_two_feeds_of_one_name_is_refused_before_a_row_is_read() {
    let feed = |stream: StreamSpec| Feed::new("shop", [Arc::new(stream)]);
    let other = StreamSpec::new("customers").key(["id"]).text("name");
    let world = World::with(MemorySource::new([feed(orders()), feed(other)]), MemorySink::new());
    world.fill(1);
    let error = world.engine().run("shop").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("two feeds of one name") && error.to_string().contains("feed: shop"), "{error}");
    assert_eq!(world.source.requests(), 0);
}

#[tokio::test]
async fn the_host_filters_and_the_ledger_says_so() {
    let world = World::new();
    world.fill(10);
    let even = world.pipeline().filter(|_, change| change.row().at(0).as_i64().is_some_and(|id| id % 2 == 0));
    let report = world.engine_of(even).run("shop").await.unwrap();
    assert_eq!((count(&report, Outcome::Created), count(&report, Outcome::Filtered)), (5, 5), "{report}");
    assert_eq!(report.status, RunStatus::Completed);
}

#[tokio::test]
async fn a_closure_decides_conflicts_that_no_sink_can_evaluate() {
    let world = World::new();
    world.fill(6);
    world.run().await;
    for id in 1..=6 {
        world.source.upsert("orders", row(id, 2, "second"));
    }
    let pipeline = world.pipeline().policy(decide(|conflict| match conflict.key.values()[0].as_ref().as_i64() {
        Some(1 | 2) => sync_core::conflict::Resolution::KeepExisting,
        Some(3) => sync_core::conflict::Resolution::Park("a person must see this".into()),
        Some(4) => sync_core::conflict::Resolution::Merge(row(4, 2, "merged")),
        _ => sync_core::conflict::Resolution::TakeIncoming,
    }));
    let report = world.engine_of(pipeline).run("shop").await.unwrap();
    let counts = [Outcome::Existing, Outcome::Parked, Outcome::Updated].map(|outcome| count(&report, outcome));
    assert_eq!(counts, [2, 1, 3], "{report}");
    let notes: Vec<String> = world.sink.rows("orders").iter().map(|(_, row)| row[2].to_string()).collect();
    assert_eq!(notes, ["first", "first", "first", "merged", "second", "second"]);
}

#[tokio::test]
async fn a_sink_without_checkpoints_is_followed_through_the_store() {
    let sink = MemorySink::with_capabilities(SinkCapabilities::idempotent());
    let world = World::with(MemorySource::of([orders()]).page(10), sink);
    world.fill(45);
    let refused = world.engine().run("shop").await.unwrap_err();
    assert!(refused.to_string().contains("cannot read back"), "versions need a guard or read-back: {refused}");
    let plain = StreamSpec::new("plain").key(["id"]).text("note");
    let source = MemorySource::of([plain]).page(10);
    for id in 1..=45_i64 {
        source.upsert("plain", [id.into(), "x".into()]);
    }
    let world = World::with(source, MemorySink::with_capabilities(SinkCapabilities::idempotent()));
    let report = world.run().await;
    assert_eq!((report.status, count(&report, Outcome::Created)), (RunStatus::Completed, 45), "{report}");
    assert_eq!(world.run().await.ledger().fetched, 0);
}

#[tokio::test]
async fn what_cannot_work_is_refused_before_anything_is_read() {
    let world = World::new();
    let refuse =
        |pipeline: Pipeline| Engine::builder(world.store.clone()).pipeline(pipeline).build().unwrap_err().to_string();
    let unversioned = StreamSpec::new("plain").key(["id"]);
    let lww = world.pipeline().stream(unversioned).policy(sync_core::conflict::LastWriteWins);
    assert!(refuse(lww).contains(".version("), "last-write-wins without versions");
    let counted = world.pipeline().stream(orders()).policy(Counters::new(["note"], IncomingWins));
    assert!(refuse(counted).contains("\"note\" is declared as text"), "a counter that is no number");
    let merged = world.pipeline().stream(orders()).policy(FieldMerge::new().fill(["notes"]));
    assert!(refuse(merged).contains("\"notes\" is not declared"), "a column that is not there");
    let weak = Pipeline::new("weak", world.source.clone(), MemorySink::with_capabilities(SinkCapabilities::default()));
    assert!(refuse(weak.demand(Guarantee::EffectivelyOnce)).contains("demanded"));
    let append = StreamSpec::new("log").text("line").disposition(Disposition::Append);
    let doubling =
        Pipeline::new("log", world.source.clone(), MemorySink::with_capabilities(SinkCapabilities::idempotent()))
            .stream(append);
    assert!(refuse(doubling).contains("double"));
    assert_eq!(world.source.requests(), 0);
}

#[tokio::test]
async fn a_cancelled_run_stops_at_a_boundary_and_the_next_one_continues() {
    let world = World::new();
    world.fill(500);
    let token = tokio_util::sync::CancellationToken::new();
    token.cancel();
    let report = world.engine().run_with("shop", RunOptions::incremental().cancel(token)).await.unwrap();
    assert_eq!(report.status, RunStatus::Cancelled, "{report}");
    assert!(report.ledger().balances());
    let rest = world.run().await;
    assert_eq!(rest.status, RunStatus::Completed);
    world.assert_in_step();
}

/// A sink that never says where a scope stands.
#[derive(Debug)]
struct Silent(MemorySink);

#[async_trait::async_trait]
impl Sink for Silent {
    fn name(&self) -> &str {
        self.0.name()
    }

    async fn apply(&self, unit: &WriteUnit<'_>) -> Result<WriteReport> {
        self.0.apply(unit).await
    }

    async fn open(&self, scope: &Scope, token: FencingToken) -> Result<Option<Checkpoint>> {
        match token {
            FencingToken(0) => self.0.open(scope, token).await,
            _ => std::future::pending().await,
        }
    }

    fn capabilities(&self) -> SinkCapabilities {
        self.0.capabilities()
    }
}

#[tokio::test]
async fn a_run_that_is_cancelled_while_its_sink_is_silent_is_not_under_way_for_ever() {
    let world = World::new();
    world.fill(5);
    let engine = |sink| {
        let pipeline = Pipeline::new("shop", world.source.clone(), sink);
        Engine::builder(world.store.clone()).pipeline(pipeline)
    };
    let silent: Arc<dyn Sink> = Arc::new(Silent(world.sink.clone()));
    let token = tokio_util::sync::CancellationToken::new();
    token.cancel();
    let options = RunOptions::incremental().cancel(token).stop_within(Duration::from_millis(50));
    let report = engine(silent).build().unwrap().run_with("shop", options).await.unwrap();
    assert_eq!(report.status, RunStatus::Cancelled, "{report}");
    let log = world.store.runs(&RunQuery::default()).await.unwrap();
    assert!(log.iter().all(|record| record.status == RunStatus::Cancelled && record.finished.is_some()), "{log:?}");
    // Another process need not wait.
    engine(Arc::new(world.sink.clone())).build().unwrap().run("shop").await.unwrap().completed().unwrap();
}

#[tokio::test]
async fn the_run_log_tells_what_every_run_did() {
    let world = World::new();
    world.fill(7);
    world.run().await;
    world.run().await;
    let runs = world.engine().history(&RunQuery::default()).await.unwrap();
    assert_eq!(runs.len(), 2);
    assert_eq!((runs[1].status, runs[1].ledger.count(Outcome::Created)), (RunStatus::Completed, 7));
}
