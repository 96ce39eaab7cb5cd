//! Several writers that commit late and out of order, while the feed is followed: every committed change appears once, in a
//! place that no reader has passed, and groups are whole.
//!
//! `REPLICA_LATE_ROWS=100000` writes more rows; some thousand are enough to see a sequencer that passes open transactions by.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sync_core::two_way::{Entry, Replica, Table, Tables};
use sync_core::{Key, StreamSpec, Value};
use sync_testkit::Random;

use super::{Office, OnServer};
use crate::entries::{shop, sizes, told, write};

const WRITERS: u64 = 8;

/// Rows in an ordinary run.
const ROWS: u64 = 3_000;

pub(crate) const SCHEMA: &str = "CREATE TABLE things (id bigint PRIMARY KEY, tx bigint NOT NULL, n bigint NOT NULL);
                      CREATE TABLE hot (id bigint PRIMARY KEY, tx bigint NOT NULL, n bigint NOT NULL);
                      INSERT INTO hot VALUES (1, 0, 0), (2, 0, 0), (3, 0, 0), (4, 0, 0), (5, 0, 0);";

pub(crate) fn tables() -> Tables {
    let table = |name: &str| Table::new(StreamSpec::new(name).int("id").key(["id"]).int("tx").int("n"));
    Tables::new([table("things"), table("hot")]).unwrap()
}

/// What a host has committed: how many changes each of its transactions made.
type Committed = BTreeMap<i64, usize>;

/// One host: inserts, updates of rows that all hosts write, savepoints, rollbacks, and pauses before the commit.
async fn host<R: OnServer>(office: &Office<R>, writer: u64, until: &AtomicU64) -> Committed {
    let (mut random, mut host, mut committed) = (Random::new(writer), office.host().await, Committed::new());
    R::execute(&mut host, R::SESSIONS[writer as usize % R::SESSIONS.len()]).await;
    let mut number = 0;
    while until.load(Ordering::Relaxed) > 0 {
        number += 1;
        let tx = (writer * 1_000_000 + number) as i64;
        let rows = 1 + random.below(9);
        let mut changes = rows as usize;
        R::execute(&mut host, "BEGIN").await;
        let ids: Vec<String> = (0..rows).map(|row| (tx * 10 + row as i64).to_string()).collect();
        let values: Vec<String> = ids.iter().map(|id| format!("({id}, {tx}, 0)")).collect();
        R::execute(&mut host, &format!("INSERT INTO things VALUES {}", values.join(", "))).await;
        // One by one: a statement that reads the whole table would wait for rows of others that are not committed.
        let each = |change: &str| ids.iter().map(|id| format!("{change} WHERE id = {id};")).collect::<String>();
        if random.chance(0.5) {
            R::execute(&mut host, &each("UPDATE things SET n = 1")).await;
            changes += rows as usize;
        }
        if random.chance(0.2) {
            R::execute(&mut host, &format!("SAVEPOINT s; {} ROLLBACK TO s", each("DELETE FROM things"))).await;
        }
        // A pause before a row that others want, and one after.
        let pause = Duration::from_millis(random.below(40));
        tokio::time::sleep(pause).await;
        if random.chance(0.3) {
            let id = 1 + random.below(5);
            R::execute(&mut host, &format!("UPDATE hot SET n = n + 1, tx = {tx} WHERE id = {id}")).await;
            changes += 1;
            tokio::time::sleep(pause / 4).await;
        }
        if random.chance(0.1) {
            R::execute(&mut host, "ROLLBACK").await;
            continue;
        }
        R::execute(&mut host, "COMMIT").await;
        committed.insert(tx, changes);
        let left = until.load(Ordering::Relaxed).saturating_sub(changes as u64);
        until.fetch_min(left, Ordering::Relaxed);
    }
    committed
}

