//! What readers at a branch see while everything is loaded.

use std::sync::Mutex;

use async_trait::async_trait;
use sync_core::Result;
use sync_core::two_way::{Master, Page, Pushed};

use super::*;

/// A master whose host writes two rows together between any two pages.
#[derive(Debug)]
struct Busy {
    way: (Hub, Access),
    master: MemoryReplica,
    till: MemoryReplica,
    /// How often it has written.
    written: Mutex<i64>,
    /// The stocks of both, as readers at the branch have seen them.
    seen: Arc<Mutex<Vec<[Option<Value>; 2]>>>,
}

const BOTH: [&str; 2] = ["a", "z"];

impl Busy {
    fn stocks(replica: &MemoryReplica) -> [Option<Value>; 2] {
        BOTH.map(|id| row(replica, "items", id).map(|row| row[3].clone()))
    }

    async fn write_both(&self) {
        let stock = {
            let mut written = self.written.lock().unwrap();
            *written += 1;
            *written
        };
        if stock < 12 {
            let both = BOTH.map(|id| item(id, "north", "pear", stock));
            self.master.transaction(|host| both.into_iter().try_for_each(|row| host.put("items", row))).await.unwrap();
        }
    }
}

#[async_trait]
impl Master for Busy {
    async fn push(&self, push: &Push) -> Result<Pushed> {
        self.way.push(push).await
    }

    async fn pull(&self, pull: &Pull) -> Result<Page> {
        self.seen.lock().unwrap().push(Self::stocks(&self.till));
        let page = self.way.pull(pull).await;
        self.write_both().await;
        page
    }
}

/// Syncs a new till of a busy master, and one that has to load everything again. Returns what its readers saw.
async fn seen_while_loading(at_once: usize) -> Vec<[Option<Value>; 2]> {
    let (master, till) = (master(), till("one"));
    for id in ["a", "m", "n", "z"] {
        put(&master, "items", item(id, "north", "pear", 0)).await;
    }
    let way = (Hub::new(master.clone(), clock()), north());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let busy =
        Busy { way, master: master.clone(), till: till.clone(), written: Mutex::new(0), seen: Arc::clone(&seen) };
    let branch = Branch::new(till.clone(), busy, clock()).pull_rows(1).load_at_once(at_once);
    branch.sync().await.unwrap();
    branch.start_over().await.unwrap();
    branch.sync().await.unwrap();
    assert_eq!(master.rows("items"), till.rows("items"));
    seen.lock().unwrap().clone()
}

#[tokio::test]
async fn readers_at_a_branch_see_no_half_of_a_group_while_everything_is_loaded() {
    let seen = seen_while_loading(1000).await;
    assert!(seen.iter().all(|[a, z]| a == z), "{seen:?}");
    assert!(seen.len() > 10, "{seen:?}");
}

#[tokio::test]
async fn a_load_that_is_too_large_for_one_transaction_comes_page_by_page() {
    let seen = seen_while_loading(2).await;
    assert!(seen.iter().any(|[a, z]| a.is_some() && z.is_none()), "{seen:?}");
}

/// A master whose host writes these rows together after so many pages.
#[derive(Debug)]
struct Meanwhile {
    way: (Hub, Access),
    master: MemoryReplica,
    pages: Mutex<usize>,
    rows: Vec<(&'static str, Vec<Value>)>,
}

impl Meanwhile {
    fn new(master: &MemoryReplica, hub: &Hub, pages: usize, rows: Vec<(&'static str, Vec<Value>)>) -> Self {
        Self { way: (hub.clone(), north()), master: master.clone(), pages: Mutex::new(pages), rows }
    }
}

#[async_trait]
impl Master for Meanwhile {
    async fn push(&self, push: &Push) -> Result<Pushed> {
        self.way.push(push).await
    }

