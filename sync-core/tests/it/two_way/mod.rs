//! What a master takes from branches, what it refuses, and what everybody ends with.

mod alone;
mod inbox;
mod loads;
mod lost;

use std::sync::Arc;

use chrono::TimeDelta;
use sync_core::conflict::{LastWriteWins, Park};
use sync_core::memory::MemoryReplica;
use sync_core::two_way::{
    Access, Became, Branch, Decision, Edit, Group, Head, Hlc, Hub, HubSettings, Peer, Pull, Push, Queue, Reason,
    Replica, Table, Tables, Transaction,
};
use sync_core::{Clock, Error, ErrorKind, Key, StreamSpec, SystemClock, Value};

fn items() -> Table {
    let spec = StreamSpec::new("items").text("id").key(["id"]).text("shop").text("name").int("stock").text("grade");
    Table::new(spec).scoped_by(["shop"]).counters(["stock"]).server_owned(["grade"])
}

fn lines() -> Table {
    Table::new(StreamSpec::new("lines").text("id").key(["id"]).text("item").text("shop").int("number"))
        .scoped_by(["shop"])
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

fn replica(name: &str, tables: impl IntoIterator<Item = Table>) -> MemoryReplica {
    MemoryReplica::new(name, Tables::new(tables).unwrap(), clock())
}

fn master() -> MemoryReplica {
    replica("master", [items(), lines()]).parent("lines", "item", "items").unique("lines", &["number"])
}

fn till(name: &str) -> MemoryReplica {
    replica(name, [items(), lines()]).parent("lines", "item", "items").unique("lines", &["number"])
}

fn branch(till: &MemoryReplica, hub: &Hub, access: Access) -> Branch {
    Branch::new(till.clone(), (hub.clone(), access), clock())
}

fn item(id: &str, shop: &str, name: &str, stock: i64) -> Vec<Value> {
    vec![id.into(), shop.into(), name.into(), stock.into(), Value::Null]
}

fn line(id: &str, item: &str, number: i64) -> Vec<Value> {
    vec![id.into(), item.into(), "north".into(), number.into()]
}

fn north() -> Access {
    Access::rows_with("shop", "north")
}

async fn put(replica: &MemoryReplica, table: &str, row: Vec<Value>) {
    replica.transaction(|host| host.put(table, row)).await.unwrap();
}

async fn delete(replica: &MemoryReplica, table: &str, id: &str) {
    replica.transaction(|host| host.delete(table, &Key::new([id]))).await.unwrap();
}

fn row(replica: &MemoryReplica, table: &str, id: &str) -> Option<Vec<Value>> {
    replica.rows(table).into_iter().find(|(key, _)| *key == Key::new([id])).map(|(_, row)| row)
}

/// A master and two tills that have everything.
async fn shop() -> (MemoryReplica, Hub, [(MemoryReplica, Branch); 2]) {
    let master = master();
    put(&master, "items", item("pear", "north", "pear", 10)).await;
    let hub = Hub::new(master.clone(), clock());
    let tills = ["one", "two"].map(|name| {
        let till = till(name);
        let branch = branch(&till, &hub, north());
        (till, branch)
    });
    for (_, branch) in &tills {
        branch.sync().await.unwrap();
    }
    (master, hub, tills)
}

fn code(error: &Error) -> &str {
    error.context().find(|(name, _)| *name == "code").map_or("none", |(_, code)| code)
}

fn edit(table: &str, op: u64, before: Option<Vec<Value>>, after: Option<Vec<Value>>) -> Edit {
    let id = before.as_ref().or(after.as_ref()).map(|row| row[0].clone()).unwrap();
    Edit { op, table: table.to_owned(), key: Key::new([id]), base: 0, hlc: Hlc::at(clock().now()), before, after }
}

fn push(previous: u64, edits: Vec<Edit>) -> Push {
    Push {
        peer: Peer { name: "three".to_owned(), life: 0 },
        groups: vec![Group { previous, edits }],
        known_as: None,
        in_parts: false,
    }
}

#[tokio::test]
async fn what_two_tills_take_from_one_stock_is_taken_twice() {
    let (master, _, [(one, to_one), (two, to_two)]) = shop().await;
    put(&one, "items", item("pear", "north", "pear", 7)).await;
    put(&two, "items", item("pear", "north", "pear", 8)).await;
    for branch in [&to_one, &to_two, &to_one] {
        branch.sync().await.unwrap();
    }
    let wanted = Some(item("pear", "north", "pear", 5));
    assert_eq!(
        [row(&master, "items", "pear"), row(&one, "items", "pear"), row(&two, "items", "pear")],
        [wanted.clone(), wanted.clone(), wanted]
    );
}

#[tokio::test]
async fn edits_of_different_fields_both_stay_and_of_one_field_the_later() {
    let (master, _, [(one, to_one), (two, to_two)]) = shop().await;
    put(&one, "items", item("pear", "north", "early", 10)).await;
    put(&two, "items", item("pear", "north", "late", 9)).await;
    to_two.sync().await.unwrap();
    let synced = to_one.sync().await.unwrap();
    assert_eq!((synced.sent, synced.met), (1, 1));
    assert_eq!(row(&master, "items", "pear"), Some(item("pear", "north", "late", 9)));
    assert_eq!(row(&one, "items", "pear"), row(&master, "items", "pear"));
}

#[tokio::test]
async fn a_till_keeps_its_own_unsent_edits_on_top_of_what_comes() {
    let (_, hub, [(one, _), (two, to_two)]) = shop().await;
    put(&two, "items", item("pear", "north", "renamed", 10)).await;
    to_two.sync().await.unwrap();
    // This master takes nothing from the till, and still has news for it.
    put(&one, "items", item("pear", "north", "pear", 6)).await;
    let mut settings = HubSettings::default();
    settings.group = 0;
    let synced = branch(&one, &hub.settings(settings), north()).sync().await.unwrap();
    assert!(synced.refused.is_some_and(|why| why.contains("group_too_large")));
    assert_eq!(row(&one, "items", "pear"), Some(item("pear", "north", "renamed", 6)));
}

#[tokio::test]
async fn a_delete_stands_against_an_edit_that_had_not_seen_it() {
    let (master, _, [(one, to_one), (two, to_two)]) = shop().await;
    delete(&one, "items", "pear").await;
    put(&two, "items", item("pear", "north", "renamed", 10)).await;
    to_one.sync().await.unwrap();
    assert_eq!(to_two.sync().await.unwrap().met, 1);
    assert_eq!([row(&master, "items", "pear"), row(&two, "items", "pear")], [None, None]);
    put(&two, "items", item("pear", "north", "new", 1)).await;
    to_two.sync().await.unwrap();
    assert_eq!(
        row(&master, "items", "pear"),
        Some(item("pear", "north", "new", 1)),
        "who saw the delete may begin anew"
    );
}

#[tokio::test]
async fn a_row_that_leaves_a_tills_scope_is_gone_there() {
    let (master, hub, [(one, to_one), _]) = shop().await;
    put(&master, "items", item("pear", "south", "pear", 10)).await;
    to_one.sync().await.unwrap();
    assert_eq!(row(&one, "items", "pear"), None);
    let south = till("south");
    branch(&south, &hub, Access::rows_with("shop", "south")).sync().await.unwrap();
    assert_eq!(row(&south, "items", "pear"), Some(item("pear", "south", "pear", 10)));
}

#[tokio::test]
async fn what_is_not_the_callers_to_write_is_refused_by_a_code_and_changes_nothing() {
    let (master, hub, _) = shop().await;
    let before = master.rows("items");
    let pear = || Some(item("pear", "north", "pear", 10));
    let mut graded = item("pear", "north", "pear", 10);
    graded[4] = "best".into();
    let mut wide = item("pear", "north", "pear", 10);
    wide.push(1.into());
    let mut typed = item("pear", "north", "pear", 10);
    typed[3] = "ten".into();
    let south = || Some(item("plum", "south", "plum", 1));
    let other_key = Edit { key: Key::new(["plum"]), ..edit("items", 1, pear(), pear()) };
    let cases = [
        ("unknown_table", edit("secrets", 1, None, pear())),
        ("not_yours", edit("items", 1, None, south())),
        ("not_yours", edit("items", 1, pear(), Some(item("pear", "south", "pear", 10)))),
        ("server_owned", edit("items", 1, pear(), Some(graded))),
        ("wrong_columns", edit("items", 1, pear(), Some(wide))),
        ("wrong_type", edit("items", 1, pear(), Some(typed))),
        ("wrong_key", other_key),
        ("empty_edit", Edit { before: None, after: None, ..edit("items", 1, pear(), None) }),
    ];
    for (wanted, edit) in cases {
        let error = hub.push(&push(0, vec![edit]), &north()).await.unwrap_err();
        assert_eq!(code(&error), wanted, "{error}");
    }
    let backwards = vec![edit("items", 2, pear(), pear()), edit("items", 1, pear(), pear())];
    assert_eq!(code(&hub.push(&push(0, backwards), &north()).await.unwrap_err()), "bad_numbers");
    assert_eq!(code(&hub.push(&push(0, Vec::new()), &north()).await.unwrap_err()), "empty_group");
    assert_eq!(master.rows("items"), before);
}

#[tokio::test]
async fn nobody_writes_over_a_row_of_another_shop_by_claiming_not_to_know_it() {
    let (master, hub, _) = shop().await;
    put(&master, "items", item("plum", "south", "plum", 1)).await;
    let claimed = edit("items", 1, None, Some(item("plum", "north", "mine now", 1)));
    let error = hub.push(&push(0, vec![claimed]), &north()).await.unwrap_err();
    assert_eq!((code(&error), error.kind()), ("not_yours", ErrorKind::Forbidden));
    assert_eq!(row(&master, "items", "plum"), Some(item("plum", "south", "plum", 1)));
}

#[tokio::test]
async fn a_push_that_comes_again_gets_its_first_answer_and_another_body_is_refused() {
    let (master, hub, _) = shop().await;
    let sold = || edit("items", 1, Some(item("pear", "north", "pear", 10)), Some(item("pear", "north", "pear", 8)));
    let once = push(0, vec![sold()]);
    let first = hub.push(&once, &north()).await.unwrap();
    put(&master, "items", item("pear", "north", "renamed", 8)).await;
    assert_eq!(hub.push(&once, &north()).await.unwrap(), first);
    assert_eq!(row(&master, "items", "pear"), Some(item("pear", "north", "renamed", 8)), "sold once");
    let mut other = sold();
    other.after = Some(item("pear", "north", "pear", 1));
    assert_eq!(code(&hub.push(&push(0, vec![other]), &north()).await.unwrap_err()), "forked");
    let mut late = sold();
    late.op = 9;
    let gap = hub.push(&push(7, vec![late]), &north()).await.unwrap_err();
    assert_eq!(code(&gap), "gap");
    assert!(gap.context().any(|(name, value)| name == "last_op" && value == "1"), "{gap}");
}

#[tokio::test]
async fn a_time_in_the_future_is_set_back_and_reported_so_that_it_cannot_win_for_ever() {
    let (master, _, [(one, to_one), (two, to_two)]) = shop().await;
    one.skew(TimeDelta::days(365));
    put(&one, "items", item("pear", "north", "from the future", 10)).await;
    assert_eq!(to_one.sync().await.unwrap().clamped, 1);
    to_two.sync().await.unwrap();
    put(&two, "items", item("pear", "north", "from today", 10)).await;
    to_two.sync().await.unwrap();
    assert_eq!(row(&master, "items", "pear"), Some(item("pear", "north", "from today", 10)));
}

#[tokio::test]
async fn last_write_wins_takes_the_whole_row_of_the_later_edit() {
    let notes =
        || Table::new(StreamSpec::new("notes").text("id").key(["id"]).text("text").text("by")).policy(LastWriteWins);
    let note = |text: &str, by: &str| vec!["n".into(), text.into(), by.into()];
    let (master, till) = (replica("master", [notes()]), replica("till", [notes()]));
    put(&master, "notes", note("first", "nobody")).await;
    let hub = Hub::new(master.clone(), clock());
    let branch = branch(&till, &hub, Access::everything());
    branch.sync().await.unwrap();
    put(&till, "notes", note("mine", "nobody")).await;
    tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    put(&master, "notes", note("first", "the master")).await;
    branch.sync().await.unwrap();
    assert_eq!(row(&master, "notes", "n"), Some(note("first", "the master")));
    assert_eq!(till.rows("notes"), master.rows("notes"));
}

#[tokio::test]
async fn a_refused_group_is_named_and_once_discarded_the_till_goes_on() {
    let (master, _, [(one, to_one), _]) = shop().await;
    put(&one, "items", item("pear", "south", "pear", 10)).await;
    put(&one, "lines", line("a", "pear", 1)).await;
    let refused = to_one.sync().await.unwrap().refused.unwrap();
    assert!(refused.contains("not_yours"), "{refused}");
    let queue = to_one.queue().await.unwrap();
    assert_eq!((queue.depth, queue.oldest.is_some()), (2, true));
    assert!(queue.refused.is_some_and(|(_, why)| why.contains("not_yours")));
    let kept = to_one.unanswered(0, 10).await.unwrap();
    assert_eq!(kept.iter().map(|edit| edit.table.as_str()).collect::<Vec<_>>(), ["items", "lines"]);
    to_one.discard_refused().await.unwrap();
    let synced = to_one.sync().await.unwrap();
    assert_eq!((synced.refused, to_one.queue().await.unwrap()), (None, Queue::default()));
    assert_eq!(row(&one, "items", "pear"), Some(item("pear", "north", "pear", 10)));
    assert_eq!(row(&master, "lines", "a"), Some(line("a", "pear", 1)));
}

#[tokio::test]
async fn a_position_of_another_life_of_the_feed_is_gone_and_the_till_starts_over_with_its_writes() {
    let (master, hub, [(one, to_one), (two, to_two)]) = shop().await;
    let backup = master.backup();
    put(&one, "items", item("plum", "north", "plum", 1)).await;
    to_one.sync().await.unwrap();
    to_two.sync().await.unwrap();
    master.restore(&backup).await;
    put(&two, "items", item("pear", "north", "pear", 4)).await;
    let gone = Pull {
        peer: Peer { name: "two".to_owned(), life: 0 },
        from: to_two.link().await.unwrap().position,
        answered: 0,
        waiting: Vec::new(),
        limit: 10,
        alone: false,
    };
    assert_eq!(code(&hub.pull(&gone, &north()).await.unwrap_err()), "start_over");
    for branch in [&to_two, &to_one, &to_two] {
        branch.sync().await.unwrap();
    }
    for replica in [&master, &one, &two] {
        assert_eq!(row(replica, "items", "plum"), Some(item("plum", "north", "plum", 1)), "sent again by who wrote it");
        assert_eq!(row(replica, "items", "pear"), Some(item("pear", "north", "pear", 4)));
    }
}

#[tokio::test]
async fn a_till_that_starts_over_sees_what_it_may_see_now_and_keeps_its_writes() {
    let (master, hub, [(one, _), _]) = shop().await;
    put(&master, "items", item("plum", "south", "plum", 1)).await;
    put(&one, "items", item("pear", "north", "pear", 4)).await;
    let both = branch(&one, &hub, Access::everything());
    both.start_over().await.unwrap();
    both.sync().await.unwrap();
    assert_eq!(one.rows("items"), master.rows("items"));
    assert_eq!(row(&master, "items", "pear"), Some(item("pear", "north", "pear", 4)));
}

fn south_line(id: &str, item: &str, number: i64) -> Vec<Value> {
    vec![id.into(), item.into(), "south".into(), number.into()]
}

/// The till holds a row of a life of the master that is over, and with it a number that another row has by now.
#[tokio::test]
async fn a_row_that_only_a_lost_master_knew_gives_way_when_everything_is_loaded() {
    let (master, _, [(one, to_one), (two, to_two)]) = shop().await;
    let backup = master.backup();
    put(&master, "lines", line("lost", "pear", 20)).await;
    to_one.sync().await.unwrap();
    master.restore(&backup).await;
    put(&two, "lines", line("kept", "pear", 20)).await;
    to_two.sync().await.unwrap();
    let synced = to_one.sync().await.unwrap();
    assert!(synced.loaded, "{synced:?}");
    for replica in [&master, &one, &two] {
        assert_eq!(replica.rows("lines"), [(Key::new(["kept"]), line("kept", "pear", 20))]);
    }
}

/// A row that is there, sent as a new one: what only the master writes stays as it is, whichever write is the later.
#[tokio::test]
async fn a_row_that_is_claimed_to_be_new_takes_nothing_from_the_masters_own_columns() {
    let master = replica("master", [items().policy(LastWriteWins)]);
    let mut graded = item("pear", "north", "pear", 10);
    graded[4] = "best".into();
    put(&master, "items", graded).await;
    let hub = Hub::new(master.clone(), clock());
    let claimed = Edit {
        hlc: Hlc::at(clock().now() + TimeDelta::seconds(30)),
        ..edit("items", 1, None, Some(item("pear", "north", "renamed", 10)))
    };
    let pushed = hub.push(&push(0, vec![claimed]), &north()).await.unwrap();
    let row = row(&master, "items", "pear").unwrap();
    assert_eq!((&row[2], &row[4]), (&"renamed".into(), &"best".into()));
    assert_eq!(pushed.results[0].row, Some(row), "who sent it is told");
}

/// The machine's time, or an hour before it.
#[derive(Debug, Default)]
struct SetBack(std::sync::atomic::AtomicBool);

#[async_trait::async_trait]
impl Clock for SetBack {
    fn now(&self) -> chrono::DateTime<chrono::Utc> {
        let back = i64::from(self.0.load(std::sync::atomic::Ordering::Relaxed));
        SystemClock::new().now() - TimeDelta::hours(back)
    }

    fn elapsed(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }

    async fn sleep(&self, pause: std::time::Duration) {
        tokio::time::sleep(pause).await;
    }

    fn random(&self) -> u64 {
        0
    }
}

/// Counts the transactions that write.
#[derive(Debug, Clone)]
struct Counted(MemoryReplica, Arc<std::sync::atomic::AtomicUsize>);

#[async_trait::async_trait]
impl Replica for Counted {
    fn name(&self) -> &sync_core::model::Origin {
        self.0.name()
    }

    fn tables(&self) -> &Tables {
        self.0.tables()
    }

    async fn begin(&self) -> sync_core::Result<Box<dyn Transaction>> {
        self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.0.begin().await
    }

    async fn look(&self) -> sync_core::Result<Box<dyn Transaction>> {
        self.0.look().await
    }

    async fn sequence(&self) -> sync_core::Result<Head> {
        self.0.sequence().await
    }
}
