//! A SQLite database that takes part in two-way sync: its host goes on writing plain SQL, with any connection, and triggers
//! note every change.

mod books;
mod catalog;
mod clash;
mod feed;
mod guard;
mod host;
mod install;
mod layout;
mod pool;
mod rows;
mod transaction;
mod triggers;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rusqlite::Connection;
use sync_core::model::Origin;
use sync_core::two_way::{Head, Replica, Tables, Transaction};
use sync_core::{Clock, Error, Result};

use self::catalog::Catalog;
pub use self::host::SqliteHost;
use self::layout::Layout;
use self::pool::{Lease, Pool};
use self::transaction::{SqliteTransaction, execute, finish, set_clock};
use super::naming::Names;
use super::{Durability, SqliteOptions};

/// A [`Replica`] over a SQLite database.
///
/// The host writes its tables as it always did, with any connection and any program. Triggers note what changes, in tables
/// that begin with `_sync_`; they need nothing of the connection. Tables that are not there are created from their
/// declarations.
///
/// ```
/// use std::sync::Arc;
/// use sync_core::two_way::{Replica, Table, Tables};
/// use sync_core::{StreamSpec, SystemClock};
/// use sync_sql::SqliteReplica;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> sync_core::Result<()> {
/// # let folder = tempfile::tempdir().expect("a folder");
/// # let path = folder.path().join("till.db");
/// let tables = Tables::new([Table::new(StreamSpec::new("notes").key(["id"]).int("id").text("note"))])?;
/// let till = SqliteReplica::open(&path, "till-1", tables, Arc::new(SystemClock::new())).await?;
///
/// // A transaction that is known as one group. Plain SQL over any other connection is noticed as well.
/// till.transaction(|host| host.execute("INSERT INTO notes VALUES (?, ?)", &[1.into(), "offline".into()])).await?;
/// assert_eq!(till.sequence().await?.seq, 1);
/// # Ok(()) }
/// ```
///
/// # Groups
///
/// What one [`transaction`](Self::transaction) writes is one group, applied whole everywhere. SQLite does not tell triggers
/// which transaction they run in: what other connections write between two looks at the feed becomes *one* group. Groups grow
/// so, but are never cut. A host that wants its own transactions told apart runs `INSERT INTO _sync_group VALUES (1)` as the
/// first and as the last statement of each, after `BEGIN IMMEDIATE`.
///
/// # What it refuses
///
/// A write that puts a value of another kind than is declared, or a row without key, fails with the name of the column. A
/// unique index over an expression is refused when the replica is opened.
///
/// # Values of one meaning
///
/// A decimal of two digits may stand there as `9.5` or `9.50`, an instant with any offset: hosts write as they like, and both are
/// equal here, for conflicts and for the [audit](Self::audit). What comes from a master is written with all digits and in UTC, also
/// over a value that means the same. What the master's own host has written stays there as it is.
///
/// # Foreign keys
///
/// They hold for what comes from elsewhere, too. Those that the host has declared `DEFERRABLE INITIALLY DEFERRED` are looked at when a
/// transaction ends, so that a child may stand before its parent.
///
/// # When the schema changes
///
/// Before every use the schema is compared with what was installed, which costs nothing while nobody changes it. Triggers
/// that were lost, as when a table is copied and swapped, are made again, and what was written meanwhile is found by
/// comparing the table with the feed's last word on each row. A table that was renamed or dropped is an error that says so.
#[derive(Clone)]
pub struct SqliteReplica {
    pool: Pool,
    shared: Arc<Shared>,
    /// Held by the one transaction of this process that writes: waiting here is fair, waiting for the file is not.
    writer: Arc<tokio::sync::Mutex<()>>,
}

/// What all clones and transactions know.
struct Shared {
    name: Origin,
    tables: Tables,
    layouts: BTreeMap<String, Layout>,
    clock: Arc<dyn Clock>,
    catalog: Mutex<Arc<Catalog>>,
}

impl Shared {
    fn layout(&self, table: &str) -> Result<&Layout> {
        self.layouts.get(table).ok_or_else(|| Error::config("the table does not take part").with("table", table))
    }

    /// Parents first.
    fn in_order(&self) -> impl Iterator<Item = &Layout> {
        self.tables.iter().filter_map(|table| self.layouts.get(table.name()))
    }

    fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn learn(&self, catalog: Catalog) {
        *self.catalog.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalog);
    }
}

/// How often a transaction begins again because somebody changes the schema.
const TRIES: usize = 5;

impl SqliteReplica {
    /// Opens or creates a database file under this name, and installs what notices the host's writes. What is committed
    /// survives a power cut; with [`open_with`](Self::open_with) it may survive the end of the process only.
    ///
    /// # Errors
    /// `Config` when the file cannot be opened, is the database of a replica with another name, or a table is declared wrongly;
    /// `Schema` when a table cannot hold what is declared. Each names the thing at fault and what to do.
    pub async fn open(
        path: impl AsRef<Path>,
        name: impl Into<Origin>,
        tables: Tables,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        Self::open_with(SqliteOptions::new(path).durability(Durability::Full), name, tables, clock).await
    }

    /// The same, with options.
    ///
    /// # Errors
    /// As those of [`open`](Self::open).
    pub async fn open_with(
        options: SqliteOptions,
        name: impl Into<Origin>,
        tables: Tables,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let names = Names::default();
        let mut layouts = BTreeMap::new();
        for table in tables.iter() {
            names.check(table.spec())?;
            layouts.insert(table.name().to_owned(), Layout::of(table)?);
        }
        let catalog = Mutex::new(Arc::new(Catalog::none()));
        let shared = Arc::new(Shared { name: name.into(), tables, layouts, clock, catalog });
        let replica = Self { pool: Pool::new(options), shared, writer: Arc::default() };
        replica.check().await?;
        Ok(replica)
    }

