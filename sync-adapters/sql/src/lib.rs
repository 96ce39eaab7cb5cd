//! Sources and sinks for SQL databases: SQLite (feature `sqlite`, on by default), PostgreSQL (feature `postgres`), and MySQL
//! and MariaDB (feature `mysql`).
//!
//! # From one database into another
//!
//! Any of the sources goes with any of the sinks. A table is described by hand (`StreamSpec::new`), or as it is found:
//!
//! ```no_run
//! # #[cfg(all(feature = "postgres", feature = "mysql"))]
//! # async fn copy(store: impl sync_core::StateStore + 'static) -> sync_core::Result<()> {
//! use sync_core::{Engine, Pipeline};
//! use sync_sql::{MySql, PostgresSource};
//!
//! let shop = PostgresSource::connect("postgres://reader:secret@db.example/shop").await?;
//! let orders = shop.discover("orders").await?.version("updated_at");
//! let shop = shop.table(orders).stamped_by_server();
//! let copy = MySql::connect("mysql://sync:secret@db.example/copy").await?;
//! let engine = Engine::builder(store).pipeline(Pipeline::new("copy", shop, copy)).build()?;
//! println!("{}", engine.run("copy").await?);
//! # Ok(())
//! # }
//! ```
//!
//! The target is called like the stream, a dot included: `sales.orders` of a PostgreSQL source lands in a table with that whole
//! name. Where it is to be called `orders`, let the account of the source have `sales` on its search path, and name the table
//! without it. A column that a source drops stays in the target, with the values it had.
//!
//! # Following tables
//!
//! `SqliteSource`, `PostgresSource` and `MySqlSource` follow tables they do not own: pages are read by (version, key), never by
//! offset, and a run goes on behind the last row of the run before. A row that commits late with an earlier version would be
//! passed by. So say what the source may rely on:
//!
//! | The version is | Say | Then |
//! |---|---|---|
//! | stamped by a PostgreSQL server, with `now()` or `pg_current_xact_id()` | `stamped_by_server()` | nothing is skipped: the server is asked for its running transactions |
//! | a time, of anybody's clock | `lookback(…)`, the longest transaction | what comes within it is found; what comes later is found by a reconcile, and told |
//! | a number that grows with every transaction, one writer at a time | nothing | nothing is skipped |
//! | a number that changes come to share | `inclusive()` | the last one is read again |
//!
//! MySQL and MariaDB cannot say which of their running transactions may still bring an older version, so that theirs are times
//! of anybody's clock. `MySqlSource` has a table of what each of their types is read as.
//!
//! # How values are stored
//!
//! Each kind has a declared type that bends nothing, and one form in which equal values are equal as stored:
//!
//! | Kind | SQLite | PostgreSQL | MySQL, MariaDB |
//! |---|---|---|---|
//! | bool | `BOOLEAN`: 0 or 1 | `boolean` | `tinyint(1)` |
//! | int | `INTEGER` | `bigint` | `bigint` |
//! | uint | `U64_BLOB`: an integer; from 2⁶³ on a text of 20 digits, which sorts behind all integers | `numeric(20,0)` | `bigint unsigned` |
//! | float | `REAL`; NaN and infinity are refused | `double precision` | `double`; NaN and infinity are refused |
//! | decimal(p,s) | `DECIMAL_TEXT(p,s)`: a text with exactly `s` digits after the point, `9.00` | `numeric(p,s)` | `decimal(p,s)`, up to 65 digits, 30 after the point |
//! | text | `TEXT` | `text`, without NUL | `longtext`; in a key `varchar(n)` |
//! | bytes | `BLOB` | `bytea` | `longblob`; in a key `varbinary(n)` |
//! | timestamp | `TIMESTAMP_TEXT`: UTC with six digits, `2026-03-01T10:20:30.000000Z`; text order is time order | `timestamp with time zone` | `datetime(6)` in UTC, years 0001 to 9999 |
//! | date | `DATE_TEXT`: `2026-03-01` | `date` | `date`, years 0001 to 9999 |
//! | json | `JSON_TEXT`: the text as it came | `json`: the text as it came | `longtext`: the text as it came |
//!
//! A table that is there already may declare other types where they lose nothing; one that is narrower is widened, and what
//! would lose something is refused when a run begins, with the difference. A value that a column cannot hold exactly is
//! refused with its row, and never bent. A column that must not be empty in the table (`NOT NULL`) stays so, whatever the stream says:
//! a row without a value there waits among the dead letters until the column takes it. (SQLite enforces no declared digits and cannot change them: `DECIMAL_TEXT(2,1)` takes
//! longer decimals as well and stays declared as it was; `SqliteSource::discover` goes by the rows.)
//!
//! A sink keeps its positions in the table `_sync_checkpoint`, and rows that nobody may see yet in tables called
//! `_sync_stage_…`, which are gone when they are published.
//!
//! ## SQLite
//!
//! SQLite knows numbers, texts and bytes, and converts what is stored by the words in a column's declared type. Decimals are
//! text because it has no exact decimals: a `NUMERIC` or `DECIMAL` column would make floats of them, and 0.10 + 0.20 would not
//! be 0.30. As texts, though, `'9.00'` comes after `'10.00'`. To compare, order or add them in SQL, write
//! `CAST(price AS REAL)`, or multiply to whole cents: `CAST(round(price * 100) AS INTEGER)`. Ranges that a run is given
//! (`RunOptions::backfill`) compare as numbers.
//!
//! ## MySQL and MariaDB
//!
//! Texts are `utf8mb4` and have a collation under which only equal texts are equal, trailing spaces included
//! (`utf8mb4_nopad_bin`, in MySQL `utf8mb4_0900_bin`); a key column with another one is refused, and the message has the
//! `ALTER TABLE` that mends it. An index holds 3,072 bytes, 4 for each character: the texts of a key share that room, and a
//! longer key is refused with its row. Tables are InnoDB. Text columns that are there already become `longtext`, unless they
//! are in an index; there, a text that is too long is refused with its row.
//!
//! Sessions are strict, in UTC and `READ COMMITTED`, whatever the server's defaults. Creating and changing a table commits in
//! MySQL, so that is done before a unit's transaction begins, and a dry run works on temporary tables: of a table that would be
//! changed, on a copy, which has neither its foreign keys nor its triggers; of rows that an earlier run has staged, on a copy too.
//! Of some tables the server makes no temporary copy (partitions, full-text indexes, compressed rows, periods): there a dry run that
//! would change columns is refused, and of a system-versioned one it does not foretell that the server refuses the change.
//!
//! # Changes of tables
//!
//! A column that is missing or too narrow is added or widened when a run begins, one process at a time. A change waits for whoever
//! reads or writes the table, five seconds at most, since everybody who comes behind it waits as well; then it is tried again, as
//! the engine's retries allow. On PostgreSQL a dry run makes the same change in a transaction that is taken back; whoever wants such a
//! table waits while a unit is rehearsed.
//!
//! # What an account needs
//!
//! | | PostgreSQL | MySQL, MariaDB |
//! |---|---|---|
//! | sink | on the schema `USAGE` and `CREATE`, for the two kinds of tables of its own, and for a target that is not there; on a target `SELECT`, `INSERT`, `UPDATE`, `DELETE`; to be its owner where a column is missing or too narrow | on the database `SELECT`, `INSERT`, `UPDATE`, `DELETE`, `CREATE`, `ALTER`, `INDEX`, `DROP`, `CREATE TEMPORARY TABLES` |
//! | source | `SELECT` on its tables; the role `pg_read_all_stats` for `stamped_by_server()` | `SELECT` on its tables |
//! | replica | as a sink, and to own the tables | as a sink, and `TRIGGER`, `CREATE ROUTINE`, `ALTER ROUTINE`, `EXECUTE`, `LOCK TABLES` |
//!
//! # Opening
//!
//! Connections to PostgreSQL, MySQL and MariaDB are encrypted where the server offers it. An address that ends with
//! `?sslmode=verify-full` (PostgreSQL) or `?ssl-mode=VERIFY_IDENTITY` (MySQL, MariaDB) demands it, and looks at the
//! certificate.
//!
//! ```no_run
//! # #[cfg(feature = "sqlite")]
//! # async fn open() -> sync_core::Result<()> {
//! let shop = sync_sql::Sqlite::open("shop.db").await?;
//! # drop(shop);
//! # Ok(())
//! # }
//! ```

#[cfg(any(feature = "mysql", feature = "postgres"))]
mod address;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod altered;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod catalog;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod classified;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod days;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod differs;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod ident;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod keyset;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod number;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod position;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod prompt;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod refused;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod replica;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod scope;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod staged;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod standing;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod tables;

#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub use catalog::ForeignKey;
#[cfg(feature = "mysql")]
pub use mysql::{MySql, MySqlReplica, MySqlSource};
#[cfg(feature = "postgres")]
pub use postgres::{Postgres, PostgresReplica, PostgresSource};
#[cfg(feature = "sqlite")]
pub use sqlite::{Durability, Sqlite, SqliteHost, SqliteOptions, SqliteReplica, SqliteSource};
