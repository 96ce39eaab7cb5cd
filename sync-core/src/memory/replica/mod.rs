//! A replica in memory: tables that a host writes in transactions, and the feed of what was committed.

mod state;
mod transaction;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::TimeDelta;

use self::state::State;
use self::transaction::MemoryTransaction;
use super::lock;
use crate::Result;
use crate::clock::Clock;
use crate::model::{Key, Origin, Value};
use crate::two_way::{Entry, Head, Hlc, Replica, Tables, Transaction};

/// A [`Replica`] in memory that keeps the whole specification. Clones share their rows.
///
/// ```
/// use std::sync::Arc;
/// use sync_core::memory::MemoryReplica;
/// use sync_core::two_way::{Access, Branch, Hub, Table, Tables};
/// use sync_core::{StreamSpec, SystemClock};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> sync_core::Result<()> {
/// let clock = Arc::new(SystemClock::new());
/// let tables = || Tables::new([Table::new(StreamSpec::new("notes").key(["id"]).text("note"))]);
/// let master = MemoryReplica::new("master", tables()?, clock.clone());
/// let till = MemoryReplica::new("till", tables()?, clock.clone());
/// let hub = Hub::new(master.clone(), clock.clone());
/// let branch = Branch::new(till.clone(), (hub, Access::everything()), clock);
///
/// till.transaction(|host| host.put("notes", [1.into(), "written offline".into()])).await?;
/// branch.sync().await?;
/// assert_eq!(master.rows("notes"), till.rows("notes"));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct MemoryReplica {
    name: Origin,
    tables: Tables,
    clock: Arc<dyn Clock>,
    skew: Arc<Mutex<TimeDelta>>,
    state: Arc<Mutex<Arc<State>>>,
    /// Held by the one transaction that writes.
    writer: Arc<tokio::sync::Mutex<()>>,
}

/// A replica as it stood at some moment.
#[derive(Debug, Clone)]
pub struct Backup(Arc<State>);

impl MemoryReplica {
    /// Empty tables under this name.
    pub fn new(name: impl Into<Origin>, tables: Tables, clock: Arc<dyn Clock>) -> Self {
        let state = State::new(clock.random());
        Self {
            name: name.into(),
            tables,
            clock,
            skew: Arc::default(),
            state: Arc::new(Mutex::new(Arc::new(state))),
            writer: Arc::default(),
        }
    }

    /// No two rows of this table share the values of these columns.
    ///
    /// # Panics
    /// When there is no such table or column.
    #[must_use]
    pub fn unique(self, table: &str, columns: &[&str]) -> Self {
        let spec = Arc::clone(self.tables.get(table).unwrap_or_else(|| panic!("no table {table:?}")).spec());
        let column = |name: &&str| spec.schema().index(name).unwrap_or_else(|| panic!("no column {name:?}"));
        let columns = columns.iter().map(column).collect();
        self.change(|state| state.unique.push((table.to_owned(), columns)));
        self
    }

    /// A row of `child` hangs on the row of `parent` that it names in this column, unless that is null.
    ///
    /// # Panics
    /// When there is no such table or column.
    #[must_use]
    pub fn parent(self, child: &str, column: &str, parent: &str) -> Self {
        let spec = Arc::clone(self.tables.get(child).unwrap_or_else(|| panic!("no table {child:?}")).spec());
        let column = spec.schema().index(column).unwrap_or_else(|| panic!("no column {column:?}"));
        self.change(|state| state.parents.push((child.to_owned(), column, parent.to_owned())));
        self
    }

    /// How far this replica's clock is ahead of the true one.
    pub fn skew(&self, skew: TimeDelta) {
        *lock(&self.skew) = skew;
    }

    /// A transaction of the host: all of it, or nothing when it fails.
    ///
    /// # Errors
    /// What `work` returns, or `Data` when a rule of a table is broken.
    pub async fn transaction(&self, work: impl FnOnce(&mut Host<'_>) -> Result<()>) -> Result<()> {
        let _writer = self.writer.lock().await;
        let mut state = State::clone(&lock(&self.state));
        let now = self.clock.now() + *lock(&self.skew);
        work(&mut Host { state: &mut state, tables: &self.tables, name: &self.name, now: Hlc::at(now) })?;
        state.end_group();
        *lock(&self.state) = Arc::new(state);
        Ok(())
    }

    /// All rows of a table, by key.
    pub fn rows(&self, table: &str) -> Vec<(Key, Vec<Value>)> {
        let state = Arc::clone(&lock(&self.state));
        state
            .rows
            .get(table)
            .into_iter()
            .flat_map(|rows| rows.iter())
            .map(|(key, row)| (key.clone(), row.clone()))
            .collect()
    }

    /// The feed as it stands.
    pub fn entries(&self) -> Vec<Entry> {
        lock(&self.state).feed.values().map(|entry| Entry::clone(entry)).collect()
    }

    /// A backup of everything.
    pub fn backup(&self) -> Backup {
        Backup(Arc::clone(&lock(&self.state)))
    }

    /// Everything as it was then: what was written since is gone.
    pub async fn restore(&self, backup: &Backup) {
        let _writer = self.writer.lock().await;
        *lock(&self.state) = Arc::clone(&backup.0);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(Arc::make_mut(&mut lock(&self.state)));
    }
}

/// What a host does in a transaction.
#[derive(Debug)]
pub struct Host<'a> {
    state: &'a mut State,
    tables: &'a Tables,
    name: &'a Origin,
    now: Hlc,
}

impl Host<'_> {
    /// The row of this key.
    pub fn get(&self, table: &str, key: &Key) -> Option<&[Value]> {
        self.state.rows.get(table).and_then(|rows| rows.get(key)).map(Vec::as_slice)
    }

    /// Inserts or replaces a row: values in the order of the columns.
    ///
    /// # Errors
    /// `Data`, naming the rule of the table that is broken.
    pub fn put(&mut self, table: &str, row: impl IntoIterator<Item = Value>) -> Result<()> {
        let table = self.tables.get(table).ok_or_else(|| crate::Error::config("no such table").with("table", table))?;
        let row: Vec<Value> = row.into_iter().collect();
        table.check_row(&row)?;
        self.state.write_local(table, &table.key_of(&row), Some(row), self.name, self.now)
    }

    /// Deletes a row, where there is one.
    ///
    /// # Errors
    /// `Data` when other rows hang on it.
    pub fn delete(&mut self, table: &str, key: &Key) -> Result<()> {
        let table = self.tables.get(table).ok_or_else(|| crate::Error::config("no such table").with("table", table))?;
        self.state.write_local(table, key, None, self.name, self.now)
    }
}

#[async_trait]
impl Replica for MemoryReplica {
    fn name(&self) -> &Origin {
        &self.name
    }

    fn tables(&self) -> &Tables {
        &self.tables
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>> {
        let writer = Arc::clone(&self.writer).lock_owned().await;
        let state = Arc::clone(&lock(&self.state));
        Ok(Box::new(MemoryTransaction { state, into: Some((Arc::clone(&self.state), writer)) }))
    }

    async fn look(&self) -> Result<Box<dyn Transaction>> {
        let state = Arc::clone(&lock(&self.state));
        Ok(Box::new(MemoryTransaction { state, into: None }))
    }

    async fn sequence(&self) -> Result<Head> {
        let _writer = self.writer.lock().await;
        let state = Arc::clone(&lock(&self.state));
        if state.captured.is_empty() {
            return Ok(state.head());
        }
        let mut state = State::clone(&state);
        state.sequence(|| self.clock.random());
        let head = state.head();
        *lock(&self.state) = Arc::new(state);
        Ok(head)
    }
}
