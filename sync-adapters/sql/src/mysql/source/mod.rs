//! MySQL and MariaDB as a source: tables we do not own, read by keyset, behind an assumed lag.

mod column;
mod discover;
mod page;
mod parse;
mod scope;
mod table;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sync_core::model::Frontier;
use sync_core::source::{Estimate, SourceCapabilities};
use sync_core::{BatchStream, Feed, ReadRequest, Result, Source, StreamSpec};

use super::connection::{Access, Server};
use super::open;
use super::pool::{Pool, Session};
use crate::catalog::ForeignKey;
use crate::keyset::estimate;
use crate::keyset::{self, Page, Place, Settings, Start, Tables, order, told_by_host};
use page::{Ask, Reading};
use table::Table;

/// Tables of a MySQL or MariaDB database, as a source. The database is never written to: its sessions are read only.
///
/// A stream with a version column is followed by it: rows come in the order of (version, key), and the cursor names both,
/// so that rows that share a version are neither lost nor read twice. Let there be an index that begins with the version; in
/// InnoDB it holds the primary key behind it. Every run looks for rows without a version and is refused where there are
/// some, since they would never be found. A stream without a version column is read as a whole by every run, and one whose
/// version or key is declared anew begins anew. Deletes are found by a reconcile.
///
/// # Which changes may come late
///
/// A row appears when its transaction commits, with the version that it was given earlier. Neither server can tell what
/// may still appear: `INNODB_TRX` shows a transaction only from its first read or write of a table, which may be after
/// `NOW()` was taken, shows it with whole seconds, and only to accounts with the right `PROCESS`. So say by
/// [`MySqlSource::lookback`] how late rows may come, with room to spare: how long the longest transaction takes, and how far the
/// clocks are apart that stamp. What comes late within it is found, and measured (`ScopeReport::late`, `lateness`): a
/// lateness near the lookback says that it is too short. What comes later still is not seen by an incremental run; a
/// reconcile finds it, and tells how many rows there were (`ScopeReport::missed`). `ON UPDATE CURRENT_TIMESTAMP` stamps with
/// the beginning of the statement, so that a row is as late as its transaction goes on after it.
///
/// # Names and kinds
///
/// A table is named as it stands in the database of the address, or as `database.table`. A column may be declared as text
/// whatever its type, and is read as the server writes it; bytes need a `binary` or `blob`. What is not as declared goes to
/// the dead letters row by row.
///
/// | Declared in the table | Discovered as |
/// |---|---|
/// | `tinyint(1)`, `bit(1)` | bool: 0 or 1, another number is refused with its row; for other numbers declare an int |
/// | `bigint unsigned`, `bit(n)` | unsigned integer |
/// | other integers, `year` | integer |
/// | `float`, `double` | float |
/// | `decimal` | decimal; with more than 38 digits, text |
/// | `timestamp` | timestamp |
/// | `datetime` | timestamp: it has no time zone, and is taken for UTC; declare it as text where it is local time |
/// | `date` | date |
/// | `json`; in MariaDB a text whose check is `json_valid` | JSON |
/// | texts, `enum`, `set`, `time`, `uuid`, `inet4`, `inet6` | text |
/// | `binary`, `varbinary`, blobs | bytes |
/// | spatial types, vectors | nothing: declare the stream by hand, without them |
///
/// The zero date `0000-00-00`, and dates whose month or day is zero, are no dates anywhere else: such a row goes to the dead
/// letters. Declare the column as text to read it all the same.
///
/// Keys are read in the order of their collation, as an index has them. Where it takes `a` for `A`, the table's own unique
/// index sees to it that only one of them is there; where there is no such index, keys are compared exactly, and sorted for each
/// page. A row whose key changes only its case is another row for the target, and the old one is gone with the next
/// reconcile.
///
/// ```no_run
/// # async fn source() -> sync_core::Result<()> {
/// use std::time::Duration;
/// let shop = sync_sql::MySqlSource::connect("mysql://reader:secret@db/shop").await?;
/// let orders = shop.discover("orders").await?.version("updated_at");
/// let shop = shop.table(orders).lookback(Duration::from_secs(300));
/// # drop(shop);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MySqlSource {
    name: Arc<str>,
    pool: Pool,
    server: Server,
    settings: Settings,
}

