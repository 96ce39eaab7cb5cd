//! Faults of a row: it alone becomes a dead letter, the others stay, and no row of somebody else's is touched.

use sync_core::memory::FirstLoad;
use sync_core::model::{Field, Kind};
use sync_testkit::fault::{Call, FaultPlan, Faulty};

use super::*;
use crate::script::Script;

/// A table with every kind of rule, and rows that are not ours.
async fn ruled(server: Server) -> World {
    let database = server.database().await;
    let text = if server == Server::Postgres { "text" } else { "longtext CHARACTER SET utf8mb4" };
    database
        .client(&format!(
            "CREATE TABLE parents (id bigint PRIMARY KEY); INSERT INTO parents VALUES (1), (2), (3);
             CREATE TABLE orders (id bigint PRIMARY KEY, n bigint CHECK (n < 1000), note {text} NOT NULL,
                 parent bigint REFERENCES parents (id), code bigint UNIQUE,
                 CONSTRAINT has_parent FOREIGN KEY (parent) REFERENCES parents (id));
             INSERT INTO orders VALUES (1000, 1, 'theirs', 3, 77)"
        ))
        .await
        .unwrap();
    let world = World::on(server, database).await;
    // The stream of this test has two columns more.
    World { source: MemorySource::of([ruled_stream()]), ..world }
}

fn ruled_stream() -> StreamSpec {
    orders().int("parent").int("code")
}

