//! What MySQL and MariaDB say, in the words of the library.

use sqlx::mysql::MySqlDatabaseError;
use sync_core::{Error, ErrorKind, Retry};

/// The error of a statement or a connection
/// (<https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>,
/// <https://mariadb.com/kb/en/mariadb-error-code-reference/>).
pub(crate) fn failed(what: &'static str, cause: sqlx::Error) -> Error {
    match number(&cause).and_then(remedy) {
        Some(remedy) => told(what, cause).with_remedy(remedy),
        None => told(what, cause),
    }
}

/// The error of a session that only reads: its account needs fewer rights.
pub(crate) fn unread(what: &'static str, cause: sqlx::Error) -> Error {
    match number(&cause) {
        Some(1044 | 1142 | 1143) => told(what, cause).with_remedy("GRANT SELECT on the table to the account"),
        Some(1049) => failed(what, cause),
        _ => told(what, cause),
    }
}

/// The error without a remedy.
pub(crate) fn told(what: &'static str, cause: sqlx::Error) -> Error {
    let (kind, retry) = match &cause {
        sqlx::Error::Database(database) => {
            let number = number(&cause).unwrap_or_default();
            by_number(number, database.code().as_deref().unwrap_or_default(), database.message())
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => (ErrorKind::Unavailable, Retry::Backoff),
        sqlx::Error::Tls(_) | sqlx::Error::Configuration(_) => (ErrorKind::Config, Retry::Never),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) | sqlx::Error::TypeNotFound { .. } => {
            (ErrorKind::Schema, Retry::Never)
        }
        sqlx::Error::Encode(_) => (ErrorKind::Data, Retry::Never),
        _ => (ErrorKind::Internal, Retry::Never),
    };
    let said = match &cause {
        sqlx::Error::Database(database) => without_values(number(&cause).unwrap_or_default(), database.message()),
        other => other.to_string(),
    };
    Error::new(kind, what).with_retry(retry).caused_by(Said(said))
}

/// The server's number of an error, if the server said anything.
pub(crate) fn number(cause: &sqlx::Error) -> Option<u16> {
    let database = cause.as_database_error()?;
    database.try_downcast_ref::<MySqlDatabaseError>().map(MySqlDatabaseError::number)
}

/// The error of a `COMMIT`. One whose answer is lost may have happened, and so may one that was killed while it waited;
/// only of these the server says that it took the transaction back.
pub(crate) fn uncommitted(cause: sqlx::Error) -> Error {
    let taken_back = matches!(number(&cause), Some(1213 | 1205 | 1020 | 1290 | 1792 | 1836));
    let error = failed("the transaction cannot be committed", cause);
    if taken_back { error } else { error.ambiguous() }
}

/// The error of a session that is not as it was asked for.
pub(crate) fn refused_setup(what: String) -> sqlx::Error {
    sqlx::Error::Configuration(what.into())
}

fn by_number(number: u16, state: &str, message: &str) -> (ErrorKind, Retry) {
    match number {
        // Deadlock, lock wait, a row that changed since it was read, a lock that is not free: the whole transaction again.
        1213 | 1205 | 1020 | 3572 => (ErrorKind::Unavailable, Retry::Backoff),
        // A server that only reads: after a failover it may be the wrong one for a while.
        1290 | 1792 | 1836 => (ErrorKind::Unavailable, Retry::Backoff),
        // Too many connections; going down, killed or timed out; the network.
        1040 | 1203 | 1226 | 1041 | 1053 | 1077 | 1079 | 1317 | 1927 | 1969 | 3024 | 1047 => {
            (ErrorKind::Unavailable, Retry::Backoff)
        }
        1152..=1161 | 1184 | 2002 | 2003 | 2006 | 2013 => (ErrorKind::Unavailable, Retry::Backoff),
        // No room for a table, or for what takes a statement back: then the server says that a file cannot change its size.
        14 | 1021 | 1114 => (ErrorKind::Full, Retry::Never),
        // The operating system's own number: no space left on the device.
        1030 | 1005 | 3 | 1026 if says_no_space(message) => (ErrorKind::Full, Retry::Never),
        1045 | 1698 | 1820 | 1862 | 4151 => (ErrorKind::Unauthorized, Retry::Never),
        1044 | 1130 | 1142 | 1143 | 1227 | 1370 | 1419 => (ErrorKind::Forbidden, Retry::Never),
        1049 | 1059 | 1102 | 1103 | 1166 | 1665 => (ErrorKind::Config, Retry::Never),
        1050 | 1054 | 1060 | 1071 | 1101 | 1118 | 1136 | 1146 | 1170 | 1364 | 1832 | 1833 | 1846 => {
            (ErrorKind::Schema, Retry::Never)
        }
        1048 | 1062 | 1169 | 1216 | 1217 | 1264 | 1265 | 1292 | 1300 | 1366 | 1367 | 1406 | 1411 | 1451 | 1452
        | 1525 | 1586 | 1644 | 1690 | 3140 | 3819 | 4025 => (ErrorKind::Data, Retry::Never),
        // A trigger whose `SELECT … INTO` finds more rows than one.
        1172 => (ErrorKind::Data, Retry::Never),
        _ => match state.get(..2) {
            Some("21" | "22" | "23") => (ErrorKind::Data, Retry::Never),
            Some("08") => (ErrorKind::Unavailable, Retry::Backoff),
            Some("28") => (ErrorKind::Unauthorized, Retry::Never),
            _ if state == "40001" => (ErrorKind::Unavailable, Retry::Backoff),
            _ => (ErrorKind::Internal, Retry::Never),
        },
    }
}

