//! Many changed rows, which go to the server in pieces.

use std::time::Duration;

use sync_core::state::LetterQuery;

use super::*;

/// Changes so many rows, of which the table refuses those of these places.
async fn change(changed: i64, bad: &[i64], width: usize) {
    let world = World::on(sync_test_servers::mariadb().await.unwrap(), MemorySource::of([orders()]).page(2000)).await;
    (1..=changed + 20).for_each(|id| world.source.upsert("orders", row(id, 1, "first")));
    world.run(RunOptions::incremental()).await;
    world
        .ask("CREATE TABLE log (id bigint); ALTER TABLE orders ADD CHECK (note NOT LIKE 'bad%'); CREATE TRIGGER log AFTER UPDATE ON orders FOR EACH ROW INSERT INTO log VALUES (NEW.id)")
        .await;
    let note = "y".repeat(width);
    // In an order that is not that of their keys.
    (1..=changed).rev().for_each(|id| {
        world.source.upsert(
            "orders",
            row(id, 2, &if bad.contains(&id) { format!("bad {id}") } else { format!("{id} {note}") }),
        );
    });
    let what = format!("{changed} changed, {bad:?} refused, {width} wide");
    let run = world.engine.run_with("shop", RunOptions::incremental());
    let report = tokio::time::timeout(Duration::from_secs(60), run).await.expect(&what).unwrap();
    let told = (count(&report, Outcome::Updated), count(&report, Outcome::Rejected));
    assert_eq!(told, (changed as u64 - bad.len() as u64, bad.len() as u64), "{what}: {report}");
    assert_eq!(world.ask("SELECT count(*), count(DISTINCT id) FROM log").await, format!("{0}\t{0}", told.0), "{what}");
    let found = world.ask("SELECT count(*) FROM orders WHERE version = 2 AND note LIKE concat(id, ' y%')").await;
    assert_eq!(found, told.0.to_string(), "{what}");
    assert_eq!(
        world.ask("SELECT count(*) FROM orders WHERE note = 'first'").await,
        (20 + told.1).to_string(),
        "{what}"
    );
    assert_eq!(world.engine.dead_letters(&LetterQuery::default()).await.unwrap().len(), bad.len(), "{what}");
    let again = world.run(RunOptions::full()).await;
    assert_eq!(count(&again, Outcome::Updated), 0, "{what}: {again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_rows_are_written_once_and_told_once_wherever_a_piece_of_them_ends() {
    for changed in [11, 12, 249, 250, 251, 500, 501, 1001] {
        change(changed, &[], 10).await;
    }
    for bad in [&[1][..], &[250], &[251], &[249, 250, 251, 252, 500], &[1001]] {
        change(1001, bad, 10).await;
    }
    change(501, &[251], 20_000).await;
}
