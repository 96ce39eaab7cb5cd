//! What a master takes from branches, what it refuses, and what everybody ends with.

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
    Push { peer: Peer { name: "three".to_owned(), life: 0 }, groups: vec![Group { previous, edits }] }
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
async fn a_group_that_clashes_waits_whole_and_a_person_decides() {
    let (master, hub, [(one, to_one), (two, to_two)]) = shop().await;
    put(&one, "lines", line("a", "pear", 1)).await;
    two.transaction(|host| {
        host.put("lines", line("b", "pear", 1))?;
        host.put("items", item("pear", "north", "pear", 9))
    })
    .await
    .unwrap();
    to_one.sync().await.unwrap();
    assert_eq!(to_two.sync().await.unwrap().waiting, 2);
    assert_eq!(row(&master, "items", "pear"), Some(item("pear", "north", "pear", 10)), "no half of it is applied");
    let inbox = hub.inbox(&north()).await.unwrap();
    assert!(matches!(inbox[0].reason, Reason::Clash(_)), "{inbox:?}");
    assert_eq!(hub.inbox(&Access::rows_with("shop", "south")).await.unwrap(), []);
    let rows = vec![Some(line("b", "pear", 2)), Some(item("pear", "north", "pear", 9))];
    hub.decide(&inbox[0].id, Decision::Write(rows), &north()).await.unwrap();
    let again = hub.decide(&inbox[0].id, Decision::KeepExisting, &north()).await.unwrap_err();
    assert_eq!(code(&again), "not_waiting");
    for branch in [&to_two, &to_one] {
        branch.sync().await.unwrap();
    }
    for replica in [&master, &one, &two] {
        assert_eq!(replica.rows("lines").len(), 2, "{replica:?}");
        assert_eq!(row(replica, "lines", "b"), Some(line("b", "pear", 2)));
        assert_eq!(row(replica, "items", "pear"), Some(item("pear", "north", "pear", 9)));
    }
}

#[tokio::test]
async fn a_child_waits_for_its_parent_and_passes_by_itself() {
    let (master, hub, _) = shop().await;
    let early = hub.push(&push(0, vec![edit("lines", 1, None, Some(line("a", "plum", 1)))]), &north()).await.unwrap();
    assert_eq!(early.results[0].became, Became::Waits);
    put(&master, "items", item("plum", "north", "plum", 1)).await;
    hub.push(&push(1, vec![edit("lines", 2, None, Some(line("c", "pear", 3)))]), &north()).await.unwrap();
    assert_eq!(row(&master, "lines", "a"), Some(line("a", "plum", 1)));
    assert_eq!(hub.inbox(&north()).await.unwrap(), []);
}

#[tokio::test]
async fn what_the_policy_leaves_to_a_person_waits_and_later_edits_wait_behind_it() {
    let notes = || {
        Table::new(StreamSpec::new("notes").text("id").key(["id"]).text("text")).policy(Park::new("a person decides"))
    };
    let note = |text: &str| vec!["n".into(), text.into()];
    let (master, till) = (replica("master", [notes()]), replica("till", [notes()]));
    put(&master, "notes", note("first")).await;
    let hub = Hub::new(master.clone(), clock());
    let branch = branch(&till, &hub, Access::everything());
    branch.sync().await.unwrap();
    put(&till, "notes", note("mine")).await;
    put(&master, "notes", note("theirs")).await;
    branch.sync().await.unwrap();
    put(&till, "notes", note("mine, later")).await;
    branch.sync().await.unwrap();
    let inbox = hub.inbox(&Access::everything()).await.unwrap();
    assert_eq!(inbox.len(), 2);
    assert!(matches!(&inbox[1].reason, Reason::Behind(id) if *id == inbox[0].id), "{inbox:?}");
    hub.decide(&inbox[0].id, Decision::TakeIncoming, &Access::everything()).await.unwrap();
    for _ in 0..2 {
        branch.sync().await.unwrap();
    }
    assert_eq!(
        row(&master, "notes", "n"),
        Some(note("mine, later")),
        "what waited behind it had seen what was decided"
    );
    assert_eq!(till.rows("notes"), master.rows("notes"));
}

/// A master whose answers to pulls do not come.
#[derive(Debug)]
struct Silent(Hub);

#[async_trait::async_trait]
impl sync_core::two_way::Master for Silent {
    async fn push(&self, push: &Push) -> sync_core::Result<sync_core::two_way::Pushed> {
        self.0.push(push, &Access::everything()).await
    }

