//! Rows that are refused for what others are or do: only those at fault are blamed, and none is lost with them.

use sync_core::memory::FirstLoad;

use super::*;

/// A table of this form on this server, and rows that go there in one unit, as one page.
async fn into(server: Server, prepare: &str, rows: impl IntoIterator<Item = Vec<Value>>) -> (World, Report) {
    let database = server.database().await;
    database.client(prepare).await.unwrap();
    let world = World::on(server, database).await;
    let source = MemorySource::of([orders()]).page(100_000);
    let quick = RetryPolicy::new().attempts(3).base(Duration::from_millis(50)).cap(Duration::from_millis(400));
    let pipeline = Pipeline::new("shop", source.clone(), server.connect(&world.database.url()).await.unwrap());
    let store = MemoryStore::new(Arc::new(SystemClock::new()));
    let engine = Engine::builder(store).pipeline(pipeline).retry(quick).build().unwrap();
    let world = World { source, engine, ..world };
    rows.into_iter().for_each(|row| world.source.upsert("orders", row));
    let report = world.attempt().await;
    (world, report)
}

/// A rule of the host, told by a trigger of the table (`RAISE EXCEPTION`, `SIGNAL`).
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_a_trigger_refuses_is_a_dead_letter_and_all_others_are_written() {
    for server in BOTH {
        let trigger = match server {
            Server::Postgres => {
                "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.n = 13 THEN RAISE EXCEPTION 'no thirteen'; END IF; RETURN NEW; END $$;
                 CREATE TRIGGER no BEFORE INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION no()"
            }
            Server::MariaDb => {
                "DELIMITER //\nCREATE TRIGGER no BEFORE INSERT ON orders FOR EACH ROW
                 IF NEW.n = 13 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no thirteen'; END IF//"
            }
        };
        let table = match server {
            Server::Postgres => "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note text);",
            Server::MariaDb => {
                "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note longtext CHARACTER SET utf8mb4);"
            }
        };
        let rows = (1..=50).map(|id| row(id, if id == 7 { 13 } else { 1 }, "x"));
        let (world, report) = into(server, &format!("{table}\n{trigger}"), rows).await;
        let error = report.scopes.iter().find_map(|scope| scope.error.as_ref());
        assert_eq!(
            (report.status, count(&report, Outcome::Created)),
            (RunStatus::Completed, 49),
            "{server:?}: {error:?}"
        );
        let letters = world.letters().await;
        assert!(letters.len() == 1 && letters[0].0 == "7", "{server:?}: {letters:?}");
    }
}

/// A trigger that answers nothing takes the row for not written (`RETURN NULL`); it is no other writer, who will go.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_a_trigger_ignores_is_a_dead_letter_and_all_others_are_written() {
    let table = "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note text);
        CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.n = 13 THEN RETURN NULL; END IF; RETURN NEW; END $$;
        CREATE TRIGGER no BEFORE INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION no()";
    let rows = || (1..=50).map(|id| row(id, if id == 7 { 13 } else { 1 }, "x"));
    let (world, report) = into(Server::Postgres, table, rows()).await;
    let error = report.scopes.iter().find_map(|scope| scope.error.as_ref());
    assert_eq!((report.status, count(&report, Outcome::Created)), (RunStatus::Completed, 49), "{error:?}");
    assert_eq!(world.letters().await.len(), 1);
    // The same of rows that are there.
    (1..=50).for_each(|id| world.source.upsert("orders", row(id, if id == 9 { 13 } else { 2 }, "y")));
    let report = world.attempt().await;
    let error = report.scopes.iter().find_map(|scope| scope.error.as_ref());
    assert_eq!((report.status, count(&report, Outcome::Updated)), (RunStatus::Completed, 48), "{error:?}");
    assert_eq!(world.letters().await.len(), 2);
    // And of a first load that is staged, and published with one statement.
    let source = MemorySource::of([orders()]).page(10).first_load(FirstLoad::Scattered);
    rows().for_each(|row| source.upsert("orders", row));
    world.ask("TRUNCATE orders").await;
    let sink = Server::Postgres.connect(&world.database.url()).await.unwrap();
    let pipeline = Pipeline::new("sorted", source, sink).first_load(sync_core::engine::FirstLoad::Sorted);
    let store = MemoryStore::new(Arc::new(SystemClock::new()));
    let report = Engine::builder(store).pipeline(pipeline).build().unwrap().run("sorted").await.unwrap();
    assert_eq!((count(&report, Outcome::Created), count(&report, Outcome::Rejected)), (49, 1), "{report}");
}

/// What a trigger says while rows are copied comes back on the way on which they go.
#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_that_talks_a_lot_does_not_stop_a_copy() {
    let table = "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note text);
        CREATE FUNCTION say() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING '%', repeat('x', 8000); RETURN NEW; END $$;
        CREATE TRIGGER say BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION say()";
    let rows = (1..=5000).map(|id| row(id, 1, &"y".repeat(3000)));
    let (_, report) = into(Server::Postgres, table, rows).await;
    assert_eq!((report.status, count(&report, Outcome::Created)), (RunStatus::Completed, 5000), "{report}");
}

