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
