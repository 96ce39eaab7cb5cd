//! Several writers that commit late and out of order, while the feed is followed: every committed change appears once, in a
//! place that no reader has passed, and groups are whole.
//!
//! `REPLICA_LATE_ROWS=100000` writes more rows; some thousand are enough to see a sequencer that passes open transactions by.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Executor as _};
use sync_core::two_way::{Entry, Replica as _, Table, Tables};
use sync_core::{StreamSpec, SystemClock, Value};
use sync_sql::MySqlReplica;
use sync_testkit::Random;

use super::{Office, execute, sizes, told};

const WRITERS: u64 = 8;

/// Rows in an ordinary run.
const ROWS: u64 = 3_000;

const SCHEMA: &str = "CREATE TABLE things (id bigint PRIMARY KEY, tx bigint NOT NULL, n bigint NOT NULL, KEY (tx));
                      CREATE TABLE hot (id bigint PRIMARY KEY, tx bigint NOT NULL, n bigint NOT NULL);
                      INSERT INTO hot VALUES (1, 0, 0), (2, 0, 0), (3, 0, 0), (4, 0, 0), (5, 0, 0);";

fn tables() -> Tables {
    let table = |name: &str| Table::new(StreamSpec::new(name).int("id").key(["id"]).int("tx").int("n"));
    Tables::new([table("things"), table("hot")]).unwrap()
}

/// What a host has committed: how many changes each of its transactions made.
type Committed = BTreeMap<i64, usize>;

/// One host: inserts, updates of rows that all hosts write, savepoints, rollbacks, and pauses before the commit. Half of them are
/// in MariaDB's own isolation, and half in the other.
async fn host(office: &Office, writer: u64, until: &AtomicU64) -> Committed {
    let (mut random, mut host, mut committed) = (Random::new(writer), office.host().await, Committed::new());
    let isolation = if writer.is_multiple_of(2) { "READ COMMITTED" } else { "REPEATABLE READ" };
    execute(&mut host, &format!("SET SESSION TRANSACTION ISOLATION LEVEL {isolation}")).await;
    let mut number = 0;
    while until.load(Ordering::Relaxed) > 0 {
        number += 1;
        let tx = (writer * 1_000_000 + number) as i64;
        let rows = 1 + random.below(9);
        let mut changes = rows as usize;
        execute(&mut host, "BEGIN").await;
        let ids: Vec<i64> = (0..rows).map(|row| tx * 10 + row as i64).collect();
        let values: Vec<String> = ids.iter().map(|id| format!("({id}, {tx}, 0)")).collect();
        execute(&mut host, &format!("INSERT INTO things VALUES {}", values.join(", "))).await;
        let ids = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        if random.chance(0.5) {
            execute(&mut host, &format!("UPDATE things SET n = 1 WHERE id IN ({ids})")).await;
            changes += rows as usize;
        }
        if random.chance(0.2) {
            execute(&mut host, &format!("SAVEPOINT s; DELETE FROM things WHERE id IN ({ids}); ROLLBACK TO s")).await;
        }
        // A pause before a row that others want, and one after.
        let pause = Duration::from_millis(random.below(40));
        tokio::time::sleep(pause).await;
        if random.chance(0.3) {
            let id = 1 + random.below(5);
            execute(&mut host, &format!("UPDATE hot SET n = n + 1, tx = {tx} WHERE id = {id}")).await;
            changes += 1;
            tokio::time::sleep(pause / 4).await;
        }
        if random.chance(0.1) {
            execute(&mut host, "ROLLBACK").await;
            continue;
        }
        execute(&mut host, "COMMIT").await;
        committed.insert(tx, changes);
        let left = until.load(Ordering::Relaxed).saturating_sub(changes as u64);
        until.fetch_min(left, Ordering::Relaxed);
    }
    committed
}

