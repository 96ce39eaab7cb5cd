//! A database of a test's own.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;
use uuid::Uuid;

use crate::endpoint::{Endpoint, Kind};
use crate::{Error, Result, client};

/// A fresh, empty database. It is dropped with this value, whoever is still connected.
#[derive(Debug)]
pub struct Database {
    server: Endpoint,
    name: String,
}

impl Database {
    pub(crate) fn create(server: Endpoint) -> Result<Self> {
        let name = format!("test_{}", Uuid::new_v4().simple());
        client::run(&server, server.kind.first_database(), &format!("create database {name}"))?;
        Ok(Self { server, name })
    }

    /// The address with user, password and database, as sqlx reads it: `postgres://…` or `mysql://…`.
    pub fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// The name of the database, unique on its server.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The host of the server.
    pub fn host(&self) -> &str {
        &self.server.host
    }

    /// The port of the server.
    pub fn port(&self) -> u16 {
        self.server.port
    }

    /// An account that may do everything on this server.
    pub fn user(&self) -> &str {
        &self.server.user
    }

    /// The password of [`user`](Self::user).
    pub fn password(&self) -> &str {
        &self.server.password
    }

    /// Runs statements through the command line client (`psql` or `mariadb`), each in a transaction of its own unless the
    /// text says otherwise. Gives the rows as lines, fields parted by tabs, and `NULL` for null.
    ///
    /// In text, `mariadb` shows a tab, a line break and a backslash as `\t`, `\n` and `\\`; `psql` shows them as they are.
    ///
    /// # Errors
    /// The client's own words, when a statement fails. Those before it have had their effect.
    pub async fn client(&self, sql: &str) -> Result<String> {
        let (server, name, sql) = (self.server.clone(), self.name.clone(), sql.to_owned());
        blocking(move || client::run(&server, &name, &sql)).await
    }
}

impl Drop for Database {
    /// Lets the tasks beside this one go on: PostgreSQL drops a database when every session of the server has taken notice,
    /// and a session whose client is silent in mid-copy or while it logs in does not. That client may be one of those tasks.
    fn drop(&mut self) {
        let statement = match self.server.kind {
            // Where the tasks have one thread in all, a silent one stays silent.
            Kind::Postgres => format!("set statement_timeout = '5s'; drop database {} with (force)", self.name),
            // A connection that a failed test left in a transaction would hold this up for a day.
            Kind::MariaDb => format!("set lock_wait_timeout = 1; drop database {}", self.name),
        };
        let drop = || client::run(&self.server, self.server.kind.first_database(), &statement);
        // The server may have been killed by its test; otherwise it forgets everything soon anyway.
        let _ = match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => block_in_place(drop),
            _ => drop(),
        };
    }
}

/// Runs what waits for processes outside of the threads that run tasks.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::new(format!("a task of the test servers did not end: {error}"))),
    }
}
