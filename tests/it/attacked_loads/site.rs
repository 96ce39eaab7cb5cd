//! A database with a replica in it, and its host.

use std::time::Duration;

use sqlx::{Connection as _, Executor as _};
use sync_core::two_way::{Book, Branch, Hub, Master, Replica};
use sync_sql::{MySqlReplica, PostgresReplica, SqliteReplica};
use sync_test_servers::Database;

use super::{DDL, clock, tables};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Sqlite,
    Postgres,
    MariaDb,
}

pub(super) const KINDS: [Kind; 3] = [Kind::Sqlite, Kind::Postgres, Kind::MariaDb];

pub(super) struct Site {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) url: String,
    _folder: Option<tempfile::TempDir>,
    _database: Option<Database>,
}

macro_rules! each {
    ($self:expr, $replica:ident => $do:expr) => {
        match $self.kind {
            Kind::Sqlite => {
                let $replica = SqliteReplica::open(&$self.url, &*$self.name, tables(), clock()).await.unwrap();
                $do
            }
            Kind::Postgres => {
                let $replica = PostgresReplica::open(&$self.url, &*$self.name, tables(), clock()).await.unwrap();
                $do
            }
            Kind::MariaDb => {
                let $replica = MySqlReplica::open(&$self.url, &*$self.name, tables(), clock()).await.unwrap();
                $do
            }
        }
    };
}

impl Site {
    pub(super) async fn new(kind: Kind, name: &str) -> Self {
        let (folder, database, url) = match kind {
            Kind::Sqlite => {
                let folder = tempfile::tempdir().unwrap();
                let url = folder.path().join("it.db").to_str().unwrap().to_owned();
                (Some(folder), None, url)
            }
            Kind::Postgres => {
                let database = sync_test_servers::postgres().await.unwrap();
                let url = database.url();
                (None, Some(database), url)
            }
            Kind::MariaDb => {
                let database = sync_test_servers::mariadb().await.unwrap();
                let url = database.url();
                (None, Some(database), url)
            }
        };
        let site = Self { kind, name: name.to_owned(), url, _folder: folder, _database: database };
        for ddl in DDL {
            let ending = if kind == Kind::MariaDb { " COLLATE utf8mb4_nopad_bin" } else { "" };
            site.run(&format!("{ddl}{ending}")).await;
        }
        site
    }

    /// The same database, with another process's eyes.
    pub(super) fn at(kind: Kind, name: &str, url: &str) -> Self {
        Self { kind, name: name.to_owned(), url: url.to_owned(), _folder: None, _database: None }
    }

    pub(super) async fn hub(&self) -> Hub {
        each!(self, replica => Hub::new(replica, clock()))
    }

    pub(super) async fn branch(&self, way: impl Master + 'static) -> Branch {
        each!(self, replica => Branch::new(replica, way, clock()))
    }

    /// Statements in one transaction.
    pub(super) async fn run(&self, sql: &str) {
        self.tried(sql).await.unwrap();
    }

    pub(super) async fn tried(&self, sql: &str) -> Result<(), String> {
        match self.kind {
            Kind::Sqlite => {
                let (file, sql) = (self.url.clone(), sql.to_owned());
                tokio::task::spawn_blocking(move || {
                    let host = rusqlite::Connection::open(file).map_err(|error| error.to_string())?;
                    host.busy_timeout(Duration::from_secs(60)).unwrap();
                    host.execute_batch("PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON").unwrap();
                    host.execute_batch(&format!("BEGIN IMMEDIATE; {sql}; COMMIT")).map_err(|error| error.to_string())
                })
                .await
                .unwrap()
            }
            Kind::Postgres => {
                let mut host = sqlx::PgConnection::connect(&self.url).await.map_err(|error| error.to_string())?;
                let sql = sqlx::AssertSqlSafe(format!("BEGIN; {sql}; COMMIT"));
                host.execute(sql).await.map(drop).map_err(|error| error.to_string())
            }
            Kind::MariaDb => {
                let mut host = sqlx::MySqlConnection::connect(&self.url).await.map_err(|error| error.to_string())?;
                let sql = sqlx::AssertSqlSafe(format!("BEGIN; {sql}; COMMIT"));
                host.execute(sql).await.map(drop).map_err(|error| error.to_string())
            }
        }
    }

    /// All rows, as the host reads them, in one statement.
    pub(super) async fn rows(&self) -> std::collections::BTreeSet<String> {
        let sql = "SELECT concat('people|', id, '|', coalesce(chief, '-'), '|', coalesce(badge, '-'), '|', coalesce(name, '-'), '|', n) AS r FROM people
                   UNION ALL SELECT concat('things|', id, '|', owner, '|', coalesce(tag, '-'), '|', n) FROM things";
        match self.kind {
            Kind::Sqlite => {
                let (file, sql) = (self.url.clone(), sql.to_owned());
                tokio::task::spawn_blocking(move || {
                    let host = rusqlite::Connection::open(file).unwrap();
                    host.busy_timeout(Duration::from_secs(60)).unwrap();
                    let mut select = host.prepare(&sql).unwrap();
                    let rows = select.query_map([], |row| row.get::<_, String>(0)).unwrap();
                    rows.map(Result::unwrap).collect()
                })
                .await
                .unwrap()
            }
            Kind::Postgres => {
                let mut host = sqlx::PgConnection::connect(&self.url).await.unwrap();
                let rows: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut host).await.unwrap();
                rows.into_iter().collect()
            }
            Kind::MariaDb => {
                let mut host = sqlx::MySqlConnection::connect(&self.url).await.unwrap();
                let rows: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut host).await.unwrap();
                rows.into_iter().collect()
            }
        }
    }

    /// How many parts of a load are kept.
    pub(super) async fn kept(&self) -> usize {
        let list = async |replica: &dyn Replica| {
            replica.look().await.unwrap().list(Book::Load, "", "", 100_000).await.unwrap().len()
        };
        each!(self, replica => list(&replica).await)
    }

    pub(super) async fn new_epoch(&self, epoch: u64) {
        let begin = async |replica: &dyn Replica| {
            let mut tx = replica.begin().await.unwrap();
            let rev = tx.head().await.unwrap().rev + 1_000_000;
            tx.begin_epoch(epoch, rev).await.unwrap();
            tx.commit().await.unwrap();
        };
        each!(self, replica => begin(&replica).await);
    }
}
