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
        _ if ["no such table", "no such column", "has no column", "unknown datatype"]
            .iter()
            .any(|it| said.contains(it)) =>
        {
            (ErrorKind::Schema, Retry::Never)
        }
        _ => (ErrorKind::Internal, Retry::Never),
    };
    let error = Error::new(kind, what).with_retry(retry);
    let error = match code {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => error.with_remedy(Error::FILE_LOCKED),
        Some(ErrorCode::SystemIoFailure | ErrorCode::FileLockingProtocolFailed) => error.with_remedy(
            "see whether the disk that the file lies on is sound; the next run continues where this one stopped",
        ),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            error.with_remedy(Error::FILE_FORBIDDEN)
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            error.with_remedy("the file is damaged: restore it from a copy, or choose another file")
        }
        _ if said.contains("no such table") => error.with_remedy(
            "see what became of the table that the message names: bring it back, or run once with the option `full`, which makes it anew",
        ),
        _ if kind == ErrorKind::Schema => {
            error.with_remedy("change the table back, or run again: then it is compared with the declaration anew")
        }
        Some(ErrorCode::DiskFull) => error.with_remedy("free space on the disk that the file lies on, then run again"),
        _ => error,
    };
    error.caused_by(cause)
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn a_file_of_this_machine_has_remedies_of_this_machine() {
        let remedy = |code| failed("it failed", rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)).remedy();
        assert!(remedy(ffi::SQLITE_BUSY).contains("another program has the file locked"));
        assert!(remedy(ffi::SQLITE_CANTOPEN).contains("the folder that it lies in"));
        for code in [ffi::SQLITE_BUSY, ffi::SQLITE_LOCKED, ffi::SQLITE_IOERR, ffi::SQLITE_READONLY, ffi::SQLITE_FULL] {
            assert!(!remedy(code).contains("other side") && !remedy(code).contains("the right that"), "{code}");
        }
    }
}
