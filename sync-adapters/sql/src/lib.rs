//! Sources and sinks for SQL databases.
//!
//! ```no_run
//! # async fn open() -> sync_core::Result<()> {
//! let shop = sync_sql::Sqlite::open("shop.db").await?;
//! # drop(shop);
//! # Ok(())
//! # }
//! ```

mod ident;
mod number;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(feature = "postgres")]
pub use postgres::Postgres;
#[cfg(feature = "sqlite")]
pub use sqlite::{Durability, Sqlite, SqliteOptions, SqliteSource};