/// A tree: one statement may bring a child before its parent, and then one row in it is refused for a reason of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_comes_before_its_parent_is_not_blamed_for_another_row() {
    for deferred in ["", "DEFERRABLE INITIALLY DEFERRED"] {
        let table = format!(
            "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint REFERENCES orders (id) {deferred}, note text CHECK (note <> 'bad'))"
        );
        let parent = |id: i64| if id == 2 { 45 } else { id };
        let rows = (1..=50).map(|id| row(id, parent(id), if id == 30 { "bad" } else { "x" }));
        let (world, report) = into(Server::Postgres, &table, rows).await;
        let letters: Vec<String> = world.letters().await.into_iter().map(|(key, _)| key).collect();
        assert_eq!((count(&report, Outcome::Created), letters), (49, vec!["30".to_owned()]), "{deferred}: {report}");
    }
}

/// The same where the other row is an orphan, of which a key that is checked at the commit tells no number.
#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_comes_before_its_parent_is_not_blamed_for_an_orphan() {
    for deferred in ["", "DEFERRABLE INITIALLY DEFERRED"] {
        let table = format!(
            "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint REFERENCES orders (id) {deferred}, note text)"
        );
        let parent = |id: i64| match id {
            2 => 45,
            30 => 99,
            _ => id,
        };
        let (world, report) = into(Server::Postgres, &table, (1..=50).map(|id| row(id, parent(id), "x"))).await;
        let letters: Vec<String> = world.letters().await.into_iter().map(|(key, _)| key).collect();
        assert_eq!((count(&report, Outcome::Created), letters), (49, vec!["30".to_owned()]), "{deferred}: {report}");
    }
}

/// Another writer was in the way, and is gone when the rows are tried again in parts. (The trigger counts in a variable
/// of the session, which no rollback resets.)
#[tokio::test(flavor = "multi_thread")]
async fn rows_behind_one_that_was_refused_for_a_moment_are_written() {
    for moments in 1..=5 {
        let table = format!(
            "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note longtext CHARACTER SET utf8mb4);
             DELIMITER //
             CREATE TRIGGER no BEFORE INSERT ON orders FOR EACH ROW IF NEW.id = 1 THEN
                 SET @tries = COALESCE(@tries, 0) + 1; IF @tries <= {moments} THEN SIGNAL SQLSTATE '23000'; END IF; END IF//"
        );
        let (world, report) = into(Server::MariaDb, &table, (1..=16).map(|id| row(id, 1, "x"))).await;
        let found = world.ask("SELECT count(*) FROM orders").await;
        let letters = world.letters().await.len() as u64;
        assert_eq!(found, (16 - letters).to_string(), "{moments}: {report}");
        assert!(letters <= 1, "{moments}: {report}");
    }
}

/// What a trigger finds twice is wrong with the row that it looks for (SQLSTATE 21000 and 42000).
#[tokio::test(flavor = "multi_thread")]
async fn a_row_for_which_a_trigger_finds_too_many_others_is_a_letter_and_the_others_are_written() {
    for look in [
        "SET @found = (SELECT code FROM codes WHERE id = NEW.id)",
        "SELECT code INTO @found FROM codes WHERE id = NEW.id",
    ] {
        let table = format!(
            "CREATE TABLE codes (id bigint, code bigint); INSERT INTO codes VALUES (1, 1), (7, 1), (7, 2);
             CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note longtext CHARACTER SET utf8mb4);
             CREATE TRIGGER look BEFORE INSERT ON orders FOR EACH ROW {look}"
        );
        let (world, report) = into(Server::MariaDb, &table, (1..=16).map(|id| row(id, 1, "x"))).await;
        let letters: Vec<String> = world.letters().await.into_iter().map(|(key, _)| key).collect();
        assert_eq!((count(&report, Outcome::Created), letters), (15, vec!["7".to_owned()]), "{look}: {report}");
    }
}

/// With a policy that the engine decides, rows are looked up by their keys first; one of them is no key for PostgreSQL.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_be_looked_up_is_blamed_where_it_stands() {
    let database = Server::Postgres.database().await;
    let source = MemorySource::of([StreamSpec::new("orders").key(["id"]).text("id").int("n")]).page(10);
    for id in 1..=30 {
        let key = if id == 25 { "nul\0".to_owned() } else { format!("{id:02}") };
        source.upsert("orders", vec![key.as_str().into(), Value::from(1)]);
    }
    let sink = Server::Postgres.connect(&database.url()).await.unwrap();
    let policy = sync_core::conflict::decide(|_| sync_core::conflict::Resolution::TakeIncoming);
    let pipeline = Pipeline::new("shop", source, sink).policy(policy);
    let store = MemoryStore::new(Arc::new(SystemClock::new()));
    let engine = Engine::builder(store).pipeline(pipeline).build().unwrap();
    let report = engine.run("shop").await.unwrap();
    let kept = database.client("SELECT count(*) FROM orders").await.unwrap();
    let letters = engine.dead_letters(&LetterQuery::default()).await.unwrap();
    let keys: Vec<String> = letters.into_iter().map(|letter| letter.key.unwrap().to_string()).collect();
    assert_eq!((report.status, kept.as_str(), keys.len()), (RunStatus::Completed, "29", 1), "{report} {keys:?}");
    assert!(keys[0].contains("nul"), "{keys:?}");
}
