//! Three databases behind a few calls: the only place that knows there is more than one driver.

use sqlx::AssertSqlSafe;

use crate::dialect::Dialect;
use crate::statement::{Statement, Value};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// Connections to a database.
pub(crate) enum Database {
    #[cfg(feature = "sqlite")]
    Sqlite(crate::driver::sqlite::File),
    #[cfg(feature = "postgres")]
    Postgres(crate::driver::Server<sqlx::Postgres>),
    #[cfg(feature = "mysql")]
    MySql(crate::driver::Server<sqlx::MySql>),
}

/// A transaction that may write. Dropped, it is rolled back.
pub(crate) enum Transaction {
    #[cfg(feature = "sqlite")]
    Sqlite(sqlx::Transaction<'static, sqlx::Sqlite>),
    #[cfg(feature = "postgres")]
    Postgres(crate::driver::Transaction<sqlx::Postgres>),
    #[cfg(feature = "mysql")]
    MySql(crate::driver::Transaction<sqlx::MySql>),
}

/// A transaction for changes of tables, which one process at a time can be in.
pub(crate) struct Alone {
    pub(crate) transaction: Transaction,
    /// MySQL commits before each change of a table, so the lock belongs to another connection, and ends with it.
    #[cfg(feature = "mysql")]
    _guard: Option<sqlx::MySqlConnection>,
}

/// Does the same with each driver's own types.
macro_rules! each {
    ($enum:ident, $on:expr, $it:ident => $do:expr) => {
        match $on {
            #[cfg(feature = "sqlite")]
            $enum::Sqlite($it) => $do,
            #[cfg(feature = "postgres")]
            $enum::Postgres($it) => $do,
            #[cfg(feature = "mysql")]
            $enum::MySql($it) => $do,
        }
    };
}

/// Binds the values to the text.
macro_rules! bound {
    ($query:expr, $values:expr) => {{
        let mut query = $query;
        for value in $values {
            query = match value {
                Value::Number(number) => query.bind(number),
                Value::Text(text) => query.bind(text),
            };
        }
        query
    }};
}

/// Reads the first row. What binds nothing need not be prepared, which is a round trip of its own.
macro_rules! first {
    ($text:expr, $values:expr, $connection:expr) => {{
        if $values.is_empty() {
            let row = sqlx::raw_sql(AssertSqlSafe($text)).fetch_optional($connection).await;
            row.and_then(|row| row.map(|row| sqlx::FromRow::from_row(&row)).transpose())
        } else {
            bound!(sqlx::query_as(AssertSqlSafe($text)), $values).fetch_optional($connection).await
        }
    }};
}

impl Database {
    pub(crate) async fn close(&self) {
        each!(Self, self, on => on.close().await);
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => Dialect::Sqlite,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => Dialect::Postgres,
            #[cfg(feature = "mysql")]
            Self::MySql(_) => Dialect::MySql,
        }
    }

    /// Begins a transaction that may write.
    pub(crate) async fn begin(&self) -> Result<Transaction> {
        Ok(match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(file) => Transaction::Sqlite(file.begin().await?),
            #[cfg(feature = "postgres")]
            Self::Postgres(server) => Transaction::Postgres(server.begin().await?),
            #[cfg(feature = "mysql")]
            Self::MySql(server) => Transaction::MySql(server.begin().await?),
        })
    }

    /// Begins a transaction when no other process is in one of these.
    pub(crate) async fn begin_alone(&self) -> Result<Alone> {
        #[cfg(feature = "mysql")]
        let guard = match self {
            Self::MySql(server) => Some(crate::driver::mysql::lock_out_others(&server.more).await?),
            #[cfg(any(feature = "sqlite", feature = "postgres"))]
            _ => None,
        };
        let transaction = self.begin().await?;
        #[cfg(feature = "postgres")]
        let transaction = match transaction {
            Transaction::Postgres(transaction) => {
                Transaction::Postgres(crate::driver::postgres::lock_out_others(transaction).await?)
            }
            #[cfg(any(feature = "sqlite", feature = "mysql"))]
            other => other,
        };
        Ok(Alone {
            transaction,
            #[cfg(feature = "mysql")]
            _guard: guard,
        })
    }

    /// Runs one statement as a transaction of its own, and says how many rows it found.
    pub(crate) async fn execute(&self, statement: Statement) -> Result<u64> {
        let (text, values) = statement.spoken(self.dialect());
        each!(Self, self, connections => {
            let mut writer = connections.writer().await?;
            let done = bound!(sqlx::query(AssertSqlSafe(text)), values).execute(&mut *writer).await;
            Ok(writer.after(done)?.rows_affected())
        })
    }

    /// Reads rows.
    pub(crate) async fn rows<T: Record>(&self, statement: Statement) -> Result<Vec<T>> {
        let (text, values) = statement.spoken(self.dialect());
        each!(Self, self, connections => {
            let mut reader = connections.reader().await?;
            let found = bound!(sqlx::query_as(AssertSqlSafe(text)), values).fetch_all(&mut *reader).await;
            reader.after(found)
        })
    }

    /// Reads the first row.
    pub(crate) async fn row<T: Record>(&self, statement: Statement) -> Result<Option<T>> {
        let (text, values) = statement.spoken(self.dialect());
        each!(Self, self, connections => {
            let mut reader = connections.reader().await?;
            let found = first!(text, values, &mut *reader);
            reader.after(found)
        })
    }
}

