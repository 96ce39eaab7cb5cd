//! SQLite through rusqlite.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};

use super::{COLUMNS, Reached, Target, assignments, position};
use crate::Result;
use crate::page::{Page, Row};
use crate::records::Order;

/// Random keys are staged and sorted once: in the same runs, 50,000 sorted rows a transaction reached half of that at a
/// million records.
pub(super) struct Sqlite {
    connection: Connection,
    staged: bool,
}

impl Sqlite {
    pub(super) fn open(path: &Path, order: Order) -> Result<Self> {
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
        let mut database = Self { connection, staged: false };
        database.staged = order == Order::Random && database.reached()?.0.is_none();
        Ok(database)
    }

    /// Puts what was staged in key order.
    fn publish(&mut self, since: Option<&str>) -> Result<()> {
        let columns = COLUMNS.join(", ");
        let transaction = self.connection.transaction()?;
        transaction
            .execute_batch(&format!("INSERT INTO records SELECT {columns} FROM stage ORDER BY id; DROP TABLE stage"))?;
        save(&transaction, since, None)?;
        self.staged = false;
        Ok(transaction.commit()?)
    }
}

impl Target for Sqlite {
    fn reached(&mut self) -> Result<Reached> {
        let reached =
            self.connection.query_row("SELECT since, page FROM position", [], |row| Ok((row.get(0)?, row.get(1)?)));
        Ok(reached.optional()?.unwrap_or_default())
    }

    fn write(&mut self, pages: &[Page], newest: Option<&str>, next: Option<&str>) -> Result<()> {
        let (columns, set) = (COLUMNS.join(", "), assignments(|column| format!("{column} = excluded.{column}")));
        let insert = if self.staged {
            format!("INSERT INTO stage ({columns}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)")
        } else {
            format!(
                "INSERT INTO records ({columns}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)
                 ON CONFLICT (id) DO UPDATE SET {set} WHERE excluded.updated_at > records.updated_at"
            )
        };
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached(&insert)?;
            for row in pages.iter().flat_map(Page::rows) {
                bind(&mut insert, &row)?;
            }
        }
        let since = position(newest, next).filter(|_| !self.staged);
        save(&transaction, since, next)?;
        transaction.commit()?;
        if self.staged && next.is_none() { self.publish(newest) } else { Ok(()) }
    }
}

fn bind(insert: &mut rusqlite::CachedStatement<'_>, row: &Row<'_>) -> Result<()> {
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
    Ok(())
}

fn save(connection: &Connection, since: Option<&str>, page: Option<&str>) -> Result<()> {
    connection
        .prepare_cached("INSERT INTO position VALUES (1, ?1, ?2) ON CONFLICT (id) DO UPDATE SET since = coalesce(?1, since), page = ?2")?
        .execute([since, page])?;
    Ok(())
}
