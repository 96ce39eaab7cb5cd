//! Connections: a transaction has one for itself until it ends.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};
use sync_core::{Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::address::PATIENCE;
use crate::postgres::error::{failed, uncommitted};
use crate::prompt::send_at_once;

/// What every connection is told first. Whatever the database's defaults are: a statement sees what was committed before it
/// began, and what is committed survives. Whoever waits for a host's lock ends some time, and at once where its caller is gone:
/// it may hold the right to write, which all others wait for. (Where a server cannot look after its clients it says so.)
pub(super) const SETTINGS: &str = "
SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED READ WRITE;
SET client_min_messages TO warning;
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
SELECT set_config('lock_timeout', '30s', false) WHERE current_setting('lock_timeout') = '0';
DO $$ BEGIN
  PERFORM set_config('client_connection_check_interval', '1s', false);
EXCEPTION WHEN OTHERS THEN NULL; END $$";

/// The most transactions at once.
const MOST: usize = 16;

/// For how long a transaction that was dropped may take to be rolled back, before its connection is closed.
const ROLLBACK: Duration = Duration::from_secs(10);

/// Connections to one database. Idle ones wait for the next transaction.
#[derive(Clone)]
pub(super) struct Pool {
    options: PgConnectOptions,
    idle: Arc<Mutex<Vec<PgConnection>>>,
    room: Arc<Semaphore>,
}

impl Pool {
    pub(super) fn new(options: PgConnectOptions, first: PgConnection) -> Self {
        Self { options, idle: Arc::new(Mutex::new(vec![first])), room: Arc::new(Semaphore::new(MOST)) }
    }

    /// A connection on which this was run. One that turns out to be dead is replaced.
    ///
    /// # Errors
    /// `Unavailable` or `Unauthorized` when the server does not let us in, or all places stay taken.
    pub(super) async fn begin(&self, sql: &str) -> Result<Lease> {
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
            match lease.work().execute(AssertSqlSafe(sql.to_owned())).await {
                Ok(_) => {
                    lease.permit = Some(permit);
                    return Ok(lease.rested());
                }
                Err(sqlx::Error::Io(_)) if used => {}
                Err(sqlx::Error::Database(gone)) if used && gone.code().is_some_and(|code| code.starts_with("57P")) => {
                }
                Err(cause) => return Err(failed("a transaction cannot begin", cause)),
            }
        }
    }

    fn take_idle(&self) -> Option<PgConnection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    async fn connect(&self) -> Result<PgConnection> {
        let connect = async {
            let mut connection = self.options.connect().await?;
            send_at_once(self.options.get_port());
            connection.execute(SETTINGS).await?;
            Ok::<_, sqlx::Error>(connection)
        };
        let connected = tokio::time::timeout(PATIENCE, connect).await;
        connected
            .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
            .map_err(|cause| failed("the database cannot be reached", cause))
    }

    /// Closes the connections that nobody uses.
    pub(super) async fn close(&self) {
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for connection in idle {
            // Whoever is gone has closed it already.
            let _ = connection.close().await;
        }
    }
}

/// A connection for one transaction, which is rolled back with it unless it was committed.
pub(super) struct Lease {
    connection: Option<PgConnection>,
    idle: Arc<Mutex<Vec<PgConnection>>>,
    permit: Option<OwnedSemaphorePermit>,
    /// Whether a transaction is open.
    open: bool,
    /// Whether something was asked, and its answer did not come: nobody knows how the connection stands.
    busy: bool,
}

impl Lease {
    /// The connection, for something that ends with [`rest`](Self::rest) when all went well.
    pub(super) fn work(&mut self) -> &mut PgConnection {
        self.busy = true;
        match &mut self.connection {
            Some(connection) => connection,
            None => unreachable!("a connection is given back when the lease ends"),
        }
    }

    /// All that was asked was answered.
    pub(super) fn rest<T>(&mut self, answer: T) -> T {
        self.busy = false;
        answer
    }

    /// The same, with no transaction open: each statement is one.
    pub(super) fn idle(mut self) -> Self {
        self.open = false;
        self
    }

    fn rested(mut self) -> Self {
        self.busy = false;
        self
    }

    /// Makes everything durable and visible at once.
    pub(super) async fn commit(mut self) -> Result<()> {
        // In a transaction that has failed, COMMIT alone would roll back and say nothing.
        let done = self.work().execute("SELECT 1; COMMIT").await.map_err(uncommitted)?;
        self.open = false;
        self.rest(done);
        Ok(())
    }
}

impl Drop for Lease {
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
            let done = tokio::time::timeout(ROLLBACK, connection.execute("ROLLBACK")).await;
            if matches!(done, Ok(Ok(_))) {
                keep(connection);
            }
            drop(permit);
        });
    }
}