/// `Got error 28`, `errno: 28`, `Errcode: 28`; not the 28 of a table's name.
fn says_no_space(message: &str) -> bool {
    let lower = message.to_lowercase();
    ["error 28", "errno: 28", "errcode: 28"]
        .iter()
        .any(|said| lower.split(said).skip(1).any(|rest| !rest.starts_with(|next: char| next.is_ascii_digit())))
}

/// What helps, where the kind of the error does not say it.
fn remedy(number: u16) -> Option<&'static str> {
    match number {
        1044 | 1142 | 1143 | 1227 | 1370 => Some(
            "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP, CREATE TEMPORARY TABLES on the database to the account",
        ),
        1290 | 1792 | 1836 => Some("connect to the primary: this server only reads"),
        1049 => Some("CREATE DATABASE, or correct the address"),
        14 | 1021 | 1114 => Some("make room on the disk of the server"),
        1665 => Some("set binlog_format to ROW or MIXED at the server"),
        _ => None,
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

/// The server's message without the values that some of its messages repeat.
fn without_values(number: u16, message: &str) -> String {
    // These name a column, a table or a constraint at most.
    let plain = matches!(number, 1048 | 1264 | 1265 | 1364 | 1406 | 1216 | 1217 | 1451 | 1452 | 3819 | 4025);
    let data = matches!(by_number(number, "", message).0, ErrorKind::Data | ErrorKind::Internal);
    let said = match (number, message.rsplit_once(" for key ")) {
        // Duplicate entry 'value' for key 'name'.
        (1062 | 1586 | 1169, Some((_, key))) => format!("duplicate entry for key {key}"),
        _ if plain || !data => message.to_owned(),
        // Incorrect … value: 'value' for column `d`.`t`.`c` at row 1.
        _ => match (message.split_once(": '"), message.rsplit_once("' for column ")) {
            (Some((what, _)), Some((_, column))) => format!("{what} for column {column}"),
            (Some((what, _)), None) => what.to_owned(),
            (None, _) => message.split('\'').step_by(2).collect::<Vec<_>>().join("…"),
        },
    };
    format!("{said} (error {number})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_the_advice_of_the_fault_catalogue() {
        for (number, kind, retry) in [
            (1213, ErrorKind::Unavailable, Retry::Backoff),
            (1205, ErrorKind::Unavailable, Retry::Backoff),
            (1020, ErrorKind::Unavailable, Retry::Backoff),
            (1290, ErrorKind::Unavailable, Retry::Backoff),
            (1792, ErrorKind::Unavailable, Retry::Backoff),
            (1836, ErrorKind::Unavailable, Retry::Backoff),
            (2013, ErrorKind::Unavailable, Retry::Backoff),
            (1040, ErrorKind::Unavailable, Retry::Backoff),
            (1021, ErrorKind::Full, Retry::Never),
            (1114, ErrorKind::Full, Retry::Never),
            (14, ErrorKind::Full, Retry::Never),
            (1264, ErrorKind::Data, Retry::Never),
            (1292, ErrorKind::Data, Retry::Never),
            (1366, ErrorKind::Data, Retry::Never),
            (1406, ErrorKind::Data, Retry::Never),
            (1062, ErrorKind::Data, Retry::Never),
            (1452, ErrorKind::Data, Retry::Never),
            (1054, ErrorKind::Schema, Retry::Never),
            (1142, ErrorKind::Forbidden, Retry::Never),
            (1045, ErrorKind::Unauthorized, Retry::Never),
        ] {
            assert_eq!(by_number(number, "HY000", ""), (kind, retry), "{number}");
        }
    }

    #[test]
    fn a_full_disk_is_known_by_the_system_s_number_and_not_by_a_name() {
        let says = |message| by_number(1005, "HY000", message).0;
        assert_eq!(says("Can't create table `d`.`t` (errno: 28 \"No space left on device\")"), ErrorKind::Full);
        assert_ne!(says("Can't create table `d`.`t28` (errno: 36 \"File name too long\")"), ErrorKind::Full);
    }

    #[test]
    fn a_value_in_the_server_s_message_is_not_repeated() {
        for (number, message, said) in [
            (
                1062,
                "Duplicate entry 'Ann's for key 'x'' for key 'orders.name'",
                "duplicate entry for key 'orders.name'",
            ),
            (
                1366,
                "Incorrect integer value: 'secret' for column `d`.`t`.`c` at row 1",
                "Incorrect integer value for column `d`.`t`.`c` at row 1",
            ),
            (1292, "Truncated incorrect DOUBLE value: 'secret'", "Truncated incorrect DOUBLE value"),
            (1690, "BIGINT value is out of range in '(secret)'", "BIGINT value is out of range in …"),
            (1406, "Data too long for column 'note' at row 3", "Data too long for column 'note' at row 3"),
        ] {
            assert_eq!(without_values(number, message), format!("{said} (error {number})"));
        }
    }

    #[test]
    fn a_commit_whose_answer_is_lost_may_have_happened() {
        let reset = sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        assert!(uncommitted(reset).is_ambiguous());
    }
}
