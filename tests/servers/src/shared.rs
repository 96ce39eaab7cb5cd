//! The servers that tests share.

use std::sync::{Mutex, PoisonError};

use crate::Result;
use crate::database::{Database, blocking};
use crate::endpoint::{Endpoint, Kind};
use crate::instance::{Durability, Instance};

/// The variable that names the PostgreSQL server for tests: `postgres://USER:PASSWORD@HOST:PORT/`.
pub const POSTGRES_URL: &str = "SYNC_TEST_POSTGRES_URL";

/// The variable that names the MariaDB server for tests: `mysql://USER:PASSWORD@HOST:PORT/`.
pub const MARIADB_URL: &str = "SYNC_TEST_MARIADB_URL";

/// This process's own server of a kind, if it had to start one. Nothing in here is dropped when the process ends; the
/// guard of the server notices the end by itself.
type Own = Mutex<Option<Instance>>;

static OWN_POSTGRES: Own = Mutex::new(None);
static OWN_MARIADB: Own = Mutex::new(None);

/// A fresh PostgreSQL database for this test.
///
/// # Errors
/// When there is no server and none can be started, or it does not create the database.
pub async fn postgres() -> Result<Database> {
    database(Kind::Postgres, POSTGRES_URL, &OWN_POSTGRES).await
}

/// A fresh MariaDB database for this test.
///
/// # Errors
/// When there is no server and none can be started, or it does not create the database.
pub async fn mariadb() -> Result<Database> {
    database(Kind::MariaDb, MARIADB_URL, &OWN_MARIADB).await
}

async fn database(kind: Kind, variable: &'static str, own: &'static Own) -> Result<Database> {
    blocking(move || Database::create(endpoint(kind, variable, own)?)).await
}

fn endpoint(kind: Kind, variable: &str, own: &Own) -> Result<Endpoint> {
    if let Ok(url) = std::env::var(variable) {
        return Endpoint::from_url(kind, variable, &url);
    }
    let mut own = own.lock().unwrap_or_else(PoisonError::into_inner);
    let instance = match own.take() {
        Some(instance) => instance,
        None => Instance::start(kind, Durability::ProcessOnly)?,
    };
    Ok(own.insert(instance).endpoint().clone())
}

/// The servers of a whole test run, for the program `with-servers`. They end when this is dropped.
#[derive(Debug)]
pub struct SharedServers(Vec<(&'static str, Instance)>);

impl SharedServers {
    /// Starts both servers at once, except one that is named in its variable already.
    ///
    /// # Errors
    /// When one of them does not start.
    pub fn start() -> Result<Self> {
        let wanted = [(POSTGRES_URL, Kind::Postgres), (MARIADB_URL, Kind::MariaDb)];
        let starts = wanted.into_iter().filter(|(variable, _)| std::env::var_os(variable).is_none());
        let starts = starts.map(|(variable, kind)| {
            (variable, std::thread::spawn(move || Instance::start(kind, Durability::ProcessOnly)))
        });
        // Collected first: both must be under way before one is waited for.
        let starts: Vec<_> = starts.collect();
        let mut servers = Vec::new();
        for (variable, start) in starts {
            let started = start.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            servers.push((variable, started?));
        }
        Ok(Self(servers))
    }

    /// The variables to set for the tests, with their values.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.0.iter().map(|(variable, server)| {
            let endpoint = server.endpoint();
            (*variable, endpoint.url(endpoint.kind.first_database()))
        })
    }
}
