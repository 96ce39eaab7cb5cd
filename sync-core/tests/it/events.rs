//! What listeners are told: enough to follow a run from its beginning to its end.

use std::sync::{Arc, Mutex};

use sync_core::event::{Event, Listener};
use sync_core::memory::{MemorySink, MemorySource, MemoryStore};
use sync_core::state::RunStatus;
use sync_core::{Engine, ErrorKind, Pipeline, RunOptions, StreamSpec, SystemClock, Value};

#[derive(Debug, Clone, Default)]
struct Heard(Arc<Mutex<Vec<Event>>>);

impl Listener for Heard {
    fn on(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Heard {
    fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn estimates(&self) -> Vec<Option<u64>> {
        let estimate = |event| match event {
            Event::ScopeStarted { estimate, .. } => Some(estimate.map(|estimate| estimate.rows)),
            _ => None,
        };
        self.take().into_iter().filter_map(estimate).collect()
    }
}

fn orders() -> StreamSpec {
    StreamSpec::new("orders").key(["id"]).int("version").version("version")
}

fn row(id: i64, version: i64) -> [Value; 2] {
    [id.into(), version.into()]
}

fn engine(pipeline: Pipeline) -> (Engine, Heard) {
    let heard = Heard::default();
    let store = MemoryStore::new(Arc::new(SystemClock::new()));
    (Engine::builder(store).listener(heard.clone()).pipeline(pipeline).build().unwrap(), heard)
}

#[tokio::test]
async fn a_run_that_cannot_even_list_its_feeds_is_told_to_have_failed() {
    let missing = StreamSpec::new("missing").key(["id"]);
    let (engine, heard) =
        engine(Pipeline::new("shop", MemorySource::of([orders()]), MemorySink::new()).stream(orders()).stream(missing));
    engine.run("shop").await.unwrap_err();
    let told = heard.take();
    let Some(Event::RunFinished { pipeline, status, error, kind, .. }) = told.last() else { panic!("{told:?}") };
    assert_eq!((pipeline.as_str(), *status, *kind), ("shop", RunStatus::Failed, Some(ErrorKind::Config)));
    assert!(error.as_ref().unwrap().contains("missing"), "{error:?}");
}

#[tokio::test]
async fn an_incremental_run_expects_only_what_changed_since_the_last_one() {
    let source = MemorySource::of([orders()]);
    for id in 1..=30 {
        source.upsert("orders", row(id, 1));
    }
    let (engine, heard) = engine(Pipeline::new("shop", source.clone(), MemorySink::new()));
    engine.run("shop").await.unwrap();
    assert_eq!(heard.estimates(), [Some(30)]);
    source.upsert("orders", row(7, 2));
    engine.run("shop").await.unwrap();
    assert_eq!(heard.estimates(), [Some(1)]);
    engine.run_with("shop", RunOptions::full()).await.unwrap();
    assert_eq!(heard.estimates(), [Some(30)]);
}

#[tokio::test]
async fn a_dry_run_says_so_from_beginning_to_end() {
    let (engine, heard) = engine(Pipeline::new("shop", MemorySource::of([orders()]), MemorySink::new()));
    engine.run_with("shop", RunOptions::incremental().dry_run()).await.unwrap();
    let told = heard.take();
    assert!(matches!(told.first(), Some(Event::RunStarted { dry_run: true, .. })), "{told:?}");
    assert!(matches!(told.last(), Some(Event::RunFinished { dry_run: true, .. })), "{told:?}");
}

#[test]
fn an_event_is_json_with_its_kind_of_error_by_name() {
    let event = Event::RunFinished {
        run: sync_core::state::RunId::from_text("r1"),
        pipeline: "shop".into(),
        dry_run: false,
        status: RunStatus::Failed,
        ledger: sync_core::Ledger::default(),
        error: Some("connection refused".into()),
        kind: Some(ErrorKind::Unavailable),
    };
    let json = serde_json::to_value(&event).unwrap();
    assert_eq!((&json["event"], &json["kind"]), (&"run_finished".into(), &"unavailable".into()));
}
