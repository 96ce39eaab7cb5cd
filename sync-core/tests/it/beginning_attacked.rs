//! What may go wrong while the source is asked and the target is made ready.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use sync_core::engine::{FirstLoad as Load, Pipeline, RunOptions};
use sync_core::memory::{Feeding, FirstLoad, MemorySink, MemorySource, MemoryStore};
use sync_core::model::{Feed, RowScope, Scope};
use sync_core::retry::RetryPolicy;
use sync_core::sink::{Altered, SinkCapabilities, WriteReport, WriteUnit};
use sync_core::state::{Checkpoint, FencingToken, RunStatus};
use sync_core::{Engine, Error, Key, Result, Sink, StreamSpec, SystemClock};
use tokio_util::sync::CancellationToken;

fn orders(name: &str) -> StreamSpec {
    StreamSpec::new(name).key(["id"]).int("version").version("version")
}

/// A sink whose targets are made ready with difficulty.
#[derive(Debug, Clone)]
struct Rough {
    sink: MemorySink,
    /// What goes wrong, drawn anew each time.
    luck: Arc<Mutex<Option<Luck>>>,
    refused: Arc<AtomicU64>,
}

#[derive(Debug, Clone, Copy)]
struct Luck(u64);

impl Luck {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn below(&mut self, most: u64) -> u64 {
        (self.next() >> 8) % most
    }
}

#[async_trait]
impl Sink for Rough {
    fn name(&self) -> &str {
        "rough"
    }
    fn capabilities(&self) -> SinkCapabilities {
        self.sink.capabilities()
    }
    async fn exists(&self, stream: &StreamSpec) -> Result<bool> {
        let draw = self.luck.lock().unwrap().as_mut().map(|luck| luck.below(12));
        if draw == Some(0) {
            return Err(Error::unavailable("nobody there"));
        }
        self.sink.exists(stream).await
    }
    async fn prepare(&self, stream: &StreamSpec) -> Result<Altered> {
        let draw = self.luck.lock().unwrap().as_mut().map(|luck| luck.below(12));
        match draw {
            Some(0) => return Err(Error::unavailable("not yet")),
            Some(1) => {
                self.refused.fetch_add(1, Ordering::SeqCst);
                return Err(Error::config("of another shape"));
            }
            Some(2) => tokio::time::sleep(Duration::from_secs(200)).await,
            Some(3) => tokio::time::sleep(Duration::from_millis(30)).await,
            Some(4) => {
                self.sink.prepare(stream).await?;
                return Err(Error::unavailable("made, but the answer is lost"));
            }
            _ => {}
        }
        self.sink.prepare(stream).await
    }
    async fn count(&self, stream: &StreamSpec, rows: &RowScope) -> Result<Option<u64>> {
        self.sink.count(stream, rows).await
    }
    async fn stored(&self, stream: &StreamSpec, keys: &[Key]) -> Result<Vec<Option<sync_core::sink::StoredRow>>> {
        self.sink.stored(stream, keys).await
    }
    async fn open(&self, scope: &Scope, token: FencingToken) -> Result<Option<Checkpoint>> {
        self.sink.open(scope, token).await
    }
    async fn checkpoint(&self, scope: &Scope) -> Result<Option<Checkpoint>> {
        self.sink.checkpoint(scope).await
    }
    async fn apply(&self, unit: &WriteUnit<'_>) -> Result<WriteReport> {
        let draw = self.luck.lock().unwrap().as_mut().map(|luck| luck.below(14));
        match draw {
            Some(0) => return Err(Error::unavailable("not now")),
            Some(1) => tokio::time::sleep(Duration::from_millis(40)).await,
            Some(2) => {
                self.sink.apply(unit).await?;
                return Err(Error::unavailable("the answer is lost").ambiguous());
            }
            _ => {}
        }
        self.sink.apply(unit).await
    }
}

