//! A MariaDB database that takes part in two-way sync: its host goes on writing plain SQL, with any connection, and triggers
//! note every change.

mod batch;
mod books;
mod cascade;
mod clash;
mod dialect;
mod feed;
mod foreign;
mod install;
mod kept;
mod layout;
mod log;
mod rows;
mod triggers;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{Connection as _, Row as _};
use sync_core::model::Origin;
use sync_core::two_way::{Head, Replica, Tables, Transaction};
use sync_core::{Clock, Error, Result};

use self::dialect::Shared;
use self::layout::Layout;
use super::connection::{Access, Server};
use super::error::failed;
use crate::replica::{Absent, Connects as _, Declared, Dialect as _, Lease, Pool, SqlTransaction};

/// A [`Replica`] over a MariaDB database, 10.6 or newer.
///
/// The host writes its tables as it always did, with any connection, in as many transactions at once as it likes. Triggers
/// note what changes, in tables that begin with `_sync_`, in the same database. Tables that are not there are created from
/// their declarations.
///
/// ```no_run
/// use std::sync::Arc;
/// use sync_core::two_way::{Hub, Table, Tables};
/// use sync_core::{StreamSpec, SystemClock};
/// use sync_sql::MySqlReplica;
///
/// # async fn open() -> sync_core::Result<()> {
/// let tables = Tables::new([Table::new(StreamSpec::new("notes").key(["id"]).int("id").text("note"))])?;
/// let clock = Arc::new(SystemClock::new());
/// let office = MySqlReplica::open("mysql://sync@localhost/shop", "office", tables, clock.clone()).await?;
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
/// Transactions are told apart by the numbers that MariaDB gives them where a table has system versioning, which MySQL has
/// not: it is refused. MariaDB writes one row into `mysql.transaction_registry` for each transaction that changes a declared table,
/// and never takes one out; nothing here needs them, and `TRUNCATE mysql.transaction_registry` makes room.
///
/// # What foreign keys do
///
/// MariaDB fires no triggers for rows that foreign keys delete or change. The triggers of the parent look at the rows that hung on
/// it, down to any depth. Where that cannot be done, the table is refused when the replica is opened: when the parent is not
/// declared, when a column of the rule is not, and when rows go with each other in a circle of several tables. After `ON UPDATE
/// CASCADE` that changes a key, or reaches further than one table, the tables below are compared as a whole by the next
/// [`sequence`](Replica::sequence), which makes a group of its own.
///
/// # What nobody notices
///
/// `TRUNCATE` fires no trigger. A table that is found empty is compared by the next [`sequence`](Replica::sequence); one into which
/// rows came since, by [`audit`](Self::audit). So is what is done to a part of a partitioned table.
///
/// # Waiting
///
/// Rows that a host has locked are waited for, 30 seconds at most; then the write is `Unavailable`. A write whose caller has gone
/// away ends then as well, and other writes of replicas wait for it: hosts do not.
///
/// # What the account needs
///
/// `SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP, TRIGGER, CREATE ROUTINE, ALTER ROUTINE, EXECUTE, LOCK TABLES` on the
/// database. Triggers run in its name: it must not be dropped. Where the server writes a binary log, it wants
/// `log_bin_trust_function_creators`, and `binlog_format` not `STATEMENT`. Other accounts of the host need no rights on tables of
/// ours.
///
/// # What it refuses
///
/// A value that could not be read again, such as the date `0000-00-00`, fails where it is written, with the name of the column.
/// A table without a unique key over exactly the declared columns, with one that may be empty, or with a collation that takes
/// different keys for the same, is refused when the replica is opened. So is a node of a Galera cluster.
///
/// # When the schema changes
///
/// Before every use the schema is compared with what was installed. Triggers that were lost, as when a table is copied and
/// swapped, are made again, and what was written meanwhile is found by comparing the table with the feed's last word on each row,
/// while hosts that write to it wait. A table or column that was renamed or dropped is an error that says so; the host's own
/// writes go on.
#[derive(Clone)]
pub struct MySqlReplica {
    pool: Pool<Shared>,
    shared: Arc<Shared>,
    /// Held by the one transaction of this process that writes: who waits here holds no connection.
    writer: Arc<tokio::sync::Mutex<()>>,
}

/// How often a transaction begins again because somebody changes the schema.
const TRIES: usize = 5;

/// The right to write as a replica, among all processes. Hosts do not ask for it.
const RIGHT: &str = "SELECT GET_LOCK(CONCAT('sync.replica.', MD5(DATABASE())), 60)";

