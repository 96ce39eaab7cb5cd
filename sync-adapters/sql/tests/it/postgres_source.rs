//! PostgreSQL as a source, on a real server: nothing is lost at page edges, and nothing that commits late.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use sync_core::memory::MemoryStore;
use sync_core::model::{FrontierProof, Outcome, RowScope};
use sync_core::state::RunStatus;
use sync_core::{
    Engine, Error, ErrorKind, Key, Pipeline, ReadRequest, Report, Result, RunOptions, Source, StreamSpec, SystemClock,
};
use sync_sql::{PostgresSource, Sqlite};
use sync_test_servers::Database;
use sync_testkit::source::{Act, Hand, conformance, with_hand};

/// A database, a target in SQLite, and the way from one to the other.
struct World {
    there: Database,
    here: rusqlite::Connection,
    source: PostgresSource,
    store: MemoryStore,
    folder: tempfile::TempDir,
}

impl World {
    async fn new(create: &str, streams: &[StreamSpec]) -> Self {
        let there = sync_test_servers::postgres().await.unwrap();
        there.client(create).await.unwrap();
        let mut source = PostgresSource::connect(&there.url()).await.unwrap().page(7);
        for stream in streams {
            source = source.table(stream.clone());
        }
        let folder = tempfile::tempdir().unwrap();
        let here = rusqlite::Connection::open(folder.path().join("here.db")).unwrap();
        Self { there, here, source, store: MemoryStore::new(Arc::new(SystemClock::new())), folder }
    }

    async fn attempt(&self, options: RunOptions) -> Report {
        let sink = Sqlite::open(self.folder.path().join("here.db")).await.unwrap();
        let pipeline = Pipeline::new("copy", self.source.clone(), sink);
        let engine = Engine::builder(self.store.clone()).owner("test").pipeline(pipeline).build().unwrap();
        engine.run_with("copy", options).await.unwrap()
    }

    async fn run(&self, options: RunOptions) -> Report {
        let report = self.attempt(options).await;
        assert_eq!(report.status, RunStatus::Completed, "{report}");
        report
    }

    async fn refused(&self) -> String {
        let error = self.source.check().await.unwrap_err();
        let report = self.attempt(RunOptions::incremental()).await;
        assert_eq!(report.status, RunStatus::Failed, "what is refused by a check is refused by a run: {report}");
        error.to_string()
    }

    async fn sql(&self, sql: &str) -> String {
        self.there.client(sql).await.unwrap()
    }

    /// Rows that are here, their columns parted by commas.
    fn rows(&self, columns: &str) -> Vec<String> {
        let list = columns.split(", ").map(|column| format!("CAST({column} AS TEXT)")).collect::<Vec<_>>();
        let mut read =
            self.here.prepare(&format!("SELECT {} FROM orders ORDER BY 1", list.join(" || ',' || "))).unwrap();
        read.query_map([], |row| row.get(0)).unwrap().map(std::result::Result::unwrap).collect()
    }
}

fn by_number() -> StreamSpec {
    StreamSpec::new("orders").key(["id"]).int("version").version("version").text("note")
}

fn by_time() -> StreamSpec {
    StreamSpec::new("orders").key(["id"]).version("at").text("note")
}

