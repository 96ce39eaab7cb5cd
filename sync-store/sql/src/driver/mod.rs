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
