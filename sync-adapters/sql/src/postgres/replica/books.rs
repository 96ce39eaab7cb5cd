//! The books of two-way sync, kept beside the rows.

use sqlx::{AssertSqlSafe, PgConnection};
use sync_core::Result;
use sync_core::two_way::Book;

use crate::postgres::error::failed;
use crate::replica::book_name;

pub(super) async fn get(connection: &mut PgConnection, schema: &str, book: Book, id: &str) -> Result<Option<Vec<u8>>> {
    let sql = format!("SELECT body FROM {schema}._sync_book WHERE book = $1 AND id = $2");
    let read = sqlx::query_scalar(AssertSqlSafe(sql)).bind(book_name(book)?).bind(id);
    read.fetch_optional(connection).await.map_err(|cause| failed("a book cannot be read", cause))
}

pub(super) async fn put(
    connection: &mut PgConnection,
    schema: &str,
    book: Book,
    id: &str,
    body: Option<Vec<u8>>,
) -> Result<()> {
    let name = book_name(book)?;
    let sql = match body {
        Some(_) => format!(
            "INSERT INTO {schema}._sync_book (book, id, body) VALUES ($1, $2, $3)
             ON CONFLICT (book, id) DO UPDATE SET body = excluded.body"
        ),
        None => format!("DELETE FROM {schema}._sync_book WHERE book = $1 AND id = $2"),
    };
    let write = sqlx::query(AssertSqlSafe(sql)).bind(name).bind(id);
    let write = match body {
        Some(body) => write.bind(body),
        None => write,
    };
    write.execute(connection).await.map(drop).map_err(|cause| failed("a book cannot be written", cause))
}

/// Each under another id.
pub(super) async fn put_all(
    connection: &mut PgConnection,
    schema: &str,
    book: Book,
    bodies: Vec<(String, Vec<u8>)>,
) -> Result<()> {
    let (ids, bodies): (Vec<String>, Vec<Vec<u8>>) = bodies.into_iter().unzip();
    let sql = format!(
        "INSERT INTO {schema}._sync_book (book, id, body) SELECT $1, u.id, u.body FROM UNNEST($2::text[], $3::bytea[]) AS u(id, body)
         ON CONFLICT (book, id) DO UPDATE SET body = excluded.body"
    );
    let write = sqlx::query(AssertSqlSafe(sql)).bind(book_name(book)?).bind(ids).bind(bodies);
    write.execute(connection).await.map(drop).map_err(|cause| failed("a book cannot be written", cause))
}

pub(super) async fn list(
    connection: &mut PgConnection,
    schema: &str,
    book: Book,
    (prefix, after): (&str, &str),
    limit: usize,
) -> Result<Vec<(String, Vec<u8>)>> {
    // Ids are ordered by their bytes: those with the prefix stand together, from the prefix on.
    let sql = format!(
        "SELECT id, body FROM {schema}._sync_book WHERE book = $1 AND id >= $2 AND id > $3 AND starts_with(id, $2)
           AND id < $2 || chr(1114111)
         ORDER BY id LIMIT $4"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let read = sqlx::query_as(AssertSqlSafe(sql)).bind(book_name(book)?).bind(prefix).bind(after).bind(limit);
    read.fetch_all(connection).await.map_err(|cause| failed("a book cannot be read", cause))
}
