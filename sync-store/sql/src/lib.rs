//! State in SQL: checkpoints, run log, dead letters, leases.
//!
//! The tables begin with `_sync_` and may live in the host's own database, beside its tables and beside a sink's.
//!
//! ```no_run
//! # async fn open() -> sync_core::Result<()> {
//! let store = sync_store_sql::SqlStore::open_sqlite("shop.db").await?;
//! # drop(store);
//! # Ok(())
//! # }
//! ```

mod dead_letter;
mod error;
mod lease;
mod position;
mod run_log;
mod schema;

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, SqlitePool, Transaction};
use sync_core::model::Scope;
use sync_core::state::{
    Checkpoint, DeadLetter, Entry, FencingToken, Lease, LetterQuery, RunQuery, RunRecord, StateStore,
};
use sync_core::{Error, Result};

use error::from_sql;

/// How long a statement waits while another connection writes. A sink may hold the write lock for as long as it takes
/// to publish a first load.
const BUSY: Duration = Duration::from_secs(60);

/// A state store in a SQL database. Cheap to clone; all clones share its connections.
#[derive(Debug, Clone)]
pub struct SqlStore {
    pool: SqlitePool,
    path: PathBuf,
}

impl SqlStore {
    /// Opens or creates a SQLite database file, and brings its tables up to date.
    ///
    /// # Errors
    /// `Config` when the file is no database, `Forbidden` when it cannot be written, both naming the file.
    pub async fn open_sqlite(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY);
        // One connection to write and one to read: a third would only wait for the first.
        let opened = SqlitePoolOptions::new().max_connections(2).acquire_timeout(BUSY).connect_with(options).await;
        let named = |error: Error| error.with("file", path.display());
        let pool = opened.map_err(|cause| named(from_sql("the state store cannot be opened", cause)))?;
        schema::migrate(&pool).await.map_err(named)?;
        Ok(Self { pool, path })
    }

    /// Begins a transaction that may write. It takes the write lock at once, so that it can never fail half-way for
    /// want of it.
    async fn write(&self) -> Result<Transaction<'static, Sqlite>> {
        self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(|cause| self.failed(cause))
    }

    fn failed(&self, cause: sqlx::Error) -> Error {
        from_sql("the state store failed", cause).with("file", self.path.display())
    }
}

#[async_trait]
impl StateStore for SqlStore {
    async fn acquire(&self, name: &str, owner: &str, ttl: Duration, floor: FencingToken) -> Result<Lease> {
        let mut transaction = self.write().await?;
        let lease = lease::acquire(&mut transaction, name, owner, ttl, floor).await?;
        transaction.commit().await.map_err(|cause| self.failed(cause))?;
        Ok(lease)
    }

    async fn renew(&self, lease: &Lease) -> Result<()> {
        let mut transaction = self.write().await?;
        lease::renew(&mut transaction, lease).await?;
        transaction.commit().await.map_err(|cause| self.failed(cause))
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        let mut transaction = self.write().await?;
        lease::release(&mut transaction, lease).await?;
        transaction.commit().await.map_err(|cause| self.failed(cause))
    }

    async fn record(&self, lease: &Lease, entries: &[Entry]) -> Result<()> {
        let mut transaction = self.write().await?;
        lease::check_newest(&mut transaction, lease).await?;
        for entry in entries {
            match entry {
                Entry::Checkpoint { scope, advance } => {
                    position::advance(&mut transaction, lease, scope, advance).await?
                }
                Entry::DeadLetter(letter) => dead_letter::keep(&mut transaction, letter).await?,
                Entry::Resolved(id) => dead_letter::resolve(&mut transaction, id).await?,
                Entry::Run(run) => run_log::keep(&mut transaction, run).await?,
                Entry::Hold { scope, until } => position::hold(&mut transaction, scope, *until).await?,
                other => return Err(Error::internal(format!("this store does not know how to keep {other:?}"))),
            }
        }
        transaction.commit().await.map_err(|cause| self.failed(cause))
    }

    async fn checkpoint(&self, scope: &Scope) -> Result<Option<Checkpoint>> {
        position::checkpoint(&self.pool, scope).await
    }

    async fn hold(&self, scope: &Scope) -> Result<Option<DateTime<Utc>>> {
        position::held_until(&self.pool, scope).await
    }

    async fn dead_letters(&self, query: &LetterQuery) -> Result<Vec<DeadLetter>> {
        dead_letter::page(&self.pool, query).await
    }

    async fn runs(&self, query: &RunQuery) -> Result<Vec<RunRecord>> {
        run_log::page(&self.pool, query).await
    }
}
