//! Real PostgreSQL and MariaDB servers for tests: private, on free loopback ports, gone with whoever started them.
//!
//! A test asks for a database, and gets a fresh one of its own:
//!
//! ```no_run
//! # async fn test() -> sync_test_servers::Result<()> {
//! let database = sync_test_servers::postgres().await?;
//! database.client("create table orders (id int primary key); insert into orders values (1)").await?;
//! // … hand database.url() to what is under test …
//! assert_eq!(database.client("select count(*) from orders").await?, "1");
//! # Ok(()) }
//! ```
//!
//! * `./test` starts one server of each kind through the program `with-servers`, and names them in the variables
//!   [`POSTGRES_URL`] and [`MARIADB_URL`]. All test processes share them.
//! * Without these variables, a test process starts servers of its own when it first asks for a database.
//! * A test that kills its server starts a private one: [`PostgresServer`], [`MariaDbServer`].
//!
//! Whoever started a server may end in any way, even by SIGKILL: the server ends with it, and its directory is removed.
//! `guard.sh` sees to that. Nothing listens beyond 127.0.0.1, and every server has a password that was drawn for it.
//!
//! Needs Linux (it reads `/proc`) and the servers' programs, which `./test` installs.

mod account;
mod client;
mod database;
mod endpoint;
mod error;
mod guard;
mod instance;
mod mariadb;
mod port;
mod postgres;
mod private;
mod programs;
mod shared;

pub use database::Database;
pub use endpoint::{MARIADB_URL, POSTGRES_URL};
pub use error::{Error, Result};
pub use instance::Durability;
pub use private::{MariaDb, MariaDbServer, Postgres, PostgresServer, PrivateServer};
pub use programs::postgres as postgres_program;
pub use shared::{SharedServers, mariadb, postgres};
