//! Stages come and go with their units, though making and dropping a table commits; rehearsals leave nothing.

use sync_core::model::{Absent, RowScope};
use sync_core::sink::{Intent, MostDeletes, Publish, Stage};
use sync_core::state::StageName;

use super::*;

fn stage(rows: &[Vec<Value>]) -> Step {
    let Step::Write(write) = write(&orders(), rows) else { unreachable!() };
    Step::Stage(Stage { stage: StageName::new("s"), stream: write.stream, changes: write.changes })
}

fn publish() -> Step {
    Step::Publish(Publish {
        stage: StageName::new("s"),
        stream: Arc::new(orders()),
        rows: RowScope::All,
        absent: Absent::Delete,
        most: MostDeletes::Any,
        guard: Guard::Always,
        difference: sync_core::detect::Difference::Content,
        mode: WriteMode::Upsert,
        keys_only: false,
        skip: Vec::new(),
        spared: Vec::new(),
    })
}

async fn world() -> (Database, MySql) {
    let database = sync_test_servers::mariadb().await.unwrap();
    let sink = MySql::connect(&database.url()).await.unwrap();
    (database, sink)
}

const TABLES: &str = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY 1";

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_of_everything_at_once_makes_nothing() {
    let (database, sink) = world().await;
    let steps = [stage(&[row(1, 1, "a"), row(2, 1, "b")]), stage(&[row(2, 2, "c")]), publish()];
    for _ in 0..2 {
        assert_eq!(apply(&sink, &steps, Intent::Rehearse).await.unwrap(), [Outcome::Staged; 3]);
        assert_eq!(database.client(TABLES).await.unwrap(), "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_before_a_change_of_the_table_sees_the_changed_table_and_leaves_the_old_one() {
    let (database, sink) = world().await;
    database.client("CREATE TABLE orders (id int PRIMARY KEY, note varchar(3) CHARACTER SET utf8mb4); INSERT INTO orders VALUES (1, 'a'), (2, 'b')").await.unwrap();
    let before = database.client("SHOW CREATE TABLE orders").await.unwrap();
    let rows = [row(1, 1, "much longer"), vec![2.into(), Value::Null, "b".into()], row(1 << 40, 1, "far")];
    let outcomes = apply(&sink, &[write(&orders(), &rows)], Intent::Rehearse).await.unwrap();
    assert_eq!(outcomes, [Outcome::Updated, Outcome::Unchanged, Outcome::Created]);
    assert_eq!(database.client("SHOW CREATE TABLE orders").await.unwrap(), before);
    assert_eq!(database.client("SELECT * FROM orders").await.unwrap(), "1\ta\n2\tb");
    sink.prepare(&orders()).await.unwrap();
    assert_eq!(apply(&sink, &[write(&orders(), &rows)], Intent::Commit).await.unwrap(), outcomes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_whose_unit_failed_is_no_stage_and_no_table() {
    let (database, sink) = world().await;
    sink.prepare(&orders()).await.unwrap();
    apply(&sink, &[write(&orders(), &[row(1, 1, "kept")])], Intent::Commit).await.unwrap();
    let bad = write(&orders(), &[vec![Value::Null, 1.into(), "no key".into()]]);
    apply(&sink, &[stage(&[row(2, 1, "staged")]), bad], Intent::Commit).await.unwrap_err();
    assert_eq!(database.client(TABLES).await.unwrap(), "orders\n_sync_stage");
    // An empty stage would name no row, and so delete them all.
    apply(&sink, &[publish()], Intent::Commit).await.unwrap();
    assert_eq!(database.client("SELECT * FROM orders").await.unwrap(), "1\t1\tkept");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_left_is_swept_away_and_what_is_staged_stays() {
    let (database, sink) = world().await;
    sink.prepare(&orders()).await.unwrap();
    apply(&sink, &[stage(&[row(1, 1, "a")])], Intent::Commit).await.unwrap();
    let staged = database.client(TABLES).await.unwrap();
    // One that was made and never entered, and one that somebody is about to enter.
    database.client("CREATE TABLE _sync_stage_left (a int); CREATE TABLE _sync_stage_busy (a int)").await.unwrap();
    let steps = [Step::Discard { stage: StageName::new("s"), stream: Arc::new(orders()) }, stage(&[row(2, 1, "b")])];
    let (held, done) = tokio::join!(database.client("DO GET_LOCK('_sync_stage_busy', 5); DO SLEEP(2)"), async {
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        apply(&sink, &steps, Intent::Commit).await
    });
    held.unwrap();
    done.unwrap();
    let tables = database.client(TABLES).await.unwrap();
    assert!(!tables.contains("_sync_stage_left") && tables.contains("_sync_stage_busy"), "{tables}");
    assert_ne!(tables, staged);
    apply(&sink, &[publish()], Intent::Commit).await.unwrap();
    assert_eq!(database.client("SELECT * FROM orders").await.unwrap(), "2\t1\tb");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_of_many_pieces_is_published_in_the_order_of_its_keys() {
    let (database, sink) = world().await;
    sink.prepare(&orders()).await.unwrap();
    apply(&sink, &[write(&orders(), &[row(5, 1, "old"), row(99_999, 1, "gone")])], Intent::Commit).await.unwrap();
    let scattered: Vec<Vec<Value>> = (0..11_003).map(|id| row(id * 7_919 % 11_003, 2, "new")).collect();
    let twice: Vec<Vec<Value>> = (0..11_003).step_by(2).map(|id| row(id, 3, "newer")).collect();
    apply(&sink, &[stage(&scattered), stage(&twice)], Intent::Commit).await.unwrap();
    let unit = WriteUnit { scope: &scope(), steps: &[publish()], advance: None, intent: Intent::Commit };
    let tally = sink.apply(&unit).await.unwrap().tally();
    let counts =
        [Outcome::Created, Outcome::Updated, Outcome::Duplicate, Outcome::Deleted].map(|outcome| tally.count(outcome));
    assert_eq!(counts, [11_002, 1, 5_502, 1]);
    let found = database.client("SELECT version, note, count(*) FROM orders GROUP BY 1, 2 ORDER BY 1").await.unwrap();
    assert_eq!(found, "2\tnew\t5501\n3\tnewer\t5502");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_gone_but_referred_to_are_no_fault_of_a_row_that_came() {
    let (database, sink) = world().await;
    sink.prepare(&orders()).await.unwrap();
    apply(&sink, &[write(&orders(), &[row(1, 1, "a"), row(2, 1, "b")])], Intent::Commit).await.unwrap();
    database
        .client("CREATE TABLE parts (id bigint, FOREIGN KEY (id) REFERENCES orders (id)); INSERT INTO parts VALUES (2)")
        .await
        .unwrap();
    apply(&sink, &[stage(&[row(1, 1, "a")])], Intent::Commit).await.unwrap();
    let error = apply(&sink, &[publish()], Intent::Commit).await.unwrap_err();
    assert_eq!(error.kind(), sync_core::ErrorKind::Schema, "{error}");
    assert!(error.to_string().contains("rows of parts refer to some of them"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_missing_is_marked_until_it_comes_again() {
    let stream = orders().absent(Absent::Mark("gone_at".into()));
    let source = MemorySource::of([stream]).page(100).listing(Listing::Rows);
    let world = World::new(source).await;
    (1..=40).for_each(|id| world.source.upsert("orders", row(id, 1, "first")));
    world.run(RunOptions::incremental()).await;
    let missing = || world.ask("SELECT group_concat(id ORDER BY id) FROM orders WHERE gone_at IS NOT NULL");
    for gone in [3..=3, 10..=30] {
        gone.clone().for_each(|id| world.source.delete("orders", &Key::new([id])));
        world.ask("UPDATE orders SET gone_at = NULL").await;
        let report = world.run(RunOptions::reconcile().confirm_deletes()).await;
        let ids: Vec<String> = gone.clone().map(|id| id.to_string()).collect();
        assert_eq!(missing().await, ids.join(","), "{report}");
        // They come again as they were: nothing of them differs but the mark.
        gone.clone().for_each(|id| world.source.upsert("orders", row(id, 1, "first")));
        let again = world.run(RunOptions::full()).await;
        assert_eq!(count(&again, Outcome::Updated), ids.len() as u64, "{again}");
        assert_eq!(missing().await, "NULL");
    }
}
