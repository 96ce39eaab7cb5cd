//! What SQLite says, in the words of the library.

use rusqlite::ffi::ErrorCode;
use sync_core::{Error, ErrorKind, Retry};

/// The error of a statement or a connection (<https://www.sqlite.org/rescode.html>).
pub(crate) fn failed(what: &'static str, cause: rusqlite::Error) -> Error {
    let code = cause.sqlite_error_code();
    let said = cause.to_string();
    let (kind, retry) = match code {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::SystemIoFailure,
        ) => (ErrorKind::Unavailable, Retry::Backoff),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig) => {
            (ErrorKind::Data, Retry::Never)
        }
        Some(ErrorCode::DiskFull) => (ErrorKind::Full, Retry::Never),
        Some(
            ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied
            | ErrorCode::CannotOpen
            | ErrorCode::AuthorizationForStatementDenied,
        ) => (ErrorKind::Forbidden, Retry::Never),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => (ErrorKind::Config, Retry::Never),
        Some(ErrorCode::SchemaChanged) => (ErrorKind::Schema, Retry::Backoff),
        _ if said.contains("no such table") || said.contains("no such column") || said.contains("has no column") => {
            (ErrorKind::Schema, Retry::Never)
        }
        _ => (ErrorKind::Internal, Retry::Never),
    };
    Error::new(kind, what).with_retry(retry).caused_by(cause)
}
