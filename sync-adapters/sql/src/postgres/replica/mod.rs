//! A PostgreSQL database that takes part in two-way sync: its host goes on writing plain SQL, with any connection, and
//! triggers note every change.

mod batch;
mod books;
mod clash;
mod dialect;
mod feed;
mod install;
mod layout;
mod rows;
mod triggers;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::Connection as _;
use sync_core::model::Origin;
use sync_core::two_way::{Head, Replica, Tables, Transaction};
use sync_core::{Clock, Error, Result};

use self::dialect::{SETTINGS, Shared};
use self::install::Installed;
use self::layout::Layout;
use super::error::{failed, uncommitted};
use crate::replica::{Absent, Declared, Dialect as _, Lease, Pool, SqlTransaction};

/// A [`Replica`] over a PostgreSQL database.
///
/// The host writes its tables as it always did, with any connection, in as many transactions at once as it likes. Triggers
/// note what changes, in tables that begin with `_sync_`, in the schema where this connection creates tables. Tables that are
/// not there are created from their declarations.
///
/// ```no_run
/// use std::sync::Arc;
/// use sync_core::two_way::{Hub, Table, Tables};
/// use sync_core::{StreamSpec, SystemClock};
/// use sync_sql::PostgresReplica;
///
/// # async fn open() -> sync_core::Result<()> {
/// let tables = Tables::new([Table::new(StreamSpec::new("notes").key(["id"]).int("id").text("note"))])?;
/// let clock = Arc::new(SystemClock::new());
/// let office = PostgresReplica::open("postgres://sync@localhost/shop", "office", tables, clock.clone()).await?;
/// let hub = Hub::new(office, clock);
/// # drop(hub); Ok(()) }
/// ```
///
/// # Groups and order
///
/// What one transaction of the host writes is one group. Places in the feed are given after the commit, by one caller of
/// [`sequence`](Replica::sequence) at a time, whichever process it is in. A transaction that stays open holds nobody up: it
/// gets its places when it is over, behind all that were given before.
///
/// # What the account needs
///
/// It owns the host's tables, since triggers are made on them, and may create tables in its schema. Other accounts of the
/// host need no rights on tables of ours.
///
/// # What it refuses
///
/// A value that could not be read again, such as the date `infinity`, fails where it is written, with the name of the column.
/// A table without a unique key over exactly the declared columns, with one that may be empty or is deferrable, or with a
/// collation that takes different keys for the same, is refused when the replica is opened; so is one from which others
/// inherit, and one whose policies hide rows from the account. Partitioned tables take part as a whole.
///
/// # Waiting
///
/// Rows that a host has locked are waited for, 30 seconds at most, or as long as the account's `lock_timeout` says; then the write
/// is `Unavailable`. A write whose caller has gone away ends within seconds.
///
/// # When the schema changes
///
/// Before every use the schema is compared with what was installed. Triggers that were lost or switched off, as when a table
/// is copied and swapped, are made again, and what was written meanwhile is found by comparing the table with the feed's last
/// word on each row. A table or column that was renamed or dropped is an error that says so; the host's own writes go on.
#[derive(Clone)]
pub struct PostgresReplica {
    pool: Pool<Shared>,
    shared: Arc<Shared>,
    /// Held by the one transaction of this process that writes: who waits here holds no connection.
    writer: Arc<tokio::sync::Mutex<()>>,
}

/// How often a transaction begins again because somebody changes the schema.
const TRIES: usize = 5;

/// The right to write as a replica, among all processes: any number will do that nobody else uses. Hosts do not ask for it.
const RIGHT: &str = "1937337955, 2";

impl PostgresReplica {
    /// Opens a database by its address, `postgres://user:password@host:port/database`, under this name, and installs what
    /// notices the host's writes. That waits until transactions that are writing to the tables have ended.
    ///
    /// # Errors
    /// `Config` when the address cannot be read, the database is that of a replica with another name, or a table is declared
    /// wrongly; `Unavailable` or `Unauthorized` when the server does not let us in; `Schema` when a table cannot hold what is
    /// declared, or cannot be watched. Each names the thing at fault and what to do; the address is not repeated.
    pub async fn open(url: &str, name: impl Into<Origin>, tables: Tables, clock: Arc<dyn Clock>) -> Result<Self> {
        let (options, _, mut first) = super::open(url, SETTINGS).await?;
        let schema = schema(&mut first).await?;
        let (name, mut layouts) = (name.into(), BTreeMap::new());
        for table in tables.iter() {
            layouts.insert(table.name().to_owned(), Layout::of(table, &schema, &name)?);
        }
        let shared = Arc::new(Shared { declared: Declared { name, tables, layouts, clock }, schema, options });
        let replica = Self { pool: Pool::new(Arc::clone(&shared), first), shared, writer: Arc::default() };
        replica.check().await?;
        Ok(replica)
    }

