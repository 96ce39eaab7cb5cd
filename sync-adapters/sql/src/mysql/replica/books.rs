//! The books of two-way sync, kept beside the rows.

use sqlx::{AssertSqlSafe, MySqlConnection};
use sync_core::Result;
use sync_core::two_way::Book;

use crate::mysql::error::failed;
use crate::replica::book_name;

pub(super) async fn get(connection: &mut MySqlConnection, book: Book, id: &str) -> Result<Option<Vec<u8>>> {
    let read = sqlx::query_scalar("SELECT body FROM _sync_book WHERE book = ? AND id = ?");
    let read = read.bind(book_name(book)?).bind(id.as_bytes());
    read.fetch_optional(connection).await.map_err(|cause| failed("a book cannot be read", cause))
}

pub(super) async fn put(connection: &mut MySqlConnection, book: Book, id: &str, body: Option<Vec<u8>>) -> Result<()> {
    let write = match body {
        Some(body) => sqlx::query("REPLACE INTO _sync_book (body, book, id) VALUES (?, ?, ?)").bind(body),
        None => sqlx::query("DELETE FROM _sync_book WHERE book = ? AND id = ?"),
    };
    let write = write.bind(book_name(book)?).bind(id.as_bytes());
    write.execute(connection).await.map(drop).map_err(|cause| failed("a book cannot be written", cause))
}

/// How many are put at once, and about how many bytes of them: what is larger goes alone.
const MANY: (usize, usize) = (100, 256 * 1024);

/// Each under another id.
pub(super) async fn put_all(
    connection: &mut MySqlConnection,
    book: Book,
    bodies: Vec<(String, Vec<u8>)>,
) -> Result<()> {
    let mut rest = bodies.as_slice();
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = rest.iter().take(MANY.0).take_while(|(_, body)| {
            bytes += body.len();
            bytes <= MANY.1
        });
        let (part, later) = rest.split_at(fits.count().max(1));
        let places = vec!["(?, ?, ?)"; part.len()].join(", ");
        let sql = format!("REPLACE INTO _sync_book (body, book, id) VALUES {places}");
        let mut write = sqlx::query(AssertSqlSafe(sql)).persistent(part.len() == MANY.0 || part.len() == 1);
        for (id, body) in part {
            write = write.bind(body.as_slice()).bind(book_name(book)?).bind(id.as_bytes());
        }
        write.execute(&mut *connection).await.map_err(|cause| failed("a book cannot be written", cause))?;
        rest = later;
    }
    Ok(())
}

pub(super) async fn list(
    connection: &mut MySqlConnection,
    book: Book,
    (prefix, after): (&str, &str),
    limit: usize,
) -> Result<Vec<(String, Vec<u8>)>> {
    // Ids are ordered by their bytes: those with the prefix stand together, and no byte of UTF-8 is 255.
    let sql = "SELECT CONVERT(id USING utf8mb4), body FROM _sync_book
               WHERE book = ? AND id >= ? AND id > ? AND id < CONCAT(?, x'FF') ORDER BY id LIMIT ?";
    let read = sqlx::query_as(sql).bind(book_name(book)?).bind(prefix.as_bytes()).bind(after.as_bytes());
    let read = read.bind(prefix.as_bytes()).bind(i64::try_from(limit).unwrap_or(i64::MAX));
    read.fetch_all(connection).await.map_err(|cause| failed("a book cannot be read", cause))
}
