//! What PostgreSQL says, in the words of the library.

use sync_core::{Error, ErrorKind, Retry};

/// The error of a statement or a connection (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
pub(crate) fn failed(what: &'static str, cause: sqlx::Error) -> Error {
    let (kind, retry) = match &cause {
        sqlx::Error::Database(database) => by_state(database.code().as_deref().unwrap_or_default()),
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
            (ErrorKind::Unavailable, Retry::Backoff)
        }
        sqlx::Error::Protocol(_) => (ErrorKind::Unavailable, Retry::Backoff),
        sqlx::Error::Tls(_) | sqlx::Error::Configuration(_) => (ErrorKind::Config, Retry::Never),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) | sqlx::Error::TypeNotFound { .. } => {
            (ErrorKind::Schema, Retry::Never)
        }
        sqlx::Error::Encode(_) => (ErrorKind::Data, Retry::Never),
        _ => (ErrorKind::Internal, Retry::Never),
    };
    // The server's detail repeats values of the row: only its message is kept.
    let said = match &cause {
        sqlx::Error::Database(database) => database.message().to_owned(),
        other => other.to_string(),
    };
    let error = Error::new(kind, what).with_retry(retry).caused_by(Said(without_values(&said)));
    match cause.as_database_error().and_then(|database| remedy(database.code()?.as_ref(), database.message())) {
        Some(remedy) => error.with_remedy(remedy),
        None => error,
    }
}

/// The error of a session that only reads: its account needs fewer rights.
pub(crate) fn unread(what: &'static str, cause: sqlx::Error) -> Error {
    let missing = cause.as_database_error().filter(|error| error.code().as_deref() == Some("42501"));
    let remedy = missing.map(|error| if error.message().contains("for schema") { READ_SCHEMA } else { READ_TABLE });
    let error = failed(what, cause);
    match remedy {
        Some(remedy) => error.with_remedy(remedy),
        None => error,
    }
}

const READ_SCHEMA: &str = "GRANT USAGE ON the schema that the message names TO the account";
const READ_TABLE: &str = "GRANT SELECT ON the table that the message names TO the account";

/// What helps, where the kind of the error does not say it. What a right is missing for stands in the message alone.
fn remedy(state: &str, message: &str) -> Option<&'static str> {
    match state {
        "42501" if message.contains("for database") => Some("GRANT CONNECT ON DATABASE … TO the account"),
        "42501" if message.contains("for schema") => Some(SCHEMA),
        "42501" if message.starts_with("must be owner") => {
            Some("let the owner of the table make the change that the message names, or make the account its owner")
        }
        "42501" => Some(
            "GRANT SELECT, INSERT, UPDATE, DELETE on the table to the account, and CREATE on its schema; changing a table takes its owner",
        ),
        "3F000" => Some(SCHEMA),
        "25006" => Some("connect to the primary: this server only reads"),
        "3D000" => Some("CREATE DATABASE, or correct the address"),
        "54000" => Some("an index holds keys of about 2,700 bytes: shorten the key"),
        _ => None,
    }
}

/// An account sees no schema that it has no right to.
const SCHEMA: &str =
    "GRANT USAGE, CREATE ON SCHEMA … TO the account, or set its search_path to a schema that it may use";

/// The error of a COMMIT. One whose answer is lost may have happened.
pub(crate) fn uncommitted(cause: sqlx::Error) -> Error {
    let taken_back = match &cause {
        sqlx::Error::Database(database) => !leaves_open(database.code().as_deref().unwrap_or_default()),
        _ => false,
    };
    let error = failed("the transaction cannot be committed", cause);
    if taken_back { error } else { error.ambiguous() }
}

/// Whether a COMMIT may have happened though an error came back: the completion is unknown, the server goes down, or the
/// connection broke, of which a pooler in between tells its client as an error.
fn leaves_open(state: &str) -> bool {
    state == "40003" || matches!(state.get(..2), Some("08" | "57"))
}

