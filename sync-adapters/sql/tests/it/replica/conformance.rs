//! The whole specification of a replica.

use async_trait::async_trait;
use rusqlite::Connection;
use sync_core::Result;
use sync_sql::SqliteReplica;
use sync_testkit::replica::{Act, Host, Subject, conformance};

/// What the suite asks of the tables.
const RULES: &str = "
CREATE TABLE shops (id TEXT PRIMARY KEY, name TEXT, code INTEGER UNIQUE);
CREATE TABLE tills (id TEXT PRIMARY KEY, shop TEXT REFERENCES shops (id), note TEXT);";

/// A host that runs its transactions through the replica.
#[derive(Debug)]
struct Ours(SqliteReplica);

#[async_trait]
impl Host for Ours {
    async fn run(&self, acts: &[Act]) -> Result<()> {
        let acts = acts.to_vec();
        let work = move |host: &sync_sql::SqliteHost<'_>| {
            acts.iter().try_for_each(|act| match act {
                Act::Put(table, row) => {
                    let (columns, sets) = match *table {
                        "shops" => ("id, name, code", "name = excluded.name, code = excluded.code"),
                        _ => ("id, shop, note", "shop = excluded.shop, note = excluded.note"),
                    };
                    let sql = format!(
                        "INSERT INTO {table} ({columns}) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET {sets}"
                    );
                    host.execute(&sql, row).map(drop)
                }
                Act::Delete(table, key) => {
                    host.execute(&format!("DELETE FROM {table} WHERE id = ?"), key.values()).map(drop)
                }
            })
        };
        self.0.transaction(work).await
    }
}

/// A host with a connection of its own, which the library knows nothing of.
#[derive(Debug)]
struct Plain(std::sync::Mutex<Connection>);

#[async_trait]
impl Host for Plain {
    async fn run(&self, acts: &[Act]) -> Result<()> {
        let host = &mut *self.0.lock().unwrap();
        let work = || -> rusqlite::Result<()> {
            let tx = host.transaction()?;
            // What the suite demands of groups: transactions told apart.
            tx.execute("INSERT INTO _sync_group VALUES (1)", [])?;
            for act in acts {
                match act {
                    Act::Put(table, row) => {
                        let values: Vec<Option<String>> =
                            row.iter().map(|value| (!value.is_null()).then(|| value.to_string())).collect();
                        tx.execute(
                            &format!("REPLACE INTO {table} VALUES (?, ?, ?)"),
                            rusqlite::params_from_iter(values),
                        )?;
                    }
                    Act::Delete(table, key) => {
                        tx.execute(&format!("DELETE FROM {table} WHERE id = ?"), [key.to_string()])?;
                    }
                }
            }
            tx.execute("INSERT INTO _sync_group VALUES (1)", [])?;
            tx.commit()
        };
        let mut work = work;
        work().map_err(|cause| sync_core::Error::data("refused").caused_by(cause))
    }
}

#[tokio::test]
async fn sqlite_keeps_the_whole_specification_of_a_replica() {
    let folder = tempfile::tempdir().unwrap();
    let report = conformance(async |name, tables, clock| {
        let path = folder.path().join(name);
        Connection::open(&path).unwrap().execute_batch(RULES).unwrap();
        let replica = SqliteReplica::open(&path, "here", tables, clock).await?;
        Ok::<_, sync_core::Error>(Subject::new(replica.clone(), Ours(replica)))
    });
    report.await.assert_no_skips();
}

#[tokio::test]
async fn a_host_with_a_plain_driver_is_noticed_just_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let report = conformance(async |name, tables, clock| {
        let path = folder.path().join(name);
        let host = Connection::open(&path).unwrap();
        host.execute_batch(&format!("PRAGMA foreign_keys = ON; {RULES}")).unwrap();
        let replica = SqliteReplica::open(&path, "here", tables, clock).await?;
        Ok::<_, sync_core::Error>(Subject::new(replica, Plain(host.into())))
    });
    report.await.assert_no_skips();
}
