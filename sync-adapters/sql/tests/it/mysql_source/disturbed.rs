//! What happens to a MariaDB server while its tables are read: no row is lost, and none comes twice.

use std::time::Duration;

use futures::StreamExt;
use sync_core::model::Outcome;
use sync_core::{ReadRequest, RunOptions, Source, StreamSpec};
use sync_test_servers::{Durability, MariaDbServer};

use super::World;
use crate::followed::{OnMariaDb, by_number};

/// A table of which each row takes the server three milliseconds, through a view.
const SLOW: &str = "CREATE TABLE real_orders (id int PRIMARY KEY, version bigint NOT NULL, note text);
    INSERT INTO real_orders SELECT seq, seq DIV 7, 'note' FROM seq_1_to_300;
    CREATE VIEW orders AS SELECT id, version, note, SLEEP(0.003) AS pause FROM real_orders";

fn slow() -> StreamSpec {
    by_number().int("pause")
}

/// `KILL` of everybody else, as one who is at work on the server does it.
const KILL: &str = "SELECT concat('KILL ', IF(RAND() < 0.3, 'QUERY ', ''), id, ';') FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()";

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_killed_in_the_middle_of_a_page_cost_no_row() {
    for options in [RunOptions::incremental(), RunOptions::full()] {
        let mut world = World::new(SLOW, &[slow()]).await;
        world.source = world.source.page(20);
        let killing = async {
            for _ in 0..6 {
                tokio::time::sleep(Duration::from_millis(150)).await;
                let kill = world.sql(KILL).await;
                // Somebody may be gone by then.
                let _ = world.there.0.client(&kill).await;
            }
        };
        let (report, ()) = tokio::join!(world.run(options), killing);
        assert_eq!(world.rows("id").len(), 300, "{report}");
        assert_eq!(report.ledger().count(Outcome::Created), 300, "{report}");
        assert_eq!(world.run(RunOptions::reconcile()).await.ledger().count(Outcome::Deleted), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_anew_in_the_middle_of_a_walk_costs_no_row() {
    let server = MariaDbServer::start(Durability::Full).await.unwrap();
    let mut world = World::on(OnMariaDb(server.database().await.unwrap()), SLOW, &[slow()]).await;
    world.source = world.source.page(20);
    let restarting = async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        server.kill().await.unwrap();
        server.restart().await.unwrap();
    };
    let (report, ()) = tokio::join!(world.run(RunOptions::incremental()), restarting);
    assert_eq!(world.rows("id").len(), 300, "{report}");
    assert_eq!(report.ledger().count(Outcome::Created), 300, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_another_takes_the_place_of_is_read_on() {
    let create = "CREATE TABLE orders (id int PRIMARY KEY, at datetime NOT NULL, note varchar(20) CHARACTER SET latin1, KEY (at));
        INSERT INTO orders SELECT seq, '2026-01-01' + INTERVAL seq DIV 7 SECOND, 'é' FROM seq_1_to_100";
    let stream = StreamSpec::new("orders").key(["id"]).version("at").text("note");
    let world = World::new(create, &[stream]).await;
    let source = world.source.clone().page(10);
    let feed = source.feeds().await.unwrap().remove(0);
    let mut batches = source.read(ReadRequest::new(feed, Default::default()));
    let mut ids: Vec<i64> = Vec::new();
    for page in 0.. {
        let Some(batch) = batches.next().await else { break };
        let rows = batch.unwrap().runs.remove(0).changes;
        ids.extend(rows.iter().map(|change| match change.row().at(0) {
            sync_core::ValueRef::Int(id) => id,
            other => panic!("{other:?}"),
        }));
        assert!(rows.iter().all(|change| change.row().at(2) == sync_core::ValueRef::Text("é")));
        if page == 3 {
            // As `gh-ost` and `pt-online-schema-change` do it.
            world.sql("CREATE TABLE next (id bigint unsigned PRIMARY KEY, more int, at timestamp(3) NOT NULL, note longtext CHARACTER SET utf8mb4, KEY (at, id));
                SET time_zone = '+00:00'; INSERT INTO next SELECT id, 1, at, note FROM orders; RENAME TABLE orders TO gone, next TO orders; DROP TABLE gone").await;
        }
    }
    assert_eq!(ids, (1..=100).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_gone_in_the_middle_is_told_by_name_and_read_when_it_is_back() {
    let mut world = World::new("CREATE TABLE orders (id int PRIMARY KEY, version bigint NOT NULL, note text); INSERT INTO orders SELECT seq, seq, '' FROM seq_1_to_100", &[by_number()]).await;
    world.source = world.source.page(10);
    let feed = world.source.feeds().await.unwrap().remove(0);
    let mut batches = world.source.read(ReadRequest::new(feed, Default::default()));
    batches.next().await.unwrap().unwrap();
    world.sql("RENAME TABLE orders TO away").await;
    let error = batches.next().await.unwrap().unwrap_err();
    assert!(error.to_string().contains("orders"), "{error}");
    assert!(world.refused().await.contains("no such table"));
    world.sql("RENAME TABLE away TO orders").await;
    world.run(RunOptions::incremental()).await;
    assert_eq!(world.rows("id").len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_differ_by_case_alone_and_share_a_version_are_all_read() {
    for (key, unique) in [("UNIQUE (code, part)", true), ("KEY (code)", false)] {
        for collation in ["utf8mb4_general_ci", "utf8mb4_unicode_ci", "utf8mb4_bin"] {
            let create = format!("CREATE TABLE orders (code varchar(20) COLLATE {collation} NOT NULL, part int NOT NULL, version bigint NOT NULL, {key}, KEY (version));
                INSERT INTO orders VALUES ('abc', 1, 7), ('ABC', 2, 7), ('abd', 1, 7), ('ABC', 3, 7), ('Abc', 4, 8), ('ä', 1, 7), ('A', 2, 7), ('', 1, 7), ('ABC', 9, 7)");
            let stream = StreamSpec::new("orders")
                .key(["code", "part"])
                .text("code")
                .int("part")
                .int("version")
                .version("version");
            let mut world = World::new(&create, &[stream]).await;
            let mut rows = 9;
            if !unique {
                // Nothing in the table keeps these apart but their letters.
                world.sql("INSERT INTO orders VALUES ('aBC', 1, 7), ('ABC ', 2, 7), ('abC', 4, 8)").await;
                rows = 12;
            }
            world.source = world.source.page(1);
            let report = world.run(RunOptions::incremental()).await;
            let found = (report.ledger().fetched, world.rows("code, part").len());
            assert_eq!(found, (rows, rows as usize), "{collation} {key}: {report}");
            assert_eq!(world.run(RunOptions::reconcile()).await.ledger().count(Outcome::Deleted), 0);
            world.sql("INSERT INTO orders VALUES ('aBD', 7, 8), ('zzz', 1, 9)").await;
            world.run(RunOptions::incremental()).await;
            assert!(world.rows("code, part").contains(&"zzz,1".to_owned()), "{collation} {key}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_which_a_part_is_empty_is_told_with_its_column() {
    let create = "CREATE TABLE orders (a int NOT NULL, b int, version bigint NOT NULL, UNIQUE (a, b)); INSERT INTO orders VALUES (1, 1, 1), (2, NULL, 1)";
    let stream = StreamSpec::new("orders").key(["a", "b"]).int("a").int("b").int("version").version("version");
    let world = World::new(create, &[stream]).await;
    let said = world.refused().await;
    assert!(said.contains("\"b\"") && said.contains("1 row has no"), "{said}");
    world.sql("UPDATE orders SET b = 5").await;
    world.run(RunOptions::incremental()).await;
    assert_eq!(world.rows("a, b"), ["1,5", "2,5"]);
    world.sql("ALTER TABLE orders MODIFY version bigint; UPDATE orders SET version = NULL WHERE a = 1").await;
    let said = world.refused().await;
    assert!(said.contains("\"version\""), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hour_that_comes_twice_in_autumn_comes_twice() {
    let create = "CREATE TABLE orders (id int PRIMARY KEY, at timestamp NOT NULL, note text);
        SET time_zone = '+02:00'; INSERT INTO orders VALUES (1, '2025-10-26 02:30:00', 'summer'), (2, '2025-10-26 02:59:59', 'summer')";
    let stream = StreamSpec::new("orders").key(["id"]).version("at").text("note");
    let world = World::new(create, &[stream]).await;
    world.run(RunOptions::incremental()).await;
    world.sql("SET time_zone = '+01:00'; INSERT INTO orders VALUES (3, '2025-10-26 02:00:00', 'winter'); UPDATE orders SET note = 'again', at = '2025-10-26 02:30:00' WHERE id = 1").await;
    world.run(RunOptions::incremental()).await;
    let rows = [
        "1,2025-10-26T01:30:00.000000Z,again",
        "2,2025-10-26T00:59:59.000000Z,summer",
        "3,2025-10-26T01:00:00.000000Z,winter",
    ];
    assert_eq!(world.rows("id, at, note"), rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_the_server_that_bound_a_read_or_chain_transactions_change_nothing() {
    let server = MariaDbServer::start(Durability::ProcessOnly).await.unwrap();
    let there = server.database().await.unwrap();
    there.client("SET GLOBAL max_join_size = 5; SET GLOBAL completion_type = 'CHAIN'; SET GLOBAL sql_mode = 'ORACLE,EMPTY_STRING_IS_NULL,TIME_ROUND_FRACTIONAL'").await.unwrap();
    let create = "SET sql_big_selects = 1; SET sql_mode = ''; CREATE TABLE orders (id int PRIMARY KEY, version bigint NOT NULL, note text); INSERT INTO orders SELECT seq, seq, '' FROM seq_1_to_100";
    let world = World::on(OnMariaDb(there), create, &[by_number()]).await;
    world.run(RunOptions::incremental()).await;
    assert_eq!(world.rows("note"), vec![""; 100]);
    assert_eq!(world.run(RunOptions::reconcile()).await.ledger().count(Outcome::Deleted), 0);
}
