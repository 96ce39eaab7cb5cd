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
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sync_core::{Error, Result};

use error::failed;
pub use source::PostgresSource;

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
    /// `Config` when the address cannot be read, `Unavailable` or `Unauthorized` when the server does not let us in.
    /// The address is not repeated: it may hold a password.
    pub async fn connect(url: &str) -> Result<Self> {
        let (options, name) = address(url)?;
        let pool = PgPoolOptions::new()
            .max_connections(8)
            .acquire_timeout(Duration::from_secs(30))
            .connect_with(options)
            .await
            .map_err(|cause| failed("the database cannot be reached", cause).with("database", &name))?;
        Ok(Self {
            name: name.into(),
            pool,
            known: Tables::default(),
            contended: Tables::default(),
            shapes: Shapes::default(),
        })
    }
}

/// How to connect to this address, and what the database is called in reports: without user and password.
fn address(url: &str) -> Result<(PgConnectOptions, String)> {
    let options: PgConnectOptions =
        url.parse().map_err(|_| Error::config("the address of the database cannot be read: it should look like postgres://user:password@host:port/database"))?;
    let name = format!("{}/{}", options.get_host(), options.get_database().unwrap_or("postgres"));
    Ok((options.application_name("sync"), name))
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("name", &self.name).finish_non_exhaustive()
    }
}
