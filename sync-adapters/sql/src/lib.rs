//! Sources and sinks for SQL databases: SQLite (feature `sqlite`, on by default) and PostgreSQL (feature `postgres`, a sink).
//!
//! # How values are stored in SQLite
//!
//! SQLite knows numbers, texts and bytes, and converts what is stored by the words in a column's declared type. So each
//! kind has a declared type that converts nothing, and one form in which equal values are equal as stored:
//!
//! | Kind | Declared type | Stored as |
//! |---|---|---|
//! | bool | `BOOLEAN` | 0 or 1 |
//! | int | `INTEGER` | an integer |
//! | uint | `U64_BLOB` | an integer; from 2⁶³ on a text of 20 digits, which sorts behind all integers |
//! | float | `REAL` | a float; NaN and infinity are refused |
//! | decimal(p,s) | `DECIMAL_TEXT(p,s)` | a text with exactly `s` digits after the point: `9.00` |
//! | text | `TEXT` | UTF-8 |
//! | bytes | `BLOB` | bytes |
//! | timestamp | `TIMESTAMP_TEXT` | UTC with six digits: `2026-03-01T10:20:30.000000Z`; text order is time order |
//! | date | `DATE_TEXT` | `2026-03-01` |
//! | json | `JSON_TEXT` | the text as it came |
//!
//! Decimals are text because SQLite has no exact decimals: a `NUMERIC` or `DECIMAL` column would make floats of them, and
//! 0.10 + 0.20 would not be 0.30. As texts, though, `'9.00'` comes after `'10.00'`. To compare, order or add them in SQL,
//! write `CAST(price AS REAL)`, or multiply to whole cents: `CAST(round(price * 100) AS INTEGER)`. Ranges that a run is
//! given (`RunOptions::backfill`) compare as numbers.
//!
//! A table that is there already may declare other types where they lose nothing; what would, is refused when a run begins.
//! The sink keeps its positions in the table `_sync_checkpoint`, and rows that nobody may see yet in tables called
//! `_sync_stage_…`, which are gone when they are published.
//!
//! # Opening
//!
//! ```no_run
//! # #[cfg(feature = "sqlite")]
//! # async fn open() -> sync_core::Result<()> {
//! let shop = sync_sql::Sqlite::open("shop.db").await?;
//! # drop(shop);
//! # Ok(())
//! # }
//! ```

#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod ident;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod number;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod staged;

#[cfg(feature = "mysql")]
pub use mysql::MySql;
#[cfg(feature = "postgres")]
pub use postgres::Postgres;
#[cfg(feature = "sqlite")]
pub use sqlite::{Durability, Sqlite, SqliteOptions, SqliteSource};