    /// Compares the schema with what is installed and mends what is broken, as every use does by itself.
    ///
    /// # Errors
    /// `Schema` or `Config`, naming the table and the remedy, when it cannot be mended; `Unavailable` when a transaction that
    /// writes to a table does not end.
    pub async fn check(&self) -> Result<()> {
        let _writer = self.writer.lock().await;
        self.begin_writing().await?.commit().await
    }

    /// Compares every row with the feed's last word on it, and captures what differs, as the host's. Returns how many rows
    /// that were. It takes as long as reading all tables, and locks a table only where something was missed: what was written
    /// with triggers switched off, in a way that the schema does not tell.
    ///
    /// # Errors
    /// `Data` when a table holds a value of another kind than is declared; `Unavailable` when a table cannot be locked.
    pub async fn audit(&self) -> Result<u64> {
        let _writer = self.writer.lock().await;
        let mut lease = self.begin_writing().await?;
        let found = install::audit(lease.work(), &self.shared).await?;
        lease.rest(());
        lease.commit().await?;
        Ok(found)
    }

    /// Takes everything of ours out of a database: triggers, feed and books. The host's tables stay as they are, and what was
    /// not pushed yet is known to nobody else.
    ///
    /// # Errors
    /// As those of [`open`](Self::open).
    pub async fn remove(url: &str) -> Result<()> {
        let (_, _, mut only) = super::open(url, SETTINGS).await?;
        let schema = schema(&mut only).await?;
        let mut tx = only.begin().await.map_err(|cause| failed("a transaction cannot begin", cause))?;
        install::remove(&mut tx, &schema).await?;
        tx.commit().await.map_err(uncommitted)?;
        // Whoever is gone has closed it already.
        let _ = only.close().await;
        Ok(())
    }

    /// Closes the connections that no transaction uses.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Begins a transaction that writes, and in which every change is captured.
    async fn begin_writing(&self) -> Result<Lease<Shared>> {
        for _ in 0..TRIES {
            let now = self.shared.clock.now().timestamp_millis();
            let begin = format!(
                "BEGIN; SET CONSTRAINTS ALL IMMEDIATE; SELECT pg_advisory_xact_lock({RIGHT}); SET LOCAL sync.now = '{now}'"
            );
            let mut lease = self.pool.begin(&begin).await?;
            match install::look(lease.work(), &self.shared).await? {
                Installed::Whole => {
                    lease.rest(());
                    return Ok(lease);
                }
                Installed::Torn => {}
                Installed::Nothing => {
                    lease.rest(());
                    drop(lease);
                    lease = self.pool.begin(&begin).await?;
                }
            }
            install::ensure(lease.work(), &self.shared).await?;
            lease.rest(());
            lease.commit().await?;
            // Statements that were prepared for the old schema are of no use.
            self.pool.close().await;
        }
        Err(Error::unavailable("the schema of the database changes all the time"))
    }
}

/// Where this connection creates tables.
async fn schema(connection: &mut sqlx::PgConnection) -> Result<String> {
    let schema: Option<String> = sqlx::query_scalar("SELECT current_schema()::text")
        .fetch_one(connection)
        .await
        .map_err(|cause| failed("the schema cannot be looked at", cause))?;
    let none = || Error::config("the search path of this account names no schema that is there: set one, or create it");
    layout::schema(&schema.ok_or_else(none)?)
}

#[async_trait]
impl Replica for PostgresReplica {
    fn name(&self) -> &Origin {
        &self.shared.name
    }

    fn tables(&self) -> &Tables {
        &self.shared.tables
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>> {
        let writer = Arc::clone(&self.writer).lock_owned().await;
        let lease = self.begin_writing().await?;
        Ok(Box::new(SqlTransaction {
            lease,
            dialect: Arc::clone(&self.shared),
            writer: Some(writer),
            absent: Absent::default(),
        }))
    }

    async fn look(&self) -> Result<Box<dyn Transaction>> {
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT seq FROM {}._sync_ctx",
            self.shared.schema
        );
        // The moment that it sees begins with its first read.
        let lease = self.pool.begin(&begin).await?;
        Ok(Box::new(SqlTransaction {
            lease,
            dialect: Arc::clone(&self.shared),
            writer: None,
            absent: Absent::default(),
        }))
    }

    async fn sequence(&self) -> Result<Head> {
        let mut lease = self.pool.begin("").await?.idle();
        if install::look(lease.work(), &self.shared).await? != Installed::Whole {
            lease.rest(());
            drop(lease);
            self.check().await?;
            lease = self.pool.begin("").await?.idle();
        }
        let schema = &self.shared.schema;
        if feed::is_behind(lease.work(), schema).await? {
            feed::sequence(lease.work(), schema).await?;
        }
        let head = self.shared.head(lease.work()).await?;
        Ok(lease.rest(head))
    }
}

impl fmt::Debug for PostgresReplica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresReplica").field("name", &self.shared.name).finish_non_exhaustive()
    }
}
