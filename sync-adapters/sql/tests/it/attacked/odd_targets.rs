//! Dry runs over tables of somebody else's that lack a column, and the real runs that follow.

use std::sync::Arc;

use sync_core::memory::{MemorySource, MemoryStore};
use sync_core::source::Listing;
use sync_core::{Report, RunOptions, StreamSpec, SystemClock, Value};
use sync_testkit::fault::FaultPlan;

use super::dry::{There, run, told};
use crate::faults::Server;

async fn mariadb() -> There {
    There::Server(Server::MariaDb, Server::MariaDb.database().await)
}

fn source() -> MemorySource {
    let stream = StreamSpec::new("orders").key(["id"]).int("n").text("note").text("late");
    let source = MemorySource::of([stream]).page(7).listing(Listing::Rows);
    for id in 1..=30_i64 {
        let row: Vec<Value> = vec![id.into(), 1.into(), "note".into(), "late".into()];
        source.upsert("orders", row);
    }
    source
}

fn said(report: &Report) -> String {
    let errors: Vec<String> = report
        .scopes
        .iter()
        .filter_map(|scope| scope.error.as_ref().map(|error| format!("{:?} {error:#}", error.kind())))
        .collect();
    let first: Vec<&String> = report.scopes.iter().filter_map(|scope| scope.first_rejected.as_ref()).collect();
    format!("{:?} {:?} {errors:?} {first:?} {:?}", report.status, report.ledger().outcomes, told(report))
}

