//! The longest packet that the server takes: it may be made shorter while we are connected.

use super::*;

const KILL: &str = "SELECT concat('KILL ', id, ';') FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()";

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_cut_for_the_packet_that_a_new_connection_takes() {
    // The setting is the whole server's: this one is nobody else's.
    let server = MariaDbServer::start(Durability::ProcessOnly).await.unwrap();
    let database = server.database().await.unwrap();
    let sink = MySql::connect(&database.url()).await.unwrap();
    let (stream, text) = (orders(), "x".repeat(1000));
    sink.prepare(&stream).await.unwrap();
    let rows = |version: i64| (1..=1000).map(|id| row(id, version, &text)).collect::<Vec<_>>();
    database.client("SET GLOBAL max_allowed_packet = 65536").await.unwrap();
    // A connection keeps the length it began with; the server ends it, and the next one takes less.
    database.client(&database.client(KILL).await.unwrap()).await.unwrap();
    let created = apply(&sink, &[write(&stream, &rows(1))], Intent::Commit).await.unwrap();
    assert_eq!(created, [Outcome::Created; 1000]);
    let updated = apply(&sink, &[write(&stream, &rows(2))], Intent::Commit).await.unwrap();
    assert_eq!(updated, [Outcome::Updated; 1000]);
    let found = database.client("SELECT count(*), min(version), sum(length(note)) FROM orders").await.unwrap();
    assert_eq!(found, "1000\t2\t1000000");
    let long = row(2000, 3, &"y".repeat(70_000));
    let refused = apply(&sink, &[write(&stream, &[long])], Intent::Commit).await.unwrap_err();
    assert!(refused.to_string().contains("65536 bytes, the server's max_allowed_packet"), "{refused}");
}
