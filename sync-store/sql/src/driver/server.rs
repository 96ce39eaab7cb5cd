//! Connections to a server: one does nearly everything, since a new one costs the server as much as a run with nothing to do.

use std::time::Duration;

use sqlx::pool::{Pool, PoolConnection, PoolOptions};
use sqlx::{ConnectOptions, Connection, Database, Error, Transaction};
use tokio::time::timeout;

/// How long a server may take to answer a call for a connection, a restart included.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the first connection may take before another one is asked what is wrong.
const PROMPT: Duration = Duration::from_millis(100);

/// The most connections besides the first. A store makes short calls: a few carry many pipelines.
const MORE: u32 = 4;

/// How long a call waits for the first connection before it takes another: about as long as it takes to open one. The pool takes
/// a connection back by a task of its own, so that it is seldom there at once.
const GRACE: Duration = Duration::from_millis(10);

/// Where connections come from: any will do, to read and to write.
pub(crate) struct Server<DB: Database> {
    first: Pool<DB>,
    pub(crate) more: Pool<DB>,
}

impl<DB: Database> Server<DB> {
    /// Opens the first connection. What is wrong with it is said at once; a pool would try again until its time is over.
    pub(crate) async fn open(
        options: <DB::Connection as Connection>::Options,
        pool: impl Fn() -> PoolOptions<DB>,
    ) -> Result<Self, Error> {
        let of = |most| pool().max_connections(most).acquire_timeout(PATIENCE).connect_lazy_with(options.clone());
        let server = Self { first: of(1), more: of(MORE) };
        let wrong = async {
            tokio::time::sleep(PROMPT).await;
            match timeout(PATIENCE, options.connect()).await {
                // The server lets us in: it is for the pool to say more.
                Ok(Ok(connection)) => {
                    drop(connection.close().await);
                    std::future::pending().await
                }
                Ok(Err(wrong)) => wrong,
                Err(_) => Error::PoolTimedOut,
            }
        };
        tokio::select! {
            biased;
            first = server.first.acquire() => drop(first?),
            wrong = Box::pin(wrong) => return Err(wrong),
        }
        Ok(server)
    }

    pub(crate) async fn close(&self) {
        self.first.close().await;
        self.more.close().await;
    }

    pub(crate) async fn begin(&self) -> Result<Transaction<'static, DB>, Error> {
        if !self.first_is_busy() {
            return self.first.begin().await;
        }
        match timeout(GRACE, self.first.begin()).await {
            Ok(first) => first,
            Err(_) => self.more.begin().await,
        }
    }

    pub(crate) async fn writer(&self) -> Result<PoolConnection<DB>, Error> {
        if !self.first_is_busy() {
            return self.first.acquire().await;
        }
        match timeout(GRACE, self.first.acquire()).await {
            Ok(first) => first,
            Err(_) => self.more.acquire().await,
        }
    }

    pub(crate) async fn reader(&self) -> Result<PoolConnection<DB>, Error> {
        self.writer().await
    }

    /// Whether the first connection is in use, or being opened.
    fn first_is_busy(&self) -> bool {
        self.first.size() > 0 && self.first.num_idle() == 0
    }
}
