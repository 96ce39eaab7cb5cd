//! Another program writes the same keys all the time: nothing of it is lost, and the run ends.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::*;

const ROWS: i64 = 20_000;

/// Writes of the other program, in the order in which it was told that they are done: key, and the number it wrote there.
type Done = BTreeMap<i64, Option<i64>>;

/// Updates a column of its own, deletes and adds rows, as fast as it can.
async fn other_program(world: &World, stop: &AtomicBool) -> (Done, u64) {
    let (mut done, mut turns) = (Done::new(), 0_u64);
    while !stop.load(Ordering::Relaxed) {
        turns += 1;
        let turn = i64::try_from(turns).unwrap();
        // Whole stretches of keys, a few of them again and again.
        let from = (turn * 7919) % ROWS;
        // From 1: the rows behind ours, which it takes away and adds again, begin behind the last of ours.
        let hot = turn % 49 + 1;
        let sql = format!(
            "UPDATE orders SET theirs = {turn} WHERE id >= {from} AND id < {from} + 300;
             UPDATE orders SET theirs = {turn} WHERE id = {hot};
             DELETE FROM orders WHERE id = {ROWS} + {hot};
             INSERT INTO orders (id, n, note, theirs) VALUES ({ROWS} + {hot}, 0, 'theirs', {turn})"
        );
        if world.database.client(&sql).await.is_ok() {
            done.insert(ROWS + hot, Some(turn));
            done.extend((from..from + 300).chain([hot]).map(|id| (id, Some(turn))));
        }
    }
    (done, turns)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_beside_a_program_that_writes_the_same_keys_ends_and_loses_nobody_s_write() {
    for server in BOTH {
        let world = World::filled(server, server.database().await).await;
        (1..=ROWS).for_each(|id| world.source.upsert("orders", row(id, 1, "first")));
        world.run().await;
        (1..=ROWS + 49).for_each(|id| world.source.upsert("orders", row(id, 2, "second")));
        let stop = AtomicBool::new(false);
        let began = Instant::now();
        let ((done, turns), reports) = tokio::join!(other_program(&world, &stop), async {
            let mut reports = Vec::new();
            // For five seconds, turn after turn; each of them must end while the other program goes on.
            for version in 3.. {
                reports.push(world.run().await);
                if began.elapsed() > Duration::from_secs(5) {
                    break;
                }
                (1..=ROWS + 49).for_each(|id| world.source.upsert("orders", row(id, version, "again")));
            }
            stop.store(true, Ordering::Relaxed);
            reports
        });
        let report = reports.last().unwrap();
        assert!(turns > 5, "{server:?}: the other program got through {turns} times");
        assert_eq!(
            report.ledger().fetched,
            count(report, Outcome::Updated) + count(report, Outcome::Created) + count(report, Outcome::Unchanged),
            "{server:?}: {report}"
        );
        // Every key once. What is ours is as we wrote it, unless the other program has replaced the row since.
        let newest = world.source.rows("orders")[0].1[1].clone();
        let odd = format!(
            "SELECT count(*) FROM orders WHERE id <= {ROWS} AND (n <> {newest} OR note IN ('first', 'theirs'))"
        );
        assert_eq!(world.ask(&odd).await, "0", "{server:?}");
        assert_eq!(
            world.ask(&format!("SELECT count(*), count(DISTINCT id) FROM orders WHERE id BETWEEN 1 AND {ROWS}")).await,
            format!("{ROWS}\t{ROWS}")
        );
        let mixed = format!(
            "SELECT count(*) FROM orders WHERE id > {ROWS} AND NOT (n = {newest} OR n = 0 AND note = 'theirs')"
        );
        assert_eq!(world.ask(&mixed).await, "0", "{server:?}: a row is one writer's or the other's");
        // What the other program wrote into its own column is there.
        let theirs =
            world.ask(&format!("SELECT id, theirs FROM orders WHERE theirs IS NOT NULL AND id <= {ROWS}")).await;
        let found: Done = theirs
            .lines()
            .map(|line| {
                line.split_once('\t').map(|(id, turn)| (id.parse().unwrap(), Some(turn.parse().unwrap()))).unwrap()
            })
            .collect();
        let expected: Done = done.into_iter().filter(|(id, _)| (1..=ROWS).contains(id)).collect();
        let lost = expected.iter().filter(|(id, turn)| found.get(id).copied().flatten() < **turn).count();
        assert_eq!(lost, 0, "{server:?}: writes of the other program are lost");
        eprintln!("{server:?}: {} runs beside {turns} turns, {} retries", reports.len(), world.retries().len());
    }
}
