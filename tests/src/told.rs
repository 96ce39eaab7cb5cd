//! A sink that tells where it is, so that whoever kills its process or its server knows what was under way.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use sync_core::model::RowScope;
use sync_core::sink::{Altered, SinkCapabilities, StoredRow, WriteReport, WriteUnit};
use sync_core::state::{Checkpoint, FencingToken};
use sync_core::{Error, Key, Result, Scope, Sink, StreamSpec};

/// Where a sink is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The scope is claimed, and so many of its units are there: nothing from before can be added any more.
    Claimed(u64),
    /// It begins to apply the unit that comes after so many.
    Begins(u64),
    /// The unit is acknowledged: now there are so many.
    Acknowledged(u64),
    /// The whole run is done.
    Done,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claimed(units) => write!(f, "claimed {units}"),
            Self::Begins(units) => write!(f, "begins {units}"),
            Self::Acknowledged(units) => write!(f, "acknowledged {units}"),
            Self::Done => f.write_str("done"),
        }
    }
}

impl FromStr for Mark {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        let (what, units) = line.split_once(' ').unwrap_or((line, "0"));
        let units = units.parse().map_err(|_| Error::config("a mark without its number"))?;
        match what {
            "claimed" => Ok(Self::Claimed(units)),
            "begins" => Ok(Self::Begins(units)),
            "acknowledged" => Ok(Self::Acknowledged(units)),
            "done" => Ok(Self::Done),
            _ => Err(Error::config("a mark that nobody knows")),
        }
    }
}

/// A sink that tells.
#[derive(Clone)]
pub struct Told {
    sink: Arc<dyn Sink>,
    tell: Arc<dyn Fn(Mark) + Send + Sync>,
}

impl Told {
    /// Tells where this sink is. What `tell` takes of its time lies between two units, or within one.
    pub fn of(sink: Arc<dyn Sink>, tell: impl Fn(Mark) + Send + Sync + 'static) -> Self {
        Self { sink, tell: Arc::new(tell) }
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Told").field("sink", &self.sink).finish_non_exhaustive()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Sink for Told {
    fn name(&self) -> &str {
        self.sink.name()
    }

    async fn apply(&self, unit: &WriteUnit<'_>) -> Result<WriteReport> {
        let Some(advance) = unit.advance else { return self.sink.apply(unit).await };
        (self.tell)(Mark::Begins(advance.expected));
        let report = self.sink.apply(unit).await?;
        (self.tell)(Mark::Acknowledged(advance.expected + 1));
        Ok(report)
    }

    async fn open(&self, scope: &Scope, token: FencingToken) -> Result<Option<Checkpoint>> {
        let checkpoint = self.sink.open(scope, token).await?;
        (self.tell)(Mark::Claimed(checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.seq)));
        Ok(checkpoint)
    }

    async fn checkpoint(&self, scope: &Scope) -> Result<Option<Checkpoint>> {
        self.sink.checkpoint(scope).await
    }

    async fn prepare(&self, stream: &StreamSpec) -> Result<Altered> {
        self.sink.prepare(stream).await
    }

    async fn lacking(&self, stream: &StreamSpec) -> Result<Altered> {
        self.sink.lacking(stream).await
    }

    async fn exists(&self, stream: &StreamSpec) -> Result<bool> {
        self.sink.exists(stream).await
    }

    async fn stored(&self, stream: &StreamSpec, keys: &[Key]) -> Result<Vec<Option<StoredRow>>> {
        self.sink.stored(stream, keys).await
    }

    async fn count(&self, stream: &StreamSpec, rows: &RowScope) -> Result<Option<u64>> {
        self.sink.count(stream, rows).await
    }

    fn capabilities(&self) -> SinkCapabilities {
        self.sink.capabilities()
    }

    async fn check(&self) -> Result<()> {
        self.sink.check().await
    }
}

/// The sink for the database of an address: `sqlite:FILE`, `postgres://…` or `mysql://…`.
///
/// # Errors
/// What the sink says when it cannot be opened.
pub async fn sink_at(url: &str) -> Result<Arc<dyn Sink>> {
    Ok(match url.split_once(':') {
        Some(("sqlite", file)) => Arc::new(sync_sql::Sqlite::open(file).await?),
        Some(("postgres", _)) => Arc::new(sync_sql::Postgres::connect(url).await?),
        Some(("mysql", _)) => Arc::new(sync_sql::MySql::connect(url).await?),
        _ => return Err(Error::config("an address of another database")),
    })
}
