//! Servers that one test has to itself, to kill and restart.

use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Result;
use crate::database::{Database, blocking};
use crate::endpoint::Kind;
use crate::instance::{Durability, Instance};

/// A PostgreSQL server of a test's own.
pub type PostgresServer = PrivateServer<Postgres>;

/// A MariaDB server of a test's own.
pub type MariaDbServer = PrivateServer<MariaDb>;

/// A server that a test may kill. It ends with this value, or with the test's process.
#[derive(Debug)]
pub struct PrivateServer<K> {
    instance: Arc<Mutex<Instance>>,
    kind: PhantomData<K>,
}

/// PostgreSQL, as a kind of [`PrivateServer`].
#[derive(Debug)]
pub enum Postgres {}

/// MariaDB, as a kind of [`PrivateServer`].
#[derive(Debug)]
pub enum MariaDb {}

impl PostgresServer {
    /// Starts a server on a free port, with a new data directory.
    ///
    /// # Errors
    /// When the programs are missing, or the server ends while it starts: then with the end of its log.
    pub async fn start(durability: Durability) -> Result<Self> {
        Self::of_kind(Kind::Postgres, durability).await
    }
}

impl MariaDbServer {
    /// Starts a server on a free port, with a new data directory.
    ///
    /// # Errors
    /// When the programs are missing, or the server ends while it starts: then with the end of its log.
    pub async fn start(durability: Durability) -> Result<Self> {
        Self::of_kind(Kind::MariaDb, durability).await
    }
}

impl<K> PrivateServer<K> {
    async fn of_kind(kind: Kind, durability: Durability) -> Result<Self> {
        let instance = blocking(move || Instance::start(kind, durability)).await?;
        Ok(Self { instance: Arc::new(Mutex::new(instance)), kind: PhantomData })
    }

    /// A fresh database on this server. Its address stays true after [`restart`](Self::restart).
    ///
    /// # Errors
    /// When the server is down, or does not create it.
    pub async fn database(&self) -> Result<Database> {
        let endpoint = self.lock().endpoint().clone();
        blocking(move || Database::create(endpoint)).await
    }

    /// Kills all processes of the server at once (SIGKILL), and returns when they are gone.
    ///
    /// # Errors
    /// When the server does not run.
    pub async fn kill(&self) -> Result<()> {
        self.blocking(Instance::kill).await
    }

    /// Starts the server again, on the same port and data, and returns when it has recovered and takes connections.
    ///
    /// # Errors
    /// When it runs already, or ends while it starts: then with the end of its log.
    pub async fn restart(&self) -> Result<()> {
        self.blocking(Instance::restart).await
    }

    /// The id of the server's first process; another one after each [`restart`](Self::restart).
    pub fn pid(&self) -> u32 {
        self.lock().pid()
    }

    /// The directory with the server's data, log and socket. It is removed when the server ends.
    pub fn dir(&self) -> PathBuf {
        self.lock().dir().to_owned()
    }

    async fn blocking(&self, work: impl FnOnce(&mut Instance) -> Result<()> + Send + 'static) -> Result<()> {
        let instance = Arc::clone(&self.instance);
        blocking(move || work(&mut lock(&instance))).await
    }

    fn lock(&self) -> MutexGuard<'_, Instance> {
        lock(&self.instance)
    }
}

/// Every change of an instance leaves it usable, so a panic elsewhere while it was locked does not matter.
fn lock(instance: &Mutex<Instance>) -> MutexGuard<'_, Instance> {
    instance.lock().unwrap_or_else(PoisonError::into_inner)
}
