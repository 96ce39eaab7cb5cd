//! State in SQL: checkpoints, run log, dead letters, leases; in SQLite, PostgreSQL, MySQL and MariaDB.
//!
//! The tables begin with `_sync_` and may live in the host's own database, beside its tables and beside a sink's. They are
//! made and brought up to date when a store is opened, by one process at a time.
//!
//! ```no_run
//! # async fn open() -> sync_core::Result<()> {
//! use sync_store_sql::SqlStore;
//!
//! let file = SqlStore::connect("sqlite:shop.db").await?;
//! let server = SqlStore::connect("postgres://sync:secret@db.example/shop").await?;
//! # drop((file, server));
//! # Ok(())
//! # }
//! ```
//!
//! | Database | Feature | Address | From |
//! |---|---|---|---|
//! | SQLite | `sqlite` (default) | `sqlite:shop.db` | bundled |
//! | PostgreSQL | `postgres` | `postgres://user:password@host:port/database` | 12 |
//! | MySQL, MariaDB | `mysql` | `mysql://…` or `mariadb://user:password@host:port/database` | 8.0, 10.5 |
//!
//! Everything is the same on each of them, and proven by the same suite.
//!
//! # Whose clock
//!
//! A lease runs out by the clock of the database alone: for a server, that of the server; for a file, that of the
//! machine, which all who share the file share. So the clocks of two hosts may differ as they like. If the database's
//! clock jumps, or another server with another clock takes over, a lease ends early or late. That costs a handover or a
//! wait, and no more: whoever has lost a lease is refused by its token, not by the time.
//!
//! # When the connection breaks
//!
//! A server that goes away makes calls fail as `Unavailable`, to be tried again; once it is back, the same store goes on.
//! When a connection breaks while a change is made final, nobody knows whether it was. Then
//!
//! | Call | A second one |
//! |---|---|
//! | [`acquire`](StateStore::acquire), [`begin`](StateStore::begin) | takes the lease over at once, as the same owner; its token is higher |
//! | [`renew`](StateStore::renew) | renews again |
//! | [`release`](StateStore::release) | does nothing: the lease is free, or somebody else's and left alone |
//! | [`record`](StateStore::record) | leaves one of each letter, run and hold. A checkpoint is refused as `Fenced`, although it stands where it should: read it and see. The first error [says so](Error::is_ambiguous) |
//! | [`finish`](StateStore::finish) | as `record` and `release`, or is refused as `Fenced` where somebody else has the lease by now |
//!
//! The engine does all this. Deadlocks and the like are undone by the database and made again in here, a few times.
//!
//! # What an account needs
//!
//! It makes the store's tables and owns them: on PostgreSQL `USAGE` and `CREATE` on the schema, on MySQL and MariaDB `SELECT`,
//! `INSERT`, `UPDATE`, `DELETE`, `CREATE`, `ALTER` and `INDEX` on the database.
//!
//! # What a server must be
//!
//! What is committed must be durable. On PostgreSQL the store sees to that for its own sessions. On MySQL it is for
//! `innodb_flush_log_at_trx_commit = 1`, the default; replicas must be fed by rows (`binlog_format` `ROW` or `MIXED`). A
//! pooler in between must leave a session its connection. Rows of tables are locked for the time of one call. A
//! session that stops within one, because its machine is suspended, loses its locks after a minute.
//!
//! Connections are encrypted with the feature `tls`, where the server can. Add `?sslmode=verify-full` (PostgreSQL) or
//! `?ssl-mode=VERIFY_IDENTITY` (MySQL) to insist on it, and `sslrootcert=` or `ssl-ca=` for roots of your own. MySQL 8 lets
//! most accounts in through such a connection only.
//!
//! Keys of 512 bytes and more, and keys with a zero byte, are stored as their beginning and a hash.

#![cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]

mod address;
mod again;
mod database;
mod dead_letter;
mod dialect;
mod driver;
mod error;
mod key;
mod lease;
mod migration;
mod position;
mod run_log;
mod statement;

use std::fmt;
#[cfg(feature = "sqlite")]
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sync_core::model::Scope;
use sync_core::state::{
    Checkpoint, DeadLetter, Entry, FencingToken, Lease, LetterQuery, RunQuery, RunRecord, StateStore,
};
use sync_core::{Error, Result};

