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

#[cfg(feature = "postgres")]
mod postgres {
    use sync_sql::Postgres;
    use sync_test_servers::{Database, postgres};

    /// A sink on a database of its own, which stays as long as the test.
    async fn sink(
        databases: &std::sync::Mutex<std::collections::HashMap<String, Database>>,
        name: &str,
    ) -> sync_core::Result<Postgres> {
        let known = databases.lock().unwrap().get(name).map(|database| database.url().to_owned());
        let url = match known {
            Some(url) => url,
            None => {
                let database = postgres().await.unwrap();
                let url = database.url().to_owned();
                databases.lock().unwrap().insert(name.to_owned(), database);
                url
            }
        };
        Postgres::connect(&url).await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn postgres_keeps_the_whole_specification_of_a_sink() {
        let databases = std::sync::Mutex::default();
        let report = sync_testkit::sink::conformance(async |name| sink(&databases, name).await).await;
        report.assert_no_skips();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_postgres_has_acknowledged_survives_a_restart_of_the_process() {
        let databases = std::sync::Mutex::default();
        sync_testkit::sink::durability(async |name| sink(&databases, name).await).await.assert();
    }
}