/// What a dry run says, and then what the real run says.
async fn both(there: &There, source: &MemorySource, options: RunOptions) -> (String, String) {
    let (store, none) = (MemoryStore::new(Arc::new(SystemClock::new())), FaultPlan::new(1));
    let sink = there.sink().await;
    let before = there.catalog().await;
    let dry = run(Arc::clone(&sink), source, &store, options.clone().dry_run(), &none, false).await;
    assert_eq!(before, there.catalog().await, "{dry}");
    let real = run(sink, source, &store, options, &none, false).await;
    (said(&dry), said(&real))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_over_a_table_of_which_there_can_be_no_temporary_copy_is_refused_with_a_reason() {
    let tables = [
        (
            "fulltext",
            "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note longtext, FULLTEXT INDEX (note)); INSERT INTO orders VALUES (1, 1, 'a')",
        ),
        (
            "partitions",
            "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note longtext) PARTITION BY HASH (id) PARTITIONS 4; INSERT INTO orders VALUES (1, 1, 'a')",
        ),
        (
            "compressed",
            "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note longtext) ROW_FORMAT=COMPRESSED; INSERT INTO orders VALUES (1, 1, 'a')",
        ),
        (
            "without overlaps",
            "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note longtext, b date NOT NULL DEFAULT '2020-01-01', e date NOT NULL DEFAULT '2020-02-01', PERIOD FOR p(b, e)); INSERT INTO orders (id, n, note) VALUES (1, 1, 'a')",
        ),
        (
            "encrypted-ish",
            "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note longtext) KEY_BLOCK_SIZE=8; INSERT INTO orders VALUES (1, 1, 'a')",
        ),
    ];
    for (what, sql) in tables {
        let there = mariadb().await;
        there.tell("", "", sql).await;
        let (dry, real) = both(&there, &source(), RunOptions::incremental()).await;
        assert!(dry.contains("makes no temporary copy of it"), "{what}: {dry}");
        assert!(real.starts_with("Completed"), "{what}: {real}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_over_a_table_with_old_rows_that_it_would_not_take_today_says_what_the_real_run_says() {
    same(&[
        ("zero date", "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note longtext, theirs datetime); SET sql_mode=''; INSERT INTO orders VALUES (100, 1, 'a', '0000-00-00')"),
        ("zero in date", "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note longtext, theirs date); SET sql_mode=''; INSERT INTO orders VALUES (100, 1, 'a', '2020-00-00')"),
        ("check broken", "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note longtext); INSERT INTO orders VALUES (100, -1, 'a'); SET check_constraint_checks=0; ALTER TABLE orders ADD CONSTRAINT pos CHECK (n > 0)"),
    ]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_over_any_table_says_what_the_real_run_says() {
    same(&[
        ("plain", "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note longtext); INSERT INTO orders VALUES (1, 1, 'a')"),
        ("page compressed", "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note longtext) PAGE_COMPRESSED=1; INSERT INTO orders VALUES (1, 1, 'a')"),
        ("check", "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note longtext, CHECK (n < 5)); INSERT INTO orders VALUES (100, 1, 'a')"),
        ("generated", "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note longtext, v int AS (n + 1) VIRTUAL, s int AS (n + 1) STORED, UNIQUE (id, s)); INSERT INTO orders (id, n, note) VALUES (1, 1, 'a')"),
        ("invisible", "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note longtext, theirs int INVISIBLE DEFAULT 5); INSERT INTO orders (id, n, note) VALUES (1, 1, 'a')"),
        ("auto", "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note longtext, a int NOT NULL AUTO_INCREMENT UNIQUE); INSERT INTO orders (id, n, note) VALUES (100, 1, 'a')"),
        ("hostile columns", "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note longtext, `a``b\"c` int, `select` int, `äöü 😀` int, `0123456789012345678901234567890123456789012345678901234567890123` int); INSERT INTO orders (id, n, note) VALUES (1, 1, 'a')".replace(" 😀", "").leak()),
        ("foreign", "CREATE TABLE parent (id bigint PRIMARY KEY); INSERT INTO parent VALUES (1); CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note longtext, FOREIGN KEY (n) REFERENCES parent (id)); INSERT INTO orders VALUES (1, 1, 'a')"),
        ("referred", "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note longtext); INSERT INTO orders VALUES (1, 1, 'a'); CREATE TABLE child (id bigint PRIMARY KEY, o bigint, FOREIGN KEY (o) REFERENCES orders (id)); INSERT INTO child VALUES (1, 1)"),
        ("uuid inet", "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note longtext, u uuid DEFAULT uuid(), i inet6, e enum('', 'x') , s set('a','b'), b bit(3), y year); SET sql_mode=''; INSERT INTO orders (id, n, note, e, y) VALUES (100, 1, 'a', 'zz', 0)"),
        ("long unique", "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note longtext, theirs longtext UNIQUE); INSERT INTO orders (id, n, note, theirs) VALUES (100, 1, 'a', repeat('x', 5000))"),
        ("sequence", "CREATE SEQUENCE sq; CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note longtext, theirs bigint DEFAULT nextval(sq)); INSERT INTO orders (id, n, note) VALUES (100, 1, 'a')"),
        ("data dir", "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note longtext) COMMENT='x' STATS_PERSISTENT=1 ROW_FORMAT=REDUNDANT; INSERT INTO orders VALUES (1, 1, 'a')"),
        ("mandatory json check", "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note json); INSERT INTO orders VALUES (100, 1, '1')"),
        ("user table of the copy's name", "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note longtext); CREATE TABLE _sync_copy (x int)"),
        ("not null widened", "CREATE TABLE orders (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 3, note varchar(3)); INSERT INTO orders VALUES (1, 1, 'a')"),
    ]).await;
}

async fn same(tables: &[(&str, &str)]) {
    let mut all = Vec::new();
    for (what, sql) in tables {
        for (kind, options) in
            [("incremental", RunOptions::incremental()), ("reconcile", RunOptions::reconcile().confirm_deletes())]
        {
            let there = mariadb().await;
            let There::Server(_, database) = &there else { unreachable!() };
            if let Err(error) = database.client(sql).await {
                all.push(format!("SETUP {what}: {error}"));
                continue;
            }
            let (dry, real) = both(&there, &source(), options).await;
            if dry != real {
                all.push(format!("{what} {kind}\n   dry {dry}\n  real {real}"));
            }
        }
    }
    assert!(all.is_empty(), "{} differ:\n{}", all.len(), all.join("\n"));
}

/// With the rights that the documentation names, over a name as hostile as can be, and over connections that are used again.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_dry_run_over_a_hostile_table_with_the_documented_rights_the_real_rows_are_there() {
    let long = "0123456789".repeat(6) + "abc`";
    for (number, name) in
        ["a`b\"c d.e", "select", "_copy", "Ünïcödé tablé", long.as_str(), "x'; DROP TABLE y; --", "semi;colon\\back"]
            .into_iter()
            .enumerate()
    {
        let there = mariadb().await;
        let There::Server(_, database) = &there else { unreachable!() };
        let user = format!("u{number}_{}", &database.name()[5..17]);
        let rights = format!(
            "CREATE USER '{user}'@'%' IDENTIFIED BY 'pw'; GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP, CREATE TEMPORARY TABLES ON `{}`.* TO '{user}'@'%'",
            database.name()
        );
        database.client(&rights).await.unwrap();
        let quoted = name.replace('`', "``");
        database.client(&format!("CREATE TABLE `{quoted}` (id bigint PRIMARY KEY, n int, `no``te` varchar(5) CHARACTER SET utf8mb4, twice int AS (n * 2) STORED); INSERT INTO `{quoted}` (id, n) VALUES (100, 1)")).await.unwrap();
        let url = format!("mysql://{user}:pw@{}:{}/{}", database.host(), database.port(), database.name());
        let sink = Server::MariaDb.connect(&url).await.unwrap();
        let stream = StreamSpec::new(name).key(["id"]).int("n").text("no`te").text("la\"te");
        let source = MemorySource::of([stream]).page(7).listing(Listing::Rows);
        (1..=30_i64)
            .for_each(|id| source.upsert(name, vec![id.into(), 1.into(), "a longer note".into(), "late".into()]));
        let (store, none) = (MemoryStore::new(Arc::new(SystemClock::new())), FaultPlan::new(1));
        let mut said_dry = Vec::new();
        for options in [RunOptions::incremental(), RunOptions::full(), RunOptions::reconcile().confirm_deletes()] {
            let dry = run(Arc::clone(&sink), &source, &store, options.dry_run(), &none, false).await;
            said_dry.push(said(&dry));
        }
        let real = run(Arc::clone(&sink), &source, &store, RunOptions::incremental(), &none, false).await;
        assert_eq!(said_dry[0], said(&real), "{name}");
        assert_eq!(said_dry[1], said(&real), "{name}");
        let rows =
            database.client(&format!("SELECT count(*), count(twice), count(`la\"te`) FROM `{quoted}`")).await.unwrap();
        assert_eq!(rows, "31\t31\t30", "{name}");
        let dry =
            run(Arc::clone(&sink), &source, &store, RunOptions::reconcile().confirm_deletes().dry_run(), &none, false)
                .await;
        let real =
            run(Arc::clone(&sink), &source, &store, RunOptions::reconcile().confirm_deletes(), &none, false).await;
        assert_eq!(said(&dry), said(&real), "{name}");
        database.client(&format!("DROP USER '{user}'@'%'")).await.unwrap();
    }
}

/// Dropped at any moment, a dry run leaves nothing, and the sink goes on with the real tables.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_that_is_dropped_at_any_moment_leaves_nothing() {
    for there in There::all().await {
        there
            .tell(
                "CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, n INTEGER)",
                "CREATE TABLE orders (id bigint PRIMARY KEY, n smallint)",
                "CREATE TABLE orders (id bigint PRIMARY KEY, n smallint)",
            )
            .await;
        let (source, store, none) = (source(), MemoryStore::new(Arc::new(SystemClock::new())), FaultPlan::new(1));
        let sink = there.sink().await;
        let before = there.catalog().await;
        for tenths in 0..120 {
            let dry = run(
                Arc::clone(&sink),
                &source,
                &store,
                if tenths % 2 == 0 { RunOptions::reconcile() } else { RunOptions::incremental() }.dry_run(),
                &none,
                false,
            );
            drop(tokio::time::timeout(std::time::Duration::from_micros(700 * tenths), dry).await);
        }
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        assert_eq!(before, there.catalog().await, "{}", there.name());
        let real = run(Arc::clone(&sink), &source, &store, RunOptions::incremental(), &none, false).await;
        assert_eq!(real.ledger().count(sync_core::model::Outcome::Created), 30, "{}: {real}", there.name());
        assert!(real.scopes[0].error.is_none(), "{}: {real}", there.name());
        let again = run(sink, &source, &store, RunOptions::reconcile(), &none, false).await;
        assert_eq!(again.ledger().count(sync_core::model::Outcome::Unchanged), 30, "{}: {again}", there.name());
    }
}
