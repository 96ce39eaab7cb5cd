//! MySQL and MariaDB: a pool of connections that are set up strictly and checked, rows and checkpoint in one transaction,
//! a few statements for each unit whatever its size.

mod batch;
mod checkpoint;
mod column;
mod connection;
mod error;
mod pool;
mod publish;
mod query;
mod rehearsal;
mod replica;
mod schema;
mod scope;
mod sink;
mod source;
mod stage;
mod table;
mod update;
mod write;

use std::fmt;
use std::sync::Arc;

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sync_core::address::MYSQL;
use sync_core::{Error, Result};

use connection::{Access, Server};
use pool::{Pool, Session};
pub use replica::MySqlReplica;
pub use source::MySqlSource;
use table::Definitions;

use crate::address::PATIENCE;
use crate::altered::Alterations;
use crate::tables::{Shapes, Tables};

/// A MySQL or MariaDB database as a sink. Cheap to clone; all clones share the connections.
///
/// It needs MariaDB 10.6 or MySQL 8.0.17, or newer, and tables of the engine InnoDB. Its account needs the rights to
/// `SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP, CREATE TEMPORARY TABLES` on the database.
#[derive(Clone)]
pub struct MySql {
    name: Arc<str>,
    pool: Pool,
    server: Server,
    /// Tables that were written at all.
    written: Tables,
    /// Tables into which the last write brought rows that were there already: there, looking first is cheaper.
    known: Tables,
    /// Tables of which the last write changed most rows: there, rows are locked as they are looked at, and looked at once.
    changing: Tables,
    /// Tables that somebody else wrote while we did: there, rows are locked before anything is decided by them.
    contended: Tables,
    /// What the tables were like when they were prepared.
    shapes: Shapes,
    definitions: Definitions,
    alterations: Alterations,
}

impl MySql {
    /// Connects to a database by its address, `mysql://user:password@host:port/database`.
    ///
    /// Sessions are strict, in UTC and `READ COMMITTED`, whatever the server's defaults are, and are asked whether they
    /// are.
    ///
    /// # Errors
    /// `Config` when the address cannot be read or has an unknown parameter, or the server cannot keep values and keys exactly, `Unavailable` or
    /// `Unauthorized` when it does not let us in. The address is not repeated: it may hold a password.
    pub async fn connect(url: &str) -> Result<Self> {
        let (name, pool, server) = open(url, Access::Write, 8).await?;
        Ok(Self {
            name: name.into(),
            pool,
            server,
            written: Tables::default(),
            known: Tables::default(),
            changing: Tables::default(),
            contended: Tables::default(),
            shapes: Shapes::default(),
            alterations: Alterations::default(),
            definitions: Definitions::default(),
        })
    }

    /// What the server is like, as the newest connection has found it.
    fn server(&self) -> Server {
        Server { packet: self.pool.packet(), ..self.server }
    }

    async fn session(&self) -> Result<Session> {
        self.pool.session().await.map_err(|error| error.with("database", &self.name))
    }
}

/// Connections to the database of this address, what it is called in reports, without user and password, and what its server
/// is like.
async fn open(url: &str, access: Access, most: usize) -> Result<(String, Pool, Server)> {
    let (name, options, first, server) = reach(url, access).await?;
    let pool = Pool::new(options, access, most, first, server.packet);
    Ok((name, pool, server))
}

/// What the database of this address is called in reports, how to connect to it, the first connection, and what its server is
/// like.
async fn reach(url: &str, access: Access) -> Result<(String, MySqlConnectOptions, MySqlConnection, Server)> {
    let options: MySqlConnectOptions = url.parse().map_err(|_| MYSQL.unread())?;
    MYSQL.check(url)?;
    let Some(database) = options.get_database().filter(|name| !name.is_empty()) else {
        return Err(Error::config("the address of the database ends without the name of a database"));
    };
    let name = match options.get_socket() {
        Some(socket) => format!("{}/{database}", socket.display()),
        None => format!("{}:{}/{database}", options.get_host(), options.get_port()),
    };
    let (options, first, server) = tokio::time::timeout(PATIENCE, connection::first(options, access))
        .await
        .unwrap_or_else(|_| Err(connection::silent()))
        .map_err(|error| error.with("database", name.as_str()))?;
    Ok((name, options, first, server))
}

impl fmt::Debug for MySql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MySql").field("name", &self.name).finish_non_exhaustive()
    }
}
