//! What the file says of runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sync_core::event::{Event, Listener};
use sync_core::memory::{MemorySink, MemorySource, MemoryStore};
use sync_core::model::{Lane, Outcome, Partition, Scope, Tally};
use sync_core::source::Estimate;
use sync_core::state::{RunId, RunStatus};
use sync_core::{Engine, ErrorKind, Ledger, Pipeline, RunOptions, StreamSpec, SystemClock};
use sync_store_file::{State, StatusFile, SyncStatus};
use sync_testkit::ManualClock;
use tempfile::TempDir;

pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) file: StatusFile,
}

impl World {
    pub(crate) fn new() -> Self {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::new(1)));
        let file = StatusFile::open(folder.path(), Arc::clone(&clock) as _).unwrap();
        Self { folder, clock, file }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("sync_status.json")
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub(crate) fn says(&self) -> SyncStatus {
        self.file.flush().unwrap();
        SyncStatus::read(self.path()).unwrap().unwrap()
    }

    fn text(&self) -> String {
        self.file.flush().unwrap();
        std::fs::read_to_string(self.path()).unwrap()
    }

    pub(crate) fn begin(&self, pipeline: &str) {
        self.file.on(&Event::RunStarted { run: run(pipeline), pipeline: pipeline.to_owned(), dry_run: false });
    }

    fn expect(&self, pipeline: &str, rows: u64) {
        let estimate = Some(Estimate { rows, requests: None });
        self.file.on(&Event::ScopeStarted { run: run(pipeline), scope: scope(pipeline), estimate });
    }

    fn apply(&self, pipeline: &str, tally: Tally) {
        self.file.on(&Event::Applied { run: run(pipeline), scope: scope(pipeline), dry_run: false, seq: 1, tally });
    }

    fn finish_scope(&self, pipeline: &str, status: RunStatus, outcomes: Tally) {
        let ledger = Ledger { outcomes, ..Ledger::default() };
        let (run, scope) = (run(pipeline), scope(pipeline));
        self.file.on(&Event::ScopeFinished { run, scope, status, ledger, error: None, kind: None });
    }

    pub(crate) fn end(&self, pipeline: &str, status: RunStatus) {
        let failed = status == RunStatus::Failed;
        self.file.on(&Event::RunFinished {
            run: run(pipeline),
            pipeline: pipeline.to_owned(),
            dry_run: false,
            status,
            ledger: Ledger::default(),
            error: failed.then(|| format!("the source of {pipeline} is down")),
            kind: failed.then_some(ErrorKind::Unavailable),
        });
    }
}

fn run(pipeline: &str) -> RunId {
    RunId::from_text(pipeline)
}

fn scope(pipeline: &str) -> Scope {
    Scope {
        pipeline: pipeline.to_owned(),
        feed: "orders".to_owned(),
        partition: Partition::default(),
        lane: Lane::Live,
    }
}

fn tally(counts: &[(Outcome, u64)]) -> Tally {
    let mut tally = Tally::new();
    counts.iter().for_each(|(outcome, rows)| tally.add(*outcome, *rows));
    tally
}

fn orders(rows: i64) -> MemorySource {
    let source = MemorySource::of([StreamSpec::new("orders").key(["id"]).text("note")]);
    (1..=rows).for_each(|id| source.upsert("orders", [id.into(), "a note of Ann Smith".into()]));
    source
}

fn engine(world: &World, pipelines: impl IntoIterator<Item = Pipeline>) -> Engine {
    // A clock of its own: whoever sleeps on a manual clock moves it, and so would the keeper of the lease.
    let mut engine = Engine::builder(MemoryStore::new(Arc::new(SystemClock::new())));
    for pipeline in pipelines {
        engine = engine.pipeline(pipeline);
    }
    engine.listener(world.file.clone()).build().unwrap()
}

#[tokio::test]
async fn an_engine_that_listens_writes_a_success_with_its_time() {
    let world = World::new();
    let engine = engine(&world, [Pipeline::new("shop", orders(30), MemorySink::new())]);
    world.pass(3600);
    engine.run("shop").await.unwrap().completed().unwrap();
    assert_eq!(
        world.text(),
        r#"{
  "last_synced_at": "2030-01-01T01:00:00Z",
  "status": "success",
  "pending_records": 0,
  "last_error": null,
  "retry_count": 0,
  "created_at": "2030-01-01T00:00:00Z",
  "updated_at": "2030-01-01T01:00:00Z"
}
"#
    );
}

