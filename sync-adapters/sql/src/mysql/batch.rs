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

/// Rows in pieces that one statement carries.
pub(crate) struct Pieces<'r> {
    /// The next one is last.
    waiting: Vec<&'r [usize]>,
    /// Rows that are larger than what the server takes; they are in no piece.
    pub(crate) too_large: Vec<usize>,
}

impl<'r> Iterator for Pieces<'r> {
    type Item = &'r [usize];

    fn next(&mut self) -> Option<&'r [usize]> {
        self.waiting.pop()
    }
}

impl<'r> Pieces<'r> {
    /// Notes that the server has refused the piece that came last: its halves come next. If it is a single row, that one is
    /// at fault.
    pub(crate) fn refused(&mut self, piece: &'r [usize]) -> Option<usize> {
        if let [row] = piece {
            return Some(*row);
        }
        let (first, second) = piece.split_at(piece.len() / 2);
        self.waiting.extend([second, first]);
        None
    }
}

/// Whether the server takes a row of so many values and bytes: beside them stand the frame of a packet and the types of the
/// values.
pub(crate) fn fits(server: Server, values: usize, size: usize) -> bool {
    size + values * 4 + 1024 <= server.packet
}

/// The rows in pieces that one statement carries, each row with so many values and, by `size`, so many bytes.
pub(crate) fn pieces(rows: &[usize], values: usize, server: Server, size: impl Fn(usize) -> usize) -> Pieces<'_> {
    // The text of the statement is a packet of its own: a mark and a comma for each value.
    let text = (server.packet / 2) / (values * 2 + 3);
    let most = (BINDS / values.max(1)).min(text).clamp(1, ROWS);
    let bytes = (server.packet - server.packet / 8).min(BYTES);
    let mut pieces = Pieces { waiting: Vec::new(), too_large: Vec::new() };
    let (mut from, mut sum) = (0, 0);
    for (place, &row) in rows.iter().enumerate() {
        let size = size(row);
        let fits = fits(server, values, size);
        if place > from && (!fits || place - from == most || sum + size > bytes) {
            pieces.waiting.push(&rows[from..place]);
            (from, sum) = (place, 0);
        }
        if fits {
            sum += size;
        } else {
            pieces.too_large.push(row);
            from = place + 1;
        }
    }
    if from < rows.len() {
        pieces.waiting.push(&rows[from..]);
    }
    pieces.waiting.reverse();
    pieces
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
            let pieces = pieces(&rows, values, SERVER, |_| size);
            (pieces.too_large.len(), pieces.map(<[usize]>::len).collect::<Vec<_>>())
        };
        assert_eq!(lengths(3, 10), (0, vec![1000, 1000, 500]));
        assert_eq!(lengths(100, 10), (0, vec![655, 655, 655, 535]));
        assert_eq!(lengths(3, 900 << 10), (0, vec![1; 2500]));
        assert_eq!(lengths(3, 1 << 20), (2500, Vec::new()));
        let small = pieces(&rows, 12, Server { packet: 16 << 10, ..SERVER }, |_| 10).next().map(<[usize]>::len);
        assert_eq!(small, Some(303), "the text of the statement has to fit as well");
    }

    #[test]
    fn a_row_that_does_not_go_through_is_left_out_and_no_other() {
        let size = |row| if row % 4 == 3 { 2 << 20 } else { 10 };
        let cut = pieces(&[0, 3, 7, 8, 9, 11], 3, SERVER, size);
        assert_eq!(cut.too_large, [3, 7, 11]);
        assert_eq!(cut.collect::<Vec<_>>(), [[0].as_slice(), &[8, 9]]);
    }

    #[test]
    fn a_refused_piece_comes_again_in_halves_until_the_row_is_found() {
        let rows: Vec<usize> = (0..7).collect();
        let (mut cut, mut found, mut written) = (pieces(&rows, 3, SERVER, |_| 10), Vec::new(), Vec::new());
        while let Some(piece) = cut.next() {
            if piece.iter().any(|row| [2, 5].contains(row)) {
                found.extend(cut.refused(piece));
            } else {
                written.extend(piece);
            }
        }
        assert_eq!((found, written), (vec![2, 5], vec![0, 1, 3, 4, 6]), "in their order");
    }
}