    async fn pull(&self, _: &sync_core::two_way::Pull) -> sync_core::Result<sync_core::two_way::Page> {
        Err(Error::unavailable("no answer"))
    }
}

/// The master takes a later edit as soon as the first is decided, and the line breaks before the branch hears of the decision.
#[tokio::test]
async fn an_edit_that_was_decided_about_does_not_come_back_over_a_later_one() {
    let notes = || {
        Table::new(StreamSpec::new("notes").text("id").key(["id"]).text("text")).policy(Park::new("a person decides"))
    };
    let note = |text: &str| vec!["n".into(), text.into()];
    let (master, till) = (replica("master", [notes()]), replica("till", [notes()]));
    put(&master, "notes", note("first")).await;
    let hub = Hub::new(master.clone(), clock());
    let branch = branch(&till, &hub, Access::everything());
    branch.sync().await.unwrap();
    put(&till, "notes", note("mine")).await;
    put(&master, "notes", note("theirs")).await;
    branch.sync().await.unwrap();
    let inbox = hub.inbox(&Access::everything()).await.unwrap();
    hub.decide(&inbox[0].id, Decision::TakeIncoming, &Access::everything()).await.unwrap();
    put(&till, "notes", note("mine again")).await;
    Branch::new(till.clone(), Silent(hub.clone()), clock()).sync().await.unwrap_err();
    assert_eq!(till.rows("notes"), [(Key::new(["n"]), note("mine again"))]);
    branch.sync().await.unwrap();
    assert_eq!(till.rows("notes"), master.rows("notes"));
}

#[tokio::test]
async fn a_decision_is_not_forgotten_before_the_branch_has_heard_it() {
    let notes = || {
        Table::new(StreamSpec::new("notes").text("id").key(["id"]).text("text")).policy(Park::new("a person decides"))
    };
    let note = |text: &str| vec!["n".into(), text.into()];
    let (master, till) = (replica("master", [notes()]), replica("till", [notes()]));
    put(&master, "notes", note("first")).await;
    let mut settings = HubSettings::default();
    settings.keep = std::time::Duration::ZERO;
    let hub = Hub::new(master.clone(), clock()).settings(settings);
    let branch = branch(&till, &hub, Access::everything());
    branch.sync().await.unwrap();
    put(&till, "notes", note("mine")).await;
    put(&master, "notes", note("theirs")).await;
    for _ in 0..2 {
        branch.sync().await.unwrap();
    }
    let inbox = hub.inbox(&Access::everything()).await.unwrap();
    hub.decide(&inbox[0].id, Decision::KeepExisting, &Access::everything()).await.unwrap();
    // The branch stays away for longer than answers are kept.
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    hub.clean_up().await.unwrap();
    branch.sync().await.unwrap();
    assert_eq!(till.rows("notes"), master.rows("notes"));
    assert_eq!(branch.queue().await.unwrap().waiting, 0);
}

