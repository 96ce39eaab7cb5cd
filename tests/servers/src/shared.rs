//! The servers that tests share.

use std::ffi::OsString;
use std::sync::{Mutex, PoisonError};

use crate::Result;
use crate::database::{Database, blocking};
use crate::endpoint::{Endpoint, Kind};
use crate::instance::{Durability, Instance};

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
    database(Kind::Postgres, &OWN_POSTGRES).await
}

/// A fresh MariaDB database for this test.
///
/// # Errors
/// When there is no server and none can be started, or it does not create the database.
pub async fn mariadb() -> Result<Database> {
    database(Kind::MariaDb, &OWN_MARIADB).await
}

async fn database(kind: Kind, own: &'static Own) -> Result<Database> {
    blocking(move || Database::create(endpoint(kind, own)?)).await
}

fn endpoint(kind: Kind, own: &Own) -> Result<Endpoint> {
    if let Ok(url) = std::env::var(kind.url_variable()) {
        return Endpoint::from_url(kind, &url);
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
pub struct SharedServers(Vec<Instance>);

impl SharedServers {
    /// Starts both servers at once, except one that is named in its variable already.
    ///
    /// # Errors
    /// When one of them does not start.
    pub fn start() -> Result<Self> {
        let missing =
            [Kind::Postgres, Kind::MariaDb].into_iter().filter(|kind| std::env::var_os(kind.url_variable()).is_none());
        let start = |kind| std::thread::spawn(move || Instance::start_with_template(kind, Durability::ProcessOnly));
        // Collected first: both must be under way before one is waited for.
        let starts: Vec<_> = missing.map(start).collect();
        let started =
            starts.into_iter().map(|start| start.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        Ok(Self(started.collect::<Result<_>>()?))
    }

    /// The variables to set for the tests, with their values.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, OsString)> {
        self.0.iter().flat_map(|server| {
            let endpoint = server.endpoint();
            let url = endpoint.url(endpoint.kind.first_database());
            [(endpoint.kind.url_variable(), url.into()), (endpoint.kind.template_variable(), server.template().into())]
        })
    }
}
