//! Faults that pass: the whole unit is done again, and its rows are exact.

use std::time::Duration;

use super::*;
use sync_test_servers::{Durability, MariaDbServer};

/// A run that changes every row, while another client does this.
async fn run_beside(world: &World, script: String) -> Report {
    (1..=50).for_each(|id| world.source.upsert("orders", row(id, 2, "second")));
    let (done, report) = tokio::join!(world.database.client(&script), async {
        is_held(world).await;
        world.run().await
    });
    // Where both waited for each other, it may be the other one that had to give way.
    if let Err(error) = done {
        assert!(error.to_string().to_lowercase().contains("deadlock"), "{error}");
    }
    let found = world.ask("SELECT count(*), min(n), max(n), min(note), max(note) FROM orders").await;
    assert_eq!(found, "50\t2\t2\tsecond\tsecond", "{:?}", world.server);
    assert_eq!(count(&report, Outcome::Updated), 50, "{:?}: {report}", world.server);
    report
}

/// A transaction that holds row 7 for a while.
fn hold(server: Server, seconds: f32) -> String {
    let (held, sleep) = (said_to_be_held(server), server.sleep(seconds));
    format!("BEGIN; UPDATE orders SET theirs = 1 WHERE id = 7; {held}; {sleep}; COMMIT")
}

/// How the other client tells that it has its first lock.
fn said_to_be_held(server: Server) -> &'static str {
    match server {
        Server::Postgres => "SELECT pg_advisory_lock(7)",
        Server::MariaDb => "DO GET_LOCK(concat('held ', DATABASE()), 5)",
    }
}

