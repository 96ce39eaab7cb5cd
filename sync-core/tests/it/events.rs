//! What listeners are told: enough to follow a run from its beginning to its end.

use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use sync_core::event::{Event, Listener};
use sync_core::memory::{MemorySink, MemorySource, MemoryStore};
use sync_core::state::{
    Checkpoint, DeadLetter, Entry, FencingToken, Lease, LetterQuery, RunQuery, RunRecord, RunStatus,
};
use sync_core::{Engine, ErrorKind, Pipeline, RunOptions, Scope, StreamSpec, SystemClock, Value};

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

/// A store whose calls take as long as a lock is held, and fail so often at first.
#[derive(Debug)]
struct Locked {
    inner: MemoryStore,
    hold: std::time::Duration,
    failures: std::sync::atomic::AtomicU32,
}

impl Locked {
    fn engine(hold: u64, failures: u32) -> (Engine, Heard) {
        let (clock, heard) = (Arc::new(SystemClock::new()), Heard::default());
        let inner = MemoryStore::new(Arc::<SystemClock>::clone(&clock));
        let store = Self { inner, hold: std::time::Duration::from_secs(hold), failures: failures.into() };
        let source = MemorySource::of([orders()]);
        source.upsert("orders", row(1, 1));
        let pipeline = Pipeline::new("shop", source, MemorySink::new());
        (Engine::builder(store).clock(clock).listener(heard.clone()).pipeline(pipeline).build().unwrap(), heard)
    }

    async fn wait(&self) -> sync_core::Result<()> {
        use std::sync::atomic::Ordering::Relaxed;
        tokio::time::sleep(self.hold).await;
        let failing = self.failures.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
        if failing { Err(sync_core::Error::unavailable("database is locked")) } else { Ok(()) }
    }
}

#[async_trait::async_trait]
impl sync_core::StateStore for Locked {
    async fn acquire(
        &self,
        name: &str,
        owner: &str,
        ttl: std::time::Duration,
        floor: FencingToken,
    ) -> sync_core::Result<Lease> {
        self.wait().await?;
        self.inner.acquire(name, owner, ttl, floor).await
    }

    async fn renew(&self, lease: &Lease) -> sync_core::Result<()> {
        self.inner.renew(lease).await
    }

    async fn release(&self, lease: &Lease) -> sync_core::Result<()> {
        self.inner.release(lease).await
    }

    async fn record(&self, lease: &Lease, entries: &[Entry]) -> sync_core::Result<()> {
        self.wait().await?;
        self.inner.record(lease, entries).await
    }

    async fn checkpoint(&self, scope: &Scope) -> sync_core::Result<Option<Checkpoint>> {
        self.inner.checkpoint(scope).await
    }

    async fn hold(&self, scope: &Scope) -> sync_core::Result<Option<DateTime<Utc>>> {
        self.inner.hold(scope).await
    }

    async fn dead_letters(&self, query: &LetterQuery) -> sync_core::Result<Vec<DeadLetter>> {
        self.inner.dead_letters(query).await
    }

