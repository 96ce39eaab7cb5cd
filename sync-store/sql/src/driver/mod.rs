//! One file a driver: how a connection is opened, and what its errors mean.

#[cfg(feature = "mysql")]
pub(crate) mod mysql;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;

#[cfg(any(feature = "postgres", feature = "mysql"))]
use std::time::Duration;

/// How long a server may take to answer a call for a connection, a restart included.
#[cfg(any(feature = "postgres", feature = "mysql"))]
const PATIENCE: Duration = Duration::from_secs(10);

/// The most connections to a server. A store makes short calls: a few carry many pipelines.
#[cfg(any(feature = "postgres", feature = "mysql"))]
const CONNECTIONS: u32 = 5;

/// A first call, which a server that is there answers in time.
#[cfg(any(feature = "postgres", feature = "mysql"))]
async fn in_time(call: impl Future<Output = Result<(), sqlx::Error>>) -> Result<(), sqlx::Error> {
    tokio::time::timeout(PATIENCE, call).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// Where connections to a server come from: any will do, to read and to write.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) struct Server<DB: sqlx::Database>(pub(crate) sqlx::Pool<DB>);

#[cfg(any(feature = "postgres", feature = "mysql"))]
impl<DB: sqlx::Database> Server<DB> {
    pub(crate) async fn close(&self) {
        self.0.close().await;
    }

    pub(crate) async fn begin(&self) -> Result<sqlx::Transaction<'static, DB>, sqlx::Error> {
        self.0.begin().await
    }

    pub(crate) async fn writer(&self) -> Result<sqlx::pool::PoolConnection<DB>, sqlx::Error> {
        self.0.acquire().await
    }

    pub(crate) async fn reader(&self) -> Result<sqlx::pool::PoolConnection<DB>, sqlx::Error> {
        self.0.acquire().await
    }
}