use again::until_it_is_alone;
use database::{Database, Transaction};
use error::{from_commit, from_sql};

/// A state store in a SQL database. Cheap to clone; all clones share its connections.
#[derive(Clone)]
pub struct SqlStore {
    database: Arc<Database>,
    /// Which database it is, for errors: without an account, without a password.
    place: Arc<Place>,
}

type Place = (&'static str, String);

impl SqlStore {
    /// Opens the database of this address, and brings the store's tables up to date. A SQLite file is made where there is
    /// none.
    ///
    /// # Errors
    /// `Config` when the address has no form that this program was built for, or names no database (PostgreSQL then takes the
    /// one that is called like the account); `Unavailable`,
    /// `Unauthorized` or `Forbidden` when the database cannot be opened; `Schema` when a newer release has changed its
    /// tables. The address is not repeated, since it may hold a password.
    pub async fn connect(url: &str) -> Result<Self> {
        address::connect(url).await
    }

    /// Opens or creates a SQLite database file, and brings its tables up to date.
    ///
    /// # Errors
    /// `Config` when the file is no database, is a folder or lies in none, `Forbidden` when it cannot be written, `Schema`
    /// when a newer release has changed its tables, each naming the file.
    #[cfg(feature = "sqlite")]
    pub async fn open_sqlite(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
        Self::with_sqlite(options, path).await
    }

    #[cfg(feature = "sqlite")]
    async fn with_sqlite(options: sqlx::sqlite::SqliteConnectOptions, path: &Path) -> Result<Self> {
        let file = path.display().to_string();
        // One that cannot be looked at, for want of a right, may well be there.
        let is_missing = |folder: &Path| folder.try_exists().is_ok_and(|there| !there);
        if path.parent().is_some_and(|folder| !folder.as_os_str().is_empty() && is_missing(folder)) {
            let error = Error::config("the state store cannot be opened, since its folder does not exist");
            return Err(error.with_remedy("create the folder first, or correct the path").with("file", file));
        }
        if path.is_dir() {
            let error = Error::config("the state store cannot be opened, since it is a folder");
            return Err(error.with_remedy("name a file in it").with("file", file));
        }
        let open = async { driver::sqlite::File::open(options).await.map(Database::Sqlite) };
        Self::opened(("file", file), open).await
    }

    async fn opened(place: Place, open: impl Future<Output = Result<Database, sqlx::Error>>) -> Result<Self> {
        let named = |error: Error| error.with(place.0, &place.1);
        let database = open.await.map_err(|cause| named(from_sql("the state store cannot be opened", cause)))?;
        migration::migrate(&database).await.map_err(named)?;
        Ok(Self { database: Arc::new(database), place: Arc::new(place) })
    }

    /// Closes the connections, for all clones; what is asked afterwards is refused.
    ///
    /// Call it at the end of a program that keeps its state in a SQLite file: only when every connection to the file is
    /// closed, the `-wal` and `-shm` beside it go. Nothing is lost without.
    pub async fn close(&self) {
        self.database.close().await;
    }

    async fn transaction(&self) -> Result<Transaction> {
        self.database.begin().await.map_err(|cause| from_sql("the state store failed", cause))
    }

    /// Makes final what went well, and takes back what did not.
    async fn ended<T>(&self, transaction: Transaction, done: Result<T>) -> Result<T> {
        match done {
            Ok(done) => {
                let kept = transaction.commit().await;
                kept.map_err(|cause| from_commit("the state store failed to keep a change", cause))?;
                Ok(done)
            }
            Err(error) => {
                transaction.rollback().await;
                Err(error)
            }
        }
    }

    async fn try_acquire(&self, name: &str, owner: &str, ttl: Duration, floor: FencingToken) -> Result<Lease> {
        let mut transaction = self.transaction().await?;
        let lease = lease::acquire(&mut transaction, name, owner, ttl, floor).await;
        self.ended(transaction, lease).await
    }

    async fn try_begin(
        &self,
        name: &str,
        owner: &str,
        ttl: Duration,
        floor: FencingToken,
        first: &RunRecord,
    ) -> Result<Lease> {
        let mut transaction = self.transaction().await?;
        let begun = async {
            let lease = lease::acquire(&mut transaction, name, owner, ttl, floor).await?;
            let recent = run_log::recent(&mut transaction, first).await?;
            for record in first.with_dead(recent) {
                run_log::keep(&mut transaction, &record).await?;
            }
            Ok(lease)
        };
        let begun = begun.await;
        self.ended(transaction, begun).await
    }

    async fn try_record(&self, lease: &Lease, entries: &[Entry]) -> Result<()> {
        let mut transaction = self.transaction().await?;
        let recorded = async {
            lease::check_newest(&mut transaction, lease).await?;
            keep(&mut transaction, lease, entries).await
        };
        let recorded = recorded.await;
        self.ended(transaction, recorded).await
    }

    async fn try_finish(&self, lease: &Lease, entries: &[Entry]) -> Result<()> {
        let mut transaction = self.transaction().await?;
        let finished = async {
            lease::give_back(&mut transaction, lease).await?;
            keep(&mut transaction, lease, entries).await
        };
        let finished = finished.await;
        self.ended(transaction, finished).await
    }

    /// Says in an error which database it is about.
    fn named(&self, error: Error) -> Error {
        error.with(self.place.0, &self.place.1)
    }
}

async fn keep(transaction: &mut Transaction, lease: &Lease, entries: &[Entry]) -> Result<()> {
    for entry in entries {
        match entry {
            Entry::Checkpoint { scope, advance } => position::advance(transaction, lease, scope, advance).await?,
            Entry::DeadLetter(letter) => dead_letter::keep(transaction, letter).await?,
            Entry::Resolved(id) => dead_letter::resolve(transaction, id).await?,
            Entry::Run(run) => run_log::keep(transaction, run).await?,
            Entry::Hold { scope, until } => position::hold(transaction, scope, *until).await?,
            other => return Err(Error::internal(format!("this store does not know how to keep {other:?}"))),
        }
    }
    Ok(())
}

impl fmt::Debug for SqlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStore").field(self.place.0, &self.place.1).finish_non_exhaustive()
    }
}

