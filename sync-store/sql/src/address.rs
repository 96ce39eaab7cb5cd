//! Addresses: which database they mean, and what is said about one that means none.

#[cfg(feature = "mysql")]
use sync_core::address::MYSQL;
#[cfg(feature = "postgres")]
use sync_core::address::POSTGRES;
#[cfg(feature = "sqlite")]
use sync_core::address::SQLITE;
use sync_core::{Error, Result};

use crate::SqlStore;
#[cfg(any(feature = "postgres", feature = "mysql"))]
use crate::database::Database;

/// What an address should look like. Nothing of the given one is repeated: it may hold a password anywhere.
const FORM: &str = "the address of the state store cannot be read: it should look like sqlite:shop.db, \
     postgres://user:password@host:port/database or mysql://user:password@host:port/database";

/// Opens what the address means.
pub(crate) async fn connect(url: &str) -> Result<SqlStore> {
    let (scheme, _) = url.split_once(':').ok_or_else(|| Error::config(FORM))?;
    match scheme.to_ascii_lowercase().as_str() {
        "sqlite" => sqlite(url).await,
        "postgres" | "postgresql" => postgres(url).await,
        "mysql" | "mariadb" => mysql(url).await,
        _ => Err(Error::config(FORM)),
    }
}

#[cfg(feature = "sqlite")]
async fn sqlite(url: &str) -> Result<SqlStore> {
    SQLITE.check_parameters(url)?;
    let options: sqlx::sqlite::SqliteConnectOptions = url.parse().map_err(|_| Error::config(FORM))?;
    let file = options.get_filename().to_owned();
    if file.as_os_str().is_empty() || url.contains(":memory:") || url.contains("mode=memory") {
        let message = "the state store needs a file, since its connections share it: name one (sqlite:shop.db), or use \
             sync_core::memory::MemoryStore";
        return Err(Error::config(message));
    }
    let options = if url.contains("mode=") { options } else { options.create_if_missing(true) };
    SqlStore::with_sqlite(options, &file).await
}

#[cfg(feature = "postgres")]
async fn postgres(url: &str) -> Result<SqlStore> {
    let options: sqlx::postgres::PgConnectOptions = url.parse().map_err(|_| Error::config(FORM))?;
    POSTGRES.check(url)?;
    let options = match options.get_application_name() {
        None => options.application_name("sync"),
        Some(_) => options,
    };
    let name = format!("{}:{}/{}", options.get_host(), options.get_port(), options.get_database().unwrap_or_default());
    SqlStore::opened(("database", name), async { crate::driver::postgres::open(options).await.map(Database::Postgres) })
        .await
}

#[cfg(feature = "mysql")]
async fn mysql(url: &str) -> Result<SqlStore> {
    let options: sqlx::mysql::MySqlConnectOptions = url.parse().map_err(|_| Error::config(FORM))?;
    MYSQL.check(url)?;
    // The store's clock and texts rest on these, whatever the address says of them.
    if options.get_database().is_none_or(str::is_empty) {
        return Err(Error::config("the address of the state store ends without the name of a database"));
    }
    let options = options.timezone(String::from("+00:00")).charset("utf8mb4").set_names(true);
    let name = format!("{}:{}/{}", options.get_host(), options.get_port(), options.get_database().unwrap_or_default());
    SqlStore::opened(("database", name), async { crate::driver::mysql::open(options).await.map(Database::MySql) }).await
}

/// Databases that this build does not speak.
macro_rules! left_out {
    ($name:ident, $feature:literal, $database:literal) => {
        #[cfg(not(feature = $feature))]
        #[allow(clippy::unused_async, reason = "it stands for one that waits")]
        async fn $name(_: &str) -> Result<SqlStore> {
            Err(Error::config(concat!(
                "this program was built without state in ",
                $database,
                ": enable the feature `",
                $feature,
                "` of sync-store-sql"
            )))
        }
    };
}
left_out!(sqlite, "sqlite", "SQLite");
left_out!(postgres, "postgres", "PostgreSQL");
left_out!(mysql, "mysql", "MySQL or MariaDB");
