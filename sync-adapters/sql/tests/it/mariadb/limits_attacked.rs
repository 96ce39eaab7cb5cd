//! Changed rows under the limits of a server.

use std::time::Duration;

use sync_core::memory::Feeding;
use sync_core::retry::RetryPolicy;
use sync_core::state::LetterQuery;

use super::*;

fn told(report: &Report) -> String {
    format!("{report} {:?}", report.scopes.iter().map(|scope| &scope.error).collect::<Vec<_>>())
}

async fn change(changed: i64, bad: &[i64], long: &[i64], width: usize, server: &MariaDbServer) {
    let world = World::on(server.database().await.unwrap(), MemorySource::of([orders()]).page(2000)).await;
    (1..=changed + 20).for_each(|id| world.source.upsert("orders", row(id, 1, "first")));
    world.run(RunOptions::incremental()).await;
    world
        .ask("CREATE TABLE log (id bigint); ALTER TABLE orders ADD CHECK (note NOT LIKE 'bad%'); CREATE TRIGGER log AFTER UPDATE ON orders FOR EACH ROW INSERT INTO log VALUES (NEW.id); CREATE TRIGGER logi AFTER INSERT ON orders FOR EACH ROW INSERT INTO log VALUES (NEW.id)")
        .await;
    let note = "y".repeat(width);
    (1..=changed).rev().for_each(|id| {
        let text = if bad.contains(&id) {
            format!("bad {id}")
        } else if long.contains(&id) {
            format!("{id} {}", "y".repeat(70_000))
        } else {
            format!("{id} {note}")
        };
        world.source.upsert("orders", row(id, 2, &text));
    });
    // Some that are new among them.
    (5001..=5030).for_each(|id| world.source.upsert("orders", row(id, 2, &format!("{id} {note}"))));
    let what = format!("{changed} changed, {bad:?} refused, {long:?} long, {width} wide");
    let run = world.engine.run_with("shop", RunOptions::incremental());
    let report = tokio::time::timeout(Duration::from_secs(100), run).await.expect(&what).unwrap();
    let out = (bad.len() + long.len()) as u64;
    let found = (count(&report, Outcome::Updated), count(&report, Outcome::Created), count(&report, Outcome::Rejected));
    assert_eq!(found, (changed as u64 - out, 30, out), "{what}: {}", told(&report));
    let written = changed as u64 - out + 30;
    assert_eq!(
        world.ask("SELECT count(*), count(DISTINCT id) FROM log").await,
        format!("{written}\t{written}"),
        "{what}"
    );
    assert_eq!(
        world.ask("SELECT count(*) FROM orders WHERE version = 2 AND note LIKE concat(id, ' y%')").await,
        written.to_string(),
        "{what}"
    );
    let letters = world.engine.dead_letters(&LetterQuery { limit: 1000, ..LetterQuery::default() }).await.unwrap();
    assert_eq!(letters.len() as u64, out, "{what}");
    let again = world.run(RunOptions::full()).await;
    assert_eq!(count(&again, Outcome::Updated), 0, "{what}: {again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wide_rows_that_change_in_pieces_of_small_packets_are_written_once_and_told_once() {
    let server = MariaDbServer::start(Durability::ProcessOnly).await.unwrap();
    let database = server.database().await.unwrap();
    database.client("SET GLOBAL max_allowed_packet = 65536").await.unwrap();
    change(501, &[], &[], 3_000, &server).await;
    change(501, &[249, 250, 251, 252], &[], 3_000, &server).await;
    change(501, &[100, 251], &[125, 250, 400], 3_000, &server).await;
    change(300, &[1, 300], &[2, 299], 30_000, &server).await;
    change(40, &[20], &[21], 64_000, &server).await;
}

/// A limit of time that one statement breaks for the first times.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_the_server_ends_for_its_time_is_done_again() {
    for setting in ["max_statement_time = 0.4", "innodb_lock_wait_timeout = 1"] {
        let server = MariaDbServer::start(Durability::ProcessOnly).await.unwrap();
        let database = server.database().await.unwrap();
        let source = MemorySource::of([orders()]).page(500).feeding(Feeding::Log);
        let sink = MySql::connect(&database.url()).await.unwrap();
        let store = MemoryStore::new(Arc::new(SystemClock::new()));
        let retry = RetryPolicy::new().base(Duration::from_millis(5)).cap(Duration::from_millis(50));
        let builder = Engine::builder(store).retry(retry).unit_rows(700);
        let engine = builder.pipeline(Pipeline::new("shop", source.clone(), sink)).build().unwrap();
        (1..=10).for_each(|id| source.upsert("orders", row(id, 1, "first")));
        engine.run("shop").await.unwrap().completed().unwrap();
        database
            .client(
                "CREATE TABLE times (n int) ENGINE=MyISAM; INSERT INTO times VALUES (0);
            CREATE TABLE log (id bigint) ENGINE=InnoDB;
            CREATE TRIGGER i AFTER INSERT ON orders FOR EACH ROW INSERT INTO log VALUES (NEW.id);
            CREATE TRIGGER u AFTER UPDATE ON orders FOR EACH ROW INSERT INTO log VALUES (NEW.id)",
            )
            .await
            .unwrap();
        let slow = "CREATE TRIGGER s BEFORE INSERT ON orders FOR EACH ROW IF NEW.id = 900 AND (SELECT n FROM times) < 2 THEN UPDATE times SET n = n + 1; SET @x = SLEEP(1.5); END IF";
        let sink = sqlx::MySqlPool::connect(&database.url()).await.unwrap();
        sqlx::raw_sql(slow).execute(&sink).await.unwrap();
        database.client(&format!("SET GLOBAL {setting}")).await.unwrap();
        let kill = database.client("SELECT concat('KILL ', id, ';') FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()").await.unwrap();
        database.client(&kill).await.unwrap();
        (5..=1500).for_each(|id| source.upsert("orders", row(id, 2, &format!("{id} {}", "y".repeat(200)))));
        let report = tokio::time::timeout(Duration::from_secs(60), engine.run("shop")).await.expect("an end").unwrap();
        assert_eq!(report.status, RunStatus::Completed, "{}", told(&report));
        assert_eq!(
            (count(&report, Outcome::Created), count(&report, Outcome::Updated)),
            (1490, 6),
            "{}",
            told(&report)
        );
        assert_eq!(database.client("SELECT count(*), count(DISTINCT id) FROM log").await.unwrap().trim(), "1496\t1496");
    }
}
