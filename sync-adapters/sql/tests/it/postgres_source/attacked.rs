//! Tables of somebody else under attack.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use sync_core::model::{Field, Kind};
use sync_core::{RunOptions, StreamSpec};

use super::{World, by_number};

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_no_number_does_not_hide_all_later_changes() {
    for odd in ["NaN", "Infinity"] {
        let create = "CREATE TABLE orders (id int PRIMARY KEY, version double precision NOT NULL, note text);";
        let stream = StreamSpec::new("orders").key(["id"]).float("version").version("version").text("note");
        let world = World::new(create, &[stream]).await;
        world.sql(&format!("INSERT INTO orders VALUES (1, 1.5, 'a'), (2, '{odd}', 'odd')")).await;
        world.run(RunOptions::incremental()).await;
        world.sql("INSERT INTO orders VALUES (3, 2.5, 'later')").await;
        let report = world.run(RunOptions::incremental()).await;
        assert!(world.rows("id").contains(&"3".to_owned()), "{odd}: {report}");
    }
}

/// A row without a version comes between the look for such rows and the first page.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_without_a_version_that_comes_while_a_read_begins_stops_no_later_run() {
    let look = |body: &str| {
        format!(
            "CREATE OR REPLACE FUNCTION look() RETURNS SETOF kept LANGUAGE plpgsql VOLATILE AS $$ BEGIN {body} END $$"
        )
    };
    let create = format!(
        "CREATE TABLE kept (id int PRIMARY KEY, version int, note text); INSERT INTO kept VALUES (1, 1, 'a'), (2, NULL, 'b');
         {}; CREATE VIEW orders AS SELECT * FROM look()",
        look("RETURN QUERY SELECT * FROM kept k WHERE k.version IS NOT NULL OR current_query() NOT LIKE '%IS NULL%';")
    );
    let world = World::new(&create, &[by_number()]).await;
    let report = world.attempt(RunOptions::incremental()).await;
    assert_eq!(report.status, sync_core::state::RunStatus::Completed, "{report}");
    world.sql("UPDATE kept SET version = 2 WHERE id = 2; INSERT INTO kept VALUES (3, 3, 'c')").await;
    world.sql(&look("RETURN QUERY SELECT * FROM kept;")).await;
    let report = world.attempt(RunOptions::incremental()).await;
    assert_eq!(world.rows("id"), ["1", "2", "3"], "{report}");
}

/// Writers change, add and delete rows while they are read, many with one version.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_move_between_pages_are_neither_lost_nor_left_behind() {
    let create = "CREATE TABLE orders (id text COLLATE \"und-x-icu\" PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(), note text);
        CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.at := date_trunc(''second'', clock_timestamp()); RETURN NEW; END';
        CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION stamp();
        INSERT INTO orders (id, note) SELECT chr(97 + i % 26) || CASE i % 3 WHEN 0 THEN 'Ä' WHEN 1 THEN 'ä' ELSE 'a' END || i, 'first' FROM generate_series(1, 300) i";
    let stream = StreamSpec::new("orders").key(["id"]).field(Field::new("id", Kind::Text)).version("at").text("note");
    let mut world = World::new(create, &[stream]).await;
    world.source = world.source.stamped_by_server();
    let url = world.there.0.url();
    let writing = tokio::spawn(async move {
        let mut c = PgConnection::connect(&url).await.unwrap();
        for round in 0..60 {
            let sql = format!(
                "BEGIN; UPDATE orders SET note = 'r{round}' WHERE id IN (SELECT id FROM orders ORDER BY random() LIMIT 20);
                 INSERT INTO orders (id, note) VALUES ('n{round}', 'new'), ('Ñ{round}', 'new');
                 DELETE FROM orders WHERE id IN (SELECT id FROM orders ORDER BY random() LIMIT 1);
                 SELECT pg_sleep(0.1); COMMIT"
            );
            c.execute(AssertSqlSafe(sql)).await.unwrap();
        }
    });
    let mut runs = 0;
    while !writing.is_finished() {
        world.run(RunOptions::incremental()).await;
        runs += 1;
    }
    writing.await.unwrap();
    world.run(RunOptions::incremental()).await;
    let there = world.sql("SELECT id || ',' || note FROM orders ORDER BY id COLLATE \"C\"").await;
    let there: Vec<&str> = there.lines().collect();
    let here = world.rows("id, note");
    let missing: Vec<_> = there.iter().filter(|row| !here.contains(&(**row).to_owned())).collect();
    assert!(runs > 1);
    assert!(missing.is_empty(), "{missing:?}");
    world.run(RunOptions::reconcile().confirm_deletes()).await;
    assert_eq!(world.rows("id").len(), there.len());
    tokio::time::sleep(Duration::from_secs(6)).await;
    world.run(RunOptions::incremental()).await;
    assert_eq!(world.run(RunOptions::incremental()).await.ledger().fetched, 0);
}
