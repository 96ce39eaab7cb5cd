//! Transactions that commit late: what the server proves, what is assumed, and who may ask.

use std::time::Duration;

use futures::StreamExt;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use sync_core::model::{FrontierProof, Outcome};
use sync_core::{ErrorKind, ReadRequest, RunOptions, Source, StreamSpec};
use sync_sql::PostgresSource;
use sync_test_servers::{Durability, PostgresServer};

use super::{BY_NUMBER, BY_TIME, OnPostgres, World, by_number, by_time};

/// A transaction that stamps its row, and commits only when it is told to.
async fn in_a_transaction(world: &World, sql: &str) -> PgConnection {
    let mut connection = PgConnection::connect(&world.there.0.url()).await.unwrap();
    connection.execute("BEGIN").await.unwrap();
    connection.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
    connection
}

async fn commit(mut connection: PgConnection) {
    connection.execute("COMMIT").await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_commits_late_is_not_lost_where_the_server_stamps() {
    let mut world = World::new(BY_TIME, &[by_time()]).await;
    world.source = world.source.stamped_by_server();
    let late = in_a_transaction(&world, "INSERT INTO orders (id, note) VALUES (1, 'late')").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.sql("INSERT INTO orders (id, note) VALUES (2, 'prompt')").await;
    world.run(RunOptions::incremental()).await;
    assert_eq!(world.rows("id"), ["2"], "what is there comes at once");
    // Longer than the margin: only the transaction itself holds the position back.
    tokio::time::sleep(Duration::from_secs(6)).await;
    world.sql("INSERT INTO orders (id, note) VALUES (3, 'prompt')").await;
    let report = world.run(RunOptions::incremental()).await;
    assert_eq!(report.ledger().fetched, 2, "what the transaction may precede comes again: {report}");
    commit(late).await;
    let report = world.run(RunOptions::incremental()).await;
    assert_eq!(world.rows("id"), ["1", "2", "3"]);
    assert_eq!(report.scopes[0].late, 0, "{report}");
    tokio::time::sleep(Duration::from_secs(6)).await;
    world.run(RunOptions::incremental()).await;
    let report = world.run(RunOptions::incremental()).await;
    assert_eq!(report.ledger().fetched, 0, "once the transaction is over, nothing comes again: {report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_transaction_holds_the_position_until_it_is_over() {
    let server = PostgresServer::start(Durability::ProcessOnly).await.unwrap();
    server.database().await.unwrap().client("ALTER SYSTEM SET max_prepared_transactions = 5").await.unwrap();
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let mut world = World::on(OnPostgres(server.database().await.unwrap()), BY_TIME, &[by_time()]).await;
    world.source = world.source.stamped_by_server();
    world.sql("BEGIN; INSERT INTO orders (id, note) VALUES (1, 'late'); PREPARE TRANSACTION 'late'").await;
    world.sql("INSERT INTO orders (id, note) VALUES (2, 'prompt')").await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    world.run(RunOptions::incremental()).await;
    assert_eq!(world.rows("id"), ["2"]);
    world.sql("COMMIT PREPARED 'late'").await;
    world.run(RunOptions::incremental()).await;
    assert_eq!(world.rows("id"), ["1", "2"]);
    assert_eq!(world.run(RunOptions::incremental()).await.ledger().fetched, 0, "the position moves on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_the_number_of_its_transaction_is_proven_without_any_right_or_clock() {
    let create =
        "CREATE TABLE orders (id int PRIMARY KEY, version xid8 NOT NULL DEFAULT pg_current_xact_id(), note text);";
    let stream = StreamSpec::new("orders").key(["id"]).uint("version").version("version").text("note");
    let mut world = World::new(create, &[stream]).await;
    world.source = world.source.stamped_by_server();
    let late = in_a_transaction(&world, "INSERT INTO orders (id, note) VALUES (1, 'late')").await;
    world.sql("INSERT INTO orders (id, note) VALUES (2, 'prompt')").await;
    world.run(RunOptions::incremental()).await;
    world.sql("INSERT INTO orders (id, note) VALUES (3, 'prompt')").await;
    world.run(RunOptions::incremental()).await;
    assert_eq!(world.rows("id"), ["2", "3"]);
    commit(late).await;
    world.run(RunOptions::incremental()).await;
    assert_eq!(world.rows("id"), ["1", "2", "3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_commits_later_than_the_lookback_is_lost_until_a_reconcile_repairs_and_reports_it() {
    let mut world = World::new(BY_TIME, &[by_time()]).await;
    world.source = world.source.lookback(Duration::from_millis(10));
    let late = in_a_transaction(&world, "INSERT INTO orders (id, note) VALUES (1, 'late')").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.sql("INSERT INTO orders (id, note) VALUES (2, 'prompt')").await;
    world.run(RunOptions::incremental()).await;
    commit(late).await;
    world.run(RunOptions::incremental()).await;
    assert_eq!(world.rows("id"), ["2"], "the row lies before the position");
    let repaired = world.run(RunOptions::reconcile()).await;
    assert_eq!((repaired.ledger().count(Outcome::Created), repaired.scopes[0].missed), (1, 1), "{repaired}");
    assert!(repaired.to_string().contains("1 row or more had been missed"), "{repaired}");
    assert_eq!(world.rows("id, note"), ["1,late", "2,prompt"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_commits_late_within_the_lookback_is_found_and_measured() {
    let mut world = World::new(BY_TIME, &[by_time()]).await;
    world.source = world.source.lookback(Duration::from_secs(60));
    let late = in_a_transaction(&world, "INSERT INTO orders (id, note) VALUES (1, 'late')").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.sql("INSERT INTO orders (id, note) VALUES (2, 'prompt')").await;
    world.run(RunOptions::incremental()).await;
    commit(late).await;
    let report = world.run(RunOptions::incremental()).await;
    assert_eq!(world.rows("id"), ["1", "2"]);
    assert_eq!(report.scopes[0].late, 1, "{report}");
    assert!(report.scopes[0].lateness >= Duration::from_millis(400), "{report}");
}

/// What the horizon relies on, as the server's manual leaves it open.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_stamps_with_the_time_that_it_shows_for_the_transaction() {
    let world = World::new("SELECT 1", &[]).await;
    let shown = "SELECT now() = xact_start FROM pg_stat_activity WHERE pid = pg_backend_pid()";
    let sleeping = format!("BEGIN; SELECT pg_sleep(0.05); {shown}; COMMIT; {shown}");
    assert_eq!(world.sql(&sleeping).await.split_whitespace().collect::<Vec<_>>(), ["t", "t"]);
    let mut connection = PgConnection::connect(&world.there.0.url()).await.unwrap();
    let old = "SELECT now() = query_start AND now() < clock_timestamp() - interval '0.2 s' AS old FROM pg_stat_activity WHERE pid = pg_backend_pid()";
    // One message with two transactions: the second is stamped with the arrival of the message.
    let message = format!("BEGIN; SELECT pg_sleep(0.2); COMMIT; BEGIN; {old}; COMMIT");
    let rows = connection.fetch_all(AssertSqlSafe(message)).await.unwrap();
    let old: bool = sqlx::Row::try_get(rows.last().unwrap(), "old").unwrap();
    assert!(old, "a command under way says how old the transactions may be that it goes on to begin");
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_of_other_databases_hold_nothing_back() {
    let mut world = World::new(BY_TIME, &[by_time()]).await;
    world.source = world.source.stamped_by_server();
    let elsewhere = World::new(BY_TIME, &[]).await;
    let other = in_a_transaction(&elsewhere, "INSERT INTO orders (id) VALUES (1)").await;
    world.sql("INSERT INTO orders (id) VALUES (1)").await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    world.run(RunOptions::incremental()).await;
    assert_eq!(world.run(RunOptions::incremental()).await.ledger().fetched, 0);
    commit(other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_frontier_is_said_to_be_proven_only_where_it_is() {
    let world = World::new(BY_TIME, &[by_time()]).await;
    world.sql("INSERT INTO orders (id, at) SELECT i, '2026-01-01Z'::timestamptz + i * interval '1 minute' FROM generate_series(1, 20) i").await;
    let frontiers = async |source: PostgresSource| {
        let feed = source.feeds().await.unwrap().remove(0);
        let batches: Vec<_> = source.read(ReadRequest::new(feed, Default::default())).collect().await;
        batches.into_iter().map(|batch| batch.unwrap().frontier.unwrap()).collect::<Vec<_>>()
    };
    let proven = frontiers(world.source.clone().stamped_by_server()).await;
    assert!(proven.iter().all(|frontier| frontier.proof == FrontierProof::Provable), "{proven:?}");
    let times: Vec<String> = proven.iter().map(|frontier| frontier.at.to_string()).collect();
    assert_eq!(times[..2], ["2026-01-01T00:07:00.000000Z", "2026-01-01T00:14:00.000000Z"]);
    let behind = world
        .sql(&format!("SELECT now() - '{}' BETWEEN interval '5 seconds' AND interval '60 seconds'", times[2]))
        .await;
    assert_eq!(behind, "t", "after the last page, everything up to the present but a margin: {times:?}");
    let assumed = frontiers(world.source.clone()).await;
    assert!(assumed.iter().all(|frontier| frontier.proof == FrontierProof::Assumed), "{assumed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_rights_are_refused_with_the_grant() {
    let mut world = World::new(BY_TIME, &[by_time()]).await;
    let role = format!("reader \"of\" {}", world.there.0.name());
    let quoted = format!("\"{}\"", role.replace('"', "\"\""));
    world.sql(&format!("CREATE ROLE {quoted} LOGIN PASSWORD 'pw'; GRANT SELECT ON orders TO {quoted}; INSERT INTO orders VALUES (1)")).await;
    let encoded = role.replace(' ', "%20").replace('"', "%22");
    let url =
        format!("postgres://{encoded}:pw@{}:{}/{}", world.there.0.host(), world.there.0.port(), world.there.0.name());
    let source = PostgresSource::connect(&url).await.unwrap().table(by_time());
    source.check().await.unwrap();
    world.source = source.stamped_by_server();
    let error = world.source.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
    let grant = format!("GRANT pg_read_all_stats TO {quoted}");
    assert!(error.to_string().contains(&grant), "{error}");
    world.sql(&grant).await;
    world.source.check().await.unwrap();
    world.run(RunOptions::incremental()).await;
    assert_eq!(world.rows("id"), ["1"]);
    world.source = PostgresSource::connect(&url).await.unwrap().table(by_time());
    world.sql(&format!("REVOKE ALL ON orders FROM {quoted}")).await;
    assert_eq!(world.source.check().await.unwrap_err().kind(), ErrorKind::Forbidden);
    world.sql(&format!("DROP OWNED BY {quoted}; DROP ROLE {quoted}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_about_which_the_server_proves_nothing_are_refused() {
    let zoneless = "CREATE TABLE orders (id int PRIMARY KEY, at timestamp NOT NULL DEFAULT now(), note text)";
    let mut world = World::new(zoneless, &[by_time()]).await;
    world.source.check().await.unwrap();
    world.source = world.source.stamped_by_server();
    let refused = world.refused().await;
    assert!(refused.contains("timestamp without time zone") && refused.contains("lookback"), "{refused}");
    let mut numbered = World::new(BY_NUMBER, &[by_number()]).await;
    numbered.source = numbered.source.stamped_by_server();
    assert!(numbered.refused().await.contains("\"bigint\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_a_subscription_fills_is_not_stamped_by_this_server() {
    let server = PostgresServer::start(Durability::ProcessOnly).await.unwrap();
    let there = server.database().await.unwrap();
    there.client("ALTER SYSTEM SET wal_level = logical").await.unwrap();
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    there.client(&format!("{BY_TIME} CREATE PUBLICATION p FOR TABLE orders")).await.unwrap();
    there.client("SELECT pg_create_logical_replication_slot('s', 'pgoutput')").await.unwrap();
    let mut world = World::on(OnPostgres(server.database().await.unwrap()), BY_TIME, &[by_time()]).await;
    let address = format!("host={} port={} dbname={}", there.host(), there.port(), there.name());
    let account = format!("user={} password={}", there.user(), there.password());
    let subscribe = "WITH (create_slot = false, slot_name = 's', copy_data = false)";
    world.sql(&format!("CREATE SUBSCRIPTION s CONNECTION '{address} {account}' PUBLICATION p {subscribe}")).await;
    world.source.check().await.unwrap();
    world.source = world.source.stamped_by_server();
    let refused = world.refused().await;
    assert!(refused.contains("subscription") && refused.contains("lookback"), "{refused}");
    world.sql("ALTER SUBSCRIPTION s DISABLE; ALTER SUBSCRIPTION s SET (slot_name = NONE); DROP SUBSCRIPTION s").await;
    world.source.check().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_hide_their_transactions_are_not_overlooked() {
    let mut world = World::new(BY_TIME, &[by_time()]).await;
    world.source = world.source.stamped_by_server();
    let hidden = in_a_transaction(&world, "SET track_activities = off; INSERT INTO orders (id) VALUES (1)").await;
    let refused = world.refused().await;
    assert!(refused.contains("track_activities"), "{refused}");
    commit(hidden).await;
    world.run(RunOptions::incremental()).await;
    assert_eq!(world.rows("id"), ["1"]);
}
