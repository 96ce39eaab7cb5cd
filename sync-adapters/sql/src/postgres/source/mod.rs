//! PostgreSQL as a source: tables we do not own, read by keyset, up to what running transactions may still bring.

mod discover;
mod horizon;
mod page;
mod parse;
mod scope;
mod table;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::Executor as _;
use sqlx::postgres::{PgPool, PgPoolOptions};
use sync_core::model::Frontier;
use sync_core::source::{Estimate, SourceCapabilities};
use sync_core::{BatchStream, Feed, ReadRequest, Result, Source, StreamSpec, Value};

use super::open;
use crate::address::PATIENCE;
use crate::catalog::ForeignKey;
use crate::keyset::estimate;
use crate::keyset::{self, Page, Place, Settings, Start, Tables, by_time, order, told_by_host};
use crate::prompt::send_at_once;
use page::{Ask, Reading};
use table::Table;

/// What every session is set to: values are read from texts in these forms, and nothing is ever written.
const SETTINGS: &str = "SET default_transaction_read_only = on; SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; \
                        SET extra_float_digits = 3; SET IntervalStyle = 'postgres'";

/// Tables of a PostgreSQL database, as a source. The database is never written to.
///
/// A stream with a version column is followed by it: rows come in the order of (version, key), and the cursor names both,
/// so that rows that share a version are neither lost nor read twice. Let there be an index over exactly these columns.
/// Every run looks for rows without a version and is refused where there are some, since they would never be found. A
/// stream without a version column is read as a whole by every run, and one whose version or key is declared anew begins
/// anew. Deletes are found by a reconcile.
///
/// # Which changes may come late
///
/// A row appears when its transaction commits, with the version that it was given earlier. Where the server itself stamps
/// the version, say so by [`PostgresSource::stamped_by_server`]: then no change is ever skipped, however long transactions
/// last. Otherwise say by [`PostgresSource::lookback`] how late rows may come. What comes later still is not seen by an
/// incremental run; a reconcile finds it.
///
/// # Names and kinds
///
/// A table is named as it stands on the account's search path, or as `schema.table`. Every kind is read from the text that
/// the server writes, so a column may be declared as text whatever its type; bytes need a `bytea`. A time without a time
/// zone is taken for UTC. `infinity`, `NaN` in a decimal, and whatever else is not as declared go to the dead letters row
/// by row.
///
/// ```no_run
/// # async fn source() -> sync_core::Result<()> {
/// use sync_core::StreamSpec;
/// let shop = sync_sql::PostgresSource::connect("postgres://reader:secret@db/shop").await?;
/// let orders = shop.discover("sales.orders").await?.version("updated_at");
/// let shop = shop.table(orders).stamped_by_server();
/// # drop(shop);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PostgresSource {
    name: Arc<str>,
    pool: PgPool,
    settings: Settings,
}

