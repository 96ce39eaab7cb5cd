//! What the database says, in the words of the library.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::error::DatabaseError;
use sync_core::{Error, ErrorKind, Result, Retry};

const CLOSED: &str = "the state store was closed while it was needed: end all runs before it is closed";

/// What an error of a database comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meaning {
    kind: ErrorKind,
    retry: Retry,
    /// Somebody else was faster, and nothing has happened: the whole call can be made again at once.
    collision: bool,
    /// What to do, where that is not what the kind says.
    remedy: Option<&'static str>,
}

impl Meaning {
    /// The database, or the way to it, is down or too slow for the moment.
    pub(crate) const UNAVAILABLE: Self =
        Self { kind: ErrorKind::Unavailable, retry: Retry::Backoff, collision: false, remedy: None };

    /// Somebody else was faster: a deadlock, a lock, a key that another has inserted meanwhile.
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    pub(crate) const COLLISION: Self = Self { collision: true, ..Self::UNAVAILABLE };

    /// It will fail again in the same way.
    pub(crate) const fn fatal(kind: ErrorKind) -> Self {
        Self { kind, retry: Retry::Never, collision: false, remedy: None }
    }

    /// The same, with what to do about it.
    pub(crate) const fn with_remedy(self, remedy: &'static str) -> Self {
        Self { remedy: Some(remedy), ..self }
    }

    fn of(cause: &sqlx::Error) -> Self {
        match cause {
            sqlx::Error::Database(error) => Self::of_database(error.as_ref()),
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::WorkerCrashed
            // What is left of a connection that broke in the middle of an answer.
            | sqlx::Error::Protocol(_) => Self::UNAVAILABLE,
            // Nobody opens it again.
            sqlx::Error::PoolClosed => Self::fatal(ErrorKind::Internal).with_remedy(CLOSED),
            sqlx::Error::Tls(_) | sqlx::Error::Configuration(_) => Self::fatal(ErrorKind::Config),
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) => Self::fatal(ErrorKind::Schema),
            _ => Self::fatal(ErrorKind::Internal),
        }
    }

    fn of_database(error: &dyn DatabaseError) -> Self {
        #[cfg(feature = "mysql")]
        if let Some(error) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
            return crate::driver::mysql::meaning(error.number());
        }
        #[cfg(feature = "postgres")]
        if let Some(error) = error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
            return crate::driver::postgres::meaning(error.code());
        }
        #[cfg(feature = "sqlite")]
        if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
            return crate::driver::sqlite::meaning(error.code().as_deref().unwrap_or_default());
        }
        let _ = error;
        Self::fatal(ErrorKind::Internal)
    }
}

/// The error of a statement or a connection.
pub(crate) fn from_sql(what: &'static str, cause: sqlx::Error) -> Error {
    let Meaning { kind, retry, collision, remedy } = Meaning::of(&cause);
    let text = match &cause {
        // A server's details repeat values of the row: its message alone is kept.
        sqlx::Error::Database(error) => match error.code() {
            Some(code) => format!("{} (code {code})", error.message()),
            None => error.message().to_owned(),
        },
        sqlx::Error::PoolTimedOut => "the database gave no connection or lock in time".to_owned(),
        // A server without it says so in the same error.
        sqlx::Error::Tls(said) if said.to_string().contains("without TLS support") => {
            format!("{said}: enable the feature `tls` of sync-store-sql")
        }
        other => other.to_string(),
    };
    let error = Error::new(kind, what).with_retry(retry).caused_by(Said { text, collision });
    match remedy {
        Some(remedy) => error.with_remedy(remedy),
        None => error,
    }
}

/// The error of a COMMIT. Unless the database says that it was undone, it may have happened.
pub(crate) fn from_commit(what: &'static str, cause: sqlx::Error) -> Error {
    let error = from_sql(what, cause);
    if is_collision(&error) { error } else { error.ambiguous() }
}

/// Whether the whole call can be made again at once: somebody else was faster, and nothing has happened.
pub(crate) fn is_collision(error: &Error) -> bool {
    let said = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<Said>());
    said.is_some_and(|said| said.collision)
}

/// What the database said.
#[derive(Debug)]
struct Said {
    text: String,
    collision: bool,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Said {}

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
