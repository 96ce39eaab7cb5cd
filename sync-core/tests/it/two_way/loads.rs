//! What readers at a branch see while everything is loaded.

use std::sync::Mutex;

use async_trait::async_trait;
use sync_core::Result;
use sync_core::two_way::{Book, Master, Page, Pushed};

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

#[tokio::test]
async fn readers_at_a_branch_see_no_half_of_a_group_while_everything_is_loaded() {
    // A new till of a busy master, and one that has to load everything again.
    let (master, till) = (master(), till("one"));
    for id in ["a", "m", "n", "z"] {
        put(&master, "items", item(id, "north", "pear", 0)).await;
    }
    let way = (Hub::new(master.clone(), clock()), north());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let busy =
        Busy { way, master: master.clone(), till: till.clone(), written: Mutex::new(0), seen: Arc::clone(&seen) };
    let branch = Branch::new(till.clone(), busy, clock()).pull_rows(1);
    branch.sync().await.unwrap();
    branch.start_over().await.unwrap();
    branch.sync().await.unwrap();
    assert_eq!(master.rows("items"), till.rows("items"));
    let seen = seen.lock().unwrap().clone();
    assert!(seen.iter().all(|[a, z]| a == z), "{seen:?}");
    assert!(seen.len() > 10, "{seen:?}");
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
async fn a_child_whose_parent_was_made_while_everything_is_loaded_is_there_with_it() {
    let (master, till) = (master(), till("one"));
    for id in ["m", "z"] {
        put(&master, "items", item(id, "north", "pear", 0)).await;
    }
    let rows = vec![("items", item("a", "north", "plum", 1)), ("lines", line("l", "a", 1))];
    let way = Meanwhile::new(&master, &Hub::new(master.clone(), clock()), 2, rows);
    let branch = Branch::new(till.clone(), way, clock()).pull_rows(1);
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
async fn a_load_is_seen_whole_however_large_it_is() {
    for (rows, page) in [(2, 1), (9, 5), (10, 5), (6000, 500)] {
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
        let branch = Branch::new(till.clone(), watched, clock()).pull_rows(page);
        branch.start_over().await.unwrap();
        branch.sync().await.unwrap();
        assert_eq!(master.rows("items").len() as i64, rows);
        assert_eq!(till.rows("items"), master.rows("items"));
        let seen = seen.lock().unwrap();
        assert!(seen.iter().all(|both| *both == [true, false]), "{rows} rows in pages of {page}: {seen:?}");
        assert!(seen.len() > 2, "{seen:?}");
    }
}

#[tokio::test]
async fn loads_beside_writers_end_equal() {
    for rows in [499, 500, 1001] {
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
            for _ in 0..3 {
                branch.sync().await.unwrap();
            }
            for table in ["items", "lines"] {
                let (here, there) = (till.rows(table), master.rows(table));
                let other: Vec<_> = here.iter().filter(|row| !there.contains(row)).collect();
                let missing: Vec<_> = there.iter().filter(|row| !here.contains(row)).collect();
                assert!(other.is_empty() && missing.is_empty(), "{rows} {after}: {other:?} {missing:?}");
            }
        }
    }
}

/// A way that breaks after so many pages, as often as it is mended.
#[derive(Debug)]
struct Breaking {
    way: (Hub, Access),
    left: Arc<Mutex<usize>>,
    pages: Arc<Mutex<Vec<Pull>>>,
}

#[async_trait]
impl Master for Breaking {
    async fn push(&self, push: &Push) -> Result<Pushed> {
        self.way.push(push).await
    }

    async fn pull(&self, pull: &Pull) -> Result<Page> {
        {
            let mut left = self.left.lock().unwrap();
            *left = left.checked_sub(1).ok_or_else(|| Error::unavailable("the line is cut"))?;
        }
        self.pages.lock().unwrap().push(pull.clone());
        self.way.pull(pull).await
    }
}

/// What a line carries from now on before it breaks, and the questions that it has carried.
type Line = (Arc<Mutex<usize>>, Arc<Mutex<Vec<Pull>>>);

fn over_a_breaking_line(till: &MemoryReplica, hub: &Hub) -> (Branch, Line) {
    let (left, pages) = Line::default();
    let way = Breaking { way: (hub.clone(), north()), left: Arc::clone(&left), pages: Arc::clone(&pages) };
    (Branch::new(till.clone(), way, clock()).pull_rows(10), (left, pages))
}

async fn kept(till: &MemoryReplica) -> usize {
    till.look().await.unwrap().list(Book::Load, "", "", 1000).await.unwrap().len()
}

#[tokio::test]
async fn a_load_that_is_cut_goes_on_where_it_was_with_what_was_written_on_both_sides_meanwhile() {
    let (master, till) = (master(), till("one"));
    for n in 0..100 {
        put(&master, "items", item(&format!("n{n:03}"), "north", "pear", n)).await;
    }
    let hub = Hub::new(master.clone(), clock());
    let (branch, (left, pages)) = over_a_breaking_line(&till, &hub);
    *left.lock().unwrap() = 1000;
    branch.sync().await.unwrap();
    branch.start_over().await.unwrap();
    pages.lock().unwrap().clear();
    *left.lock().unwrap() = 5;
    assert_eq!(branch.sync().await.unwrap_err().kind(), ErrorKind::Unavailable);
    // Rows that were read already, and rows that were not, on both sides.
    put(&till, "items", item("n001", "north", "mine", 1)).await;
    delete(&till, "items", "n002").await;
    delete(&till, "items", "n091").await;
    put(&till, "items", item("n092", "north", "mine", 92)).await;
    put(&till, "items", item("new", "north", "mine", 1)).await;
    put(&master, "items", item("n003", "north", "theirs", 3)).await;
    delete(&master, "items", "n004").await;
    delete(&master, "items", "n093").await;
    put(&master, "items", item("a", "north", "theirs", 1)).await;
    for pieces in [2, 3, 1000] {
        assert_eq!(till.rows("items").len(), 99, "nothing of the load is seen before it is whole");
        *left.lock().unwrap() = pieces;
        let _ = branch.sync().await;
    }
    assert_eq!(till.rows("items"), master.rows("items"));
    assert!(row(&till, "items", "n002").is_none() && row(&till, "items", "n004").is_none());
    let begun = pages.lock().unwrap().iter().filter(|pull| pull.from.is_none()).count();
    assert_eq!(begun, 1, "it was begun once");
    assert_eq!(kept(&till).await, 0, "nothing of it is kept afterwards");
    assert_eq!(branch.sync().await.unwrap(), Default::default());
}

#[tokio::test]
async fn a_load_that_is_given_up_leaves_nothing_in_the_next() {
    let (master, till) = (master(), till("one"));
    for n in 0..100 {
        put(&master, "items", item(&format!("n{n:03}"), "north", "pear", n)).await;
    }
    let hub = Hub::new(master.clone(), clock());
    let (branch, (left, _)) = over_a_breaking_line(&till, &hub);
    *left.lock().unwrap() = 5;
    branch.sync().await.unwrap_err();
    assert!(kept(&till).await > 0);
    delete(&master, "items", "n001").await;
    branch.start_over().await.unwrap();
    *left.lock().unwrap() = 1000;
    branch.sync().await.unwrap();
    assert_eq!(till.rows("items"), master.rows("items"));
    assert_eq!(kept(&till).await, 0);
}

#[tokio::test]
async fn a_position_that_the_master_no_longer_knows_begins_a_cut_load_anew() {
    let (master, till) = (master(), till("one"));
    for n in 0..100 {
        put(&master, "items", item(&format!("n{n:03}"), "north", "pear", n)).await;
    }
    let hub = Hub::new(master.clone(), clock());
    let (branch, (left, pages)) = over_a_breaking_line(&till, &hub);
    *left.lock().unwrap() = 5;
    branch.sync().await.unwrap_err();
    let mut tx = master.begin().await.unwrap();
    tx.begin_epoch(77, 1 << 40).await.unwrap();
    tx.commit().await.unwrap();
    delete(&master, "items", "n001").await;
    *left.lock().unwrap() = 1000;
    branch.sync().await.unwrap();
    assert_eq!(till.rows("items"), master.rows("items"));
    assert_eq!(pages.lock().unwrap().iter().filter(|pull| pull.from.is_none()).count(), 2);
}

#[tokio::test]
async fn rows_that_hang_on_rows_of_their_own_table_with_later_keys_are_loaded() {
    let tables = || [Table::new(StreamSpec::new("people").text("id").key(["id"]).text("chief"))];
    let person = |id: String, chief: Value| vec![id.into(), chief];
    let master = replica("master", tables());
    // Each is under the next, and the last under nobody: 1,200 of them come in three pages.
    let all: Vec<_> = (0..1200)
        .map(|n| person(format!("p{n:04}"), if n == 1199 { Value::Null } else { format!("p{:04}", n + 1).into() }))
        .collect();
    master.transaction(|host| all.into_iter().try_for_each(|row| host.put("people", row))).await.unwrap();
    let till = replica("one", tables()).parent("people", "chief", "people");
    let branch = Branch::new(till.clone(), (Hub::new(master.clone(), clock()), Access::everything()), clock());
    branch.sync().await.unwrap();
    assert_eq!(till.rows("people"), master.rows("people"));
}

#[tokio::test]
async fn edits_before_and_behind_a_large_load_are_sent_once_and_in_order() {
    let (master, till) = (master(), till("one"));
    let all: Vec<_> = (0..1500).map(|n| item(&format!("n{n:05}"), "north", "pear", n)).collect();
    master.transaction(|host| all.into_iter().try_for_each(|row| host.put("items", row))).await.unwrap();
    put(&till, "items", item("before", "north", "mine", 1)).await;
    let branch = branch(&till, &Hub::new(master.clone(), clock()), north());
    assert_eq!(branch.sync().await.unwrap().sent, 1);
    for n in 0..60 {
        put(&till, "items", item("n00000", "north", "mine", n)).await;
    }
    assert_eq!(branch.queue().await.unwrap().depth, 60);
    assert_eq!(branch.sync().await.unwrap().sent, 60);
    assert_eq!(till.rows("items"), master.rows("items"));
    assert_eq!(branch.sync().await.unwrap(), Default::default());
}

#[tokio::test]
async fn a_row_that_makes_room_while_a_load_is_published_comes_back_with_what_hangs_on_it() {
    let tables = || [Table::new(StreamSpec::new("people").text("id").key(["id"]).text("chief").int("badge"))];
    let with_rules = |people: MemoryReplica| people.parent("people", "chief", "people").unique("people", &["badge"]);
    let person = |id: &str, chief: Option<&str>, badge: i64| {
        vec![id.into(), chief.map_or(Value::Null, Value::from), badge.into()]
    };
    let master = with_rules(replica("master", tables()));
    for row in [person("a", None, 1), person("b", Some("a"), 2), person("c", Some("b"), 3), person("y", None, 4)] {
        put(&master, "people", row).await;
    }
    // Once the first two rows were read, the first gives its badge to the last.
    let rows = vec![("people", person("a", None, 9)), ("people", person("y", None, 1))];
    let way = Meanwhile {
        way: (Hub::new(master.clone(), clock()), Access::everything()),
        ..Meanwhile::new(&master, &Hub::new(master.clone(), clock()), 1, rows)
    };
    let till = with_rules(replica("one", tables()));
    let branch = Branch::new(till.clone(), way, clock()).pull_rows(2);
    branch.sync().await.unwrap();
    assert_eq!(till.rows("people"), master.rows("people"));
    assert_eq!(till.rows("people").len(), 4);
}
