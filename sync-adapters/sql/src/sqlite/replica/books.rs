//! The books of two-way sync, kept beside the rows.

use rusqlite::{Connection, OptionalExtension as _};
use sync_core::Result;
use sync_core::two_way::Book;

use crate::replica::book_name as name;
use crate::sqlite::error::failed;

pub(super) fn get(connection: &Connection, book: Book, id: &str) -> Result<Option<Vec<u8>>> {
    let (sql, name) = ("SELECT body FROM _sync_book WHERE book = ? AND id = ?", name(book)?);
    let read = || connection.prepare_cached(sql)?.query_row([name, id], |row| row.get(0)).optional();
    read().map_err(|cause| failed("a book cannot be read", cause))
}

pub(super) fn put(connection: &Connection, book: Book, id: &str, body: Option<&[u8]>) -> Result<()> {
    let name = name(book)?;
    let write = || match body {
        Some(body) => {
            let sql = "INSERT INTO _sync_book (book, id, body) VALUES (?, ?, ?)
                       ON CONFLICT (book, id) DO UPDATE SET body = excluded.body";
            connection.prepare_cached(sql)?.execute((name, id, body))
        }
        None => connection.prepare_cached("DELETE FROM _sync_book WHERE book = ? AND id = ?")?.execute((name, id)),
    };
    write().map(drop).map_err(|cause| failed("a book cannot be written", cause))
}

pub(super) fn list(
    connection: &Connection,
    book: Book,
    prefix: &str,
    after: &str,
    limit: usize,
) -> Result<Vec<(String, Vec<u8>)>> {
    // Whatever begins with the prefix comes before the prefix with the last of all characters behind it.
    let sql = "SELECT id, body FROM _sync_book WHERE book = ?1 AND id > ?3 AND id >= ?2 AND id < ?2 || char(1114111)
               ORDER BY id LIMIT ?4";
    let (name, limit) = (name(book)?, i64::try_from(limit).unwrap_or(i64::MAX));
    let read = || -> rusqlite::Result<_> {
        let mut select = connection.prepare_cached(sql)?;
        let found = select.query_map((name, prefix, after, limit), |row| Ok((row.get(0)?, row.get(1)?)))?;
        found.collect()
    };
    read().map_err(|cause| failed("a book cannot be read", cause))
}