/// Follows the feed as a branch does, page by page, until nobody writes and nothing is left.
async fn follow(replica: impl Replica, done: Arc<AtomicBool>) -> Vec<Entry> {
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

/// How many changes somebody finds who follows the numbers that a sequence gave them: those above the highest that was visible before.
async fn by_numbers<R: OnServer>(office: &Office<R>, done: &AtomicBool) -> u64 {
    let (mut found, mut at) = (0, 0);
    loop {
        let over = done.load(Ordering::Acquire);
        let asked = format!("SELECT COUNT(*), COALESCE(MAX(id), {at}) FROM _sync_log WHERE id > {at}");
        let told = office.run(&asked).await;
        let (new, highest) = told.split_once('\t').unwrap();
        let new: u64 = new.parse().unwrap();
        (found, at) = (found + new, highest.parse::<u64>().unwrap());
        if over && new == 0 {
            return found;
        }
    }
}

fn tx_of(entry: &Entry) -> Value {
    entry.after.as_ref().or(entry.before.as_ref()).unwrap()[1].clone()
}

/// A reader who goes by the numbers of a sequence misses some: that is what this is about. Goes on in `office`, which has the tables of [`SCHEMA`], and says when it is `done`.
pub(crate) async fn late_writers_lose_nothing_and_no_group_is_cut<R: OnServer>(
    office: &Office<R>,
    done: Arc<AtomicBool>,
) {
    let rows = std::env::var("REPLICA_LATE_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(ROWS);
    let first = office.replica.sequence().await.unwrap().seq;
    assert_eq!(first, 5);
    // One transaction is open all the time.
    let mut oldest = office.host().await;
    R::execute(&mut oldest, "BEGIN; INSERT INTO things VALUES (-1, -1, 0)").await;
    let until = AtomicU64::new(rows);
    // Two processes follow, and each gives places.
    let other = R::open(&office.database, tables()).await.unwrap();
    let followers = [office.replica.clone(), other].map(|replica| tokio::spawn(follow(replica, Arc::clone(&done))));
    let began = Instant::now();
    let work = async {
        let hosts = (1..=WRITERS).map(|writer| host(office, writer, &until));
        let committed: Committed = futures::future::join_all(hosts).await.into_iter().flatten().collect();
        R::execute(&mut oldest, "COMMIT").await;
        done.store(true, Ordering::Release);
        committed
    };
    let (committed, by_numbers) = futures::future::join(work, by_numbers(office, &done)).await;
    println!(
        "{} transactions, {} changes in {:?}",
        committed.len(),
        committed.values().sum::<usize>(),
        began.elapsed()
    );
    let mut feeds = Vec::new();
    for follower in followers {
        feeds.push(follower.await.unwrap());
    }
    assert_eq!(feeds[0], feeds[1], "two readers have read something different");
    let feed = &feeds[0];
    println!("{} of {} are found by the numbers of a sequence", by_numbers, feed.len());
    assert!(by_numbers < feed.len() as u64, "there was nothing to miss");
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
    assert_eq!(office.replica.missed().await, 0);
}

pub(crate) async fn a_transaction_that_stays_open_holds_nobody_up<R: OnServer>() {
    let office = Office::<R>::shop().await;
    let mut slow = office.host().await;
    R::execute(&mut slow, "BEGIN; INSERT INTO invoices VALUES ('slow', '1')").await;
    let entries = office.noticed("INSERT INTO invoices VALUES ('fast', '1')").await;
    assert_eq!(told(&entries), ["invoices fast: - > fast,1"]);
    // Neither is a clean-up, nor a write to other rows.
    let mut tx = office.replica.begin().await.unwrap();
    tx.write(&[write(&shop(), "invoices", "fast", None)]).await.unwrap();
    tx.trim(entries[0].seq).await.unwrap();
    tx.commit().await.unwrap();
    R::execute(&mut slow, "UPDATE invoices SET no = '2' WHERE id = 'slow'; COMMIT").await;
    let entries = office.after(1).await;
    assert_eq!(
        told(&entries),
        ["invoices fast: fast,1 > -", "invoices slow: - > slow,1", "invoices slow: slow,1 > slow,2"]
    );
    assert_eq!(sizes(&entries), [1, 2]);
}

pub(crate) async fn a_row_that_a_host_is_writing_keeps_its_stamp_through_a_clean_up<R: OnServer>() {
    let office = Office::<R>::shop().await;
    let before =
        office.noticed("INSERT INTO invoices VALUES ('a', '1'), ('b', '1'); DELETE FROM invoices WHERE id = 'b'").await;
    let mut host = office.host().await;
    R::execute(&mut host, "BEGIN; UPDATE invoices SET no = '2'; INSERT INTO invoices VALUES ('b', '9')").await;
    let mut tx = office.replica.begin().await.unwrap();
    assert_eq!(tx.trim(before[2].seq).await.unwrap(), 3, "nobody waits for the host");
    tx.commit().await.unwrap();
    R::execute(&mut host, "ROLLBACK").await;
    let table = Arc::clone(shop().get("invoices").unwrap());
    let keys = ["a", "b"].map(|id| Key::new([id]));
    let held = office.replica.look().await.unwrap().rows(&table, &keys).await.unwrap();
    assert_eq!(held[0].stamp.as_ref(), Some(&before[0].stamp));
    assert_eq!(office.replica.look().await.unwrap().feed(0, 9).await.unwrap(), []);
    // The next clean-up forgets what this one had to leave.
    office.noticed("INSERT INTO invoices VALUES ('c', '1')").await;
    let mut tx = office.replica.begin().await.unwrap();
    assert_eq!(tx.trim(4).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert_eq!(
        office.run("SELECT (SELECT count(*) FROM _sync_log), (SELECT count(*) FROM _sync_log_invoices)").await,
        "0\t0"
    );
    let held = office.replica.look().await.unwrap().rows(&table, &keys).await.unwrap();
    assert_eq!((held[0].stamp.as_ref(), &held[1].stamp), (Some(&before[0].stamp), &None));
}