    async fn pull(&self, pull: &Pull) -> Result<Page> {
        let page = self.way.pull(pull).await;
        let left = {
            let mut pages = self.pages.lock().unwrap();
            *pages = pages.wrapping_sub(1);
            *pages
        };
        if left == 0 {
            let rows = self.rows.clone();
            self.master.transaction(|host| rows.into_iter().try_for_each(|(t, row)| host.put(t, row))).await.unwrap();
        }
        page
    }
}

#[tokio::test]
async fn what_was_decided_before_a_row_changed_again_does_not_hide_that_change_while_everything_is_loaded() {
    let (master, hub, [(one, to_one), (two, to_two)]) = shop().await;
    put(&one, "lines", line("a", "pear", 1)).await;
    put(&two, "lines", line("b", "pear", 1)).await;
    to_one.sync().await.unwrap();
    assert_eq!(to_two.sync().await.unwrap().waiting, 1);
    let inbox = hub.inbox(&north()).await.unwrap();
    hub.decide(&inbox[0].id, Decision::Write(vec![Some(line("b", "pear", 2))]), &north()).await.unwrap();
    // The first page tells the decision. The row changes before the load has come to it.
    let rows = vec![("lines", line("b", "pear", 3))];
    let to_two = Branch::new(two.clone(), Meanwhile::new(&master, &hub, 1, rows), clock()).pull_rows(1);
    to_two.start_over().await.unwrap();
    for _ in 0..2 {
        to_two.sync().await.unwrap();
    }
    assert_eq!(row(&master, "lines", "b"), Some(line("b", "pear", 3)));
    assert_eq!(two.rows("lines"), master.rows("lines"));
}

#[tokio::test]
async fn a_child_whose_parent_was_made_while_everything_is_loaded_page_by_page_waits_for_it() {
    let (master, till) = (master(), till("one"));
    for id in ["m", "z"] {
        put(&master, "items", item(id, "north", "pear", 0)).await;
    }
    let rows = vec![("items", item("a", "north", "plum", 1)), ("lines", line("l", "a", 1))];
    let way = Meanwhile::new(&master, &Hub::new(master.clone(), clock()), 2, rows);
    let branch = Branch::new(till.clone(), way, clock()).pull_rows(1).load_at_once(0);
    branch.sync().await.unwrap();
    assert_eq!((till.rows("items"), till.rows("lines")), (master.rows("items"), master.rows("lines")));
}

/// A branch that has to load everything again, of a master with so many rows: one was deleted, and another made in the same
/// transaction. What readers at the branch see of the two between pages, at each.
#[derive(Debug)]
struct Watched {
    way: (Hub, Access),
    till: MemoryReplica,
    seen: Arc<Mutex<Vec<[bool; 2]>>>,
}

#[async_trait]
impl Master for Watched {
    async fn push(&self, push: &Push) -> Result<Pushed> {
        self.way.push(push).await
    }

    async fn pull(&self, pull: &Pull) -> Result<Page> {
        let seen = ["deleted", "made"].map(|id| row(&self.till, "items", id).is_some());
        self.seen.lock().unwrap().push(seen);
        self.way.pull(pull).await
    }
}

#[tokio::test]
async fn a_load_of_as_many_rows_as_are_taken_at_once_is_seen_whole() {
    let mut halves = Vec::new();
    for (rows, at_once, page) in
        [(4999, 5000, 500), (5000, 5000, 500), (5000, 5000, 499), (9, 10, 5), (10, 10, 5), (10, 10, 3)]
    {
        let (master, till) = (master(), till("one"));
        let all: Vec<_> = (1..rows).map(|n| item(&format!("n{n:05}"), "north", "pear", n)).collect();
        master.transaction(|host| all.into_iter().try_for_each(|row| host.put("items", row))).await.unwrap();
        put(&master, "items", item("deleted", "north", "pear", 0)).await;
        let way = (Hub::new(master.clone(), clock()), north());
        Branch::new(till.clone(), way.clone(), clock()).sync().await.unwrap();
        master
            .transaction(|host| {
                host.delete("items", &Key::new(["deleted"]))?;
                host.put("items", item("made", "north", "pear", 0))
            })
            .await
            .unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let watched = Watched { way, till: till.clone(), seen: Arc::clone(&seen) };
        let branch = Branch::new(till.clone(), watched, clock()).pull_rows(page).load_at_once(at_once);
        branch.start_over().await.unwrap();
        branch.sync().await.unwrap();
        assert_eq!(master.rows("items").len() as i64, rows);
        assert_eq!(till.rows("items"), master.rows("items"));
        if seen.lock().unwrap().iter().any(|[deleted, made]| deleted == made) {
            halves.push((rows, at_once, page));
        }
    }
    assert!(halves.is_empty(), "half of a group was seen with (rows, load_at_once, pull_rows) of {halves:?}");
}

#[tokio::test]
async fn loads_about_the_limit_beside_writers_end_equal() {
    for rows in [4999, 5000, 5001] {
        let (master, till) = (master(), till("one"));
        let all: Vec<_> = (0..rows).map(|n| item(&format!("n{n:05}"), "north", "pear", n)).collect();
        master.transaction(|host| all.into_iter().try_for_each(|row| host.put("items", row))).await.unwrap();
        let hub = Hub::new(master.clone(), clock());
        for after in [1, 5, 10, 11, 12] {
            let news = vec![
                ("items", item("n00000", "north", "changed", after)),
                ("items", item(&format!("a{after}"), "north", "plum", 1)),
                ("items", item(&format!("z{after}"), "north", "plum", 1)),
                ("lines", line(&format!("l{after}"), &format!("a{after}"), after)),
            ];
            let way = Meanwhile::new(&master, &hub, after as usize, news);
            let branch = Branch::new(till.clone(), way, clock());
            put(&till, "items", item(&format!("own{rows}{after}"), "north", "mine", 1)).await;
            branch.start_over().await.unwrap();
            branch.sync().await.unwrap();
            branch.sync().await.unwrap();
            assert_eq!(
                (till.rows("items"), till.rows("lines")),
                (master.rows("items"), master.rows("lines")),
                "{rows} {after}"
            );
        }
    }
}
