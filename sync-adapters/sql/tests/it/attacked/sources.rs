//! Tables that we do not own, and what becomes of them between two pages.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::future::BoxFuture;
use sync_core::memory::{MemorySink, MemoryStore};
use sync_core::retry::RetryPolicy;
use sync_core::source::{Estimate, SourceCapabilities};
use sync_core::{
    BatchStream, Engine, Feed, Pipeline, ReadRequest, Report, Result, RunOptions, Source, StreamSpec, SystemClock,
};
use sync_sql::{MySqlSource, PostgresSource};
use sync_test_servers::{Durability, MariaDbServer, PostgresServer};

use crate::faults::Server;

pub(super) type Action = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// A source, and what happens once between two of its pages.
#[derive(Clone)]
struct Between {
    inner: Arc<dyn Source>,
    after: usize,
    pages: Arc<AtomicUsize>,
    action: Action,
}

impl std::fmt::Debug for Between {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Between")
    }
}

#[async_trait]
impl Source for Between {
    fn name(&self) -> &str {
        self.inner.name()
    }
    async fn feeds(&self) -> Result<Vec<Feed>> {
        self.inner.feeds().await
    }
    fn capabilities(&self) -> SourceCapabilities {
        self.inner.capabilities()
    }
    async fn estimate(&self, request: &ReadRequest) -> Result<Option<Estimate>> {
        self.inner.estimate(request).await
    }
    fn read(&self, request: ReadRequest) -> BatchStream<'_> {
        self.inner
            .read(request)
            .then(move |batch| async move {
                if batch.is_ok() && self.pages.fetch_add(1, Ordering::SeqCst) + 1 == self.after {
                    (self.action)().await;
                }
                batch
            })
            .boxed()
    }
}

pub(super) async fn run(
    source: Arc<dyn Source>,
    after: usize,
    action: Action,
    sink: &MemorySink,
    store: &MemoryStore,
    options: RunOptions,
) -> Report {
    let between = Between { inner: source, after, pages: Arc::default(), action };
    let quick = RetryPolicy::new().base(Duration::from_millis(20)).cap(Duration::from_millis(300)).attempts(6);
    let pipeline = Pipeline::new("shop", between, sink.clone());
    let engine =
        Engine::builder(store.clone()).owner("one").unit_rows(20).retry(quick).pipeline(pipeline).build().unwrap();
    tokio::time::timeout(Duration::from_secs(60), engine.run_with("shop", options)).await.expect("it ends").unwrap()
}

pub(super) fn nothing() -> Action {
    Arc::new(|| Box::pin(async {}))
}

fn stream(server: Server) -> StreamSpec {
    let stream = StreamSpec::new("orders").key(["id"]);
    match server {
        Server::Postgres => stream.timestamp("at").version("at").text("note"),
        Server::MariaDb => stream.timestamp("at").version("at").text("note"),
    }
}

pub(super) const POSTGRES: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, at timestamptz NOT NULL, note text);
    INSERT INTO orders SELECT i, now() - interval '1 hour' + i * interval '1 second', 'n' || i FROM generate_series(1, 300) i";
pub(super) const MARIADB: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, at datetime(6) NOT NULL, note longtext CHARACTER SET utf8mb4);
    INSERT INTO orders SELECT seq, UTC_TIMESTAMP() - INTERVAL 1 HOUR + INTERVAL seq SECOND, concat('n', seq) FROM seq_1_to_300";

pub(super) async fn open(server: Server, url: &str) -> Arc<dyn Source> {
    match server {
        Server::Postgres => {
            Arc::new(PostgresSource::connect(url).await.unwrap().table(stream(server)).stamped_by_server().page(20))
        }
        Server::MariaDb => Arc::new(MySqlSource::connect(url).await.unwrap().table(stream(server)).page(20)),
    }
}