impl Transaction {
    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => Dialect::Sqlite,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => Dialect::Postgres,
            #[cfg(feature = "mysql")]
            Self::MySql(_) => Dialect::MySql,
        }
    }

    /// Runs a statement, and says how many rows it found.
    pub(crate) async fn execute(&mut self, statement: Statement) -> Result<u64> {
        let (text, values) = statement.spoken(self.dialect());
        each!(Self, self, transaction => {
            let query = bound!(sqlx::query(AssertSqlSafe(text)), values);
            Ok(query.execute(&mut **transaction).await?.rows_affected())
        })
    }

    /// Runs statements in neutral form that bind nothing, all in one round trip.
    pub(crate) async fn run(&mut self, neutral: &str) -> Result<()> {
        let text = self.dialect().render(neutral);
        each!(Self, self, transaction => {
            sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut **transaction).await.map(drop)
        })
    }

    /// Runs a statement that changes one row and notes a number with `{noted}`, and says which. None where it found no row.
    pub(crate) async fn noted(&mut self, statement: Statement) -> Result<Option<i64>> {
        match self {
            #[cfg(feature = "mysql")]
            Self::MySql(transaction) => {
                let (text, values) = statement.spoken(Dialect::MySql);
                let done = bound!(sqlx::query(AssertSqlSafe(text)), values).execute(&mut **transaction).await?;
                Ok((done.rows_affected() > 0).then(|| done.last_insert_id().cast_signed()))
            }
            #[cfg(any(feature = "sqlite", feature = "postgres"))]
            returning => Ok(returning.row(statement).await?.map(|(noted,)| noted)),
        }
    }

    /// Reads rows.
    pub(crate) async fn rows<T: Record>(&mut self, statement: Statement) -> Result<Vec<T>> {
        let (text, values) = statement.spoken(self.dialect());
        each!(Self, self, transaction => {
            bound!(sqlx::query_as(AssertSqlSafe(text)), values).fetch_all(&mut **transaction).await
        })
    }

    /// Reads the first row.
    pub(crate) async fn row<T: Record>(&mut self, statement: Statement) -> Result<Option<T>> {
        let (text, values) = statement.spoken(self.dialect());
        each!(Self, self, transaction => first!(text, values, &mut **transaction))
    }

    pub(crate) async fn commit(self) -> Result<()> {
        each!(Self, self, transaction => transaction.commit().await)
    }

    /// Takes it back. Where that fails, the database does so when it sees that its connection has gone.
    pub(crate) async fn rollback(self) {
        each!(Self, self, transaction => drop(transaction.rollback().await));
    }
}

/// A tuple that a row of every enabled database can be read as.
pub(crate) trait Record: rows::OfSqlite + rows::OfPostgres + rows::OfMySql + Send + Unpin {}
impl<T: rows::OfSqlite + rows::OfPostgres + rows::OfMySql + Send + Unpin> Record for T {}

/// What each driver asks of a [`Record`]: nothing, where its feature is off.
mod rows {
    macro_rules! rows {
        ($name:ident, $feature:literal, $row:path) => {
            #[cfg(feature = $feature)]
            pub(crate) trait $name: for<'r> sqlx::FromRow<'r, $row> {}
            #[cfg(feature = $feature)]
            impl<T: for<'r> sqlx::FromRow<'r, $row>> $name for T {}
            #[cfg(not(feature = $feature))]
            pub(crate) trait $name {}
            #[cfg(not(feature = $feature))]
            impl<T> $name for T {}
        };
    }
    rows!(OfSqlite, "sqlite", sqlx::sqlite::SqliteRow);
    rows!(OfPostgres, "postgres", sqlx::postgres::PgRow);
    rows!(OfMySql, "mysql", sqlx::mysql::MySqlRow);
}
