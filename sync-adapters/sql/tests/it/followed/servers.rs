//! The databases that hold tables to follow.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use sync_core::{Clock, Result, StreamSpec};
use sync_sql::SqliteSource;

use super::{Tables, There};

macro_rules! tables {
    ($source:ty) => {
        #[async_trait]
        impl Tables for $source {
            fn table(self, stream: StreamSpec) -> Self {
                self.table(stream)
            }

            fn page(self, rows: usize) -> Self {
                self.page(rows)
            }

            fn inclusive(self) -> Self {
                self.inclusive()
            }

            fn lookback(self, time: Duration) -> Self {
                self.lookback(time)
            }

            fn clock(self, clock: Arc<dyn Clock>) -> Self {
                self.clock(clock)
            }

            async fn discover(&self, table: &str) -> Result<StreamSpec> {
                self.discover(table).await
            }

            async fn tables(&self) -> Result<Vec<String>> {
                self.tables().await
            }
        }
    };
}

pub(crate) struct OnSqlite {
    folder: tempfile::TempDir,
    connection: Mutex<rusqlite::Connection>,
}

tables!(SqliteSource);

#[async_trait]
impl There for OnSqlite {
    type Source = SqliteSource;

    const TIME: &str = "TIMESTAMP_TEXT";
    const DECIMAL: &str = "DECIMAL_TEXT(12,2)";
    const NEXT_SECOND: &str = "strftime('%Y-%m-%dT%H:%M:%f000Z', max(version), '+1 second')";

    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let connection = Mutex::new(rusqlite::Connection::open(folder.path().join("there.db")).unwrap());
        Self { folder, connection }
    }

    async fn source(&self) -> Result<SqliteSource> {
        SqliteSource::open(self.folder.path().join("there.db")).await
    }

    async fn sql(&self, sql: &str) -> String {
        let connection = self.connection.lock().unwrap();
        if !sql.starts_with("SELECT") {
            connection.execute_batch(sql).unwrap();
            return String::new();
        }
        let mut read = connection.prepare(sql).unwrap();
        let width = read.column_count();
        let field = |row: &rusqlite::Row<'_>, at| match row.get_ref(at)? {
            rusqlite::types::ValueRef::Integer(number) => Ok(number.to_string()),
            other => Ok::<_, rusqlite::Error>(other.as_str_or_null()?.unwrap_or("NULL").to_owned()),
        };
        let line = |row: &rusqlite::Row<'_>| {
            let fields: rusqlite::Result<Vec<String>> = (0..width).map(|at| field(row, at)).collect();
            Ok(fields?.join("\t"))
        };
        let lines = read.query_map([], line).unwrap().map(std::result::Result::unwrap).collect::<Vec<_>>();
        lines.join("\n")
    }

    fn time(at: &str) -> String {
        format!("'{}.000000Z'", at.replace(' ', "T"))
    }
}

#[cfg(feature = "postgres")]
pub(crate) struct OnPostgres(pub(crate) sync_test_servers::Database);

#[cfg(feature = "postgres")]
tables!(sync_sql::PostgresSource);

#[cfg(feature = "postgres")]
#[async_trait]
impl There for OnPostgres {
    type Source = sync_sql::PostgresSource;

    const TIME: &str = "timestamptz";

    async fn new() -> Self {
        Self(sync_test_servers::postgres().await.unwrap())
    }

    async fn source(&self) -> Result<Self::Source> {
        sync_sql::PostgresSource::connect(&self.0.url()).await
    }

    async fn sql(&self, sql: &str) -> String {
        self.0.client(sql).await.unwrap()
    }

    fn time(at: &str) -> String {
        format!("timestamptz '{at}Z'")
    }
}

#[cfg(feature = "mysql")]
pub(crate) struct OnMariaDb(pub(crate) sync_test_servers::Database);

#[cfg(feature = "mysql")]
tables!(sync_sql::MySqlSource);

#[cfg(feature = "mysql")]
#[async_trait]
impl There for OnMariaDb {
    type Source = sync_sql::MySqlSource;

    const TIME: &str = "datetime(6)";
    const LONG_TEXT: &str = "longtext";

    async fn new() -> Self {
        Self(sync_test_servers::mariadb().await.unwrap())
    }

    async fn source(&self) -> Result<Self::Source> {
        sync_sql::MySqlSource::connect(&self.0.url()).await
    }

    async fn sql(&self, sql: &str) -> String {
        self.0.client(sql).await.unwrap()
    }

    fn time(at: &str) -> String {
        format!("'{at}'")
    }

    fn quoted(name: &str) -> String {
        format!("`{}`", name.replace('`', "``"))
    }
}
