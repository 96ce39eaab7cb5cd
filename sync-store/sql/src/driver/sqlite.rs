//! SQLite: a file that processes of one machine share.

use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sync_core::ErrorKind;

use crate::error::Meaning;

/// How long a statement waits while another connection writes. A sink may hold the write lock for as long as it takes
/// to publish a first load.
const BUSY: Duration = Duration::from_secs(60);

pub(crate) async fn open(options: SqliteConnectOptions) -> Result<SqlitePool, sqlx::Error> {
    let options = options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full).busy_timeout(BUSY);
    // One connection to write and one to read: a third would only wait for the first.
    SqlitePoolOptions::new()
        .max_connections(2)
        .acquire_timeout(BUSY)
        // There is no server that could have gone, and asking costs as much as a statement.
        .test_before_acquire(false)
        .connect_with(options)
        .await
}

/// What a primary result code means (<https://www.sqlite.org/rescode.html>).
pub(crate) fn meaning(code: &str) -> Meaning {
    match code.parse::<i32>().unwrap_or_default() & 0xFF {
        // PERM, READONLY, CANTOPEN.
        3 | 8 | 14 => Meaning::fatal(ErrorKind::Forbidden),
        // BUSY, LOCKED, IOERR.
        5 | 6 | 10 => Meaning::UNAVAILABLE,
        // CORRUPT, NOTADB.
        11 | 26 => Meaning::fatal(ErrorKind::Config),
        // FULL.
        13 => Meaning::fatal(ErrorKind::Full),
        // TOOBIG.
        18 => Meaning::fatal(ErrorKind::Limit),
        _ => Meaning::fatal(ErrorKind::Internal),
    }
}
