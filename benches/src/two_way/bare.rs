//! The bare driver: the same rows into one table and out of it, with the same durability, and nothing noted about them.

use std::path::PathBuf;

use futures::future::try_join_all;
use tokio::task::spawn_blocking;
use tokio_postgres::{Client, NoTls};

use super::{BATCH, PAGE};
use crate::Result;

const CREATE: &str = "CREATE TABLE sales (id text NOT NULL PRIMARY KEY, client_id text, product text, quantity bigint,
                      cents bigint, note text)";

/// What a sale looks like.
pub(super) struct Row {
    pub(super) id: String,
    pub(super) client_id: &'static str,
    pub(super) product: &'static str,
    pub(super) quantity: i64,
    pub(super) cents: i64,
    pub(super) note: String,
}

/// The sale of this number. Its key is as random as a UUID.
pub(super) fn row(number: u64) -> Row {
    let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    Row {
        id: format!("{mixed:016x}-{number:08x}"),
        client_id: "shop",
        product: "coffee",
        quantity: (mixed % 9 + 1).cast_signed(),
        cents: (mixed % 5000).cast_signed(),
        note: format!("sale {number} of the day"),
    }
}

pub(super) enum Bare {
    Sqlite(PathBuf),
    /// As many as branches push at once.
    Postgres(Vec<Client>),
}

impl Bare {
    pub(super) async fn open(to: &str, writers: u64) -> Result<Self> {
        if !to.contains("://") {
            let path = PathBuf::from(to);
            connect(&path)?.execute_batch(CREATE)?;
            return Ok(Self::Sqlite(path));
        }
        let clients = try_join_all((0..writers).map(|_| async {
            let (client, connection) = tokio_postgres::connect(to, NoTls).await?;
            tokio::spawn(connection);
            Ok::<_, tokio_postgres::Error>(client)
        }))
        .await?;
        clients[0].batch_execute(CREATE).await?;
        Ok(Self::Postgres(clients))
    }

    /// So many new rows, in transactions of one batch each.
    pub(super) async fn write(&self, rows: u64) -> Result<()> {
        match self {
            // One writes at a time anyway.
            Self::Sqlite(path) => {
                let path = path.clone();
                spawn_blocking(move || write_sqlite(&path, rows)).await?
            }
            Self::Postgres(clients) => {
                let share = rows / clients.len() as u64;
                let writers =
                    clients.iter().zip(0..).map(|(client, writer)| write_postgres(client, writer * share, share));
                try_join_all(writers).await.map(drop)
            }
        }
    }

    /// All rows, page by page.
    pub(super) async fn read(&self, rows: u64) -> Result<()> {
        let came = match self {
            Self::Sqlite(path) => {
                let path = path.clone();
                spawn_blocking(move || read_sqlite(&path)).await??
            }
            Self::Postgres(clients) => read_postgres(&clients[0]).await?,
        };
        if came == rows { Ok(()) } else { Err(format!("{came} of {rows} rows came").into()) }
    }
}

fn connect(path: &std::path::Path) -> Result<rusqlite::Connection> {
    let connection = rusqlite::Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

fn write_sqlite(path: &std::path::Path, rows: u64) -> Result<()> {
    let mut connection = connect(path)?;
    for first in (1..=rows).step_by(BATCH as usize) {
        let transaction = connection.transaction()?;
        let mut insert = transaction.prepare_cached("INSERT INTO sales VALUES (?, ?, ?, ?, ?, ?)")?;
        for number in first..(first + BATCH).min(rows + 1) {
            let row = row(number);
            insert.execute((&row.id, row.client_id, row.product, row.quantity, row.cents, &row.note))?;
        }
        drop(insert);
        transaction.commit()?;
    }
    Ok(())
}

async fn write_postgres(client: &Client, after: u64, rows: u64) -> Result<()> {
    let insert = client
        .prepare(
            "INSERT INTO sales SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::int8[], $5::int8[], $6::text[])",
        )
        .await?;
    for first in (1..=rows).step_by(BATCH as usize) {
        let rows: Vec<Row> = (first..(first + BATCH).min(rows + 1)).map(|number| row(after + number)).collect();
        let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        let clients: Vec<&str> = rows.iter().map(|row| row.client_id).collect();
        let products: Vec<&str> = rows.iter().map(|row| row.product).collect();
        let quantities: Vec<i64> = rows.iter().map(|row| row.quantity).collect();
        let cents: Vec<i64> = rows.iter().map(|row| row.cents).collect();
        let notes: Vec<&str> = rows.iter().map(|row| row.note.as_str()).collect();
        client.execute(&insert, &[&ids, &clients, &products, &quantities, &cents, &notes]).await?;
    }
    Ok(())
}

fn read_sqlite(path: &std::path::Path) -> Result<u64> {
    let connection = connect(path)?;
    let mut read = connection.prepare("SELECT * FROM sales WHERE id > ? ORDER BY id LIMIT ?")?;
    let (mut after, mut came) = (String::new(), 0);
    loop {
        let page: Vec<Row> = read
            .query_map((&after, PAGE as i64), |row| {
                Ok(Row {
                    id: row.get(0)?,
                    client_id: "shop",
                    product: "coffee",
                    quantity: row.get(3)?,
                    cents: row.get(4)?,
                    note: row.get(5)?,
                })
            })?
            .collect::<rusqlite::Result<_>>()?;
        came += page.len() as u64;
        match page.last() {
            Some(last) => after.clone_from(&last.id),
            None => return Ok(came),
        }
    }
}

async fn read_postgres(client: &Client) -> Result<u64> {
    let read = client.prepare("SELECT * FROM sales WHERE id > $1 ORDER BY id LIMIT $2").await?;
    let (mut after, mut came) = (String::new(), 0);
    loop {
        let page = client.query(&read, &[&after, &(PAGE as i64)]).await?;
        came += page.len() as u64;
        match page.last() {
            Some(last) => after = last.get(0),
            None => return Ok(came),
        }
    }
}
