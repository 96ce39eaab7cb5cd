//! What a till's own program does: it sells, in plain SQL, over a connection that knows nothing of sync.

use std::error::Error;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use chrono::Utc;
use rusqlite::{Connection, OptionalExtension as _, params};
use sync_testkit::Random;
use uuid::Uuid;

use super::ledger::{self, Entry, Kind, Ledger};
use super::shop::{CLIENT, PRODUCTS};

/// What may go wrong at a till.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// A till that sells.
#[derive(Debug)]
pub struct Seller {
    connection: Connection,
    ledger: Ledger,
    random: Random,
    name: String,
    /// Whether it tells its transactions apart; otherwise several become one group.
    marks: bool,
}

impl Seller {
    /// The till of this number, over its database and its ledger.
    ///
    /// # Errors
    /// When one of them cannot be opened.
    pub fn open(number: usize, database: &Path, ledger: &Path, seed: u64) -> Result<Self> {
        Ok(Self {
            connection: open(database)?,
            ledger: Ledger::open(ledger)?,
            random: Random::new(seed),
            name: format!("till-{number}"),
            marks: number % 2 == 1,
        })
    }

    /// Sells until it is told to rest. It begins when there is something to sell.
    ///
    /// # Errors
    /// When the database or the ledger fails.
    pub fn sell_until(&mut self, rest: &AtomicBool, pause: Duration) -> Result<()> {
        let most = u64::try_from(pause.as_millis())? * 2;
        while !rest.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(self.random.below(most)));
            if self.is_stocked()? {
                self.write()?;
            }
        }
        Ok(())
    }

    fn is_stocked(&self) -> Result<bool> {
        let count = |table: &str| {
            self.connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0))
        };
        for table in ["products", "prices", "notices"] {
            if usize::try_from(count(table)?)? < PRODUCTS.len() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// One transaction, and its lines in the ledger.
    fn write(&mut self) -> Result<()> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        if self.marks {
            self.connection.execute_batch("INSERT INTO _sync_group VALUES (1)")?;
        }
        let began = now();
        let entry = match self.random.below(100) {
            0..=9 => self.set_price()?,
            // What waits for a decision waits with its group: no sale may be in it.
            10..=13 if self.marks => self.write_notice()?,
            21..=23 => self.void()?,
            _ => self.sell()?,
        };
        let entry = Entry { written: (began, now()), ..entry };
        if self.marks {
            self.connection.execute_batch("INSERT INTO _sync_group VALUES (1)")?;
        }
        self.ledger.intend(&entry)?;
        let done = match self.connection.execute_batch("COMMIT") {
            Ok(()) => true,
            Err(_) => {
                self.connection.execute_batch("ROLLBACK")?;
                false
            }
        };
        Ok(self.ledger.ended(&entry.id, done)?)
    }

    fn sell(&mut self) -> Result<Entry> {
        let product = self.one_of(PRODUCTS.len())?;
        let (id, quantity) = (self.fresh(), 1 + i64::try_from(self.random.below(5))?);
        let sale = "INSERT INTO sales (id, client_id, till, product, quantity) VALUES (?, ?, ?, ?, ?)";
        self.connection.execute(sale, params![id, CLIENT, self.name, product, quantity])?;
        self.take(product, quantity)?;
        Ok(entry(Kind::Sale, id, product, quantity))
    }

    /// Takes back one of its own sales; where it has none yet, it sells.
    fn void(&mut self) -> Result<Entry> {
        let sql = "SELECT id, product, quantity FROM sales WHERE till = ? ORDER BY random() LIMIT 1";
        let found: Option<(String, String, i64)> = self
            .connection
            .query_row(sql, [&self.name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((id, product, quantity)) = found else { return self.sell() };
        self.connection.execute("DELETE FROM sales WHERE id = ?", [&id])?;
        self.take(&product, -quantity)?;
        Ok(entry(Kind::Void, format!("{VOID}{id}"), &product, quantity))
    }

    fn take(&self, product: &str, quantity: i64) -> Result<()> {
        let taken = "UPDATE products SET stock = stock - ? WHERE id = ?";
        self.connection.execute(taken, params![quantity, product])?;
        Ok(())
    }

    /// Of few products, so that tills contend for them.
    fn set_price(&mut self) -> Result<Entry> {
        let product = self.one_of(3)?;
        let before: i64 = self.value("SELECT cents FROM prices WHERE id = ?", product)?;
        // Large enough that no two are the same, and that JSON would not keep them as numbers.
        let cents = i64::try_from(self.random.next() >> 2)?;
        self.connection.execute("UPDATE prices SET cents = ? WHERE id = ?", params![cents, product])?;
        Ok(entry(Kind::Price, cents.to_string(), product, before))
    }

    fn write_notice(&mut self) -> Result<Entry> {
        let product = self.one_of(3)?;
        let before: String = self.value("SELECT text FROM notices WHERE id = ?", product)?;
        let text = self.fresh();
        self.connection.execute("UPDATE notices SET text = ? WHERE id = ?", params![text, product])?;
        Ok(entry(Kind::Notice, text, product, before))
    }

    fn one_of(&mut self, first: usize) -> Result<&'static str> {
        Ok(PRODUCTS[usize::try_from(self.random.below(first as u64))?])
    }

    fn value<T: rusqlite::types::FromSql>(&self, sql: &str, of: &str) -> Result<T> {
        Ok(self.connection.query_row(sql, [of], |row| row.get(0))?)
    }

    fn fresh(&mut self) -> String {
        Uuid::from_u64_pair(self.random.next(), self.random.next()).to_string()
    }
}

/// What the id of a sale that is taken back is preceded by in the ledger.
pub const VOID: &str = "void-";

fn entry(kind: Kind, id: String, of: &str, detail: impl ToString) -> Entry {
    Entry { kind, id, of: of.to_owned(), detail: detail.to_string(), written: (0, 0), done: None }
}

fn now() -> u64 {
    u64::try_from(Utc::now().timestamp_millis()).unwrap_or_default()
}

fn open(database: &Path) -> Result<Connection> {
    let connection = Connection::open(database)?;
    connection.busy_timeout(Duration::from_secs(30))?;
    Ok(connection)
}

/// Notes what became of sales, and of those taken back, that were under way when the till was killed. Nobody else has the database open yet, so that
/// what is not there now never will be. Prices and notices stay in doubt: others may have replaced them since. Returns how many
/// it settled.
///
/// # Errors
/// When the database or the ledger fails.
pub fn settle(database: &Path, ledger: &Path) -> Result<usize> {
    let entries = ledger::read(ledger)?.into_iter();
    let kinds = [Kind::Sale, Kind::Void];
    let doubtful: Vec<_> = entries.filter(|entry| kinds.contains(&entry.kind) && entry.done.is_none()).collect();
    if doubtful.is_empty() {
        return Ok(0);
    }
    let (connection, mut ledger) = (open(database)?, Ledger::open(ledger)?);
    for entry in &doubtful {
        let id = entry.id.strip_prefix(VOID).unwrap_or(&entry.id);
        let found: i64 = connection.query_row("SELECT count(*) FROM sales WHERE id = ?", [id], |row| row.get(0))?;
        ledger.ended(&entry.id, (found > 0) == (entry.kind == Kind::Sale))?;
    }
    Ok(doubtful.len())
}