async fn is_held(world: &World) {
    let held = match world.server {
        Server::Postgres => {
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        }
        Server::MariaDb => "SELECT IS_USED_LOCK(concat('held ', DATABASE())) IS NOT NULL",
    };
    while world.ask(held).await != "1" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_with_another_client_costs_no_row() {
    for server in BOTH {
        let database = server.database().await;
        // PostgreSQL looks for circles when somebody has waited for so long: that shall be the run.
        let patience = if server == Server::Postgres {
            let set = format!("ALTER DATABASE {} SET deadlock_timeout = '3s'", database.name());
            database.client(&set).await.unwrap();
            "SET deadlock_timeout = '60s'; "
        } else {
            ""
        };
        let world = World::filled(server, database).await;
        // The one who has written more is spared by MariaDB: that shall be the other one.
        world.ask("CREATE TABLE ballast (id int PRIMARY KEY)").await;
        let ballast = (1..=400).map(|id| format!("({id})")).collect::<Vec<_>>().join(",");
        let script = format!(
            "{patience}BEGIN; INSERT INTO ballast VALUES {ballast}; UPDATE orders SET theirs = 1 WHERE id = 50; {}; {}; UPDATE orders SET theirs = 1 WHERE id = 1; {}; COMMIT",
            said_to_be_held(server),
            server.sleep(1.5),
            server.sleep(0.3),
        );
        run_beside(&world, script).await;
        assert!(!world.retries().is_empty(), "{server:?}: nothing went wrong");
        let theirs = world.ask("SELECT count(theirs) FROM orders").await;
        assert!(theirs == "2" || theirs == "0", "{server:?}: both of their changes, or none: {theirs}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_not_free_in_time_is_waited_for_again() {
    for setting in ["lock_timeout = '200ms'", "statement_timeout = '400ms'"] {
        let database = Server::Postgres.database().await;
        database.client(&format!("ALTER DATABASE {} SET {setting}", database.name())).await.unwrap();
        let world = World::filled(Server::Postgres, database).await;
        let script = format!("SET statement_timeout = 0; {}", hold(Server::Postgres, 1.5));
        run_beside(&world, script).await;
        assert!(!world.retries().is_empty(), "{setting}");
        assert_eq!(world.ask("SELECT theirs FROM orders WHERE theirs = 1").await, "1", "{setting}");
    }
    let server = MariaDbServer::start(Durability::ProcessOnly).await.unwrap();
    for setting in ["innodb_lock_wait_timeout = 1", "max_statement_time = 0.7"] {
        let database = server.database().await.unwrap();
        database.client(&format!("SET GLOBAL {setting}")).await.unwrap();
        let world = World::filled(Server::MariaDb, database).await;
        let script = format!("SET max_statement_time = 0; {}", hold(Server::MariaDb, 2.5));
        run_beside(&world, script).await;
        assert!(!world.retries().is_empty(), "{setting}");
        assert_eq!(world.ask("SELECT theirs FROM orders WHERE theirs = 1").await, "1", "{setting}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_wants_transactions_one_after_the_other_loses_nobody_s_write() {
    for server in BOTH {
        let database = server.database().await;
        if server == Server::Postgres {
            let strict = "SET default_transaction_isolation = 'serializable'";
            database.client(&format!("ALTER DATABASE {} {strict}", database.name())).await.unwrap();
        }
        let world = World::filled(server, database).await;
        run_beside(&world, hold(server, 1.0)).await;
        // MariaDB, in `READ COMMITTED` by our own wish, waits for the row and finds nothing of ours changed.
        assert!(server == Server::MariaDb || !world.retries().is_empty(), "{server:?}");
        assert_eq!(world.ask("SELECT theirs FROM orders WHERE theirs = 1").await, "1", "{server:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_in_the_middle_of_a_statement_costs_no_row() {
    for server in BOTH {
        let world = World::filled(server, server.database().await).await;
        (1..=50).for_each(|id| world.source.upsert("orders", row(id, 2, "second")));
        let script = hold(server, 1.6);
        let (held, cut, report) = tokio::join!(
            world.database.client(&script),
            async {
                is_held(&world).await;
                tokio::time::sleep(Duration::from_millis(700)).await;
                cut_all_but_the_holder(&world).await
            },
            async {
                is_held(&world).await;
                world.run().await
            }
        );
        held.unwrap();
        assert!(cut > 0, "{server:?}: nothing was cut");
        assert!(!world.retries().is_empty(), "{server:?}");
        assert_eq!((count(&report, Outcome::Updated), report.ledger().fetched), (50, 50), "{server:?}: {report}");
        let found = world.ask("SELECT count(*), min(n), max(n), count(theirs) FROM orders").await;
        assert_eq!(found, "50\t2\t2\t1", "{server:?}");
    }
}

/// Ends the connections of our sink, and says how many they were.
async fn cut_all_but_the_holder(world: &World) -> usize {
    match world.server {
        Server::Postgres => {
            let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'sync'";
            world.ask(cut).await.lines().count()
        }
        Server::MariaDb => {
            let ours = "SELECT concat('KILL ', id, ';') FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID() AND ifnull(info, '') NOT LIKE '%SLEEP%'";
            let kills = world.ask(ours).await;
            world.ask(&kills).await;
            kills.lines().count()
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_free_connection_is_waited_for_or_told() {
    let database = Server::Postgres.database().await;
    let role = format!("limited_{}", &database.name()[..20]);
    database
        .client(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'x' CONNECTION LIMIT 1; GRANT CREATE ON SCHEMA public TO {role}"
        ))
        .await
        .unwrap();
    let url = format!("postgres://{role}:x@{}:{}/{}", database.host(), database.port(), database.name());
    // The only place is taken for a second.
    let taken = Postgres::connect(&url).await.unwrap();
    let (waited, ()) = tokio::join!(Postgres::connect(&url), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(taken);
    });
    waited.unwrap().check().await.unwrap();
    database.client(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();

    let server = MariaDbServer::start(Durability::ProcessOnly).await.unwrap();
    let database = server.database().await.unwrap();
    database.client("SET GLOBAL max_connections = 10; CREATE USER plain IDENTIFIED BY 'x'; GRANT ALL ON *.* TO plain; REVOKE SUPER, CONNECTION ADMIN ON *.* FROM plain").await.unwrap();
    let url = format!("mysql://plain:x@{}:{}/{}", database.host(), database.port(), database.name());
    // Each holds one connection.
    let mut sinks = Vec::new();
    let error = loop {
        assert!(sinks.len() <= 10, "the server lets everybody in");
        match MySql::connect(&url).await {
            Ok(sink) => {
                sink.check().await.unwrap();
                sinks.push(sink);
            }
            Err(error) => break error,
        }
    };
    assert_eq!(
        (error.kind(), error.retry()),
        (sync_core::ErrorKind::Unavailable, sync_core::Retry::Backoff),
        "{error}"
    );
    assert!(error.to_string().to_lowercase().contains("too many connections"), "{error}");
    drop(sinks);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_is_larger_than_the_server_s_packets_is_split_and_a_row_that_is_larger_is_a_dead_letter() {
    let server = MariaDbServer::start(Durability::ProcessOnly).await.unwrap();
    let database = server.database().await.unwrap();
    database.client("SET GLOBAL max_allowed_packet = 1048576").await.unwrap();
    let world = World::on(Server::MariaDb, database).await;
    let text = "é".repeat(15_000);
    (1..=100).for_each(|id| world.source.upsert("orders", row(id, 1, &text)));
    world.source.upsert("orders", row(101, 1, &"x".repeat(2 << 20)));
    let report = world.run().await;
    assert_eq!((count(&report, Outcome::Created), count(&report, Outcome::Rejected)), (100, 1), "{report}");
    (1..=100).for_each(|id| world.source.upsert("orders", row(id, 2, &text.replace('é', "ü"))));
    assert_eq!(count(&world.run().await, Outcome::Updated), 100);
    let found = world.ask("SELECT count(*), min(length(note)), count(DISTINCT note) FROM orders").await;
    assert_eq!(found, "100\t30000\t1");
    let letters = world.letters().await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert!(letters[0].0.contains("101") && letters[0].1.contains("max_allowed_packet"), "{letters:?}");
}
