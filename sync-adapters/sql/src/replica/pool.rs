//! Connections: a transaction has one for itself until it ends.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sync_core::{Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::address::PATIENCE;

/// The most transactions at once.
const MOST: usize = 16;

/// For how long a transaction that was dropped may take to be rolled back, before its connection is closed.
const ROLLBACK: Duration = Duration::from_secs(10);

/// How a database is connected to, and how its transactions end.
pub(crate) trait Connects: Send + Sync + 'static {
    /// A connection.
    type Connection: Send + 'static;

    /// Makes everything durable and visible at once. In a transaction that has failed, it must not roll back and say nothing.
    const COMMIT: &'static str;

    /// Takes everything back, and gives up what the connection holds besides.
    const ROLLBACK: &'static str;

    /// A new connection that was told all settings.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection>> + Send;

    /// Runs statements that bind nothing.
    fn run(connection: &mut Self::Connection, sql: String) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Ends a connection as it should be.
    fn close(connection: Self::Connection) -> impl Future<Output = ()> + Send;

    /// Whether a connection that was idle turns out to be dead.
    fn is_gone(cause: &sqlx::Error) -> bool;

    /// What the server says, in the words of the library.
    fn failed(what: &'static str, cause: sqlx::Error) -> Error;

    /// The error of a commit: one whose answer is lost may have happened.
    fn uncommitted(cause: sqlx::Error) -> Error;
}

/// Connections to one database. Idle ones wait for the next transaction.
pub(crate) struct Pool<C: Connects> {
    connects: Arc<C>,
    idle: Arc<Mutex<Vec<C::Connection>>>,
    room: Arc<Semaphore>,
}

impl<C: Connects> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Self { connects: Arc::clone(&self.connects), idle: Arc::clone(&self.idle), room: Arc::clone(&self.room) }
    }
}

impl<C: Connects> Pool<C> {
    pub(crate) fn new(connects: Arc<C>, first: C::Connection) -> Self {
        Self { connects, idle: Arc::new(Mutex::new(vec![first])), room: Arc::new(Semaphore::new(MOST)) }
    }

    /// A connection on which this was run. One that turns out to be dead is replaced.
    ///
    /// # Errors
    /// `Unavailable` or `Unauthorized` when the server does not let us in, or all places stay taken.
    pub(crate) async fn begin(&self, sql: &str) -> Result<Lease<C>> {
        let closed =
            |_| Error::unavailable("no transaction of this replica has ended for a long time, and no more may begin");
        let permit = tokio::time::timeout(PATIENCE, Arc::clone(&self.room).acquire_owned()).await.map_err(closed)?;
        let permit = permit.map_err(|_| Error::internal("the connections of the replica are closed"))?;
        loop {
            let idle = self.take_idle();
            let used = idle.is_some();
            let connection = match idle {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            let mut lease = Lease {
                connection: Some(connection),
                idle: Arc::clone(&self.idle),
                permit: None,
                open: true,
                busy: true,
            };
            match C::run(lease.work(), sql.to_owned()).await {
                Ok(()) => {
                    lease.permit = Some(permit);
                    return Ok(lease.rested());
                }
                Err(cause) if used && C::is_gone(&cause) => {}
                Err(cause) => return Err(C::failed("a transaction cannot begin", cause)),
            }
        }
    }

    fn take_idle(&self) -> Option<C::Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    async fn connect(&self) -> Result<C::Connection> {
        let connected = tokio::time::timeout(PATIENCE, self.connects.connect()).await;
        connected.unwrap_or_else(|_| {
            Err(C::failed(
                "there is no connection to the database",
                sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()),
            ))
        })
    }

    /// Closes the connections that nobody uses.
    pub(crate) async fn close(&self) {
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for connection in idle {
            C::close(connection).await;
        }
    }
}

/// A connection for one transaction, which is rolled back with it unless it was committed.
pub(crate) struct Lease<C: Connects> {
    connection: Option<C::Connection>,
    idle: Arc<Mutex<Vec<C::Connection>>>,
    permit: Option<OwnedSemaphorePermit>,
    /// Whether a transaction is open.
    open: bool,
    /// Whether something was asked, and its answer did not come: nobody knows how the connection stands.
    busy: bool,
}

impl<C: Connects> Lease<C> {
    /// The connection, for something that ends with [`rest`](Self::rest) when all went well.
    pub(crate) fn work(&mut self) -> &mut C::Connection {
        self.busy = true;
        match &mut self.connection {
            Some(connection) => connection,
            None => unreachable!("a connection is given back when the lease ends"),
        }
    }

    /// All that was asked was answered.
    pub(crate) fn rest<T>(&mut self, answer: T) -> T {
        self.busy = false;
        answer
    }

    /// The same, with no transaction open: each statement is one.
    pub(crate) fn idle(mut self) -> Self {
        self.open = false;
        self
    }

    fn rested(mut self) -> Self {
        self.busy = false;
        self
    }

    /// Makes everything durable and visible at once.
    pub(crate) async fn commit(mut self) -> Result<()> {
        C::run(self.work(), C::COMMIT.to_owned()).await.map_err(C::uncommitted)?;
        self.open = false;
        self.rest(());
        Ok(())
    }
}

impl<C: Connects> Drop for Lease<C> {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        if self.busy {
            // It is closed, and with it ends whatever it was doing.
            return;
        }
        let (idle, permit) = (Arc::clone(&self.idle), self.permit.take());
        let keep = move |connection| idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        if !self.open {
            return keep(connection);
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let done = tokio::time::timeout(ROLLBACK, C::run(&mut connection, C::ROLLBACK.to_owned())).await;
            if matches!(done, Ok(Ok(()))) {
                keep(connection);
            }
            drop(permit);
        });
    }
}
