//! MariaDB through mysql_async: prepared inserts of many rows.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, TxOpts, Value};
use tokio::runtime::Runtime;

use super::{COLUMNS, Reached, Target, assignments, parts, position};
use crate::Result;
use crate::page::{Page, Row};

pub(super) struct MariaDb {
    /// A thread of its own drives the connection.
    runtime: Runtime,
    connection: Conn,
}

impl MariaDb {
    pub(super) fn open(url: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let connection = runtime.block_on(async {
            let mut connection = Conn::new(Opts::from_url(url)?).await?;
            connection
                .query_drop(
                    "CREATE TABLE IF NOT EXISTS records (id BIGINT PRIMARY KEY, name LONGTEXT, email LONGTEXT, city LONGTEXT,
                     status LONGTEXT, note LONGTEXT, amount DECIMAL(12,2), quantity BIGINT, score BIGINT, active BOOLEAN,
                     created_at DATETIME(6), updated_at DATETIME(6)) CHARACTER SET utf8mb4",
                )
                .await?;
            connection
                .query_drop("CREATE TABLE IF NOT EXISTS position (id INT PRIMARY KEY, since TEXT, page TEXT)")
                .await?;
            Ok::<_, mysql_async::Error>(connection)
        })?;
        Ok(Self { runtime, connection })
    }
}

impl Target for MariaDb {
    fn reached(&mut self) -> Result<Reached> {
        let row = self.runtime.block_on(self.connection.query_first("SELECT since, page FROM position"))?;
        Ok(row.unwrap_or_default())
    }

    fn write(&mut self, pages: &[Page], newest: Option<&str>, next: Option<&str>) -> Result<()> {
        let since = position(newest, next);
        self.runtime.block_on(async {
            let mut transaction = self.connection.start_transaction(TxOpts::default()).await?;
            for page in pages {
                let rows = page.rows().count();
                if rows == 0 {
                    continue;
                }
                let mut values = Vec::with_capacity(rows * COLUMNS.len());
                page.rows().try_for_each(|row| push(&mut values, &row))?;
                transaction.exec_drop(insert(rows), values).await?;
            }
            transaction
                .exec_drop(
                    "INSERT INTO position VALUES (1, ?, ?) ON DUPLICATE KEY UPDATE since = coalesce(VALUES(since), since), page = VALUES(page)",
                    (since, next),
                )
                .await?;
            transaction.commit().await?;
            Ok(())
        })
    }
}

/// A newer record replaces an older one. Assignments run from left to right: `updated_at` decides, so it comes last.
fn insert(rows: usize) -> String {
    let marks = vec!["(?,?,?,?,?,?,?,?,?,?,?,?)"; rows].join(",");
    let set =
        assignments(|column| format!("{column} = IF(VALUES(updated_at) > updated_at, VALUES({column}), {column})"));
    format!("INSERT INTO records ({}) VALUES {marks} ON DUPLICATE KEY UPDATE {set}", COLUMNS.join(", "))
}

fn push(values: &mut Vec<Value>, row: &Row<'_>) -> Result<()> {
    values.push(row.id.into());
    values.extend([row.name, row.email, row.city, row.status, row.note, row.amount].map(Value::from));
    values.extend([row.quantity.into(), row.score.into(), row.active.into()]);
    values.push(instant(row.created_at)?);
    values.push(instant(row.updated_at)?);
    Ok(())
}

fn instant(text: &str) -> Result<Value> {
    let [year, month, day, hour, minute, second] = parts(text)?;
    Ok(Value::Date(year, month as u8, day as u8, hour as u8, minute as u8, second as u8, 0))
}