fn ruled_row(id: i64, n: i64, note: impl Into<Value>, parent: i64, code: i64) -> Vec<Value> {
    vec![id.into(), n.into(), note.into(), parent.into(), code.into()]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_breaks_a_rule_is_a_dead_letter_and_all_others_are_written() {
    for server in BOTH {
        let World { database, source, .. } = ruled(server).await;
        let pipeline = match server {
            Server::Postgres => {
                Pipeline::new("shop", source.clone(), Postgres::connect(&database.url()).await.unwrap())
            }
            Server::MariaDb => Pipeline::new("shop", source.clone(), MySql::connect(&database.url()).await.unwrap()),
        };
        let store = MemoryStore::new(Arc::new(SystemClock::new()));
        let engine = Engine::builder(store).pipeline(pipeline).build().unwrap();
        // New rows first, and then changes of the same rows: both ways of writing meet every rule.
        for turn in 1..=2_i64 {
            for id in 1..=60 {
                let fine = ruled_row(id, turn, "fine", 1, id + 1000);
                let bad = match id {
                    10 => ruled_row(id, turn, "clash", 1, 77),
                    20 => ruled_row(id, turn, Value::Null, 1, id + 1000),
                    30 => ruled_row(id, turn, "orphan", 99, id + 1000),
                    40 => ruled_row(id, 5000, "check", 1, id + 1000),
                    _ => fine.clone(),
                };
                // In the second turn other rows are at fault.
                source.upsert("orders", if turn == 1 { bad } else { shifted(id, fine) });
            }
            let report = engine.run_with("shop", RunOptions::full()).await.unwrap();
            assert_eq!(report.status, RunStatus::Completed, "{server:?}: {report}");
            assert_eq!(count(&report, Outcome::Rejected), 4, "{server:?}, turn {turn}: {report}");
            let theirs = "SELECT n, note, parent, code FROM orders WHERE id = 1000";
            assert_eq!(database.client(theirs).await.unwrap(), "1\ttheirs\t3\t77", "{server:?}, turn {turn}");
        }
        let rows = database.client("SELECT count(*), sum(n) FROM orders WHERE id < 1000").await.unwrap();
        // 56 in the first turn; in the second the four are mended, and four others stay as they were.
        assert_eq!(rows, format!("60\t{}", 56 * 2 + 4), "{server:?}");
        let letters = engine.dead_letters(&LetterQuery::default()).await.unwrap();
        for letter in letters {
            assert!(!letter.reason.contains("clash") && !letter.reason.contains("5000"), "{}", letter.reason);
        }
    }
}

/// The second turn: rows 11, 21, 31 and 41 are at fault.
fn shifted(id: i64, fine: Vec<Value>) -> Vec<Value> {
    match id {
        11 => ruled_row(id, 2, "clash", 1, 77),
        21 => ruled_row(id, 2, Value::Null, 1, id + 1000),
        31 => ruled_row(id, 2, "orphan", 99, id + 1000),
        41 => ruled_row(id, 5000, "check", 1, id + 1000),
        _ => fine,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_is_longer_than_its_column_is_stored_whole_or_not_at_all() {
    for server in BOTH {
        for (column, key) in [("varchar(5)", ""), ("varchar(5)", ", UNIQUE (note)"), ("char(5)", "")] {
            let database = server.database().await;
            let letters = if server == Server::Postgres { "" } else { "CHARACTER SET utf8mb4" };
            let create =
                format!("CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note {column} {letters} {key})");
            database.client(&create).await.unwrap();
            let world = World::on(server, database).await;
            for (id, note) in
                [(1, "fives"), (2, "sixes!"), (3, "five "), (4, "fives "), (5, "🍣🍣🍣🍣🍣"), (6, "🍣🍣🍣🍣🍣🍣")]
            {
                world.source.upsert("orders", row(id, 1, note));
            }
            let report = world.attempt().await;
            let found = world.database.client("SELECT id, length(note) FROM orders ORDER BY id").await.unwrap();
            let whole = if server == Server::Postgres {
                "1\t5\n2\t6\n3\t5\n4\t6\n5\t5\n6\t6"
            } else {
                "1\t5\n2\t6\n3\t5\n4\t6\n5\t20\n6\t24"
            };
            let error = report.scopes.iter().find_map(|scope| scope.error.as_ref()).map(ToString::to_string);
            match error {
                Some(error) => {
                    assert!(error.contains("\"note\"") && error.contains(&format!("{column:?}")[1..5]), "{error}");
                    assert_eq!(found, "", "{server:?} {column} {key}");
                }
                None if count(&report, Outcome::Rejected) == 0 => assert_eq!(found, whole, "{server:?} {column} {key}"),
                None => {
                    assert_eq!(count(&report, Outcome::Rejected), 3, "{server:?} {column} {key}: {report}");
                    assert_eq!(found, "1\t5\n3\t5\n5\t20", "{server:?} {column} {key}");
                }
            }
        }
    }
}

/// 20 of 1,000 rows, in one unit or in one stage.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_refused_rows_cost_hardly_more_calls_than_one() {
    for (server, first_load) in [
        (Server::Postgres, FirstLoad::ByKey),
        (Server::Postgres, FirstLoad::Scattered),
        (Server::MariaDb, FirstLoad::ByKey),
        (Server::MariaDb, FirstLoad::Scattered),
    ] {
        let database = server.database().await;
        let create = "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint CHECK (n < 1000), note varchar(20) CHARACTER SET utf8mb4)";
        let create =
            if server == Server::Postgres { create.replace("CHARACTER SET utf8mb4", "") } else { create.to_owned() };
        database.client(&create).await.unwrap();
        let source = MemorySource::of([orders()]).page(1000).first_load(first_load);
        (1..=1000).for_each(|id| source.upsert("orders", row(id, if id % 50 == 0 { 5000 } else { 1 }, "x")));
        let plan = FaultPlan::new(1);
        let sink = Faulty::new(server.connect(&database.url()).await.unwrap(), &plan);
        let store = MemoryStore::new(Arc::new(SystemClock::new()));
        // Staged where the keys are scattered, written at once where they are not.
        let pipeline = Pipeline::new("shop", source, sink).first_load(sync_core::engine::FirstLoad::Sorted);
        let engine = Engine::builder(store).pipeline(pipeline).build().unwrap();
        let report = engine.run("shop").await.unwrap();
        assert_eq!(count(&report, Outcome::Rejected), 20, "{server:?} {first_load:?}: {report}");
        let kept = database.client("SELECT count(*) FROM orders").await.unwrap();
        assert_eq!(kept.trim(), "980", "{server:?} {first_load:?}");
        // The unit, two rehearsals and the unit again; the rows before it and the end of a stage.
        let calls = plan.calls(Call::Apply);
        assert!(calls <= 6, "{server:?} {first_load:?}: {calls} calls of the sink");
    }
}

/// Changes and deletes of rows that are there, each way with rows that are refused.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_refused_changes_cost_hardly_more_calls_than_one() {
    for server in BOTH {
        let database = server.database().await;
        let key = "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint CHECK (n < 1000), note varchar(20) CHARACTER SET utf8mb4);
            CREATE TABLE theirs (id bigint PRIMARY KEY, parent bigint, FOREIGN KEY (parent) REFERENCES orders (id))";
        let create = if server == Server::Postgres { key.replace("CHARACTER SET utf8mb4", "") } else { key.to_owned() };
        database.client(&create).await.unwrap();
        let source = MemorySource::of([orders()]).page(1000);
        (1..=1000).for_each(|id| source.upsert("orders", row(id, 1, "x")));
        let plan = FaultPlan::new(1);
        let sink = Faulty::new(server.connect(&database.url()).await.unwrap(), &plan);
        let store = MemoryStore::new(Arc::new(SystemClock::new()));
        let pipeline = Pipeline::new("shop", source.clone(), sink);
        let engine = Engine::builder(store).pipeline(pipeline).build().unwrap();
        engine.run("shop").await.unwrap();
        database.client("INSERT INTO theirs VALUES (1, 7), (2, 8), (3, 507)").await.unwrap();
        (1..=1000).for_each(|id| match id {
            7 | 8 | 507 => source.delete("orders", &sync_core::Key::new([id])),
            _ if id % 7 == 0 => source.delete("orders", &sync_core::Key::new([id])),
            _ => source.upsert("orders", row(id, if id % 50 == 1 { 5000 } else { 2 }, "y")),
        });
        let before = plan.calls(Call::Apply);
        let report = engine.run("shop").await.unwrap();
        assert_eq!(count(&report, Outcome::Rejected), 21, "{server:?}: {report}");
        // 144 were to be deleted, of which three stay; of the others 18 are refused.
        let kept = database.client("SELECT count(*), sum(CASE WHEN n = 2 THEN 1 END) FROM orders").await.unwrap();
        assert_eq!(kept.trim(), "859\t838", "{server:?}");
        let calls = plan.calls(Call::Apply) - before;
        assert!(calls <= 6, "{server:?}: {calls} calls of the sink");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_need_not_name_what_only_a_new_row_requires() {
    for server in BOTH {
        let database = server.database().await;
        let stream = StreamSpec::new("orders").key(["id"]).int("n").field(Field::new("note", Kind::Text).required());
        let script = Script::of(stream);
        script.then([script.page([row(1, 1, "keep me")], 1)]);
        script.then([script.partial(vec![1.into(), 2.into(), Value::Null], &[0, 1], 2)]);
        script.then([script.partial(vec![7.into(), 2.into(), Value::Null], &[0, 1], 3)]);
        let sink = server.connect(&database.url()).await.unwrap();
        let store = MemoryStore::new(Arc::new(SystemClock::new()));
        let engine = Engine::builder(store).pipeline(Pipeline::new("shop", script, sink)).build().unwrap();
        for _ in 0..3 {
            let report = engine.run("shop").await.unwrap();
            assert_eq!(report.status, RunStatus::Completed, "{server:?}: {report}");
        }
        assert_eq!(
            database.client("SELECT id, note, n FROM orders").await.unwrap().trim(),
            "1\tkeep me\t2",
            "{server:?}"
        );
        let letters = engine.dead_letters(&LetterQuery::default()).await.unwrap();
        let keys: Vec<String> = letters.into_iter().map(|letter| letter.key.unwrap().to_string()).collect();
        assert_eq!(keys, ["7"], "{server:?}");
    }
}
