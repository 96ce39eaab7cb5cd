//! Sources and sinks for SQL databases: SQLite (feature `sqlite`, on by default) and PostgreSQL (feature `postgres`, a sink).
//!
//! ```no_run
//! # #[cfg(feature = "sqlite")]
//! # async fn open() -> sync_core::Result<()> {
//! let shop = sync_sql::Sqlite::open("shop.db").await?;
//! # drop(shop);
//! # Ok(())
//! # }
//! ```

#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod ident;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod number;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(feature = "postgres")]
pub use postgres::Postgres;
#[cfg(feature = "sqlite")]
pub use sqlite::{Durability, Sqlite, SqliteOptions, SqliteSource};
