//! The specification of a source whose versions the server stamps, check by check.

use sync_core::StreamSpec;
use sync_sql::PostgresSource;

use crate::followed::{HELD, OnPostgres, prove};

#[tokio::test(flavor = "multi_thread")]
async fn postgres_keeps_the_specification_of_a_source_whose_versions_the_server_stamps() {
    let create = "CREATE TABLE orders (id int PRIMARY KEY, version timestamptz NOT NULL DEFAULT now(), note text);
        INSERT INTO orders SELECT i, '2026-01-01Z'::timestamptz + i / 2 * interval '1 second', 'note' FROM generate_series(1, 35) i";
    let stream = StreamSpec::new("orders").key(["id"]).version("version").text("note");
    let next = "greatest(max(version), now())";
    let report = prove::<OnPostgres>(stream, PostgresSource::stamped_by_server, create, next, false).await;
    report.assert_held(HELD);
}
