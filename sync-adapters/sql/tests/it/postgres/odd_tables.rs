//! Targets that are no plain table: written as they are, or refused with what to do about it.

use std::time::Duration;

use sync_core::ErrorKind;
use sync_core::state::LetterQuery;

use super::*;

/// Rows enough that they are copied where a table takes that.
const ROWS: i64 = 1000;

async fn on(create: &str) -> World {
    let world = World::new(MemorySource::of([orders()]).page(ROWS as usize)).await;
    world.ask(create).await;
    (1..=ROWS).for_each(|id| world.source.upsert("orders", row(id, id, &"x".repeat(300))));
    world
}

/// A run that ends in time, and its error.
async fn attempt(world: &World, options: RunOptions) -> (Report, Option<(ErrorKind, String)>) {
    let run = tokio::time::timeout(Duration::from_secs(30), world.engine.run_with("shop", options));
    let report = run.await.expect("the run ends").unwrap();
    let error = report.scopes.iter().find_map(|scope| scope.error.as_ref());
    let error = error.map(|error| (error.kind(), error.to_string()));
    (report, error)
}

const TABLE: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, version bigint, note text);";

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_other_statements_of_ours_is_refused_with_what_to_do() {
    for (create, said) in [
        ("CREATE RULE mine AS ON INSERT TO orders DO INSTEAD NOTHING", "the rule \"mine\""),
        (
            "CREATE TABLE log (id bigint); CREATE RULE mine AS ON INSERT TO orders DO ALSO INSERT INTO log VALUES (NEW.id)",
            "use a trigger",
        ),
        ("CREATE RULE mine AS ON UPDATE TO orders DO INSTEAD NOTHING", "the rule \"mine\""),
        ("CREATE RULE mine AS ON DELETE TO orders DO INSTEAD NOTHING", "DROP RULE"),
        ("ALTER TABLE orders RENAME TO real; CREATE VIEW orders AS SELECT * FROM real", "is a view"),
        (
            "ALTER TABLE orders RENAME TO real; CREATE MATERIALIZED VIEW orders AS SELECT * FROM real; CREATE UNIQUE INDEX ON orders (id)",
            "no table",
        ),
        ("DROP TABLE orders; CREATE TABLE orders ()", "exactly (id), not deferrable; it has none"),
        ("ALTER TABLE orders ADD shout text NOT NULL", "\"shout\", which the stream does not declare"),
        ("ALTER TABLE orders DROP note, ADD note text GENERATED ALWAYS AS ('n') STORED", "\"note\" is computed"),
    ] {
        let world = on(&format!("{TABLE} {create}")).await;
        let (_, error) = attempt(&world, RunOptions::incremental()).await;
        let (kind, error) = error.expect(create);
        assert!(kind == ErrorKind::Schema && error.contains(said), "{create}: {kind:?} {error}");
        assert_eq!(world.ask("SELECT count(*) FROM orders").await, "0", "{create}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_something_else_keeps_as_it_is_is_a_matter_of_the_schema() {
    for create in [
        "CREATE TABLE orders (id bigint, version int, note text, PRIMARY KEY (id, version)) PARTITION BY RANGE (version)",
        "CREATE TABLE parent (version int); CREATE TABLE orders (id bigint PRIMARY KEY, note text) INHERITS (parent)",
        "CREATE TABLE orders (id bigint PRIMARY KEY, version int, note text); CREATE VIEW seen AS SELECT version FROM orders",
    ] {
        let database = sync_test_servers::postgres().await.unwrap();
        database.client(create).await.unwrap();
        let sink = Postgres::connect(&database.url()).await.unwrap();
        let key: &[&str] = if create.contains("PARTITION") { &["id", "version"] } else { &["id"] };
        let stream = StreamSpec::new("orders").key(key.iter().copied()).int("id").int("version").text("note");
        let error = sink.prepare(&stream).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Schema, "{create}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_called_like_a_table_of_the_servers_own_is_refused() {
    let world = World::new(MemorySource::of([orders()])).await;
    let sink = Postgres::connect(&world.database.url()).await.unwrap();
    for name in ["pg_class", "pg_shdepend"] {
        let refused = sink.prepare(&StreamSpec::new(name).key(["oid"]).text("relname")).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Config, "{refused}");
        assert!(refused.to_string().contains("rename the stream") && refused.to_string().contains(name), "{refused}");
    }
    sink.prepare(&StreamSpec::new("pg_mine").key(["oid"]).text("relname")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_in_parts_or_with_columns_of_its_own_is_written_like_any_other() {
    let parts = "CREATE TABLE orders (id bigint PRIMARY KEY, version bigint, note text) PARTITION BY RANGE (id);
        CREATE TABLE low PARTITION OF orders FOR VALUES FROM (0) TO (500);
        CREATE TABLE high PARTITION OF orders FOR VALUES FROM (500) TO (999);";
    let computed = "CREATE TABLE orders (id bigint PRIMARY KEY, version bigint, note text, long bigint GENERATED ALWAYS AS (length(note)) STORED,
        number bigint GENERATED ALWAYS AS IDENTITY, at timestamptz NOT NULL DEFAULT now(), CHECK (id < 999));";
    let logged = format!(
        "{TABLE} CREATE TABLE log (id bigint); ALTER TABLE orders ADD CHECK (id < 999);
        CREATE RULE logged AS ON DELETE TO orders DO ALSO INSERT INTO log VALUES (OLD.id);"
    );
    for create in [parts, computed, &logged] {
        let world = on(create).await;
        let (report, error) = attempt(&world, RunOptions::incremental()).await;
        assert_eq!(error, None, "{create}");
        // No part, and no check, takes the last two.
        let counted = (count(&report, Outcome::Created), count(&report, Outcome::Rejected));
        assert_eq!(counted, (998, 2), "{create}: {report}");
        world.source.upsert("orders", row(7, 2000, "changed"));
        world.source.delete("orders", &Key::new([8]));
        let (report, error) = attempt(&world, RunOptions::full()).await;
        let counted = (count(&report, Outcome::Updated), count(&report, Outcome::Unchanged));
        assert_eq!((counted, error), ((1, 996), None), "{create}: {report}");
        attempt(&world, RunOptions::reconcile()).await;
        let found = world.ask("SELECT count(*), sum(length(note)) FROM orders").await;
        assert_eq!(found, format!("997\t{}", 996 * 300 + 7), "{create}");
    }
}

const TRIGGER: &str = "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_trigger_makes_of_a_row_stays_and_is_written_once_a_change() {
    let world = on(&format!(
        "{TABLE} {TRIGGER} NEW.note := 'theirs ' || left(NEW.note, 1); RETURN NEW; END $$;
         CREATE TRIGGER meddle BEFORE INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION meddle()"
    ))
    .await;
    let (report, error) = attempt(&world, RunOptions::incremental()).await;
    assert_eq!((count(&report, Outcome::Created), error), (ROWS as u64, None), "{report}");
    world.source.upsert("orders", row(7, 2000, "y"));
    let (report, _) = attempt(&world, RunOptions::incremental()).await;
    assert_eq!((count(&report, Outcome::Updated), report.ledger().fetched), (1, 1), "{report}");
    let found = world.ask("SELECT note, count(*) FROM orders GROUP BY note ORDER BY 2").await;
    assert_eq!(found, "theirs y\t1\ntheirs x\t999");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_a_trigger_keeps_out_is_a_dead_letter_and_no_endless_retry() {
    let world = on(&format!(
        "{TABLE} {TRIGGER} IF TG_OP = 'DELETE' THEN RETURN CASE WHEN OLD.id % 500 = 3 THEN NULL ELSE OLD END; END IF;
             IF NEW.id % 500 = 1 AND TG_OP = 'INSERT' OR NEW.id % 500 = 2 AND TG_OP = 'UPDATE' THEN RETURN NULL; END IF; RETURN NEW; END $$;
         CREATE TRIGGER meddle BEFORE INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION meddle()"
    ))
    .await;
    let (report, error) = attempt(&world, RunOptions::incremental()).await;
    assert_eq!(error, None);
    assert_eq!((count(&report, Outcome::Created), count(&report, Outcome::Rejected)), (998, 2), "{report}");
    (2..=10).for_each(|id| world.source.upsert("orders", row(id, 2000, "new")));
    world.source.delete("orders", &Key::new([503]));
    world.source.delete("orders", &Key::new([504]));
    let (report, error) = attempt(&world, RunOptions::incremental()).await;
    assert_eq!(error, None);
    let counted =
        (count(&report, Outcome::Updated), count(&report, Outcome::Deleted), count(&report, Outcome::Rejected));
    assert_eq!(counted, (8, 1, 2), "{report}");
    let letters = world.engine.dead_letters(&LetterQuery::default()).await.unwrap();
    let mut keys: Vec<String> = letters.iter().map(|letter| letter.key.clone().unwrap().to_string()).collect();
    keys.sort();
    assert_eq!(keys, ["1", "2", "501", "503"]);
    assert!(letters.iter().all(|letter| letter.reason.contains("a trigger")), "{letters:?}");
    assert_eq!(
        world.ask("SELECT count(*) FROM orders WHERE id IN (1, 501, 504) OR id = 2 AND note = 'new'").await,
        "0"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_hides_rows_is_written_where_it_hides_none_of_ours() {
    let world = World::new(MemorySource::of([orders()]).page(ROWS as usize)).await;
    let account = format!("{}_account", world.database.name());
    world.ask(&format!(
        "{TABLE} ALTER TABLE orders ADD tenant text NOT NULL DEFAULT 'ours', ENABLE ROW LEVEL SECURITY;
         CREATE POLICY ours ON orders USING (tenant = 'ours'); INSERT INTO orders VALUES (5000, 1, 'hidden', 'theirs');
         CREATE ROLE {account} LOGIN PASSWORD 'secret'; GRANT SELECT, INSERT, UPDATE, DELETE ON orders TO {account}; GRANT CREATE ON SCHEMA public TO {account}"
    ))
    .await;
    let url = world.database.url();
    let (_, at) = url.split_once('@').unwrap();
    let sink = Postgres::connect(&format!("postgres://{account}:secret@{at}")).await.unwrap();
    let store = MemoryStore::new(Arc::new(SystemClock::new()));
    let engine = Engine::builder(store).pipeline(Pipeline::new("shop", world.source.clone(), sink)).build().unwrap();
    let world = World { engine, ..world };
    (1..=ROWS).for_each(|id| world.source.upsert("orders", row(id, id, &"x".repeat(300))));
    let (report, error) = attempt(&world, RunOptions::incremental()).await;
    assert_eq!((count(&report, Outcome::Created), error), (ROWS as u64, None), "{report}");
    world.source.upsert("orders", row(5000, 9000, "ours"));
    let (_, error) = attempt(&world, RunOptions::incremental()).await;
    let (kind, said) = error.expect("a key that is taken by a row it cannot see");
    assert!(kind == ErrorKind::Forbidden && said.contains("BYPASSRLS"), "{kind:?} {said}");
    assert_eq!(world.ask("SELECT note FROM orders WHERE id = 5000").await, "hidden");
    world.ask(&format!("DROP OWNED BY {account}; DROP ROLE {account}")).await;
}