async fn lives_through(seed: u64) -> (u64, u64) {
    let mut random = Luck(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    for _ in 0..9 {
        random.next();
    }
    let feeding = [Feeding::Log, Feeding::Log, Feeding::Version, Feeding::Whole][random.below(4) as usize];
    let scattered = random.below(2) == 0;
    let (partitions, page) = (1 + random.below(3) as usize, 1 + random.below(9) as usize);
    let names: &[&str] = if random.below(2) == 0 { &["a"] } else { &["a", "b"] };
    let shared = random.below(2) == 0;
    let specs: Vec<Arc<StreamSpec>> = names.iter().map(|name| Arc::new(orders(name))).collect();
    let shop = if shared {
        MemorySource::new([Feed::new("all", specs.clone())])
    } else {
        MemorySource::new(specs.iter().map(|spec| Feed::one(Arc::clone(spec))).collect::<Vec<_>>())
    };
    let order = if scattered { FirstLoad::Scattered } else { FirstLoad::ByKey };
    let shop = shop.feeding(feeding).page(page).partitioned(partitions).first_load(order);
    let mut capabilities = SinkCapabilities::all();
    capabilities.atomic_checkpoint = random.below(3) > 0;
    let target = MemorySink::with_capabilities(capabilities);
    let rough = Rough { sink: target.clone(), luck: Arc::default(), refused: Arc::default() };
    let load = [Load::Auto, Load::Sorted, Load::Direct][random.below(3) as usize];
    let state = MemoryStore::new(Arc::new(SystemClock::new()));
    let what = format!(
        "seed {seed}: {feeding:?} {order:?} {partitions} partitions {names:?} shared {shared} {load:?} atomic {}",
        capabilities.atomic_checkpoint
    );
    let engine_over = |unit: usize| {
        Engine::builder(state.clone())
            .owner("one")
            .retry(RetryPolicy::new().base(Duration::from_millis(5)).cap(Duration::from_millis(20)))
            .unit_rows(unit)
            .pipeline(Pipeline::new("shop", shop.clone(), rough.clone()).first_load(load))
            .build()
            .unwrap()
    };
    let (mut version, mut killed) = (0, 0);
    for run in 0..10 {
        for _ in 0..random.below(30) {
            version += 1;
            let name = names[random.below(names.len() as u64) as usize];
            let id = random.below(40) as i64;
            if random.below(6) == 0 {
                shop.delete_at(name, &Key::new([id]), version);
            } else {
                shop.upsert(name, [id.into(), version.into()]);
            }
        }
        *rough.luck.lock().unwrap() = Some(Luck(random.next() | 1));
        let engine = engine_over(1 + random.below(20) as usize);
        let options = match random.below(12) {
            0 => RunOptions::full(),
            1 => RunOptions::reconcile(),
            2 => RunOptions::incremental().dry_run(),
            3 => RunOptions::incremental().new_only(),
            4 => RunOptions::full().dry_run(),
            5 => RunOptions::backfill("b", RowScope::All),
            _ => RunOptions::incremental(),
        };
        let token = CancellationToken::new();
        let options = options.cancel(token.clone()).stop_within(Duration::from_millis(random.below(50)));
        if random.below(4) == 0 {
            let after = Duration::from_millis(random.below(60));
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                token.cancel();
            });
        }
        let (refused, effects) = (rough.refused.load(Ordering::SeqCst), target.effects().len());
        let dry = format!("{options:?}").contains("dry_run: true");
        let running = engine.run_with("shop", options.clone());
        let limit =
            if random.below(3) == 0 { Duration::from_millis(random.below(120)) } else { Duration::from_secs(7200) };
        match tokio::time::timeout(limit, running).await {
            Ok(Ok(report)) => {
                for scope in &report.scopes {
                    assert!(scope.ledger.balances(), "{what}: run {run}: {options:?}: {report}");
                }
                if report.scopes.len() == 1
                    && rough.refused.load(Ordering::SeqCst) > refused
                    && report.scopes[0].status == RunStatus::Failed
                    && report.scopes[0].error.as_ref().is_some_and(|error| error.to_string().contains("another shape"))
                {
                    assert_eq!(target.effects().len(), effects, "{what}: run {run}: written to a refused target");
                    assert_eq!(report.ledger().fetched, 0, "{what}: run {run}");
                }
                if dry {
                    assert_eq!(target.effects().len(), effects, "{what}: run {run}: a dry run has written");
                }
            }
            Ok(Err(_)) => {}
            Err(_) => {
                assert!(limit < Duration::from_secs(7200), "{what}: run {run}: {options:?}: hangs");
                killed += 1;
            }
        }
    }
    *rough.luck.lock().unwrap() = None;
    // An incremental run ends a first load; deletes that no log tells come by a listing.
    let engine = engine_over(7);
    let mut last = engine.run("shop").await.unwrap();
    for _ in 0..3 {
        if last.status == RunStatus::Completed {
            break;
        }
        last = engine.run_with("shop", RunOptions::full()).await.unwrap();
    }
    assert_eq!(
        last.status,
        RunStatus::Completed,
        "{what}: {last} {:?}",
        last.scopes.iter().map(|scope| &scope.error).collect::<Vec<_>>()
    );
    for name in names {
        let found = target.rows(name);
        for row in shop.rows(name) {
            assert!(found.contains(&row), "{what}: {name} {row:?} is not there: {found:?}");
        }
    }
    if partitions > 1 {
        return (rough.refused.load(Ordering::SeqCst), killed);
    }
    engine.run_with("shop", RunOptions::reconcile().confirm_deletes()).await.unwrap().completed().unwrap();
    for name in names {
        let (mut found, mut wanted) = (target.rows(name), shop.rows(name));
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted, "{what}: {name}");
    }
    (rough.refused.load(Ordering::SeqCst), killed)
}

#[tokio::test(start_paused = true)]
async fn whatever_comes_of_making_the_target_ready_no_row_is_lost() {
    let many = std::env::var("BEGINNINGS").ok().and_then(|many| many.parse().ok()).unwrap_or(60);
    let (mut refused, mut killed) = (0, 0);
    for seed in 1..=many {
        let (no, dead) = lives_through(seed).await;
        refused += no;
        killed += dead;
    }
    assert!(refused > many / 2 && killed > many / 3, "{refused} refused, {killed} killed");
}