#[async_trait]
impl StateStore for SqlStore {
    async fn acquire(&self, name: &str, owner: &str, ttl: Duration, floor: FencingToken) -> Result<Lease> {
        until_it_is_alone(|| self.try_acquire(name, owner, ttl, floor)).await.map_err(|error| self.named(error))
    }

    async fn renew(&self, lease: &Lease) -> Result<()> {
        until_it_is_alone(|| lease::renew(&self.database, lease)).await.map_err(|error| self.named(error))
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        until_it_is_alone(|| lease::release(&self.database, lease)).await.map_err(|error| self.named(error))
    }

    async fn begin(
        &self,
        name: &str,
        owner: &str,
        ttl: Duration,
        floor: FencingToken,
        first: &RunRecord,
    ) -> Result<Lease> {
        until_it_is_alone(|| self.try_begin(name, owner, ttl, floor, first)).await.map_err(|error| self.named(error))
    }

    async fn finish(&self, lease: &Lease, entries: &[Entry]) -> Result<()> {
        until_it_is_alone(|| self.try_finish(lease, entries)).await.map_err(|error| self.named(error))
    }

    async fn record(&self, lease: &Lease, entries: &[Entry]) -> Result<()> {
        until_it_is_alone(|| self.try_record(lease, entries)).await.map_err(|error| self.named(error))
    }

    async fn checkpoint(&self, scope: &Scope) -> Result<Option<Checkpoint>> {
        position::checkpoint(&self.database, scope).await.map_err(|error| self.named(error))
    }

    async fn hold(&self, scope: &Scope) -> Result<Option<DateTime<Utc>>> {
        position::held_until(&self.database, scope).await.map_err(|error| self.named(error))
    }

    async fn dead_letters(&self, query: &LetterQuery) -> Result<Vec<DeadLetter>> {
        dead_letter::page(&self.database, query).await.map_err(|error| self.named(error))
    }

    async fn runs(&self, query: &RunQuery) -> Result<Vec<RunRecord>> {
        run_log::page(&self.database, query).await.map_err(|error| self.named(error))
    }
}
