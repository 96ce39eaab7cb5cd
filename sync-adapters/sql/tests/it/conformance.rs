//! The specification of a sink, check by check.

use sync_sql::Sqlite;

#[tokio::test]
async fn sqlite_keeps_the_whole_specification_of_a_sink() {
    let folder = tempfile::tempdir().unwrap();
    let report = sync_testkit::sink::conformance(async |name| Sqlite::open(folder.path().join(name)).await).await;
    // A sink that can do everything is asked everything.
    report.assert_no_skips();
}

#[tokio::test]
async fn what_sqlite_has_acknowledged_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    sync_testkit::sink::durability(async |name| Sqlite::open(folder.path().join(name)).await).await.assert();
}

#[cfg(any(feature = "mysql", feature = "postgres"))]
mod servers {
    use std::collections::HashMap;
    use std::sync::Mutex;

    use sync_test_servers::Database;

    /// Databases by the names of checks. Each stays as long as its test, so that a sink can be opened again.
    #[derive(Default)]
    struct Databases(Mutex<HashMap<String, Database>>);

    impl Databases {
        fn known(&self, name: &str) -> Option<String> {
            self.0.lock().unwrap().get(name).map(Database::url)
        }

        fn add(&self, name: &str, database: Database) -> String {
            let url = database.url();
            self.0.lock().unwrap().insert(name.to_owned(), database);
            url
        }
    }

    macro_rules! on {
        ($sink:ty, $server:path, $whole:ident, $restart:ident) => {
            async fn sink(databases: &Databases, name: &str) -> sync_core::Result<$sink> {
                let url = match databases.known(name) {
                    Some(url) => url,
                    None => databases.add(name, $server().await.unwrap()),
                };
                <$sink>::connect(&url).await
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn $whole() {
                let databases = Databases::default();
                sync_testkit::sink::conformance(async |name| sink(&databases, name).await).await.assert_no_skips();
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn $restart() {
                let databases = Databases::default();
                sync_testkit::sink::durability(async |name| sink(&databases, name).await).await.assert();
            }
        };
    }

    #[cfg(feature = "postgres")]
    mod postgres {
        use super::Databases;

        on!(
            sync_sql::Postgres,
            sync_test_servers::postgres,
            postgres_keeps_the_whole_specification_of_a_sink,
            what_postgres_has_acknowledged_survives_a_restart_of_the_process
        );
    }

    #[cfg(feature = "mysql")]
    mod mariadb {
        use super::Databases;

        on!(
            sync_sql::MySql,
            sync_test_servers::mariadb,
            mariadb_keeps_the_whole_specification_of_a_sink,
            what_mariadb_has_acknowledged_survives_a_restart_of_the_process
        );
    }
}
