//! A branch that loads everything from a busy master, over a line that breaks: readers of its database see all of it or nothing, and
//! no half of a transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use async_trait::async_trait;
use sync_core::memory::MemoryReplica;
use sync_core::two_way::{Access, Branch, Hub, Master, Page, Pull, Push, Pushed, Replica, Table, Tables};
use sync_core::{Clock, Error, Result, StreamSpec, SystemClock, Value};

pub(crate) const SCHEMA: &str = "CREATE TABLE things (id bigint PRIMARY KEY, n bigint NOT NULL);";

const ROWS: i64 = 6000;

/// What the first and the last row say, and how many there are.
pub(crate) const READ: &str = "SELECT COUNT(*), COALESCE(SUM(CASE WHEN id = 1 THEN n END), -1), COALESCE(SUM(CASE WHEN id = 6000 THEN n END), -1) FROM things";

pub(crate) fn tables() -> Tables {
    Tables::new([Table::new(StreamSpec::new("things").int("id").key(["id"]).int("n"))]).unwrap()
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

/// A master whose host writes the first and the last row together before each page, and a line that breaks at every fifth.
#[derive(Debug)]
struct Busy {
    way: (Hub, Access),
    master: MemoryReplica,
    pages: AtomicI64,
}

/// After so many pages nobody writes any more, and the line holds.
const CALM: i64 = 60;

impl Busy {
    async fn write(&self, rows: &[i64], n: i64) {
        let row = |id: &i64| vec![Value::Int(*id), Value::Int(n)];
        let rows: Vec<_> = rows.iter().map(row).collect();
        self.master.transaction(|host| rows.into_iter().try_for_each(|row| host.put("things", row))).await.unwrap();
    }
}

#[async_trait]
impl Master for Busy {
    async fn push(&self, push: &Push) -> Result<Pushed> {
        self.way.push(push).await
    }

    async fn pull(&self, pull: &Pull) -> Result<Page> {
        let page = self.pages.fetch_add(1, Ordering::Relaxed);
        if page < CALM {
            self.write(&[1, ROWS], page).await;
            if page % 5 == 4 {
                return Err(Error::unavailable("the line is cut"));
            }
        }
        self.way.pull(pull).await
    }
}

/// Loads everything into an empty database and into one that is full, while `read` reads it.
pub(crate) async fn readers_see_no_half_of_a_load<R: Replica + Clone + 'static>(
    here: &R,
    read: impl AsyncFn() -> String,
) {
    let master = MemoryReplica::new("master", tables(), clock());
    let way = (Hub::new(master.clone(), clock()), Access::everything());
    let busy = Busy { way, master: master.clone(), pages: AtomicI64::new(0) };
    busy.write(&(1..=ROWS).collect::<Vec<_>>(), -2).await;
    let branch = Branch::new(here.clone(), busy, clock());
    let syncs = async {
        for load in 0..3 {
            if load > 0 {
                branch.start_over().await.unwrap();
            }
            let mut cuts = 0;
            while let Err(error) = branch.sync().await {
                assert_eq!(error.message(), "the line is cut");
                cuts += 1;
            }
            assert!(load == 2 || cuts > 0, "the line was never cut");
        }
    };
    let done = AtomicBool::new(false);
    let syncs = async {
        syncs.await;
        done.store(true, Ordering::Relaxed);
    };
    let reads = async {
        let mut seen: Vec<String> = Vec::new();
        while !done.load(Ordering::Relaxed) {
            let told = read().await;
            if seen.last() != Some(&told) {
                seen.push(told);
            }
            tokio::task::yield_now().await;
        }
        seen
    };
    let (seen, ()) = futures::join!(reads, syncs);
    for told in &seen {
        let [rows, first, last] = told.split('\t').collect::<Vec<_>>()[..] else { panic!("{told:?}") };
        assert!(rows == "0" || rows.parse() == Ok(ROWS), "{told:?}");
        assert_eq!(first, last, "half of a transaction");
    }
    assert!(seen.len() > 2, "nobody looked between the loads: {seen:?}");
    assert!(seen[0].starts_with('0'), "nobody looked before the load was whole: {seen:?}");
    let table = here.tables().get("things").unwrap();
    let rows = here.look().await.unwrap().scan(table, None, usize::MAX).await.unwrap();
    let rows: Vec<_> = rows.into_iter().map(|(key, _, row)| (key, row)).collect();
    assert!(rows == master.rows("things"), "the branch and its master are not equal");
}
