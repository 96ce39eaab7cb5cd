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
mod sqlite;

pub use sqlite::{Durability, Sqlite, SqliteOptions, SqliteSource};
