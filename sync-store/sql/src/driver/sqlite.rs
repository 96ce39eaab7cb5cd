//! SQLite: a file that processes of one machine share.

use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, SqliteConnection, SqlitePool, Transaction};
use sync_core::{Error, ErrorKind};

use crate::error::Meaning;

/// How long a statement waits while another connection writes. A sink may hold the write lock for as long as it takes
/// to publish a first load.
const BUSY: Duration = Duration::from_secs(60);

/// How long a reader waits for the first connection: longer than any call that is not itself waiting for a lock.
const GRACE: Duration = Duration::from_millis(20);

/// A file, and one connection to it that does everything. A second one is opened when somebody wants to read while the
/// first waits for the write lock: opening one costs as much as a run with nothing to do.
pub(crate) struct File {
    first: SqlitePool,
    second: SqlitePool,
}

impl File {
    /// Opens the first connection.
    pub(crate) async fn open(options: SqliteConnectOptions) -> Result<Self, sqlx::Error> {
        let options =
            options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full).busy_timeout(BUSY);
        let one = || {
            SqlitePoolOptions::new()
                .max_connections(1)
                .acquire_timeout(BUSY)
                // There is no server that could have gone, and asking costs as much as a statement.
                .test_before_acquire(false)
        };
        let began = Instant::now();
        let first = loop {
            match one().connect_with(options.clone()).await {
                // Two that turn a new file to WAL at once stand in each other's way: SQLite fails one without waiting.
                Err(cause) if is_locked(&cause) && began.elapsed() < BUSY => tokio::time::sleep(GRACE).await,
                opened => break opened?,
            }
        };
        Ok(Self { first, second: one().connect_lazy_with(options) })
    }

    pub(crate) async fn close(&self) {
        self.second.close().await;
        self.first.close().await;
    }

    /// Begins a transaction that takes the write lock at once, so that it can never fail half-way for want of it.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.first.begin_with("BEGIN IMMEDIATE").await
    }

    /// The connection that writes.
    pub(crate) async fn writer(&self) -> Result<Session, sqlx::Error> {
        self.first.acquire().await.map(Session)
    }

    /// A connection to read from, which never waits for the write lock.
    pub(crate) async fn reader(&self) -> Result<Session, sqlx::Error> {
        match tokio::time::timeout(GRACE, self.first.acquire()).await {
            Ok(first) => first.map(Session),
            Err(_) => self.second.acquire().await.map(Session),
        }
    }
}

/// A connection to the file, which goes back by itself.
pub(crate) struct Session(PoolConnection<Sqlite>);

impl Session {
    /// Gives it back after a statement.
    pub(crate) fn after<T>(self, done: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        drop(self);
        done
    }
}

impl Deref for Session {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.0
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.0
    }
}

/// Another connection has the file locked.
const LOCKED: Meaning = Meaning::UNAVAILABLE.with_remedy(Error::FILE_LOCKED);

fn is_locked(cause: &sqlx::Error) -> bool {
    let code = cause.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| meaning(&code) == LOCKED)
}

/// What a primary result code means (<https://www.sqlite.org/rescode.html>).
pub(crate) fn meaning(code: &str) -> Meaning {
    match code.parse::<i32>().unwrap_or_default() & 0xFF {
        // PERM, READONLY, CANTOPEN.
        3 | 8 | 14 => Meaning::fatal(ErrorKind::Forbidden).with_remedy(Error::FILE_FORBIDDEN),
        // BUSY, LOCKED.
        5 | 6 => LOCKED,
        // IOERR.
        10 => Meaning::UNAVAILABLE.with_remedy("see whether the disk that the file lies on is sound"),
        // CORRUPT, NOTADB.
        11 | 26 => Meaning::fatal(ErrorKind::Config),
        // FULL.
        13 => Meaning::fatal(ErrorKind::Full),
        // TOOBIG.
        18 => Meaning::fatal(ErrorKind::Limit),
        _ => Meaning::fatal(ErrorKind::Internal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_file_is_not_taken_for_another_side_that_is_down() {
        assert_eq!(meaning("5"), LOCKED);
        assert_eq!(meaning("517"), meaning("5"), "SQLITE_BUSY_SNAPSHOT");
        assert_eq!(meaning("8"), Meaning::fatal(ErrorKind::Forbidden).with_remedy(Error::FILE_FORBIDDEN));
    }
}
