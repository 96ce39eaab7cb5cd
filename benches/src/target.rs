//! The table by hand: what a careful engineer would write with the bare driver.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};

use crate::Result;
use crate::page::Row;

const COLUMNS: &str = "id, name, email, city, status, note, amount, quantity, score, active, created_at, updated_at";

/// The database of the program written by hand.
pub(crate) struct Target {
    connection: Connection,
}

impl Target {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "cache_size", -16_384)?;
        connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
        for table in ["records (id INTEGER PRIMARY KEY,", "stage (id INTEGER,"] {
            connection.execute_batch(&format!(
                "CREATE TABLE IF NOT EXISTS {table} name TEXT, email TEXT, city TEXT, status TEXT, note TEXT, amount TEXT,
                 quantity INTEGER, score INTEGER, active INTEGER, created_at TEXT, updated_at TEXT)"
            ))?;
        }
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS position (id INTEGER PRIMARY KEY CHECK (id = 1), since TEXT, page TEXT)",
        )?;
        Ok(Self { connection })
    }

    /// Up to where earlier runs came.
    pub(crate) fn since(&self) -> Result<Option<String>> {
        Ok(self.connection.query_row("SELECT since FROM position", [], |row| row.get(0)).optional()?.flatten())
    }

    /// Writes pages and the position in one transaction; a newer record replaces an older one.
    pub(crate) fn upsert<'a>(
        &mut self,
        rows: impl Iterator<Item = Row<'a>>,
        since: Option<&str>,
        page: Option<&str>,
    ) -> Result<()> {
        self.write("records", " ON CONFLICT (id) DO UPDATE SET name = excluded.name, email = excluded.email, city = excluded.city,
             status = excluded.status, note = excluded.note, amount = excluded.amount, quantity = excluded.quantity,
             score = excluded.score, active = excluded.active, created_at = excluded.created_at, updated_at = excluded.updated_at
             WHERE excluded.updated_at > records.updated_at", rows, since, page)
    }

    /// Appends pages out of order, to be sorted once at the end.
    pub(crate) fn stage<'a>(&mut self, rows: impl Iterator<Item = Row<'a>>, page: Option<&str>) -> Result<()> {
        self.write("stage", "", rows, None, page)
    }

    /// Puts what was staged in key order.
    pub(crate) fn publish(&mut self, since: Option<&str>) -> Result<()> {
        let transaction = self.connection.transaction()?;
        transaction
            .execute_batch(&format!("INSERT INTO records SELECT {COLUMNS} FROM stage ORDER BY id; DROP TABLE stage"))?;
        save(&transaction, since, None)?;
        Ok(transaction.commit()?)
    }

    fn write<'a>(
        &mut self,
        table: &str,
        conflict: &str,
        rows: impl Iterator<Item = Row<'a>>,
        since: Option<&str>,
        page: Option<&str>,
    ) -> Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached(&format!(
                "INSERT INTO {table} ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?){conflict}"
            ))?;
            for row in rows {
                insert.execute(params![
                    row.id,
                    row.name,
                    row.email,
                    row.city,
                    row.status,
                    row.note,
                    row.amount,
                    row.quantity,
                    row.score,
                    row.active,
                    row.created_at,
                    row.updated_at
                ])?;
            }
        }
        save(&transaction, since, page)?;
        Ok(transaction.commit()?)
    }
}

fn save(connection: &Connection, since: Option<&str>, page: Option<&str>) -> Result<()> {
    connection
        .prepare_cached("INSERT INTO position VALUES (1, ?1, ?2) ON CONFLICT (id) DO UPDATE SET since = coalesce(?1, since), page = ?2")?
        .execute([since, page])?;
    Ok(())
}
