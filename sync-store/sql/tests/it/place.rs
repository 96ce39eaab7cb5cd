//! A fresh database of each kind, and an eye on it beside the store's.

use sync_store_sql::SqlStore;
use sync_test_servers::Database;
use tempfile::TempDir;

/// Goes when it is dropped.
pub(crate) enum Place {
    File(TempDir),
    Server(Database),
}

impl Place {
    #[allow(clippy::unused_async, reason = "as the others are made")]
    pub(crate) async fn sqlite() -> Self {
        Self::File(tempfile::tempdir().unwrap())
    }

    pub(crate) async fn postgres() -> Self {
        Self::Server(sync_test_servers::postgres().await.unwrap())
    }

    pub(crate) async fn mariadb() -> Self {
        Self::Server(sync_test_servers::mariadb().await.unwrap())
    }

    /// Another one of the same kind.
    pub(crate) async fn another(&self) -> Self {
        match self {
            Self::File(_) => Self::sqlite().await,
            Self::Server(database) if database.url().starts_with("postgres") => Self::postgres().await,
            Self::Server(_) => Self::mariadb().await,
        }
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::File(folder) => format!("sqlite:{}", folder.path().join("state.db").display()),
            Self::Server(database) => database.url(),
        }
    }

    /// A store with connections of its own, as another process has it.
    pub(crate) async fn open(&self) -> SqlStore {
        SqlStore::connect(&self.url()).await.unwrap()
    }

    /// Runs a statement, and gives the one number it selects.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        match self {
            Self::File(_) => {
                let mut connection = <sqlx::SqliteConnection as sqlx::Connection>::connect(&self.url()).await.unwrap();
                let sql = sqlx::AssertSqlSafe(sql);
                sqlx::query_scalar(sql).fetch_optional(&mut connection).await.unwrap().unwrap_or_default()
            }
            Self::Server(database) => database.client(sql).await.unwrap().parse().unwrap_or_default(),
        }
    }
}