pub(super) fn ids(sink: &MemorySink) -> Vec<String> {
    sink.rows("orders").into_iter().map(|(key, values)| format!("{key} {:?}", values[2])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_between_two_pages_costs_no_row() {
    let (postgres, mariadb) = (
        Arc::new(PostgresServer::start(Durability::Full).await.unwrap()),
        Arc::new(MariaDbServer::start(Durability::Full).await.unwrap()),
    );
    for (kind, create) in [(Server::Postgres, POSTGRES), (Server::MariaDb, MARIADB)] {
        for after in [4] {
            for options in [RunOptions::incremental(), RunOptions::reconcile()] {
                let (database, killer): (_, Action) = if kind == Server::Postgres {
                    let server = Arc::clone(&postgres);
                    (
                        postgres.database().await.unwrap(),
                        Arc::new(move || {
                            let server = Arc::clone(&server);
                            Box::pin(async move {
                                server.kill().await.unwrap();
                                server.restart().await.unwrap();
                            })
                        }),
                    )
                } else {
                    let server = Arc::clone(&mariadb);
                    (
                        mariadb.database().await.unwrap(),
                        Arc::new(move || {
                            let server = Arc::clone(&server);
                            Box::pin(async move {
                                server.kill().await.unwrap();
                                server.restart().await.unwrap();
                            })
                        }),
                    )
                };
                database.client(create).await.unwrap();
                let (sink, store) = (MemorySink::new(), MemoryStore::new(Arc::new(SystemClock::new())));
                let source = open(kind, &database.url()).await;
                let report = run(Arc::clone(&source), after, killer, &sink, &store, options.clone()).await;
                assert_eq!(
                    (report.status, ids(&sink).len()),
                    (sync_core::state::RunStatus::Completed, 300),
                    "{kind:?} {after}: {report}"
                );
                assert_eq!(report.ledger().count(sync_core::model::Outcome::Deleted), 0, "{report}");
                let report = run(source, 0, nothing(), &sink, &store, RunOptions::incremental()).await;
                assert_eq!(ids(&sink).len(), 300, "{report}");
            }
        }
    }
}

/// The target is swapped for a copy of an earlier day, between two runs or in the middle of one, under an engine that goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_swapped_for_an_earlier_copy_gets_everything_that_came_since() {
    use sync_core::memory::{Feeding, MemorySource};
    for server in [Server::Postgres, Server::MariaDb] {
        for after in [0, 1, 2, 5] {
            let database = Arc::new(server.database().await);
            let sink = server.connect(&database.url()).await.unwrap();
            let stream = StreamSpec::new("orders").key(["id"]).int("n").version("n").text("note");
            let source = MemorySource::of([stream.clone()]).feeding(Feeding::Log).page(5);
            let put =
                |id: i64, n: i64| source.upsert("orders", vec![id.into(), n.into(), format!("r{n}").as_str().into()]);
            let store = MemoryStore::new(Arc::new(SystemClock::new()));
            let (copy, swap) = match server {
                Server::Postgres => (
                    "CREATE SCHEMA old; CREATE TABLE old.orders (LIKE orders INCLUDING ALL); INSERT INTO old.orders SELECT * FROM orders; CREATE TABLE old._sync_checkpoint (LIKE _sync_checkpoint INCLUDING ALL); INSERT INTO old._sync_checkpoint SELECT * FROM _sync_checkpoint",
                    "BEGIN; DROP TABLE orders, _sync_checkpoint; ALTER TABLE old.orders SET SCHEMA public; ALTER TABLE old._sync_checkpoint SET SCHEMA public; COMMIT",
                ),
                Server::MariaDb => (
                    "CREATE TABLE o LIKE orders; INSERT INTO o SELECT * FROM orders; CREATE TABLE c LIKE _sync_checkpoint; INSERT INTO c SELECT * FROM _sync_checkpoint",
                    "RENAME TABLE orders TO o2, _sync_checkpoint TO c2, o TO orders, c TO _sync_checkpoint",
                ),
            };
            let action: Action = {
                let (database, swap) = (Arc::clone(&database), swap.to_owned());
                Arc::new(move || {
                    let (database, swap) = (Arc::clone(&database), swap.clone());
                    Box::pin(async move {
                        database.client(&swap).await.unwrap();
                    })
                })
            };
            let pages = Arc::new(AtomicUsize::new(1000));
            let between = Between {
                inner: Arc::new(source.clone()),
                after: 1000 + after,
                pages: Arc::clone(&pages),
                action: Arc::clone(&action),
            };
            let quick = RetryPolicy::new().base(Duration::from_millis(20)).cap(Duration::from_millis(100)).attempts(4);
            let engine = Engine::builder(store)
                .owner("one")
                .unit_rows(5)
                .retry(quick)
                .pipeline(Pipeline::new("shop", between, sink))
                .build()
                .unwrap();
            (1..=30).for_each(|id| put(id, 1));
            pages.store(0, Ordering::SeqCst);
            engine.run("shop").await.unwrap().completed().unwrap();
            database.client(copy).await.unwrap();
            for id in 20..=50 {
                put(id, 2);
            }
            source.delete_at("orders", &sync_core::Key::new([1]), 2);
            pages.store(0, Ordering::SeqCst);
            engine.run("shop").await.unwrap().completed().unwrap();
            (60..=90).for_each(|id| put(id, 3));
            if after == 0 {
                action().await;
            }
            pages.store(1000, Ordering::SeqCst);
            let report = engine.run("shop").await.unwrap();
            println!(
                "{server:?} {after}: {:?} {}",
                report.status,
                report
                    .scopes
                    .iter()
                    .filter_map(|scope| scope.error.as_ref())
                    .map(ToString::to_string)
                    .collect::<String>()
            );
            pages.store(5000, Ordering::SeqCst);
            let report = engine.run("shop").await.unwrap();
            let there = database.client("SELECT count(*), sum(n), sum(id) FROM orders").await.unwrap();
            let rows = source.rows("orders");
            let sum = |at: usize| {
                rows.iter()
                    .map(|(_, values)| if let sync_core::Value::Int(n) = values[at] { n } else { 0 })
                    .sum::<i64>()
            };
            assert_eq!(there.trim(), format!("{}\t{}\t{}", rows.len(), sum(1), sum(0)), "{server:?} {after}: {report}");
        }
    }
}
