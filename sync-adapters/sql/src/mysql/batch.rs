//! Many rows with one statement: as many as the server takes at once.

use futures::TryStreamExt;
use sqlx::mysql::{MySqlArguments, MySqlConnection, MySqlRow};
use sqlx::{AssertSqlSafe, Either, Error as Failure};
use sync_core::{Error, Result};

use super::connection::Server;

/// The most rows of one statement: more gain nothing (measured), and the text of the statement is kept by the server.
pub(crate) const ROWS: usize = 1000;

/// The most values that one statement may bind.
const BINDS: usize = 65_535;

/// The most bytes of one statement, though a server may take more: they are in memory twice.
const BYTES: usize = 8 << 20;

/// The rows in pieces that one statement carries, each row with so many values and, by `size`, so many bytes.
///
/// # Errors
/// The position of a row that is larger than what the server takes.
pub(crate) fn pieces(
    rows: &[usize],
    values: usize,
    server: Server,
    size: impl Fn(usize) -> usize,
) -> std::result::Result<Vec<&[usize]>, usize> {
    // The text of the statement is a packet of its own: a mark and a comma for each value.
    let text = (server.packet / 2) / (values * 2 + 3);
    let most = (BINDS / values.max(1)).min(text).clamp(1, ROWS);
    let bytes = (server.packet - server.packet / 8).min(BYTES);
    let mut pieces = Vec::new();
    let (mut from, mut sum) = (0, 0);
    for (place, &row) in rows.iter().enumerate() {
        let size = size(row);
        // The frame of a packet and the types of the values.
        if size + values * 4 + 1024 > server.packet {
            return Err(row);
        }
        if place > from && (place - from == most || sum + size > bytes) {
            pieces.push(&rows[from..place]);
            (from, sum) = (place, 0);
        }
        sum += size;
    }
    if from < rows.len() {
        pieces.push(&rows[from..]);
    }
    Ok(pieces)
}

/// The error about a row that does not go through at all.
pub(crate) fn too_large(server: Server) -> Error {
    Error::data(format!(
        "the row is larger than {} bytes, the server's max_allowed_packet: raise it there",
        server.packet
    ))
}

/// `head VALUES (?, ?), (?, ?)`.
pub(crate) fn values(head: &str, row: &str, rows: usize) -> String {
    let mut sql = String::with_capacity(head.len() + 8 + (row.len() + 1) * rows);
    sql.push_str(head);
    sql.push_str(" VALUES ");
    for place in 0..rows {
        if place > 0 {
            sql.push(',');
        }
        sql.push_str(row);
    }
    sql
}

/// Runs a statement. One for a full piece or for a single row comes again and is kept by the server; others are not.
pub(crate) async fn execute(
    connection: &mut MySqlConnection,
    sql: String,
    arguments: MySqlArguments,
    keep: bool,
) -> std::result::Result<u64, Failure> {
    let done = sqlx::query_with(AssertSqlSafe(sql), arguments).persistent(keep).execute(connection).await?;
    Ok(done.rows_affected())
}

/// Runs a statement that binds nothing.
pub(crate) async fn run(connection: &mut MySqlConnection, sql: String, what: &'static str) -> Result<()> {
    let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await;
    done.map(drop).map_err(|cause| super::error::failed(what, cause))
}

/// Runs statements that bind nothing, in one packet, and gives the rows of each. What fails ends it: those before have run.
pub(crate) async fn ask(
    connection: &mut MySqlConnection,
    statements: String,
) -> std::result::Result<Vec<Vec<MySqlRow>>, Failure> {
    let mut answers = sqlx::raw_sql(AssertSqlSafe(statements)).fetch_many(connection);
    let (mut all, mut rows) = (Vec::new(), Vec::new());
    while let Some(answer) = answers.try_next().await? {
        match answer {
            Either::Right(row) => rows.push(row),
            Either::Left(_) => all.push(std::mem::take(&mut rows)),
        }
    }
    Ok(all)
}

/// A text as it stands in a statement that binds nothing, in our sessions, where a backslash means itself.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Server = Server { exact: "utf8mb4_nopad_bin", packet: 1 << 20 };

    #[test]
    fn rows_are_cut_by_number_by_values_and_by_bytes() {
        let rows: Vec<usize> = (0..2500).collect();
        let lengths = |values, size| {
            pieces(&rows, values, SERVER, |_| size).map(|pieces| pieces.iter().map(|piece| piece.len()).collect())
        };
        assert_eq!(lengths(3, 10), Ok(vec![1000, 1000, 500]));
        assert_eq!(lengths(100, 10), Ok(vec![655, 655, 655, 535]));
        assert_eq!(lengths(3, 900 << 10), Ok(vec![1; 2500]));
        assert_eq!(lengths(3, 1 << 20), Err(0));
        let small = pieces(&rows, 12, Server { packet: 16 << 10, ..SERVER }, |_| 10).map(|pieces| pieces[0].len());
        assert_eq!(small, Ok(303), "the text of the statement has to fit as well");
    }
}