#[tokio::test]
async fn a_run_that_cannot_begin_its_work_is_a_failure_and_not_for_ever_running() {
    let world = World::new();
    let missing = Pipeline::new("shop", orders(1), MemorySink::new())
        .stream(StreamSpec::new("orders").key(["id"]).text("note"))
        .stream(StreamSpec::new("gone").key(["id"]));
    let engine = engine(&world, [missing]);
    for tries in 1..=3 {
        engine.run("shop").await.unwrap_err();
        let status = world.says();
        assert_eq!((status.status, status.retry_count, status.last_synced_at), (State::Failed, tries, None));
        assert!(status.last_error.unwrap().starts_with("config: the source offers no such stream"));
    }
}

#[tokio::test]
async fn no_value_of_a_row_is_in_the_file_when_rows_are_rejected() {
    let world = World::new();
    let source = orders(200);
    for id in 1..=200_i64 {
        source.spoil("orders", &sync_core::Key::new([id]), "Ann Smith is no number");
    }
    let engine = engine(&world, [Pipeline::new("shop", source, MemorySink::new())]);
    let report = engine.run("shop").await.unwrap();
    assert_eq!(report.status, RunStatus::Failed, "{report}");
    assert_eq!(world.says().status, State::Failed);
    assert!(!world.text().contains("Ann"), "{}", world.text());
}

#[tokio::test]
async fn a_dry_run_leaves_the_file_alone() {
    let world = World::new();
    let before = world.text();
    let engine = engine(&world, [Pipeline::new("shop", orders(5), MemorySink::new())]);
    world.pass(60);
    engine.run_with("shop", RunOptions::full().dry_run()).await.unwrap();
    assert_eq!(world.text(), before);
}

#[test]
fn failures_are_counted_until_a_success_and_keep_the_time_of_the_last_one() {
    let world = World::new();
    for (status, retries, synced) in [
        (RunStatus::Completed, 0, 10),
        (RunStatus::Failed, 1, 10),
        (RunStatus::Failed, 2, 10),
        (RunStatus::Held, 2, 10),
        (RunStatus::Cancelled, 2, 10),
        (RunStatus::Failed, 3, 10),
        (RunStatus::Completed, 0, 70),
    ] {
        world.begin("shop");
        world.pass(10);
        world.end("shop", status);
        let says = world.says();
        let since = (says.last_synced_at.unwrap() - says.created_at).num_seconds();
        assert_eq!((says.retry_count, since), (retries, synced), "{says}");
        assert_eq!(says.last_error.is_some(), status == RunStatus::Failed, "{says}");
    }
}

#[test]
fn a_cancelled_run_does_not_hide_the_error_before_it() {
    let world = World::new();
    for status in [RunStatus::Failed, RunStatus::Cancelled] {
        world.begin("shop");
        world.end("shop", status);
    }
    let says = world.says();
    assert_eq!(says.status, State::Cancelled);
    assert_eq!(says.last_error.unwrap(), "unavailable: the source of shop is down");
}

#[test]
fn failures_are_counted_on_after_a_restart() {
    let world = World::new();
    world.begin("shop");
    world.end("shop", RunStatus::Failed);
    let World { folder, clock, file } = world;
    drop(file);
    let file = StatusFile::open(folder.path(), Arc::clone(&clock) as _).unwrap();
    let world = World { folder, clock, file };
    world.begin("shop");
    world.end("shop", RunStatus::Failed);
    assert_eq!(world.says().retry_count, 2);
}

#[test]
fn one_pipeline_that_works_does_not_hide_another_that_fails() {
    let world = World::new();
    world.begin("shop");
    world.begin("till");
    world.end("till", RunStatus::Failed);
    assert_eq!(world.says().status, State::Running, "the shop is still at it");
    world.end("shop", RunStatus::Completed);
    let says = world.says();
    assert_eq!((&says.status, says.retry_count, says.last_synced_at), (&State::Failed, 1, None), "{says}");
    assert_eq!(says.last_error.unwrap(), "unavailable: the source of till is down");
    world.begin("till");
    world.end("till", RunStatus::Completed);
    let says = world.says();
    assert_eq!((&says.status, says.retry_count, says.last_error.as_deref()), (&State::Success, 0, None));
    assert!(says.last_synced_at.is_some());
}

#[test]
fn of_two_that_fail_the_last_one_is_named() {
    let world = World::new();
    for pipeline in ["till", "shop", "till"] {
        world.begin(pipeline);
        world.end(pipeline, RunStatus::Failed);
        assert_eq!(world.says().last_error.unwrap(), format!("unavailable: the source of {pipeline} is down"));
    }
}