    async fn runs(&self, query: &RunQuery) -> sync_core::Result<Vec<RunRecord>> {
        self.inner.runs(query).await
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_locked_state_store_is_told_so_and_for_how_long() {
    let (engine, heard) = Locked::engine(9, 0);
    engine.run("shop").await.unwrap().completed().unwrap();
    let told = heard.take();
    let waits = |wanted: &str| -> Vec<(String, u64)> {
        let wait = |event: &Event| match event {
            Event::Waiting { doing, on, waited, scope: Some(_), run: Some(_) } if *doing == wanted => {
                Some((on.clone(), waited.as_secs()))
            }
            _ => None,
        };
        told.iter().filter_map(wait).collect()
    };
    let store = |seconds| ("state store".to_owned(), seconds);
    assert!(waits("lease").starts_with(&[store(3), store(8)]), "{told:?}");
    assert!(waits("record").starts_with(&[store(3), store(8)]), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn each_new_try_at_the_state_store_is_told_with_the_reason() {
    let (engine, heard) = Locked::engine(0, 3);
    engine.run("shop").await.unwrap().completed().unwrap();
    let retried = |event: Event| match event {
        Event::Retrying { doing, on, error, .. } => Some((doing, on, error)),
        _ => None,
    };
    let retries: Vec<_> = heard.take().into_iter().filter_map(retried).collect();
    let locked = ("lease", "state store".to_owned(), "database is locked".to_owned());
    assert_eq!(retries, [locked.clone(), locked.clone(), locked]);
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_calls_are_quick_tells_of_no_waiting() {
    let (engine, heard) = Locked::engine(1, 0);
    engine.run("shop").await.unwrap().completed().unwrap();
    let told = heard.take();
    assert!(!told.iter().any(|event| matches!(event, Event::Waiting { .. })), "{told:?}");
}

/// Before there is a scope, and where a source is slow to answer.
#[tokio::test(start_paused = true)]
async fn a_slow_listing_of_feeds_is_told_before_there_is_a_scope() {
    #[derive(Debug)]
    struct Slow(MemorySource);
    #[async_trait::async_trait]
    impl sync_core::Source for Slow {
        fn name(&self) -> &str {
            "slow shop"
        }
        async fn feeds(&self) -> sync_core::Result<Vec<sync_core::Feed>> {
            tokio::time::sleep(std::time::Duration::from_secs(4)).await;
            self.0.feeds().await
        }
        fn capabilities(&self) -> sync_core::source::SourceCapabilities {
            self.0.capabilities()
        }
        fn read(&self, request: sync_core::ReadRequest) -> sync_core::BatchStream<'_> {
            self.0.read(request)
        }
    }
    let (engine, heard) = engine(Pipeline::new("shop", Slow(MemorySource::of([orders()])), MemorySink::new()));
    engine.run("shop").await.unwrap();
    let told = heard.take();
    let listing =
        |event: &Event| matches!(event, Event::Waiting { doing: "list", on, scope: None, .. } if on == "slow shop");
    assert!(told.iter().any(listing), "{told:?}");
}

#[tokio::test]
async fn a_column_that_no_row_of_a_first_load_has_a_value_for_is_told_as_data_and_in_the_report() {
    let stream = StreamSpec::new("orders").key(["id"]).int("version").version("version").text("titel").text("note");
    let source = MemorySource::of([stream]);
    for id in 1..=3_i64 {
        source.upsert("orders", [id.into(), 1.into(), Value::Null, if id == 2 { "x".into() } else { Value::Null }]);
    }
    let (engine, heard) = engine(Pipeline::new("shop", source.clone(), MemorySink::new()));
    let report = engine.run("shop").await.unwrap();
    let unfilled = |event: &Event| match event {
        Event::Unfilled { stream, columns, rows, .. } => Some((stream.clone(), columns.clone(), *rows)),
        _ => None,
    };
    let told: Vec<_> = heard.take().iter().filter_map(unfilled).collect();
    assert_eq!(told, [("orders".to_owned(), vec!["titel".to_owned()], 3)]);
    assert!(report.to_string().contains("orders: none of 3 rows has a value for titel;"), "{report}");

    source.upsert("orders", [2.into(), 2.into(), Value::Null, Value::Null]);
    let second = engine.run("shop").await.unwrap();
    assert!(second.unfilled().is_empty(), "a run of changes shows nothing of the rows that did not change");
}

#[tokio::test]
async fn a_listener_can_tell_the_units_of_a_dry_run_from_those_that_are_kept() {
    let source = MemorySource::of([orders()]);
    source.upsert("orders", [1.into(), 1.into()]);
    let (engine, heard) = engine(Pipeline::new("shop", source, MemorySink::new()));
    for dry in [true, false] {
        let options = if dry { RunOptions::full().dry_run() } else { RunOptions::full() };
        engine.run_with("shop", options).await.unwrap().completed().unwrap();
        let applied = |event: &Event| match event {
            Event::Applied { dry_run, .. } => Some(*dry_run),
            _ => None,
        };
        let told: Vec<bool> = heard.take().iter().filter_map(applied).collect();
        assert!(!told.is_empty() && told.iter().all(|told| *told == dry), "{told:?}");
    }
}
