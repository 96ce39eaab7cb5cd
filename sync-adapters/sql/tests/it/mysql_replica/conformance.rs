//! The whole specification of a replica.

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection};
use sync_core::{Error, Result};
use sync_sql::MySqlReplica;
use sync_testkit::replica::{Act, Host, Subject, conformance};
use tokio::sync::Mutex;

/// What the suite asks of the tables.
const RULES: &str = "
CREATE TABLE shops (id varchar(40) PRIMARY KEY, name longtext, code bigint UNIQUE) COLLATE utf8mb4_nopad_bin;
CREATE TABLE tills (id varchar(40) PRIMARY KEY, shop varchar(40) REFERENCES shops (id), note longtext) COLLATE utf8mb4_nopad_bin;";

/// A host with a connection of its own, which the library knows nothing of. It holds its database.
#[derive(Debug)]
struct Plain(
    Mutex<MySqlConnection>,
    #[expect(dead_code, reason = "it goes with the host")] sync_test_servers::Database,
);

#[async_trait]
impl Host for Plain {
    async fn run(&self, acts: &[Act]) -> Result<()> {
        let host = &mut *self.0.lock().await;
        let refused = |cause| Error::data("refused").caused_by(cause);
        let mut tx = host.begin().await.map_err(refused)?;
        for act in acts {
            let (sql, values) = match act {
                Act::Put(table, row) => {
                    let set = if *table == "shops" { ["name", "code"] } else { ["shop", "note"] };
                    let set = set.map(|column| format!("{column} = VALUES({column})")).join(", ");
                    (format!("INSERT INTO {table} VALUES (?, ?, ?) ON DUPLICATE KEY UPDATE {set}"), row.clone())
                }
                Act::Delete(table, key) => (format!("DELETE FROM {table} WHERE id = ?"), key.values().to_vec()),
            };
            let bind = |query: sqlx::query::Query<'static, _, _>, value: &sync_core::Value| {
                query.bind((!value.is_null()).then(|| value.to_string()))
            };
            let query = values.iter().fold(sqlx::query::<sqlx::MySql>(AssertSqlSafe(sql)), bind);
            query.execute(&mut *tx).await.map_err(refused)?;
        }
        tx.commit().await.map_err(refused)
    }
}

#[tokio::test]
async fn mariadb_keeps_the_whole_specification_of_a_replica() {
    let report = conformance(async |_, tables, clock| {
        let database = sync_test_servers::mariadb().await.map_err(|error| error.to_string())?;
        database.client(RULES).await.map_err(|error| error.to_string())?;
        let host = MySqlConnection::connect(&database.url()).await.map_err(|error| error.to_string())?;
        let replica = MySqlReplica::open(&database.url(), "here", tables, clock).await;
        Ok::<_, String>(Subject::new(replica.map_err(|error| format!("{error:?}"))?, Plain(host.into(), database)))
    });
    report.await.assert_no_skips();
}
