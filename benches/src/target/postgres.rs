//! PostgreSQL through tokio-postgres: binary COPY, straight into an empty table; into one with rows by way of a temporary
//! table, and one statement from there.

use std::pin::pin;

use bytes::{BufMut, Bytes, BytesMut};
use chrono::NaiveDate;
use futures::SinkExt;
use tokio::runtime::Runtime;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls, Transaction};

use super::{COLUMNS, Reached, Target, assignments, parts, position};
use crate::Result;
use crate::page::{Page, Row};

pub(super) struct Postgres {
    /// A thread of its own drives the connection.
    runtime: Runtime,
    client: Client,
    /// Whether the table was empty, and every row since was new.
    fresh: bool,
}

impl Postgres {
    pub(super) fn open(url: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (client, fresh) = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
            tokio::spawn(connection);
            let columns =
                "name text, email text, city text, status text, note text, amount numeric(12,2), quantity int8,
                           score int8, active bool, created_at timestamptz, updated_at timestamptz";
            client
                .batch_execute(&format!(
                    "CREATE TABLE IF NOT EXISTS records (id int8 PRIMARY KEY, {columns});
                     CREATE TABLE IF NOT EXISTS position (id int PRIMARY KEY, since text, page text);
                     CREATE TEMPORARY TABLE incoming (id int8, {columns}) ON COMMIT DELETE ROWS"
                ))
                .await?;
            let fresh = client.query_one("SELECT NOT EXISTS (SELECT FROM records)", &[]).await?.get(0);
            Ok::<_, tokio_postgres::Error>((client, fresh))
        })?;
        Ok(Self { runtime, client, fresh })
    }
}

impl Target for Postgres {
    fn reached(&mut self) -> Result<Reached> {
        let row = self.runtime.block_on(self.client.query_opt("SELECT since, page FROM position", &[]))?;
        Ok(row.map(|row| (row.get(0), row.get(1))).unwrap_or_default())
    }

    fn write(&mut self, pages: &[Page], newest: Option<&str>, next: Option<&str>) -> Result<()> {
        let set = assignments(|column| format!("{column} = excluded.{column}"));
        let columns = COLUMNS.join(", ");
        let body = encoded(pages)?;
        let since = position(newest, next);
        self.runtime.block_on(async {
            let mut transaction = self.client.transaction().await?;
            self.fresh = self.fresh && copied_straight(&mut transaction, &columns, body.clone()).await?;
            if !self.fresh {
                copy(&transaction, "COPY incoming FROM STDIN BINARY", body).await?;
                transaction
                    .batch_execute(&format!(
                        "INSERT INTO records ({columns}) SELECT {columns} FROM incoming ON CONFLICT (id) DO UPDATE SET {set}
                         WHERE excluded.updated_at > records.updated_at"
                    ))
                    .await?;
            }
            transaction
                .execute(
                    "INSERT INTO position VALUES (1, $1, $2)
                     ON CONFLICT (id) DO UPDATE SET since = coalesce($1, position.since), page = $2",
                    &[&since, &next],
                )
                .await?;
            transaction.commit().await?;
            Ok(())
        })
    }
}

async fn copy(
    transaction: &Transaction<'_>,
    statement: &str,
    body: Bytes,
) -> std::result::Result<(), tokio_postgres::Error> {
    let mut copy = pin!(transaction.copy_in::<_, Bytes>(statement).await?);
    copy.send(body).await?;
    copy.finish().await.map(drop)
}

/// Copies rows into the table itself, and says whether all of them were new: otherwise none is there.
async fn copied_straight(transaction: &mut Transaction<'_>, columns: &str, body: Bytes) -> Result<bool> {
    let savepoint = transaction.savepoint("straight").await?;
    match copy(&savepoint, &format!("COPY records ({columns}) FROM STDIN BINARY"), body).await {
        Ok(()) => savepoint.commit().await?,
        Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
            savepoint.rollback().await?;
            return Ok(false);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(true)
}

/// The rows in the format of a binary COPY.
fn encoded(pages: &[Page]) -> Result<Bytes> {
    let mut body = BytesMut::with_capacity(pages.len() << 19);
    body.put_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
    for row in pages.iter().flat_map(Page::rows) {
        put(&mut body, &row)?;
    }
    body.put_i16(-1);
    Ok(body.freeze())
}

fn put(body: &mut BytesMut, row: &Row<'_>) -> Result<()> {
    body.put_i16(12);
    put_int(body, row.id);
    for text in [row.name, row.email, row.city, row.status, row.note] {
        put_bytes(body, text.as_bytes());
    }
    put_amount(body, row.amount)?;
    put_int(body, row.quantity);
    put_int(body, row.score);
    put_bytes(body, &[u8::from(row.active)]);
    put_int(body, micros(row.created_at)?);
    put_int(body, micros(row.updated_at)?);
    Ok(())
}

fn put_int(body: &mut BytesMut, value: i64) {
    body.put_i32(8);
    body.put_i64(value);
}

fn put_bytes(body: &mut BytesMut, bytes: &[u8]) {
    body.put_i32(bytes.len() as i32);
    body.put_slice(bytes);
}

/// Amounts are below 10⁸ and have two digits after the point: two digits of base 10,000 before it, one behind.
fn put_amount(body: &mut BytesMut, amount: &str) -> Result<()> {
    let (whole, cents) = amount.split_once('.').ok_or("an amount without a point")?;
    let (whole, cents) = (whole.parse::<u32>()?, cents.parse::<i16>()?);
    body.put_i32(14);
    for word in [3, 1, 0, 2, (whole / 10_000) as i16, (whole % 10_000) as i16, cents * 100] {
        body.put_i16(word);
    }
    Ok(())
}

/// Microseconds since the year 2000.
fn micros(instant: &str) -> Result<i64> {
    let [year, month, day, hour, minute, second] = parts(instant)?.map(i64::from);
    let date = NaiveDate::from_ymd_opt(year as i32, month as u32, day as u32).ok_or("no date")?;
    let days = date.signed_duration_since(NaiveDate::from_ymd_opt(2000, 1, 1).ok_or("no date")?).num_days();
    Ok((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000)
}