    /// Compares the schema with what is installed and mends what is broken, as every use does by itself.
    ///
    /// # Errors
    /// `Schema` or `Config`, naming the table and the remedy, when it cannot be mended.
    pub async fn check(&self) -> Result<()> {
        self.write(|_, _| Ok(())).await
    }

    /// Compares every row with the feed's last word on it, and captures what differs, as the host's. That takes as long as
    /// reading all tables. It finds what was written while triggers were switched off, which no change of the schema tells.
    ///
    /// # Errors
    /// `Schema` when a table holds a value of another kind than is declared.
    pub async fn audit(&self) -> Result<u64> {
        self.write(|connection, shared| {
            let before = feed::head(connection)?.rev;
            set_clock(connection, shared)?;
            shared.in_order().try_for_each(|layout| install::sweep(connection, layout))?;
            finish(connection)?;
            Ok(feed::head(connection)?.rev - before)
        })
        .await
    }

    /// A transaction of the host, known as one group: all of it, or nothing when it fails.
    ///
    /// # Errors
    /// What `work` returns, or `Data` when a rule of a table is broken.
    pub async fn transaction<T: Send + 'static>(
        &self,
        work: impl FnOnce(&SqliteHost<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.write(|connection, shared| {
            feed::end_group(connection)?;
            set_clock(connection, shared)?;
            let done = work(&SqliteHost { connection })?;
            finish(connection)?;
            Ok(done)
        })
        .await
    }

    /// Takes everything of ours out of a database: triggers, feed and books. The host's tables stay as they are, and what was
    /// not pushed yet is known to nobody else.
    ///
    /// # Errors
    /// `Config` when the file cannot be opened.
    pub async fn remove(path: impl AsRef<Path>) -> Result<()> {
        let pool = Pool::new(SqliteOptions::new(path));
        let lease = pool.take().await?;
        let removed = lease.call(|connection| {
            execute(connection, "BEGIN IMMEDIATE")?;
            install::remove(connection)?;
            execute(connection, "COMMIT")
        });
        removed.await?;
        drop(lease);
        pool.close().await;
        Ok(())
    }

    /// Closes the connections that no transaction uses. Call it at the end of a program, so that SQLite brings the `-wal`
    /// beside the file into it.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// One transaction, whole.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, &Shared) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let _writer = self.writer.lock().await;
        let lease = self.begin_on(self.pool.take().await?).await?;
        let shared = Arc::clone(&self.shared);
        let done = lease.call(move |connection| {
            let done = work(connection, &shared)?;
            execute(connection, "COMMIT")?;
            Ok(done)
        });
        done.await
    }

    /// Begins a transaction that writes, and in which every change is captured.
    async fn begin_on(&self, lease: Lease) -> Result<Lease> {
        let shared = Arc::clone(&self.shared);
        let begin = move |connection: &Connection| {
            for _ in 0..TRIES {
                execute(connection, "BEGIN IMMEDIATE")?;
                let Some(catalog) = install::ensure(connection, &shared)? else { return Ok(()) };
                execute(connection, "COMMIT")?;
                shared.learn(catalog);
            }
            Err(Error::unavailable("the schema of the database changes all the time"))
        };
        lease.call(begin).await?;
        Ok(lease)
    }
}

#[async_trait]
impl Replica for SqliteReplica {
    fn name(&self) -> &Origin {
        &self.shared.name
    }

    fn tables(&self) -> &Tables {
        &self.shared.tables
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>> {
        let writer = Arc::clone(&self.writer).lock_owned().await;
        let lease = self.begin_on(self.pool.take().await?).await?;
        // What the host has written so far is committed, and belongs to groups of its own.
        lease.call(feed::end_group).await?;
        Ok(Box::new(SqliteTransaction { lease, shared: Arc::clone(&self.shared), writer: Some(writer), wrote: false }))
    }

    async fn look(&self) -> Result<Box<dyn Transaction>> {
        let lease = self.pool.take().await?;
        // The moment that it sees begins with its first read.
        lease.call(|connection| execute(connection, "BEGIN; SELECT rev FROM _sync_ctx")).await?;
        Ok(Box::new(SqliteTransaction { lease, shared: Arc::clone(&self.shared), writer: None, wrote: false }))
    }

    async fn sequence(&self) -> Result<Head> {
        let lease = self.pool.take().await?;
        let shared = Arc::clone(&self.shared);
        let nothing_new = lease.call(move |connection| {
            let known = catalog::version(connection)? == shared.catalog().version;
            Ok((known && !feed::is_behind(connection)?).then(|| feed::head(connection)))
        });
        if let Some(head) = nothing_new.await? {
            return head;
        }
        drop(lease);
        self.write(|connection, shared| {
            // No statement is under way: what is still suspected was displaced, or never was.
            for layout in shared.in_order() {
                let sql = format!("{}DELETE FROM {};", triggers::displaced(layout), layout.gone);
                install::run(connection, &sql)?;
            }
            feed::end_group(connection)?;
            feed::head(connection)
        })
        .await
    }
}

impl fmt::Debug for SqliteReplica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteReplica").field("name", &self.shared.name).finish_non_exhaustive()
    }
}
