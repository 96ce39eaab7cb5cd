//! The whole specification of a replica.

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use sync_core::{Error, Result};
use sync_sql::PostgresReplica;
use sync_testkit::replica::{Act, Host, Subject, conformance};
use tokio::sync::Mutex;

/// What the suite asks of the tables.
const RULES: &str = "
CREATE TABLE shops (id text PRIMARY KEY, name text, code bigint UNIQUE);
CREATE TABLE tills (id text PRIMARY KEY, shop text REFERENCES shops (id), note text);";

/// A host with a connection of its own, which the library knows nothing of. It holds its database.
#[derive(Debug)]
struct Plain(Mutex<PgConnection>, #[expect(dead_code, reason = "it goes with the host")] sync_test_servers::Database);

#[async_trait]
impl Host for Plain {
    async fn run(&self, acts: &[Act]) -> Result<()> {
        let host = &mut *self.0.lock().await;
        let refused = |cause| Error::data("refused").caused_by(cause);
        let mut tx = host.begin().await.map_err(refused)?;
        for act in acts {
            let (sql, values) = match act {
                Act::Put(table @ "shops", row) => (
                    format!(
                        "INSERT INTO {table} VALUES ($1, $2, $3::bigint) ON CONFLICT (id) DO UPDATE SET name = excluded.name, code = excluded.code"
                    ),
                    row.clone(),
                ),
                Act::Put(table, row) => (
                    format!(
                        "INSERT INTO {table} VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE SET shop = excluded.shop, note = excluded.note"
                    ),
                    row.clone(),
                ),
                Act::Delete(table, key) => (format!("DELETE FROM {table} WHERE id = $1"), key.values().to_vec()),
            };
            let bind = |query: sqlx::query::Query<'static, _, _>, value: &sync_core::Value| {
                query.bind((!value.is_null()).then(|| value.to_string()))
            };
            let query = values.iter().fold(sqlx::query::<sqlx::Postgres>(AssertSqlSafe(sql)), bind);
            query.execute(&mut *tx).await.map_err(refused)?;
        }
        tx.commit().await.map_err(refused)
    }
}

#[tokio::test]
async fn postgresql_keeps_the_whole_specification_of_a_replica() {
    let report = conformance(async |_, tables, clock| {
        let database = sync_test_servers::postgres().await.map_err(|error| error.to_string())?;
        database.client(RULES).await.map_err(|error| error.to_string())?;
        let host = PgConnection::connect(&database.url()).await.map_err(|error| error.to_string())?;
        let replica = PostgresReplica::open(&database.url(), "here", tables, clock).await;
        Ok::<_, String>(Subject::new(replica.map_err(|error| error.to_string())?, Plain(host.into(), database)))
    });
    report.await.assert_no_skips();
}
