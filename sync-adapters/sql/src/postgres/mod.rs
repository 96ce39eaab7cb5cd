//! PostgreSQL: a pool of connections, rows and checkpoint in one transaction, a few statements for each unit whatever its
//! size.

mod checkpoint;
mod column;
mod error;
mod publish;
mod query;
mod schema;
mod scope;
mod sink;
mod source;
mod stage;
mod write;

use std::fmt;
use std::sync::Arc;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use sync_core::Result;
use sync_core::address::POSTGRES;

use error::failed;
pub use source::PostgresSource;

use crate::address::PATIENCE;
use crate::tables::{Shapes, Tables};

/// A PostgreSQL database as a sink. Cheap to clone; all clones share the connections.
#[derive(Clone)]
pub struct Postgres {
    name: Arc<str>,
    pool: PgPool,
    /// Tables into which the last write brought rows that were there already: there, looking first is cheaper.
    known: Tables,
    /// Tables that somebody else wrote while we did: there, rows are locked before anything is decided by them.
    contended: Tables,
    /// What the tables were like when they were prepared.
    shapes: Shapes,
}

impl Postgres {
    /// Connects to a database by its address, `postgres://user:password@host:port/database`.
    ///
    /// # Errors
    /// `Config` when the address cannot be read or has an unknown parameter, `Unavailable` or `Unauthorized` when the server does not let us in.
    /// The address is not repeated: it may hold a password.
    pub async fn connect(url: &str) -> Result<Self> {
        let (options, name) = open(url, "").await?;
        let pool = PgPoolOptions::new().max_connections(8).acquire_timeout(PATIENCE).connect_lazy_with(options);
        Ok(Self {
            name: name.into(),
            pool,
            known: Tables::default(),
            contended: Tables::default(),
            shapes: Shapes::default(),
        })
    }
}

/// How to connect to this address, and what the database is called in reports: without user and password. The server has
/// let a first session in, and taken its settings.
async fn open(url: &str, settings: &'static str) -> Result<(PgConnectOptions, String)> {
    let options: PgConnectOptions = url.parse().map_err(|_| POSTGRES.unread())?;
    POSTGRES.check(url)?;
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    let name = match options.get_socket() {
        Some(socket) => format!("{}:{}/{database}", socket.display(), options.get_port()),
        None => format!("{}:{}/{database}", options.get_host(), options.get_port()),
    };
    let options = options.application_name("sync");
    // What is wrong with the very first connection is said at once; the pool would try again until its time is over.
    let first = tokio::time::timeout(PATIENCE, first(&options, settings));
    first
        .await
        .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
        .map_err(|cause| failed("the database cannot be reached", cause).with("database", &name))?;
    Ok((options, name))
}

async fn first(options: &PgConnectOptions, settings: &'static str) -> sqlx::Result<()> {
    let mut connection: PgConnection = options.connect().await?;
    if !settings.is_empty() {
        connection.execute(settings).await?;
    }
    connection.close().await
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("name", &self.name).finish_non_exhaustive()
    }
}