pub(crate) fn by_state(state: &str) -> (ErrorKind, Retry) {
    match state {
        // Deadlock, serialization, lock not available: the whole transaction again. Cancelled by a timeout of the server.
        "40P01" | "40001" | "55P03" | "57014" => (ErrorKind::Unavailable, Retry::Backoff),
        // Going down, coming up, too many connections.
        "57P01" | "57P02" | "57P03" | "53300" => (ErrorKind::Unavailable, Retry::Backoff),
        // A transaction that waited longer than the server allows; no memory for the moment.
        "25P03" | "25P04" | "57P05" | "53200" => (ErrorKind::Unavailable, Retry::Backoff),
        "53100" => (ErrorKind::Full, Retry::Never),
        // `temp_file_limit`.
        "53400" => (ErrorKind::Limit, Retry::Never),
        // A key that is too long for an index, a row that is too long for a page.
        "54000" => (ErrorKind::Data, Retry::Never),
        // A rule of the host: `RAISE EXCEPTION`, `ASSERT` and `SELECT INTO STRICT` of a trigger, the condition of a view.
        "P0001" | "P0002" | "P0003" | "P0004" | "44000" => (ErrorKind::Data, Retry::Never),
        // A server that only reads: after a failover it may be the wrong one for a while.
        "25006" => (ErrorKind::Unavailable, Retry::Backoff),
        "42501" => (ErrorKind::Forbidden, Retry::Never),
        // No such database; more columns than a table takes; a name of the server's own (`xmin`).
        "3D000" | "3F000" | "57P04" | "54011" | "42701" | "42939" => (ErrorKind::Config, Retry::Never),
        // What hangs on a column, or is made of it, keeps it as it is; what is called a table is none.
        "2BP01" | "42P16" | "42809" => (ErrorKind::Schema, Retry::Never),
        "42703" | "42P01" | "42P07" | "42P10" | "42710" | "42804" | "42704" | "42883" | "42846" | "0A000" => {
            (ErrorKind::Schema, Retry::Never)
        }
        _ => match state.get(..2) {
            Some("21" | "22" | "23") => (ErrorKind::Data, Retry::Never),
            Some("08") => (ErrorKind::Unavailable, Retry::Backoff),
            Some("28") => (ErrorKind::Unauthorized, Retry::Never),
            // A code of the host's own (`RAISE … USING ERRCODE = 'SHOP1'`): of the letters that the standard leaves free,
            // PostgreSQL uses these two classes.
            Some(class) if class.starts_with(|first| matches!(first, 'I'..='Z')) && class != "P0" && class != "XX" => {
                (ErrorKind::Data, Retry::Never)
            }
            _ => (ErrorKind::Internal, Retry::Never),
        },
    }
}

/// What the server said.
#[derive(Debug)]
struct Said(String);

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Said {}

/// `invalid input syntax for type numeric: "12,5"`: what stands after the colon is the value.
fn without_values(message: &str) -> String {
    match message.split_once(": \"") {
        Some((what, _)) => what.to_owned(),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_the_advice_of_the_fault_catalogue() {
        for (state, kind, retry) in [
            ("40P01", ErrorKind::Unavailable, Retry::Backoff),
            ("40001", ErrorKind::Unavailable, Retry::Backoff),
            ("08006", ErrorKind::Unavailable, Retry::Backoff),
            ("53300", ErrorKind::Unavailable, Retry::Backoff),
            ("53100", ErrorKind::Full, Retry::Never),
            ("54000", ErrorKind::Data, Retry::Never),
            ("22003", ErrorKind::Data, Retry::Never),
            ("23505", ErrorKind::Data, Retry::Never),
            ("P0001", ErrorKind::Data, Retry::Never),
            ("P0003", ErrorKind::Data, Retry::Never),
            ("21000", ErrorKind::Data, Retry::Never),
            ("SHOP1", ErrorKind::Data, Retry::Never),
            ("XX001", ErrorKind::Internal, Retry::Never),
            ("42703", ErrorKind::Schema, Retry::Never),
            ("42501", ErrorKind::Forbidden, Retry::Never),
            ("28P01", ErrorKind::Unauthorized, Retry::Never),
        ] {
            assert_eq!(by_state(state), (kind, retry), "{state}");
        }
    }

    #[test]
    fn a_commit_that_broke_on_its_way_may_have_happened() {
        let reset = sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        assert!(uncommitted(reset).is_ambiguous());
        for (state, open) in
            [("08P01", true), ("08007", true), ("57P01", true), ("40003", true), ("40001", false), ("23505", false)]
        {
            assert_eq!(leaves_open(state), open, "{state}");
        }
    }

    #[test]
    fn a_value_in_the_server_s_message_is_not_repeated() {
        assert_eq!(
            without_values("invalid input syntax for type numeric: \"12,5\""),
            "invalid input syntax for type numeric"
        );
    }
}
