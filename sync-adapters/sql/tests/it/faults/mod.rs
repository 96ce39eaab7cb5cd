//! What real servers do to a run: every fault of the SQL part of the fault catalogue, on both of them.

mod blamed;
mod drift;
mod full;
mod refused;
mod retried;
mod rights;
mod writers;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sync_core::event::{Event, Listener};
use sync_core::memory::{MemorySource, MemoryStore};
use sync_core::model::Outcome;
use sync_core::retry::RetryPolicy;
use sync_core::state::{LetterQuery, RunStatus};
use sync_core::{Engine, Pipeline, Report, RunOptions, Sink, Source, StreamSpec, SystemClock, Value};
use sync_sql::{MySql, Postgres, PostgresSource};
use sync_test_servers::Database;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    Postgres,
    MariaDb,
}

pub(crate) const BOTH: [Server; 2] = [Server::Postgres, Server::MariaDb];

impl Server {
    pub(crate) async fn database(self) -> Database {
        match self {
            Self::Postgres => sync_test_servers::postgres().await.unwrap(),
            Self::MariaDb => sync_test_servers::mariadb().await.unwrap(),
        }
    }

    pub(crate) async fn connect(self, url: &str) -> sync_core::Result<Arc<dyn Sink>> {
        Ok(match self {
            Self::Postgres => Arc::new(Postgres::connect(url).await?),
            Self::MariaDb => Arc::new(MySql::connect(url).await?),
        })
    }

    /// A statement that waits so long.
    pub(crate) fn sleep(self, seconds: f32) -> String {
        match self {
            Self::Postgres => format!("DO $$ BEGIN PERFORM pg_sleep({seconds}); END $$"),
            Self::MariaDb => format!("DO SLEEP({seconds})"),
        }
    }
}

/// What was tried again, and why.
#[derive(Debug, Clone, Default)]
pub(crate) struct Retries(Arc<Mutex<Vec<String>>>);

impl Listener for Retries {
    fn on(&self, event: &Event) {
        if let Event::Retrying { error, .. } = event {
            self.0.lock().unwrap().push(error.clone());
        }
    }
}

pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) source: MemorySource,
    pub(crate) database: Database,
    pub(crate) engine: Engine,
    retries: Retries,
}

/// id, n, note; the target has another column, of which we know nothing.
pub(crate) fn orders() -> StreamSpec {
    StreamSpec::new("orders").key(["id"]).int("n").version("n").text("note")
}

pub(crate) fn row(id: i64, n: i64, note: &str) -> Vec<Value> {
    vec![id.into(), n.into(), note.into()]
}

impl World {
    pub(crate) async fn on(server: Server, database: Database) -> Self {
        let url = database.url();
        Self::by(server, database, &url).await
    }

    /// With an account of its own.
    pub(crate) async fn by(server: Server, database: Database, url: &str) -> Self {
        let source = MemorySource::of([orders()]).page(100);
        let retries = Retries::default();
        let pipeline = match server {
            Server::Postgres => Pipeline::new("shop", source.clone(), Postgres::connect(url).await.unwrap()),
            Server::MariaDb => Pipeline::new("shop", source.clone(), MySql::connect(url).await.unwrap()),
        };
        let store = MemoryStore::new(Arc::new(SystemClock::new()));
        let quick = RetryPolicy::new().base(Duration::from_millis(50)).cap(Duration::from_millis(400));
        let engine = Engine::builder(store).pipeline(pipeline).retry(quick).listener(retries.clone()).build().unwrap();
        Self { server, source, database, engine, retries }
    }

    /// With 50 rows that came with a first run and were changed by a second one, so that the sink looks before it writes,
    /// and a column of somebody else's.
    pub(crate) async fn filled(server: Server, database: Database) -> Self {
        let world = Self::on(server, database).await;
        for (version, note) in [(0, "zeroth"), (1, "first")] {
            (1..=50).for_each(|id| world.source.upsert("orders", row(id, version, note)));
            world.run().await;
        }
        world.ask("ALTER TABLE orders ADD COLUMN theirs int").await;
        world
    }

    pub(crate) async fn run(&self) -> Report {
        let report = self.attempt().await;
        assert_eq!(report.status, RunStatus::Completed, "{:?}: {report}", self.server);
        report
    }

    pub(crate) async fn attempt(&self) -> Report {
        let run = self.engine.run_with("shop", RunOptions::incremental());
        tokio::time::timeout(Duration::from_secs(60), run).await.expect("a run ends").unwrap()
    }

    /// The kind and the text of the error of a run that fails.
    pub(crate) async fn refusal(&self) -> String {
        let report = self.attempt().await;
        assert_eq!(report.status, RunStatus::Failed, "{:?}: {report}", self.server);
        let errors = report.scopes.iter().filter_map(|scope| scope.error.as_ref());
        errors.map(|error| format!("{:?}: {error} ({})", error.kind(), error.remedy())).collect()
    }

    pub(crate) async fn ask(&self, sql: &str) -> String {
        self.database.client(sql).await.unwrap().trim().to_owned()
    }

    pub(crate) fn retries(&self) -> Vec<String> {
        self.retries.0.lock().unwrap().clone()
    }

    /// The keys of the dead letters, and why they are there.
    pub(crate) async fn letters(&self) -> Vec<(String, String)> {
        let letters = self.engine.dead_letters(&LetterQuery::default()).await.unwrap();
        let mut found: Vec<_> =
            letters.into_iter().map(|letter| (letter.key.unwrap().to_string(), letter.reason)).collect();
        found.sort();
        found
    }
}

pub(crate) fn count(report: &Report, outcome: Outcome) -> u64 {
    report.ledger().count(outcome)
}