const BY_NUMBER: &str = "CREATE TABLE orders (id int PRIMARY KEY, version bigint, note text);";
const BY_TIME: &str = "CREATE TABLE orders (id int PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), note text);";

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_share_a_version_are_neither_lost_nor_read_twice() {
    let world = World::new(BY_NUMBER, &[by_number()]).await;
    world.sql("INSERT INTO orders SELECT i, 5, 'note ' || i FROM generate_series(1, 1000) i").await;
    let first = world.run(RunOptions::incremental()).await;
    assert_eq!((first.ledger().fetched, first.ledger().count(Outcome::Created)), (1000, 1000), "{first}");
    world
        .sql("INSERT INTO orders VALUES (1001, 5, 'a tie'), (1002, 6, 'newer'); UPDATE orders SET version = 7 WHERE id = 3")
        .await;
    let second = world.run(RunOptions::incremental()).await;
    assert_eq!((second.ledger().count(Outcome::Created), second.ledger().count(Outcome::Updated)), (2, 1), "{second}");
    assert_eq!(world.run(RunOptions::incremental()).await.ledger().fetched, 0);
    assert_eq!(world.rows("id").len(), 1002);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_found_by_the_index() {
    let world = World::new(BY_NUMBER, &[by_number()]).await;
    world.sql("CREATE INDEX ON orders (version, id); ALTER TABLE orders ALTER version SET NOT NULL; INSERT INTO orders SELECT i, i / 3, 'note' FROM generate_series(1, 20000) i; ANALYZE orders").await;
    let told = async || {
        let told = world
            .sql("SELECT seq_scan, idx_scan, idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'orders'")
            .await;
        told.split('\t').map(|number| number.parse().unwrap()).collect::<Vec<i64>>()
    };
    let before = told().await;
    let source = world.source.clone().page(500);
    let feed = source.feeds().await.unwrap().remove(0);
    let batches: Vec<_> = source.read(ReadRequest::new(feed, Default::default())).collect().await;
    assert_eq!(batches.into_iter().map(|batch| batch.unwrap().records()).sum::<usize>(), 20_000);
    let mut after = before.clone();
    for _ in 0..200 {
        // A session tells what it did some time later, when it is asked for something else.
        source.tables().await.unwrap();
        after = told().await;
        if after[1] >= 40 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(after[0], before[0], "no page looks at the whole table: {after:?}");
    assert!((40..50).contains(&after[1]), "the index answers for each page: {after:?}");
    assert!(after[2] < 21_000, "each row is looked at once: {after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_bounded_by_bytes() {
    let world = World::new(BY_NUMBER, &[by_number()]).await;
    world.sql("INSERT INTO orders SELECT i, i, repeat('x', 1048576) FROM generate_series(1, 40) i").await;
    let source = world.source.clone().page(1000);
    let feed = source.feeds().await.unwrap().remove(0);
    let batches: Vec<_> = source.read(ReadRequest::new(feed, Default::default())).collect().await;
    let sizes: Vec<usize> = batches.into_iter().map(|batch| batch.unwrap().records()).collect();
    assert_eq!(sizes[0], 4, "{sizes:?}");
    assert_eq!(sizes.iter().sum::<usize>(), 40, "{sizes:?}");
    assert!(sizes.iter().all(|rows| *rows <= 4), "{sizes:?}");
}

/// A transaction that stamps its row, and commits only when it is told to.
async fn in_a_transaction(world: &World, sql: &str) -> PgConnection {
    let mut connection = PgConnection::connect(&world.there.url()).await.unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn the_server_stamps_with_the_time_that_it_shows_for_the_transaction() {
    let world = World::new("SELECT 1", &[]).await;
    let shown = "SELECT now() = xact_start FROM pg_stat_activity WHERE pid = pg_backend_pid()";
    let sleeping = format!("BEGIN; SELECT pg_sleep(0.05); {shown}; COMMIT; {shown}");
    assert_eq!(world.sql(&sleeping).await.split_whitespace().collect::<Vec<_>>(), ["t", "t"]);
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
    let role = format!("reader \"of\" {}", world.there.name());
    let quoted = format!("\"{}\"", role.replace('"', "\"\""));
    world.sql(&format!("CREATE ROLE {quoted} LOGIN PASSWORD 'pw'; GRANT SELECT ON orders TO {quoted}; INSERT INTO orders VALUES (1)")).await;
    let encoded = role.replace(' ', "%20").replace('"', "%22");
    let url = format!("postgres://{encoded}:pw@{}:{}/{}", world.there.host(), world.there.port(), world.there.name());
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

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_could_never_be_found_are_refused() {
    let world = World::new(BY_NUMBER, &[by_number()]).await;
    world.sql("INSERT INTO orders VALUES (1, NULL, 'a'), (2, 2, 'b')").await;
    let refused = world.refused().await;
    assert!(refused.contains("1 rows have no \"version\""), "{refused}");
    world.sql("UPDATE orders SET version = 1").await;
    world.source.check().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_cannot_be_read_as_declared_are_refused_with_what_to_do() {
    let create = "CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
        CREATE TABLE merging (name text COLLATE blind PRIMARY KEY);
        CREATE TABLE texts (id int PRIMARY KEY, rev text NOT NULL, raw text);
        CREATE SEQUENCE counter";
    let world = World::new(create, &[]).await;
    let refusal = async |stream: StreamSpec| world.source.clone().table(stream).check().await.unwrap_err().to_string();
    let merging = refusal(StreamSpec::new("merging").key(["name"]).text("name")).await;
    assert!(merging.contains("takes different keys for the same"), "{merging}");
    let unordered = refusal(StreamSpec::new("texts").key(["id"]).int("rev").version("rev")).await;
    assert!(unordered.contains("\"rev\"") && unordered.contains("order"), "{unordered}");
    let bytes = refusal(StreamSpec::new("texts").key(["id"]).bytes("raw")).await;
    assert!(bytes.contains("holds no bytes"), "{bytes}");
    let missing = refusal(StreamSpec::new("texts").key(["id"]).text("nope")).await;
    assert!(missing.contains("no column \"nope\""), "{missing}");
    let nowhere = refusal(StreamSpec::new("nowhere").key(["id"])).await;
    assert!(nowhere.contains("no such table"), "{nowhere}");
    let sequence = refusal(StreamSpec::new("counter").key(["last_value"])).await;
    assert!(sequence.contains("no table"), "{sequence}");
    assert!(refusal(StreamSpec::new("x".repeat(64)).key(["id"])).await.contains("63 bytes"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_not_as_declared_is_rejected_alone() {
    let create = "CREATE TABLE orders (id int PRIMARY KEY, at timestamptz NOT NULL, total numeric);
        INSERT INTO orders VALUES (1, 'infinity', 1), (2, '2026-01-01Z', 'NaN'), (3, '2026-01-01Z', 12.5), (4, '0044-03-15 BC', 2)";
    let stream = StreamSpec::new("orders").key(["id"]).version("at").decimal("total", 9, 2);
    let world = World::new(create, &[stream]).await;
    let report = world.run(RunOptions::incremental()).await;
    assert_eq!(report.ledger().count(Outcome::Rejected), 3, "SQLite holds no time before the year 0: {report}");
    assert_eq!(world.rows("id, total"), ["3,12.50"]);
    world.sql("INSERT INTO orders VALUES (5, '2026-01-02Z', 7)").await;
    world.run(RunOptions::incremental()).await;
    assert_eq!(world.rows("id"), ["3", "5"], "what is no time does not hide later changes");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_in_the_order_of_a_language_lose_no_row_at_page_edges() {
    let create = "CREATE TABLE orders (code text COLLATE \"und-x-icu\" PRIMARY KEY, n int);
        INSERT INTO orders SELECT code, row_number() OVER () FROM unnest(ARRAY['a', 'A', 'á', 'b', 'B', 'ß', 'ss', 'Z', 'z', '-a', 'a-', '', ' ', '🍣', 'ñ', 'n']) code";
    let mut world = World::new(create, &[StreamSpec::new("orders").key(["code"]).text("code").int("n")]).await;
    world.source = world.source.page(1);
    let report = world.run(RunOptions::incremental()).await;
    assert_eq!((report.ledger().fetched, world.rows("code").len()), (16, 16), "{report}");
    assert_eq!(world.run(RunOptions::reconcile()).await.ledger().count(Outcome::Deleted), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_read_and_what_is_gone_is_found_by_a_reconcile() {
    let create = "CREATE TABLE orders (id int PRIMARY KEY, made timestamp, code uuid DEFAULT gen_random_uuid());
        INSERT INTO orders SELECT i, '2026-01-01'::timestamp + i * interval '6 hours' FROM generate_series(0, 19) i";
    let world = World::new(create, &[StreamSpec::new("orders").key(["id"]).timestamp("made").text("code")]).await;
    let time = |text: &str| Some(text.parse::<chrono::DateTime<chrono::Utc>>().unwrap().into());
    let day = RowScope::Range {
        column: "made".into(),
        from: time("2026-01-02T00:00:00Z"),
        until: time("2026-01-03T00:00:00Z"),
    };
    world.run(RunOptions::backfill("day", day)).await;
    assert_eq!(world.rows("id"), ["4", "5", "6", "7"]);
    let all = RowScope::Range {
        column: "made".into(),
        from: Some(chrono::DateTime::<chrono::Utc>::MIN_UTC.into()),
        until: Some(chrono::DateTime::<chrono::Utc>::MAX_UTC.into()),
    };
    world.run(RunOptions::backfill("all", all)).await;
    assert_eq!(world.rows("id").len(), 20);
    world.sql("DELETE FROM orders WHERE id = 3").await;
    assert_eq!(world.run(RunOptions::reconcile()).await.ledger().count(Outcome::Deleted), 1);
    let uuids = RowScope::Range { column: "code".into(), from: Some("8".into()), until: None };
    let report = world.run(RunOptions::backfill("half", uuids)).await;
    let half = world.sql("SELECT count(*) FROM orders WHERE code::text >= '8'").await;
    assert_eq!(report.ledger().fetched.to_string(), half, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_discovered_with_their_kinds_their_keys_and_how_they_refer_to_each_other() {
    let create = "CREATE SCHEMA sales; CREATE TYPE state AS ENUM ('open', 'paid'); CREATE DOMAIN price AS numeric(12,2) NOT NULL;
        CREATE TABLE shops (country text, nr smallint, PRIMARY KEY (nr, country));
        CREATE TABLE sales.\"Odd \"\"Orders\" (b boolean, i integer NOT NULL, u xid8, f real, d price, n numeric, t varchar(9), x bytea,
            z timestamptz(3), z0 timestamp, y date, j jsonb, e state, g uuid, a int[], v interval, w inet, r int4range,
            twice integer GENERATED ALWAYS AS (i * 2) STORED, country text, nr smallint, PRIMARY KEY (i),
            FOREIGN KEY (nr, country) REFERENCES shops);
        INSERT INTO shops VALUES ('de', 1);
        INSERT INTO sales.\"Odd \"\"Orders\" VALUES (true, 1, '18446744073709551615', 0.1, 19.99, 123456789012345678901234567890.5, 'naïve 🦀 ''', '\\x00ff',
            '2026-03-01 10:20:30.123+02', '2026-03-01 10:20:30', '2026-03-01', '{\"a\": [1]}', 'paid', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{1,NULL}',
            '1 day 02:00', '10.0.0.1/8', '[1,5)', DEFAULT, 'de', 1);
        CREATE VIEW paid AS SELECT 1 AS id; CREATE TABLE loose (a text); CREATE TABLE money_of (id int PRIMARY KEY, m money)";
    let mut world = World::new(create, &[]).await;
    let name = "sales.Odd \"Orders";
    assert_eq!(world.source.tables().await.unwrap(), ["loose", "money_of", name, "shops"]);
    let keys = world.source.foreign_keys().await.unwrap();
    assert_eq!((keys.len(), keys[0].table.as_str(), keys[0].references.as_str()), (1, name, "shops"));
    assert_eq!(
        (&keys[0].columns[..], &keys[0].referenced[..]),
        (&["nr".to_owned(), "country".to_owned()][..], &["nr".to_owned(), "country".to_owned()][..])
    );
    let stream = world.source.discover(name).await.unwrap();
    let fields: Vec<String> = stream
        .schema()
        .fields()
        .iter()
        .map(|field| format!("{} {}{}", field.name(), field.kind(), if field.is_nullable() { "" } else { "!" }))
        .collect();
    assert_eq!(
        fields.join(", "),
        "b bool, i integer!, u unsigned integer, f float, d decimal(12,2), n text, t text, x bytes, z timestamp, z0 timestamp, y date, \
         j JSON, e text, g text, a text, v text, w text, r text, country text, nr integer"
    );
    assert_eq!(world.source.discover("shops").await.unwrap().key_columns(), ["nr", "country"]);
    world.source = world.source.table(stream);
    world.run(RunOptions::incremental()).await;
    let columns = ["b", "u", "f", "d", "n", "t", "hex(x)", "z", "z0", "y", "j", "e", "g", "a", "v", "w", "r"];
    let list = columns.map(|column| format!("CAST({column} AS TEXT)")).join(" || '|' || ");
    let found: String =
        world.here.query_row(&format!("SELECT {list} FROM \"sales.Odd \"\"Orders\""), [], |row| row.get(0)).unwrap();
    assert_eq!(
        found,
        "1|18446744073709551615|0.1|19.99|123456789012345678901234567890.5|naïve 🦀 '|00FF|2026-03-01T08:20:30.123000Z|\
         2026-03-01T10:20:30.000000Z|2026-03-01|{\"a\": [1]}|paid|a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11|{1,NULL}|1 day 02:00:00|\
         10.0.0.1/8|[1,5)"
    );
    let refusal = async |table: &str| world.source.discover(table).await.unwrap_err().to_string();
    assert!(refusal("loose").await.contains("primary key"));
    assert!(refusal("nowhere").await.contains("no such table"));
    let money = refusal("money_of").await;
    assert!(money.contains("\"m\"") && money.contains("money") && money.contains("as text"), "{money}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_name_is_only_a_name() {
    for name in ["x\"; DROP TABLE victims; --", "a.b.c", "select", "'$1'", "naïve 🦀 %s {}"] {
        let quoted = name.replace('"', "\"\"");
        let create = format!(
            "CREATE TABLE victims (id int); CREATE TABLE \"{quoted}\" (\"{quoted}\" int PRIMARY KEY, \"by \"\"it\" bigint NOT NULL); INSERT INTO \"{quoted}\" SELECT i, i FROM generate_series(1, 20) i"
        );
        let stream = StreamSpec::new(name).key([name]).int("by \"it").version("by \"it");
        let world = World::new(&create, &[stream]).await;
        assert_eq!(world.run(RunOptions::incremental()).await.ledger().count(Outcome::Created), 20, "{name}");
        assert_eq!(world.sql("SELECT count(*) FROM victims").await, "0");
        assert_eq!(world.source.discover(name).await.unwrap().key_columns(), [name]);
    }
}

/// Changes rows of the table under test.
struct Clerk {
    there: Database,
    /// The version after the newest one, in SQL.
    next_version: &'static str,
    /// Whether a row may get the newest version when others have had it for long.
    shares: bool,
}

#[async_trait]
impl Hand for Clerk {
    async fn act(&self, act: Act) -> Result<Option<(String, Key)>> {
        let (later, shares) = (self.next_version, self.shares);
        let newest = "(SELECT max(version) FROM orders)";
        let add = |version: &str, note: &str| {
            format!("INSERT INTO orders SELECT max(id) + 1, {version}, '{note}' FROM orders RETURNING id")
        };
        let first = "id = (SELECT min(id) FROM orders)";
        let sql = match act {
            Act::Add => add(later, "new"),
            Act::TieAbove => add("max(version)", "tie"),
            Act::Change => {
                format!("UPDATE orders SET version = (SELECT {later} FROM orders) WHERE {first} RETURNING id")
            }
            Act::TieBelow if shares => format!(
                "UPDATE orders SET version = {newest}, note = 'tie' WHERE id = (SELECT min(id) FROM orders WHERE version < {newest}) RETURNING id"
            ),
            Act::Remove => format!("DELETE FROM orders WHERE {first} RETURNING id"),
            // The version of a transaction, whose rows appear together, is not given to a later row.
            _ => return Ok(None),
        };
        let id: i64 = self.there.client(&sql).await.unwrap().parse().unwrap();
        Ok(Some(("orders".to_owned(), Key::new([id]))))
    }
}

/// Proves a table of 35 rows, whose versions these expressions make.
async fn prove(
    stream: StreamSpec,
    how: impl Fn(PostgresSource) -> PostgresSource,
    create: &str,
    next_version: &'static str,
    shares: bool,
) -> sync_testkit::Report {
    let report = conformance(async |_| {
        let there = sync_test_servers::postgres().await.unwrap();
        there.client(create).await.unwrap();
        let source = how(PostgresSource::connect(&there.url()).await?.page(10).table(stream.clone()));
        Ok::<_, Error>(with_hand(source, Clerk { there, next_version, shares }))
    })
    .await;
    println!("{report}");
    report
}

const HELD: [&str; 3] =
    ["a_changed_row_comes_next", "a_change_during_a_read_is_not_lost", "a_range_brings_its_rows_alone"];

#[tokio::test(flavor = "multi_thread")]
async fn postgres_keeps_the_specification_of_a_source() {
    let create = format!("{BY_NUMBER} INSERT INTO orders SELECT i, i / 2, 'note' FROM generate_series(1, 35) i");
    let report = prove(by_number(), |source| source, &create, "max(version) + 1", false).await;
    report.assert_held(HELD);
    report.assert_held(["a_row_at_the_same_position_comes_too"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_keeps_the_specification_of_a_source_whose_versions_are_shared() {
    let create = "CREATE TABLE orders (id int PRIMARY KEY, version timestamptz NOT NULL, note text);
        INSERT INTO orders SELECT i, '2026-01-01Z'::timestamptz + i / 2 * interval '1 second', 'note' FROM generate_series(1, 35) i";
    let stream = StreamSpec::new("orders").key(["id"]).version("version").text("note");
    let report = prove(stream, |source| source, create, "max(version) + interval '1 microsecond'", true).await;
    report.assert_held(HELD);
    report.assert_held(["a_row_at_the_same_position_comes_too", "a_row_below_the_cursor_at_its_position_comes_too"]);
    let create = format!("{BY_NUMBER} INSERT INTO orders SELECT i, i / 2, 'note' FROM generate_series(1, 35) i");
    let report = prove(by_number(), PostgresSource::inclusive, &create, "max(version) + 1", true).await;
    report.assert_held(["a_row_below_the_cursor_at_its_position_comes_too"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_keeps_the_specification_of_a_source_whose_versions_the_server_stamps() {
    let create = "CREATE TABLE orders (id int PRIMARY KEY, version timestamptz NOT NULL DEFAULT now(), note text);
        INSERT INTO orders SELECT i, '2026-01-01Z'::timestamptz + i / 2 * interval '1 second', 'note' FROM generate_series(1, 35) i";
    let stream = StreamSpec::new("orders").key(["id"]).version("version").text("note");
    let report = prove(stream, PostgresSource::stamped_by_server, create, "greatest(max(version), now())", false).await;
    report.assert_held(HELD);
}