/// Nothing of an earlier transaction is left in the session.
const FRESH: &str = "SET @sync_conn = NULL, @sync_row = NULL, SESSION innodb_lock_wait_timeout = 30";

impl MySqlReplica {
    /// Opens a database by its address, `mysql://user:password@host:port/database`, under this name, and installs what notices
    /// the host's writes. That waits until transactions that are writing to the tables have ended.
    ///
    /// # Errors
    /// `Config` when the address cannot be read, the server is no MariaDB, the database is that of a replica with another name, or
    /// a table is declared wrongly; `Unavailable`, `Unauthorized` or `Forbidden` when the server does not let us in, or not do what
    /// we must; `Schema` when a table cannot hold what is declared, or cannot be watched. Each names the thing at fault and what
    /// to do; the address is not repeated.
    pub async fn open(url: &str, name: impl Into<Origin>, tables: Tables, clock: Arc<dyn Clock>) -> Result<Self> {
        let (options, first, server) = reach(url).await?;
        let mut layouts = BTreeMap::new();
        for table in tables.iter() {
            layouts.insert(table.name().to_owned(), Layout::of(table, server.exact)?);
        }
        let declared = Declared { name: name.into(), tables, layouts, clock };
        let shared = Arc::new(Shared { declared, server, options });
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
    /// that were. It takes as long as reading all tables, and lets hosts wait only for a table in which something was missed: what
    /// was written in a way that fires no trigger and that the schema does not tell, such as `TRUNCATE` with new rows behind it.
    ///
    /// # Errors
    /// `Data` when a table holds a value of another kind than is declared; `Unavailable` when a table cannot be locked.
    pub async fn audit(&self) -> Result<u64> {
        let _writer = self.writer.lock().await;
        let mut lease = self.begin_writing().await?;
        // What is compared was committed: each table is a transaction of its own.
        Shared::run(lease.work(), format!("{}; COMMIT", dialect::UNMARK)).await.map_err(unbegun)?;
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
        let (_, mut only, _) = reach(url).await?;
        right(&mut only).await?;
        install::remove(&mut only).await?;
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
            let mut lease = self.pool.begin(FRESH).await?;
            right(lease.work()).await?;
            if install::is_whole(lease.work(), &self.shared).await? {
                let begin = format!("START TRANSACTION; {}", self.shared.mark_now());
                Shared::run(lease.work(), begin).await.map_err(unbegun)?;
                lease.rest(());
                return Ok(lease);
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

/// A connection that alone may write as a replica.
async fn right(connection: &mut MySqlConnection) -> Result<()> {
    let row = sqlx::raw_sql(RIGHT).fetch_one(connection).await.map_err(unbegun)?;
    if row.try_get_unchecked::<Option<i64>, _>(0).map_err(unbegun)? == Some(1) {
        return Ok(());
    }
    Err(Error::unavailable("another transaction of this replica has been writing for a minute"))
}

/// How to connect to this address, the first connection, and what its server is like.
async fn reach(url: &str) -> Result<(MySqlConnectOptions, MySqlConnection, Server)> {
    let (_, options, first, server) = super::reach(url, Access::Write).await?;
    if !server.is_mariadb() {
        return Err(Error::config(
            "the server is MySQL, where a trigger cannot tell which transaction it runs in: a replica needs MariaDB 10.6 or newer",
        ));
    }
    Ok((options, first, server))
}

fn unbegun(cause: sqlx::Error) -> Error {
    failed("a transaction cannot begin", cause)
}

#[async_trait]
impl Replica for MySqlReplica {
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
        let begin = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION WITH CONSISTENT SNAPSHOT";
        let lease = self.pool.begin(begin).await?;
        Ok(Box::new(SqlTransaction {
            lease,
            dialect: Arc::clone(&self.shared),
            writer: None,
            absent: Absent::default(),
        }))
    }

    async fn sequence(&self) -> Result<Head> {
        let mut lease = self.pool.begin("DO 0").await?.idle();
        if !install::is_whole(lease.work(), &self.shared).await? {
            lease.rest(());
            drop(lease);
            self.check().await?;
            lease = self.pool.begin("DO 0").await?.idle();
        }
        if feed::is_behind(lease.work()).await? {
            feed::sequence(lease.work()).await?;
        }
        let head = self.shared.head(lease.work()).await?;
        Ok(lease.rest(head))
    }
}

impl fmt::Debug for MySqlReplica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MySqlReplica").field("name", &self.shared.name).finish_non_exhaustive()
    }
}
