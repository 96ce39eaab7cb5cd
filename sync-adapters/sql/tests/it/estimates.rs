//! What a source says a read will bring, before it reads.

use sync_core::model::Partition;
use sync_core::source::Reading;
use sync_core::{Cursor, Feed, ReadRequest, Source, StreamSpec};
use sync_sql::{MySqlSource, PostgresSource, SqliteSource};

fn orders() -> StreamSpec {
    StreamSpec::new("orders").key(["id"]).int("id").int("version").version("version")
}

fn first_load() -> ReadRequest {
    ReadRequest::new(Feed::one(std::sync::Arc::new(orders())), Partition::default())
}

async fn estimate(source: &dyn Source, request: &ReadRequest) -> Option<u64> {
    source.estimate(request).await.unwrap().map(|estimate| estimate.rows)
}

/// The cursor that a first load ends with.
async fn read_through(source: &dyn Source) -> Cursor {
    use futures::StreamExt as _;
    let mut cursor = None;
    let mut batches = source.read(first_load());
    while let Some(batch) = batches.next().await {
        if let sync_core::Boundary::Resume(at) = batch.unwrap().boundary {
            cursor = Some(at);
        }
    }
    cursor.unwrap()
}

/// Few rows are counted, and what only continues is not guessed at.
async fn tells_of_whole_reads_alone(source: &dyn Source) {
    assert_eq!(estimate(source, &first_load()).await, Some(30), "{}", source.name());
    assert_eq!(estimate(source, &first_load().reading(Reading::Listing)).await, Some(30), "{}", source.name());
    let next = first_load().from(Some(read_through(source).await));
    assert_eq!(estimate(source, &next).await, None, "{}", source.name());
    let range = sync_core::model::RowScope::Range { column: "id".into(), from: Some(5.into()), until: None };
    assert_eq!(estimate(source, &first_load().reading(Reading::Range(range))).await, None, "{}", source.name());
}

#[tokio::test]
async fn a_sqlite_table_is_counted_and_a_large_one_only_told_of_where_it_was_analyzed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.db");
    let plain = rusqlite::Connection::open(&file).unwrap();
    let fill = |rows: u64| {
        plain.execute_batch(&format!(
            "DROP TABLE IF EXISTS orders; CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, version INTEGER);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) INSERT INTO orders SELECT i, i FROM n"
        )).unwrap();
    };
    fill(30);
    let source = SqliteSource::open(&file).await.unwrap().table(orders());
    tells_of_whole_reads_alone(&source).await;
    fill(1_000_001);
    assert_eq!(estimate(&source, &first_load()).await, None);
    plain.execute_batch("CREATE INDEX by_version ON orders (version); ANALYZE").unwrap();
    assert_eq!(estimate(&source, &first_load()).await, Some(1_000_001));
}

#[tokio::test]
async fn a_table_of_a_server_is_counted_or_told_of_by_its_statistics() {
    let create = "CREATE TABLE orders (id bigint PRIMARY KEY, version bigint)";
    let postgres = sync_test_servers::postgres().await.unwrap();
    postgres.client(&format!("{create}; INSERT INTO orders SELECT i, i FROM generate_series(1, 30) i")).await.unwrap();
    let source = PostgresSource::connect(&postgres.url()).await.unwrap().table(orders());
    tells_of_whole_reads_alone(&source).await;
    postgres.client("INSERT INTO orders SELECT i, i FROM generate_series(31, 20000) i; ANALYZE orders").await.unwrap();
    assert_eq!(estimate(&source, &first_load()).await, Some(20_000));

    let mariadb = sync_test_servers::mariadb().await.unwrap();
    mariadb.client(&format!("{create}; INSERT INTO orders SELECT seq, seq FROM seq_1_to_30")).await.unwrap();
    let source = MySqlSource::connect(&mariadb.url()).await.unwrap().table(orders());
    tells_of_whole_reads_alone(&source).await;
    mariadb.client("INSERT INTO orders SELECT seq, seq FROM seq_31_to_20000; ANALYZE TABLE orders").await.unwrap();
    let said = estimate(&source, &first_load()).await.unwrap();
    assert!((10_001..40_000).contains(&said), "InnoDB's statistics are rough, but not this rough: {said}");
}