impl MySqlSource {
    /// Connects to a database by its address, `mysql://user:password@host:port/database`. The account needs the right to
    /// SELECT from the tables, and no other. The server is MariaDB 10.6 or MySQL 8.0.17, or newer.
    ///
    /// # Errors
    /// `Config` when the address cannot be read or the server is too old, `Unavailable` or `Unauthorized` when it does not
    /// let us in. The address is not repeated: it may hold a password.
    pub async fn connect(url: &str) -> Result<Self> {
        let (name, pool, server) = open(url, Access::Read, 4).await?;
        Ok(Self { name: name.into(), pool, server, settings: Settings::new() })
    }

    told_by_host!();

    /// The stream that a table of the database makes: its columns, their kinds, its key. Add the version by hand.
    ///
    /// Columns that the table computes are left out.
    ///
    /// # Errors
    /// `Schema`, naming the table and what is wrong, when there is none, it has no primary key, or a column's type names no
    /// kind.
    pub async fn discover(&self, table: impl AsRef<str>) -> Result<StreamSpec> {
        let mut session = self.session().await?;
        let stream = discover::stream(&mut session, self.server, table.as_ref()).await?;
        session.release();
        Ok(stream)
    }

    /// The tables of the database that this account may see, by the names that [`discover`](Self::discover) takes.
    ///
    /// # Errors
    /// `Unavailable` when the server does not answer.
    pub async fn tables(&self) -> Result<Vec<String>> {
        let mut session = self.session().await?;
        let tables = discover::tables(&mut session).await?;
        session.release();
        Ok(tables)
    }

    /// How the tables refer to each other.
    ///
    /// # Errors
    /// `Unavailable` when the server does not answer.
    pub async fn foreign_keys(&self) -> Result<Vec<ForeignKey>> {
        let mut session = self.session().await?;
        let keys = discover::foreign_keys(&mut session).await?;
        session.release();
        Ok(keys)
    }

    async fn session(&self) -> Result<Session> {
        self.pool.session().await.map_err(|error| error.with("database", &self.name))
    }

    /// Looks at a table, and refuses it where it cannot be read as this stream.
    async fn look(&self, stream: &StreamSpec, by_version: bool) -> Result<Table> {
        let mut session = self.session().await?;
        let table = Table::find(&mut session, self.server, stream.name()).await?;
        table.check(stream)?;
        table.check_filled(&mut session, stream, &order(stream, by_version)).await?;
        session.release();
        Ok(table)
    }
}

#[async_trait]
impl Source for MySqlSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> SourceCapabilities {
        self.settings.capabilities()
    }

    async fn feeds(&self) -> Result<Vec<Feed>> {
        Ok(self.settings.feeds())
    }

    async fn check(&self) -> Result<()> {
        keyset::check(self, &self.settings.streams).await
    }

    async fn estimate(&self, request: &ReadRequest) -> Result<Option<Estimate>> {
        let Some(stream) = estimate::whole(request)? else { return Ok(None) };
        let mut session = self.session().await?;
        let estimate = Table::find(&mut session, self.server, stream.name()).await?.estimate(&mut session).await?;
        session.release();
        Ok(estimate)
    }

    fn read(&self, request: ReadRequest) -> BatchStream<'_> {
        keyset::read(self, self.settings.page, request)
    }
}

#[async_trait]
impl Tables for MySqlSource {
    type Table = Reading;

    async fn start(&self, stream: &Arc<StreamSpec>, by_version: bool, saved: &Place) -> Result<Start<Reading>> {
        let table = self.look(stream, by_version).await?;
        // A place that was saved when a column was of another type says nothing about it.
        let known = saved.as_ref().is_none_or(|place| table.takes(&order(stream, by_version), place));
        let begin = self.settings.begin(stream, saved, parse::timestamp, parse::written);
        let begin = begin.filter(|_| by_version && known);
        let reading = Reading { table: Arc::new(table), begin, now: self.settings.clock.now().into() };
        Ok(Start { again: reading.begin.is_some() || !known, table: reading })
    }

    async fn page(&self, mut ask: Ask) -> Result<Page> {
        ask.table.now = self.settings.clock.now().into();
        page::read(&self.pool, &ask).await
    }

    fn frontier(&self, stream: &StreamSpec, _: &Reading, _: &Place, saved: &Place) -> Option<Frontier> {
        Settings::assumed(stream, saved, parse::timestamp)
    }
}

impl fmt::Debug for MySqlSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MySqlSource")
            .field("name", &self.name)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