impl PostgresSource {
    /// Connects to a database by its address, `postgres://user:password@host:port/database`. The account needs the right
    /// to SELECT from the tables, and no other.
    ///
    /// # Errors
    /// `Config` when the address cannot be read or has an unknown parameter, `Unavailable` or `Unauthorized` when the server does not let us in.
    /// The address is not repeated: it may hold a password.
    pub async fn connect(url: &str) -> Result<Self> {
        let (options, name, first) = open(url, SETTINGS).await?;
        let port = options.get_port();
        // Dropped, it is closed.
        drop(first);
        let pool = PgPoolOptions::new()
            .max_connections(4)
            .acquire_timeout(PATIENCE)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    send_at_once(port);
                    connection.execute(SETTINGS).await.map(drop)
                })
            })
            .connect_lazy_with(options);
        Ok(Self { name: name.into(), pool, settings: Settings::new() })
    }

    told_by_host!();

    /// The server stamps the versions, in the transaction that writes the row: nothing is skipped, and that is proven.
    ///
    /// It holds for a `timestamp with time zone` that a default and a trigger set to `now()` (`transaction_timestamp()`),
    /// `statement_timestamp()` or `clock_timestamp()`, and for an `xid8` that they set to `pg_current_xact_id()`. It does
    /// **not** hold where a program writes its own time, or where rows are copied in with the versions of another place.
    ///
    /// Prefer `clock_timestamp()` in a trigger where several transactions change one row at a time: with `now()`, the one that
    /// began first may write last and leave the lower version, which a target that keeps the newer one does not take.
    ///
    /// Before each read the server is asked which transactions are under way. All rows are handed over, but the position
    /// stays below what these may still bring, so that a later run reads on from there. A long transaction therefore
    /// delays nothing; the changes since it began are only read again, and recognised. The position also stays five
    /// seconds behind the present.
    ///
    /// For times, the account needs the rights of `pg_read_all_stats`, the server must not be a standby, and its clock must
    /// not be set back by more than five seconds at once. A prepared transaction (two-phase commit) keeps the position
    /// where it is until it is over. For `xid8` nothing of this is needed, but transactions of other databases count, too.
    /// After a restore from a backup begin anew, by a full run.
    #[must_use]
    pub fn stamped_by_server(mut self) -> Self {
        self.settings.proven = true;
        self
    }

    /// The stream that a table of the database makes: its columns, their kinds, its key. Add the version by hand.
    ///
    /// A `numeric` without digits is read as text, which alone holds all its values; so are enums, arrays, UUIDs, intervals,
    /// ranges and network addresses. Columns that the table computes are left out.
    ///
    /// # Errors
    /// `Schema`, naming the table and what is wrong, when there is none, it has no primary key, or a column's type names no
    /// kind.
    pub async fn discover(&self, table: impl AsRef<str>) -> Result<StreamSpec> {
        discover::stream(&self.pool, table.as_ref()).await
    }

    /// The tables that this account may read, by the names that [`discover`](Self::discover) takes.
    ///
    /// # Errors
    /// `Unavailable` when the server does not answer.
    pub async fn tables(&self) -> Result<Vec<String>> {
        discover::tables(&self.pool).await
    }

    /// How the tables refer to each other.
    ///
    /// # Errors
    /// `Unavailable` when the server does not answer.
    pub async fn foreign_keys(&self) -> Result<Vec<ForeignKey>> {
        discover::foreign_keys(&self.pool).await
    }

    /// Looks at a table, and refuses it where it cannot be read as this stream.
    async fn look(&self, stream: &StreamSpec, by_version: bool) -> Result<Table> {
        let table = Table::find(&self.pool, stream.name()).await?;
        table.check(stream)?;
        table.check_filled(&self.pool, stream, &order(stream, by_version)).await?;
        Ok(table)
    }
}

#[async_trait]
impl Source for PostgresSource {
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
        Table::find(&self.pool, stream.name()).await?.estimate(&self.pool).await
    }

    fn read(&self, request: ReadRequest) -> BatchStream<'_> {
        keyset::read(self, self.settings.page, request)
    }
}

#[async_trait]
impl Tables for PostgresSource {
    type Table = Reading;

    /// The horizon is read once, before the first page: a row that commits between two pages may bring a version that the
    /// first has passed.
    async fn start(&self, stream: &Arc<StreamSpec>, by_version: bool, saved: &Place) -> Result<Start<Reading>> {
        let table = self.look(stream, by_version).await?;
        let horizon = match by_version && self.settings.proven {
            true => Some(horizon::read(&self.pool, stream, &table).await?),
            false => None,
        };
        let begin = self.settings.begin(stream, saved, parse::timestamp, |at| Some(at.to_string()));
        let begin = begin.filter(|_| by_version);
        let reading = Reading { table: Arc::new(table), begin, horizon, now: self.settings.clock.now().into() };
        Ok(Start { again: reading.begin.is_some(), table: reading })
    }

    async fn page(&self, mut ask: Ask) -> Result<Page> {
        ask.table.now = self.settings.clock.now().into();
        page::read(&self.pool, &ask).await
    }

    fn frontier(&self, stream: &StreamSpec, reading: &Reading, last: &Place, saved: &Place) -> Option<Frontier> {
        let time = |place: &Place| match place.as_ref().and_then(|values| values.first()) {
            Some(Value::Text(version)) if by_time(stream) => parse::timestamp(version),
            _ => None,
        };
        match &reading.horizon {
            Some(horizon) => horizon.frontier(time(last), last.is_none()),
            None => Settings::assumed(stream, saved, parse::timestamp),
        }
    }
}

impl fmt::Debug for PostgresSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSource")
            .field("name", &self.name)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
