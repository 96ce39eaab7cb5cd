//! Sessions: set up so that nothing is bent, and asked whether they are.

use std::collections::HashMap;

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};
use sync_core::{Error, Result};

use super::error::{failed, refused_setup};
use crate::prompt::send_at_once;

/// What a session must have. Strict, so that what does not fit is refused instead of cut; `ANSI_QUOTES`, so that names
/// are quoted as in other databases; `NO_AUTO_VALUE_ON_ZERO`, so that the key 0 stays 0.
const MODES: [&str; 8] = [
    "STRICT_ALL_TABLES",
    "NO_ZERO_DATE",
    "NO_ZERO_IN_DATE",
    "ERROR_FOR_DIVISION_BY_ZERO",
    "NO_ENGINE_SUBSTITUTION",
    "NO_BACKSLASH_ESCAPES",
    "ANSI_QUOTES",
    "NO_AUTO_VALUE_ON_ZERO",
];

/// What a session that only reads must have. Dates that a strict session would not take must come as they are, and go back
/// as bounds of the next page.
const READING_MODES: [&str; 4] =
    ["NO_BACKSLASH_ESCAPES", "ANSI_QUOTES", "NO_ENGINE_SUBSTITUTION", "ALLOW_INVALID_DATES"];

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Tables of this library's, written strictly.
    Write,
    /// Tables of somebody else, which the server itself keeps from being written.
    Read,
}

/// Settings that `SHOW VARIABLES` must give back as they were set.
const SETTINGS: [(&str, &[&str]); 8] = [
    ("time_zone", &["+00:00"]),
    ("character_set_client", &["utf8mb4"]),
    ("character_set_connection", &["utf8mb4"]),
    ("character_set_results", &["utf8mb4"]),
    ("tx_isolation", &["READ-COMMITTED"]),
    ("transaction_isolation", &["READ-COMMITTED"]),
    ("foreign_key_checks", &["ON"]),
    ("unique_checks", &["ON"]),
];

/// What statements must know about the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Server {
    /// The collation of `utf8mb4` under which only equal texts are equal, trailing spaces included.
    pub(crate) exact: &'static str,
    /// The longest packet it takes, bytes.
    pub(crate) packet: usize,
}

impl Server {
    pub(crate) fn is_mariadb(self) -> bool {
        self.exact == MARIADB
    }
}

/// The collation of `utf8mb4` under which only equal texts are equal, as MariaDB calls it.
const MARIADB: &str = "utf8mb4_nopad_bin";

/// The options of all connections, the first of them, and what the server is like.
pub(crate) async fn first(
    options: MySqlConnectOptions,
    access: Access,
) -> Result<(MySqlConnectOptions, MySqlConnection, Server)> {
    // The modes and the character set are set as a whole by `set_up`.
    let options =
        options.charset("utf8mb4").set_names(false).pipes_as_concat(false).no_engine_substitution(false).timezone(None);
    let unreachable = |cause| failed("there is no connection to the database", cause);
    let mut connection = options.connect().await.map_err(unreachable)?;
    send_at_once(options.get_port());
    let settings = set_up(&mut connection, access).await.map_err(unreachable)?;
    let version = settings.get("version").map_or("", String::as_str);
    let exact = if version.contains("MariaDB") { MARIADB } else { "utf8mb4_0900_bin" };
    if !is_exact(&mut connection, exact).await.unwrap_or_default() {
        return Err(Error::config(format!(
            "the server (version {version}) has no collation {exact}, without which keys that differ only in trailing spaces would be one: it takes MariaDB 10.6 or MySQL 8.0.17, or newer"
        )));
    }
    Ok((options, connection, Server { exact, packet: packet(&settings) }))
}

/// The longest packet that a session takes, bytes.
pub(crate) fn packet(settings: &HashMap<String, String>) -> usize {
    settings.get("max_allowed_packet").and_then(|bytes| bytes.parse().ok()).unwrap_or(1 << 20)
}

/// The error of a server that takes a call and does not answer it in time.
pub(crate) fn silent() -> Error {
    failed("there is no connection to the database", sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))
}

/// Makes a session strict, and asks whether it is: a proxy or a setting of the account may have its own mind. All of it
/// goes in one packet. What the server said is given back.
pub(crate) async fn set_up(connection: &mut MySqlConnection, access: Access) -> sqlx::Result<HashMap<String, String>> {
    let modes: &[&str] = if access == Access::Write { &MODES } else { &READING_MODES };
    // An answer that a setting of the server cut short would look like a whole one.
    // A statement that waits for a table to be free gives up after a minute instead of a day. A commit ends there, and begins
    // nothing.
    let set = format!(
        "SET NAMES utf8mb4; SET SESSION sql_mode = '{}', time_zone = '+00:00', autocommit = 1, foreign_key_checks = 1, \
         unique_checks = 1, sql_auto_is_null = 0, sql_safe_updates = 0, sql_select_limit = 18446744073709551615, \
         sql_big_selects = 1, completion_type = 0, lock_wait_timeout = 60",
        modes.join(",")
    );
    // Keys are compared as a whole where they are sorted, and not by their first bytes.
    let read = match access {
        Access::Read => "SET SESSION TRANSACTION READ ONLY; SET SESSION max_sort_length = 16384; ",
        Access::Write => "",
    };
    let names: Vec<&str> =
        SETTINGS.iter().map(|(name, _)| *name).chain(["sql_mode", "version", "max_allowed_packet"]).collect();
    let all = format!(
        "{set}; {read}SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
         SHOW SESSION VARIABLES WHERE Variable_name IN ('{}')",
        names.join("', '")
    );
    let rows = sqlx::raw_sql(AssertSqlSafe(all)).fetch_all(connection).await?;
    let settings: HashMap<String, String> = rows
        .iter()
        .map(|row| Ok((row.try_get_unchecked(0)?, row.try_get_unchecked(1)?)))
        .collect::<sqlx::Result<_>>()?;
    let taken: Vec<&str> = settings.get("sql_mode").map(|modes| modes.split(',').collect()).unwrap_or_default();
    if let Some(missing) = modes.iter().find(|mode| !taken.contains(mode)) {
        return Err(refused_setup(format!("the server does not take the sql_mode {missing}")));
    }
    match SETTINGS.iter().find(|(name, allowed)| {
        settings.get(*name).is_some_and(|value| !allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(value)))
    }) {
        None => Ok(settings),
        Some((name, wanted)) => Err(refused_setup(format!("the server does not take {name} = {}", wanted[0]))),
    }
}

/// Whether texts that differ in case or in trailing spaces stay apart under a collation of `utf8mb4`.
pub(crate) async fn is_exact(connection: &mut MySqlConnection, collation: &str) -> Result<bool> {
    let known_form = collation.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    // Other than binary collations may merge letters that nobody thought of asking for.
    if !known_form || !collation.ends_with("_bin") {
        return Ok(false);
    }
    let sql = format!(
        "SELECT CAST(CONVERT('a' USING utf8mb4) COLLATE {collation} IN ('a ', 'A', CONVERT('ä' USING utf8mb4)) AS SIGNED)"
    );
    let merged: i64 = sqlx::raw_sql(AssertSqlSafe(sql))
        .fetch_one(connection)
        .await
        .and_then(|row| row.try_get_unchecked(0))
        .map_err(|cause| failed("the collation cannot be tried", cause))?;
    Ok(merged == 0)
}