#[tokio::test]
async fn an_edit_that_is_taken_before_the_branch_hears_of_an_earlier_decision_stays() {
    let notes = || {
        Table::new(StreamSpec::new("notes").text("id").key(["id"]).text("text")).policy(Park::new("a person decides"))
    };
    let note = |text: &str| vec!["n".into(), text.into()];
    let (master, till) = (replica("master", [notes()]), replica("till", [notes()]));
    put(&master, "notes", note("first")).await;
    let hub = Hub::new(master.clone(), clock());
    let branch = branch(&till, &hub, Access::everything());
    branch.sync().await.unwrap();
    put(&till, "notes", note("mine")).await;
    put(&master, "notes", note("theirs")).await;
    branch.sync().await.unwrap();
    let inbox = hub.inbox(&Access::everything()).await.unwrap();
    hub.decide(&inbox[0].id, Decision::TakeIncoming, &Access::everything()).await.unwrap();
    // It is sent before the decision is asked for.
    put(&till, "notes", note("mine, later")).await;
    for _ in 0..2 {
        branch.sync().await.unwrap();
    }
    assert_eq!(row(&master, "notes", "n"), Some(note("mine, later")));
    assert_eq!(till.rows("notes"), master.rows("notes"));
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

#[tokio::test]
async fn what_waits_for_a_row_of_another_shop_tells_nothing_of_it() {
    let master = master();
    put(&master, "items", item("pear", "north", "pear", 10)).await;
    put(&master, "lines", line("a", "pear", 1)).await;
    let hub = Hub::new(master.clone(), clock());
    // North moves its own line to a number that is taken: it waits, and with it the row `b`.
    put(&master, "lines", line("b", "pear", 2)).await;
    let clash = edit("lines", 1, Some(line("b", "pear", 2)), Some(line("b", "pear", 1)));
    assert_eq!(hub.push(&push(0, vec![clash]), &north()).await.unwrap().results[0].became, Became::Waits);

    let foreign = Push {
        peer: Peer { name: "stranger".to_owned(), life: 0 },
        groups: vec![Group { previous: 0, edits: vec![edit("lines", 1, None, Some(south_line("b", "pear", 9)))] }],
    };
    let refused = hub.push(&foreign, &Access::rows_with("shop", "south")).await.unwrap_err();
    assert_eq!(code(&refused), "not_yours");
}

#[tokio::test]
async fn what_waited_does_not_pass_over_a_row_that_another_shop_wrote_meanwhile() {
    let (master, hub) = {
        let master = master();
        (master.clone(), Hub::new(master, clock()))
    };
    let orphan = edit("lines", 1, None, Some(line("a", "pear", 1)));
    assert_eq!(hub.push(&push(0, vec![orphan]), &north()).await.unwrap().results[0].became, Became::Waits);
    put(&master, "items", item("plum", "south", "plum", 1)).await;
    put(&master, "lines", south_line("a", "plum", 7)).await;

    // The parent that it waited for comes, with a push of anybody.
    let parent = edit("items", 2, None, Some(item("pear", "north", "pear", 10)));
    hub.push(&push(1, vec![parent]), &north()).await.unwrap();
    assert_eq!(row(&master, "lines", "a"), Some(south_line("a", "plum", 7)));

    let waiting = hub.inbox(&Access::everything()).await.unwrap();
    let refused = hub.decide(&waiting[0].id, Decision::TakeIncoming, &north()).await.unwrap_err();
    assert_eq!(code(&refused), "not_yours");
    assert_eq!(row(&master, "lines", "a"), Some(south_line("a", "plum", 7)));
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

/// Whoever decides what waits may write what they might have pushed, and no more.
#[tokio::test]
async fn a_decision_writes_no_column_that_only_the_master_writes() {
    let (master, hub, _) = shop().await;
    let mut graded = item("plum", "north", "plum", 1);
    graded[4] = "best".into();
    let mut renamed = graded.clone();
    renamed[2] = "renamed".into();
    // Nobody gave it this grade: the row is not there, and the branch says what stood before.
    let group = vec![
        edit("items", 1, Some(graded.clone()), Some(renamed.clone())),
        edit("lines", 2, None, Some(line("a", "nowhere", 1))),
    ];
    assert_eq!(hub.push(&push(0, group), &north()).await.unwrap().results[0].became, Became::Waits);
    put(&master, "items", item("nowhere", "north", "there by now", 1)).await;
    let id = hub.inbox(&north()).await.unwrap().remove(0).id;
    let write = Decision::Write(vec![Some(renamed.clone()), Some(line("a", "nowhere", 1))]);
    for decision in [Decision::TakeIncoming, write.clone()] {
        let refused = hub.decide(&id, decision, &north()).await.unwrap_err();
        assert_eq!((code(&refused), refused.kind()), ("server_owned", ErrorKind::Forbidden));
        assert_eq!(row(&master, "items", "plum"), None);
    }
    hub.decide(&id, write, &Access::everything()).await.unwrap();
    assert_eq!(row(&master, "items", "plum"), Some(renamed), "whose the master is, may");
}

/// It waited behind another, so nobody looked at it; when somebody does, its sum fits no column. That is its own affair.
#[tokio::test]
async fn a_group_in_the_inbox_that_cannot_be_judged_fails_no_push_of_others() {
    let (master, hub, [(one, to_one), _]) = shop().await;
    let orphan = |op| edit("lines", op, None, Some(line("a", "nowhere", 1)));
    let pear = |stock| Some(item("pear", "north", "pear", stock));
    let sold = hub.push(&push(0, vec![edit("items", 1, pear(10), pear(8))]), &north()).await.unwrap();
    hub.push(&push(1, vec![orphan(2)]), &north()).await.unwrap();
    let most = Edit { base: sold.results[0].rev, ..edit("items", 3, pear(0), pear(i64::MAX)) };
    let behind = hub.push(&push(2, vec![most, orphan(4)]), &north()).await.unwrap();
    assert_eq!(behind.results[0].became, Became::Waits);
    let first = hub.inbox(&north()).await.unwrap().remove(0);
    hub.decide(&first.id, Decision::KeepExisting, &north()).await.unwrap();
    put(&one, "items", item("plum", "north", "plum", 1)).await;
    to_one.sync().await.unwrap();
    assert_eq!(row(&master, "items", "plum"), Some(item("plum", "north", "plum", 1)));
    assert_eq!(hub.inbox(&north()).await.unwrap().len(), 1, "it is still there for somebody to decide");
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

/// The master's clock is set back between two writes that wait: they pass in the order in which they came.
#[tokio::test]
async fn what_waits_passes_in_the_order_it_came_although_the_clock_went_back() {
    let (master, set_back) = (master(), Arc::new(SetBack::default()));
    let hub = Hub::new(master.clone(), Arc::<SetBack>::clone(&set_back));
    let numbered = |number| line("a", "plum", number);
    hub.push(&push(0, vec![edit("lines", 1, None, Some(numbered(1)))]), &north()).await.unwrap();
    set_back.0.store(true, std::sync::atomic::Ordering::Relaxed);
    hub.push(&push(1, vec![edit("lines", 2, Some(numbered(1)), Some(numbered(2)))]), &north()).await.unwrap();
    put(&master, "items", item("plum", "north", "plum", 1)).await;
    for op in [3, 4] {
        let other = edit("items", op, None, Some(item(&format!("other {op}"), "north", "pear", 1)));
        hub.push(&push(op - 1, vec![other]), &north()).await.unwrap();
    }
    assert_eq!(row(&master, "lines", "a"), Some(numbered(2)));
    assert_eq!(hub.inbox(&north()).await.unwrap(), []);
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

/// One shop's writes wait by the hundred; another's push costs what it did before, and what waits passes all the same.
#[tokio::test]
async fn an_inbox_that_one_shop_fills_costs_another_nothing() {
    let writes = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let master = Counted(master(), Arc::clone(&writes));
    let (hub, south) = (Hub::new(master.clone(), clock()), Access::rows_with("shop", "south"));
    let orphan = |op: u64| {
        let group = vec![edit("lines", op, None, Some(south_line(&format!("l{op}"), "nowhere", op as i64)))];
        Group { previous: op - 1, edits: group }
    };
    let flood = Push { peer: Peer { name: "south".to_owned(), life: 0 }, groups: (1..=300).map(orphan).collect() };
    hub.push(&flood, &south).await.unwrap();
    assert_eq!(hub.inbox(&south).await.unwrap().len(), 300);
    writes.store(0, std::sync::atomic::Ordering::Relaxed);
    hub.push(&push(0, vec![edit("items", 1, None, Some(item("pear", "north", "pear", 1)))]), &north()).await.unwrap();
    assert!(writes.load(std::sync::atomic::Ordering::Relaxed) < 20, "{writes:?} transactions for one edit");
    put(&master.0, "items", item("nowhere", "south", "there by now", 1)).await;
    for op in 1..=20 {
        let edits = vec![edit("items", op, None, Some(item(&format!("p{op}"), "south", "pear", 1)))];
        let peer = Peer { name: "another".to_owned(), life: 0 };
        hub.push(&Push { peer, groups: vec![Group { previous: op - 1, edits }] }, &south).await.unwrap();
    }
    assert_eq!(hub.inbox(&south).await.unwrap(), []);
}

/// A group waits, and the next version of the host declares one more column, in front of the one that says whose a row is.
#[tokio::test]
async fn a_group_from_before_a_column_was_declared_waits_on_and_fails_no_push() {
    let master = master();
    let orphan = edit("lines", 1, None, Some(line("a", "nowhere", 1)));
    Hub::new(master.clone(), clock()).push(&push(0, vec![orphan]), &north()).await.unwrap();
    let wider = StreamSpec::new("lines").text("id").key(["id"]).text("item").text("note").int("more").int("number");
    let later = replica("master", [items(), Table::new(wider.text("shop")).scoped_by(["shop"])]);
    later.restore(&master.backup()).await;
    let hub = Hub::new(later.clone(), clock());
    hub.push(&push(1, vec![edit("items", 2, None, Some(item("pear", "north", "pear", 1)))]), &north()).await.unwrap();
    assert_eq!(row(&later, "items", "pear"), Some(item("pear", "north", "pear", 1)));
    let waiting = hub.inbox(&Access::everything()).await.unwrap();
    assert_eq!(
        (waiting.len(), hub.inbox(&north()).await.unwrap()),
        (1, Vec::new()),
        "nobody can tell any more whose it is"
    );
    hub.decide(&waiting[0].id, Decision::KeepExisting, &Access::everything()).await.unwrap();
    assert_eq!(hub.inbox(&Access::everything()).await.unwrap(), []);
}