/// Follows the feed as a branch does, page by page, until nobody writes and nothing is left.
async fn follow(replica: MySqlReplica, done: Arc<AtomicBool>) -> Vec<Entry> {
    let (mut read, mut at) = (Vec::<Entry>::new(), 0);
    loop {
        let over = done.load(Ordering::Acquire);
        let head = replica.sequence().await.unwrap();
        let page = replica.look().await.unwrap().feed(at, 50).await.unwrap();
        assert!(head.seq >= at, "the head goes back");
        if let Some(last) = page.last() {
            at = last.seq;
        } else if over {
            return read;
        } else {
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        read.extend(page);
    }
}

/// Somebody who gives places as well, and is killed in the middle of it.
async fn killed(office: &Office, done: &AtomicBool) -> u64 {
    let (mut killer, mut kills) = (office.host().await, 0);
    while !done.load(Ordering::Acquire) {
        let mut victim = office.host().await;
        let number: u64 = sqlx::query_scalar("SELECT CONNECTION_ID()").fetch_one(&mut victim).await.unwrap();
        let run = tokio::spawn(async move { victim.execute(sqlx::raw_sql("CALL _sync_sequence()")).await.is_err() });
        tokio::time::sleep(Duration::from_millis(kills % 4)).await;
        let _ = killer.execute(sqlx::raw_sql(AssertSqlSafe(format!("KILL {number}")))).await;
        kills += u64::from(run.await.unwrap());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    kills
}

fn tx_of(entry: &Entry) -> Value {
    entry.after.as_ref().or(entry.before.as_ref()).unwrap()[1].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_writers_lose_nothing_and_no_group_is_cut() {
    let rows = std::env::var("REPLICA_LATE_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(ROWS);
    let office = Arc::new(Office::with(SCHEMA, tables()).await);
    let first = office.replica.sequence().await.unwrap().seq;
    assert_eq!(first, 5);
    // One transaction is open all the time.
    let mut oldest = office.host().await;
    execute(&mut oldest, "BEGIN; INSERT INTO things VALUES (-1, -1, 0)").await;
    let (until, done) = (AtomicU64::new(rows), Arc::new(AtomicBool::new(false)));
    // Two processes follow, and each gives places; a third one does so and is killed.
    let url = office.database.url();
    let other = MySqlReplica::open(&url, "office", tables(), Arc::new(SystemClock::new())).await.unwrap();
    let followers = [office.replica.clone(), other].map(|replica| tokio::spawn(follow(replica, Arc::clone(&done))));
    let (theirs, over) = (Arc::clone(&office), Arc::clone(&done));
    let kills = tokio::spawn(async move { killed(&theirs, &over).await });
    let began = Instant::now();
    let hosts = (1..=WRITERS).map(|writer| host(&office, writer, &until));
    let committed: Committed = futures::future::join_all(hosts).await.into_iter().flatten().collect();
    println!(
        "{} transactions, {} changes in {:?}",
        committed.len(),
        committed.values().sum::<usize>(),
        began.elapsed()
    );
    execute(&mut oldest, "COMMIT").await;
    done.store(true, Ordering::Release);
    println!("{} who gave places were killed", kills.await.unwrap());
    let mut feeds = Vec::new();
    for follower in followers {
        feeds.push(follower.await.unwrap());
    }
    assert_eq!(feeds[0], feeds[1], "two readers have read something different");
    let feed = &feeds[0];
    // Places without a gap, and every transaction once and whole.
    assert!(feed.iter().zip(1..).all(|(entry, place)| entry.seq == place));
    let mut groups = BTreeSet::new();
    let mut found = Committed::new();
    for group in feed[first as usize..].chunk_by(|one, other| one.group == other.group) {
        assert!(groups.insert(group[0].group), "a group stands in two places");
        let tx = tx_of(&group[0]);
        assert!(group.iter().all(|entry| tx_of(entry) == tx), "two transactions are one group: {:?}", told(group));
        let Value::Int(tx) = tx else { panic!("a transaction has a number") };
        assert!(found.insert(tx, group.len()).is_none(), "transaction {tx} is two groups");
    }
    assert_eq!(found.remove(&-1), Some(1), "the oldest transaction came, when it was over");
    assert_eq!(found, committed);
    // Each row goes on where the entry before it ended.
    let mut last = BTreeMap::new();
    for entry in feed {
        let row = (entry.table.clone(), entry.key.clone());
        let before: Option<&Entry> = last.insert(row, entry);
        assert_eq!(
            before.and_then(|before| before.after.clone()),
            entry.before,
            "{:?}",
            told(std::slice::from_ref(entry))
        );
        assert!(before.is_none_or(|before| before.stamp.rev < entry.stamp.rev && before.stamp.hlc < entry.stamp.hlc));
    }
    assert_eq!(office.replica.audit().await.unwrap(), 0);
}

#[tokio::test]
async fn a_transaction_that_stays_open_holds_nobody_up() {
    let office = Office::shop().await;
    let mut slow = office.host().await;
    execute(&mut slow, "BEGIN; INSERT INTO invoices VALUES ('slow', '1')").await;
    let entries = office.noticed("INSERT INTO invoices VALUES ('fast', '1')").await;
    assert_eq!(told(&entries), ["invoices fast: - > fast,1"]);
    // Neither is a clean-up, nor a write to other rows.
    let mut tx = office.replica.begin().await.unwrap();
    tx.write(&[super::write(&super::shop(), "invoices", "fast", None)]).await.unwrap();
    tx.trim(entries[0].seq).await.unwrap();
    tx.commit().await.unwrap();
    execute(&mut slow, "UPDATE invoices SET no = '2' WHERE id = 'slow'; COMMIT").await;
    let entries = office.after(1).await;
    assert_eq!(
        told(&entries),
        ["invoices fast: fast,1 > -", "invoices slow: - > slow,1", "invoices slow: slow,1 > slow,2"]
    );
    assert_eq!(sizes(&entries), [1, 2]);
}

#[tokio::test]
async fn hosts_that_write_rows_side_by_side_do_not_wait_for_each_other() {
    let office = Office::with(SCHEMA, tables()).await;
    office.run("INSERT INTO things VALUES (10, 0, 0), (20, 0, 0), (30, 0, 0); DELETE FROM things WHERE id = 20").await;
    let isolation = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ; SET innodb_lock_wait_timeout = 1; BEGIN;";
    let (mut one, mut other) = (office.host().await, office.host().await);
    execute(
        &mut one,
        &format!("{isolation} INSERT INTO things VALUES (12, 1, 0), (22, 1, 0); UPDATE things SET n = 1 WHERE id = 10"),
    )
    .await;
    execute(
        &mut other,
        &format!("{isolation} INSERT INTO things VALUES (11, 2, 0), (23, 2, 0); UPDATE things SET n = 1 WHERE id = 30"),
    )
    .await;
    execute(&mut one, "INSERT INTO things VALUES (13, 1, 0), (31, 1, 0); DELETE FROM things WHERE id = 12; COMMIT")
        .await;
    execute(&mut other, "INSERT INTO things VALUES (14, 2, 0), (32, 2, 0); COMMIT").await;
    assert_eq!(sizes(&office.after(9).await), [6, 5]);
}

#[tokio::test]
async fn a_row_that_a_host_is_writing_keeps_its_stamp_through_a_clean_up() {
    let office = Office::shop().await;
    let before =
        office.noticed("INSERT INTO invoices VALUES ('a', '1'), ('b', '1'); DELETE FROM invoices WHERE id = 'b'").await;
    let mut host = office.host().await;
    execute(&mut host, "BEGIN; UPDATE invoices SET no = '2'; INSERT INTO invoices VALUES ('b', '9')").await;
    let mut tx = office.replica.begin().await.unwrap();
    assert_eq!(tx.trim(before[2].seq).await.unwrap(), 3, "nobody waits for the host");
    tx.commit().await.unwrap();
    execute(&mut host, "ROLLBACK").await;
    let table = Arc::clone(super::shop().get("invoices").unwrap());
    let keys = ["a", "b"].map(|id| sync_core::Key::new([id]));
    let held = office.replica.look().await.unwrap().rows(&table, &keys).await.unwrap();
    assert_eq!(held[0].stamp.as_ref(), Some(&before[0].stamp));
    assert_eq!(office.replica.look().await.unwrap().feed(0, 9).await.unwrap(), []);
    // The next clean-up forgets what this one had to leave.
    office.noticed("INSERT INTO invoices VALUES ('c', '1')").await;
    let mut tx = office.replica.begin().await.unwrap();
    assert_eq!(tx.trim(4).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert_eq!(
        office.run("SELECT (SELECT COUNT(*) FROM _sync_log), (SELECT COUNT(*) FROM _sync_log_invoices)").await,
        "0\t0"
    );
    let held = office.replica.look().await.unwrap().rows(&table, &keys).await.unwrap();
    assert_eq!((held[0].stamp.as_ref(), &held[1].stamp), (Some(&before[0].stamp), &None));
}

#[tokio::test]
async fn two_phase_transactions_come_when_they_are_committed() {
    let office = Office::shop().await;
    office.run("XA START 'one'; INSERT INTO invoices VALUES ('a', '1'); XA END 'one'; XA PREPARE 'one'").await;
    assert_eq!(office.noticed("INSERT INTO invoices VALUES ('b', '1')").await.len(), 1);
    assert_eq!(told(&office.noticed("XA COMMIT 'one'").await), ["invoices a: - > a,1"]);
}

#[tokio::test]
async fn hosts_in_other_isolations_are_noticed_too() {
    let office = Office::shop().await;
    for (number, isolation) in ["READ UNCOMMITTED", "REPEATABLE READ", "SERIALIZABLE"].into_iter().enumerate() {
        let mut host = office.host().await;
        execute(
            &mut host,
            &format!("SET SESSION TRANSACTION ISOLATION LEVEL {isolation}; BEGIN; SELECT COUNT(*) FROM products"),
        )
        .await;
        office.run(&format!("INSERT INTO invoices VALUES ('other{number}', '1')")).await;
        let seq = office.replica.sequence().await.unwrap().seq;
        // Its snapshot does not show the other's row; its write sees it.
        execute(&mut host, &format!("INSERT INTO invoices VALUES ('i{number}', '1'); UPDATE invoices SET no = '2' WHERE id IN ('i{number}', 'other{number}'); COMMIT")).await;
        let entries = office.after(seq).await;
        let wanted = [
            format!("invoices i{number}: - > i{number},1"),
            format!("invoices i{number}: i{number},1 > i{number},2"),
            format!("invoices other{number}: other{number},1 > other{number},2"),
        ];
        assert_eq!(told(&entries), wanted, "{isolation}");
        assert_eq!(sizes(&entries), [3]);
    }
}
