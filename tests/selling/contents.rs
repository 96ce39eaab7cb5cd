//! What is in a database, read with plain drivers: nothing here knows of sync.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use mysql_async::Pool;
use mysql_async::prelude::Queryable as _;
use rusqlite::Connection;
use sync_tests::selling::shop::TABLES;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

pub(crate) type Row = Vec<String>;

/// All rows of all tables, each as text, in order of their keys.
pub(crate) type Contents = BTreeMap<&'static str, Vec<Row>>;

/// The master's database.
pub(crate) enum Plain {
    Postgres(Client),
    MariaDb(Pool),
}

impl Plain {
    pub(crate) async fn connect(url: &str) -> Self {
        if url.starts_with("mysql:") {
            return Self::MariaDb(Pool::from_url(url).unwrap());
        }
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        tokio::spawn(connection);
        Self::Postgres(client)
    }

    pub(crate) async fn run(&self, sql: &str) {
        match self {
            Self::Postgres(client) => client.batch_execute(sql).await.unwrap(),
            Self::MariaDb(pool) => {
                let mut connection = pool.get_conn().await.unwrap();
                for statement in sql.split(';').filter(|statement| !statement.trim().is_empty()) {
                    connection.query_drop(statement).await.unwrap();
                }
            }
        }
    }

    pub(crate) async fn rows(&self, sql: &str) -> Vec<Row> {
        match self {
            Self::Postgres(client) => {
                let messages = client.simple_query(sql).await.unwrap();
                let rows = messages.iter().filter_map(|message| match message {
                    SimpleQueryMessage::Row(row) => Some(row),
                    _ => None,
                });
                rows.map(|row| (0..row.len()).map(|at| row.get(at).unwrap_or("NULL").to_owned()).collect()).collect()
            }
            Self::MariaDb(pool) => {
                let mut connection = pool.get_conn().await.unwrap();
                let rows: Vec<mysql_async::Row> = connection.query(sql).await.unwrap();
                let text = |value| match value {
                    mysql_async::Value::NULL => "NULL".to_owned(),
                    value => mysql_async::from_value(value),
                };
                rows.into_iter().map(|row| row.unwrap().into_iter().map(text).collect()).collect()
            }
        }
    }

    pub(crate) async fn contents(&self, tables: &[&str]) -> Contents {
        let mut contents = Contents::new();
        for (table, columns) in TABLES.into_iter().filter(|(table, _)| tables.contains(table)) {
            let mut rows = self.rows(&format!("SELECT {} FROM {table}", columns.join(", "))).await;
            rows.sort();
            contents.insert(table, rows);
        }
        contents
    }
}

/// What a till has.
pub(crate) fn of_till(database: &Path, tables: &[&str]) -> Contents {
    let connection = Connection::open(database).unwrap();
    connection.busy_timeout(Duration::from_secs(30)).unwrap();
    let mut contents = Contents::new();
    for (table, columns) in TABLES.into_iter().filter(|(table, _)| tables.contains(table)) {
        let columns: Vec<String> =
            columns.iter().map(|column| format!("coalesce(CAST({column} AS TEXT), 'NULL')")).collect();
        let mut read = connection.prepare(&format!("SELECT {} FROM {table}", columns.join(", "))).unwrap();
        let rows = read.query_map([], |row| (0..columns.len()).map(|at| row.get(at)).collect());
        let mut rows: Vec<Row> = rows.unwrap().collect::<Result<_, _>>().unwrap();
        rows.sort();
        contents.insert(table, rows);
    }
    contents
}