#[test]
fn pending_rows_go_down_as_they_become_durable() {
    let world = World::new();
    world.begin("shop");
    world.pass(2);
    world.expect("shop", 100);
    assert_eq!(world.says().pending_records, 100);
    world.pass(2);
    world.apply("shop", tally(&[(Outcome::Created, 30), (Outcome::Staged, 10)]));
    let says = world.says();
    assert_eq!((says.status, says.pending_records), (State::Running, 70), "staged rows are not visible yet");
    world.finish_scope("shop", RunStatus::Failed, tally(&[(Outcome::Created, 30), (Outcome::Staged, 10)]));
    world.end("shop", RunStatus::Failed);
    assert_eq!(world.says().pending_records, 70);
    world.begin("shop");
    world.expect("shop", 70);
    world.finish_scope("shop", RunStatus::Completed, tally(&[(Outcome::Updated, 68), (Outcome::Withheld, 2)]));
    world.end("shop", RunStatus::Completed);
    assert_eq!(world.says().pending_records, 2, "deletes held back wait for a person");
}

#[test]
fn numbers_alone_are_written_once_a_second_at_most() {
    let world = World::new();
    world.begin("shop");
    world.expect("shop", 100);
    assert_eq!(world.says().pending_records, 0, "the run began in this second");
    world.pass(1);
    world.apply("shop", tally(&[(Outcome::Created, 1)]));
    assert_eq!(world.says().pending_records, 99);
    world.apply("shop", tally(&[(Outcome::Created, 1)]));
    assert_eq!(world.says().pending_records, 99);
}

#[test]
fn a_failure_without_an_estimate_leaves_the_number_before_it() {
    let world = World::new();
    std::fs::write(world.path(), super::form::EXAMPLE.replace("\"pending_records\": 0", "\"pending_records\": 12"))
        .unwrap();
    world.begin("shop");
    world.finish_scope("shop", RunStatus::Failed, Tally::new());
    world.end("shop", RunStatus::Failed);
    assert_eq!(world.says().pending_records, 12);
}

#[test]
fn a_reset_begins_again_and_the_next_run_is_told_as_ever() {
    let world = World::new();
    world.begin("shop");
    world.end("shop", RunStatus::Failed);
    world.pass(5);
    world.file.reset().unwrap();
    let says = world.says();
    assert_eq!((&says.status, says.retry_count, says.last_error.as_deref()), (&State::Idle, 0, None));
    assert_eq!((says.created_at, says.last_synced_at), (says.updated_at, None));
    world.begin("till");
    world.end("till", RunStatus::Completed);
    assert_eq!(world.says().status, State::Success, "the failure before the reset no longer counts");
}

#[test]
fn a_file_that_is_deleted_meanwhile_loses_nothing_but_its_past() {
    let world = World::new();
    world.begin("shop");
    std::fs::remove_file(world.path()).unwrap();
    world.end("shop", RunStatus::Completed);
    assert_eq!(world.says().status, State::Success);
}

#[test]
fn for_people_a_status_is_a_line_a_field() {
    let world = World::new();
    world.begin("shop");
    world.end("shop", RunStatus::Failed);
    let says = world.says().to_string();
    assert_eq!(
        says,
        "status         failed\nlast synced    never\npending        0\nfailures       1\n\
         last error     unavailable: the source of shop is down\nupdated        2030-01-01T00:00:00Z"
    );
}

/// One run of a pipeline that fails.
pub(crate) fn fail_once(file: &StatusFile, pipeline: &str) {
    file.on(&Event::RunStarted { run: run(pipeline), pipeline: pipeline.to_owned(), dry_run: false });
    file.on(&Event::RunFinished {
        run: run(pipeline),
        pipeline: pipeline.to_owned(),
        dry_run: false,
        status: RunStatus::Failed,
        ledger: Ledger::default(),
        error: None,
        kind: None,
    });
}

#[test]
fn a_sync_that_no_engine_tells_of_is_told_by_its_host() {
    let world = World::new();
    world.file.began();
    assert_eq!(world.says().status, State::Running);
    world.pass(1);
    let error = sync_core::Error::unavailable("the master cannot be reached");
    world.file.failed(&error, 3);
    world.file.failed(&error, 4);
    let says = world.says();
    assert_eq!((&says.status, says.retry_count, says.pending_records), (&State::Failed, 2, 4));
    assert!(says.last_error.unwrap().contains("cannot be reached") && says.last_synced_at.is_none());
    world.file.began();
    world.file.succeeded(1);
    let says = world.says();
    assert_eq!((&says.status, says.retry_count, says.pending_records), (&State::Success, 0, 1));
    assert!(says.last_error.is_none() && says.last_synced_at == Some(says.updated_at));
}
