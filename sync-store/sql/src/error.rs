//! What the database says, in the words of the library.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sync_core::{Error, ErrorKind, Result, Retry};

/// SQLite's primary result codes (<https://www.sqlite.org/rescode.html>).
mod code {
    pub(super) const PERM: i32 = 3;
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const READONLY: i32 = 8;
    pub(super) const IOERR: i32 = 10;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const CANTOPEN: i32 = 14;
    pub(super) const NOTADB: i32 = 26;
}

/// The error of a statement or a connection.
pub(crate) fn from_sql(what: &'static str, cause: sqlx::Error) -> Error {
    let primary = match &cause {
        sqlx::Error::Database(error) => error.code().and_then(|code| code.parse::<i32>().ok()).map(|code| code & 0xFF),
        _ => None,
    };
    let (kind, retry) = match (primary, &cause) {
        (Some(code::BUSY | code::LOCKED), _) | (_, sqlx::Error::PoolTimedOut) => {
            (ErrorKind::Unavailable, Retry::Backoff)
        }
        (Some(code::IOERR), _) | (_, sqlx::Error::Io(_)) => (ErrorKind::Unavailable, Retry::Backoff),
        (Some(code::FULL), _) => (ErrorKind::Full, Retry::Never),
        (Some(code::PERM | code::READONLY | code::CANTOPEN), _) => (ErrorKind::Forbidden, Retry::Never),
        (Some(code::CORRUPT | code::NOTADB), _) => (ErrorKind::Config, Retry::Never),
        _ => (ErrorKind::Internal, Retry::Never),
    };
    Error::new(kind, what).with_retry(retry).caused_by(cause)
}

/// The JSON text of something to keep.
pub(crate) fn to_json(what: &impl Serialize) -> Result<String> {
    serde_json::to_string(what).map_err(|cause| Error::internal("state cannot be written as JSON").caused_by(cause))
}

/// What was kept as JSON text.
pub(crate) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|cause| {
        Error::new(ErrorKind::Schema, "state in the store cannot be read: another release may have written it")
            .caused_by(cause)
    })
}
