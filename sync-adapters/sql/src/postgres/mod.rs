//! PostgreSQL: a pool of connections, rows and checkpoint in one transaction, a few statements for each unit whatever its
//! size.

mod checkpoint;
mod column;
mod copy;
mod deferred;
mod error;
mod publish;
mod query;
mod relation;
mod replica;
mod schema;
mod scope;
mod session;
mod sink;
mod source;
mod stage;
mod write;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Executor as _};
use sync_core::Result;
use sync_core::address::POSTGRES;

use error::failed;
pub use replica::PostgresReplica;
use session::Sessions;
pub use source::PostgresSource;

use crate::address::PATIENCE;
use crate::altered::Alterations;
use crate::prompt::send_at_once;
use crate::tables::{Shapes, Tables};

/// A PostgreSQL database as a sink. Cheap to clone; all clones share the connections.
#[derive(Clone)]
pub struct Postgres {
    name: Arc<str>,
    sessions: Sessions,
    /// Tables that somebody else wrote while we did: there, rows are locked before anything is decided by them.
    contended: Tables,
    /// Tables of which all rows that this run wrote last were new: there, many are copied without a look.
    fresh: Tables,
    /// Tables that stopped taking rows which were copied: their rows travel as arrays.
    stalled: Tables,
    /// Tables whose pages are copied one by one: a unit in one statement was too much for the server's patience.
    apart: Tables,
    /// What the tables were like when they were prepared.
    shapes: Shapes,
    alterations: Alterations,
}

impl Postgres {
    /// Connects to a database by its address, `postgres://user:password@host:port/database`.
    ///
    /// # Errors
    /// `Config` when the address cannot be read or has an unknown parameter, `Unavailable` or `Unauthorized` when the server does not let us in.
    /// The address is not repeated: it may hold a password.
    pub async fn connect(url: &str) -> Result<Self> {
        let (options, name, first) = open(url, "").await?;
        Ok(Self {
            name: name.into(),
            sessions: Sessions::new(options, first),
            contended: Tables::default(),
            fresh: Tables::default(),
            stalled: Tables::default(),
            apart: Tables::default(),
            shapes: Shapes::default(),
            alterations: Alterations::default(),
        })
    }
}

/// How to connect to this address, what the database is called in reports (without user and password), and the first
/// session, which the server has let in and which has taken the settings.
async fn open(url: &str, settings: &'static str) -> Result<(PgConnectOptions, String, PgConnection)> {
    let options: PgConnectOptions = url.parse().map_err(|_| POSTGRES.unread())?;
    POSTGRES.check(url)?;
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    let name = match options.get_socket() {
        Some(socket) => format!("{}:{}/{database}", socket.display(), options.get_port()),
        None => format!("{}:{}/{database}", options.get_host(), options.get_port()),
    };
    let options = options.application_name("sync");
    // What is wrong with the very first connection is said at once; the pool would try again until its time is over.
    let first = tokio::time::timeout(PATIENCE, first(&options, settings))
        .await
        .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
        .map_err(|cause| failed("there is no connection to the database", cause).with("database", &name))?;
    Ok((options, name, first))
}

async fn first(options: &PgConnectOptions, settings: &'static str) -> sqlx::Result<PgConnection> {
    let until = Instant::now() + PATIENCE / 2;
    let mut connection = loop {
        match options.connect().await {
            // A place may become free, as it does for those whom the pool lets wait.
            Err(sqlx::Error::Database(full)) if full.code().as_deref() == Some("53300") && Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            answered => break answered?,
        }
    };
    send_at_once(options.get_port());
    if !settings.is_empty() {
        connection.execute(settings).await?;
    }
    Ok(connection)
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("name", &self.name).finish_non_exhaustive()
    }
}
